//! Held-out EBI: the threshold from half of the validation videos, the rates on the other half, both ways.
//!
//! The paper sets and judges the threshold on related data; here no video that set a threshold is judged by it. One halving depends on luck
//! with 14 to 26 videos, so several are drawn from a seed, the same ones for every methodology, and the decisions are summed.

use crate::metric::confusion::Confusion;
use crate::metric::eer::equal_error_rate_of;
use crate::phase::pseudo_label::is_flagged;
use alfred_synth::random::Random;

/// Halvings of the validation videos.
pub const HALVINGS: usize = 10;
/// Seed of the halvings: the same for all methodologies, so that differences between them are paired.
const SEED: u64 = 11;
/// Seed of the gate's half.
const GATE_SEED: u64 = 12;

/// What labelled scores look like here: score, truth, clip.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'j> {
    /// Anomaly score of each window.
    pub scores: &'j [f64],
    /// Its truth.
    pub is_anomalous: &'j [bool],
    /// Its clip, below `clips`.
    pub clip: &'j [u32],
    /// Number of clips.
    pub clips: usize,
}

/// Decisions by clip, summed over the halvings. With `fixed`, every clip is judged by that threshold instead of one from the other half.
///
/// A half of one class only sets no threshold; the other half then counts no decision in that halving.
#[must_use]
pub fn by_clip(judged: &Judged<'_>, fixed: Option<f64>) -> Vec<Confusion> {
    let mut out = vec![Confusion::default(); judged.clips];
    let mut random = Random::new(SEED);
    for _ in 0..HALVINGS {
        let mut order: Vec<usize> = (0..judged.clips).collect();
        random.shuffle(&mut order);
        let mut in_first = vec![false; judged.clips];
        order.iter().take(judged.clips / 2).for_each(|&clip| in_first[clip] = true);
        for judged_half in [false, true] {
            let Some(threshold) = fixed.or_else(|| threshold_of(judged, &in_first, !judged_half)) else { continue };
            for ((&score, &truth), &clip) in judged.scores.iter().zip(judged.is_anomalous).zip(judged.clip) {
                if in_first.get(clip as usize) == Some(&judged_half) {
                    out[clip as usize].add(truth, is_flagged(score, threshold));
                }
            }
        }
    }
    out
}

/// The half of the validation clips by which a gate chooses; the same one for every cell.
#[must_use]
pub fn gate_half(clips: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..clips).collect();
    Random::new(GATE_SEED).shuffle(&mut order);
    let mut half = vec![false; clips];
    order.iter().take(clips.div_ceil(2)).for_each(|&clip| half[clip] = true);
    half
}

/// Decisions on the clips that are not `seen`, by the threshold of those that are. Nothing is decided when those hold one class only.
#[must_use]
pub fn beside(judged: &Judged<'_>, seen: &[bool]) -> Vec<Confusion> {
    let mut out = vec![Confusion::default(); judged.clips];
    let Some(threshold) = threshold_of(judged, seen, true) else { return out };
    for ((&score, &truth), &clip) in judged.scores.iter().zip(judged.is_anomalous).zip(judged.clip) {
        if seen.get(clip as usize) == Some(&false) {
            out[clip as usize].add(truth, is_flagged(score, threshold));
        }
    }
    out
}

fn threshold_of(judged: &Judged<'_>, in_first: &[bool], half: bool) -> Option<f64> {
    let samples = judged.scores.iter().zip(judged.is_anomalous).zip(judged.clip);
    let own = samples.filter(|(_, clip)| in_first.get(**clip as usize) == Some(&half)).map(|((score, truth), _)| (*score, *truth));
    equal_error_rate_of(own).ok().map(|rate| rate.threshold)
}
