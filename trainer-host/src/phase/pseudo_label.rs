//! Pseudo-labels: normal or anomalous by comparing a score with the threshold in force.

/// Whether a score reaches the threshold. NaN does: a person has to look at what a model cannot judge.
#[must_use]
pub const fn is_flagged(score: f64, threshold: f64) -> bool {
    score >= threshold || score.is_nan()
}

/// Numbers of the windows whose score reaches the threshold, and of those below, each rising. A score that is NaN counts as flagged: a
/// person has to look at what a model cannot judge, and it must not train.
#[must_use]
pub fn split(scores: &[f64], threshold: f64) -> PseudoLabels {
    let (mut flagged, mut normal) = (Vec::new(), Vec::new());
    for (window, &score) in scores.iter().enumerate() {
        if is_flagged(score, threshold) { flagged.push(window as u32) } else { normal.push(window as u32) }
    }
    PseudoLabels { flagged, normal }
}

/// Windows by pseudo-label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PseudoLabels {
    /// Pseudo-anomalous: score at or above the threshold.
    pub flagged: Vec<u32>,
    /// Pseudo-normal: score below the threshold.
    pub normal: Vec<u32>,
}
