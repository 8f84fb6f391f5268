//! The only file that calls every stage, in order: one frame of poses in, scores, decisions, events and segments out.
//!
//! Delay: a window's score belongs to the window's middle, and smoothing may look ahead, so the decision about frame `f` falls when frame
//! `f + delay` comes ([`Pipeline::delay_frames`]). Events and segments follow from decisions. Memory is the caller's
//! ([`PipelineMemory`]); nothing is allocated.

use crate::counters::Counters;
use crate::decision::DecisionRule;
use crate::event::{EndReason, Event, EventId, EventKind, EventRule, EventStep};
use crate::limits::{
    BATCH_WINDOWS_MAX, DELAY_FRAMES_MAX, FRAME_GAP_MAX, FRAME_INDEX_MAX, OUT_OF_ORDER_RUN_MAX, SCORE_RING_FRAMES, TRACKS_MAX,
};
use crate::normalise::{PixelScale, normalise};
use crate::pose::{KeyPoint, PersonPose, PoseFrame};
use crate::score_ring::ScoreRing;
use crate::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use crate::segment::{PartCutter, SegmentPart, SegmentPose, SegmentRule, SegmentStore, SegmentView};
use crate::smoothing::CausalKernel;
use crate::track_table::{Place, TrackSlot, place_of};
use crate::track_window::{Continuity, NoWindow, WindowPolicy, WindowSpan};
use crate::units::{AnomalyScore, FrameIndex, MonotonicNs, PersonId};

/// More than this between two neighbouring frames is a step of the clock.
const CLOCK_STEP_NS_MIN: u64 = 10_000_000_000;

/// Everything that is set before the first frame.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// When detections become windows.
    pub window: WindowPolicy,
    /// What pixels are divided by.
    pub scale: PixelScale,
    /// How scores are smoothed.
    pub smoothing: CausalKernel,
    /// Threshold and hysteresis; `None`: scores only, nothing is ever anomalous.
    pub decision: Option<DecisionRule>,
    /// How anomalous frames become events.
    pub event: EventRule,
    /// Frames around events that are kept for review.
    pub segment: SegmentRule,
    /// Frames without a person after which its track ends; `None`: only when its slot is needed (published windows never expire).
    pub idle_frames_max: Option<u32>,
}

/// Which setting of a [`PipelineConfig`] or which memory lies outside the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidConfig {
    /// Window length, stride, or a filter of the window policy.
    Window,
    /// The window policy's length is not the scorer's.
    ScorerWindow,
    /// A divisor is not finite or not above zero.
    Scale,
    /// Length, updates or merge of the event rule.
    Event,
    /// Pre-roll or post-roll.
    Segment,
    /// A track would end before its last frame is decided.
    Idle,
    /// A slice of the memory is empty or too long.
    Memory,
}

impl core::fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Window => "window: 4 to 48 frames, a stride of at least 1 and finite filters are needed",
            Self::ScorerWindow => "window: its length is not the model's",
            Self::Scale => "scale: both divisors must be finite and above 0",
            Self::Event => "event: length_frames_min and update_frames must be at least 1",
            Self::Segment => "segment: pre- and post-roll must be at most 90 frames",
            Self::Idle => "idle_frames_max is shorter than the delay: a track would end before its last frame is decided",
            Self::Memory => "memory: at least one track, pose and window are needed, at most 64 tracks and 16 windows",
        })
    }
}

impl core::error::Error for InvalidConfig {}

/// The memory of one pipeline; the caller decides where it lies and how much of it there is.
#[derive(Debug)]
pub struct PipelineMemory<'m> {
    /// One slot per person followed, 1 to 64.
    pub tracks: &'m mut [TrackSlot],
    /// Poses kept for segments, at least 1.
    pub poses: &'m mut [SegmentPose],
    /// Windows scored in one call, 1 to 16.
    pub windows: &'m mut [Window],
}

/// A scored window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowScore {
    /// The person.
    pub person: PersonId,
    /// Frame of the window's first detection.
    pub first: FrameIndex,
    /// Frame of its last detection.
    pub last: FrameIndex,
    /// Frame that the score belongs to.
    pub centre: FrameIndex,
    /// The model's score.
    pub score: AnomalyScore,
}

/// The decision about one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameDecision {
    /// The frame.
    pub frame: FrameIndex,
    /// When it was captured; `None` if it never came.
    pub captured: Option<MonotonicNs>,
    /// Persons in it.
    pub persons: u16,
    /// Score of its worst person; `None` if nobody is scored.
    pub score: Option<AnomalyScore>,
    /// The worst person.
    pub worst: Option<PersonId>,
    /// Smoothed score.
    pub smoothed: Option<AnomalyScore>,
    /// Whether the smoothed score is anomalous.
    pub is_anomalous: bool,
}

/// Who takes what the pipeline finds. Calls come within [`Pipeline::step`]; an implementation must not block.
pub trait Sink {
    /// A window was scored.
    fn window(&mut self, _window: &WindowScore) {}
    /// Whether poses up to the end of this scored window are wanted, too ([`Sink::tracklet`]), and from which frame on; asked once per
    /// window. The window's own begin at `window.first`; earlier ones show how its person came there.
    fn wants_tracklet(&mut self, _window: &WindowScore) -> Option<FrameIndex> {
        None
    }
    /// The poses that were wanted, among those of everybody else. Not called when some of them have been overwritten.
    fn tracklet(&mut self, _window: &WindowScore, _poses: &SegmentView<'_>) {}
    /// A frame was decided. Every frame number comes once, in order.
    fn frame(&mut self, _decision: &FrameDecision) {}
    /// An event began, goes on, or ended.
    fn event(&mut self, _event: &Event) {}
    /// A segment part is complete.
    fn segment(&mut self, _segment: &SegmentView<'_>) {}
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It was scored.
    Accepted,
    /// It has the newest frame's number: dropped.
    Duplicate,
    /// Its number lies below the newest one: dropped.
    OutOfOrder,
    /// Its number lies above the largest one allowed: dropped.
    OutOfRange,
    /// Its number is far above the newest one; everything ended and began anew with it.
    AcceptedAfterGap,
    /// Its source has begun anew; everything ended and began anew with it.
    AcceptedAfterRestart,
}

#[derive(Clone, Copy, Debug)]
struct FrameSlot {
    persons: u16,
    captured: Option<MonotonicNs>,
    worst: Option<PersonId>,
}

impl FrameSlot {
    const EMPTY: Self = Self { persons: 0, captured: None, worst: None };
}

/// The window that one entry of the current batch belongs to.
#[derive(Clone, Copy, Debug)]
struct Pending {
    slot: usize,
    span: WindowSpan,
}

/// State of the data path of one camera.
#[derive(Debug)]
pub struct Pipeline<'m> {
    config: PipelineConfig,
    delay: u64,
    tracks: &'m mut [TrackSlot],
    windows: &'m mut [Window],
    batch: heapless::Vec<Pending, BATCH_WINDOWS_MAX>,
    store: SegmentStore<'m>,
    frames: [FrameSlot; SCORE_RING_FRAMES],
    scores: ScoreRing,
    is_anomalous: bool,
    /// Newest frame and its capture time; `None` before the first one.
    newest: Option<(FrameIndex, MonotonicNs)>,
    /// First frame that is not decided yet.
    undecided: FrameIndex,
    out_of_order_run: u32,
    next_event: EventId,
    counters: Counters,
}

impl<'m> Pipeline<'m> {
    /// A pipeline for a scorer with windows of `scorer_window_frames`.
    ///
    /// # Errors
    /// [`InvalidConfig`] names what lies outside the limits.
    pub fn new(config: PipelineConfig, scorer_window_frames: usize, memory: PipelineMemory<'m>) -> Result<Self, InvalidConfig> {
        let delay = config.window.centre_lag_frames() + config.smoothing.ahead_frames();
        check(&config, scorer_window_frames, delay, &memory)?;
        Ok(Self {
            config,
            delay: delay as u64,
            tracks: memory.tracks,
            windows: memory.windows,
            batch: heapless::Vec::new(),
            store: SegmentStore::new(memory.poses),
            frames: [FrameSlot::EMPTY; SCORE_RING_FRAMES],
            scores: ScoreRing::EMPTY,
            is_anomalous: false,
            newest: None,
            undecided: FrameIndex(0),
            out_of_order_run: 0,
            next_event: EventId(0),
            counters: Counters::default(),
        })
    }

    /// Frames between a frame and the decision about it: half a window, the missing frames a window may have, and the look-ahead.
    #[must_use]
    pub const fn delay_frames(&self) -> u64 {
        self.delay
    }

    /// Counts since start-up.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Decides by another rule from the next decision on: a new model has its own threshold. Frames that are scored but not decided yet
    /// (at most [`Pipeline::delay_frames`]) keep the scores of the model that scored them.
    pub fn set_decision(&mut self, rule: DecisionRule) {
        self.config.decision = Some(rule);
    }

    /// Scores every `stride`-th detection of a person from the next frame on, at least 1: what a hot board changes.
    pub fn set_stride(&mut self, stride: u32) {
        self.config.window.stride = stride.max(1);
    }

    /// Takes one frame through every stage. `scorer` must be the one whose window length was given to [`Pipeline::new`].
    pub fn step<S: Scorer + ?Sized, K: Sink + ?Sized>(&mut self, frame: &PoseFrame, scorer: &mut S, sink: &mut K) -> Admission {
        let admission = self.admit(frame, sink);
        if matches!(admission, Admission::Duplicate | Admission::OutOfOrder | Admission::OutOfRange) {
            return admission;
        }
        // Frames that no coming score can reach are decided first: after a gap the rings would lose them.
        self.decide_until(FrameIndex(frame.frame.0.saturating_sub(self.delay)), sink);
        self.open_frame(frame);
        for person in &frame.persons {
            self.take_person(frame, person, scorer, sink);
        }
        self.score_batch(scorer, sink);
        let decided_end = FrameIndex((frame.frame.0 + 1).saturating_sub(self.delay));
        self.decide_until(decided_end, sink);
        self.end_idle_tracks(frame.frame, sink);
        while let Some(part) = self.store.take_complete(frame.frame) {
            self.hand_out(part, sink);
        }
        admission
    }

    /// Ends the stream: decides every frame that has come, ends every event, hands out every segment, and forgets every track.
    /// The next frame begins a new stream, whatever its number.
    pub fn finish<K: Sink + ?Sized>(&mut self, sink: &mut K) {
        let Some((newest, _)) = self.newest else { return };
        let end = FrameIndex(newest.0 + 1);
        self.decide_until(end, sink);
        for slot in 0..self.tracks.len() {
            self.release(slot, EndReason::StreamEnded, sink);
        }
        while let Some(part) = self.store.take_any() {
            self.hand_out(part, sink);
        }
        self.store.restart();
        self.newest = None;
        self.is_anomalous = false;
        self.out_of_order_run = 0;
    }

    /// Decides what a frame's number and time mean.
    fn admit<K: Sink + ?Sized>(&mut self, frame: &PoseFrame, sink: &mut K) -> Admission {
        if frame.frame.0 > FRAME_INDEX_MAX {
            self.counters.frames_out_of_range += 1;
            return Admission::OutOfRange;
        }
        let Some((newest, captured)) = self.newest else {
            self.begin_stream(frame);
            return Admission::Accepted;
        };
        if frame.frame == newest {
            self.counters.frames_duplicate += 1;
            return Admission::Duplicate;
        }
        if frame.frame < newest {
            self.out_of_order_run += 1;
            if self.out_of_order_run < OUT_OF_ORDER_RUN_MAX {
                self.counters.frames_out_of_order += 1;
                return Admission::OutOfOrder;
            }
            self.counters.source_restarts += 1;
            self.finish(sink);
            self.begin_stream(frame);
            return Admission::AcceptedAfterRestart;
        }
        self.out_of_order_run = 0;
        let elapsed_frames = frame.frame.0 - newest.0;
        if frame.captured < captured || frame.captured.0 - captured.0 > CLOCK_STEP_NS_MIN.saturating_mul(elapsed_frames) {
            self.counters.clock_steps += 1;
        }
        if elapsed_frames > FRAME_GAP_MAX {
            self.counters.frame_gaps += 1;
            self.finish(sink);
            self.begin_stream(frame);
            return Admission::AcceptedAfterGap;
        }
        self.counters.frames_missing += elapsed_frames - 1;
        self.newest = Some((frame.frame, frame.captured));
        Admission::Accepted
    }

    fn begin_stream(&mut self, frame: &PoseFrame) {
        self.newest = Some((frame.frame, frame.captured));
        self.undecided = frame.frame;
        self.scores.restart(frame.frame);
        self.frames = [FrameSlot::EMPTY; SCORE_RING_FRAMES];
        self.out_of_order_run = 0;
    }

    /// Makes room for the frame's own score and remembers its time.
    fn open_frame(&mut self, frame: &PoseFrame) {
        self.counters.frames += 1;
        self.counters.persons += frame.persons.len() as u64;
        self.scores.advance_to(frame.frame);
        let slot = &mut self.frames[ring_place(frame.frame)];
        *slot = FrameSlot { persons: 0, captured: Some(frame.captured), worst: None };
    }

    /// Cleans one person's pose, appends it to its track and, if a window is due, to the batch.
    fn take_person<S, K>(&mut self, frame: &PoseFrame, person: &PersonPose, scorer: &mut S, sink: &mut K)
    where
        S: Scorer + ?Sized,
        K: Sink + ?Sized,
    {
        let Some(pose) = self.clean(person) else {
            self.counters.persons_without_keypoints += 1;
            return;
        };
        let Some(slot) = self.follow(frame.frame, &pose, sink) else { return };
        self.frames[ring_place(frame.frame)].persons += 1;
        let (stored, clamped) = SegmentPose::quantise(frame.frame, frame.captured, &pose);
        self.counters.segment_coordinates_clamped += clamped;
        self.store.push(stored);
        let track = &mut self.tracks[slot];
        track.last_seen = frame.frame;
        track.ring.push(frame.frame, &pose);
        match track.ring.due_window(&self.config.window) {
            Err(NoWindow::NotYet) => {}
            Err(NoWindow::TooManyMissing) => self.counters.windows_with_gaps += 1,
            Err(NoWindow::LowConfidence) => self.counters.windows_low_confidence += 1,
            Ok(span) => self.enqueue(slot, span, scorer, sink),
        }
    }

    /// A key-point with a number that is none counts as undetected; a person without any key-point is `None`.
    fn clean(&mut self, person: &PersonPose) -> Option<PersonPose> {
        let mut pose = *person;
        let mut detected = false;
        for keypoint in &mut pose.keypoints {
            if !keypoint.is_finite() {
                *keypoint = KeyPoint::UNDETECTED;
                self.counters.keypoints_not_finite += 1;
            }
            detected |= keypoint.x != 0.0 || keypoint.y != 0.0;
        }
        detected.then_some(pose)
    }

    /// The slot that follows this person, made if need be. `None`: the person is dropped, and counted.
    fn follow<K: Sink + ?Sized>(&mut self, frame: FrameIndex, pose: &PersonPose, sink: &mut K) -> Option<usize> {
        let slot = match place_of(self.tracks, pose.id, frame) {
            Place::Known(slot) => {
                let track = &self.tracks[slot];
                if track.ring.seen() > 0 && track.last_seen == frame {
                    self.counters.persons_duplicate_id += 1;
                    return None;
                }
                match track.ring.continuity(frame, pose, &self.config.window) {
                    Continuity::Continued => return Some(slot),
                    // The same person, as far as anyone knows: the event may go on across the gap, only the window may not.
                    Continuity::RestartedAfterGap => {
                        self.counters.tracks_restarted_gap += 1;
                        self.tracks[slot].ring.restart();
                        return Some(slot);
                    }
                    Continuity::RestartedAfterJump => self.counters.tracks_restarted_jump += 1,
                }
                self.release(slot, EndReason::PersonChanged, sink);
                slot
            }
            Place::Free(slot) => slot,
            Place::Stalest(slot) => {
                self.counters.tracks_evicted += 1;
                self.release(slot, EndReason::TrackEvicted, sink);
                slot
            }
            Place::NoRoom => {
                self.counters.persons_over_limit += 1;
                return None;
            }
        };
        self.counters.tracks_born += 1;
        self.tracks[slot].begin(pose.id, frame, self.undecided);
        Some(slot)
    }

    /// Normalises a due window into the batch; a full batch is scored first.
    fn enqueue<S, K>(&mut self, slot: usize, span: WindowSpan, scorer: &mut S, sink: &mut K)
    where
        S: Scorer + ?Sized,
        K: Sink + ?Sized,
    {
        if self.batch.len() >= self.windows.len() || self.batch.is_full() {
            self.score_batch(scorer, sink);
        }
        let window = &mut self.windows[self.batch.len()];
        let detections = self.tracks[slot].ring.window(&span);
        if normalise(detections, self.config.window.window_frames, &self.config.scale, window).is_err() {
            self.counters.windows_degenerate += 1;
            return;
        }
        // There is room: a full batch has just been scored.
        let _ = self.batch.push(Pending { slot, span });
    }

    /// Scores the batch and gives each score to its frame and its track.
    fn score_batch<S: Scorer + ?Sized, K: Sink + ?Sized>(&mut self, scorer: &mut S, sink: &mut K) {
        if self.batch.is_empty() {
            return;
        }
        let mut results: [ScoreResult; BATCH_WINDOWS_MAX] = [Err(ScoreFault::Engine); BATCH_WINDOWS_MAX];
        scorer.score_batch(&self.windows[..self.batch.len()], &mut results[..self.batch.len()]);
        for (pending, result) in self.batch.iter().zip(results) {
            let score = match result {
                Ok(score) => score,
                Err(ScoreFault::NotFinite) => {
                    self.counters.scores_not_finite += 1;
                    continue;
                }
                Err(ScoreFault::WrongWindow | ScoreFault::Engine) => {
                    self.counters.scores_engine_fault += 1;
                    continue;
                }
            };
            self.counters.windows_scored += 1;
            let track = &mut self.tracks[pending.slot];
            let Some(person) = track.person else { continue };
            let span = pending.span;
            let scored = WindowScore { person, first: span.first, last: span.last, centre: span.centre, score };
            sink.window(&scored);
            if let Some(from) = sink.wants_tracklet(&scored) {
                let part = SegmentPart { event: EventId(0), part: 0, is_last: true, person, from, to: span.last };
                let view = self.store.view(part, span.last);
                if !view.is_incomplete {
                    sink.tracklet(&scored, &view);
                }
            }
            if span.centre < self.undecided {
                self.counters.scores_late += 1;
            }
            let frame = span.centre.max(self.undecided);
            track.scores.advance_to(frame);
            track.scores.raise(frame, score);
            if self.scores.raise(frame, score) {
                self.frames[ring_place(frame)].worst = Some(person);
            }
        }
        self.batch.clear();
    }

    /// Decides every open frame below `end`.
    fn decide_until<K: Sink + ?Sized>(&mut self, end: FrameIndex, sink: &mut K) {
        while self.undecided < end {
            let frame = self.undecided;
            for slot in 0..self.tracks.len() {
                self.decide_track(slot, FrameIndex(frame.0 + 1), sink);
            }
            let smoothed = self.config.smoothing.smooth(&self.scores, frame);
            self.is_anomalous = self.config.decision.is_some_and(|rule| rule.decide(self.is_anomalous, smoothed));
            let slot = core::mem::replace(&mut self.frames[ring_place(frame)], FrameSlot::EMPTY);
            self.counters.frames_decided += 1;
            self.counters.frames_anomalous += u64::from(self.is_anomalous);
            self.undecided.0 += 1;
            sink.frame(&FrameDecision {
                frame,
                captured: slot.captured,
                persons: slot.persons,
                score: self.scores.get(frame),
                worst: slot.worst,
                smoothed,
                is_anomalous: self.is_anomalous,
            });
        }
    }

    /// Decides one track's open frames below `end`, and tells its events.
    fn decide_track<K: Sink + ?Sized>(&mut self, slot: usize, end: FrameIndex, sink: &mut K) {
        let Some(rule) = self.config.decision else { return };
        let Some(person) = self.tracks[slot].person else { return };
        while self.tracks[slot].undecided < end {
            let track = &mut self.tracks[slot];
            let frame = track.undecided;
            track.undecided.0 += 1;
            let smoothed = self.config.smoothing.smooth(&track.scores, frame);
            track.is_anomalous = rule.decide(track.is_anomalous, smoothed);
            let anomalous = smoothed.filter(|_| track.is_anomalous);
            let step = track.event.step(&self.config.event, person, frame, anomalous, &mut self.next_event);
            self.tell(slot, frame, step, sink);
        }
    }

    /// Passes an event on and lets its segment follow.
    fn tell<K: Sink + ?Sized>(&mut self, slot: usize, frame: FrameIndex, step: EventStep, sink: &mut K) {
        let event = match step {
            EventStep::Quiet => {
                self.cut_part(slot, frame, sink);
                return;
            }
            EventStep::TooShort => {
                self.counters.events_too_short += 1;
                return;
            }
            EventStep::Told(event) => event,
        };
        sink.event(&event);
        match event.kind {
            EventKind::New => {
                self.counters.events += 1;
                self.tracks[slot].cutter = Some((event.id, PartCutter::start(event.first, &self.config.segment)));
            }
            EventKind::Update => self.cut_part(slot, frame, sink),
            EventKind::End(_) => {
                if let Some((id, cutter)) = self.tracks[slot].cutter.take() {
                    let part = cutter.finish(id, event.person, event.last, &self.config.segment);
                    self.await_part(part, sink);
                }
            }
        }
    }

    /// Hands out a part of an event that has outgrown one segment.
    fn cut_part<K: Sink + ?Sized>(&mut self, slot: usize, frame: FrameIndex, sink: &mut K) {
        let track = &mut self.tracks[slot];
        let Some(person) = track.person else { return };
        let Some((id, cutter)) = &mut track.cutter else { return };
        if let Some(part) = cutter.cut(*id, person, frame) {
            self.await_part(part, sink);
        }
    }

    fn await_part<K: Sink + ?Sized>(&mut self, part: SegmentPart, sink: &mut K) {
        if let Some(early) = self.store.wait(part) {
            self.hand_out(early, sink);
        }
    }

    fn hand_out<K: Sink + ?Sized>(&mut self, part: SegmentPart, sink: &mut K) {
        let newest = self.newest.map_or(part.to, |(newest, _)| newest);
        let view = self.store.view(part, newest);
        self.counters.segments += 1;
        self.counters.segments_incomplete += u64::from(view.is_incomplete);
        self.counters.segments_cut_short += u64::from(view.is_cut_short);
        sink.segment(&view);
    }

    /// Ends tracks whose person has not been seen for too long.
    fn end_idle_tracks<K: Sink + ?Sized>(&mut self, frame: FrameIndex, sink: &mut K) {
        let Some(idle) = self.config.idle_frames_max else { return };
        for slot in 0..self.tracks.len() {
            let track = &self.tracks[slot];
            if track.person.is_some() && frame.0 - track.last_seen.0 > u64::from(idle) {
                self.counters.tracks_ended += 1;
                self.release(slot, EndReason::PersonLeft, sink);
            }
        }
    }

    /// Decides what is open for a track's person, ends its event, and frees the slot.
    fn release<K: Sink + ?Sized>(&mut self, slot: usize, reason: EndReason, sink: &mut K) {
        let Some(person) = self.tracks[slot].person else { return };
        // Frames up to the one in which the person was last seen can be decided: no further score of this person will come.
        let end = FrameIndex(self.tracks[slot].last_seen.0 + 1);
        self.decide_track(slot, end, sink);
        let step = self.tracks[slot].event.end(person, reason);
        let frame = self.tracks[slot].undecided;
        self.tell(slot, frame, step, sink);
        self.tracks[slot].cutter = None;
        self.tracks[slot].person = None;
    }
}

fn ring_place(frame: FrameIndex) -> usize {
    (frame.0 % SCORE_RING_FRAMES as u64) as usize
}

fn check(config: &PipelineConfig, scorer_window_frames: usize, delay: usize, memory: &PipelineMemory<'_>) -> Result<(), InvalidConfig> {
    let needed_idle = delay as u64 + u64::from(config.event.gap_merge_frames) + 1;
    match () {
        () if !config.window.is_valid() || delay > DELAY_FRAMES_MAX => Err(InvalidConfig::Window),
        () if config.window.window_frames != scorer_window_frames => Err(InvalidConfig::ScorerWindow),
        () if !config.scale.is_valid() => Err(InvalidConfig::Scale),
        () if config.event.length_frames_min < 1 || config.event.update_frames < 1 => Err(InvalidConfig::Event),
        () if !config.segment.is_valid() => Err(InvalidConfig::Segment),
        () if config.idle_frames_max.is_some_and(|idle| u64::from(idle) < needed_idle) => Err(InvalidConfig::Idle),
        () if memory.tracks.is_empty() || memory.poses.is_empty() || memory.windows.is_empty() => Err(InvalidConfig::Memory),
        () if memory.tracks.len() > TRACKS_MAX || memory.windows.len() > BATCH_WINDOWS_MAX => Err(InvalidConfig::Memory),
        () => Ok(()),
    }
}
