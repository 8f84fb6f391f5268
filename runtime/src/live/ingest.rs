//! The ingest thread: takes messages from a source and puts them, parsed, into pooled frames.

use crate::error::Error;
use crate::live::{TimedFrame, WhenFull, touch_thread};
use alfred_board::hal::Clock;
use alfred_core::pose::PoseFrame;
use crossbeam::channel::{Receiver, Sender, TryRecvError, TrySendError};
use serde::Serialize;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counts of the ingest thread; they only rise.
#[derive(Debug, Default)]
pub struct IngestCounters {
    /// Messages that became frames.
    pub messages: AtomicU64,
    /// Messages refused: malformed, too long, wrong key-point count, unknown version.
    pub messages_refused: AtomicU64,
    /// Persons beyond 64 in one message: dropped.
    pub persons_over_limit: AtomicU64,
    /// Oldest waiting frames that gave way to newer ones.
    pub frames_shed: AtomicU64,
    /// Connections taken.
    pub connections: AtomicU64,
    /// Connections refused: another user's.
    pub connections_refused: AtomicU64,
    /// Looks at the source: that they go on shows that the thread lives.
    pub rounds: AtomicU64,
}

/// A copy of [`IngestCounters`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IngestFigures {
    /// See [`IngestCounters::messages`].
    pub messages: u64,
    /// See [`IngestCounters::messages_refused`].
    pub messages_refused: u64,
    /// See [`IngestCounters::persons_over_limit`].
    pub persons_over_limit: u64,
    /// See [`IngestCounters::frames_shed`].
    pub frames_shed: u64,
    /// See [`IngestCounters::connections`].
    pub connections: u64,
    /// See [`IngestCounters::connections_refused`].
    pub connections_refused: u64,
}

impl IngestCounters {
    /// The counts now.
    #[must_use]
    pub fn figures(&self) -> IngestFigures {
        IngestFigures {
            messages: self.messages.load(Relaxed),
            messages_refused: self.messages_refused.load(Relaxed),
            persons_over_limit: self.persons_over_limit.load(Relaxed),
            frames_shed: self.frames_shed.load(Relaxed),
            connections: self.connections.load(Relaxed),
            connections_refused: self.connections_refused.load(Relaxed),
        }
    }
}

/// Where poses come from. An implementation reads whole messages and hands each to [`Ingest::take`]; it allocates nothing per message.
pub trait PoseSource: Send {
    /// Reads until the source ends or `stop` becomes readable.
    ///
    /// # Errors
    /// A source that cannot go on. A bad message is no such error: it is counted.
    fn pump(self, ingest: &mut Ingest<'_>, stop: Option<BorrowedFd<'_>>) -> Result<(), Error>;
}

/// The ingest thread's ends of the queues.
pub struct Ingest<'a> {
    pub(crate) when_full: WhenFull,
    pub(crate) free: Receiver<Box<TimedFrame>>,
    /// The scoring thread's queue, from which the oldest frame is taken back when the pool is empty.
    pub(crate) stealable: Receiver<Box<TimedFrame>>,
    pub(crate) ready: Sender<Box<TimedFrame>>,
    pub(crate) counters: Arc<IngestCounters>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) output_failed: &'a AtomicBool,
    /// A frame whose message was refused: used again first.
    pub(crate) spare: Option<Box<TimedFrame>>,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Read on.
    Continue,
    /// A later thread has ended.
    Stop,
}

impl Ingest<'_> {
    pub(crate) fn run(mut self, source: impl PoseSource, stop: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        touch_thread();
        source.pump(&mut self, stop)
    }

    /// The counters, for a source's own counts.
    #[must_use]
    pub fn counters(&self) -> &IngestCounters {
        &self.counters
    }

    /// Says that the source is looked at once more.
    pub(crate) fn look(&self) {
        self.counters.rounds.fetch_add(1, Relaxed);
    }

    /// [`Ingest::take`] from a source that may have nothing: then `decode` fails, and nothing is counted.
    pub(crate) fn take_if_any<E>(&mut self, decode: impl FnOnce(&mut PoseFrame) -> Result<u32, E>) -> Flow {
        let Some(mut timed) = self.spare.take().or_else(|| self.buffer()) else { return Flow::Stop };
        match decode(&mut timed.frame) {
            Ok(persons_over_limit) => self.hand_over(timed, persons_over_limit),
            Err(_) => {
                self.spare = Some(timed);
                Flow::Continue
            }
        }
    }

    /// Whether the output has failed, so that reading on is useless.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.output_failed.load(Relaxed)
    }

    /// Counts a message that the source itself refuses (too long, say), and tells about the first one.
    pub fn refuse(&self, why: impl fmt::Display) {
        if self.counters.messages_refused.fetch_add(1, Relaxed) == 0 {
            eprintln!("poses: a message is refused: {why}; further ones are only counted (messages_refused)");
        }
    }

    /// Takes one message: `decode` writes it into a pooled frame and returns how many persons it had to leave out.
    pub fn take<E: fmt::Display>(&mut self, decode: impl FnOnce(&mut PoseFrame) -> Result<u32, E>) -> Flow {
        let Some(mut timed) = self.spare.take().or_else(|| self.buffer()) else { return Flow::Stop };
        match decode(&mut timed.frame) {
            Err(why) => {
                self.refuse(why);
                self.spare = Some(timed);
                Flow::Continue
            }
            Ok(persons_over_limit) => self.hand_over(timed, persons_over_limit),
        }
    }

    /// Gives a frame to the scoring thread.
    fn hand_over(&mut self, mut timed: Box<TimedFrame>, persons_over_limit: u32) -> Flow {
        self.counters.messages.fetch_add(1, Relaxed);
        self.counters.persons_over_limit.fetch_add(u64::from(persons_over_limit), Relaxed);
        timed.received = self.clock.now();
        if timed.frame.captured.0 == 0 {
            timed.frame.captured = timed.received;
        }
        match self.ready.try_send(timed) {
            Ok(()) => Flow::Continue,
            // There is room for every frame of the pool; only an ended scoring thread refuses one.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Flow::Stop,
        }
    }

    /// A free frame; if there is none, wait or take back the oldest waiting one.
    fn buffer(&mut self) -> Option<Box<TimedFrame>> {
        if self.when_full == WhenFull::Wait {
            return self.free.recv().ok();
        }
        loop {
            match self.free.try_recv() {
                Ok(timed) => return Some(timed),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            if let Ok(timed) = self.stealable.try_recv() {
                self.counters.frames_shed.fetch_add(1, Relaxed);
                return Some(timed);
            }
            // Every other frame is in the scoring thread's hands at this very moment: one of them will be back at once.
            std::thread::yield_now();
        }
    }
}
