//! `cells.csv`: every figure of every cell, by slice and cumulative.

use crate::error::HostError;
use crate::experiment::record::{Cell, StepRecord};
use crate::metric::confusion::Confusion;
use std::path::Path;

/// The columns. `slice` is empty in the row of a whole cell: its rates are cumulative over the train slices, its AUC are those of the best
/// step, its held-out EBI and threshold those after the last one. In the row of a slice the rates are those on that slice, by the pair in force before
/// it trained; AUC, held-out EBI and threshold are those after it.
pub const COLUMNS: [&str; 14] = [
    "camera",
    "model",
    "methodology",
    "seed",
    "slice",
    "fnr_percent",
    "fpr_percent",
    "ebi_percent",
    "ebi_heldout_percent",
    "auc_roc_percent",
    "auc_pr_percent",
    "threshold",
    "labels",
    "label_saving_percent",
];

/// Writes the file.
///
/// # Errors
/// [`HostError`] when it cannot be written.
pub fn write(path: &Path, cells: &[Cell]) -> Result<(), HostError> {
    let fault = |error: csv::Error| HostError::data(path, error, "check that the folder may be written and has room");
    let mut out = csv::Writer::from_path(path).map_err(fault)?;
    out.write_record(COLUMNS).map_err(fault)?;
    for cell in cells {
        for step in &cell.steps {
            if !step.train_by_clip.is_empty() {
                out.write_record(slice_row(cell, step)).map_err(fault)?;
            }
        }
        out.write_record(whole_row(cell)).map_err(fault)?;
    }
    out.flush().map_err(HostError::file(path))
}

fn slice_row(cell: &Cell, step: &StepRecord) -> Vec<String> {
    let ends = (step.held_out(), step.auc_roc, step.auc_pr, step.threshold);
    row(cell, step.slice.to_string(), Some(step.train()), ends, (step.labels, step.labels_full))
}

fn whole_row(cell: &Cell) -> Vec<String> {
    let (auc_roc, auc_pr) = cell.best_auc();
    let held_out = cell.steps.last().map(StepRecord::held_out).unwrap_or_default();
    let threshold = cell.steps.last().map_or(f64::NAN, |step| step.threshold);
    row(cell, String::new(), cell.cumulative(), (held_out, auc_roc, auc_pr, threshold), cell.labels())
}

fn row(
    cell: &Cell,
    slice: String,
    train: Option<Confusion>,
    (held_out, auc_roc, auc_pr, threshold): (Confusion, f64, f64, f64),
    (labels, full): (u64, u64),
) -> Vec<String> {
    let rate = |of: fn(&Confusion) -> Option<f64>| percent(train.as_ref().and_then(of));
    vec![
        cell.camera.clone(),
        cell.model.clone(),
        cell.methodology.clone(),
        cell.seed.to_string(),
        slice,
        rate(Confusion::false_negative_rate),
        rate(Confusion::false_positive_rate),
        rate(Confusion::ebi),
        percent(held_out.ebi()),
        percent(Some(auc_roc)),
        percent(Some(auc_pr)),
        format!("{threshold:.6}"),
        labels.to_string(),
        percent(saving(labels, full)),
    ]
}

/// Share of full active learning's labels that was not asked for; `None` where nothing was asked or would have been.
#[must_use]
pub fn saving(labels: u64, full: u64) -> Option<f64> {
    (full > 0 && labels > 0).then(|| 1.0 - labels as f64 / full as f64)
}

/// A share as per cent with three digits; empty where there is none.
#[must_use]
pub fn percent(share: Option<f64>) -> String {
    share.filter(|share| share.is_finite()).map_or_else(String::new, |share| format!("{:.3}", 100.0 * share))
}
