//! Streams of frames through the whole data path: every frame decided once and in order, every person and every event accounted for.
//!
//! The same promises as the property tests of alfred-core; here coverage (or a corpus) chooses the stream. Bytes: tracks, windows, poses,
//! settings; then frames, each a step of the frame number, a step of time, and persons.

use super::bytes::Bytes;
use super::common::{Memory, WINDOW, config};
use alfred_core::counters::Counters;
use alfred_core::event::{Event, EventKind};
use alfred_core::pipeline::{Admission, FrameDecision, Sink, WindowScore};
use alfred_core::pose::{KeyPoint, PersonPose, PoseFrame};
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::segment::SegmentView;
use alfred_core::smoothing::CausalKernel;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::{AnomalyScore, FrameIndex, MonotonicNs, PersonId};
use std::collections::BTreeMap;

/// Frames of one input: enough for windows, smoothing, events and their ends.
const FRAMES_MAX: usize = 200;
/// Nanoseconds between frames.
const FRAME_NS: u64 = 33_333_333;

/// Scores a window by what is in it, and fails now and then.
struct MoodyScorer;

impl Scorer for MoodyScorer {
    fn window_frames(&self) -> usize {
        WINDOW
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        for (window, score) in windows.iter().zip(scores) {
            assert!(window.values().iter().all(|value| value.is_finite()), "a scorer never sees anything but finite numbers");
            let value = window.values()[0];
            *score = match (value.to_bits() >> 8) % 16 {
                0 => Err(ScoreFault::NotFinite),
                1 => Err(ScoreFault::Engine),
                _ => AnomalyScore::new(2.0 * value.sin()).map_err(|_| ScoreFault::NotFinite),
            };
        }
    }
}

/// Fails when frames do not come once each and in order within a stream; counts everything.
#[derive(Default)]
struct Checker {
    last: Option<u64>,
    /// The next frame may have any number: a new stream began.
    new_stream: bool,
    frames: u64,
    persons: u64,
    windows: u64,
    segments: u64,
    last_parts: u64,
    events: BTreeMap<u64, Vec<EventKind>>,
}

impl Sink for Checker {
    fn window(&mut self, window: &WindowScore) {
        assert!(window.first < window.centre && window.centre < window.last);
        self.windows += 1;
    }

    fn frame(&mut self, decision: &FrameDecision) {
        if let Some(last) = self.last {
            assert!(decision.frame.0 == last + 1 || self.new_stream, "frame {} after {last}", decision.frame.0);
        }
        assert_eq!(decision.worst.is_some(), decision.score.is_some());
        assert!(!decision.is_anomalous || decision.smoothed.is_some());
        self.last = Some(decision.frame.0);
        self.new_stream = false;
        self.frames += 1;
        self.persons += u64::from(decision.persons);
    }

    fn event(&mut self, event: &Event) {
        assert!(event.first <= event.peak_frame && event.peak_frame <= event.last);
        assert!(event.mean <= event.peak);
        self.events.entry(event.id.0).or_default().push(event.kind);
    }

    fn segment(&mut self, segment: &SegmentView<'_>) {
        assert!(segment.poses().map(|pose| pose.frame).is_sorted(), "a segment's poses come in the order of their frames");
        self.segments += 1;
        self.last_parts += u64::from(segment.part.is_last);
    }
}

impl Checker {
    fn check(&self, counters: &Counters, accepted: u64, dropped: u64) {
        assert_eq!(counters.frames, accepted);
        assert_eq!(counters.frames_duplicate + counters.frames_out_of_order + counters.frames_out_of_range, dropped);
        assert_eq!(counters.frames_decided, self.frames);
        assert_eq!(counters.frames_decided, counters.frames + counters.frames_missing);
        let refused = counters.persons_duplicate_id + counters.persons_over_limit + counters.persons_without_keypoints;
        assert_eq!(counters.persons, self.persons + refused);
        assert_eq!(counters.windows_scored, self.windows);
        assert_eq!(counters.segments, self.segments);
        assert_eq!(counters.events, self.events.len() as u64);
        assert_eq!(counters.events, self.last_parts, "every event has one last segment part");
        for (id, kinds) in &self.events {
            assert_eq!(kinds[0], EventKind::New, "event {id}");
            assert!(matches!(kinds[kinds.len() - 1], EventKind::End(_)), "event {id}");
            assert!(kinds[1..kinds.len() - 1].iter().all(|kind| *kind == EventKind::Update), "event {id}");
        }
    }
}

/// Runs the target.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (tracks, windows, poses) = (1 + bytes.byte() % 6, 1 + bytes.byte() % 5, 1 + usize::from(bytes.byte()));
    let (window, ahead, stride) = (bytes.byte(), bytes.byte() % 8, 1 + bytes.byte() % 4);
    let mut config = config();
    config.window = if window % 2 == 0 { WindowPolicy::live(WINDOW) } else { WindowPolicy::published(WINDOW) };
    config.window.stride = u32::from(stride);
    config.smoothing = CausalKernel::gaussian(2.0, 5, usize::from(ahead)).expect("within limits");
    config.idle_frames_max = (window % 4 < 2).then_some(30);
    let mut memory = Memory::new(usize::from(tracks), poses, usize::from(windows));
    let mut pipeline = memory.pipeline(config);
    let mut checker = Checker::default();
    let (mut number, mut time, mut accepted, mut dropped) = (1000, 0, 0, 0);
    for _ in 0..FRAMES_MAX {
        if bytes.is_empty() {
            break;
        }
        let frame = next_frame(&mut bytes, &mut number, &mut time);
        let admission = pipeline.step(&frame, &mut MoodyScorer, &mut checker);
        checker.new_stream |= matches!(admission, Admission::AcceptedAfterGap | Admission::AcceptedAfterRestart);
        match admission {
            Admission::Duplicate | Admission::OutOfOrder | Admission::OutOfRange => dropped += 1,
            _ => accepted += 1,
        }
    }
    pipeline.finish(&mut checker);
    checker.check(pipeline.counters(), accepted, dropped);
}

fn next_frame(bytes: &mut Bytes<'_>, number: &mut u64, time: &mut u64) -> PoseFrame {
    let step = match bytes.byte() {
        0..200 => 1,
        code @ 200..220 => i64::from(code % 5),
        220..235 => -i64::from(bytes.byte() % 50),
        235..250 => 100 + 2 * i64::from(bytes.byte()),
        250.. => bytes.long().cast_signed(),
    };
    *number = number.wrapping_add_signed(step);
    *time = match bytes.byte() {
        0..250 => time.wrapping_add(FRAME_NS),
        250.. => bytes.long(),
    };
    let mut frame = PoseFrame::new(FrameIndex(*number), MonotonicNs(*time));
    let persons = match bytes.byte() {
        255 => 64,
        count => count % 6,
    };
    for place in 0..persons {
        let mut person = next_person(bytes);
        if persons == 64 {
            person.id = PersonId(u32::from(place));
        }
        frame.persons.push(person).expect("at most 64");
    }
    frame
}

fn next_person(bytes: &mut Bytes<'_>) -> PersonPose {
    let (id, odd, step) = (bytes.byte() % 7, bytes.byte(), f32::from(bytes.byte() % 60));
    let (x, y) = (f32::from(bytes.short()) / 32.0, f32::from(bytes.short()) / 32.0);
    let mut pose = PersonPose { id: PersonId(u32::from(id)), score: 1.0, ..PersonPose::EMPTY };
    for (place, keypoint) in pose.keypoints.iter_mut().enumerate() {
        *keypoint = KeyPoint { x: x + step * (place % 5) as f32, y: y + step * place as f32, confidence: 0.5 };
    }
    match odd {
        200..210 => pose.keypoints = [KeyPoint::UNDETECTED; 17],
        210..220 => pose.keypoints[usize::from(odd) % 17].x = f32::NAN,
        220..230 => pose.keypoints.iter_mut().for_each(|keypoint| keypoint.y = 1e30),
        230..240 => pose.score = f32::from_bits(u32::from_le_bytes(bytes.take())),
        240.. => pose.keypoints[usize::from(odd) % 17].y = f32::from_bits(u32::from_le_bytes(bytes.take())),
        _ => {}
    }
    pose
}
