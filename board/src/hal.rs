//! Contracts between the data path's surroundings and a board.
//!
//! Glossary. *Board*: what the process runs on, real or simulated. *Absent*: the board has no such thing, which is no fault. *Fault*: it
//! should be there and did not answer. Whoever uses a board goes on without what is absent or faulty and counts it; nothing here may end
//! the process.
//!
//! The link to the host has its contract where its messages are: `alfred_link::session::Link`.

use crate::facts::Facts;
use crate::file_storage::FileStorage;
use alfred_core::pose::PoseFrame;
use alfred_core::units::MonotonicNs;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Everything that a board gives.
pub trait Board: Send + Sync {
    /// What is known of the board without asking it.
    fn facts(&self) -> &Facts;

    /// Which piece of hardware this is.
    fn identity(&self) -> Identity;

    /// The clock; every call gives the same one.
    fn clock(&self) -> Arc<dyn Clock>;

    /// What the process holds of the memory.
    fn memory(&self) -> Box<dyn Memory + Send>;

    /// The thermometer.
    ///
    /// # Errors
    /// [`SensorFault`].
    fn thermal(&self) -> Result<Box<dyn Thermal>, SensorFault>;

    /// The power meter.
    ///
    /// # Errors
    /// [`SensorFault`].
    fn power(&self) -> Result<Box<dyn Power>, SensorFault>;

    /// Who ends this process when it hangs; `None`: nobody.
    fn watchdog(&self) -> Option<Box<dyn Watchdog>>;

    /// Something that people or machines beside the board notice.
    ///
    /// # Errors
    /// [`AlarmFault`].
    fn alarm_output(&self, target: &AlarmTarget) -> Result<Box<dyn AlarmOutput>, AlarmFault>;

    /// Poses that the board itself makes; `None`: they come from another process.
    fn pose_source(&self) -> Option<Box<dyn PoseSource>>;

    /// A region of `bytes` bytes that keeps them without power, for whoever journals or keeps slots: a file that is made if it is not there.
    ///
    /// # Errors
    /// As [`FileStorage::open`].
    fn storage(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Storage + Send>> {
        Ok(Box::new(FileStorage::open(path, bytes)?))
    }
}

/// Which piece of hardware this is. Texts come from files of the system: printable, at most [`IDENTITY_TEXT_BYTES_MAX`] bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// What the firmware calls the board; `None` if it does not say.
    pub model: Option<String>,
    /// Its serial number; `None` if it has none, or the process may not read it.
    pub serial: Option<String>,
}

/// Bytes of one text of an [`Identity`].
pub const IDENTITY_TEXT_BYTES_MAX: usize = 128;

/// Why a sensor gave no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorFault {
    /// The board has no such sensor.
    Absent,
    /// It is there and is switched off: reading gives nothing.
    Disabled,
    /// It answered with something that is no plausible value.
    Implausible,
}

impl fmt::Display for SensorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "no such sensor",
            Self::Disabled => "the sensor is switched off",
            Self::Implausible => "the sensor's value is implausible",
        })
    }
}

/// A temperature in thousandths of a degree Celsius.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MilliCelsius(pub i32);

impl MilliCelsius {
    /// Nothing that computes is colder than this,
    pub const MIN: Self = Self(-55_000);
    /// or hotter than this.
    pub const MAX: Self = Self(150_000);
}

/// Electrical power in milliwatts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MilliWatts(pub u32);

impl MilliWatts {
    /// No board of this kind draws more: 1 kW.
    pub const MAX: Self = Self(1_000_000);
}

/// A thermometer.
pub trait Thermal: Send {
    /// The hottest of the board's zones that answer. Allocates nothing; takes at most some milliseconds.
    ///
    /// # Errors
    /// [`SensorFault::Disabled`] when no zone answers, [`SensorFault::Implausible`].
    fn read(&mut self) -> Result<MilliCelsius, SensorFault>;
}

/// A power meter.
pub trait Power: Send {
    /// What the whole board draws now. Allocates nothing; takes at most some milliseconds.
    ///
    /// # Errors
    /// [`SensorFault::Disabled`] when the rail does not answer, [`SensorFault::Implausible`].
    fn read(&mut self) -> Result<MilliWatts, SensorFault>;
}

/// Why a watchdog was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchdogFault(pub io::ErrorKind);

/// Who ends this process unless it hears of it in time.
pub trait Watchdog: Send {
    /// Longest time between two kicks; the process kicks at least twice as often. `None`: it only wants to know of start and end.
    fn period(&self) -> Option<Duration>;

    /// The process works: called once, before the first kick.
    ///
    /// # Errors
    /// [`WatchdogFault`]: it was not told.
    fn ready(&mut self) -> Result<(), WatchdogFault>;

    /// The process still works. Allocates nothing and does not wait.
    ///
    /// # Errors
    /// [`WatchdogFault`]: it was not told.
    fn kick(&mut self) -> Result<(), WatchdogFault>;

    /// The process ends of its own accord.
    ///
    /// # Errors
    /// [`WatchdogFault`]: it was not told.
    fn stopping(&mut self) -> Result<(), WatchdogFault>;
}

/// Where alarms go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlarmTarget {
    /// A file that takes `1` while an event lasts and `0` afterwards: the value of an exported GPIO line, the brightness of an LED.
    Line(PathBuf),
    /// A Unix datagram socket that takes one JSON line per change.
    Datagram(PathBuf),
}

/// What an alarm output is told, once when an event begins and once when it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alarm {
    /// Number of the event in this run of the process.
    pub event: u64,
    /// Whether it begins (or ends).
    pub begins: bool,
    /// Events that last now, this one included if it begins.
    pub lasting: u32,
    /// Frame of the change.
    pub frame: u64,
    /// Largest anomaly score of the event so far.
    pub score_max: f32,
}

/// Why an alarm was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmFault {
    /// There is nothing at that path, or nobody listens.
    Nobody,
    /// Whoever listens does not keep up.
    Full,
    /// The system's error.
    System(io::ErrorKind),
}

impl fmt::Display for AlarmFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nothing is there that takes alarms"),
            Self::Full => f.write_str("whoever takes alarms does not keep up"),
            Self::System(kind) => write!(f, "{kind}"),
        }
    }
}

/// Something that people or machines beside the board notice.
pub trait AlarmOutput: Send {
    /// Tells of an event's beginning or end. Allocates nothing and does not wait: an alarm that cannot be given now is not given.
    ///
    /// # Errors
    /// [`AlarmFault`]: it was not given.
    fn tell(&mut self, alarm: &Alarm) -> Result<(), AlarmFault>;
}

/// What a pose source did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It wrote a frame.
    Frame,
    /// It has none at the moment: ask again.
    Nothing,
    /// It will never have another one.
    Ended,
}

/// Poses that the board itself makes.
pub trait PoseSource: Send {
    /// Writes the next frame; waits for at most half a second. Whatever `frame` held before is gone.
    fn next(&mut self, frame: &mut PoseFrame) -> Arrival;
}

/// A clock that never runs backwards, not even when the wall clock is set; it goes on while the process waits.
pub trait Clock: Send + Sync {
    /// Nanoseconds since an origin that stays the same while the process lives.
    fn now(&self) -> MonotonicNs;
}

/// What the process holds of the machine's memory.
pub trait Memory {
    /// Resident bytes of this process; `None` where the board cannot tell. Allocates nothing after the first call.
    fn resident_bytes(&mut self) -> Option<u64>;
}

/// A region of fixed size that keeps its bytes without power: a file, or a partition. Positions count from its first byte.
///
/// What a power cut may do, and what users of this must live with: of the writes since the last [`Storage::sync`] each may have happened,
/// not happened, or happened up to any byte, in any order. Bytes outside of them stay as they were, as long as they lie in another
/// aligned block of 4,096 bytes.
pub trait Storage {
    /// Bytes of the region; never changes.
    fn bytes(&self) -> u64;

    /// Reads `buffer.len()` bytes from `at` on.
    ///
    /// # Errors
    /// The system's, and [`io::ErrorKind::UnexpectedEof`] beyond the region's end.
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` from `at` on. Until [`Storage::sync`] they may be lost.
    ///
    /// # Errors
    /// The system's, and [`io::ErrorKind::UnexpectedEof`] beyond the region's end: then nothing is written.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything that was written is there for good.
    ///
    /// # Errors
    /// The system's; what was written since the last success may then be lost.
    fn sync(&mut self) -> io::Result<()>;
}

/// What owns or borrows a storage is one: journals and slots take either.
macro_rules! storage_behind {
    ($pointer:ty) => {
        impl<S: Storage + ?Sized> Storage for $pointer {
            fn bytes(&self) -> u64 {
                (**self).bytes()
            }
            fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
                (**self).read(at, buffer)
            }
            fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
                (**self).write(at, bytes)
            }
            fn sync(&mut self) -> io::Result<()> {
                (**self).sync()
            }
        }
    };
}

storage_behind!(Box<S>);
storage_behind!(&mut S);
