//! All figures of one set of scores at once, plain or with intervals.

use super::bootstrap::{BootstrapPlan, Estimate, bootstrap_all, bootstrap_groups};
use super::confusion::Confusion;
use super::eer::equal_error_rate;
use super::miss_rate::{TEN_PERCENT, miss_rate_at, ten_er};
use super::pr::auc_pr;
use super::roc::auc_roc;
use super::samples::{LabelledScore, NoMetric, Ranked};

/// Figures of scores, as plain numbers (`f64`) or with intervals ([`Estimate`]). All but the threshold are shares from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Figures<T = f64> {
    /// See [`auc_roc`].
    pub auc_roc: T,
    /// Average precision; see [`auc_pr`].
    pub auc_pr: T,
    /// Equal error rate: mean of FPR and FNR at [`Figures::eer_threshold`].
    pub eer: T,
    /// The EER threshold, in the unit of the scores.
    pub eer_threshold: T,
    /// 10ER: FPR at an FNR of 10 %.
    pub ten_er: T,
    /// The other way round: FNR at an FPR of 10 %.
    pub miss_rate_at_ten_percent: T,
    /// FPR at the EER threshold.
    pub false_positive_rate: T,
    /// FNR at the EER threshold.
    pub false_negative_rate: T,
    /// Error Balance Index at the EER threshold.
    pub ebi: T,
    /// F1 at the EER threshold.
    pub f1: T,
    /// Harmonic mean of precision, recall and specificity at the EER threshold.
    pub h_prs: T,
}

impl<T: Copy> Figures<T> {
    const fn of_array(array: [T; 11]) -> Self {
        let [
            auc_roc,
            auc_pr,
            eer,
            eer_threshold,
            ten_er,
            miss_rate_at_ten_percent,
            false_positive_rate,
            false_negative_rate,
            ebi,
            f1,
            h_prs,
        ] = array;
        Self {
            auc_roc,
            auc_pr,
            eer,
            eer_threshold,
            ten_er,
            miss_rate_at_ten_percent,
            false_positive_rate,
            false_negative_rate,
            ebi,
            f1,
            h_prs,
        }
    }
}

fn array(ranked: &Ranked) -> [f64; 11] {
    let eer = equal_error_rate(ranked);
    let counts = ranked.at(eer.threshold);
    [
        auc_roc(ranked),
        auc_pr(ranked),
        eer.rate(),
        eer.threshold,
        ten_er(ranked),
        miss_rate_at(ranked, TEN_PERCENT),
        eer.false_positive_rate,
        eer.false_negative_rate,
        // Both classes are there, so that all three have values.
        counts.ebi().unwrap_or(0.0),
        counts.f1().unwrap_or(0.0),
        counts.h_prs().unwrap_or(0.0),
    ]
}

/// The figures.
#[must_use]
pub fn figures(ranked: &Ranked) -> Figures {
    Figures::of_array(array(ranked))
}

/// The figures with intervals by group. The EER threshold is chosen anew on each resample, so that its uncertainty is in every figure
/// that depends on it.
///
/// # Errors
/// [`NoMetric`] when there is no sample, only one class, or a score that is not finite.
pub fn figures_with_intervals(samples: &[LabelledScore], plan: &BootstrapPlan) -> Result<Figures<Estimate>, NoMetric> {
    Ok(Figures::of_array(bootstrap_all(samples, plan, |ranked| array(ranked).map(Some))?))
}

/// Rates of decisions that were made, with intervals.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Rates {
    /// FNR, 0 to 1.
    pub false_negative_rate: Estimate,
    /// FPR, 0 to 1.
    pub false_positive_rate: Estimate,
    /// Error Balance Index, 0 to 1.
    pub ebi: Estimate,
}

/// Pooled rates of decisions, one [`Confusion`] per group (event, clip or slice), with intervals by group; `None` when a class is
/// missing in all of them together.
#[must_use]
pub fn rates_with_intervals(groups: &[Confusion], plan: &BootstrapPlan) -> Option<Rates> {
    let pooled = |counts: &[u64]| {
        let mut sum = Confusion::default();
        groups.iter().zip(counts).for_each(|(group, count)| sum.merge(&group.times(*count)));
        [sum.false_negative_rate(), sum.false_positive_rate(), sum.ebi()]
    };
    let [false_negative_rate, false_positive_rate, ebi] = bootstrap_groups(groups.len(), plan, pooled)?;
    Some(Rates { false_negative_rate, false_positive_rate, ebi })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_pool_counts_and_intervals_surround_them() {
        let group = |missed| Confusion { true_positive: 10 - missed, false_positive: 3, true_negative: 17, false_negative: missed };
        let groups: Vec<Confusion> = (0..10).map(group).collect();
        let rates = rates_with_intervals(&groups, &BootstrapPlan { resamples: 200, seed: 1 }).expect("both classes");
        assert!((rates.false_negative_rate.value - 0.45).abs() < 1e-15 && (rates.false_positive_rate.value - 0.15).abs() < 1e-15);
        let interval = rates.false_negative_rate.interval.expect("ten groups");
        assert!(interval.low < 0.4 && 0.5 < interval.high, "{interval:?}");
        // The same FPR in every group.
        let steady = rates.false_positive_rate.interval.expect("ten groups");
        assert!((steady.high - steady.low).abs() < 1e-12);
        assert_eq!(rates_with_intervals(&[], &BootstrapPlan::default()), None);
        assert_eq!(rates_with_intervals(&[Confusion { true_negative: 1, ..Confusion::default() }], &BootstrapPlan::default()), None);
    }
}
