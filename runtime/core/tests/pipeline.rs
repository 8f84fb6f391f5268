//! Decided outcomes of the data path: each odd input has one, and each is counted.

mod common;

use alfred_core::event::{EndReason, EventKind};
use alfred_core::limits::{FRAME_GAP_MAX, FRAME_INDEX_MAX, OUT_OF_ORDER_RUN_MAX, PERSONS_MAX};
use alfred_core::pipeline::{Admission, InvalidConfig, Pipeline, Sink, WindowScore};
use alfred_core::pose::{KeyPoint, PersonPose};
use alfred_core::scorer::ScoreFault;
use alfred_core::segment::SegmentView;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId};
use common::{FixedScorer, Kept, Memory, WINDOW, config, frame, person};

/// Feeds frames with one standing person each and returns the pipeline's view of them.
fn feed(pipeline: &mut Pipeline<'_>, scorer: &mut FixedScorer, kept: &mut Kept, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        pipeline.step(&frame(number, &[person(1, 200.0, 100.0)]), scorer, kept);
    }
}

#[test]
fn every_frame_is_decided_once_in_order_and_after_the_declared_delay() {
    let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(0.5), Kept::default());
    let mut pipeline = memory.pipeline(config());
    let delay = pipeline.delay_frames();
    assert_eq!(delay, (WINDOW - 1 - WINDOW / 2 + 2) as u64);
    for number in 10..40 {
        feed(&mut pipeline, &mut scorer, &mut kept, [number]);
        let newest_decided = kept.frames.last().map(|decision| decision.frame.0);
        assert_eq!(newest_decided, number.checked_sub(delay).filter(|decided| *decided >= 10));
    }
    pipeline.finish(&mut kept);
    let numbers: Vec<u64> = kept.frames.iter().map(|decision| decision.frame.0).collect();
    assert_eq!(numbers, (10..40).collect::<Vec<_>>());
    // A window's score belongs to its middle: the first window (10..=13) scores frame 12, the last one (36..=39) frame 38.
    let scored: Vec<u64> = kept.frames.iter().filter(|decision| decision.score.is_some()).map(|decision| decision.frame.0).collect();
    assert_eq!(scored, (12..39).collect::<Vec<_>>());
    assert!(kept.frames.iter().all(|decision| decision.captured == Some(MonotonicNs(decision.frame.0 * 10_000_000))));
    assert_eq!(kept.windows.len(), 27);
}

#[test]
fn a_score_belongs_to_the_frame_that_the_policy_names() {
    for score_frame in 0..WINDOW {
        let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(0.5), Kept::default());
        let mut config = config();
        config.window = config.window.with_score_frame(score_frame);
        let mut pipeline = memory.pipeline(config);
        // The later the frame in the window, the shorter the wait for its score.
        assert_eq!(pipeline.delay_frames(), (WINDOW - 1 - score_frame + 2) as u64);
        feed(&mut pipeline, &mut scorer, &mut kept, 10..40);
        pipeline.finish(&mut kept);
        let first = 10 + score_frame as u64;
        let scored: Vec<u64> = kept.frames.iter().filter(|decision| decision.score.is_some()).map(|decision| decision.frame.0).collect();
        assert_eq!(scored, (first..first + 27).collect::<Vec<_>>(), "score frame {score_frame}");
        assert!(kept.windows.iter().all(|window| window.centre.0 == window.first.0 + score_frame as u64));
        assert_eq!(pipeline.counters().scores_late, 0);
    }
    // Outside its window.
    let mut config = config();
    config.window = config.window.with_score_frame(WINDOW);
    assert_eq!(Pipeline::new(config, WINDOW, Memory::full().borrow()).err(), Some(InvalidConfig::Window));
}

#[test]
fn the_published_policy_skips_each_tracks_last_window() {
    for (detections, windows) in [(3, 0), (4, 0), (5, 1), (20, 16)] {
        let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(0.5), Kept::default());
        let mut config = config();
        config.window = WindowPolicy::published(WINDOW);
        let mut pipeline = memory.pipeline(config);
        feed(&mut pipeline, &mut scorer, &mut kept, 0..detections);
        pipeline.finish(&mut kept);
        assert_eq!(kept.windows.len(), windows, "{detections} detections");
    }
}

#[test]
fn two_missing_frames_are_closed_up_and_three_are_not() {
    let starts = |numbers: &[u64], policy: WindowPolicy| {
        let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(0.5), Kept::default());
        let mut config = config();
        config.window = policy;
        let mut pipeline = memory.pipeline(config);
        feed(&mut pipeline, &mut scorer, &mut kept, numbers.iter().copied());
        kept.windows.iter().map(|window| window.first.0).collect::<Vec<_>>()
    };
    assert_eq!(starts(&[0, 1, 4, 5, 6], WindowPolicy::live(WINDOW)), [0, 1]);
    // Published: at least T - 2 = 2 of the frame numbers within first..first + 4. (0, 1, 9, 10) still counts, however long the gap is.
    assert_eq!(starts(&[0, 1, 9, 10, 11, 12, 13], WindowPolicy::published(WINDOW)), [0, 9]);
    // The device starts anew after a gap of more than two.
    assert_eq!(starts(&[0, 1, 9, 10, 11, 12, 13], WindowPolicy::live(WINDOW)), [9, 10]);
}

#[test]
fn duplicate_old_and_out_of_range_frames_are_dropped_and_counted() {
    let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(0.5), Kept::default());
    let mut pipeline = memory.pipeline(config());
    feed(&mut pipeline, &mut scorer, &mut kept, 0..10);
    let mut step = |number| pipeline.step(&frame(number, &[person(1, 200.0, 100.0)]), &mut scorer, &mut kept);
    assert_eq!(step(9), Admission::Duplicate);
    assert_eq!(step(3), Admission::OutOfOrder);
    assert_eq!(step(FRAME_INDEX_MAX + 1), Admission::OutOfRange);
    assert_eq!(step(u64::MAX), Admission::OutOfRange);
    assert_eq!(step(10), Admission::Accepted);
    let counters = pipeline.counters();
    assert_eq!((counters.frames_duplicate, counters.frames_out_of_order, counters.frames_out_of_range), (1, 1, 2));
    assert_eq!(counters.frames, 11);
}

#[test]
fn a_source_that_begins_anew_is_accepted_after_a_run_of_old_numbers() {
    let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(2.0), Kept::default());
    let mut pipeline = memory.pipeline(config());
    feed(&mut pipeline, &mut scorer, &mut kept, 5000..5020);
    let mut admissions = (0..100).map(|number| pipeline.step(&frame(number, &[person(1, 200.0, 100.0)]), &mut scorer, &mut kept));
    let first = admissions.position(|admission| admission == Admission::AcceptedAfterRestart).expect("accepted");
    assert_eq!(first as u32, OUT_OF_ORDER_RUN_MAX - 1);
    assert!(admissions.all(|admission| admission == Admission::Accepted));
    pipeline.finish(&mut kept);
    let reasons: Vec<EventKind> = kept.events.iter().map(|event| event.kind).filter(|kind| matches!(kind, EventKind::End(_))).collect();
    assert_eq!(reasons, [EventKind::End(EndReason::StreamEnded); 2], "nothing is left open");
    assert_eq!(kept.segments.len(), 2);
    assert_eq!(pipeline.counters().source_restarts, 1);
}

#[test]
fn gaps_in_the_frame_numbers_lose_no_decision() {
    for gap in [1, 4, 100, 127, 128, 129, 200, FRAME_GAP_MAX] {
        let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(2.0), Kept::default());
        let mut pipeline = memory.pipeline(config());
        feed(&mut pipeline, &mut scorer, &mut kept, (0..20).chain(19 + gap..19 + gap + 20));
        pipeline.finish(&mut kept);
        let numbers: Vec<u64> = kept.frames.iter().map(|decision| decision.frame.0).collect();
        assert_eq!(numbers, (0..19 + gap + 20).collect::<Vec<_>>(), "gap {gap}");
        let persons: u64 = kept.frames.iter().map(|decision| u64::from(decision.persons)).sum();
        assert_eq!(persons, 40, "gap {gap}: no frame's slot was overwritten before its decision");
        // 17 windows on each side of the gap; without a gap three more join both sides.
        let scored = kept.frames.iter().filter(|decision| decision.score.is_some()).count();
        assert_eq!(scored, if gap == 1 { 37 } else { 34 }, "gap {gap}");
        assert_eq!(pipeline.counters().frames_missing, gap - 1);
    }
    let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(2.0), Kept::default());
    let mut pipeline = memory.pipeline(config());
    feed(&mut pipeline, &mut scorer, &mut kept, (0..20).chain([19 + FRAME_GAP_MAX + 1]));
    assert_eq!(pipeline.counters().frame_gaps, 1);
    assert_eq!(kept.frames.len(), 20, "the old stream is decided, the gap is not filled");
}

#[test]
fn clock_steps_are_counted_and_change_no_score() {
    let run = |times: fn(u64) -> u64| {
        let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(0.5), Kept::default());
        let mut pipeline = memory.pipeline(config());
        for number in 0..20 {
            let mut frame = frame(number, &[person(1, 200.0, 100.0)]);
            frame.captured = MonotonicNs(times(number));
            pipeline.step(&frame, &mut scorer, &mut kept);
        }
        (pipeline.counters().clock_steps, kept.windows)
    };
    let steady = run(|number| number * 10);
    assert_eq!(steady.0, 0);
    let back = run(|number| if number == 7 { 0 } else { number * 10 });
    assert_eq!(back.0, 1);
    let leap = run(|number| if number < 7 { number } else { u64::MAX / 2 + number });
    assert_eq!(leap.0, 1);
    assert_eq!(steady.1, back.1);
    assert_eq!(steady.1, leap.1);
}

#[test]
fn bad_persons_have_decided_outcomes() {
    let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(0.5), Kept::default());
    let mut pipeline = memory.pipeline(config());
    let nobody = PersonPose { id: PersonId(5), ..PersonPose::EMPTY };
    let mut broken = person(6, 300.0, 100.0);
    broken.keypoints[3] = KeyPoint { x: f32::NAN, y: 1.0, confidence: 1.0 };
    broken.keypoints[4] = KeyPoint { x: 1.0, y: f32::INFINITY, confidence: 1.0 };
    let mut flat = person(7, 300.0, 100.0);
    flat.keypoints.iter_mut().for_each(|keypoint| keypoint.y = 240.0);
    for number in 0..10 {
        let persons = [person(1, 200.0, 100.0), person(1, 900.0, 100.0), nobody, broken, flat];
        pipeline.step(&frame(number, &persons), &mut scorer, &mut kept);
    }
    let counters = *pipeline.counters();
    assert_eq!(counters.persons, 50);
    assert_eq!(counters.persons_duplicate_id, 10, "the second person 1");
    assert_eq!(counters.persons_without_keypoints, 10);
    assert_eq!(counters.keypoints_not_finite, 20);
    assert_eq!(counters.windows_degenerate, 7, "all y equal: no score");
    assert!(kept.windows.iter().all(|window| [1, 6].contains(&window.person.0)));
    assert_eq!(kept.windows.len(), 14);
    assert_eq!(kept.frames[0].persons, 3);
}

#[test]
fn faults_of_the_scorer_are_counted_and_the_frame_goes_on() {
    let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(0.5), Kept::default());
    let mut pipeline = memory.pipeline(config());
    feed(&mut pipeline, &mut scorer, &mut kept, 0..4);
    scorer.score = Err(ScoreFault::NotFinite);
    feed(&mut pipeline, &mut scorer, &mut kept, 4..6);
    scorer.score = Err(ScoreFault::Engine);
    feed(&mut pipeline, &mut scorer, &mut kept, 6..9);
    let counters = pipeline.counters();
    assert_eq!((counters.windows_scored, counters.scores_not_finite, counters.scores_engine_fault), (1, 2, 3));
    pipeline.finish(&mut kept);
    assert_eq!(kept.frames.iter().filter(|decision| decision.score.is_some()).count(), 1);
}

#[test]
fn a_full_table_evicts_the_stalest_and_a_leap_is_another_person() {
    let (mut memory, mut scorer, mut kept) = (Memory::new(2, 64, 2), FixedScorer::new(2.0), Kept::default());
    let mut pipeline = memory.pipeline(config());
    let mut step = |number, persons: &[PersonPose]| pipeline.step(&frame(number, persons), &mut scorer, &mut kept);
    for number in 0..8 {
        step(number, &[person(1, 100.0, 100.0), person(2, 400.0, 100.0)]);
    }
    step(8, &[person(2, 400.0, 100.0), person(3, 700.0, 100.0)]);
    step(9, &[person(2, 400.0, 100.0), person(3, 700.0, 100.0), person(4, 900.0, 100.0)]);
    step(10, &[person(2, 900.0, 100.0), person(3, 700.0, 100.0)]);
    let counters = *pipeline.counters();
    assert_eq!((counters.tracks_evicted, counters.persons_over_limit, counters.tracks_restarted_jump), (1, 1, 1));
    let ends: Vec<(u32, EventKind)> =
        kept.events.iter().map(|event| (event.person.0, event.kind)).filter(|(_, kind)| *kind != EventKind::New).collect();
    assert_eq!(ends, [(1, EventKind::End(EndReason::TrackEvicted)), (2, EventKind::End(EndReason::PersonChanged))]);
}

#[test]
fn an_event_bridges_a_gap_in_the_detections_and_idle_tracks_end() {
    let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(2.0), Kept::default());
    let mut config = config();
    config.event.gap_merge_frames = 12;
    let mut pipeline = memory.pipeline(config);
    feed(&mut pipeline, &mut scorer, &mut kept, (0..12).chain(18..30));
    for number in 30..80 {
        pipeline.step(&frame(number, &[]), &mut scorer, &mut kept);
    }
    let counters = pipeline.counters();
    assert_eq!((counters.tracks_restarted_gap, counters.events, counters.tracks_ended), (1, 1, 1));
    let end = kept.events.last().expect("ended");
    assert_eq!((end.kind, end.first, end.last), (EventKind::End(EndReason::ScoreFell), FrameIndex(2), FrameIndex(28)));
}

#[test]
fn a_segment_holds_everybody_around_the_event_and_long_events_come_in_parts() {
    let (mut memory, mut scorer, mut kept) = (Memory::new(8, 4096, 16), FixedScorer::new(0.0), Kept::default());
    let mut pipeline = memory.pipeline(config());
    for number in 0..420 {
        scorer.score = FixedScorer::new(if (20..=380).contains(&number) { 2.0 } else { 0.0 }).score;
        let persons = [person(1, 200.0, 100.0), person(2, 500.3, 100.0)];
        pipeline.step(&frame(number, &persons), &mut scorer, &mut kept);
    }
    let parts: Vec<_> = kept.segments.iter().filter(|segment| segment.part.person == PersonId(1)).collect();
    // The windows that end in frames 20..=380 score frames 19..=379; three frames before and two after.
    let spans: Vec<_> = parts.iter().map(|segment| (segment.part.from.0, segment.part.to.0, segment.part.is_last)).collect();
    assert_eq!(spans, [(16, 165, false), (166, 315, false), (316, 381, true)]);
    for segment in parts {
        assert_eq!(segment.poses.len() as u64, 2 * (segment.part.to.0 - segment.part.from.0 + 1));
        assert!(!segment.is_incomplete && !segment.is_cut_short);
        let stored = segment.poses[1].keypoints()[0];
        assert_eq!((stored.x, stored.y), (500.25, 100.0), "within 1/8 pixel");
        assert!((stored.confidence - 0.5).abs() < 1.0 / 255.0);
    }
    let mut short = Memory::new(8, 16, 16);
    let (mut pipeline, mut kept) = (short.pipeline(config()), Kept::default());
    scorer.score = FixedScorer::new(2.0).score;
    feed(&mut pipeline, &mut scorer, &mut kept, 0..30);
    pipeline.finish(&mut kept);
    assert!(kept.segments[0].is_incomplete && kept.segments[0].is_cut_short, "a ring too small and a stream too short are told");
    assert_eq!((pipeline.counters().segments_incomplete, pipeline.counters().segments_cut_short), (1, 1));
}

/// Wants the poses of some windows, and keeps whose they are.
#[derive(Default)]
struct Tracklets {
    windows: u64,
    kept: Vec<(WindowScore, Vec<(u64, u32)>)>,
}

impl Sink for Tracklets {
    fn wants_tracklet(&mut self, window: &WindowScore) -> Option<FrameIndex> {
        self.windows += 1;
        self.windows.is_multiple_of(5).then_some(window.first)
    }
    fn tracklet(&mut self, window: &WindowScore, poses: &SegmentView<'_>) {
        self.kept.push((*window, poses.poses().map(|pose| (pose.frame.0, pose.person.0)).collect()));
    }
}

#[test]
fn windows_that_are_wanted_come_with_their_poses_and_others_cost_nothing() {
    let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(0.5), Tracklets::default());
    let mut pipeline = memory.pipeline(config());
    for number in 0..30 {
        pipeline.step(&frame(number, &[person(1, 200.0, 100.0), person(2, 900.0, 100.0)]), &mut scorer, &mut kept);
    }
    assert_eq!((kept.windows, kept.kept.len()), (2 * 27, 10), "asked once per scored window");
    for (window, poses) in kept.kept {
        let expected: Vec<(u64, u32)> = (window.first.0..=window.last.0).flat_map(|frame| [(frame, 1), (frame, 2)]).collect();
        assert_eq!((poses, window.last.0 - window.first.0), (expected, WINDOW as u64 - 1));
    }
}

#[test]
fn crowds_are_scored_in_batches_within_the_limit() {
    let (mut memory, mut scorer, mut kept) = (Memory::full(), FixedScorer::new(0.5), Kept::default());
    let mut pipeline = memory.pipeline(config());
    let crowd: Vec<PersonPose> = (0..PERSONS_MAX as u32).map(|id| person(id, 10.0 * id as f32, 50.0)).collect();
    for number in 0..4 {
        pipeline.step(&frame(number, &crowd), &mut scorer, &mut kept);
    }
    assert_eq!(scorer.batches, [16; 4]);
    assert_eq!(kept.windows.len(), PERSONS_MAX);
}

#[test]
fn settings_outside_the_limits_are_refused_by_name() {
    let mut memory = Memory::full();
    let mut refused = |change: fn(&mut alfred_core::pipeline::PipelineConfig)| {
        let mut config = config();
        change(&mut config);
        Pipeline::new(config, WINDOW, memory.borrow()).err()
    };
    assert_eq!(refused(|_| {}), None);
    assert_eq!(refused(|config| config.window.stride = 0), Some(InvalidConfig::Window));
    assert_eq!(refused(|config| config.window.window_frames = 24), Some(InvalidConfig::ScorerWindow));
    assert_eq!(refused(|config| config.scale.y = 0.0), Some(InvalidConfig::Scale));
    assert_eq!(refused(|config| config.event.length_frames_min = 0), Some(InvalidConfig::Event));
    assert_eq!(refused(|config| config.segment.pre_roll_frames = 91), Some(InvalidConfig::Segment));
    assert_eq!(refused(|config| config.idle_frames_max = Some(3)), Some(InvalidConfig::Idle));
    let mut none = Memory::new(0, 1, 1);
    assert_eq!(Pipeline::new(config(), WINDOW, none.borrow()).err(), Some(InvalidConfig::Memory));
}
