//! Warm-up phase: K-1 weights with the source's threshold run on the camera; people correct what was flagged; the corrected labels become the
//! first validation set, and the camera's first EER threshold is set on it. Later slices renew the set in the same way.

use crate::dataset::windows::Origin;
use crate::phase::event_group::{GAP_FRAMES_MAX, group};
use crate::phase::pseudo_label::split;
use crate::phase::validation_set::{Candidate, ValidationSet};
use crate::phase::verdict::{Annotator, Verdict};

/// Normal windows per anomalous one, at most: the paper's balanced set.
pub const BALANCED: f64 = 1.0;

/// What warm-up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WarmUpReport {
    /// Questions asked: one per flagged event.
    pub labels: usize,
    /// Windows confirmed anomalous.
    pub anomalous: usize,
    /// Windows corrected to normal.
    pub corrected: usize,
    /// Windows below the threshold that an audit found anomalous.
    pub missed: usize,
    /// Normal windows that were not flagged: those that an audit confirmed, and as many others as fill up the normal half.
    pub pseudo_normal: usize,
}

impl WarmUpReport {
    /// Whether the normal half is full.
    fn is_full(&self, normal_per_anomalous: f64) -> bool {
        (self.corrected + self.pseudo_normal) as f64 >= normal_per_anomalous * (self.anomalous + self.missed) as f64
    }
}

/// A stretch of the stream as the weights in force see it.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'s> {
    /// Anomaly score of each window.
    pub scores: &'s [f64],
    /// Where each window came from; as long as `scores`.
    pub origins: &'s [Origin],
    /// The threshold in force: in warm-up the source's.
    pub threshold: f64,
    /// Its slice.
    pub number: u32,
}

/// Events of some windows that may join.
fn events(windows: &[u32], origins: &[Origin], annotator: &mut dyn Annotator) -> Vec<Vec<u32>> {
    let mut events = group(windows, origins, GAP_FRAMES_MAX);
    events.retain(|event| annotator.may_validate(event));
    events
}

/// Grows `validation` from one stretch of the stream: every flagged event is asked about; its windows enter with the corrected label. Of the
/// others, those that an audit has judged enter with its label, the rest as normal, in stream order, until there are
/// `normal_per_anomalous` ([`BALANCED`] in the paper) normal windows for each anomalous one.
pub fn warm_up(
    stream: &Stream<'_>,
    normal_per_anomalous: f64,
    annotator: &mut dyn Annotator,
    validation: &mut ValidationSet,
) -> WarmUpReport {
    let Stream { scores, origins, threshold, number } = *stream;
    let labels = split(scores, threshold);
    let mut report = WarmUpReport::default();
    let mut add = |event: &[u32], verdict: Verdict| validation.add(Candidate::of_event(event, origins, verdict.is_anomalous(), number));
    for event in events(&labels.flagged, origins, annotator) {
        report.labels += 1;
        let Some(verdict) = annotator.verdict(&event) else { continue };
        let count = if verdict.is_anomalous() { &mut report.anomalous } else { &mut report.corrected };
        *count += event.len();
        add(&event, verdict);
    }
    let mut unknown = Vec::new();
    for event in events(&labels.normal, origins, annotator) {
        let Some(verdict) = annotator.audited(&event) else {
            unknown.push(event);
            continue;
        };
        let count = if verdict.is_anomalous() { &mut report.missed } else { &mut report.pseudo_normal };
        *count += event.len();
        add(&event, verdict);
    }
    for event in unknown {
        if report.is_full(normal_per_anomalous) {
            break;
        }
        report.pseudo_normal += event.len();
        add(&event, Verdict::Normal);
    }
    report
}
