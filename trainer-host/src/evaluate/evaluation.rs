//! One evaluation: the figures of a model on the test clips of a domain.

use super::events::{AlarmExpectation, EventFigures, event_figures, frames_per_alarm};
use super::model::{Lane, Model};
use super::scores::{FrameScores, GroupBy, Groups, device_frames, frame_samples, paper_frames, score_windows, window_samples};
use crate::dataset::layout::{ClipFiles, Events, Split, clips_of, read_events};
use crate::dataset::sound::sound_clips;
use crate::dataset::windows::{ClipTruth, read_clips};
use crate::error::HostError;
use crate::metric::alarms::AlarmLoad;
use crate::metric::bootstrap::{BootstrapPlan, Estimate};
use crate::metric::figures::{Figures, figures_with_intervals};
use crate::metric::samples::{LabelledScore, NoMetric, Ranked};
use alfred_core::track_window::WindowPolicy;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// Share of anomalous poses in HuVAD's train slices, 33 001 of 5 241 055 (ALFred, Table 1): what a real street camera sees.
pub const BASE_RATE: f64 = 0.0063;

/// Which smoothings to evaluate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SmoothingChoice {
    /// The published look-ahead cascade.
    Paper,
    /// What a device does: live windows and causal smoothing.
    Causal,
    /// Both.
    #[default]
    Both,
}

/// How to evaluate.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Folder below `json/` of a benchmark with several domains; `None`: `source` where there is one.
    pub domain: Option<String>,
    /// Which frame scores.
    pub smoothing: SmoothingChoice,
    /// The intervals.
    pub plan: BootstrapPlan,
    /// What they resample.
    pub group_by: GroupBy,
    /// Which arithmetic.
    pub lane: Lane,
    /// Share of anomalous frames that expected alarms are computed for, 0 to 1.
    pub base_rate: f64,
    /// Frames per second of the camera that expected alarms are computed for, above 0.
    pub frames_per_second: f64,
    /// Whether a clip that cannot be read is an error, and not only named and left out.
    pub strict: bool,
    /// Whether to draw a progress bar on a terminal.
    pub progress: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domain: None,
            smoothing: SmoothingChoice::Both,
            plan: BootstrapPlan::default(),
            group_by: GroupBy::Clip,
            lane: Lane::Exact,
            base_rate: BASE_RATE,
            frames_per_second: 30.0,
            strict: false,
            progress: false,
        }
    }
}

/// What frame scores are good for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrameEvaluation {
    /// By frame.
    pub figures: Figures<Estimate>,
    /// By event, at the EER threshold.
    pub events: Vec<EventFigures>,
    /// At the EER threshold.
    pub alarms: AlarmExpectation,
    /// The scores, for curves.
    #[serde(skip)]
    pub ranked: Ranked,
}

/// What an evaluation found. Anomaly is the positive class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// The model's architecture.
    pub architecture: String,
    /// Windows scored.
    pub windows: usize,
    /// Frames with truth.
    pub frames: usize,
    /// Clips.
    pub clips: usize,
    /// Groups that the intervals resample.
    pub groups: usize,
    /// By window, unsmoothed. A window is anomalous when its person is at its score's frame (without truth by person: when the frame is).
    pub window: Figures<Estimate>,
    /// By frame, paper smoothing: worst person, frames with nobody most normal.
    pub paper: Option<FrameEvaluation>,
    /// By frame as a device decides it: live windows, causal smoothing, frames with nobody most normal. Its EER threshold is the one to
    /// ship with the weights.
    pub device: Option<FrameEvaluation>,
    /// The window scores, for curves.
    #[serde(skip)]
    pub ranked: Ranked,
}

/// Evaluates on the test split of a data set.
///
/// # Errors
/// [`HostError`] when the data is unreadable, has no masks, or holds one class only.
pub fn evaluate_model(model: &dyn Model, data: &Path, settings: &Settings) -> Result<Evaluation, HostError> {
    let files = sound_clips(clips_of(data, settings.domain.as_deref(), Split::Test)?, settings.strict)?.clips;
    evaluate_clips(model, &files, read_events(data)?.as_ref(), data, settings)
}

/// Evaluates on clips, with the published windows and, for the device's figure, the live ones. `place` is for messages.
///
/// # Errors
/// As [`evaluate_model`].
pub fn evaluate_clips(
    model: &dyn Model,
    files: &[ClipFiles],
    events: Option<&Events>,
    place: &Path,
    settings: &Settings,
) -> Result<Evaluation, HostError> {
    let policy = WindowPolicy::published(model.window_frames()).with_score_frame(model.score_frame_in_window());
    let (set, truths) = read_clips(files, events, &policy, &model.pixel_scale())?;
    if let Some(clip) = truths.iter().find(|truth| !truth.has_mask) {
        return Err(HostError::data(place, format!("clip {} has no mask", clip.name), "put its frame mask under masks/"));
    }
    let bar = bar(settings.progress);
    let scores = score_windows(model, &set, settings.lane, place, &bar)?;
    let groups = Groups::of(&truths, settings.group_by);
    let samples = window_samples(&set, &scores, &groups);
    let refuse = |fault: NoMetric| HostError::data(place, format!("test clips: {fault}"), "evaluation needs both classes");
    let paper = match settings.smoothing {
        SmoothingChoice::Causal => None,
        _ => Some(frames(&paper_frames(&set, &scores, &truths), &truths, &groups, settings).map_err(refuse)?),
    };
    let device = match settings.smoothing {
        SmoothingChoice::Paper => None,
        _ => {
            let scores = device_frames(model, files, &truths, settings.lane, &bar)?;
            Some(frames(&scores, &truths, &groups, settings).map_err(refuse)?)
        }
    };
    bar.finish_and_clear();
    Ok(Evaluation {
        architecture: model.architecture().to_owned(),
        windows: set.len(),
        frames: truths.iter().map(|truth| truth.mask.len()).sum(),
        clips: truths.len(),
        groups: samples.iter().map(|sample| sample.group).collect::<BTreeSet<u32>>().len(),
        window: figures_with_intervals(&samples, &settings.plan).map_err(refuse)?,
        paper,
        device,
        ranked: Ranked::new(&samples).map_err(refuse)?,
    })
}

fn frames(scores: &FrameScores, truths: &[ClipTruth], groups: &Groups, settings: &Settings) -> Result<FrameEvaluation, NoMetric> {
    let samples: Vec<LabelledScore> = frame_samples(scores, truths, groups);
    let figures = figures_with_intervals(&samples, &settings.plan)?;
    let threshold = figures.eer_threshold.value;
    let load = AlarmLoad {
        frames_per_second: settings.frames_per_second,
        base_rate: settings.base_rate,
        frames_per_alarm: frames_per_alarm(scores, threshold),
    };
    let (fpr, fnr) = (figures.false_positive_rate.value, figures.false_negative_rate.value);
    Ok(FrameEvaluation {
        figures,
        events: event_figures(scores, truths, threshold, &settings.plan),
        alarms: AlarmExpectation { load, alarms_per_day: load.alarms_per_day(fpr, fnr), precision: load.precision(fpr, fnr) },
        ranked: Ranked::new(&samples)?,
    })
}

fn bar(is_wanted: bool) -> ProgressBar {
    if !is_wanted {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    // The template is constant; the plain style is shown should it ever be refused.
    match ProgressStyle::with_template("{msg:8} {bar:40} {pos}/{len} {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
