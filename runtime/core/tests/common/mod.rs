//! Hand-made persons, a scorer whose scores are known beforehand, and a sink that keeps everything.
#![allow(dead_code, missing_docs, clippy::missing_panics_doc, reason = "each test file uses its own part")]

use alfred_core::decision::DecisionRule;
use alfred_core::event::{Event, EventRule};
use alfred_core::limits::{BATCH_WINDOWS_MAX, TRACKS_MAX};
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{FrameDecision, Pipeline, PipelineConfig, PipelineMemory, Sink, WindowScore};
use alfred_core::pose::{KeyPoint, PersonPose, PoseFrame};
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::segment::{SegmentPart, SegmentPose, SegmentRule, SegmentView};
use alfred_core::smoothing::CausalKernel;
use alfred_core::track_table::TrackSlot;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::{AnomalyScore, FrameIndex, MonotonicNs, PersonId, Threshold};

pub const WINDOW: usize = 4;

/// A person of 100 pixels at (x, y), its key-points spread out.
pub fn person(id: u32, x: f32, y: f32) -> PersonPose {
    let mut pose = PersonPose { id: PersonId(id), score: 1.0, ..PersonPose::EMPTY };
    for (place, keypoint) in pose.keypoints.iter_mut().enumerate() {
        *keypoint = KeyPoint { x: x + 3.0 * (place % 4) as f32, y: y + 6.25 * place as f32, confidence: 0.5 };
    }
    pose
}

/// A frame at 10 ms per frame.
pub fn frame(number: u64, persons: &[PersonPose]) -> PoseFrame {
    let mut frame = PoseFrame::new(FrameIndex(number), MonotonicNs(number.wrapping_mul(10_000_000)));
    for person in persons {
        frame.persons.push(*person).expect("few persons");
    }
    frame
}

/// Scores every window with the same, settable number.
pub struct FixedScorer {
    pub frames: usize,
    pub score: ScoreResult,
    pub batches: Vec<usize>,
}

impl FixedScorer {
    pub fn new(score: f32) -> Self {
        Self { frames: WINDOW, score: AnomalyScore::new(score).map_err(|_| ScoreFault::NotFinite), batches: Vec::new() }
    }
}

impl Scorer for FixedScorer {
    fn window_frames(&self) -> usize {
        self.frames
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        self.batches.push(windows.len());
        for (window, score) in windows.iter().zip(scores) {
            *score = if window.frames() == self.frames { self.score } else { Err(ScoreFault::WrongWindow) };
        }
    }
}

#[derive(Debug, PartialEq)]
pub struct KeptSegment {
    pub part: SegmentPart,
    pub is_incomplete: bool,
    pub is_cut_short: bool,
    pub poses: Vec<SegmentPose>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Kept {
    pub windows: Vec<WindowScore>,
    pub frames: Vec<FrameDecision>,
    pub events: Vec<Event>,
    pub segments: Vec<KeptSegment>,
}

impl Sink for Kept {
    fn window(&mut self, window: &WindowScore) {
        self.windows.push(*window);
    }
    fn frame(&mut self, decision: &FrameDecision) {
        self.frames.push(*decision);
    }
    fn event(&mut self, event: &Event) {
        self.events.push(*event);
    }
    fn segment(&mut self, segment: &SegmentView<'_>) {
        self.segments.push(KeptSegment {
            part: segment.part,
            is_incomplete: segment.is_incomplete,
            is_cut_short: segment.is_cut_short,
            poses: segment.poses().copied().collect(),
        });
    }
}

pub struct Memory {
    pub tracks: Vec<TrackSlot>,
    pub poses: Vec<SegmentPose>,
    pub windows: Vec<Window>,
}

impl Memory {
    pub fn new(tracks: usize, poses: usize, windows: usize) -> Self {
        Self { tracks: vec![TrackSlot::EMPTY; tracks], poses: vec![SegmentPose::EMPTY; poses], windows: vec![Window::EMPTY; windows] }
    }

    pub fn full() -> Self {
        Self::new(TRACKS_MAX, 1024, BATCH_WINDOWS_MAX)
    }

    pub fn pipeline(&mut self, config: PipelineConfig) -> Pipeline<'_> {
        Pipeline::new(config, WINDOW, self.borrow()).expect("valid")
    }

    pub fn borrow(&mut self) -> PipelineMemory<'_> {
        PipelineMemory { tracks: &mut self.tracks, poses: &mut self.poses, windows: &mut self.windows }
    }
}

pub fn config() -> PipelineConfig {
    PipelineConfig {
        window: WindowPolicy::live(WINDOW),
        scale: PixelScale::SQUARE,
        smoothing: CausalKernel::IDENTITY,
        decision: DecisionRule::new(Threshold::new(1.0).expect("finite"), 0.0).ok(),
        event: EventRule { gap_merge_frames: 2, length_frames_min: 2, update_frames: 10 },
        segment: SegmentRule { pre_roll_frames: 3, post_roll_frames: 2 },
        idle_frames_max: Some(20),
    }
}
