//! `causal` smoothing: a Gaussian over a track's or the camera's scores, with a declared look-ahead.
//!
//! The published cascade (`evaluation::smooth_paper`) reads 84 frames into the future and fills empty frames from the whole data set; a
//! device can do neither. Here the kernel is cut `back_frames` before and `ahead_frames` after the decided frame, and its weights are
//! renormalised over the frames that have a score. The look-ahead is part of the pipeline's declared delay.

use crate::limits::{SMOOTHING_AHEAD_FRAMES_MAX, SMOOTHING_BACK_FRAMES_MAX};
use crate::score_ring::ScoreRing;
use crate::units::{AnomalyScore, FrameIndex};

const TAPS_MAX: usize = SMOOTHING_BACK_FRAMES_MAX + 1 + SMOOTHING_AHEAD_FRAMES_MAX;

/// Share of the kernel's weight that must fall on frames with a score. Below it there is no smoothed score: a few old scores say nothing
/// about a person who has left, and a track's first frames already hold the middle of the kernel.
pub const COVERAGE_MIN: f64 = 0.25;

/// What a device smooths with unless its configuration says otherwise, and what thresholds in weight files are computed with: the width of
/// the published cascade, sqrt(1 + 4 + 9 + 16 + 25 + 36) = 9.5 frames, cut three widths back and a third of a second ahead.
pub const LIVE_SIGMA_FRAMES: f64 = 9.5;
/// See [`LIVE_SIGMA_FRAMES`].
pub const LIVE_BACK_FRAMES: usize = 28;
/// See [`LIVE_SIGMA_FRAMES`].
pub const LIVE_AHEAD_FRAMES: usize = 10;

/// A smoothing kernel that does not fit the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// Sigma is negative, NaN or infinite.
    Sigma,
    /// More frames back than [`SMOOTHING_BACK_FRAMES_MAX`].
    Back,
    /// More frames ahead than [`SMOOTHING_AHEAD_FRAMES_MAX`].
    Ahead,
}

impl core::fmt::Display for KernelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Sigma => f.write_str("sigma_frames must be a finite number of at least 0"),
            Self::Back => write!(f, "back_frames must be at most {SMOOTHING_BACK_FRAMES_MAX}"),
            Self::Ahead => write!(f, "ahead_frames must be at most {SMOOTHING_AHEAD_FRAMES_MAX}"),
        }
    }
}

impl core::error::Error for KernelError {}

/// A Gaussian cut to `back_frames` before and `ahead_frames` after the decided frame.
#[derive(Clone, Debug)]
pub struct CausalKernel {
    weights: [f64; TAPS_MAX],
    total: f64,
    back: usize,
    ahead: usize,
}

impl CausalKernel {
    /// No smoothing: each frame keeps its own score, without delay.
    pub const IDENTITY: Self = {
        let mut weights = [0.0; TAPS_MAX];
        weights[0] = 1.0;
        Self { weights, total: 1.0, back: 0, ahead: 0 }
    };

    /// A kernel with standard deviation `sigma_frames` (0: only the frame itself counts).
    ///
    /// # Errors
    /// [`KernelError`] names what lies outside the limits.
    pub fn gaussian(sigma_frames: f64, back_frames: usize, ahead_frames: usize) -> Result<Self, KernelError> {
        if !(sigma_frames.is_finite() && sigma_frames >= 0.0) {
            return Err(KernelError::Sigma);
        }
        if back_frames > SMOOTHING_BACK_FRAMES_MAX {
            return Err(KernelError::Back);
        }
        if ahead_frames > SMOOTHING_AHEAD_FRAMES_MAX {
            return Err(KernelError::Ahead);
        }
        let mut kernel = Self { weights: [0.0; TAPS_MAX], total: 0.0, back: back_frames, ahead: ahead_frames };
        for (tap, weight) in kernel.weights.iter_mut().enumerate().take(back_frames + 1 + ahead_frames) {
            let distance = tap as f64 - back_frames as f64;
            *weight = match (sigma_frames > 0.0, distance == 0.0) {
                (_, true) => 1.0,
                (false, false) => 0.0,
                (true, false) => libm::exp(-0.5 * (distance / sigma_frames) * (distance / sigma_frames)),
            };
            kernel.total += *weight;
        }
        Ok(kernel)
    }

    /// Frames after the decided one that it needs.
    #[must_use]
    pub const fn ahead_frames(&self) -> usize {
        self.ahead
    }

    /// Frames before the decided one that it reads.
    #[must_use]
    pub const fn back_frames(&self) -> usize {
        self.back
    }

    /// The weight of each frame, the farthest one back first; not divided by their sum.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights[..self.back + 1 + self.ahead]
    }

    /// The smoothed score of `frame`: the weighted mean of the scores around it. `None` when frames with a score carry less than
    /// [`COVERAGE_MIN`] of the kernel's weight.
    #[must_use]
    pub fn smooth(&self, scores: &ScoreRing, frame: FrameIndex) -> Option<AnomalyScore> {
        let (mut sum, mut weight_sum) = (0.0_f64, 0.0_f64);
        for (tap, weight) in self.weights.iter().enumerate().take(self.back + 1 + self.ahead) {
            let Some(at) = (frame.0 + tap as u64).checked_sub(self.back as u64) else { continue };
            if let Some(score) = scores.get(FrameIndex(at)) {
                sum += weight * f64::from(score.value());
                weight_sum += weight;
            }
        }
        if weight_sum < COVERAGE_MIN * self.total {
            return None;
        }
        // A mean of finite f32 in f64 is finite and within the f32 range.
        AnomalyScore::new((sum / weight_sum) as f32).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(scores: &[(u64, f32)], newest: u64) -> ScoreRing {
        let mut ring = ScoreRing::EMPTY;
        ring.advance_to(FrameIndex(newest));
        for &(frame, value) in scores {
            ring.raise(FrameIndex(frame), AnomalyScore::new(value).expect("finite"));
        }
        ring
    }

    fn smoothed(kernel: &CausalKernel, ring: &ScoreRing, frame: u64) -> Option<f32> {
        kernel.smooth(ring, FrameIndex(frame)).map(AnomalyScore::value)
    }

    #[test]
    fn identity_keeps_scores_and_leaves_empty_frames_empty() {
        let ring = ring(&[(3, 1.5), (5, -2.0)], 6);
        assert_eq!(smoothed(&CausalKernel::IDENTITY, &ring, 3), Some(1.5));
        assert_eq!(smoothed(&CausalKernel::IDENTITY, &ring, 4), None);
        assert_eq!(smoothed(&CausalKernel::IDENTITY, &ring, 5), Some(-2.0));
    }

    #[test]
    fn weights_are_a_gaussian_over_the_scored_frames_only() {
        let kernel = CausalKernel::gaussian(2.0, 2, 1).expect("within limits");
        let ring = ring(&[(9, 1.0), (10, 3.0), (11, 5.0)], 11);
        let weight = |distance: f64| (-0.5 * (distance / 2.0_f64).powi(2)).exp();
        let expected = (weight(1.0) + 3.0 + 5.0 * weight(1.0)) / (2.0 * weight(1.0) + 1.0);
        let got = smoothed(&kernel, &ring, 10).expect("covered");
        assert!((f64::from(got) - expected).abs() < 1e-6, "{got} {expected}");
    }

    #[test]
    fn a_person_who_left_soon_has_no_score() {
        let kernel = CausalKernel::gaussian(5.0, 20, 5).expect("within limits");
        let scores: Vec<(u64, f32)> = (0..40).map(|frame| (frame, 1.0)).collect();
        let ring = ring(&scores, 60);
        assert_eq!(smoothed(&kernel, &ring, 39), Some(1.0));
        assert_eq!(smoothed(&kernel, &ring, 41), Some(1.0), "a short gap is bridged");
        assert_eq!(smoothed(&kernel, &ring, 55), None);
    }

    #[test]
    fn early_frames_do_not_underflow_and_limits_are_checked() {
        let kernel = CausalKernel::gaussian(5.0, 20, 5).expect("within limits");
        assert_eq!(smoothed(&kernel, &ring(&[(0, 2.0)], 5), 0), None, "one frame is too little of this kernel");
        assert_eq!(CausalKernel::gaussian(f64::NAN, 1, 1).expect_err("NaN"), KernelError::Sigma);
        assert_eq!(CausalKernel::gaussian(1.0, 64, 1).expect_err("long"), KernelError::Back);
        assert_eq!(CausalKernel::gaussian(1.0, 1, 31).expect_err("long"), KernelError::Ahead);
        assert!(CausalKernel::gaussian(0.0, 3, 3).is_ok());
    }

    extern crate std;
    use std::vec::Vec;
}
