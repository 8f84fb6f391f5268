//! The camera: sends synthetic people through the pose socket, each frame when it is due, and allocates nothing while it does.

use super::machine::{PageCensus, Pages, ProcessFigures, RunQueue, sleep_until};
use super::timeline::Timeline;
use crate::error::Error;
use alfred_board::generic_linux::{MonotonicClock, ProcessMemory};
use alfred_board::hal::Clock;
use alfred_core::pose::PoseFrame;
use alfred_core::units::{FrameIndex, MonotonicNs};
use alfred_synth::crowd::Crowd;
use alfred_wire::pose_message::{MESSAGE_BYTES_MAX, encode};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// From the last preparation to the first frame.
const HEAD_START_NS: u64 = 50_000_000;
/// Bytes of the capture time in a pose message.
const CAPTURED: std::ops::Range<usize> = 16..24;

/// What is sent, and for how long.
pub(crate) struct Feeder<'f> {
    pub(crate) crowd: &'f Crowd,
    pub(crate) persons: usize,
    pub(crate) timeline: &'f Timeline,
    /// Frames before the measured ones.
    pub(crate) warm_up: u64,
    /// Measured frames.
    pub(crate) measured: u64,
    /// Frames after them, until their decisions are written.
    pub(crate) after: u64,
}

/// The process before and after the measured frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) before: ProcessFigures,
    pub(crate) after: ProcessFigures,
    pub(crate) resident_bytes_max: u64,
    /// Where the resident pages came from, before and after; `None`: this kernel does not tell.
    pub(crate) pages: [Option<Pages>; 2],
    /// Whether the kernel tells how long our threads had no core.
    pub(crate) waits_are_known: bool,
}

impl Feeder<'_> {
    /// Sends every frame when it is due.
    ///
    /// # Errors
    /// A live path that has ended.
    pub(crate) fn run(&self, path: &Path) -> Result<Marks, Error> {
        let socket = connected(path)?;
        let mut memory = ProcessMemory::open();
        let mut marks = Marks {
            before: ProcessFigures::now(&mut memory),
            after: ProcessFigures::default(),
            resident_bytes_max: 0,
            pages: [None; 2],
            waits_are_known: false,
        };
        let mut frame = Box::new(PoseFrame::new(FrameIndex(0), MonotonicNs(0)));
        let (mut message, mut run_queue) = ([0; MESSAGE_BYTES_MAX], None::<RunQueue>);
        let census = PageCensus::open();
        let frames_per_second = (1_000_000_000 / self.timeline.period_ns).max(1);
        let end = self.warm_up + self.measured;
        self.timeline.begin(MonotonicClock.now().0 + HEAD_START_NS);
        for number in 0..end + self.after {
            self.crowd.write(self.persons, number, &mut frame);
            let length =
                encode(&frame, &mut message).ok_or_else(|| Error::system("bench", "a frame is longer than its longest message"))?;
            // The threads are there by now, and have names.
            if number == self.warm_up / 2 {
                run_queue = Some(RunQueue::open());
            }
            // While there is time until the frame is due.
            if number == self.warm_up {
                marks.pages[0] = census.count();
            } else if number == end {
                marks.pages[1] = census.count();
            }
            sleep_until(self.timeline.due_ns(number))?;
            if number == self.warm_up {
                marks.waits_are_known = run_queue.as_ref().is_some_and(RunQueue::is_complete);
                marks.before = ProcessFigures::now(&mut memory);
            } else if number == end {
                marks.after = ProcessFigures::now(&mut memory);
            }
            // What was waited for since the last frame was due belongs to that frame.
            if let Some(run_queue) = &mut run_queue {
                self.timeline.add_turns(number.saturating_sub(1), run_queue.ours_since_last());
                self.timeline.add_feeder_wait(number, run_queue.feeder_since_last().waited);
            }
            let sent_ns = MonotonicClock.now().0;
            message[CAPTURED].copy_from_slice(&sent_ns.to_le_bytes());
            self.timeline.sent(number, sent_ns);
            send(socket.as_raw_fd(), &message[..length], MsgFlags::MSG_NOSIGNAL)
                .map_err(|error| Error::system("bench", format!("the live path does not read any more: {error}")))?;
            if number >= self.warm_up && number < end && number % frames_per_second == 0 {
                let figures = ProcessFigures::now(&mut memory);
                marks.resident_bytes_max = marks.resident_bytes_max.max(figures.resident_bytes);
                self.tell_minutes(number, frames_per_second);
            }
        }
        // The last ones' lines are written while this waits.
        sleep_until(self.timeline.due_ns(end + self.after + 1))?;
        Ok(marks)
    }

    /// One line a minute on stderr, without an allocation, which a progress bar would make.
    fn tell_minutes(&self, number: u64, frames_per_second: u64) {
        let (done, frames_per_minute) = (number - self.warm_up, 60 * frames_per_second);
        if done > 0 && done.is_multiple_of(frames_per_minute) {
            eprintln!("minute {} of {}", done / frames_per_minute, self.measured.div_ceil(frames_per_minute));
        }
    }
}

fn connected(path: &Path) -> Result<OwnedFd, Error> {
    let fault = |error| Error::file(path, format!("cannot connect: {error}"));
    let address = UnixAddr::new(path).map_err(fault)?;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).map_err(fault)?;
    connect(socket.as_raw_fd(), &address).map_err(fault)?;
    Ok(socket)
}
