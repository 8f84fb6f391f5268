//! An evaluation in words, and as JSON.

use super::evaluation::{Evaluation, FrameEvaluation};
use crate::metric::bootstrap::Estimate;
use crate::metric::figures::Figures;
use serde_json::{Value, json};
use std::fmt::Write;

/// The evaluation as one JSON object: shares from 0 to 1, each figure with `value`, `interval` (`low`, `high`) and `resamples_skipped`.
#[must_use]
pub fn to_json(evaluation: &Evaluation) -> Value {
    json!(evaluation)
}

/// The evaluation for people.
#[must_use]
pub fn to_text(evaluation: &Evaluation) -> String {
    let mut text = format!(
        "{}: windows {}, frames {}, clips {}; intervals resample {} groups\n",
        evaluation.architecture, evaluation.windows, evaluation.frames, evaluation.clips, evaluation.groups
    );
    append_figures(&mut text, "window, unsmoothed", &evaluation.window);
    for (name, frames) in [("frame, paper smoothing", &evaluation.paper), ("frame, as a device decides", &evaluation.device)] {
        if let Some(frames) = frames {
            append_figures(&mut text, name, &frames.figures);
            append_events(&mut text, frames);
        }
    }
    text
}

fn append_figures(text: &mut String, name: &str, figures: &Figures<Estimate>) {
    let lines = [
        ("AUC-ROC", figures.auc_roc),
        ("AUC-PR", figures.auc_pr),
        ("EER", figures.eer),
        ("10ER (FPR at FNR 10 %)", figures.ten_er),
        ("FNR at FPR 10 %", figures.miss_rate_at_ten_percent),
        ("EBI at the EER threshold", figures.ebi),
    ];
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{name}");
    for (label, estimate) in lines {
        let _ = writeln!(text, "  {label:24} {estimate}");
    }
    let threshold = figures.eer_threshold;
    let interval = threshold.interval.map_or(String::new(), |interval| format!(" (95 %: {:.4} to {:.4})", interval.low, interval.high));
    let _ = writeln!(text, "  {:24} {:.6}{interval}", "EER threshold", threshold.value);
}

fn append_events(text: &mut String, frames: &FrameEvaluation) {
    for events in &frames.events {
        let f1 = events.f1.map_or_else(|| "-".to_owned(), |f1| f1.to_string());
        let (found, all) = (events.matched, events.matched + events.missed);
        let _ = writeln!(
            text,
            "  {:24} {f1}; {found} of {all} found, {} invented",
            format!("event F1, tIoU {}", events.iou_min),
            events.invented
        );
    }
    let alarms = &frames.alarms;
    let precision = alarms.precision.map_or_else(|| "-".to_owned(), |precision| format!("{:.2} %", 100.0 * precision));
    let _ = writeln!(
        text,
        "  {:24} {:.0} per camera and day at {} frames/s, base rate {} %, {:.0} frames per alarm; precision {precision}",
        "expected alarms",
        alarms.alarms_per_day,
        alarms.load.frames_per_second,
        100.0 * alarms.load.base_rate,
        alarms.load.frames_per_alarm
    );
}
