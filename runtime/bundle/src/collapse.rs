//! Weights for inference only: each batch normalisation as one slope and one offset per channel, which takes 92 numbers less.
//!
//! `(x - mean) / sqrt(var + 1e-5) * weight + bias` becomes `x * slope + offset`, computed in f64 and rounded once to f32, so that the
//! model's score moves by rounding only (test `collapsing_moves_scores_by_rounding_only`). The host that wants a device's very bits, for a
//! threshold, scores with the collapsed weights; those that it trains on keep their statistics.

use alfred_models::stg_nf::parameters::{BATCH_NORM_EPSILON, BatchNorm, StgNfParameters};

/// The variance whose deviation with the epsilon is 1, as near as f32 has it.
pub(crate) const UNIT_VARIANCE: f32 = (1.0 - BATCH_NORM_EPSILON) as f32;

/// The same model without statistics: means 0, variances [`UNIT_VARIANCE`]. Collapsing twice changes nothing more.
#[must_use]
pub fn collapse(parameters: &StgNfParameters) -> StgNfParameters {
    let mut collapsed = *parameters;
    for (step, flow) in collapsed.flows.iter_mut().enumerate() {
        collapse_norm(&mut flow.norm_before);
        collapse_norm(&mut flow.norm_after);
        if step > 0 {
            collapse_norm(&mut flow.residual_norm);
        }
    }
    collapsed
}

fn collapse_norm(norm: &mut BatchNorm) {
    for channel in 0..norm.weight.len() {
        if norm.running_mean[channel].to_bits() == 0 && norm.running_var[channel] == UNIT_VARIANCE {
            continue;
        }
        let deviation = |variance: f32| libm::sqrt(f64::from(variance) + BATCH_NORM_EPSILON);
        let slope = f64::from(norm.weight[channel]) / deviation(norm.running_var[channel]);
        let offset = f64::from(norm.bias[channel]) - slope * f64::from(norm.running_mean[channel]);
        norm.weight[channel] = (slope * deviation(UNIT_VARIANCE)) as f32;
        norm.bias[channel] = offset as f32;
        norm.running_mean[channel] = 0.0;
        norm.running_var[channel] = UNIT_VARIANCE;
    }
}
