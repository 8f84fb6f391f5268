//! Tracking threshold: between two validations the threshold moves with the recent scores.
//!
//! At a validation the threshold's place within the score distribution is kept: so many spreads above the middle (median and interquartile
//! range: anomalies below 1 % hardly move either). Later the threshold is at the same place of the recent distribution. The move is bounded, so
//! that a day of unusual events cannot carry it away.

use crate::metric::quantile::quantile;
use std::collections::VecDeque;

/// Scores that make up "recent": at stride 6 and five people about four minutes.
pub const RECENT_SCORES_MAX: usize = 1000;
/// Scores below which the threshold stays as validated.
pub const RECENT_SCORES_MIN: usize = 200;
/// Largest move, in spreads of the reference.
pub const SHIFT_SPREADS_MAX: f64 = 1.0;

/// Middle and spread of scores.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Place {
    median: f64,
    spread: f64,
}

impl Place {
    fn of(scores: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = scores.filter(|score| score.is_finite()).collect();
        if sorted.len() < RECENT_SCORES_MIN {
            return None;
        }
        sorted.sort_unstable_by(f64::total_cmp);
        let spread = quantile(&sorted, 0.75)? - quantile(&sorted, 0.25)?;
        quantile(&sorted, 0.5).filter(|_| spread > 0.0).map(|median| Self { median, spread })
    }
}

/// A threshold that follows its scores.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TrackingThreshold {
    validated: f64,
    reference: Option<Place>,
    recent: VecDeque<f64>,
}

impl TrackingThreshold {
    /// A threshold from a validation, and the scores that the same weights gave to the stretch of stream before it. With fewer than
    /// [`RECENT_SCORES_MIN`] of those it stays fixed.
    #[must_use]
    pub fn anchored(validated: f64, reference: &[f64]) -> Self {
        Self { validated, reference: Place::of(reference.iter().copied()), recent: VecDeque::new() }
    }

    /// The threshold for the next score.
    #[must_use]
    pub fn current(&self) -> f64 {
        let (Some(reference), Some(now)) = (self.reference, Place::of(self.recent.iter().copied())) else { return self.validated };
        let place = (self.validated - reference.median) / reference.spread;
        let bound = SHIFT_SPREADS_MAX * reference.spread;
        self.validated + (now.median + place * now.spread - self.validated).clamp(-bound, bound)
    }

    /// Takes in the scores since the last call.
    pub fn observe(&mut self, scores: &[f64]) {
        for &score in scores {
            if self.recent.len() == RECENT_SCORES_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(score);
        }
    }
}
