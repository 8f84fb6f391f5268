//! AL Light: of the pseudo-anomalous windows only those within a band above the threshold are reviewed.
//!
//! The band is `theta_EER <= s <= theta_med`. The paper's supplement gives `theta_med(t) = Percentile({s_{t-N}, ..., s_t max}, 50)`: the median
//! of the last N maximum scores of pseudo-anomalies. Read here as: one maximum per flagged event (a person's run of flagged windows), the
//! event at hand included, in the order of the stream.

pub use alfred_store::al_light::{MAXIMA_MAX, RollingMaxima};

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
