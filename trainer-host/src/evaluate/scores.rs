//! Scores of windows, and of frames under both smoothings: the published one offline, and the device's own.

use super::model::{Lane, Model};
use crate::dataset::alphapose::{self, Tracks};
use crate::dataset::layout::ClipFiles;
use crate::dataset::windows::{ClipTruth, WindowSet};
use crate::error::HostError;
use crate::metric::samples::{LabelledScore, Truth};
use alfred_core::evaluation::smooth_paper;
use alfred_core::event::EventRule;
use alfred_core::limits::{BATCH_WINDOWS_MAX, TRACKS_MAX};
use alfred_core::pipeline::{FrameDecision, Pipeline, PipelineConfig, PipelineMemory, Sink};
use alfred_core::pose::PoseFrame;
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::segment::{SegmentPose, SegmentRule};
use alfred_core::smoothing::{CausalKernel, LIVE_AHEAD_FRAMES, LIVE_BACK_FRAMES, LIVE_SIGMA_FRAMES};
use alfred_core::track_table::TrackSlot;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::{FrameIndex, MonotonicNs};
use indicatif::ProgressBar;
use std::panic::resume_unwind;
use std::path::Path;

/// Threads that score, at most.
const THREADS_MAX: usize = 8;

/// What intervals resample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupBy {
    /// Whole clips.
    #[default]
    Clip,
    /// Events, and the stretches between them: more groups, so narrower intervals, but neighbours in a clip are not independent.
    Event,
}

/// The group of each frame of each clip.
#[derive(Clone, Debug)]
pub struct Groups(Vec<Vec<u32>>);

impl Groups {
    /// Cuts the clips into groups.
    #[must_use]
    pub fn of(truths: &[ClipTruth], by: GroupBy) -> Self {
        let mut next = 0;
        let mut clips = Vec::with_capacity(truths.len());
        for truth in truths {
            let mut groups: Vec<u32> = Vec::with_capacity(truth.mask.len());
            for (frame, label) in truth.mask.iter().enumerate() {
                let begins = by == GroupBy::Event && frame > 0 && truth.mask[frame - 1] != *label;
                next += u32::from(begins);
                groups.push(next);
            }
            next += 1;
            clips.push(groups);
        }
        Self(clips)
    }

    /// The group of a frame; past the clip's end, that of its last frame.
    #[must_use]
    pub fn at(&self, clip: usize, frame: usize) -> u32 {
        self.0.get(clip).and_then(|groups| groups.get(frame).or(groups.last())).copied().unwrap_or(0)
    }
}

/// One score per frame of each clip.
pub type FrameScores = Vec<Vec<f64>>;

/// Scores every window, on several threads. The result does not depend on their number.
///
/// # Errors
/// [`HostError`] when the model has no scorer, or a window no score.
pub fn score_windows(model: &dyn Model, set: &WindowSet, lane: Lane, place: &Path, bar: &ProgressBar) -> Result<Vec<f64>, HostError> {
    bar.set_message("windows");
    bar.set_length(set.len() as u64);
    let indices: Vec<u32> = (0..set.len() as u32).collect();
    let parts = on_threads(&indices, |part| {
        let mut scorer = model.scorer(lane)?;
        let mut windows = vec![Window::EMPTY; BATCH_WINDOWS_MAX];
        windows.iter_mut().for_each(|window| window.set_frames(set.frames()));
        let mut results: [ScoreResult; BATCH_WINDOWS_MAX] = [Err(ScoreFault::Engine); BATCH_WINDOWS_MAX];
        let mut scores = Vec::with_capacity(part.len());
        for batch in part.chunks(BATCH_WINDOWS_MAX) {
            for (window, index) in windows.iter_mut().zip(batch) {
                window.values_mut().copy_from_slice(set.window(*index));
            }
            scorer.score_batch(&windows[..batch.len()], &mut results[..batch.len()]);
            for (result, index) in results.iter().zip(batch) {
                let fault =
                    |fault: ScoreFault| HostError::data(place, format!("window {index}: {fault}"), "check the poses and the weights");
                scores.push(f64::from(result.map_err(fault)?.value()));
            }
            bar.inc(batch.len() as u64);
        }
        Ok(scores)
    })?;
    Ok(parts.concat())
}

/// Window scores with their truth.
#[must_use]
pub fn window_samples(set: &WindowSet, scores: &[f64], groups: &Groups) -> Vec<LabelledScore> {
    let sample = |(index, &score): (usize, &f64)| {
        let origin = set.origin(index as u32);
        let group = groups.at(origin.clip as usize, origin.centre as usize);
        LabelledScore { score, truth: Truth::of(set.label(index as u32) < 0.0), group }
    };
    scores.iter().enumerate().map(sample).collect()
}

/// Frame scores with their truth.
#[must_use]
pub fn frame_samples(scores: &FrameScores, truths: &[ClipTruth], groups: &Groups) -> Vec<LabelledScore> {
    let mut samples = Vec::new();
    for (clip, (scores, truth)) in scores.iter().zip(truths).enumerate() {
        let labelled = scores.iter().zip(&truth.mask).enumerate();
        samples.extend(labelled.map(|(frame, (&score, &label))| LabelledScore {
            score,
            truth: Truth::of(label),
            group: groups.at(clip, frame),
        }));
    }
    samples
}

/// Frame scores as published: the worst person, the lowest score of the data set where nobody is scored, then the look-ahead cascade.
#[must_use]
pub fn paper_frames(set: &WindowSet, scores: &[f64], truths: &[ClipTruth]) -> FrameScores {
    let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let mut clips: FrameScores = truths.iter().map(|truth| vec![lowest; truth.mask.len()]).collect();
    for (index, &score) in scores.iter().enumerate() {
        let origin = set.origin(index as u32);
        if let Some(worst) = clips.get_mut(origin.clip as usize).and_then(|clip| clip.get_mut(origin.centre as usize)) {
            *worst = worst.max(score);
        }
    }
    for frames in &mut clips {
        let mut scratch = vec![0.0; frames.len()];
        smooth_paper(frames, &mut scratch);
    }
    clips
}

/// Frame scores as a device with default settings decides them: the data path itself, frame by frame, live windows and causal smoothing. Frames without
/// a score take the lowest one of the data set.
///
/// # Errors
/// [`HostError`] when a clip is unreadable or the model does not fit the data path.
pub fn device_frames(
    model: &dyn Model,
    files: &[ClipFiles],
    truths: &[ClipTruth],
    lane: Lane,
    bar: &ProgressBar,
) -> Result<FrameScores, HostError> {
    bar.set_message("device");
    bar.set_length(truths.iter().map(|truth| truth.mask.len() as u64).sum());
    bar.set_position(0);
    let clips: Vec<(&ClipFiles, &ClipTruth)> = files.iter().zip(truths).collect();
    let parts = on_threads(&clips, |part| {
        let mut device = Device::new(model, lane)?;
        let run = |(files, truth): &(&ClipFiles, &ClipTruth)| {
            let scores = device.run(files, truth.mask.len())?;
            bar.inc(scores.len() as u64);
            Ok(scores)
        };
        part.iter().map(run).collect::<Result<Vec<Vec<Option<f64>>>, HostError>>()
    })?;
    let smoothed = parts.concat();
    let lowest = smoothed.iter().flatten().flatten().copied().fold(f64::INFINITY, f64::min);
    Ok(smoothed.into_iter().map(|clip| clip.into_iter().map(|score| score.unwrap_or(lowest)).collect()).collect())
}

/// One thread's scorer and pipeline memory.
struct Device<'m> {
    model: &'m dyn Model,
    scorer: Box<dyn Scorer + 'm>,
    tracks: Vec<TrackSlot>,
    poses: [SegmentPose; 1],
    windows: Vec<Window>,
}

#[derive(Default)]
struct Smoothed(Vec<Option<f64>>);

impl Sink for Smoothed {
    fn frame(&mut self, decision: &FrameDecision) {
        self.0.push(decision.smoothed.map(|score| f64::from(score.value())));
    }
}

impl<'m> Device<'m> {
    fn new(model: &'m dyn Model, lane: Lane) -> Result<Self, HostError> {
        Ok(Self {
            model,
            scorer: model.scorer(lane)?,
            tracks: vec![TrackSlot::EMPTY; TRACKS_MAX],
            poses: [SegmentPose::EMPTY],
            windows: vec![Window::EMPTY; BATCH_WINDOWS_MAX],
        })
    }

    /// The smoothed score of each of the first `length` frames of a clip.
    fn run(&mut self, files: &ClipFiles, length: usize) -> Result<Vec<Option<f64>>, HostError> {
        let fault = |what: &dyn std::fmt::Display| HostError::data(&files.poses, what, "this model does not fit the device's data path");
        let smoothing = CausalKernel::gaussian(LIVE_SIGMA_FRAMES, LIVE_BACK_FRAMES, LIVE_AHEAD_FRAMES).map_err(|error| fault(&error))?;
        let config = PipelineConfig {
            window: WindowPolicy::live(self.model.window_frames()).with_score_frame(self.model.score_frame_in_window()),
            scale: self.model.pixel_scale(),
            smoothing,
            decision: None,
            event: EventRule { gap_merge_frames: 0, length_frames_min: 1, update_frames: 1 },
            segment: SegmentRule { pre_roll_frames: 0, post_roll_frames: 0 },
            idle_frames_max: None,
        };
        let memory = PipelineMemory { tracks: &mut self.tracks, poses: &mut self.poses, windows: &mut self.windows };
        let mut pipeline = Pipeline::new(config, self.model.window_frames(), memory).map_err(|error| fault(&error))?;
        let mut sink = Smoothed::default();
        for frame in &frames_of(&alphapose::read(&files.poses)?, length) {
            pipeline.step(frame, self.scorer.as_mut(), &mut sink);
        }
        pipeline.finish(&mut sink);
        sink.0.resize(length, None);
        Ok(sink.0)
    }
}

/// The first `length` frames of a clip, empty ones included; at most 64 persons each, as on the device.
fn frames_of(tracks: &Tracks, length: usize) -> Vec<PoseFrame> {
    let mut frames: Vec<PoseFrame> = (0..length as u64).map(|number| PoseFrame::new(FrameIndex(number), MonotonicNs(0))).collect();
    for (frame, pose) in tracks.values().flatten() {
        if let Some(frame) = usize::try_from(frame.0).ok().and_then(|place| frames.get_mut(place)) {
            // The device drops further persons too.
            let _ = frame.persons.push(*pose);
        }
    }
    frames
}

/// Runs `work` on parts of `items`, in order; the first error of the first part that has one.
fn on_threads<I: Sync, T: Send>(items: &[I], work: impl Fn(&[I]) -> Result<T, HostError> + Sync) -> Result<Vec<T>, HostError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let per_thread = items.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = items.chunks(per_thread).map(|part| scope.spawn(|| work(part))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}
