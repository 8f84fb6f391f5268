//! AL Light: of the pseudo-anomalous windows only those within a band above the threshold are reviewed.
//!
//! The band is `theta_EER <= s <= theta_med`. The paper's supplement gives `theta_med(t) = Percentile({s_{t-N}, ..., s_t max}, 50)`: the median
//! of the last N maximum scores of pseudo-anomalies. Read here as: one maximum per flagged event (a person's run of flagged windows), the
//! event at hand included, in the order of the stream.

use crate::metric::quantile::quantile;
use std::collections::VecDeque;

/// Maxima that the rolling window holds by default.
pub const MAXIMA_MAX: usize = 200;

/// The rolling window of maximum scores of flagged events.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RollingMaxima {
    capacity: usize,
    maxima: VecDeque<f64>,
}

impl RollingMaxima {
    /// Holds the latest `capacity` (at least 1) maxima.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), maxima: VecDeque::new() }
    }

    /// Adds the maximum of the newest event; a value that is not finite is left out.
    pub fn push(&mut self, maximum: f64) {
        if !maximum.is_finite() {
            return;
        }
        if self.maxima.len() == self.capacity {
            self.maxima.pop_front();
        }
        self.maxima.push_back(maximum);
    }

    /// `theta_med`: median of the maxima; `None` before the first one.
    #[must_use]
    pub fn theta_med(&self) -> Option<f64> {
        let mut sorted: Vec<f64> = self.maxima.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        quantile(&sorted, 0.5)
    }
}

/// The windows of flagged events (in stream order) that AL Light has reviewed: those with `s <= theta_med(t)`.
pub fn band(events: &[Vec<u32>], scores: &[f64], rolling: &mut RollingMaxima) -> Vec<u32> {
    let score = |window: &u32| scores.get(*window as usize).copied().unwrap_or(f64::NAN);
    let mut reviewed = Vec::new();
    for event in events {
        rolling.push(event.iter().map(score).fold(f64::NEG_INFINITY, f64::max));
        let Some(theta_med) = rolling.theta_med() else { continue };
        // What has no score is looked at.
        reviewed.extend(event.iter().filter(|window| score(window).is_nan() || score(window) <= theta_med));
    }
    reviewed.sort_unstable();
    reviewed
}
