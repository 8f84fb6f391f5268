//! The equal-error-rate threshold: where as many normal samples are flagged as anomalous ones are missed.
//!
//! ALFred computes each camera's threshold this way. Definition here: candidates are all scores, and one above all of them; a sample is flagged
//! when its score is at least the threshold. The candidate with the smallest |FPR - FNR| wins; among equals the one with the
//! smaller larger rate, then the higher threshold. EER is the mean of both rates there: a rate of a threshold that can really be set.
//! [`interpolated_rate`] is the figure that papers mostly quote: where FPR = FNR on the ROC curve with straight lines between its points.

use super::roc::roc;
use super::samples::{NoMetric, Ranked};

/// A threshold and its error rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EqualErrorRate {
    /// Flag from this score on.
    pub threshold: f64,
    /// Share of normal samples that are flagged.
    pub false_positive_rate: f64,
    /// Share of anomalous samples that are missed.
    pub false_negative_rate: f64,
}

impl EqualErrorRate {
    /// Mean of both rates.
    #[must_use]
    pub fn rate(&self) -> f64 {
        0.5 * (self.false_positive_rate + self.false_negative_rate)
    }
}

/// The EER threshold and its rates.
#[must_use]
pub fn equal_error_rate(ranked: &Ranked) -> EqualErrorRate {
    let (normal, anomalous) = (ranked.normal() as f64, ranked.anomalous() as f64);
    // Where everything is flagged: the worst candidate that there is.
    let mut best = EqualErrorRate { threshold: f64::NEG_INFINITY, false_positive_rate: 1.0, false_negative_rate: 0.0 };
    let key = |rates: &EqualErrorRate| {
        let (a, b) = (rates.false_positive_rate, rates.false_negative_rate);
        ((a - b).abs(), a.max(b))
    };
    for candidate in ranked.candidates() {
        let rates = EqualErrorRate {
            threshold: candidate.threshold,
            false_positive_rate: candidate.confusion.false_positive as f64 / normal,
            false_negative_rate: candidate.confusion.false_negative as f64 / anomalous,
        };
        if key(&rates) <= key(&best) {
            best = rates;
        }
    }
    best
}

/// [`equal_error_rate`] of (score, is anomalous) in any order.
///
/// # Errors
/// [`NoMetric`] when there is no sample, only one class, or a score that is not finite.
pub fn equal_error_rate_of(pairs: impl IntoIterator<Item = (f64, bool)>) -> Result<EqualErrorRate, NoMetric> {
    Ok(equal_error_rate(&Ranked::of_pairs(pairs)?))
}

/// The rate, 0 to 1, where FPR = FNR on the ROC curve, linear between its points. Differs from [`EqualErrorRate::rate`] by less than
/// one step of the curve; no threshold belongs to it.
#[must_use]
pub fn interpolated_rate(ranked: &Ranked) -> f64 {
    let curve = roc(ranked);
    // FPR - FNR rises from -1 to 1 along the curve.
    let gap = |index: usize| curve[index].false_positive_rate + curve[index].true_positive_rate - 1.0;
    let after = (1..curve.len()).find(|&index| gap(index) >= 0.0).unwrap_or(curve.len() - 1);
    let (low, high) = (gap(after - 1), gap(after));
    let share = if high > low { -low / (high - low) } else { 1.0 };
    let (before, next) = (curve[after - 1].false_positive_rate, curve[after].false_positive_rate);
    before + share * (next - before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separable_overlapping_and_empty() {
        let clean = equal_error_rate_of([(0.0, false), (1.0, false), (2.0, true), (3.0, true)]).expect("both classes");
        assert_eq!((clean.threshold, clean.rate()), (2.0, 0.0));
        let mixed = equal_error_rate_of([(0.0, false), (2.0, false), (1.0, true), (3.0, true)]).expect("both classes");
        assert_eq!((mixed.threshold, mixed.rate()), (2.0, 0.5));
        let tied = equal_error_rate_of([(1.0, false), (1.0, true)]).expect("both classes");
        assert_eq!(tied.false_positive_rate + tied.false_negative_rate, 1.0);
        assert!(equal_error_rate_of([(1.0, false)]).is_err());
        assert_eq!(equal_error_rate_of([(f64::NAN, false), (0.0, true)]), Err(NoMetric::NotFinite { index: 0 }));
    }

    #[test]
    fn the_interpolated_rate_lies_between_two_thresholds() {
        let ranked = Ranked::of_pairs([(1.0, false), (1.0, true)]).expect("both classes");
        assert_eq!(interpolated_rate(&ranked), 0.5);
        let ranked = Ranked::of_pairs([(0.0, false), (1.0, false), (1.0, true), (2.0, false), (3.0, true)]).expect("both classes");
        assert!((interpolated_rate(&ranked) - 0.4).abs() < 1e-15, "{}", interpolated_rate(&ranked));
    }
}
