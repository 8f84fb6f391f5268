//! Every figure against scikit-learn, scipy and numpy, to a rounding error. `metric_golden/make.py` made the expected values.

use alfred_trainer_host::metric::eer::{equal_error_rate, interpolated_rate};
use alfred_trainer_host::metric::miss_rate::{miss_rate_at, ten_er};
use alfred_trainer_host::metric::pr::{auc_pr, pr};
use alfred_trainer_host::metric::quantile::quantile;
use alfred_trainer_host::metric::roc::{auc_roc, roc};
use alfred_trainer_host::metric::samples::Ranked;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Relative, and absolute below 1.
const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Expected {
    scores: Vec<f64>,
    labels: Vec<u8>,
    auc_roc: f64,
    auc_pr: f64,
    /// FPR and TPR.
    roc: [Vec<f64>; 2],
    /// Precision and recall.
    pr: [Vec<f64>; 2],
    max_f1: f64,
    interpolated_eer: f64,
    ten_er: f64,
    miss_rate_at_ten_percent: f64,
    threshold: f64,
    confusion: [u64; 4],
    f1: f64,
    ebi: f64,
    h_prs: f64,
    quantiles: Vec<(f64, f64)>,
}

#[track_caller]
fn close(name: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() <= TOLERANCE * expected.abs().max(1.0), "{name}: {found:?} instead of {expected:?}");
}

#[track_caller]
fn close_all(name: &str, found: impl Iterator<Item = f64>, expected: &[f64]) {
    let found: Vec<f64> = found.collect();
    assert_eq!(found.len(), expected.len(), "{name}: number of points");
    found.iter().zip(expected).for_each(|(found, expected)| close(name, *found, *expected));
}

fn check(name: &str, expected: &Expected) {
    let pairs = || expected.scores.iter().copied().zip(expected.labels.iter().map(|label| *label == 1));
    let ranked = Ranked::of_pairs(pairs()).expect("both classes");
    close(name, auc_roc(&ranked), expected.auc_roc);
    close(name, auc_pr(&ranked), expected.auc_pr);
    close(name, ten_er(&ranked), expected.ten_er);
    close(name, miss_rate_at(&ranked, 0.1), expected.miss_rate_at_ten_percent);
    close(name, interpolated_rate(&ranked), expected.interpolated_eer);
    let curve = roc(&ranked);
    close_all(name, curve.iter().map(|point| point.false_positive_rate), &expected.roc[0]);
    close_all(name, curve.iter().map(|point| point.true_positive_rate), &expected.roc[1]);
    let curve = pr(&ranked);
    close_all(name, curve.iter().rev().map(|point| point.precision), &expected.pr[0]);
    close_all(name, curve.iter().rev().map(|point| point.recall), &expected.pr[1]);
    let best = ranked.candidates().filter_map(|candidate| candidate.confusion.f1()).fold(0.0, f64::max);
    close(name, best, expected.max_f1);
    let counts = ranked.at(expected.threshold);
    assert_eq!([counts.true_positive, counts.false_positive, counts.true_negative, counts.false_negative], expected.confusion, "{name}");
    close(name, counts.f1().expect("both classes"), expected.f1);
    close(name, counts.ebi().expect("both classes"), expected.ebi);
    close(name, counts.h_prs().expect("both classes"), expected.h_prs);
    let mut sorted = expected.scores.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    for &(p, value) in &expected.quantiles {
        close(name, quantile(&sorted, p).expect("numbers"), value);
    }
    // The EER of a threshold that can be set is at most one step of the curve away from the interpolated one.
    let step = curve_step(&ranked);
    assert!((equal_error_rate(&ranked).rate() - expected.interpolated_eer).abs() <= step, "{name}");
}

/// The largest step of FPR or TPR between two points of the ROC curve.
fn curve_step(ranked: &Ranked) -> f64 {
    roc(ranked)
        .windows(2)
        .map(|ends| {
            f64::max(ends[1].false_positive_rate - ends[0].false_positive_rate, ends[1].true_positive_rate - ends[0].true_positive_rate)
        })
        .fold(0.0, f64::max)
}

#[test]
fn figures_agree_with_scikit_learn_scipy_and_numpy() {
    let sets: BTreeMap<String, Expected> = serde_json::from_str(include_str!("metric_golden/golden.json")).expect("golden.json");
    assert_eq!(sets.len(), 9);
    sets.iter().for_each(|(name, expected)| check(name, expected));
}
