//! Warm-up phase: K-1 weights with the source's threshold run on the camera; people correct what was flagged; the corrected labels become the
//! first validation set, and the camera's first EER threshold is set on it.

use crate::dataset::windows::Origin;
use crate::phase::event_group::{GAP_FRAMES_MAX, group};
use crate::phase::pseudo_label::split;
use crate::phase::validation_set::{Candidate, ValidationSet};
use crate::phase::verdict::Annotator;

/// What warm-up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WarmUpReport {
    /// Questions asked: one per flagged event.
    pub labels: usize,
    /// Windows confirmed anomalous.
    pub anomalous: usize,
    /// Windows corrected to normal.
    pub corrected: usize,
    /// Normal windows that were not flagged and fill up the normal half.
    pub pseudo_normal: usize,
}

/// Grows `validation` from one stretch of the stream: every flagged event is asked about; its windows enter with the corrected label.
/// Unflagged events enter as normal, in stream order, as many windows as the anomalous half has.
pub fn warm_up(
    scores: &[f64],
    origins: &[Origin],
    source_threshold: f64,
    annotator: &mut dyn Annotator,
    now_slice: u32,
    validation: &mut ValidationSet,
) -> WarmUpReport {
    let labels = split(scores, source_threshold);
    let mut report = WarmUpReport::default();
    for event in group(&labels.flagged, origins, GAP_FRAMES_MAX) {
        report.labels += 1;
        let Some(verdict) = annotator.verdict(&event) else { continue };
        let count = if verdict.is_anomalous() { &mut report.anomalous } else { &mut report.corrected };
        *count += event.len();
        validation.add(Candidate::of_event(&event, origins, verdict.is_anomalous(), now_slice));
    }
    for event in group(&labels.normal, origins, GAP_FRAMES_MAX) {
        if report.corrected + report.pseudo_normal >= report.anomalous {
            break;
        }
        report.pseudo_normal += event.len();
        validation.add(Candidate::of_event(&event, origins, false, now_slice));
    }
    report
}
