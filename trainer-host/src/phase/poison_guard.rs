//! Poisoning guard: pseudo-normal windows that look like a confirmed anomaly do not train.
//!
//! Missed anomalies train as normal, and whoever repeats an act in front of the camera could teach it away. A pseudo-normal window is
//! held back when it is nearer to a confirmed anomaly than [`REACH`] times what anomalies are from each other, nearest ones first, at most a stated share.

use crate::query::Embeddings;

/// Reach of a confirmed anomaly, in median distances to the nearest confirmed anomaly of another event.
pub const REACH: f64 = 0.5;
/// Largest share of a slice's pseudo-normals that the guard holds back: a few wrong verdicts must not stop learning.
pub const HELD_BACK_SHARE_MAX: f64 = 0.05;

/// The windows of `normal` that may train, in their order, and how many were held back.
///
/// `confirmed` are embeddings of confirmed anomalies with the number of their event. Fewer than two events say nothing about distance:
/// nothing is held back.
#[must_use]
pub fn hold_back(normal: &[u32], windows: &Embeddings, confirmed: &Embeddings, events: &[u32]) -> (Vec<u32>, usize) {
    let Some(reach) = reach(confirmed, events) else { return (normal.to_vec(), 0) };
    let mut near: Vec<(f64, u32)> = normal
        .iter()
        .filter_map(|&window| {
            let nearest = confirmed.iter().map(|other| distance_squared(windows.get(window), other)).fold(f64::INFINITY, f64::min);
            (nearest < reach).then_some((nearest, window))
        })
        .collect();
    near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    near.truncate((HELD_BACK_SHARE_MAX * normal.len() as f64) as usize);
    let mut held: Vec<u32> = near.into_iter().map(|(_, window)| window).collect();
    held.sort_unstable();
    (normal.iter().copied().filter(|window| held.binary_search(window).is_err()).collect(), held.len())
}

/// Squared reach of a confirmed anomaly.
fn reach(confirmed: &Embeddings, events: &[u32]) -> Option<f64> {
    let mut nearest: Vec<f64> = (0..confirmed.len() as u32)
        .filter_map(|index| {
            let own = events.get(index as usize)?;
            (0..confirmed.len() as u32)
                .filter(|&other| events.get(other as usize).is_some_and(|event| event != own))
                .map(|other| distance_squared(confirmed.get(index), confirmed.get(other)))
                .min_by(f64::total_cmp)
        })
        .collect();
    nearest.sort_unstable_by(f64::total_cmp);
    nearest.get(nearest.len() / 2).map(|median| REACH * REACH * median)
}

fn distance_squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum()
}
