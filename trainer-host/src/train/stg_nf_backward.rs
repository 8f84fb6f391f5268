//! STG-NF's backward pass: the gradient of the batch's mean negative log-likelihood, derived by hand.
//!
//! It runs the flows from last to first. Two buffers hold the gradients of the two channels; a flow needs one pass over the elements
//! to learn the sums that batch normalisation subtracts, then one pass over the frames, then one over the elements again.
//! Notation: for a batch normalisation y = g * n + b, n = (x - mean) / deviation over `count` elements,
//! dx = g / deviation * (dy - sum(dy) / count - n * sum(dy * n) / count) (Ioffe and Szegedy 2015).

use crate::train::lanes::{LANES, Lane, LaneSum, ZERO, map};
use crate::train::stg_nf_forward::{FlowTrace, Moments, Network, PRIOR_VARIANCE, SCALE_FLOOR, Workspace, actnorm, hidden_rows};
use alfred_core::limits::JOINTS;
use alfred_models::stg_nf::parameters::{BATCH_NORM_EPSILON, BatchNorm, FLOWS, FlowParameters, StgNfParameters, TAPS_MAX};
use core::f64::consts::LN_2;
use rayon::prelude::*;

/// Buffers of the backward pass; kept between batches.
#[derive(Debug, Default)]
pub struct Gradients {
    /// Gradient of the channel that the flow transformed, [block][time][joint].
    transformed: Vec<Lane>,
    /// Gradient of the channel that conditioned.
    conditioner: Vec<Lane>,
    /// Gradient of the network's outputs before the last ReLU, summed over joints, [channel][block][time].
    outputs: [Vec<Lane>; 2],
    /// Gradient of the normalisation's output before the convolution, [channel][block][time].
    hidden: [Vec<Lane>; 2],
}

/// Sums that the passes over a flow's elements collect.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Of the network's output gradients.
    outputs: [f64; 2],
    /// Of these times the conditioner.
    outputs_conditioner: [f64; 2],
    /// Of the transformed channel's gradient.
    other: f64,
    /// Of it times the channel.
    other_value: f64,
}

impl Gradients {
    /// The gradient of the mean negative log-likelihood of the batch that `workspace` ran forward with batch statistics. Running statistics have no
    /// gradient. Biases that a batch normalisation follows have exactly zero gradient; it is returned as zero.
    pub fn backward(&mut self, workspace: &Workspace, parameters: &StgNfParameters) -> StgNfParameters {
        let mut out = StgNfParameters::zero(workspace.shape);
        let mut no_gradient = |tensor: alfred_models::stg_nf::parameters::TensorMut<'_>| tensor.values.fill(0.0);
        out.visit_mut(&mut no_gradient);
        let unit = 1.0 / (LN_2 * workspace.shape.dimensions() as f64 * workspace.samples.max(1) as f64);
        self.start(workspace, unit);
        for flow in (0..FLOWS).rev() {
            let gradient = &mut out.flows[flow];
            let parameters = &parameters.flows[flow];
            let sums = self.through_coupling(workspace, flow, parameters, unit);
            self.through_network(workspace, flow, parameters, &sums, gradient);
            self.through_conditioner(workspace, flow, parameters, &sums, gradient);
            // Both channels' scalings enter the determinant of every sample.
            let determinant = unit * (workspace.samples * workspace.shape.frames() * JOINTS) as f64;
            gradient.actnorm_bias[0] = (sums.other * libm::exp(f64::from(parameters.actnorm_logs[0]))) as f32;
            gradient.actnorm_logs[0] = (sums.other_value - determinant) as f32;
            gradient.actnorm_logs[1] -= determinant as f32;
            core::mem::swap(&mut self.transformed, &mut self.conditioner);
        }
        out
    }

    /// Gradients of the prior's term.
    fn start(&mut self, workspace: &Workspace, unit: f64) {
        let size = workspace.shape.frames() * JOINTS;
        let factor = (unit / PRIOR_VARIANCE) as f32;
        for (state, gradient) in [(FLOWS, &mut self.conditioner), (FLOWS + 1, &mut self.transformed)] {
            gradient.resize(workspace.blocks() * size, ZERO);
            let blocks = gradient.par_chunks_exact_mut(size).zip(workspace.states[state].par_chunks_exact(size)).zip(&workspace.priors);
            blocks.for_each(|((gradient, values), prior)| {
                for (gradient, value) in gradient.iter_mut().zip(values) {
                    *gradient = map(|lane| factor * (value[lane] - prior[lane]));
                }
            });
        }
        let rows = workspace.blocks() * workspace.shape.frames();
        for buffer in self.outputs.iter_mut().chain(&mut self.hidden) {
            buffer.resize(rows, ZERO);
        }
    }

    /// Back through shift and scale. Leaves the gradient of the untransformed other channel (before its ActNorm) in `transformed`,
    /// adds the residual path's direct part to `conditioner`, and sums the network's output gradients over joints.
    fn through_coupling(&mut self, workspace: &Workspace, flow: usize, parameters: &FlowParameters, unit: f64) -> Sums {
        let frames = workspace.shape.frames();
        let network = Network::new(&workspace.traces[flow]);
        let (bias, factor) = actnorm(parameters, 0);
        let unit = unit as f32;
        let size = frames * JOINTS;
        let [first, second] = &mut self.outputs;
        let outputs = first.par_chunks_exact_mut(frames).zip(second.par_chunks_exact_mut(frames));
        let gradients = self.transformed.par_chunks_exact_mut(size).zip(self.conditioner.par_chunks_exact_mut(size));
        let sums = outputs.zip(gradients).enumerate().map(|(block, ((first, second), (transformed, direct)))| {
            let mut sums = [LaneSum::ZERO; 6];
            for time in 0..frames {
                let row = block * frames + time;
                let start = [0, 1].map(|output| network.start(output, &workspace.convolved[flow][output][row]));
                let (places, own) = (row * JOINTS..(row + 1) * JOINTS, time * JOINTS..(time + 1) * JOINTS);
                let mut row_sums = [ZERO; 6];
                let inputs = workspace.states[flow][places.clone()].iter().zip(&workspace.states[flow + 1][places.clone()]);
                let inputs = inputs.zip(&workspace.scales[flow][places]);
                let outputs = transformed[own.clone()].iter_mut().zip(&mut direct[own]);
                for (((other, conditioner), scale), (transformed, direct)) in inputs.zip(outputs) {
                    for lane in 0..LANES {
                        let (z, s) = (conditioner[lane], scale[lane]);
                        let shift = start[0][lane] + network.residual[0] * z;
                        let raw = start[1][lane] + network.residual[1] * z;
                        let value = (other[lane] + bias) * factor;
                        let d_value = transformed[lane] * s;
                        let d_scale = transformed[lane] * (value + shift.max(0.0)) - unit / s;
                        let sigmoid = s - SCALE_FLOOR;
                        let d_shift = if shift > 0.0 { d_value } else { 0.0 };
                        let d_raw = if raw > 0.0 { d_scale * sigmoid * (1.0 - sigmoid) } else { 0.0 };
                        direct[lane] += network.residual[0] * d_shift + network.residual[1] * d_raw;
                        transformed[lane] = d_value * factor;
                        row_sums[0][lane] += d_shift;
                        row_sums[1][lane] += d_raw;
                        row_sums[2][lane] += d_shift * z;
                        row_sums[3][lane] += d_raw * z;
                        row_sums[4][lane] += d_value;
                        row_sums[5][lane] += d_value * value;
                    }
                }
                (first[time], second[time]) = (row_sums[0], row_sums[1]);
                for (sum, row) in sums.iter_mut().zip(&row_sums) {
                    sum.add(row);
                }
            }
            sums
        });
        let sums: Vec<_> = sums.collect();
        let [shift, raw, shift_z, raw_z, other, other_value] = workspace.totals(&sums);
        Sums { outputs: [shift, raw], outputs_conditioner: [shift_z, raw_z], other, other_value }
    }

    /// Back through the normalisation after the convolution, the convolution, and the ReLU before it.
    fn through_network(
        &mut self,
        workspace: &Workspace,
        flow: usize,
        parameters: &FlowParameters,
        sums: &Sums,
        gradient: &mut FlowParameters,
    ) {
        let frames = workspace.shape.frames();
        let trace = &workspace.traces[flow];
        let count = (workspace.samples * frames) as f64;
        for output in 0..2 {
            let moments = trace.convolution[output];
            let with_value = self.sum_of_products(workspace, output, &workspace.convolved[flow][output], moments.mean);
            let deviation = trace.after[output].inverse_deviation;
            gradient.norm_after.weight[output] = (with_value * deviation) as f32;
            gradient.norm_after.bias[output] = sums.outputs[output] as f32;
            // dx = gain * (dy - a - b * (x - mean))
            let gain = (f64::from(parameters.norm_after.weight[output]) * deviation) as f32;
            let a = (sums.outputs[output] / count) as f32;
            let b = (with_value * deviation * deviation / count) as f32;
            let mean = moments.mean as f32;
            let blocks = self.outputs[output].par_chunks_exact_mut(frames).zip(workspace.convolved[flow][output].par_chunks_exact(frames));
            blocks.for_each(|(dy, x)| {
                for (dy, x) in dy.iter_mut().zip(x) {
                    for lane in 0..LANES {
                        dy[lane] = gain * (dy[lane] - a - b * (x[lane] - mean));
                    }
                }
            });
        }
        self.through_convolution(workspace, flow, parameters, gradient);
    }

    /// Sum over the batch of an output gradient times (value - mean).
    fn sum_of_products(&self, workspace: &Workspace, output: usize, values: &[Lane], mean: f64) -> f64 {
        let frames = workspace.shape.frames();
        let mean = mean as f32;
        let blocks = self.outputs[output].par_chunks_exact(frames).zip(values.par_chunks_exact(frames));
        let sums = blocks.map(|(gradients, values)| {
            let mut sum = LaneSum::ZERO;
            for (gradient, value) in gradients.iter().zip(values) {
                sum.add(&map(|lane| gradient[lane] * (value[lane] - mean)));
            }
            [sum]
        });
        workspace.totals(&sums.collect::<Vec<_>>())[0]
    }

    fn through_convolution(&mut self, workspace: &Workspace, flow: usize, parameters: &FlowParameters, gradient: &mut FlowParameters) {
        let (frames, taps, padding) = (workspace.shape.frames(), workspace.shape.taps(), workspace.shape.padding());
        let before = workspace.traces[flow].before;
        let [first, second] = &mut self.hidden;
        let d_hidden = first.par_chunks_exact_mut(frames).zip(second.par_chunks_exact_mut(frames));
        let outputs = self.outputs[0].par_chunks_exact(frames).zip(self.outputs[1].par_chunks_exact(frames));
        let blocks = d_hidden.zip(outputs).zip(workspace.means[flow].par_chunks_exact(frames)).enumerate();
        let room = || [vec![ZERO; frames], vec![ZERO; frames]];
        let sums = blocks.map_init(room, |hidden, (block, (((first, second), outputs), means))| {
            hidden_rows(means, &before, hidden);
            let (mut d_hidden, outputs) = ([first, second], [outputs.0, outputs.1]);
            let mut kernel_gradient = [0.0_f64; 4 * TAPS_MAX];
            for (d_hidden, input) in d_hidden.iter_mut().zip(0..) {
                d_hidden.fill(ZERO);
                for (output, outputs) in outputs.into_iter().enumerate() {
                    for tap in 0..taps {
                        // Output time t reads hidden time t + tap - padding.
                        let weight = parameters.tcn_weight[(output * 2 + input) * taps + tap];
                        let (first, last) = (padding.saturating_sub(tap), frames.min(frames + padding - tap));
                        let source = first + tap - padding;
                        let mut sum = ZERO;
                        let inputs = hidden[input][source..].iter().zip(&mut d_hidden[source..]);
                        for (dy, (value, d_value)) in outputs[first..last].iter().zip(inputs) {
                            for lane in 0..LANES {
                                sum[lane] += dy[lane] * value[lane];
                                d_value[lane] += dy[lane] * weight;
                            }
                        }
                        let mut total = LaneSum::ZERO;
                        total.add(&sum);
                        kernel_gradient[(output * 2 + input) * taps + tap] = total.total(workspace.live(block));
                    }
                }
            }
            for (d_hidden, hidden) in d_hidden.into_iter().zip(&*hidden) {
                for (d_value, value) in d_hidden.iter_mut().zip(hidden) {
                    *d_value = map(|lane| if value[lane] > 0.0 { d_value[lane] } else { 0.0 });
                }
            }
            kernel_gradient
        });
        let mut kernel_gradient = [0.0_f64; 4 * TAPS_MAX];
        for own in sums.collect::<Vec<_>>() {
            kernel_gradient.iter_mut().zip(own).for_each(|(sum, value)| *sum += value);
        }
        for (out, value) in gradient.tcn_weight.iter_mut().zip(kernel_gradient) {
            *out = value as f32;
        }
    }

    /// Back through both normalisations of the conditioner and its ActNorm; leaves the gradient before the ActNorm in `conditioner`.
    fn through_conditioner(
        &mut self,
        workspace: &Workspace,
        flow: usize,
        parameters: &FlowParameters,
        sums: &Sums,
        gradient: &mut FlowParameters,
    ) {
        let frames = workspace.shape.frames();
        let trace: &FlowTrace = &workspace.traces[flow];
        let count = (workspace.samples * frames) as f64;
        let mut mean_map = LinearGradient::default();
        for channel in 0..2 {
            let (sum, with_mean) = self.hidden_sums(workspace, flow, channel, trace.joint_mean.mean);
            let part = PointKernel { weight: parameters.gcn_weight[channel], norm: &parameters.norm_before, channel };
            let deviation = trace.before[channel].inverse_deviation;
            gradient.gcn_weight[channel] =
                part.gradient(&mut gradient.norm_before, &mut mean_map, deviation, trace.joint_mean, sum, with_mean, count);
        }
        let mut element_map = LinearGradient::default();
        if flow > 0 {
            for channel in 0..2 {
                let sum = sums.outputs[channel];
                let with_value = sums.outputs_conditioner[channel] - sum * trace.conditioner.mean;
                let part = PointKernel { weight: parameters.residual_weight[channel], norm: &parameters.residual_norm, channel };
                let (deviation, count) = (trace.residual[channel].inverse_deviation, count * JOINTS as f64);
                gradient.residual_weight[channel] =
                    part.gradient(&mut gradient.residual_norm, &mut element_map, deviation, trace.conditioner, sum, with_value, count);
            }
        }
        let (_, factor) = actnorm(parameters, 1);
        let before = trace.before.map(|affine| affine.factor as f32);
        let hidden = &self.hidden;
        let sums = self.conditioner.par_chunks_exact_mut(frames * JOINTS).enumerate().map(|(block, block_gradient)| {
            let (mut sum, mut sum_value) = (LaneSum::ZERO, LaneSum::ZERO);
            for (time, gradient) in block_gradient.chunks_exact_mut(JOINTS).enumerate() {
                let row = block * frames + time;
                let mean = &workspace.means[flow][row];
                let (first, second) = (&hidden[0][row], &hidden[1][row]);
                let shared = map(|lane| {
                    let d_mean = before[0] * first[lane] + before[1] * second[lane] + mean_map.at(mean[lane]);
                    d_mean * (1.0 / JOINTS as f32)
                });
                let (mut row_sum, mut row_value) = (ZERO, ZERO);
                let places = row * JOINTS..(row + 1) * JOINTS;
                for (gradient, value) in gradient.iter_mut().zip(&workspace.states[flow + 1][places]) {
                    for lane in 0..LANES {
                        let d_value = gradient[lane] + shared[lane] + element_map.at(value[lane]);
                        row_sum[lane] += d_value;
                        row_value[lane] += d_value * value[lane];
                        gradient[lane] = d_value * factor;
                    }
                }
                sum.add(&row_sum);
                sum_value.add(&row_value);
            }
            [sum, sum_value]
        });
        let sums: Vec<_> = sums.collect();
        let [total, total_value] = workspace.totals(&sums);
        gradient.actnorm_bias[1] = (total * f64::from(factor)) as f32;
        gradient.actnorm_logs[1] = total_value as f32;
    }

    /// Sums of the hidden gradient, and of it times (joint mean - its mean).
    fn hidden_sums(&self, workspace: &Workspace, flow: usize, channel: usize, mean: f64) -> (f64, f64) {
        let frames = workspace.shape.frames();
        let mean = mean as f32;
        let blocks = self.hidden[channel].par_chunks_exact(frames).zip(workspace.means[flow].par_chunks_exact(frames));
        let sums = blocks.map(|(gradients, means)| {
            let (mut sum, mut product) = (LaneSum::ZERO, LaneSum::ZERO);
            for (gradient, value) in gradients.iter().zip(means) {
                sum.add(gradient);
                product.add(&map(|lane| gradient[lane] * (value[lane] - mean)));
            }
            [sum, product]
        });
        let sums: Vec<_> = sums.collect();
        workspace.totals(&sums).into()
    }
}

/// `offset + factor * x`, the part of a gradient that comes from the batch statistics.
#[derive(Clone, Copy, Debug, Default)]
struct LinearGradient {
    offset: f32,
    factor: f32,
}

impl LinearGradient {
    #[inline(always)]
    fn at(self, x: f32) -> f32 {
        self.offset + self.factor * x
    }
}

/// A 1x1 kernel followed by a batch normalisation: together an affine map whose scale the normalisation removes.
struct PointKernel<'p> {
    weight: f32,
    norm: &'p BatchNorm,
    channel: usize,
}

impl PointKernel<'_> {
    /// Gradients of the normalisation go to `norm`, the statistics' part of the input's gradient is added to `linear`; returns the
    /// kernel's gradient. `sum` is sum(dy), `with_value` sum(dy * (x - mean)) over `count` elements of input moments `moments`.
    #[expect(clippy::too_many_arguments, reason = "seven numbers of one formula")]
    fn gradient(
        &self,
        norm: &mut BatchNorm,
        linear: &mut LinearGradient,
        deviation: f64,
        moments: Moments,
        sum: f64,
        with_value: f64,
        count: f64,
    ) -> f32 {
        let (weight, channel) = (f64::from(self.weight), self.channel);
        norm.weight[channel] = (weight * deviation * with_value) as f32;
        norm.bias[channel] = sum as f32;
        let gain = f64::from(self.norm.weight[channel]) * deviation;
        let normalised = weight * deviation;
        // d(x) = gain * weight * (dy - sum / count - normalised^2 * (x - mean) * with_value / count); the dy part is added elsewhere.
        let slope = -gain * weight * normalised * normalised * with_value / count;
        linear.factor += slope as f32;
        linear.offset += (-gain * weight * sum / count - slope * moments.mean) as f32;
        // In exact arithmetic only the epsilon keeps the normalisation from cancelling the kernel's scale:
        // 1 - weight^2 * variance / (weight^2 * variance + epsilon) = epsilon * deviation^2.
        (gain * with_value * BATCH_NORM_EPSILON * deviation * deviation) as f32
    }
}
