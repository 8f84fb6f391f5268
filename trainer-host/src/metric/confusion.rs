//! Counts of decisions against truth, and the figures of one threshold: FPR, FNR, precision, EBI, F1, H_PRS.

/// Decisions against truth. Anomaly is the positive class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Confusion {
    /// Anomalous and flagged.
    pub true_positive: u64,
    /// Normal, but flagged.
    pub false_positive: u64,
    /// Normal and not flagged.
    pub true_negative: u64,
    /// Anomalous, but not flagged.
    pub false_negative: u64,
}

impl Confusion {
    /// Counts one decision.
    pub const fn add(&mut self, is_anomalous: bool, flagged: bool) {
        let count = match (is_anomalous, flagged) {
            (true, true) => &mut self.true_positive,
            (false, true) => &mut self.false_positive,
            (false, false) => &mut self.true_negative,
            (true, false) => &mut self.false_negative,
        };
        *count = count.saturating_add(1);
    }

    /// Adds another camera's, clip's or slice's counts.
    pub fn merge(&mut self, other: &Self) {
        self.true_positive = self.true_positive.saturating_add(other.true_positive);
        self.false_positive = self.false_positive.saturating_add(other.false_positive);
        self.true_negative = self.true_negative.saturating_add(other.true_negative);
        self.false_negative = self.false_negative.saturating_add(other.false_negative);
    }

    /// `count` times these counts.
    pub(super) const fn times(&self, count: u64) -> Self {
        Self {
            true_positive: self.true_positive.saturating_mul(count),
            false_positive: self.false_positive.saturating_mul(count),
            true_negative: self.true_negative.saturating_mul(count),
            false_negative: self.false_negative.saturating_mul(count),
        }
    }

    /// Decisions in all.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.true_positive.saturating_add(self.false_positive).saturating_add(self.true_negative).saturating_add(self.false_negative)
    }

    /// FPR: share of the normal samples that are flagged; `None` without normal samples.
    #[must_use]
    pub fn false_positive_rate(&self) -> Option<f64> {
        share(self.false_positive, self.true_negative)
    }

    /// FNR, the miss rate: share of the anomalous samples that are not flagged; `None` without anomalous samples.
    #[must_use]
    pub fn false_negative_rate(&self) -> Option<f64> {
        share(self.false_negative, self.true_positive)
    }

    /// Share of the anomalous samples that are flagged; `None` without anomalous samples.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        share(self.true_positive, self.false_negative)
    }

    /// Share of the normal samples that are not flagged; `None` without normal samples.
    #[must_use]
    pub fn specificity(&self) -> Option<f64> {
        share(self.true_negative, self.false_positive)
    }

    /// Share of the flagged samples that are anomalous; `None` when nothing is flagged.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        share(self.true_positive, self.false_positive)
    }

    /// Error Balance Index; see [`ebi_of`]. `None` when a class is missing.
    #[must_use]
    pub fn ebi(&self) -> Option<f64> {
        Some(ebi_of(self.false_negative_rate()?, self.false_positive_rate()?))
    }

    /// F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall; `None` when nothing is anomalous and nothing flagged.
    #[must_use]
    pub fn f1(&self) -> Option<f64> {
        share(self.true_positive.saturating_mul(2), self.false_positive.saturating_add(self.false_negative))
    }

    /// H_PRS: harmonic mean of precision, recall and specificity (the threshold rule of RetailS, arXiv 2603.04723). 0 when one of them
    /// is 0, so also when nothing is flagged; `None` when a class is missing.
    #[must_use]
    pub fn h_prs(&self) -> Option<f64> {
        let (recall, specificity) = (self.recall()?, self.specificity()?);
        let precision = self.precision().unwrap_or(0.0);
        if precision <= 0.0 || recall <= 0.0 || specificity <= 0.0 {
            return Some(0.0);
        }
        Some(3.0 / (1.0 / precision + 1.0 / recall + 1.0 / specificity))
    }
}

/// EBI = 2 (1 - FPR) (1 - FNR) / ((1 - FPR) + (1 - FNR)), the harmonic mean of specificity and recall (ALFred, arXiv 2508.09058).
/// Rates and result are shares from 0 to 1; 0 where both rates are 1.
#[must_use]
pub fn ebi_of(fnr: f64, fpr: f64) -> f64 {
    let (recall, specificity) = (1.0 - fnr, 1.0 - fpr);
    let sum = recall + specificity;
    if sum > 0.0 { 2.0 * recall * specificity / sum } else { 0.0 }
}

fn share(part: u64, rest: u64) -> Option<f64> {
    let whole = part.saturating_add(rest);
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_four_counts() {
        let counts = Confusion { true_positive: 6, false_positive: 2, true_negative: 8, false_negative: 4 };
        assert_eq!((counts.false_positive_rate(), counts.false_negative_rate(), counts.precision()), (Some(0.2), Some(0.4), Some(0.75)));
        assert!((counts.f1().expect("defined") - 2.0 * 0.75 * 0.6 / 1.35).abs() < 1e-15);
        assert!((counts.ebi().expect("defined") - 2.0 * 0.8 * 0.6 / 1.4).abs() < 1e-15);
        assert!((counts.h_prs().expect("defined") - 3.0 / (1.0 / 0.75 + 1.0 / 0.6 + 1.0 / 0.8)).abs() < 1e-15);
        let mut sum = Confusion::default();
        for (is_anomalous, flagged, times) in [(true, true, 6), (false, true, 2), (false, false, 8), (true, false, 4)] {
            (0..times).for_each(|_| sum.add(is_anomalous, flagged));
        }
        assert_eq!(sum, counts);
        sum.merge(&counts);
        assert_eq!((sum, sum.total()), (counts.times(2), 40));
    }

    #[test]
    fn what_is_undefined_says_so_and_extremes_are_zero() {
        let nothing = Confusion::default();
        assert_eq!((nothing.ebi(), nothing.f1(), nothing.h_prs(), nothing.precision()), (None, None, None, None));
        let normal_only = Confusion { true_negative: 3, ..nothing };
        assert_eq!((normal_only.false_positive_rate(), normal_only.false_negative_rate(), normal_only.f1()), (Some(0.0), None, None));
        let flags_nothing = Confusion { true_negative: 3, false_negative: 3, ..nothing };
        assert_eq!((flags_nothing.h_prs(), flags_nothing.ebi(), flags_nothing.f1()), (Some(0.0), Some(0.0), Some(0.0)));
        let all_wrong = Confusion { false_positive: 3, false_negative: 3, ..nothing };
        assert_eq!((all_wrong.ebi(), all_wrong.h_prs()), (Some(0.0), Some(0.0)));
    }
}
