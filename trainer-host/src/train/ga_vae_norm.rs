//! Batch normalisations of GA-VAE's hand-derived step: statistics over a batch, their use, and the way back.
//!
//! A batch lies in groups of sixteen samples; a group adds up its part in f32 frame by frame and in f64 beyond, and the parts are added in the
//! order of the groups, whatever thread they came from. The last group's places without a sample do not count.

use crate::train::ga_vae_kernels::{FRAME, wide};
use crate::train::lanes::LANES;
use alfred_models::ga_vae::parameters::BATCH_NORM_EPSILON;

/// 1 for every sample of a group, 0 for places without one.
pub type Mask = [f32; LANES];

/// Two sums per channel.
pub type Sums = Vec<[f64; 2]>;

/// Where a normalisation's factors begin; offsets, running means and running variances follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormPlace {
    /// In the flat values.
    pub at: usize,
    /// How many of each.
    pub channels: usize,
}

/// Where the statistics of a normalisation come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'s> {
    /// The batch: its groups' [`moments`], and over how many numbers a channel they were summed.
    Batch(&'s Sums, usize),
    /// The running ones.
    Running,
}

/// A normalisation as the factors and offsets that it comes to: `y = scale * x + shift`.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    /// Per channel.
    pub scale: Vec<f32>,
    /// Per channel.
    pub shift: Vec<f32>,
    /// What the values are centred by.
    pub mean: Vec<f32>,
    /// One over the deviation.
    inverse: Vec<f32>,
    /// The batch's variances, divided by one number less than there are: what running variances follow.
    pub unbiased: Vec<f32>,
}

impl NormPlace {
    /// The normalisation's part of flat values: factors, offsets, running means, running variances.
    fn parts(self, values: &[f32]) -> [&[f32]; 4] {
        core::array::from_fn(|part| &values[self.at + part * self.channels..][..self.channels])
    }

    /// What it comes to.
    #[must_use]
    pub fn fold(self, values: &[f32], source: Source<'_>) -> Fold {
        let [weight, bias, running_mean, running_variance] = self.parts(values);
        let mut fold = Fold::default();
        for channel in 0..self.channels {
            let (mean, variance, unbiased) = match source {
                Source::Running => {
                    (f64::from(running_mean[channel]), f64::from(running_variance[channel]), f64::from(running_variance[channel]))
                }
                Source::Batch(sums, elements) => {
                    let elements = elements as f64;
                    let mean = sums[channel][0] / elements;
                    let variance = (sums[channel][1] / elements - mean * mean).max(0.0);
                    (mean, variance, variance * (elements / (elements - 1.0).max(1.0)))
                }
            };
            let inverse = 1.0 / (variance + BATCH_NORM_EPSILON).sqrt();
            let scale = f64::from(weight[channel]) * inverse;
            fold.scale.push(scale as f32);
            fold.shift.push((f64::from(bias[channel]) - mean * scale) as f32);
            fold.mean.push(mean as f32);
            fold.inverse.push(inverse as f32);
            fold.unbiased.push(unbiased as f32);
        }
        fold
    }

    /// Adds the gradients of factors and offsets, from the groups' [`slopes`], and returns what the way back needs of every channel.
    pub fn gradient(self, fold: &Fold, slopes: &Sums, elements: usize, gradient: &mut [f32]) -> Vec<Back> {
        let back = |channel: usize| {
            let inverse = f64::from(fold.inverse[channel]);
            let [sum, along] = slopes[channel];
            gradient[self.at + channel] += (along * inverse) as f32;
            gradient[self.at + self.channels + channel] += sum as f32;
            Back {
                scale: fold.scale[channel],
                mean: fold.mean[channel],
                level: (sum / elements as f64) as f32,
                along: (along * inverse * inverse / elements as f64) as f32,
            }
        };
        (0..self.channels).map(back).collect()
    }
}

/// A channel's way back: `scale * (gradient - level - along * (x - mean))`.
#[derive(Clone, Copy, Debug)]
pub struct Back {
    scale: f32,
    mean: f32,
    level: f32,
    along: f32,
}

/// Adds another group's sums.
pub fn add_sums(sums: &mut Sums, other: &Sums) {
    if sums.is_empty() {
        sums.clone_from(other);
        return;
    }
    for (sum, other) in sums.iter_mut().zip(other) {
        sum[0] += other[0];
        sum[1] += other[1];
    }
}

/// Sums of the values of every channel, and of their squares; `plane` numbers a channel.
#[must_use]
pub fn moments(values: &[f32], plane: usize, mask: &Mask) -> Sums {
    sums(values, values, plane, |value, other, _| (value, value * other), &vec![0.0; values.len() / plane], mask)
}

/// Sums of every channel's gradient, and of its products with the centred values.
#[must_use]
pub fn slopes(gradient: &[f32], values: &[f32], plane: usize, fold: &Fold) -> Sums {
    sums(gradient, values, plane, |slope, value, mean| (slope, slope * (value - mean)), &fold.mean, &[1.0; LANES])
}

fn sums(
    first: &[f32],
    second: &[f32],
    plane: usize,
    pair: impl Fn(f32, f32, f32) -> (f32, f32) + Copy,
    means: &[f32],
    mask: &Mask,
) -> Sums {
    let mut out = Vec::with_capacity(means.len());
    wide(|| {
        for ((first, second), mean) in first.chunks_exact(plane).zip(second.chunks_exact(plane)).zip(means) {
            let mut totals = [[0.0_f64; LANES]; 2];
            for (first, second) in first.chunks_exact(FRAME).zip(second.chunks_exact(FRAME)) {
                let mut lanes = [[0.0_f32; LANES]; 2];
                for (first, second) in first.chunks_exact(LANES).zip(second.chunks_exact(LANES)) {
                    for lane in 0..LANES {
                        let (one, other) = pair(first[lane], second[lane], *mean);
                        lanes[0][lane] += one;
                        lanes[1][lane] += other;
                    }
                }
                for lane in 0..LANES {
                    totals[0][lane] += f64::from(lanes[0][lane]);
                    totals[1][lane] += f64::from(lanes[1][lane]);
                }
            }
            out.push(totals.map(|total| total.iter().zip(mask).map(|(total, live)| total * f64::from(*live)).sum()));
        }
    });
    out
}

/// Sums of every channel's numbers.
pub fn add_row_sums(values: &[f32], plane: usize, out: &mut [f32]) {
    for (row, out) in values.chunks_exact(plane).zip(out) {
        *out += row.chunks_exact(FRAME).map(|frame| f64::from(frame.iter().sum::<f32>())).sum::<f64>() as f32;
    }
}

/// `max(0, scale * value + shift)` of one channel.
#[inline(always)]
pub fn rectified(values: &[f32], fold: &Fold, channel: usize, out: &mut [f32]) {
    let (scale, shift) = (fold.scale[channel], fold.shift[channel]);
    for (out, value) in out.iter_mut().zip(values) {
        let normalised = scale * value + shift;
        // Unlike max, this keeps NaN.
        *out = if normalised < 0.0 { 0.0 } else { normalised };
    }
}

/// Leaves of a gradient what comes through a rectifier whose output is given.
#[inline(always)]
pub fn through(gradient: &mut [f32], rectified: &[f32]) {
    for (slope, value) in gradient.iter_mut().zip(rectified) {
        *slope = if *value > 0.0 { *slope } else { 0.0 };
    }
}

/// The gradient of one channel's values before its normalisation, from that after it; places without a sample get 0.
#[inline(always)]
pub fn before(gradient: &[f32], values: &[f32], back: Back, mask: &Mask, out: &mut [f32]) {
    let cells = gradient.chunks_exact(LANES).zip(values.chunks_exact(LANES)).zip(out.chunks_exact_mut(LANES));
    for ((gradient, values), out) in cells {
        for lane in 0..LANES {
            let inner = gradient[lane] - back.level - back.along * (values[lane] - back.mean);
            out[lane] = mask[lane] * (back.scale * inner);
        }
    }
}
