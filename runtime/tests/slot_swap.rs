//! A model is swapped between two frames: no frame is lost, and the frame thread allocates and frees nothing.
//!
//! A binary of its own, since it installs a counting allocator.

use alfred_board::counting_allocator::{CountingAllocator, thread_allocations};
use alfred_core::decision::DecisionRule;
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{FrameDecision, Pipeline, Sink};
use alfred_core::pose::{KeyPoint, PersonPose, PoseFrame};
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId, Threshold};
use alfred_models::stg_nf::adjacency::Adjacency;
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape};
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_runtime::config::Config;
use alfred_runtime::live::slot_scorer::{Command, Decider, SlotScorer};
use alfred_runtime::replay::HeapMemory;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator(std::alloc::System);

const PERSONS: u32 = 20;

/// The next frame that must be decided, and how many were anomalous.
#[derive(Default)]
struct Order {
    next: u64,
    anomalous: u64,
}

impl Sink for Order {
    fn frame(&mut self, decision: &FrameDecision) {
        assert_eq!(decision.frame.0, self.next, "every frame, once, in order");
        self.next += 1;
        self.anomalous += u64::from(decision.is_anomalous);
    }
}

/// A model of its own prior mean; `threshold`: from which score on it flags.
fn decider(revision: u64, threshold: f32) -> Decider {
    let mut parameters = StgNfParameters::zero(StgNfShape::new(24).expect("published"));
    parameters.prior_mean = revision as f32;
    let scorer = StgNfScorer::new(&parameters, &Adjacency::published(), Lane::Fast).expect("valid");
    let rule = DecisionRule::new(Threshold::new(threshold).expect("finite"), 0.0).ok();
    Decider { scorer: Box::new(scorer), rule, revision }
}

fn write_frame(frame: &mut PoseFrame, number: u64) {
    frame.frame = FrameIndex(number);
    frame.captured = MonotonicNs(1 + number * 33_333_333);
    frame.persons.clear();
    for id in 0..PERSONS {
        let mut pose = PersonPose { id: PersonId(id), score: 1.0, ..PersonPose::EMPTY };
        for (place, keypoint) in pose.keypoints.iter_mut().enumerate() {
            let swing = (number as f32 * 0.2 + place as f32).sin();
            *keypoint = KeyPoint { x: 90.0 * id as f32 + number as f32 + swing, y: 100.0 + 9.0 * place as f32 + swing, confidence: 0.8 };
        }
        frame.persons.push(pose).expect("twenty fit");
    }
}

#[test]
fn a_swap_loses_no_frame_and_allocates_nothing_on_the_frame_thread() {
    let config = Config::parse("[model]\nfile = \"unused\"\n").expect("defaults");
    let (mut scorer, update) = SlotScorer::new(decider(1, 1e6), None);
    let mut pipeline_config = config.pipeline(24, PixelScale::SQUARE, None).expect("defaults");
    pipeline_config.decision = scorer.rule();
    let (mut memory, mut order) = (HeapMemory::default(), Order::default());
    let mut pipeline = Pipeline::new(pipeline_config, 24, memory.lend()).expect("defaults");
    let mut frame = Box::new(PoseFrame::new(FrameIndex(0), MonotonicNs(0)));
    // Ready before anything is counted, as the update thread makes them.
    let mut commands = vec![
        (100, Command::Shadow(decider(2, -1e6))),
        (200, Command::Swap),
        (300, Command::Dismiss),
        (400, Command::Shadow(decider(3, -1e6))),
        (500, Command::Swap),
        (600, Command::Settle),
    ];
    let (mut allocated, mut answers, mut anomalous_at) = (0, Vec::new(), Vec::new());
    for number in 0..700 {
        write_frame(&mut frame, number);
        if commands.first().is_some_and(|(at, _)| *at == number) {
            update.commands.send(commands.remove(0).1).expect("room");
        }
        let before = thread_allocations();
        if let Some(rule) = scorer.between_frames(frame.frame) {
            pipeline.set_decision(rule);
        }
        pipeline.step(&frame, &mut scorer, &mut order);
        allocated += thread_allocations() - before;
        if let Ok(answer) = update.answers.try_recv() {
            assert_eq!(answer.from_frame, frame.frame);
            answers.push((number, answer.old.map(|old| old.revision)));
        }
        if number % 100 == 99 {
            anomalous_at.push(order.anomalous);
        }
    }
    pipeline.finish(&mut order);
    assert_eq!(order.next, 700, "every frame was decided");
    assert_eq!(answers, [(100, None), (200, None), (300, Some(2)), (400, None), (500, None), (600, Some(1))]);
    assert_eq!(allocated, 0, "allocations of the frame thread");
    assert_eq!(pipeline.counters().windows_scored, u64::from(PERSONS) * (700 - 23), "no window either");
    // The rule changes with the model: nothing is flagged but between the swaps.
    assert_eq!(anomalous_at[1], 0);
    assert_eq!((anomalous_at[2], anomalous_at[4], anomalous_at[6]), (100, 100, 300));
}
