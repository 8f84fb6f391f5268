//! Offline replay: whole clips through the device's own data path, with the published or the causal smoothing.
//!
//! `paper`: the published window rule (a track's last window is never scored), each window's score at its centre frame, a frame's score
//! is its worst person's; frames without a score take the lowest (most normal) score of the whole data set; then the look-ahead cascade per
//! clip. `causal`: what the device decides, frame by frame.

use alfred_clips::frame_mask::FrameMask;
use alfred_clips::pose_file::Clip;
use alfred_core::counters::Counters;
use alfred_core::evaluation::{NoAuc, auc_roc, smooth_paper};
use alfred_core::limits::{BATCH_WINDOWS_MAX, SEGMENT_POSES_MAX, TRACKS_MAX};
use alfred_core::pipeline::{FrameDecision, InvalidConfig, Pipeline, PipelineConfig, PipelineMemory, Sink, WindowScore};
use alfred_core::pose::PoseFrame;
use alfred_core::scorer::{Scorer, Window};
use alfred_core::segment::SegmentPose;
use alfred_core::smoothing::CausalKernel;
use alfred_core::track_table::TrackSlot;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::{FrameIndex, MonotonicNs, Threshold};

/// Which smoothing a replay uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Smoothing {
    /// The published look-ahead cascade; offline evaluation only.
    Paper,
    /// The device's causal smoothing with its declared delay.
    Causal,
}

/// A pipeline's memory on the heap, at its full capacities.
#[derive(Debug)]
pub struct HeapMemory {
    tracks: Vec<TrackSlot>,
    poses: Vec<SegmentPose>,
    windows: Vec<Window>,
}

impl Default for HeapMemory {
    fn default() -> Self {
        Self {
            tracks: vec![TrackSlot::EMPTY; TRACKS_MAX],
            poses: vec![SegmentPose::EMPTY; SEGMENT_POSES_MAX],
            windows: vec![Window::EMPTY; BATCH_WINDOWS_MAX],
        }
    }
}

impl HeapMemory {
    /// The memory, lent to a pipeline.
    pub fn lend(&mut self) -> PipelineMemory<'_> {
        PipelineMemory { tracks: &mut self.tracks, poses: &mut self.poses, windows: &mut self.windows }
    }
}

/// One frame of a replayed clip. Scores rise with anomaly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameRow {
    /// Persons in the frame.
    pub persons: u16,
    /// The worst person's window score; `None` where nobody is scored.
    pub score: Option<f32>,
    /// The smoothed score.
    pub smoothed: Option<f64>,
    /// The decision; `None` without a threshold.
    pub anomalous: Option<bool>,
}

/// One clip's outcome.
#[derive(Clone, Debug)]
pub struct ClipResult {
    /// The clip's name.
    pub name: String,
    /// One row per frame, from frame 0.
    pub rows: Vec<FrameRow>,
    /// Every scored window, in the order of scoring.
    pub windows: Vec<WindowScore>,
    /// What was lost or odd on the way.
    pub counters: Counters,
    /// Frames with poses at or beyond the mask's end: not scored.
    pub frames_beyond_mask: u64,
    /// Persons beyond 64 in one frame: not scored.
    pub persons_over_limit: u64,
}

/// Replays one clip after the other.
pub struct Replay<'s> {
    scorer: &'s mut dyn Scorer,
    config: PipelineConfig,
    smoothing: Smoothing,
    memory: HeapMemory,
}

#[derive(Default)]
struct Collect {
    rows: Vec<FrameRow>,
    windows: Vec<WindowScore>,
    has_threshold: bool,
}

impl Sink for Collect {
    fn window(&mut self, window: &WindowScore) {
        self.windows.push(*window);
    }

    fn frame(&mut self, decision: &FrameDecision) {
        self.rows.push(FrameRow {
            persons: decision.persons,
            score: decision.score.map(|score| score.value()),
            smoothed: decision.smoothed.map(|score| f64::from(score.value())),
            anomalous: self.has_threshold.then_some(decision.is_anomalous),
        });
    }
}

impl<'s> Replay<'s> {
    /// A replay with the device's settings; with [`Smoothing::Paper`] the published window rule replaces the configured one.
    ///
    /// # Errors
    /// [`InvalidConfig`] names the setting outside the limits.
    pub fn new(scorer: &'s mut dyn Scorer, mut config: PipelineConfig, smoothing: Smoothing) -> Result<Self, InvalidConfig> {
        if smoothing == Smoothing::Paper {
            let published = WindowPolicy::published(config.window.window_frames).with_score_frame(config.window.score_frame);
            config.window = WindowPolicy { stride: config.window.stride, confidence_min: config.window.confidence_min, ..published };
            config.smoothing = CausalKernel::IDENTITY;
            config.decision = None;
            config.idle_frames_max = None;
        }
        let mut memory = HeapMemory::default();
        Pipeline::new(config.clone(), scorer.window_frames(), memory.lend())?;
        Ok(Self { scorer, config, smoothing, memory })
    }

    /// Takes one clip through the data path. A mask gives the clip its length.
    ///
    /// # Errors
    /// [`InvalidConfig`], checked before and therefore not to be expected.
    pub fn clip(&mut self, clip: &Clip, mask: Option<&FrameMask>) -> Result<ClipResult, InvalidConfig> {
        let length = mask.map_or(clip.length(), |mask| mask.len() as u64);
        let mut pipeline = Pipeline::new(self.config.clone(), self.scorer.window_frames(), self.memory.lend())?;
        let mut collect = Collect { has_threshold: self.config.decision.is_some(), ..Collect::default() };
        let mut frames = clip.frames.iter().peekable();
        for number in 0..length {
            let empty;
            let frame = match frames.next_if(|frame| frame.frame.0 == number) {
                Some(frame) => frame,
                None => {
                    empty = PoseFrame::new(FrameIndex(number), MonotonicNs(0));
                    &empty
                }
            };
            pipeline.step(frame, self.scorer, &mut collect);
        }
        pipeline.finish(&mut collect);
        if self.smoothing == Smoothing::Paper {
            attribute_to_centres(&mut collect);
        }
        Ok(ClipResult {
            name: clip.name.clone(),
            rows: collect.rows,
            windows: collect.windows,
            counters: *pipeline.counters(),
            frames_beyond_mask: frames.count() as u64,
            persons_over_limit: clip.persons_over_limit,
        })
    }

    /// Smooths a whole data set as the paper does. Does nothing for [`Smoothing::Causal`], whose rows are final already.
    pub fn finish(&self, clips: &mut [ClipResult], threshold: Option<Threshold>) {
        if self.smoothing == Smoothing::Paper {
            finish_paper(clips, threshold);
        }
    }
}

/// The published attribution: a window's score at the frame that the model's rule names, whenever it was computed.
fn attribute_to_centres(collect: &mut Collect) {
    for row in &mut collect.rows {
        row.score = None;
    }
    for window in &collect.windows {
        let place = usize::try_from(window.centre.0).ok();
        if let Some(row) = place.and_then(|place| collect.rows.get_mut(place)) {
            let score = window.score.value();
            row.score = Some(row.score.map_or(score, |worst| worst.max(score)));
        }
    }
}

fn finish_paper(clips: &mut [ClipResult], threshold: Option<Threshold>) {
    let lowest = clips.iter().flat_map(|clip| &clip.rows).filter_map(|row| row.score).min_by(f32::total_cmp);
    // Not one score in the whole data set: nothing to fill with, every row stays empty.
    let Some(lowest) = lowest else { return };
    for clip in clips {
        let mut scores: Vec<f64> = clip.rows.iter().map(|row| f64::from(row.score.unwrap_or(lowest))).collect();
        let mut scratch = vec![0.0; scores.len()];
        smooth_paper(&mut scores, &mut scratch);
        for (row, smoothed) in clip.rows.iter_mut().zip(scores) {
            row.smoothed = Some(smoothed);
            row.anomalous = threshold.map(|threshold| smoothed >= f64::from(threshold.value()));
        }
    }
}

/// AUC-ROC over all frames of all clips, anomaly positive. Frames without a smoothed score count as the most normal one.
///
/// # Errors
/// [`NoAuc`] when a class is empty.
pub fn auc<'c>(clips: impl Iterator<Item = (&'c ClipResult, &'c FrameMask)>) -> Result<f64, NoAuc> {
    let mut samples = Vec::new();
    for (clip, mask) in clips {
        let scores = clip.rows.iter().map(|row| row.smoothed.unwrap_or(f64::NEG_INFINITY));
        samples.extend(scores.zip(mask.iter().copied()));
    }
    auc_roc(&mut samples)
}
