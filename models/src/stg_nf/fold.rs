//! Folding: the affine maps of a trained model merged in `f64` into the few constants that an engine applies.
//!
//! Three merges. Batch normalisations go into the convolutions before them. ActNorm goes into the constants that read its output, so a
//! plane of values is only rewritten by the coupling that transforms it. Roles alternate: in even steps y conditions and x is
//! transformed, in odd steps the reverse, so each plane carries one pending affine map from a step to the next.

use super::parameters::{
    BATCH_NORM_EPSILON, BatchNorm, FLOWS, FlowParameters, NETWORK_CHANNELS, ParameterFault, StgNfParameters, StgNfShape, TAPS_MAX,
};
use alfred_core::limits::JOINTS;
use core::f64::consts::{LN_2, PI};

/// Added to the sigmoid by the coupling: `scale = sigmoid(raw + 2) + 1e-6`.
pub(super) const SCALE_EPSILON: f64 = 1e-6;

/// Added to the prior's variance of 1.
pub(super) const PRIOR_VARIANCE: f64 = 1.0 + 1e-6;

/// Index of the shift among a coupling network's outputs.
pub(super) const SHIFT: usize = 0;

/// Index of the raw scale among a coupling network's outputs.
pub(super) const SCALE: usize = 1;

/// Constants of one flow step, on planes of values whose ActNorms are still pending.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FoldedFlow {
    /// Graph convolution: `u[o] = max(0, gcn_slope[o] * g + gcn_column[o] * s + gcn_offset[o])`, where g is the graph product of the
    /// conditioner's plane and s the column sum of the adjacency.
    pub(super) gcn_slope: [f32; NETWORK_CHANNELS],
    pub(super) gcn_column: [f32; NETWORK_CHANNELS],
    pub(super) gcn_offset: [f32; NETWORK_CHANNELS],
    /// The same for the mean adjacency, on the SUM over joints: `u[o] = max(0, mean_slope[o] * sum + mean_offset[o])`.
    pub(super) mean_slope: [f32; NETWORK_CHANNELS],
    pub(super) mean_offset: [f32; NETWORK_CHANNELS],
    /// Temporal kernel `[input][tap][output]`.
    pub(super) kernel: [[[f32; NETWORK_CHANNELS]; TAPS_MAX]; NETWORK_CHANNELS],
    /// All that is constant in the network's output before its ReLU. The shift's holds `transformed_offset` too, see there.
    pub(super) network_offset: [f32; NETWORK_CHANNELS],
    /// Factor of the conditioner in the residual path, 0 in the first step.
    pub(super) residual_slope: [f32; NETWORK_CHANNELS],
    /// The transformed plane's pending map: `slope * z + offset`. The offset is the floor of shift + offset:
    /// `max(0, h) + offset = max(offset, h + offset)`.
    pub(super) transformed_slope: f32,
    pub(super) transformed_offset: f32,
}

impl FoldedFlow {
    const ZERO: Self = Self {
        gcn_slope: [0.0; NETWORK_CHANNELS],
        gcn_column: [0.0; NETWORK_CHANNELS],
        gcn_offset: [0.0; NETWORK_CHANNELS],
        mean_slope: [0.0; NETWORK_CHANNELS],
        mean_offset: [0.0; NETWORK_CHANNELS],
        kernel: [[[0.0; NETWORK_CHANNELS]; TAPS_MAX]; NETWORK_CHANNELS],
        network_offset: [0.0; NETWORK_CHANNELS],
        residual_slope: [0.0; NETWORK_CHANNELS],
        transformed_slope: 1.0,
        transformed_offset: 0.0,
    };

    fn is_finite(&self) -> bool {
        let pairs = [
            self.gcn_slope,
            self.gcn_column,
            self.gcn_offset,
            self.mean_slope,
            self.mean_offset,
            self.network_offset,
            self.residual_slope,
            [self.transformed_slope, self.transformed_offset],
        ];
        pairs.iter().chain(self.kernel.iter().flatten()).flatten().all(|value| value.is_finite())
    }
}

/// A model ready to run: about 4 kB, no pointers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoldedStgNf {
    shape: StgNfShape,
    pub(super) flows: [FoldedFlow; FLOWS],
    /// The last conditioner's pending map, with R already subtracted: `z - R = slope * plane + offset`.
    pub(super) last_slope: f32,
    pub(super) last_offset: f32,
    /// Prior mean R.
    pub(super) prior_mean: f32,
    /// What the score holds of every window: ActNorm's log-determinants and the prior's normalisation, in bits per dimension.
    constant_bits: f64,
}

/// A pending map `slope * value + offset`.
#[derive(Clone, Copy)]
struct Affine {
    slope: f64,
    offset: f64,
}

impl Affine {
    const IDENTITY: Self = Self { slope: 1.0, offset: 0.0 };

    /// This map, followed by ActNorm's `(z + bias) * exp(logs)`.
    fn then_actnorm(self, bias: f32, logs: f32) -> Self {
        let factor = libm::exp(f64::from(logs));
        Self { slope: self.slope * factor, offset: (self.offset + f64::from(bias)) * factor }
    }
}

/// Factor and offset of a batch normalisation's channel.
fn batch_norm(norm: &BatchNorm, channel: usize) -> Affine {
    let deviation = libm::sqrt(f64::from(norm.running_var[channel]) + BATCH_NORM_EPSILON);
    let slope = f64::from(norm.weight[channel]) / deviation;
    Affine { slope, offset: f64::from(norm.bias[channel]) - slope * f64::from(norm.running_mean[channel]) }
}

impl FoldedStgNf {
    /// Folds a valid model.
    ///
    /// # Errors
    /// What [`StgNfParameters::validate`] finds, and [`ParameterFault::NotFoldable`] when a product overflows `f32`.
    pub fn fold(parameters: &StgNfParameters) -> Result<Self, ParameterFault> {
        parameters.validate()?;
        let shape = parameters.shape;
        let mut flows = [FoldedFlow::ZERO; FLOWS];
        let mut log_determinant = 0.0;
        // ActNorm's channel 0 meets the plane that this step transforms, channel 1 the conditioner: the two swap after every step.
        let mut transformed = Affine::IDENTITY;
        let mut conditioner = Affine::IDENTITY;
        for (flow, (from, folded)) in parameters.flows.iter().zip(&mut flows).enumerate() {
            transformed = transformed.then_actnorm(from.actnorm_bias[0], from.actnorm_logs[0]);
            conditioner = conditioner.then_actnorm(from.actnorm_bias[1], from.actnorm_logs[1]);
            log_determinant += f64::from(from.actnorm_logs[0]) + f64::from(from.actnorm_logs[1]);
            *folded = fold_flow(from, shape, flow > 0, conditioner, transformed);
            if !folded.is_finite() {
                return Err(ParameterFault::NotFoldable { flow });
            }
            // The rewritten plane starts afresh and conditions next; the conditioner is transformed next.
            transformed = conditioner;
            conditioner = Affine::IDENTITY;
        }
        let prior_mean = f64::from(parameters.prior_mean);
        let (last_slope, last_offset) = (transformed.slope as f32, (transformed.offset - prior_mean) as f32);
        if !(last_slope.is_finite() && last_offset.is_finite()) {
            return Err(ParameterFault::NotFoldable { flow: FLOWS - 1 });
        }
        // Per dimension: the two logs of a step are shared by the 2 * T * 18 dimensions as T * 18 of each.
        let constant_bits = (0.5 * libm::log(2.0 * PI) - log_determinant / 2.0) / LN_2;
        Ok(Self { shape, flows, last_slope, last_offset, prior_mean: parameters.prior_mean, constant_bits })
    }

    /// The model's shape.
    #[must_use]
    pub const fn shape(&self) -> StgNfShape {
        self.shape
    }

    /// Negative log-likelihood in bits per dimension, from the sum over all dimensions of `(z - R)^2` and the sum of the natural
    /// logarithms of all scales.
    #[inline]
    pub(super) fn bits_per_dimension(&self, squares: f64, log_scales: f64) -> f64 {
        self.constant_bits + (0.5 * squares / PRIOR_VARIANCE - log_scales) / (LN_2 * self.shape.dimensions() as f64)
    }
}

/// Folds one step, given the maps that are pending on its two planes (its own ActNorm included).
fn fold_flow(from: &FlowParameters, shape: StgNfShape, residual: bool, conditioner: Affine, transformed: Affine) -> FoldedFlow {
    let mut folded = FoldedFlow::ZERO;
    folded.transformed_slope = transformed.slope as f32;
    folded.transformed_offset = transformed.offset as f32;
    let taps = shape.taps();
    for output in 0..NETWORK_CHANNELS {
        let before = batch_norm(&from.norm_before, output);
        let slope = before.slope * f64::from(from.gcn_weight[output]) * conditioner.slope;
        let column = before.slope * (f64::from(from.gcn_weight[output]) * conditioner.offset + f64::from(from.gcn_bias[output]));
        folded.gcn_slope[output] = slope as f32;
        folded.gcn_column[output] = column as f32;
        folded.gcn_offset[output] = before.offset as f32;
        folded.mean_slope[output] = (slope / JOINTS as f64) as f32;
        folded.mean_offset[output] = (column + before.offset) as f32;

        let after = batch_norm(&from.norm_after, output);
        let mut offset = after.slope * f64::from(from.tcn_bias[output]) + after.offset;
        for input in 0..NETWORK_CHANNELS {
            for tap in 0..taps {
                let weight = from.tcn_weight[(output * NETWORK_CHANNELS + input) * taps + tap];
                folded.kernel[input][tap][output] = (after.slope * f64::from(weight)) as f32;
            }
        }
        if residual {
            let norm = batch_norm(&from.residual_norm, output);
            let weight = norm.slope * f64::from(from.residual_weight[output]);
            folded.residual_slope[output] = (weight * conditioner.slope) as f32;
            offset += weight * conditioner.offset + norm.slope * f64::from(from.residual_bias[output]) + norm.offset;
        }
        if output == SHIFT {
            offset += transformed.offset;
        }
        folded.network_offset[output] = offset as f32;
    }
    folded
}
