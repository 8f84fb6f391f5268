//! AL Light's memory: the rolling window of maximum scores of flagged events, and its median, which bounds what is reviewed.
//!
//! One place for the queue, which asks people, and for the phases, which simulate that.

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
        let high = *sorted.get(sorted.len() / 2)?;
        if sorted.len() % 2 == 1 {
            return Some(high);
        }
        // As `quantile` of the host's metrics does it, to the bit.
        sorted.get(sorted.len() / 2 - 1).map(|low| high - (high - low) * 0.5)
    }
}
