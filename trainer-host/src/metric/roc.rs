//! The ROC curve and the area under it, exact with ties.

use super::samples::Ranked;

/// One point of the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// Flag from this score on; infinite at the first point, where nothing is flagged.
    pub threshold: f64,
    /// FPR, 0 to 1.
    pub false_positive_rate: f64,
    /// TPR = recall = 1 - FNR, 0 to 1.
    pub true_positive_rate: f64,
}

/// The curve from (0, 0) to (1, 1), one point per distinct score, by falling threshold. Straight lines join the points: tied samples
/// cannot be told apart, and a line is what deciding among them by chance would give.
#[must_use]
pub fn roc(ranked: &Ranked) -> Vec<RocPoint> {
    let (normal, anomalous) = (ranked.normal() as f64, ranked.anomalous() as f64);
    let mut points = Vec::with_capacity(ranked.steps().len() + 1);
    points.push(RocPoint { threshold: f64::INFINITY, false_positive_rate: 0.0, true_positive_rate: 0.0 });
    let (mut false_positive, mut true_positive) = (0, 0);
    for step in ranked.steps().iter().rev() {
        false_positive += step.normal;
        true_positive += step.anomalous;
        points.push(RocPoint {
            threshold: step.score,
            false_positive_rate: false_positive as f64 / normal,
            true_positive_rate: true_positive as f64 / anomalous,
        });
    }
    points
}

/// AUC-ROC, 0 to 1: the probability that an anomalous sample scores above a normal one, ties counted half. Counted in whole numbers,
/// so exact up to one division; 0.5 when all scores are equal.
#[must_use]
pub fn auc_roc(ranked: &Ranked) -> f64 {
    // Twice the pairs that are won, so that half pairs stay whole.
    let (mut wins_twice, mut normal_below) = (0_u128, 0_u128);
    for step in ranked.steps() {
        wins_twice += u128::from(step.anomalous) * (2 * normal_below + u128::from(step.normal));
        normal_below += u128::from(step.normal);
    }
    wins_twice as f64 / (2.0 * ranked.normal() as f64 * ranked.anomalous() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_half_and_the_curve_spans_the_square() {
        let ranked = Ranked::of_pairs([(1.0, false), (2.0, true), (2.0, false), (3.0, true)]).expect("both classes");
        assert_eq!(auc_roc(&ranked), 0.875);
        let rates: Vec<(f64, f64)> = roc(&ranked).iter().map(|point| (point.false_positive_rate, point.true_positive_rate)).collect();
        assert_eq!(rates, [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
        let equal = Ranked::of_pairs([(1.0, false), (1.0, true), (1.0, true)]).expect("both classes");
        assert_eq!((auc_roc(&equal), roc(&equal).len()), (0.5, 2));
    }
}
