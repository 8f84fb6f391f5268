//! 10ER: the miss rate at a false positive rate of 10 %.

use super::roc::roc;
use super::samples::Ranked;

/// The false positive rate at which 10ER is read.
pub const TEN_PERCENT: f64 = 0.1;

/// 10ER: FNR, 0 to 1, at FPR = 10 %. Lower is better; chance is 0.9. See [`miss_rate_at`] for the rule between two thresholds.
#[must_use]
pub fn ten_er(ranked: &Ranked) -> f64 {
    miss_rate_at(ranked, TEN_PERCENT)
}

/// FNR at a false positive rate from 0 to 1 (clamped), read from the ROC curve: linear between its points, and where the curve rises
/// straight up, its upper end.
#[must_use]
pub fn miss_rate_at(ranked: &Ranked, false_positive_rate: f64) -> f64 {
    let wanted = false_positive_rate.clamp(0.0, 1.0);
    let curve = roc(ranked);
    let after = curve.partition_point(|point| point.false_positive_rate <= wanted);
    // The first point has FPR 0, so that there is always one before.
    let Some(before) = after.checked_sub(1).map(|index| curve[index]) else { return 1.0 };
    let Some(next) = curve.get(after) else { return 1.0 - before.true_positive_rate };
    let share = (wanted - before.false_positive_rate) / (next.false_positive_rate - before.false_positive_rate);
    1.0 - (before.true_positive_rate + share * (next.true_positive_rate - before.true_positive_rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_chance_and_reversed() {
        let of = |pairs: Vec<(f64, bool)>| ten_er(&Ranked::of_pairs(pairs).expect("both classes"));
        assert_eq!(of(vec![(0.0, false), (1.0, true)]), 0.0);
        assert!((of(vec![(1.0, false), (1.0, true)]) - 0.9).abs() < 1e-15);
        assert_eq!(of(vec![(1.0, false), (0.0, true)]), 1.0);
        // Of ten normal samples one may be flagged: the anomalous sample above it is found, the one below the second is not.
        let mut pairs: Vec<(f64, bool)> = (0..10).map(|index| (f64::from(index), false)).collect();
        pairs.extend([(8.5, true), (7.5, true)]);
        assert_eq!(of(pairs), 0.5);
    }
}
