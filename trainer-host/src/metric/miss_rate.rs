//! 10ER, and its mirror image: what one error costs when the other is held at 10 %.
//!
//! 10ER is the FPR at an FNR of 10 %, as SPARTA and its sister papers report it beside AUC-ROC, AUC-PR and EER: the false alarms that
//! remain when nine anomalies of ten must be found. The FNR at an FPR of 10 % is here as well; the two are not exchangeable, so each has its own name.

use super::samples::Ranked;

/// The rate at which the other error is held.
pub const TEN_PERCENT: f64 = 0.1;

/// 10ER: FPR, 0 to 1, at FNR = 10 %. Lower is better; chance is 0.9. See [`false_positive_rate_at`] for the rule between two thresholds.
#[must_use]
pub fn ten_er(ranked: &Ranked) -> f64 {
    false_positive_rate_at(ranked, TEN_PERCENT)
}

/// FPR at a miss rate (FNR) from 0 to 1 (clamped), read from the ROC curve: linear between its points, and where the curve runs level,
/// its left end, the lowest FPR.
#[must_use]
pub fn false_positive_rate_at(ranked: &Ranked, false_negative_rate: f64) -> f64 {
    // By rising threshold FNR rises and FPR falls.
    read(&rates(ranked), false_negative_rate, |&(fpr, fnr)| (fnr, fpr))
}

/// FNR, the miss rate, at a false positive rate from 0 to 1 (clamped), read from the ROC curve: linear between its points, and where the
/// curve rises straight up, its upper end, the lowest FNR.
#[must_use]
pub fn miss_rate_at(ranked: &Ranked, false_positive_rate: f64) -> f64 {
    let mut rates = rates(ranked);
    rates.reverse();
    read(&rates, false_positive_rate, |&rates| rates)
}

/// (FPR, FNR) of each candidate, by rising threshold.
fn rates(ranked: &Ranked) -> Vec<(f64, f64)> {
    let (normal, anomalous) = (ranked.normal() as f64, ranked.anomalous() as f64);
    let rates = |counts: super::confusion::Confusion| (counts.false_positive as f64 / normal, counts.false_negative as f64 / anomalous);
    ranked.candidates().map(|candidate| rates(candidate.confusion)).collect()
}

/// The second coordinate where the first one, which rises from 0 to 1 along `points`, is `wanted`; the last of several.
fn read(points: &[(f64, f64)], wanted: f64, coordinates: impl Fn(&(f64, f64)) -> (f64, f64)) -> f64 {
    let wanted = wanted.clamp(0.0, 1.0);
    let after = points.partition_point(|point| coordinates(point).0 <= wanted);
    let at = |index: usize| points.get(index).map(&coordinates);
    match (after.checked_sub(1).and_then(at), at(after)) {
        (Some(before), Some(next)) => before.1 + (wanted - before.0) / (next.0 - before.0) * (next.1 - before.1),
        (Some(last), None) => last.1,
        // Only a NaN `wanted` comes before the first point: the worst there is.
        (None, _) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_chance_and_reversed() {
        let both = |pairs: &[(f64, bool)]| {
            let ranked = Ranked::of_pairs(pairs.iter().copied()).expect("both classes");
            (ten_er(&ranked), miss_rate_at(&ranked, TEN_PERCENT))
        };
        assert_eq!(both(&[(0.0, false), (1.0, true)]), (0.0, 0.0));
        let chance = both(&[(1.0, false), (1.0, true)]);
        assert!((chance.0 - 0.9).abs() < 1e-15 && (chance.1 - 0.9).abs() < 1e-15);
        assert_eq!(both(&[(1.0, false), (0.0, true)]), (1.0, 1.0));
        // Ten of each. One anomalous sample in ten may be missed: the worst of them is below every normal one, the next is
        // above all but two. One normal sample in ten may be flagged: then only the eight anomalous ones above 8 are found.
        let mut pairs: Vec<(f64, bool)> = (0..10).map(|index| (f64::from(index), false)).collect();
        pairs.extend([(-1.0, true), (7.5, true)]);
        pairs.extend((0..8).map(|index| (8.5 + f64::from(index) / 100.0, true)));
        let (ten_er, miss_rate) = both(&pairs);
        assert!((ten_er - 0.2).abs() < 1e-15 && (miss_rate - 0.2).abs() < 1e-15, "{ten_er} {miss_rate}");
        // Nine of ten found at the cost of three normal samples, and no longer symmetric.
        pairs[11].0 = 6.5;
        assert!((both(&pairs).0 - 0.3).abs() < 1e-15 && (both(&pairs).1 - 0.2).abs() < 1e-15);
    }
}
