//! What every Linux board has in common: thermal zones, the service manager's watchdog, alarms through a file or a socket.

use crate::hal::{Alarm, AlarmFault, AlarmOutput, AlarmTarget, MilliCelsius, SensorFault, Thermal, Watchdog, WatchdogFault};
use crate::root::{Root, read_text};
use sd_notify::NotifyState;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Zones that are followed; boards have about ten.
const ZONES_MAX: usize = 16;

/// Bytes of a value of sysfs.
const VALUE_BYTES_MAX: usize = 32;

/// Reads a whole number from an open file of sysfs. The file is asked anew with each read; nothing is allocated.
pub(crate) fn read_value(file: &File) -> Result<i64, SensorFault> {
    let mut bytes = [0; VALUE_BYTES_MAX];
    // A zone that is switched off answers with an error or with nothing.
    let length = file.read_at(&mut bytes, 0).map_err(|_| SensorFault::Disabled)?;
    let text = std::str::from_utf8(&bytes[..length]).map_err(|_| SensorFault::Implausible)?.trim();
    if text.is_empty() {
        return Err(SensorFault::Disabled);
    }
    text.parse().map_err(|_| SensorFault::Implausible)
}

/// `/sys/class/thermal`: the zones that count, opened once.
#[derive(Debug)]
pub struct ThermalZones {
    zones: Vec<File>,
}

impl ThermalZones {
    /// Opens the zones whose type is one of `types`; an empty list: every zone.
    ///
    /// # Errors
    /// [`SensorFault::Absent`] when there is none.
    pub fn open(root: &Root, types: &[String]) -> Result<Self, SensorFault> {
        let counts = |folder: &PathBuf| types.is_empty() || read_text(&folder.join("type")).is_some_and(|kind| types.contains(&kind));
        let folders = root.folders("/sys/class/thermal", "thermal_zone");
        let zones: Vec<File> =
            folders.into_iter().filter(counts).filter_map(|folder| File::open(folder.join("temp")).ok()).take(ZONES_MAX).collect();
        if zones.is_empty() { Err(SensorFault::Absent) } else { Ok(Self { zones }) }
    }
}

impl Thermal for ThermalZones {
    fn read(&mut self) -> Result<MilliCelsius, SensorFault> {
        let mut hottest = Err(SensorFault::Disabled);
        for zone in &self.zones {
            let value = read_value(zone).and_then(|value| {
                let value = i32::try_from(value).map(MilliCelsius).map_err(|_| SensorFault::Implausible)?;
                if (MilliCelsius::MIN..=MilliCelsius::MAX).contains(&value) { Ok(value) } else { Err(SensorFault::Implausible) }
            });
            hottest = match (hottest, value) {
                (Ok(hottest), Ok(value)) => Ok(value.max(hottest)),
                (Err(_), Ok(value)) => Ok(value),
                // One zone that talks nonsense is worth a fault only if no other one talks sense.
                (Err(SensorFault::Disabled), Err(fault)) => Err(fault),
                (kept, Err(_)) => kept,
            };
        }
        hottest
    }
}

/// The service manager (systemd, `Type=notify`): ready, watchdog, stopping.
#[derive(Debug)]
pub struct ServiceManager {
    /// Connected once: a kick is one `send` of constant bytes.
    socket: UnixDatagram,
    period: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names; `None` without one, or when its socket cannot be reached.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let path = std::env::var_os("NOTIFY_SOCKET")?;
        // WATCHDOG_PID says whose watchdog it is; the crate compares.
        Self::at(&path, sd_notify::watchdog_enabled()).ok()
    }

    /// One that listens at `path`; an `@` at its beginning means an abstract name.
    ///
    /// # Errors
    /// The system's.
    pub fn at(path: &OsStr, period: Option<Duration>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        match path.as_bytes() {
            [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            _ => socket.connect(path)?,
        }
        // A manager that does not keep up must not hold this process.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, period })
    }

    fn send(&self, state: &[u8]) -> Result<(), WatchdogFault> {
        self.socket.send(state).map(drop).map_err(|error| WatchdogFault(error.kind()))
    }
}

impl Watchdog for ServiceManager {
    fn period(&self) -> Option<Duration> {
        self.period
    }

    fn ready(&mut self) -> Result<(), WatchdogFault> {
        self.send(NotifyState::Ready.to_string().as_bytes())
    }

    fn kick(&mut self) -> Result<(), WatchdogFault> {
        // Constant, since formatting would allocate.
        self.send(b"WATCHDOG=1")
    }

    fn stopping(&mut self) -> Result<(), WatchdogFault> {
        self.send(NotifyState::Stopping.to_string().as_bytes())
    }
}

/// Opens an alarm output of any Linux.
///
/// # Errors
/// [`AlarmFault::Nobody`] when there is no such file; a socket's listener may come later.
pub fn alarm_output(root: &Root, target: &AlarmTarget) -> Result<Box<dyn AlarmOutput>, AlarmFault> {
    match target {
        AlarmTarget::Line(path) => {
            let file = OpenOptions::new().write(true).open(root.join(path)).map_err(|error| fault(&error))?;
            let line = AlarmLine { file };
            // Whatever a former life of the process left there.
            line.set(false)?;
            Ok(Box::new(line))
        }
        AlarmTarget::Datagram(path) => {
            let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
            let socket = socket.map_err(|error| fault(&error))?;
            Ok(Box::new(AlarmSocket { socket, path: root.join(path) }))
        }
    }
}

fn fault(error: &io::Error) -> AlarmFault {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => AlarmFault::Nobody,
        ErrorKind::WouldBlock => AlarmFault::Full,
        kind => AlarmFault::System(kind),
    }
}

/// A GPIO line or an LED.
struct AlarmLine {
    file: File,
}

impl AlarmLine {
    fn set(&self, is_on: bool) -> Result<(), AlarmFault> {
        self.file.write_all_at(if is_on { b"1\n" } else { b"0\n" }, 0).map_err(|error| fault(&error))
    }
}

impl AlarmOutput for AlarmLine {
    fn tell(&mut self, alarm: &Alarm) -> Result<(), AlarmFault> {
        self.set(alarm.lasting > 0)
    }
}

impl Drop for AlarmLine {
    fn drop(&mut self) {
        // Nobody is left who would end the alarm.
        let _ = self.set(false);
    }
}

/// A listener of one JSON line per change.
struct AlarmSocket {
    socket: UnixDatagram,
    /// Not connected: the listener may go and come back.
    path: PathBuf,
}

/// Bytes of an alarm's line.
const ALARM_BYTES_MAX: usize = 192;

/// The line of an alarm, in `buffer`; its length.
fn alarm_line(alarm: &Alarm, buffer: &mut [u8; ALARM_BYTES_MAX]) -> usize {
    let kind = if alarm.begins { "new" } else { "end" };
    let mut rest = &mut buffer[..];
    // JSON knows no infinity.
    let score = if alarm.score_max.is_finite() { alarm.score_max } else { f32::MAX };
    // 192 bytes hold the largest numbers, see the test.
    let _ = writeln!(
        rest,
        "{{\"alarm\":{{\"event\":{},\"type\":\"{kind}\",\"lasting\":{},\"frame\":{},\"score_max\":{score:e}}}}}",
        alarm.event, alarm.lasting, alarm.frame
    );
    let left = rest.len();
    ALARM_BYTES_MAX - left
}

impl AlarmOutput for AlarmSocket {
    fn tell(&mut self, alarm: &Alarm) -> Result<(), AlarmFault> {
        let mut buffer = [0; ALARM_BYTES_MAX];
        let length = alarm_line(alarm, &mut buffer);
        self.socket.send_to(&buffer[..length], &self.path).map(drop).map_err(|error| fault(&error))
    }
}

/// A printable text of the system, cut; `None` when there is none.
pub(crate) fn identity_text(root: &Root, path: impl AsRef<Path>) -> Option<String> {
    let text: String = root.text(path)?.chars().filter(|character| !character.is_control()).collect();
    let mut end = text.len().min(crate::hal::IDENTITY_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Some(text[..end].trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_alarm_fits_its_line_and_is_json() {
        let alarm =
            Alarm { event: u64::MAX, begins: false, lasting: u32::MAX, frame: u64::MAX, score_max: f32::MIN_POSITIVE * 1.234_567_9 };
        let mut buffer = [0; ALARM_BYTES_MAX];
        let length = alarm_line(&alarm, &mut buffer);
        let line = std::str::from_utf8(&buffer[..length]).expect("text");
        assert!(line.starts_with("{\"alarm\":{\"event\":18446744073709551615,\"type\":\"end\"") && line.ends_with("}}\n"), "{line}");
    }

    #[test]
    fn the_service_manager_hears_start_kicks_and_end_under_paths_and_abstract_names() {
        let path = std::env::temp_dir().join(format!("alfred-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let name = format!("alfred-notify-{}", std::process::id());
        let listeners = [
            (UnixDatagram::bind(&path).expect("bound"), path.as_os_str().to_owned()),
            (UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("bound"), format!("@{name}").into()),
        ];
        for (listener, address) in listeners {
            let mut manager = ServiceManager::at(&address, Some(Duration::from_secs(3))).expect("it listens");
            assert_eq!(manager.period(), Some(Duration::from_secs(3)));
            manager.ready().and_then(|()| manager.kick()).and_then(|()| manager.stopping()).expect("heard");
            let heard: Vec<String> = (0..3)
                .map(|_| {
                    let mut bytes = [0; 64];
                    let length = listener.recv(&mut bytes).expect("a datagram");
                    String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
                })
                .collect();
            assert_eq!(heard, ["READY=1", "WATCHDOG=1", "STOPPING=1"]);
        }
        let _ = std::fs::remove_file(&path);
        assert!(ServiceManager::at(path.as_os_str(), None).is_err(), "nobody listens any more");
    }
}
