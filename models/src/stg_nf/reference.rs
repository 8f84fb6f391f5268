//! The oracle: the forward pass in `f64`, written line by line from the paper's formulas; slow, and nothing is folded.
//!
//! Every engine is tested against it, and trainers may check their gradients on it. Not for the device's data path.
// The formulas' own indices.
#![allow(clippy::needless_range_loop)]

use super::adjacency::Adjacency;
use super::parameters::{BATCH_NORM_EPSILON, BatchNorm, FlowParameters, StgNfParameters};
use alfred_core::limits::{CHANNELS, JOINTS, WINDOW_FRAMES_MAX};
use core::f64::consts::{LN_2, PI};

/// One channel, `[joint][time]`; times from T on are unused.
pub type Plane = [[f64; WINDOW_FRAMES_MAX]; JOINTS];

/// What the forward pass gives for one window.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The latent values, `[channel][joint][time]`.
    pub latent: [Plane; CHANNELS],
    /// Natural logarithm of the Jacobian's determinant.
    pub log_determinant: f64,
    /// Natural logarithm of the prior's density at the latent values.
    pub log_prior: f64,
    /// Negative log-likelihood in bits per dimension: the anomaly score.
    pub negative_log_likelihood: f64,
}

/// Evaluates a window of `2 * 18 * T` values, `[channel][joint][time]`. Missing values count as 0.
#[must_use]
pub fn forward(parameters: &StgNfParameters, adjacency: &Adjacency, window: &[f32]) -> Outcome {
    forward_observed(parameters, adjacency, window, |_, _, _| {})
}

/// As [`forward`]; after each flow step `observe` receives the step's number, its output and the log-determinant so far.
pub fn forward_observed(
    parameters: &StgNfParameters,
    adjacency: &Adjacency,
    window: &[f32],
    mut observe: impl FnMut(usize, &[Plane; CHANNELS], f64),
) -> Outcome {
    let frames = parameters.shape.frames();
    let mut latent = [[[0.0; WINDOW_FRAMES_MAX]; JOINTS]; CHANNELS];
    for (position, &value) in window.iter().enumerate().take(parameters.shape.dimensions()) {
        let (channel, rest) = (position / (JOINTS * frames), position % (JOINTS * frames));
        latent[channel][rest / frames][rest % frames] = f64::from(value);
    }
    let mut log_determinant = 0.0;
    for (flow, step) in parameters.flows.iter().enumerate() {
        for (channel, plane) in latent.iter_mut().enumerate() {
            let (bias, logs) = (f64::from(step.actnorm_bias[channel]), f64::from(step.actnorm_logs[channel]));
            plane.iter_mut().for_each(|joint| joint[..frames].iter_mut().for_each(|value| *value = (*value + bias) * libm::exp(logs)));
            log_determinant += (JOINTS * frames) as f64 * logs;
        }
        latent.swap(0, 1);
        let [conditioner, transformed] = &mut latent;
        let [shift, raw] = coupling_network(step, flow > 0, adjacency, conditioner, frames);
        for joint in 0..JOINTS {
            for time in 0..frames {
                let scale = 1.0 / (1.0 + libm::exp(-(raw[joint][time] + 2.0))) + 1e-6;
                transformed[joint][time] = (transformed[joint][time] + shift[joint][time]) * scale;
                log_determinant += libm::log(scale);
            }
        }
        observe(flow, &latent, log_determinant);
    }
    let mut log_prior = 0.0;
    for value in latent.iter().flatten().flat_map(|joint| &joint[..frames]) {
        let distance = value - f64::from(parameters.prior_mean);
        log_prior -= 0.5 * (distance * distance / (1.0 + 1e-6) + libm::log(2.0 * PI));
    }
    let negative_log_likelihood = -(log_determinant + log_prior) / (LN_2 * parameters.shape.dimensions() as f64);
    Outcome { latent, log_determinant, log_prior, negative_log_likelihood }
}

/// Evaluation mode: `(x - running_mean) / sqrt(running_var + 1e-5) * weight + bias`.
fn batch_norm(norm: &BatchNorm, channel: usize, value: f64) -> f64 {
    let deviation = libm::sqrt(f64::from(norm.running_var[channel]) + BATCH_NORM_EPSILON);
    (value - f64::from(norm.running_mean[channel])) / deviation * f64::from(norm.weight[channel]) + f64::from(norm.bias[channel])
}

/// The ST-GCN block: from the conditioner to shift and raw scale, both at least 0.
fn coupling_network(step: &FlowParameters, residual: bool, adjacency: &Adjacency, conditioner: &Plane, frames: usize) -> [Plane; 2] {
    let (taps, padding) = (frames / 2 + 1, frames / 4);
    let mut hidden = [[[0.0; WINDOW_FRAMES_MAX]; JOINTS]; 2];
    for channel in 0..2 {
        let (weight, bias) = (f64::from(step.gcn_weight[channel]), f64::from(step.gcn_bias[channel]));
        for to in 0..JOINTS {
            for time in 0..frames {
                let product: f64 = (0..JOINTS).map(|from| (weight * conditioner[from][time] + bias) * adjacency.entries()[from][to]).sum();
                hidden[channel][to][time] = batch_norm(&step.norm_before, channel, product).max(0.0);
            }
        }
    }
    let mut outputs = [[[0.0; WINDOW_FRAMES_MAX]; JOINTS]; 2];
    for (output, plane) in outputs.iter_mut().enumerate() {
        for joint in 0..JOINTS {
            for time in 0..frames {
                let mut sum = f64::from(step.tcn_bias[output]);
                for (input, hidden) in hidden.iter().enumerate() {
                    for tap in 0..taps {
                        // Zero padding: times outside the window count as 0.
                        let Some(source) = (time + tap).checked_sub(padding).filter(|&source| source < frames) else { continue };
                        sum += f64::from(step.tcn_weight[(output * 2 + input) * taps + tap]) * hidden[joint][source];
                    }
                }
                let mut value = batch_norm(&step.norm_after, output, sum);
                if residual {
                    let straight =
                        f64::from(step.residual_weight[output]) * conditioner[joint][time] + f64::from(step.residual_bias[output]);
                    value += batch_norm(&step.residual_norm, output, straight);
                }
                plane[joint][time] = value.max(0.0);
            }
        }
    }
    outputs
}
