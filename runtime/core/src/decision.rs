//! Score and threshold make a decision: `score >= threshold` is anomalous. Hysteresis is declared, there is no hidden second rule.

use crate::units::{AnomalyScore, Threshold};

/// When something becomes anomalous, and when it ceases to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecisionRule {
    threshold: Threshold,
    exit_margin: f32,
}

/// The exit margin is negative, NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMargin;

impl DecisionRule {
    /// Anomalous from `threshold` on, until the score falls below `threshold - exit_margin` (score units; 0: no hysteresis).
    ///
    /// # Errors
    /// [`InvalidMargin`].
    pub fn new(threshold: Threshold, exit_margin: f32) -> Result<Self, InvalidMargin> {
        if exit_margin.is_finite() && exit_margin >= 0.0 { Ok(Self { threshold, exit_margin }) } else { Err(InvalidMargin) }
    }

    /// The threshold.
    #[must_use]
    pub const fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// How far below the threshold an anomaly lasts.
    #[must_use]
    pub const fn exit_margin(&self) -> f32 {
        self.exit_margin
    }

    /// The next state. No score is not anomalous: what nobody scored, nobody flags.
    #[must_use]
    pub fn decide(&self, was_anomalous: bool, score: Option<AnomalyScore>) -> bool {
        let Some(score) = score else { return false };
        let bar = if was_anomalous { self.threshold.value() - self.exit_margin } else { self.threshold.value() };
        score.value() >= bar
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hysteresis_holds_within_the_margin_only() {
        let rule = DecisionRule::new(Threshold::new(2.0).expect("finite"), 0.5).expect("valid");
        let score = |value| AnomalyScore::new(value).ok();
        assert!(!rule.decide(false, score(1.99)));
        assert!(rule.decide(false, score(2.0)), "the threshold itself is anomalous");
        assert!(rule.decide(true, score(1.5)));
        assert!(!rule.decide(true, score(1.49)));
        assert!(!rule.decide(true, None));
        assert_eq!(DecisionRule::new(Threshold::new(0.0).expect("finite"), -1.0), Err(InvalidMargin));
        assert_eq!(DecisionRule::new(Threshold::new(0.0).expect("finite"), f32::NAN), Err(InvalidMargin));
    }
}
