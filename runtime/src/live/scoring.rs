//! The scoring thread: drives the data path, watches the deadline, and passes on what it finds.

use crate::error::Error;
use crate::limits::SEGMENT_BUFFER_POSES_MAX;
use crate::live::health::BoardHealth;
use crate::live::ingest::IngestCounters;
use crate::live::latency::Latency;
use crate::live::output::{DegradeMessage, Item, SegmentBuffer, StatsBuffer};
use crate::live::sampling::Samples;
use crate::live::slot_scorer::SlotScorer;
use crate::live::thermal::RUNGS;
use crate::live::{LiveSettings, TimedFrame, WhenFull, touch_thread};
use crate::replay::HeapMemory;
use alfred_board::hal::Clock;
use alfred_board::thread_policy::page_faults;
use alfred_core::event::Event;
use alfred_core::pipeline::{FrameDecision, Pipeline, Sink, WindowScore};
use alfred_core::scorer::Scorer;
use alfred_core::segment::SegmentView;
use alfred_core::units::FrameIndex;
use alfred_wire::output::{EventMessage, FrameMessage, SegmentHeader};
use crossbeam::channel::{Receiver, Sender, TrySendError};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What the scoring thread owns.
pub(crate) struct Scoring<'a> {
    pub(crate) settings: &'a LiveSettings,
    pub(crate) scorer: SlotScorer,
    pub(crate) ready: Receiver<Box<TimedFrame>>,
    pub(crate) give_back: Sender<Box<TimedFrame>>,
    pub(crate) items: Sender<Item>,
    pub(crate) segments: Receiver<Box<SegmentBuffer>>,
    pub(crate) stats: Receiver<Box<StatsBuffer>>,
    pub(crate) samples: Option<Samples>,
    pub(crate) ingest: Arc<IngestCounters>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) health: Arc<BoardHealth>,
}

impl Scoring<'_> {
    pub(crate) fn run(mut self) -> Result<(), Error> {
        touch_thread();
        let mut memory = HeapMemory::default();
        let mut config = self.settings.pipeline.clone();
        // A bundle may decide from the start.
        config.decision = self.scorer.rule();
        let pipeline = Pipeline::new(config, self.scorer.window_frames(), memory.lend());
        let mut pipeline = pipeline.map_err(|error| Error::input("configuration", error))?;
        let latencies = Latency::new().zip(Latency::new());
        let (mut total, mut step) = latencies.ok_or_else(|| Error::system("latency", "cannot make a histogram"))?;
        let mut sink = LiveSink {
            settings: self.settings,
            items: &self.items,
            segments: &self.segments,
            threshold: self.scorer.rule().map_or(f32::INFINITY, |rule| rule.threshold().value()),
            spare_segment: None,
            spare_stats: None,
            samples: self.samples.take(),
            output_lost: 0,
            segments_lost: 0,
        };
        let started = self.clock.now();
        let mut told = started;
        let mut deadline_misses = 0_u64;
        let mut rung = 0;
        let faults_at_start = page_faults().unwrap_or_default();
        while let Ok(timed) = self.ready.recv() {
            self.health.flow.frames_taken.fetch_add(1, Relaxed);
            let begun = self.clock.now();
            follow_ladder(&mut rung, &self.health, timed.frame.frame, &mut pipeline, &mut self.scorer, &mut sink);
            if let Some(rule) = self.scorer.between_frames(timed.frame.frame) {
                pipeline.set_decision(rule);
                sink.threshold = rule.threshold().value();
            }
            if let Some(samples) = &mut sink.samples {
                samples.begin(begun);
            }
            pipeline.step(&timed.frame, &mut self.scorer, &mut sink);
            let ended = self.clock.now();
            let latency = ended.0.saturating_sub(timed.received.0);
            total.record(latency);
            step.record(ended.0.saturating_sub(begun.0));
            deadline_misses += u64::from(latency > self.settings.deadline_us_max.saturating_mul(1000));
            // There is room for every frame of the pool, unless the ingest thread has ended.
            let _ = self.give_back.try_send(timed);
            self.health.flow.frames_done.fetch_add(1, Relaxed);
            let period_ns = self.settings.stats_period_s.saturating_mul(1_000_000_000);
            if period_ns > 0 && ended.0 - told.0 >= period_ns {
                told = ended;
                tell_page_faults(faults_at_start, &self.health);
                let figures = figures(started.0, ended.0, &pipeline, &self.ingest, deadline_misses, &sink, &total, &step);
                // Health figures are told again soon: without a free buffer this turn is left out.
                if let Some(mut buffer) = sink.spare_stats.take().or_else(|| self.stats.try_recv().ok()) {
                    *buffer = figures;
                    sink.pass_on(Item::Stats(buffer));
                }
            }
        }
        pipeline.finish(&mut sink);
        tell_page_faults(faults_at_start, &self.health);
        let figures = figures(started.0, self.clock.now().0, &pipeline, &self.ingest, deadline_misses, &sink, &total, &step);
        // The last figures always arrive; an ended output thread has told its own fault.
        if let Some(mut buffer) = sink.spare_stats.take().or_else(|| self.stats.recv().ok()) {
            *buffer = figures;
            let _ = self.items.send(Item::Stats(buffer));
        }
        Ok(())
    }
}

/// Takes over what the temperature asks for, before the frame `next` is scored.
fn follow_ladder(
    rung: &mut u32,
    health: &BoardHealth,
    next: FrameIndex,
    pipeline: &mut Pipeline<'_>,
    scorer: &mut SlotScorer,
    sink: &mut LiveSink<'_>,
) {
    let asked = health.rung.load(Relaxed);
    let Some(what) = RUNGS.get(asked as usize).filter(|_| asked != *rung) else { return };
    *rung = asked;
    let stride = sink.settings.pipeline.window.stride.saturating_mul(what.stride_factor);
    pipeline.set_stride(stride);
    scorer.set_scores_shadow(what.scores_shadow);
    sink.pass_on(Item::Degrade(DegradeMessage {
        rung: asked,
        stride,
        scores_shadow: what.scores_shadow,
        from_frame: next.0,
        temperature_milli_celsius: health.temperature().map(|temperature| temperature.0),
    }));
}

/// Page faults of this thread since its first frame.
fn tell_page_faults(at_start: (u64, u64), health: &BoardHealth) {
    if let Ok((minor, major)) = page_faults() {
        health.page_faults_minor.store(minor - at_start.0, Relaxed);
        health.page_faults_major.store(major - at_start.1, Relaxed);
    }
}

#[expect(clippy::too_many_arguments, reason = "one call gathers what the loop owns in separate places")]
fn figures(
    started_ns: u64,
    now_ns: u64,
    pipeline: &Pipeline<'_>,
    ingest: &IngestCounters,
    deadline_misses: u64,
    sink: &LiveSink<'_>,
    total: &Latency,
    step: &Latency,
) -> StatsBuffer {
    StatsBuffer {
        uptime_s: now_ns.saturating_sub(started_ns) / 1_000_000_000,
        counters: *pipeline.counters(),
        ingest: ingest.figures(),
        deadline_misses,
        output_lost: sink.output_lost,
        segments_lost: sink.segments_lost,
        frame_to_decision: total.figures(),
        step: step.figures(),
    }
}

/// Copies what the data path finds into the output's queue.
struct LiveSink<'a> {
    settings: &'a LiveSettings,
    items: &'a Sender<Item>,
    segments: &'a Receiver<Box<SegmentBuffer>>,
    threshold: f32,
    /// Buffers whose message the full queue refused: used again first.
    spare_segment: Option<Box<SegmentBuffer>>,
    spare_stats: Option<Box<StatsBuffer>>,
    samples: Option<Samples>,
    output_lost: u64,
    segments_lost: u64,
}

impl LiveSink<'_> {
    fn pass_on(&mut self, item: Item) {
        let refused = match self.settings.when_full {
            WhenFull::Wait => self.items.send(item).err().map(|refused| refused.0),
            WhenFull::Shed => self.items.try_send(item).err().map(TrySendError::into_inner),
        };
        match refused {
            None => {}
            Some(Item::Event(_) | Item::Frame(_) | Item::Bundle(_) | Item::Degrade(_)) => self.output_lost += 1,
            // The buffers stay in use: dropped ones would be missing from their pools for ever.
            Some(Item::Segment(buffer)) => {
                self.segments_lost += 1;
                self.spare_segment = Some(buffer);
            }
            Some(Item::Stats(buffer)) => self.spare_stats = Some(buffer),
            Some(Item::Sample(buffer)) => {
                self.output_lost += 1;
                if let Some(samples) = &mut self.samples {
                    samples.spare = Some(buffer);
                }
            }
        }
    }
}

impl Sink for LiveSink<'_> {
    fn wants_tracklet(&mut self, window: &WindowScore) -> Option<FrameIndex> {
        self.samples.as_mut()?.wants(window, self.threshold)
    }

    fn tracklet(&mut self, window: &WindowScore, poses: &SegmentView<'_>) {
        let packed = self.samples.as_mut().and_then(|samples| samples.pack(window, poses));
        if let Some(buffer) = packed {
            self.pass_on(Item::Sample(buffer));
        }
    }

    fn frame(&mut self, decision: &FrameDecision) {
        if self.settings.writes_frames {
            self.pass_on(Item::Frame(FrameMessage::from(decision)));
        }
    }

    fn event(&mut self, event: &Event) {
        self.pass_on(Item::Event(EventMessage::new(event, self.threshold)));
    }

    fn segment(&mut self, segment: &SegmentView<'_>) {
        if !self.settings.writes_segments {
            return;
        }
        let free = self.spare_segment.take().or_else(|| match self.settings.when_full {
            WhenFull::Wait => self.segments.recv().ok(),
            WhenFull::Shed => self.segments.try_recv().ok(),
        });
        let Some(mut buffer) = free else {
            self.segments_lost += 1;
            return;
        };
        fill(&mut buffer, segment);
        self.pass_on(Item::Segment(buffer));
    }
}

/// Copies a segment; when it is too large, the flagged person's poses stay and the others' go, last frames first.
fn fill(buffer: &mut SegmentBuffer, segment: &SegmentView<'_>) {
    let part = segment.part;
    let total = segment.poses().count();
    let mut own_left = segment.poses().filter(|pose| pose.person == part.person).count();
    buffer.poses.clear();
    for pose in segment.poses() {
        let is_own = pose.person == part.person;
        let room = SEGMENT_BUFFER_POSES_MAX - buffer.poses.len();
        if room > if is_own { 0 } else { own_left } {
            buffer.poses.push(*pose);
        }
        own_left -= usize::from(is_own);
    }
    buffer.header = SegmentHeader {
        event: part.event.0,
        part: part.part,
        is_last: part.is_last,
        person: part.person.0,
        from_frame: part.from.0,
        to_frame: part.to.0,
        is_incomplete: segment.is_incomplete,
        is_cut_short: segment.is_cut_short,
        poses_left_out: (total - buffer.poses.len()) as u32,
    };
}
