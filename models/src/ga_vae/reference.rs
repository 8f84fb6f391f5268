//! The oracle: encoder, decoder and score in `f64`, written line by line from the formulas; slow, and nothing is folded.
//!
//! Every engine is tested against it, and trainers check their forward pass on it. Not for the device's data path.
// The formulas' own indices.
#![allow(clippy::needless_range_loop)]

use super::layers::{BatchNorm, Block, Convolution, Projection};
use super::parameters::{BATCH_NORM_EPSILON, GaVaeParameters, ScoreRule};
use super::shape::{DECODER_BLOCKS, ENCODER_BLOCKS, LATENT_FRAMES, SUBSETS, TAPS, WINDOW_FRAMES};
use super::skeleton::fixed_family;
use alfred_core::limits::{CHANNELS, JOINTS};

/// Values of a layer, `[channel][frame][joint]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// Channels.
    pub channels: usize,
    /// Frames.
    pub frames: usize,
    /// `channels * frames * 18` numbers.
    pub values: Vec<f64>,
}

impl Activation {
    /// All zero.
    #[must_use]
    pub fn zero(channels: usize, frames: usize) -> Self {
        Self { channels, frames, values: vec![0.0; channels * frames * JOINTS] }
    }

    /// A value.
    ///
    /// # Panics
    /// Outside the bounds.
    #[must_use]
    pub fn at(&self, channel: usize, frame: usize, joint: usize) -> f64 {
        self.values[(channel * self.frames + frame) * JOINTS + joint]
    }

    fn at_mut(&mut self, channel: usize, frame: usize, joint: usize) -> &mut f64 {
        &mut self.values[(channel * self.frames + frame) * JOINTS + joint]
    }

    fn map(mut self, change: impl Fn(f64) -> f64) -> Self {
        self.values.iter_mut().for_each(|value| *value = change(*value));
        self
    }

    fn plus(mut self, other: &Self) -> Self {
        self.values.iter_mut().zip(&other.values).for_each(|(value, other)| *value += other);
        self
    }
}

/// The score of a window of `2 * 18 * 24` values, `[channel][joint][time]`, by the model's rule: the Euclidean distance between the encoder's
/// output (means and logarithms of deviations, nothing is sampled) and its mean over the training windows, or the mean squared error of the
/// window that the decoder makes of the means.
///
/// # Panics
/// When the window holds fewer values.
#[must_use]
pub fn score<V: AsRef<[f32]>>(parameters: &GaVaeParameters<V>, window: &[f32]) -> f64 {
    if parameters.rule() == ScoreRule::Reconstruction {
        let output = reconstruct(parameters, window);
        let mut squares = 0.0;
        for channel in 0..CHANNELS {
            for frame in 0..WINDOW_FRAMES {
                for joint in 0..JOINTS {
                    let value = f64::from(window[(channel * JOINTS + joint) * WINDOW_FRAMES + frame]);
                    squares += (value - output.at(channel, frame, joint)) * (value - output.at(channel, frame, joint));
                }
            }
        }
        return squares / output.values.len() as f64;
    }
    let latent = encode(parameters, window);
    let differences = latent.values.iter().zip(parameters.reference_mean()).map(|(value, &mean)| value - f64::from(mean));
    libm::sqrt(differences.map(|difference| difference * difference).sum())
}

/// The encoder's output for a window of `2 * 18 * 24` values, `[channel][joint][time]`: 8 d channels of 4 frames, of which the first
/// 4 d are the means of the latent values and the others the logarithms of their deviations.
///
/// # Panics
/// When the window holds fewer values.
#[must_use]
pub fn encode<V: AsRef<[f32]>>(parameters: &GaVaeParameters<V>, window: &[f32]) -> Activation {
    let mut values = Activation::zero(CHANNELS, WINDOW_FRAMES);
    let norm = parameters.data_norm();
    for channel in 0..CHANNELS {
        for joint in 0..JOINTS {
            for frame in 0..WINDOW_FRAMES {
                let value = f64::from(window[(channel * JOINTS + joint) * WINDOW_FRAMES + frame]);
                *values.at_mut(channel, frame, joint) = normalised(&norm, joint * CHANNELS + channel, value);
            }
        }
    }
    (0..ENCODER_BLOCKS).fold(values, |values, number| block(&parameters.encoder_block(number), &values))
}

/// The decoder's output for latent values of 4 d channels and 4 frames: a window, 2 channels of 24 frames.
///
/// # Panics
/// When there are fewer channels or frames.
#[must_use]
pub fn decode<V: AsRef<[f32]>>(parameters: &GaVaeParameters<V>, latent: &Activation) -> Activation {
    let values = (0..DECODER_BLOCKS).fold(latent.clone(), |values, number| {
        let from = parameters.decoder_block(number);
        block(&from, &stretched(&values, from.shape.stretch))
    });
    let output = parameters.output();
    let expanded = convolved(&output.gcn, &values, SUBSETS * CHANNELS);
    let mut sums = Activation::zero(CHANNELS, values.frames);
    for (subset, matrix) in fixed_family().iter().enumerate() {
        add_graph_product(&mut sums, 0, &expanded, subset * CHANNELS, matrix);
    }
    temporal(&output.temporal, &batch_norm(&output.norm, sums).map(relu), CHANNELS, 1)
}

/// The window that the decoder makes of the latent means of a window.
///
/// # Panics
/// When the window holds fewer than `2 * 18 * 24` values.
#[must_use]
pub fn reconstruct<V: AsRef<[f32]>>(parameters: &GaVaeParameters<V>, window: &[f32]) -> Activation {
    let mut latent = encode(parameters, window);
    latent.channels = parameters.shape().latent_channels();
    latent.values.truncate(latent.channels * LATENT_FRAMES * JOINTS);
    decode(parameters, &latent)
}

/// One block: see [`Block`].
#[must_use]
pub fn block(from: &Block<'_>, input: &Activation) -> Activation {
    let mixed = batch_norm(&from.norm, graph_attention(from, input)).map(relu);
    let mut output = batch_norm(&from.temporal_norm, temporal(&from.temporal, &mixed, from.shape.outputs, from.shape.stride));
    output = match (from.shape.residual, &from.residual) {
        (super::shape::Residual::Identity, _) => output.plus(input),
        (_, Some(projection)) => output.plus(&projected(projection, &every(input, from.shape.stride), from.shape.outputs)),
        _ => output,
    };
    if from.shape.ends_in_relu { output.map(relu) } else { output }
}

/// Steps 1 and 2 of [`Block`].
fn graph_attention(from: &Block<'_>, input: &Activation) -> Activation {
    let outputs = from.shape.outputs;
    let no_bias = vec![0.0; 9 * outputs];
    let expanded = convolved(&Convolution { weight: from.expand, bias: &no_bias }, input, 9 * outputs);
    let mut learnt = [[[0.0; JOINTS]; JOINTS]; SUBSETS];
    learnt.as_flattened_mut().as_flattened_mut().iter_mut().zip(from.learnt).for_each(|(entry, &value)| *entry = f64::from(value));
    let families = [&fixed_family(), &learnt, &computed_family(from, input)];
    let mut sums = Activation::zero(3 * outputs, input.frames);
    for (family, matrices) in families.iter().enumerate() {
        for (subset, matrix) in matrices.iter().enumerate() {
            add_graph_product(&mut sums, family * outputs, &expanded, (family * SUBSETS + subset) * outputs, matrix);
        }
    }
    let joined = batch_norm(&from.family_norm, sums).map(relu);
    let reduced = convolved(&Convolution { weight: from.reduce, bias: &no_bias }, &joined, outputs);
    match &from.graph_residual {
        Some(projection) => reduced.plus(&projected(projection, input, outputs)),
        None => reduced.plus(input),
    }
}

/// The family of adjacency matrices that the window itself gives; each column sums to 1.
#[must_use]
pub fn computed_family(from: &Block<'_>, input: &Activation) -> super::skeleton::Family {
    let embedding = from.shape.embedding();
    let queries = convolved(&from.query, input, SUBSETS * embedding);
    let keys = convolved(&from.key, input, SUBSETS * embedding);
    let mut family = [[[0.0; JOINTS]; JOINTS]; SUBSETS];
    for (subset, matrix) in family.iter_mut().enumerate() {
        for one in 0..JOINTS {
            for other in 0..JOINTS {
                for channel in subset * embedding..(subset + 1) * embedding {
                    for frame in 0..input.frames {
                        matrix[one][other] += queries.at(channel, frame, one) * keys.at(channel, frame, other);
                    }
                }
            }
        }
        for other in 0..JOINTS {
            let largest = matrix.iter().map(|row| row[other]).fold(f64::NEG_INFINITY, f64::max);
            matrix.iter_mut().for_each(|row| row[other] = libm::exp(row[other] - largest));
            let total: f64 = matrix.iter().map(|row| row[other]).sum();
            matrix.iter_mut().for_each(|row| row[other] /= total);
        }
    }
    family
}

/// `sums[first_sum..][to] += sum over from of values[first_value..][from] * matrix[from][to]`, for as many channels as there are sums
/// of one family.
fn add_graph_product(sums: &mut Activation, first_sum: usize, values: &Activation, first_value: usize, matrix: &[[f64; JOINTS]; JOINTS]) {
    let channels = values.channels / if sums.channels == CHANNELS { SUBSETS } else { SUBSETS * SUBSETS };
    for channel in 0..channels {
        for frame in 0..values.frames {
            for to in 0..JOINTS {
                let product: f64 = (0..JOINTS).map(|from| values.at(first_value + channel, frame, from) * matrix[from][to]).sum();
                *sums.at_mut(first_sum + channel, frame, to) += product;
            }
        }
    }
}

fn relu(value: f64) -> f64 {
    // Unlike max, this keeps NaN.
    if value < 0.0 { 0.0 } else { value }
}

fn normalised(norm: &BatchNorm<'_>, channel: usize, value: f64) -> f64 {
    let deviation = libm::sqrt(f64::from(norm.running_var[channel]) + BATCH_NORM_EPSILON);
    (value - f64::from(norm.running_mean[channel])) / deviation * f64::from(norm.weight[channel]) + f64::from(norm.bias[channel])
}

fn batch_norm(norm: &BatchNorm<'_>, mut values: Activation) -> Activation {
    for (channel, values) in values.values.chunks_exact_mut(values.frames * JOINTS).enumerate() {
        values.iter_mut().for_each(|value| *value = normalised(norm, channel, *value));
    }
    values
}

/// A 1x1 convolution.
fn convolved(convolution: &Convolution<'_>, input: &Activation, outputs: usize) -> Activation {
    let mut output = Activation::zero(outputs, input.frames);
    let plane = input.frames * JOINTS;
    for (row, sums) in output.values.chunks_exact_mut(plane).enumerate() {
        sums.fill(f64::from(convolution.bias[row]));
        for (&weight, values) in convolution.weight[row * input.channels..].iter().zip(input.values.chunks_exact(plane)) {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(weight) * value);
        }
    }
    output
}

fn projected(projection: &Projection<'_>, input: &Activation, outputs: usize) -> Activation {
    batch_norm(&projection.norm, convolved(&projection.convolution, input, outputs))
}

/// Frames 0, stride, 2 * stride and so on.
fn every(input: &Activation, stride: usize) -> Activation {
    let mut output = Activation::zero(input.channels, input.frames / stride);
    for channel in 0..input.channels {
        for frame in 0..output.frames {
            for joint in 0..JOINTS {
                *output.at_mut(channel, frame, joint) = input.at(channel, frame * stride, joint);
            }
        }
    }
    output
}

/// A convolution over 9 frames, joint by joint: output frame t sees frames `t * stride - 4` to `t * stride + 4`, zeros beyond the ends.
fn temporal(convolution: &Convolution<'_>, input: &Activation, outputs: usize, stride: usize) -> Activation {
    let mut output = Activation::zero(outputs, input.frames / stride);
    for row in 0..outputs {
        for frame in 0..output.frames {
            for joint in 0..JOINTS {
                let mut sum = f64::from(convolution.bias[row]);
                for tap in 0..TAPS {
                    let Some(seen) = (frame * stride + tap).checked_sub(TAPS / 2).filter(|&seen| seen < input.frames) else { continue };
                    for channel in 0..input.channels {
                        let weight = convolution.weight[(row * input.channels + channel) * TAPS + tap];
                        sum += f64::from(weight) * input.at(channel, seen, joint);
                    }
                }
                *output.at_mut(row, frame, joint) = sum;
            }
        }
    }
    output
}

/// Linear interpolation in time to `factor` times as many frames, frames taken as intervals (half-pixel centres): output frame t lies
/// at `(t + 0.5) / factor - 0.5`, held at both ends.
fn stretched(input: &Activation, factor: usize) -> Activation {
    let mut output = Activation::zero(input.channels, input.frames * factor);
    for channel in 0..input.channels {
        for frame in 0..output.frames {
            let place = ((frame as f64 + 0.5) / factor as f64 - 0.5).max(0.0);
            let before = place as usize;
            let (after, part) = ((before + 1).min(input.frames - 1), place - before as f64);
            for joint in 0..JOINTS {
                *output.at_mut(channel, frame, joint) =
                    (1.0 - part) * input.at(channel, before, joint) + part * input.at(channel, after, joint);
            }
        }
    }
    output
}
