//! Audit of missed anomalies: a random sample from below the threshold gives an estimate of the FNR, which no review of flagged windows
//! can. It is unbiased while the sampled share of what lies below stays the same; over slices with different shares it leans towards those that were
//! sampled more.

use statrs::distribution::{Beta, ContinuousCDF};

/// What an audit found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Audit {
    /// Windows below the threshold.
    pub unflagged: u64,
    /// Of those, drawn at random and answered.
    pub sampled: u64,
    /// Of those, anomalous.
    pub missed_in_sample: u64,
    /// Flagged windows that were confirmed anomalous.
    pub confirmed: u64,
}

/// An estimated FNR, as a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MissRate {
    /// Estimate.
    pub fnr: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Audit {
    /// The estimate: misses are `unflagged * (missed_in_sample / sampled)`; the interval is Clopper and Pearson's for that share (1934), carried over.
    /// Windows of one event are not independent, so the true interval is wider. `None` without a sample, or when nothing anomalous
    /// was found or could be there.
    #[must_use]
    pub fn miss_rate(&self) -> Option<MissRate> {
        if self.sampled == 0 || self.missed_in_sample > self.sampled {
            return None;
        }
        let (hits, sampled) = (self.missed_in_sample as f64, self.sampled as f64);
        let rate = |share: f64| {
            let missed = share * self.unflagged as f64;
            let all = missed + self.confirmed as f64;
            if all > 0.0 { missed / all } else { 0.0 }
        };
        if self.missed_in_sample == 0 && self.confirmed == 0 {
            return None;
        }
        let low = if hits == 0.0 { 0.0 } else { Beta::new(hits, sampled - hits + 1.0).ok()?.inverse_cdf(0.025) };
        let high = if hits == sampled { 1.0 } else { Beta::new(hits + 1.0, sampled - hits).ok()?.inverse_cdf(0.975) };
        Some(MissRate { fnr: rate(hits / sampled), low: rate(low), high: rate(high) })
    }
}
