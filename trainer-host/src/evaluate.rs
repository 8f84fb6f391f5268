//! `alfred-host evaluate`: window and frame AUC-ROC with intervals, and the EER threshold, by the device's own scorer.

use crate::dataset::alphapose::{self, Tracks};
use crate::dataset::layout::{ClipFiles, Split, clips, read_events};
use crate::dataset::windows::{ClipTruth, WindowSet, read_clips};
use crate::error::HostError;
use crate::metric::eer::{EqualErrorRate, equal_error_rate_of};
use alfred_core::evaluation::{auc_roc, smooth_paper};
use alfred_core::event::EventRule;
use alfred_core::limits::{BATCH_WINDOWS_MAX, TRACKS_MAX};
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{FrameDecision, Pipeline, PipelineConfig, PipelineMemory, Sink};
use alfred_core::pose::PoseFrame;
use alfred_core::scorer::{Scorer, Window};
use alfred_core::segment::{SegmentPose, SegmentRule};
use alfred_core::smoothing::{CausalKernel, LIVE_AHEAD_FRAMES, LIVE_BACK_FRAMES, LIVE_SIGMA_FRAMES};
use alfred_core::track_table::TrackSlot;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::{FrameIndex, MonotonicNs};
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_models::stg_nf::weights_file::{self, StgNfWeights};
use alfred_synth::random::Random;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Name of the preprocessing of our own weights: OpenPose-18 joints, square pixels.
pub const PREPROCESSING_SQUARE: &str = "openpose18-square-pixels";
/// Resamples of the bootstrap over clips.
const BOOTSTRAP_RESAMPLES: usize = 300;
/// Seed of the bootstrap.
const BOOTSTRAP_SEED: u64 = 20;

/// Arguments of `alfred-host evaluate`.
#[derive(Clone, Debug, clap::Args)]
pub struct EvaluateArguments {
    /// Weight file (safetensors, STG-NF).
    #[arg(long)]
    pub weights: PathBuf,
    /// Data set; its test split is evaluated.
    #[arg(long)]
    pub data: PathBuf,
    /// End with one line of JSON on stdout.
    #[arg(long)]
    pub json: bool,
}

/// A figure and its 95 % interval by bootstrap over clips.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// On all clips.
    pub value: f64,
    /// 2.5 % quantile.
    pub low: f64,
    /// 97.5 % quantile.
    pub high: f64,
}

/// What an evaluation found. Anomaly is the positive class.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// AUC-ROC by window; a window is anomalous when its person is at its centre (without truth by person: when the frame is).
    pub window_auc: Interval,
    /// AUC-ROC by frame: worst person, empty frames most normal, paper smoothing.
    pub frame_auc: Interval,
    /// On unsmoothed window scores.
    pub window_eer: EqualErrorRate,
    /// AUC-ROC by frame as a device decides it: live windows, causal smoothing, empty frames most normal.
    pub device_auc: Interval,
    /// On the device's smoothed frame scores: the threshold to ship with the weights.
    pub device_eer: EqualErrorRate,
    /// On the smoothed frame scores.
    pub frame_eer: EqualErrorRate,
    /// Windows scored.
    pub windows: usize,
    /// Frames with truth.
    pub frames: usize,
    /// Clips.
    pub clips: usize,
}

/// Runs the command.
///
/// # Errors
/// [`HostError`] when weights or data cannot be used.
pub fn run(arguments: &EvaluateArguments) -> Result<(), HostError> {
    let weights = read_weights(&arguments.weights)?;
    let evaluation = evaluate(&weights, &arguments.data)?;
    print(&evaluation, arguments.json);
    Ok(())
}

/// Reads an STG-NF weight file.
///
/// # Errors
/// [`HostError::Data`].
pub fn read_weights(path: &Path) -> Result<StgNfWeights, HostError> {
    weights_file::read_path(path).map_err(|fault| HostError::data(path, "weights", fault))
}

/// The pixel scale that a model was trained with.
/// Files that say nothing are published ones.
///
/// # Errors
/// [`HostError::Data`] for a preprocessing that this build does not know.
pub fn pixel_scale(weights: &StgNfWeights, place: &Path) -> Result<PixelScale, HostError> {
    let Some(name) = weights.metadata.preprocessing.as_deref() else { return Ok(PixelScale::PUBLISHED_STG_NF) };
    PixelScale::of_preprocessing(name)
        .ok_or_else(|| HostError::data(place, format!("metadata preprocessing = {name:?}"), "name one that this build knows"))
}

/// Evaluates on the test split of a data set, with the published windows.
///
/// # Errors
/// [`HostError`] when the data is unreadable, has no masks, or holds one class only.
pub fn evaluate(weights: &StgNfWeights, data: &Path) -> Result<Evaluation, HostError> {
    let files = clips(data, Split::Test)?;
    let policy = WindowPolicy::published(weights.parameters.shape.frames());
    let events = read_events(data)?;
    let (set, truths) = read_clips(&files, events.as_ref(), &policy, &pixel_scale(weights, data)?)?;
    if let Some(clip) = truths.iter().find(|truth| !truth.has_mask) {
        return Err(HostError::data(data, format!("clip {} has no mask", clip.name), "put its frame mask under masks/"));
    }
    let scores = score(weights, &set).map_err(|mend| HostError::data(data, "scoring", mend))?;
    let window_samples: Vec<(u32, f64, bool)> =
        (0..set.len() as u32).map(|index| (set.origin(index).clip, scores[index as usize], set.label(index) < 0.0)).collect();
    let frame_samples = frame_samples(&set, &scores, &truths);
    let device_samples = device_samples(weights, &files, &truths)?;
    let one_class = || HostError::data(data, "test split", "it needs both normal and anomalous frames, and finite scores");
    let eer = |samples: &[(u32, f64, bool)]| {
        equal_error_rate_of(samples.iter().map(|&(_, score, label)| (score, label))).map_err(|_| one_class())
    };
    Ok(Evaluation {
        window_auc: auc_interval(&window_samples, truths.len()).ok_or_else(one_class)?,
        frame_auc: auc_interval(&frame_samples, truths.len()).ok_or_else(one_class)?,
        device_auc: auc_interval(&device_samples, truths.len()).ok_or_else(one_class)?,
        device_eer: eer(&device_samples)?,
        window_eer: eer(&window_samples)?,
        frame_eer: eer(&frame_samples)?,
        windows: window_samples.len(),
        frames: frame_samples.len(),
        clips: truths.len(),
    })
}

/// Scores every window with the device's engine, in the lane whose bits are the same on every machine.
fn score(weights: &StgNfWeights, set: &WindowSet) -> Result<Vec<f64>, String> {
    let scorer = StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), Lane::Exact).map_err(|fault| fault.to_string())?;
    let mut window = Window::EMPTY;
    window.set_frames(set.frames());
    (0..set.len() as u32)
        .map(|index| {
            window.values_mut().copy_from_slice(set.window(index));
            scorer.score(&window).map(|score| f64::from(score.value())).map_err(|fault| format!("window {index}: {fault}: check the poses"))
        })
        .collect()
}

/// (clip, smoothed score, is anomalous) of every frame: worst person, then the lowest score of the data set where nobody is.
fn frame_samples(set: &WindowSet, scores: &[f64], truths: &[ClipTruth]) -> Vec<(u32, f64, bool)> {
    let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let mut clips: Vec<Vec<f64>> = truths.iter().map(|truth| vec![lowest; truth.mask.len()]).collect();
    for (index, &score) in scores.iter().enumerate() {
        let origin = set.origin(index as u32);
        if let Some(worst) = clips.get_mut(origin.clip as usize).and_then(|clip| clip.get_mut(origin.centre as usize)) {
            *worst = worst.max(score);
        }
    }
    let mut out = Vec::new();
    for (clip, (mut frames, truth)) in clips.into_iter().zip(truths).enumerate() {
        let mut scratch = vec![0.0; frames.len()];
        smooth_paper(&mut frames, &mut scratch);
        out.extend(frames.into_iter().zip(&truth.mask).map(|(score, &label)| (clip as u32, score, label)));
    }
    out
}

/// (clip, smoothed score, is anomalous) of every frame, as a device with default settings decides it: the data path itself, frame by frame.
/// Frames without a score take the lowest one of the data set.
fn device_samples(weights: &StgNfWeights, files: &[ClipFiles], truths: &[ClipTruth]) -> Result<Vec<(u32, f64, bool)>, HostError> {
    #[derive(Default)]
    struct Smoothed(Vec<Option<f64>>);
    impl Sink for Smoothed {
        fn frame(&mut self, decision: &FrameDecision) {
            self.0.push(decision.smoothed.map(|score| f64::from(score.value())));
        }
    }
    let fault = |place: &Path, what: &dyn std::fmt::Display| HostError::data(place, what, "please report this");
    let mut scorer = StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), Lane::Exact)
        .map_err(|error| HostError::data(Path::new("weights"), error, "use other weights"))?;
    let kernel = CausalKernel::gaussian(LIVE_SIGMA_FRAMES, LIVE_BACK_FRAMES, LIVE_AHEAD_FRAMES);
    let mut tracks = vec![TrackSlot::EMPTY; TRACKS_MAX];
    let (mut poses, mut windows) = ([SegmentPose::EMPTY], vec![Window::EMPTY; BATCH_WINDOWS_MAX]);
    let mut smoothed: Vec<Vec<Option<f64>>> = Vec::with_capacity(files.len());
    for (file, truth) in files.iter().zip(truths) {
        let config = PipelineConfig {
            window: WindowPolicy::live(scorer.window_frames()),
            scale: pixel_scale(weights, &file.poses)?,
            smoothing: kernel.clone().map_err(|error| fault(&file.poses, &error))?,
            decision: None,
            event: EventRule { gap_merge_frames: 0, length_frames_min: 1, update_frames: 1 },
            segment: SegmentRule { pre_roll_frames: 0, post_roll_frames: 0 },
            idle_frames_max: None,
        };
        let memory = PipelineMemory { tracks: &mut tracks, poses: &mut poses, windows: &mut windows };
        let mut pipeline = Pipeline::new(config, scorer.window_frames(), memory).map_err(|error| fault(&file.poses, &error))?;
        let frames = frames_of(&alphapose::read(&file.poses)?, truth.mask.len());
        let mut sink = Smoothed::default();
        for frame in &frames {
            pipeline.step(frame, &mut scorer, &mut sink);
        }
        pipeline.finish(&mut sink);
        smoothed.push(sink.0);
    }
    let lowest = smoothed.iter().flatten().flatten().copied().fold(f64::INFINITY, f64::min);
    let labelled = smoothed.iter().zip(truths).enumerate().flat_map(|(clip, (scores, truth))| {
        scores.iter().zip(&truth.mask).map(move |(score, label)| (clip as u32, score.unwrap_or(lowest), *label))
    });
    Ok(labelled.collect())
}

/// The first `length` frames of a clip, empty ones included; at most 64 persons each, as on the device.
fn frames_of(tracks: &Tracks, length: usize) -> Vec<PoseFrame> {
    let mut frames: Vec<PoseFrame> = (0..length as u64).map(|number| PoseFrame::new(FrameIndex(number), MonotonicNs(0))).collect();
    for (frame, pose) in tracks.values().flatten() {
        if let Some(frame) = frames.get_mut(frame.0 as usize) {
            // The device drops further persons too.
            let _ = frame.persons.push(*pose);
        }
    }
    frames
}

/// AUC-ROC with a bootstrap interval over clips: frames of one clip are not independent samples.
fn auc_interval(samples: &[(u32, f64, bool)], clips: usize) -> Option<Interval> {
    let mut plain: Vec<(f64, bool)> = samples.iter().map(|&(_, score, label)| (score, label)).collect();
    let value = auc_roc(&mut plain).ok()?;
    let mut by_clip: Vec<Vec<(f64, bool)>> = vec![Vec::new(); clips];
    for &(clip, score, label) in samples {
        by_clip.get_mut(clip as usize)?.push((score, label));
    }
    let mut random = Random::new(BOOTSTRAP_SEED);
    let mut resampled: Vec<f64> = Vec::new();
    for _ in 0..BOOTSTRAP_RESAMPLES {
        plain.clear();
        for _ in 0..clips {
            plain.extend_from_slice(&by_clip[random.below(clips)]);
        }
        // A resample of one class only says nothing.
        resampled.extend(auc_roc(&mut plain).ok());
    }
    resampled.sort_unstable_by(f64::total_cmp);
    let quantile = |share: f64| resampled.get(((resampled.len() as f64 - 1.0).max(0.0) * share) as usize).copied().unwrap_or(value);
    Some(Interval { value, low: quantile(0.025), high: quantile(0.975) })
}

fn print(evaluation: &Evaluation, as_json: bool) {
    if as_json {
        println!("{}", to_json(evaluation));
        return;
    }
    let percent =
        |interval: Interval| format!("{:.1} % (95 %: {:.1} to {:.1})", 100.0 * interval.value, 100.0 * interval.low, 100.0 * interval.high);
    println!("windows {}, frames {}, clips {}", evaluation.windows, evaluation.frames, evaluation.clips);
    println!("window AUC-ROC {}", percent(evaluation.window_auc));
    println!("frame  AUC-ROC {}, paper smoothing", percent(evaluation.frame_auc));
    println!("device AUC-ROC {}, live windows and causal smoothing", percent(evaluation.device_auc));
    println!("device EER {:.1} % at threshold {:.6}", 100.0 * evaluation.device_eer.rate(), evaluation.device_eer.threshold);
    println!("window EER {:.1} % at threshold {:.6}", 100.0 * evaluation.window_eer.rate(), evaluation.window_eer.threshold);
    println!("frame  EER {:.1} % at threshold {:.6}", 100.0 * evaluation.frame_eer.rate(), evaluation.frame_eer.threshold);
}

/// The evaluation as one JSON object.
#[must_use]
pub fn to_json(evaluation: &Evaluation) -> serde_json::Value {
    let eer = |eer: &EqualErrorRate| json!({"rate": eer.rate(), "threshold": eer.threshold});
    json!({
        "windows": evaluation.windows, "frames": evaluation.frames, "clips": evaluation.clips,
        "window_auc": evaluation.window_auc, "frame_auc": evaluation.frame_auc,
        "device_auc": evaluation.device_auc, "device_eer": eer(&evaluation.device_eer), "window_eer": eer(&evaluation.window_eer), "frame_eer": eer(&evaluation.frame_eer),
    })
}
