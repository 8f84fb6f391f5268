//! Offline evaluation with the published rules: the look-ahead smoothing cascade and AUC-ROC.
//!
//! Not on the device's data path, but here so that device tools and host compute with the same code. Anomaly is the positive class.

use core::cmp::Ordering;

/// Standard deviations, in frames, of the published cascade of Gaussians.
pub const PAPER_SIGMAS_FRAMES: [u32; 6] = [1, 2, 3, 4, 5, 6];

const RADIUS_MAX: usize = 4 * 6 + 1;

/// Smooths one clip's frame scores in place with the published cascade: six Gaussians in a row (sigma 1 to 6 frames), each cut at four
/// sigma and reflected at the ends (`d c b a | a b c d | d c b a`). It reads up to 84 frames ahead, so it is for offline evaluation only.
///
/// `scratch` must be at least as long as `scores`; what does not fit is left unsmoothed. Source: STG-NF's scoring utilities
/// (scipy `gaussian_filter1d`, truncate 4.0, mode "reflect").
pub fn smooth_paper(scores: &mut [f64], scratch: &mut [f64]) {
    let length = scores.len().min(scratch.len());
    let (scores, scratch) = (&mut scores[..length], &mut scratch[..length]);
    for sigma in PAPER_SIGMAS_FRAMES {
        let radius = (4 * sigma) as usize;
        let mut weights = [0.0_f64; RADIUS_MAX];
        for (distance, weight) in weights.iter_mut().enumerate().take(radius + 1) {
            let ratio = distance as f64 / f64::from(sigma);
            *weight = libm::exp(-0.5 * ratio * ratio);
        }
        let total = weights[0] + 2.0 * weights[1..=radius].iter().sum::<f64>();
        scratch.copy_from_slice(scores);
        for (place, score) in scores.iter_mut().enumerate() {
            let mut sum = weights[0] * scratch[place];
            for (distance, weight) in weights.iter().enumerate().take(radius + 1).skip(1) {
                let (before, after) = (place as i64 - distance as i64, place as i64 + distance as i64);
                sum += weight * (scratch[reflect(before, length)] + scratch[reflect(after, length)]);
            }
            *score = sum / total;
        }
    }
}

/// Index into a signal that is mirrored at both ends, the end itself repeated.
fn reflect(index: i64, length: usize) -> usize {
    let period = 2 * length as i64;
    let folded = index.rem_euclid(period);
    (if folded < length as i64 { folded } else { period - 1 - folded }) as usize
}

/// Why there is no AUC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAuc {
    /// Not one anomalous sample.
    NoAnomalous,
    /// Not one normal sample.
    NoNormal,
    /// A score is NaN.
    NotANumber,
}

impl core::fmt::Display for NoAuc {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoAnomalous => "no sample is anomalous",
            Self::NoNormal => "no sample is normal",
            Self::NotANumber => "a score is NaN",
        })
    }
}

impl core::error::Error for NoAuc {}

/// AUC-ROC of (score, is anomalous): the probability that an anomalous sample scores above a normal one, ties counted half (exact).
/// Sorts `samples`. Infinite scores are ordinary, extreme scores.
///
/// # Errors
/// [`NoAuc`] when one class is empty or a score is NaN.
pub fn auc_roc(samples: &mut [(f64, bool)]) -> Result<f64, NoAuc> {
    if samples.iter().any(|(score, _)| score.is_nan()) {
        return Err(NoAuc::NotANumber);
    }
    let anomalous = samples.iter().filter(|(_, label)| *label).count() as u64;
    let normal = samples.len() as u64 - anomalous;
    if anomalous == 0 {
        return Err(NoAuc::NoAnomalous);
    }
    if normal == 0 {
        return Err(NoAuc::NoNormal);
    }
    samples.sort_unstable_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));
    // Twice the number of (anomalous above normal) pairs, so that half pairs stay whole numbers.
    let (mut wins_twice, mut normal_below) = (0_u128, 0_u128);
    for tied in samples.chunk_by(|a, b| a.0 == b.0) {
        let positives = tied.iter().filter(|(_, label)| *label).count() as u128;
        let negatives = tied.len() as u128 - positives;
        wins_twice += positives * (2 * normal_below + negatives);
        normal_below += negatives;
    }
    Ok(wins_twice as f64 / (2.0 * anomalous as f64 * normal as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_counts_ties_half_and_names_empty_classes() {
        assert_eq!(auc_roc(&mut [(0.1, false), (0.2, true)]), Ok(1.0));
        assert_eq!(auc_roc(&mut [(0.2, false), (0.1, true)]), Ok(0.0));
        assert_eq!(auc_roc(&mut [(0.5, false), (0.5, true), (0.5, true)]), Ok(0.5));
        assert_eq!(auc_roc(&mut [(1.0, false), (2.0, true), (2.0, false), (3.0, true)]), Ok(0.875));
        assert_eq!(auc_roc(&mut [(1.0, true)]), Err(NoAuc::NoNormal));
        assert_eq!(auc_roc(&mut []), Err(NoAuc::NoAnomalous));
        assert_eq!(auc_roc(&mut [(f64::NAN, true), (0.0, false)]), Err(NoAuc::NotANumber));
    }

    #[test]
    fn the_cascade_keeps_constants_and_mass() {
        let mut scratch = [0.0; 50];
        let mut flat = [3.25; 50];
        smooth_paper(&mut flat, &mut scratch);
        assert!(flat.iter().all(|score| (score - 3.25).abs() < 1e-12));
        // Reflection at the ends keeps the sum, wherever the peak lies.
        for peak in [0, 1, 25, 49] {
            let mut scores = [0.0; 50];
            scores[peak] = 1.0;
            smooth_paper(&mut scores, &mut scratch);
            assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-12, "peak at {peak}");
        }
    }

    #[test]
    fn reflection_works_on_signals_shorter_than_the_kernel() {
        let order = [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6].map(|index| reflect(index, 3));
        assert_eq!(order, [1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]);
        let (mut one, mut scratch) = ([2.0], [0.0]);
        smooth_paper(&mut one, &mut scratch);
        assert!((one[0] - 2.0).abs() < 1e-12);
        smooth_paper(&mut [], &mut []);
    }
}
