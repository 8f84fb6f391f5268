//! The precision-recall curve and the area under it.

use super::samples::Ranked;

/// One point of the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrPoint {
    /// Flag from this score on; infinite at the first point, where nothing is flagged.
    pub threshold: f64,
    /// Share of the flagged samples that are anomalous; 1 by convention where nothing is flagged.
    pub precision: f64,
    /// Share of the anomalous samples that are flagged.
    pub recall: f64,
}

/// The curve by falling threshold: first (recall 0, precision 1) by convention, then one point per distinct score.
#[must_use]
pub fn pr(ranked: &Ranked) -> Vec<PrPoint> {
    let mut points = Vec::with_capacity(ranked.steps().len() + 1);
    points.push(PrPoint { threshold: f64::INFINITY, precision: 1.0, recall: 0.0 });
    let (mut flagged, mut true_positive) = (0, 0);
    for step in ranked.steps().iter().rev() {
        flagged += step.normal + step.anomalous;
        true_positive += step.anomalous;
        points.push(PrPoint {
            threshold: step.score,
            precision: true_positive as f64 / flagged as f64,
            recall: true_positive as f64 / ranked.anomalous() as f64,
        });
    }
    points
}

/// AUC-PR, 0 to 1, as average precision: the sum of (R_n - R_(n-1)) P_n over the curve's points, without interpolation, since straight
/// lines between points would be too optimistic. scikit-learn's `average_precision_score`. When all scores are equal it is the share
/// of anomalous samples.
#[must_use]
pub fn auc_pr(ranked: &Ranked) -> f64 {
    let (mut sum, mut flagged, mut true_positive) = (0.0, 0, 0);
    for step in ranked.steps().iter().rev() {
        flagged += step.normal + step.anomalous;
        true_positive += step.anomalous;
        sum += step.anomalous as f64 * (true_positive as f64 / flagged as f64);
    }
    sum / ranked.anomalous() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_reversed_and_equal_scores() {
        let area = |pairs: [(f64, bool); 4]| auc_pr(&Ranked::of_pairs(pairs).expect("both classes"));
        assert_eq!(area([(0.0, false), (1.0, false), (2.0, true), (3.0, true)]), 1.0);
        assert!((area([(3.0, false), (2.0, false), (1.0, true), (0.0, true)]) - (1.0 / 3.0 + 0.5) / 2.0).abs() < 1e-15);
        assert_eq!(area([(1.0, false), (1.0, false), (1.0, false), (1.0, true)]), 0.25);
        let curve = pr(&Ranked::of_pairs([(1.0, false), (2.0, true)]).expect("both classes"));
        assert_eq!((curve[0].precision, curve[1].recall, curve[2].precision), (1.0, 1.0, 0.5));
    }
}
