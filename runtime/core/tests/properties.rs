//! Whatever comes in: no panic, every frame decided once and in order, every person and every event accounted for.

mod common;

use alfred_core::event::EventKind;
use alfred_core::pipeline::{Admission, Sink};
use alfred_core::pose::{KeyPoint, PersonPose, PoseFrame};
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::smoothing::CausalKernel;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::{AnomalyScore, FrameIndex, MonotonicNs, PersonId};
use common::{Kept, Memory, WINDOW, config};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Scores a window by what is in it, and fails now and then.
struct MoodyScorer;

impl Scorer for MoodyScorer {
    fn window_frames(&self) -> usize {
        WINDOW
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        for (window, score) in windows.iter().zip(scores) {
            let value = window.values()[0];
            assert!(window.values().iter().all(|value| value.is_finite()), "a scorer never sees anything but finite numbers");
            *score = match (value.to_bits() >> 8) % 16 {
                0 => Err(ScoreFault::NotFinite),
                1 => Err(ScoreFault::Engine),
                _ => AnomalyScore::new(2.0 * value.sin()).map_err(|_| ScoreFault::NotFinite),
            };
        }
    }
}

fn any_coordinate() -> impl Strategy<Value = f32> {
    prop_oneof![
        20 => 0.0_f32..2000.0,
        1 => Just(0.0_f32),
        1 => proptest::num::f32::ANY,
    ]
}

fn any_person() -> impl Strategy<Value = PersonPose> {
    (0_u32..7, any_coordinate(), any_coordinate(), 0.1_f32..60.0, proptest::num::f32::ANY, 0_u8..20).prop_map(
        |(id, x, y, step, score, odd)| {
            let mut pose = PersonPose { id: PersonId(id), score, ..PersonPose::EMPTY };
            for (place, keypoint) in pose.keypoints.iter_mut().enumerate() {
                let (dx, dy) = (step * (place % 5) as f32, step * place as f32);
                *keypoint = KeyPoint { x: x + dx, y: y + dy, confidence: score };
            }
            match odd {
                0 => pose.keypoints = [KeyPoint::UNDETECTED; 17],
                1 => pose.keypoints[3].x = f32::NAN,
                2 => pose.keypoints.iter_mut().for_each(|keypoint| keypoint.y = 1e30),
                _ => {}
            }
            pose
        },
    )
}

/// Steps of the frame number (mostly 1), of the clock, and the persons.
fn any_stream() -> impl Strategy<Value = Vec<(i64, u64, Vec<PersonPose>)>> {
    let step = prop_oneof![30 => Just(1_i64), 3 => 2_i64..6, 1 => Just(0_i64), 1 => -50_i64..0, 1 => 100_i64..400, 1 => any::<i64>()];
    let time = prop_oneof![20 => 1_u64..100_000_000, 1 => any::<u64>()];
    proptest::collection::vec((step, time, proptest::collection::vec(any_person(), 0..6)), 1..160)
}

/// Fails when frames do not come once each and in order within a stream.
#[derive(Default)]
struct Checker {
    kept: Kept,
    last: Option<u64>,
    /// The next frame may have any number: a new stream began.
    new_stream: bool,
}

impl Sink for Checker {
    fn window(&mut self, window: &alfred_core::pipeline::WindowScore) {
        assert!(window.first < window.centre && window.centre < window.last);
        self.kept.window(window);
    }
    fn frame(&mut self, decision: &alfred_core::pipeline::FrameDecision) {
        if let Some(last) = self.last {
            assert!(decision.frame.0 == last + 1 || self.new_stream, "frame {} after {last}", decision.frame.0);
        }
        assert_eq!(decision.worst.is_some(), decision.score.is_some());
        assert!(!decision.is_anomalous || decision.smoothed.is_some());
        self.last = Some(decision.frame.0);
        self.new_stream = false;
        self.kept.frame(decision);
    }
    fn event(&mut self, event: &alfred_core::event::Event) {
        assert!(event.first <= event.peak_frame && event.peak_frame <= event.last);
        assert!(event.mean <= event.peak);
        self.kept.event(event);
    }
    fn segment(&mut self, segment: &alfred_core::segment::SegmentView<'_>) {
        let frames: Vec<FrameIndex> = segment.poses().map(|pose| pose.frame).collect();
        assert!(frames.is_sorted(), "a segment's poses come in the order of their frames");
        self.kept.segment(segment);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_stream_is_accounted_for(
        stream in any_stream(),
        tracks in 1_usize..6,
        windows in 1_usize..5,
        poses in 1_usize..200,
        published in any::<bool>(),
        ahead in 0_usize..8,
        stride in 1_u32..4,
    ) {
        let mut memory = Memory::new(tracks, poses, windows);
        let mut config = config();
        config.window = if published { WindowPolicy::published(WINDOW) } else { WindowPolicy::live(WINDOW) };
        config.window.stride = stride;
        config.smoothing = CausalKernel::gaussian(2.0, 5, ahead).expect("within limits");
        config.idle_frames_max = Some(30);
        let mut pipeline = memory.pipeline(config);
        let mut checker = Checker::default();
        let (mut number, mut time) = (1000_u64, 0_u64);
        let mut accepted = 0_u64;
        let mut dropped = 0_u64;
        for (frame_step, time_step, persons) in &stream {
            number = number.wrapping_add_signed(*frame_step);
            time = time.wrapping_add(*time_step);
            let mut frame = PoseFrame::new(FrameIndex(number), MonotonicNs(time));
            frame.persons.extend_from_slice(persons).expect("few");
            let admission = pipeline.step(&frame, &mut MoodyScorer, &mut checker);
            checker.new_stream |= matches!(admission, Admission::AcceptedAfterGap | Admission::AcceptedAfterRestart);
            match admission {
                Admission::Duplicate | Admission::OutOfOrder | Admission::OutOfRange => dropped += 1,
                _ => accepted += 1,
            }
        }
        pipeline.finish(&mut checker);
        let counters = *pipeline.counters();
        prop_assert_eq!(counters.frames, accepted);
        prop_assert_eq!(counters.frames_duplicate + counters.frames_out_of_order + counters.frames_out_of_range, dropped);
        prop_assert_eq!(counters.frames_decided, checker.kept.frames.len() as u64);
        prop_assert_eq!(counters.frames_decided, counters.frames + counters.frames_missing);
        let shown: u64 = checker.kept.frames.iter().map(|decision| u64::from(decision.persons)).sum();
        prop_assert_eq!(
            counters.persons,
            shown + counters.persons_duplicate_id + counters.persons_over_limit + counters.persons_without_keypoints
        );
        prop_assert_eq!(counters.windows_scored, checker.kept.windows.len() as u64);
        let mut lives: BTreeMap<u64, Vec<EventKind>> = BTreeMap::new();
        for event in &checker.kept.events {
            lives.entry(event.id.0).or_default().push(event.kind);
        }
        prop_assert_eq!(lives.len() as u64, counters.events);
        for (id, kinds) in &lives {
            prop_assert_eq!(kinds[0], EventKind::New, "event {}", id);
            prop_assert!(matches!(kinds[kinds.len() - 1], EventKind::End(_)), "event {}", id);
            prop_assert!(kinds[1..kinds.len() - 1].iter().all(|kind| *kind == EventKind::Update), "event {}", id);
        }
        let last_parts: BTreeSet<u64> =
            checker.kept.segments.iter().filter(|segment| segment.part.is_last).map(|segment| segment.part.event.0).collect();
        prop_assert_eq!(last_parts.len(), lives.len(), "every event has a last segment part");
        prop_assert_eq!(counters.segments, checker.kept.segments.len() as u64);
    }

    #[test]
    fn the_same_stream_gives_the_same_output_to_the_bit(stream in any_stream()) {
        let run = || {
            let (mut memory, mut kept) = (Memory::full(), Kept::default());
            let mut pipeline = memory.pipeline(config());
            let mut number = 0_u64;
            for (frame_step, time, persons) in &stream {
                number = number.wrapping_add_signed(*frame_step);
                let mut frame = PoseFrame::new(FrameIndex(number), MonotonicNs(*time));
                frame.persons.extend_from_slice(persons).expect("few");
                pipeline.step(&frame, &mut MoodyScorer, &mut kept);
            }
            pipeline.finish(&mut kept);
            kept
        };
        prop_assert_eq!(run(), run());
    }
}
