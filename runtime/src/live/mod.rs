//! The live process: three threads, two bounded queues, and one policy for when they are full.
//!
//! ingest (parses poses into pooled frames) → scoring (the data path) → output (JSON lines); beside them, where bundles are taken, update. Frames and segment buffers circulate between
//! the threads; nothing is allocated once they run. Policy: a source that can wait (stdin) is made to wait, so nothing is lost; a source
//! that cannot (socket) loses the OLDEST waiting frame, since the newest is worth most, and the loss is counted.

pub mod latency;

pub mod ingest;

pub mod line_source;

pub mod socket_source;

pub mod slot_scorer;

pub mod scoring;

pub mod sampling;

pub mod update;

pub mod output;

pub mod link;

pub mod health;

pub mod care;

pub mod real_time;

pub mod thermal;

pub mod watchdog;

pub mod supervisor;

pub mod alarm;

pub mod board_source;

pub mod sandbox;

use crate::config::Source;
use crate::error::Error;
use crate::limits::{
    FRAME_POOL, IO_STACK_BYTES, OUTPUT_QUEUE, SAMPLE_BUFFERS, SEGMENT_BUFFERS, SUPERVISOR_STACK_BYTES, UPDATE_STACK_BYTES,
};
use alfred_board::hal::Clock;
use alfred_core::pipeline::PipelineConfig;
use alfred_core::pose::PoseFrame;
use alfred_core::scorer::Scorer;
use alfred_core::units::{FrameIndex, MonotonicNs};
use care::{Care, Starter, Surroundings};
use crossbeam::channel::{Receiver, Select, Sender, bounded};
use ingest::{IngestCounters, PoseSource};
use link::LinkFeed;
use output::{Item, SegmentBuffer, StatsBuffer};
use real_time::Role;
use sampling::{SampleBuffer, Samples, Sampling};
use slot_scorer::{Decider, SlotScorer};
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;
use update::Updates;

/// A pooled frame and when it came.
#[derive(Debug)]
pub struct TimedFrame {
    /// The poses.
    pub frame: PoseFrame,
    /// When the message was complete, by the board's clock.
    pub received: MonotonicNs,
}

impl TimedFrame {
    /// An empty frame for the pool.
    #[must_use]
    pub const fn new() -> Self {
        Self { frame: PoseFrame::new(FrameIndex(0), MonotonicNs(0)), received: MonotonicNs(0) }
    }
}

impl Default for TimedFrame {
    fn default() -> Self {
        Self::new()
    }
}

/// What happens when a queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The earlier thread waits: nothing is lost.
    Wait,
    /// The oldest waiting frame, or the newest message, is lost and counted.
    Shed,
}

impl From<Source> for WhenFull {
    fn from(source: Source) -> Self {
        match source {
            Source::Stdin | Source::Board => Self::Wait,
            Source::Socket => Self::Shed,
        }
    }
}

/// What the live process runs with.
pub struct LiveSettings {
    /// The camera's name.
    pub camera: String,
    /// The model's name, for people.
    pub model: String,
    /// The data path's settings.
    pub pipeline: PipelineConfig,
    /// What to do when a queue is full.
    pub when_full: WhenFull,
    /// From a frame's arrival to its decisions.
    pub deadline_us_max: u64,
    /// Write a line per decided frame.
    pub writes_frames: bool,
    /// Write the skeletons of events.
    pub writes_segments: bool,
    /// Seconds between two lines of health figures; 0: only at the end.
    pub stats_period_s: u64,
    /// Stack of the scoring thread.
    pub scoring_stack_bytes: usize,
    /// What the host gets of normal people; `None`: nothing.
    pub sampling: Option<Sampling>,
}

/// Both ends of a pool of buffers that circulate between two threads.
pub(crate) struct Pool<T> {
    pub(crate) free: Receiver<Box<T>>,
    pub(crate) give_back: Sender<Box<T>>,
}

impl<T> Pool<T> {
    pub(crate) fn new(count: usize, make: impl Fn() -> Box<T>) -> Self {
        let (give_back, free) = bounded(count);
        for _ in 0..count {
            // There is room for every one of them.
            let _ = give_back.try_send(make());
        }
        Self { free, give_back }
    }
}

/// Pools and queues between the threads; every end has been waited at. Each end of a pool gets one owner, so that whoever waits for a buffer
/// notices when the other thread has ended.
struct Plumbing {
    frames: Pool<TimedFrame>,
    segments: Pool<SegmentBuffer>,
    stats: Pool<StatsBuffer>,
    samples: Pool<SampleBuffer>,
    ready: (Sender<Box<TimedFrame>>, Receiver<Box<TimedFrame>>),
    items: (Sender<Item>, Receiver<Item>),
}

impl Plumbing {
    fn new(has_samples: bool) -> Self {
        let plumbing = Self {
            frames: Pool::new(FRAME_POOL, Box::default),
            segments: Pool::new(SEGMENT_BUFFERS, SegmentBuffer::boxed),
            stats: Pool::new(2, Box::default),
            samples: Pool::new(if has_samples { SAMPLE_BUFFERS } else { 0 }, Box::default),
            ready: bounded(FRAME_POOL),
            items: bounded(OUTPUT_QUEUE),
        };
        touch_channel(&plumbing.frames.give_back, &plumbing.frames.free, Box::default);
        touch_channel(&plumbing.segments.give_back, &plumbing.segments.free, SegmentBuffer::boxed);
        touch_channel(&plumbing.stats.give_back, &plumbing.stats.free, Box::default);
        touch_channel(&plumbing.ready.0, &plumbing.ready.1, Box::default);
        touch_channel(&plumbing.items.0, &plumbing.items.1, || Item::Stats(Box::default()));
        plumbing
    }
}

/// How long a wait lasts that is only made so that its book-keeping exists.
const TOUCH: Duration = Duration::from_micros(1);

/// Fills a new channel, waits at both of its ends, and empties it: crossbeam allocates an end's list of waiting threads when somebody waits there
/// for the first time, which would otherwise happen some day on the frame path.
///
/// The waits are selects: a plain `recv_timeout` first spins, and on a busy machine its time is up before it ever waits.
fn touch_channel<T>(sender: &Sender<T>, receiver: &Receiver<T>, make: impl Fn() -> T) {
    let held: Vec<T> = receiver.try_iter().collect();
    while sender.try_send(make()).is_ok() {}
    let mut full = Select::new();
    full.send(sender);
    if let Ok(operation) = full.select_timeout(TOUCH) {
        let _ = operation.send(sender, make());
    }
    while receiver.try_recv().is_ok() {}
    touch_receiver(receiver);
    for item in held {
        // They were in it before.
        let _ = sender.try_send(item);
    }
}

fn touch_receiver<T>(receiver: &Receiver<T>) {
    let mut empty = Select::new();
    empty.recv(receiver);
    if let Ok(operation) = empty.select_timeout(TOUCH) {
        let _ = operation.recv(receiver);
    }
}

/// Waits once, so that the calling thread's own book-keeping for waiting exists.
pub(crate) fn touch_thread() {
    let (_sender, receiver) = bounded::<()>(1);
    touch_receiver(&receiver);
}

/// What decides, and who keeps it up to date.
pub struct Deciding {
    /// Decides from the first frame on.
    pub live: Decider,
    /// Decides again if the live one, which is on trial, fails.
    pub reserve: Option<Decider>,
    /// The update thread; `None`: the live one decides for ever.
    pub updates: Option<Updates>,
}

/// Runs one model for ever; see [`run_deciding`].
///
/// # Errors
/// A writer that failed, or a thread that could not be started.
pub fn run(
    settings: LiveSettings,
    scorer: Box<dyn Scorer + Send>,
    source: impl PoseSource,
    stop: Option<BorrowedFd<'_>>,
    clock: Arc<dyn Clock>,
    writer: impl Write + Send,
) -> Result<(), Error> {
    let live = Decider { scorer, rule: settings.pipeline.decision, revision: 0 };
    run_deciding(settings, Deciding { live, reserve: None, updates: None }, source, stop, clock, writer)
}

/// Runs without a host; see [`run_linked`].
///
/// # Errors
/// A writer that failed, or a thread that could not be started.
pub fn run_deciding(
    settings: LiveSettings,
    deciding: Deciding,
    source: impl PoseSource,
    stop: Option<BorrowedFd<'_>>,
    clock: Arc<dyn Clock>,
    writer: impl Write + Send,
) -> Result<(), Error> {
    run_linked(settings, deciding, source, stop, clock, writer, None)
}

/// Runs without a board's care; see [`run_on_board`].
///
/// # Errors
/// A writer that failed, or a thread that could not be started.
pub fn run_linked(
    settings: LiveSettings,
    deciding: Deciding,
    source: impl PoseSource,
    stop: Option<BorrowedFd<'_>>,
    clock: Arc<dyn Clock>,
    writer: impl Write + Send,
    feed: Option<LinkFeed>,
) -> Result<(), Error> {
    run_on_board(settings, deciding, source, stop, writer, Surroundings { clock, feed, care: Care::default() })
}

/// Runs until the source ends or `stop` becomes readable; then every frame that came is decided, every event ended, and the last health
/// figures written. What concerns the host goes to the surroundings' feed.
///
/// # Errors
/// A writer that failed, or a thread that could not be started.
pub fn run_on_board(
    settings: LiveSettings,
    deciding: Deciding,
    source: impl PoseSource,
    stop: Option<BorrowedFd<'_>>,
    writer: impl Write + Send,
    surroundings: Surroundings,
) -> Result<(), Error> {
    let Surroundings { clock, feed, care: Care { real_time, health, supervisor, alarms, board } } = surroundings;
    let Deciding { live, reserve, updates } = deciding;
    real_time::lock_memory(&real_time, &health);
    let counters = Arc::new(IngestCounters::default());
    let output_failed = AtomicBool::new(false);
    let Plumbing { frames, segments, stats, samples, ready: (ready_tx, ready_rx), items: (item_tx, item_rx) } =
        Plumbing::new(settings.sampling.is_some());
    let (scorer, frame_thread) = SlotScorer::new(live, reserve);
    // Only an update thread may keep the output waiting.
    let updates = updates.map(|updates| (updates, item_tx.clone()));
    // Its sender goes with the scoring thread.
    let (alive, ended) = bounded::<()>(0);
    thread::scope(|scope| {
        let starter = Starter { scope, real_time, health: Arc::clone(&health) };
        let care = output::OutputCare { alarms, health: Arc::clone(&health), board };
        let pools = output::Pools { segments: segments.give_back, stats: stats.give_back, samples: samples.give_back };
        let mut output = output::Output::new(writer, pools, &output_failed, feed, care);
        output.start(&settings);
        let output = starter.start("output", Role::Output, IO_STACK_BYTES, move || output.run(&item_rx))?;
        let scoring = scoring::Scoring {
            settings: &settings,
            scorer,
            ready: ready_rx.clone(),
            give_back: frames.give_back,
            items: item_tx,
            segments: segments.free,
            stats: stats.free,
            samples: settings.sampling.as_ref().map(|sampling| Samples::new(sampling, samples.free, clock.now())),
            ingest: Arc::clone(&counters),
            clock: Arc::clone(&clock),
            health,
        };
        let scoring = starter.start("scoring", Role::Scoring, settings.scoring_stack_bytes, move || {
            let _alive = alive;
            scoring.run()
        })?;
        let update = updates.map(|(updates, items)| move || updates.run(&frame_thread, &items));
        let update = starter.start_some("update", UPDATE_STACK_BYTES, update)?;
        let ingest = ingest::Ingest {
            when_full: settings.when_full,
            free: frames.free,
            stealable: ready_rx,
            ready: ready_tx,
            counters: Arc::clone(&counters),
            clock,
            output_failed: &output_failed,
            spare: None,
        };
        let ingest = starter.start("ingest", Role::Ingest, IO_STACK_BYTES, move || ingest.run(source, stop))?;
        // The last one, since it tells the watchdog that all of them run.
        let supervisor = supervisor.map(|supervisor| move || supervisor.run(&ended, &counters));
        let supervisor = starter.start_some("supervisor", SUPERVISOR_STACK_BYTES, supervisor)?;
        let (ingest, scoring) = (joined("ingest thread", ingest), joined("scoring thread", scoring));
        let update = update.map_or(Ok(()), |update| joined("update thread", update));
        let output = joined("output thread", output);
        let supervisor = supervisor.map_or(Ok(()), |supervisor| joined("supervisor thread", supervisor));
        ingest.and(scoring).and(update).and(output).and(supervisor)
    })
}

/// What a thread ended with; a panic is an error that says which one it was.
fn joined(what: &'static str, thread: ScopedJoinHandle<'_, Result<(), Error>>) -> Result<(), Error> {
    thread.join().unwrap_or_else(|_| Err(Error::system(what, "it panicked: please report this")))
}
