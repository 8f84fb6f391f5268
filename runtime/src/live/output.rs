//! The output thread: one JSON line per message, through a fixed buffer.

use crate::error::Error;
use crate::limits::{OUTPUT_BUFFER_BYTES, SEGMENT_BUFFER_POSES_MAX};
use crate::live::alarm::AlarmFeed;
use crate::live::health::BoardHealth;
use crate::live::ingest::IngestFigures;
use crate::live::latency::LatencyFigures;
use crate::live::link::LinkFeed;
use crate::live::sampling::SampleBuffer;
use crate::live::{LiveSettings, touch_thread};
use alfred_board::counting_allocator::process_allocations;
use alfred_board::generic_linux::ProcessMemory;
use alfred_board::hal::Memory;
use alfred_bundle::fingerprint::fingerprint;
use alfred_core::counters::Counters;
use alfred_core::segment::SegmentPose;
use alfred_wire::link::BundleState;
use alfred_wire::output::{EventMessage, FrameMessage, SegmentHeader};
use crossbeam::channel::{Receiver, Sender};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A segment part on its way to the output.
#[derive(Debug)]
pub struct SegmentBuffer {
    /// What it is about.
    pub header: SegmentHeader,
    /// The poses, oldest frame first.
    pub poses: Vec<SegmentPose>,
}

impl SegmentBuffer {
    /// An empty buffer with room for [`SEGMENT_BUFFER_POSES_MAX`] poses; never grown.
    #[must_use]
    pub fn boxed() -> Box<Self> {
        let header = SegmentHeader {
            event: 0,
            part: 0,
            is_last: false,
            person: 0,
            from_frame: 0,
            to_frame: 0,
            is_incomplete: false,
            is_cut_short: false,
            poses_left_out: 0,
        };
        Box::new(Self { header, poses: Vec::with_capacity(SEGMENT_BUFFER_POSES_MAX) })
    }
}

/// Health figures on their way to the output.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatsBuffer {
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Counts of the data path.
    pub counters: Counters,
    /// Counts of the ingest thread.
    pub ingest: IngestFigures,
    /// Frames whose decisions came after the deadline.
    pub deadline_misses: u64,
    /// Events and frame lines lost because the output was too slow.
    pub output_lost: u64,
    /// Segment parts lost because the output was too slow.
    pub segments_lost: u64,
    /// From a frame's arrival to its decisions.
    pub frame_to_decision: LatencyFigures,
    /// The data path alone.
    pub step: LatencyFigures,
}

/// What travels to the output thread.
#[derive(Debug)]
pub enum Item {
    /// An event message.
    Event(EventMessage),
    /// A decided frame.
    Frame(FrameMessage),
    /// A segment part.
    Segment(Box<SegmentBuffer>),
    /// Health figures.
    Stats(Box<StatsBuffer>),
    /// What became of a bundle.
    Bundle(BundleState),
    /// A normal sample; it goes to the host only.
    Sample(Box<SampleBuffer>),
    /// The degrade ladder was climbed or descended.
    Degrade(DegradeMessage),
}

/// Where buffers go back to.
pub(crate) struct Pools {
    pub(crate) segments: Sender<Box<SegmentBuffer>>,
    pub(crate) stats: Sender<Box<StatsBuffer>>,
    pub(crate) samples: Sender<Box<SampleBuffer>>,
}

/// What holds from a frame on, since the board is hot, or no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DegradeMessage {
    /// Rung of the ladder; 0: nothing is left out.
    pub rung: u32,
    /// Detections between two windows of a person.
    pub stride: u32,
    /// Whether a candidate is scored beside the live model.
    pub scores_shadow: bool,
    /// First frame for which it holds.
    pub from_frame: u64,
    /// The temperature, thousandths of a degree Celsius; `null` if it is not known any more.
    pub temperature_milli_celsius: Option<i32>,
}

/// The output thread's state.
pub struct Output<'a, W: Write> {
    writer: BufWriter<W>,
    pools: Pools,
    failed: &'a AtomicBool,
    memory: ProcessMemory,
    /// Allocations of the process when the first message was written; later ones are told in the health figures.
    allocations_at_start: u64,
    /// What goes to the host.
    feed: Option<LinkFeed>,
    /// Alarms beside the board.
    alarms: Option<AlarmFeed>,
    health: Arc<BoardHealth>,
    /// Who runs where, for the first line.
    board: BoardLine,
    fault: Option<io::Error>,
}

impl<'a, W: Write> Output<'a, W> {
    pub(crate) fn new(writer: W, pools: Pools, failed: &'a AtomicBool, feed: Option<LinkFeed>, care: OutputCare) -> Self {
        let writer = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, writer);
        let OutputCare { alarms, health, board } = care;
        let memory = ProcessMemory::open();
        Self { writer, pools, failed, memory, allocations_at_start: 0, feed, alarms, health, board, fault: None }
    }

    /// Writes the first line: who runs what.
    pub(crate) fn start(&mut self, settings: &LiveSettings) {
        let start = StartLine {
            camera: &settings.camera,
            model: &settings.model,
            version: env!("CARGO_PKG_VERSION"),
            threshold: settings.pipeline.decision.map(|rule| rule.threshold().value()),
            window_frames: settings.pipeline.window.window_frames,
            delay_frames: settings.pipeline.window.centre_lag_frames() + settings.pipeline.smoothing.ahead_frames(),
            fingerprint: format!("{:016x}", fingerprint(&settings.pipeline)),
            board: self.board.clone(),
        };
        self.line(&Line::Start(start));
        self.flush();
    }

    /// Writes until the scoring thread ends.
    pub(crate) fn run(mut self, items: &Receiver<Item>) -> Result<(), Error> {
        touch_thread();
        let mut is_first = true;
        while let Ok(item) = items.recv() {
            if std::mem::take(&mut is_first) {
                self.allocations_at_start = process_allocations();
            }
            self.health.flow.items_taken.fetch_add(1, Relaxed);
            self.write(item);
            self.health.flow.items_done.fetch_add(1, Relaxed);
            // Nothing waits: let people see what there is.
            if items.is_empty() {
                self.flush();
            }
        }
        self.flush();
        self.fault.map_or(Ok(()), |error| Err(Error::system("output", error)))
    }

    fn write(&mut self, item: Item) {
        if let Some(alarms) = &mut self.alarms {
            alarms.take(&item);
        }
        if let Some(feed) = &mut self.feed {
            feed.take(&item);
        }
        match item {
            Item::Event(event) => self.line(&Line::Event(&event)),
            Item::Frame(frame) => self.line(&Line::Frame(&frame)),
            Item::Segment(segment) => {
                self.line(&Line::Segment(SegmentLine { header: &segment.header, poses: PoseList(&segment.poses) }));
                // The pool has room for each of its buffers.
                let _ = self.pools.segments.try_send(segment);
            }
            Item::Bundle(state) => self.line(&Line::Bundle(&state)),
            Item::Sample(sample) => {
                let _ = self.pools.samples.try_send(sample);
            }
            Item::Degrade(message) => self.line(&Line::Degrade(&message)),
            Item::Stats(stats) => {
                let resident_bytes = self.memory.resident_bytes();
                let allocations = process_allocations() - self.allocations_at_start;
                let health = Arc::clone(&self.health);
                self.line(&Line::Stats(StatsLine { stats: &stats, resident_bytes, allocations, board: &health }));
                let _ = self.pools.stats.try_send(stats);
            }
        }
    }

    fn line(&mut self, line: &Line<'_>) {
        if self.fault.is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut self.writer, line).map_err(io::Error::from);
        let ended = written.and_then(|()| self.writer.write_all(b"\n"));
        self.keep(ended);
    }

    fn flush(&mut self) {
        if self.fault.is_none() {
            let flushed = self.writer.flush();
            self.keep(flushed);
        }
    }

    /// After the first fault nothing more is written, the source is asked to stop, and the fault is told at the end.
    fn keep(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            self.fault.get_or_insert(error);
            self.failed.store(true, Relaxed);
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'l> {
    Start(StartLine<'l>),
    Event(&'l EventMessage),
    Frame(&'l FrameMessage),
    Segment(SegmentLine<'l>),
    Stats(StatsLine<'l>),
    Bundle(&'l BundleState),
    Degrade(&'l DegradeMessage),
}

#[derive(Serialize)]
struct StartLine<'l> {
    camera: &'l str,
    model: &'l str,
    version: &'l str,
    threshold: Option<f32>,
    window_frames: usize,
    delay_frames: usize,
    /// What a bundle for this device must be made for.
    fingerprint: String,
    board: BoardLine,
}

/// Which board this is, for the first line.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BoardLine {
    /// Name of the board's facts; empty: none was asked.
    pub name: String,
    /// What its firmware calls it.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
}

/// What the output thread does for the board's side.
pub(crate) struct OutputCare {
    pub(crate) alarms: Option<AlarmFeed>,
    pub(crate) health: Arc<BoardHealth>,
    pub(crate) board: BoardLine,
}

#[derive(Serialize)]
struct SegmentLine<'l> {
    #[serde(flatten)]
    header: &'l SegmentHeader,
    poses: PoseList<'l>,
}

struct PoseList<'l>(&'l [SegmentPose]);

impl Serialize for PoseList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for pose in self.0 {
            list.serialize_element(&PoseLine {
                frame: pose.frame.0,
                time_ns: pose.captured.0,
                person: pose.person.0,
                keypoints: KeyPointList(pose),
            })?;
        }
        list.end()
    }
}

#[derive(Serialize)]
struct PoseLine<'l> {
    frame: u64,
    time_ns: u64,
    person: u32,
    keypoints: KeyPointList<'l>,
}

struct KeyPointList<'l>(&'l SegmentPose);

impl Serialize for KeyPointList<'_> {
    /// 51 numbers, as poses come in: x, y in quarter pixels' steps, confidence with two decimals.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(51))?;
        for keypoint in self.0.keypoints() {
            list.serialize_element(&keypoint.x)?;
            list.serialize_element(&keypoint.y)?;
            list.serialize_element(&((keypoint.confidence * 100.0).round() / 100.0))?;
        }
        list.end()
    }
}

struct StatsLine<'l> {
    stats: &'l StatsBuffer,
    resident_bytes: Option<u64>,
    allocations: u64,
    board: &'l BoardHealth,
}

impl Serialize for StatsLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stats = self.stats;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("uptime_s", &stats.uptime_s)?;
        map.serialize_entry("resident_bytes", &self.resident_bytes)?;
        map.serialize_entry("allocations_since_start", &self.allocations)?;
        map.serialize_entry("deadline_misses", &stats.deadline_misses)?;
        map.serialize_entry("output_lost", &stats.output_lost)?;
        map.serialize_entry("segments_lost", &stats.segments_lost)?;
        map.serialize_entry("frame_to_decision", &stats.frame_to_decision)?;
        map.serialize_entry("step", &stats.step)?;
        map.serialize_entry("ingest", &stats.ingest)?;
        map.serialize_entry("counters", &CounterMap(&stats.counters))?;
        map.serialize_entry("board", self.board)?;
        map.end()
    }
}

struct CounterMap<'l>(&'l Counters);

impl Serialize for CounterMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Counters::NAMES.iter().zip(self.0.values()))
    }
}
