//! Decisions by frame seen as events: how many were found, and what they would cost an operator.

use super::scores::FrameScores;
use crate::dataset::windows::ClipTruth;
use crate::metric::alarms::AlarmLoad;
use crate::metric::bootstrap::{BootstrapPlan, Estimate, bootstrap_groups};
use crate::metric::event::{EventMatch, match_events, merge_runs, runs};
use serde::Serialize;
use std::ops::Range;

/// Normal frames that a device bridges by default (`[event] gap_merge_frames`).
pub const GAP_MERGE_FRAMES: usize = 15;
/// Frames below which a device makes no event by default (`[event] length_frames_min`).
pub const LENGTH_FRAMES_MIN: usize = 6;
/// Temporal intersections over union at which events are matched.
pub const IOU_MINS: [f64; 3] = [0.1, 0.2, 0.5];

/// Events found at one temporal intersection over union.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EventFigures {
    /// Smallest tIoU of a match.
    pub iou_min: f64,
    /// True events found.
    pub matched: u64,
    /// True events missed.
    pub missed: u64,
    /// Found events that are not true.
    pub invented: u64,
    /// Share of the found events that are true; `None` when none was found.
    pub precision: Option<f64>,
    /// Share of the true events that were found; `None` when there is none.
    pub recall: Option<f64>,
    /// F1 with its interval over clips; `None` when there is neither a true nor a found event.
    pub f1: Option<Estimate>,
}

/// What a threshold would cost at a camera's own base rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AlarmExpectation {
    /// What was assumed; `frames_per_alarm` is measured: flagged frames per found event.
    pub load: AlarmLoad,
    /// Expected alarms per camera and day, true and false ones.
    pub alarms_per_day: f64,
    /// Expected share of flagged frames that are anomalous.
    pub precision: Option<f64>,
}

/// The events of one clip at a threshold, as a device with default settings would merge them.
#[must_use]
pub fn found_events(scores: &[f64], threshold: f64) -> Vec<Range<usize>> {
    let flagged: Vec<bool> = scores.iter().map(|score| *score >= threshold).collect();
    merge_runs(&runs(&flagged), GAP_MERGE_FRAMES, LENGTH_FRAMES_MIN)
}

/// Events found at `threshold`, for each of [`IOU_MINS`].
#[must_use]
pub fn event_figures(scores: &FrameScores, truths: &[ClipTruth], threshold: f64, plan: &BootstrapPlan) -> Vec<EventFigures> {
    let clips: Vec<_> = scores.iter().zip(truths).map(|(scores, truth)| (runs(&truth.mask), found_events(scores, threshold))).collect();
    let figures = |iou_min: f64| {
        let matches: Vec<EventMatch> = clips.iter().map(|(truth, found)| match_events(truth, found, iou_min)).collect();
        let pooled = |counts: &[u64]| {
            let mut sum = EventMatch::default();
            for (clip, count) in matches.iter().zip(counts) {
                sum.merge(&EventMatch { matched: clip.matched * count, missed: clip.missed * count, invented: clip.invented * count });
            }
            sum
        };
        let sum = pooled(&vec![1; matches.len()]);
        let f1 = bootstrap_groups(matches.len(), plan, |counts| [pooled(counts).f1()]).map(|[f1]| f1);
        EventFigures {
            iou_min,
            matched: sum.matched,
            missed: sum.missed,
            invented: sum.invented,
            precision: sum.precision(),
            recall: sum.recall(),
            f1,
        }
    };
    IOU_MINS.into_iter().map(figures).collect()
}

/// Flagged frames per found event at `threshold`; 1 when there is none.
#[must_use]
pub fn frames_per_alarm(scores: &FrameScores, threshold: f64) -> f64 {
    let flagged = scores.iter().flatten().filter(|score| **score >= threshold).count();
    let events: usize = scores.iter().map(|clip| found_events(clip, threshold).len()).sum();
    if events == 0 { 1.0 } else { (flagged as f64 / events as f64).max(1.0) }
}
