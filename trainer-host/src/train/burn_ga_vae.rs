//! GA-VAE in burn: encoder, decoder, and a Gaussian variational bound.
//!
//! Source: the pose branch of the TSGAD paper (arXiv 2406.15395) with the deviations that `alfred_models::ga_vae` lists. Activations are
//! matrices (channel, frame * sample * joint), joint fastest, so that 1x1 convolutions and products with adjacency matrices are plain
//! matrix products; convolutions over time gather their nine taps first.
//!
//! Loss of a window, per coordinate value: `0.5 * |x - x'|^2 + beta * KL(q || N(0, 1))`, x' decoded from one sample of q; for windows
//! labelled anomalous, what their squared distance from the reference mean, or their error where that is the score, lacks to a multiple of the
//! normal windows' mean.

use crate::train::burn_tensors::{Leaves, Place as Where, Samples, TensorSpec, lacking_to_margin};
pub use crate::train::burn_trainer::noise_of_step;
use crate::train::burn_trainer::{BurnModel, BurnTrainer, Mode, Outcome};
use crate::train::checkpoint::Metadata;
use crate::train::optimiser::{Adam, Optimiser};
use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_models::ga_vae::parameters::{
    BATCH_NORM_EPSILON, HeapParameters, LEARNT_ADJACENCY_START, ScoreRule, TensorRole, is_norm_factor,
};
use alfred_models::ga_vae::shape::{
    BlockShape, DECODER_BLOCKS, ENCODER_BLOCKS, GaVaeShape, LATENT_FRAMES, Residual, SUBSETS, TAPS, WINDOW_FRAMES,
};
use alfred_models::ga_vae::skeleton::fixed_family;
use alfred_models::ga_vae::weights_file::ARCHITECTURE;
use alfred_synth::random::Random;
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, softmax};

/// Gradient norm beyond which gradients are cut.
pub const GRADIENT_NORM_MAX: f64 = 5.0;
/// Largest logarithm of a deviation that is sampled with: a wild window in the first steps must not end the training.
const LOG_DEVIATION_MAX: f64 = 4.0;
/// The tensor that scores are distances from.
const REFERENCE: &str = "score.reference_mean";

/// Share of a run over which the weight of the divergence rises.
const RISE: f64 = 0.6;

/// The weight of the divergence from the prior over a run. From the start at its full weight it ends the description of windows before the
/// decoder can use it (Bowman et al., arXiv 1511.06349); so it rises, here geometrically, over the first six tenths of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BetaCourse {
    /// The full weight, above 0.
    pub full: f64,
    /// The share of it that a run starts with, above 0; 1 where there is no rise.
    pub first_share: f64,
}

impl From<f64> for BetaCourse {
    /// The same all along.
    fn from(beta: f64) -> Self {
        Self { full: beta, first_share: 1.0 }
    }
}

impl BetaCourse {
    /// The weight once a share `done` of the run, 0 to 1, is done.
    #[must_use]
    pub fn at(&self, done: f64) -> f64 {
        self.full * libm::pow(self.first_share, (1.0 - done / RISE).max(0.0))
    }
}

/// GA-VAE's forward pass.
#[derive(Clone, Debug)]
pub struct GaVaeModel {
    shape: GaVaeShape,
    rule: ScoreRule,
    course: BetaCourse,
    /// Weight of the divergence from the prior.
    beta: f64,
    specs: Vec<TensorSpec>,
}

/// A trainer of given parameters.
#[must_use]
pub fn trainer(parameters: &HeapParameters, course: impl Into<BetaCourse>, seed: u64) -> BurnTrainer<GaVaeModel> {
    let course = course.into();
    let shape = parameters.shape();
    let spec = |plan: alfred_models::ga_vae::parameters::TensorPlan| TensorSpec {
        name: plan.name.to_string(),
        shape: plan.shape.dimensions().to_vec(),
        is_trainable: plan.role == TensorRole::Trainable,
    };
    let model = GaVaeModel { shape, rule: parameters.rule(), course, beta: course.at(0.0), specs: shape.plan().map(spec).collect() };
    let optimiser = Optimiser::Adam(Adam::new(shape.trainable_parameters()));
    BurnTrainer::new(model, parameters.values().to_vec(), optimiser, GRADIENT_NORM_MAX, seed, false)
}

/// Random parameters: kernels and their biases uniform in `±1 / sqrt(fan-in)`, normalisations the identity, learnt adjacencies 1e-6.
#[must_use]
pub fn fresh(shape: GaVaeShape, random: &mut Random) -> HeapParameters {
    let mut parameters = HeapParameters::zero(shape);
    parameters.visit_mut(|tensor| {
        let dimensions = tensor.shape.dimensions();
        match tensor.role {
            TensorRole::RunningVariance => tensor.values.fill(1.0),
            TensorRole::Trainable if is_norm_factor(&tensor.name) => tensor.values.fill(1.0),
            TensorRole::Trainable if tensor.name.suffix == "gcn.learnt" => tensor.values.fill(LEARNT_ADJACENCY_START),
            TensorRole::Trainable if dimensions.len() > 1 => {
                let bound = 1.0 / libm::sqrt(dimensions.iter().skip(1).product::<usize>() as f64);
                tensor.values.iter_mut().for_each(|value| *value = random.between(-bound, bound) as f32);
            }
            _ => tensor.values.fill(0.0),
        }
    });
    parameters
}

impl BurnModel for GaVaeModel {
    fn frames(&self) -> usize {
        WINDOW_FRAMES
    }

    fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    fn set_done_share(&mut self, done: f64) {
        self.beta = self.course.at(done);
    }

    fn reference(&self) -> Option<usize> {
        self.specs.iter().position(|spec| spec.name == REFERENCE)
    }

    fn forward(&self, leaves: &Leaves, samples: &Samples, place: &Where, mode: Mode<'_>) -> Outcome {
        let count = samples.count;
        let fixed = fixed_family()
            .map(|matrix| place.tensor::<2>(matrix.as_flattened().iter().map(|entry| *entry as f32).collect(), [JOINTS, JOINTS]));
        let is_training = matches!(mode, Mode::Train(_));
        let mut pass = Pass { leaves, place, count, is_training, fixed, statistics: Vec::new() };
        let window = inputs(samples, place);
        let latent_channels = self.shape.latent_channels();
        let mut values = pass.data_norm(window.clone());
        for number in 0..ENCODER_BLOCKS {
            values = pass.block(&format!("encoder.{number}"), &self.shape.encoder_block(number), values);
        }
        // (channel, frame, sample, joint) to one row per sample.
        let rows = |values: Tensor<2>, channels: usize| {
            values
                .reshape([channels, LATENT_FRAMES, count, JOINTS])
                .permute([2, 0, 1, 3])
                .reshape([count, channels * LATENT_FRAMES * JOINTS])
        };
        let described = rows(values.clone(), 2 * latent_channels);
        let reference = leaves.named(REFERENCE).reshape([1, self.shape.latent_values()]);
        let difference = described.clone() - reference;
        let squares = (difference.clone() * difference).sum_dim(1).reshape([count]);
        let weights = normal_weights(&samples.labels);
        let reference_now = (described * place.tensor::<2>(weights, [count, 1])).sum_dim(0);
        if let Some(index) = self.reference() {
            pass.statistics.push((index, reference_now));
        }
        let columns = LATENT_FRAMES * count * JOINTS;
        let mean = values.clone().slice([0..latent_channels, 0..columns]);
        let dimensions = CHANNELS * WINDOW_FRAMES * JOINTS;
        let squared_error = |output: Tensor<2>| {
            let error = window.clone() - output;
            let error = (error.clone() * error).reshape([CHANNELS, WINDOW_FRAMES, count, JOINTS]).permute([2, 0, 1, 3]);
            error.reshape([count, dimensions]).sum_dim(1).reshape([count])
        };
        let Mode::Train(random) = mode else {
            let scores = match self.rule {
                ScoreRule::Distance => (squares + 1e-12).sqrt(),
                ScoreRule::Reconstruction => squared_error(pass.decode(self.shape, mean)) * (1.0 / dimensions as f64),
            };
            return Outcome { loss: scores.clone().mean(), scores, statistics: pass.statistics };
        };
        let log_deviation = values.slice([latent_channels..2 * latent_channels, 0..columns]).clamp_max(LOG_DEVIATION_MAX);
        let noise = place.tensor::<2>((0..latent_channels * columns).map(|_| random.normal() as f32).collect(), [latent_channels, columns]);
        let sampled = mean.clone() + log_deviation.clone().exp() * noise;
        let divergence = ((mean.clone() * mean) + (log_deviation.clone() * 2.0).exp() - log_deviation * 2.0 - 1.0) * 0.5;
        let divergence = rows(divergence, latent_channels).sum_dim(1).reshape([count]);
        let error = squared_error(pass.decode(self.shape, sampled));
        let scores = squares.clone().sqrt();
        let bound = (error.clone() * 0.5 + divergence * self.beta) * (1.0 / dimensions as f64);
        let normal = samples.labels.iter().map(|label| if *label > 0.0 { 1.0 / count as f32 } else { 0.0 }).collect();
        let loss = (bound * place.tensor::<1>(normal, [count])).sum();
        let measure = match self.rule {
            ScoreRule::Distance => squares * (1.0 / self.shape.latent_values() as f64),
            ScoreRule::Reconstruction => error * (1.0 / dimensions as f64),
        };
        let loss = match lacking_to_margin(measure, &samples.labels, place) {
            Some(lacking) => loss + lacking,
            None => loss,
        };
        Outcome { loss, scores, statistics: pass.statistics }
    }

    fn metadata(&self) -> Metadata {
        metadata(self.shape, self.rule)
    }
}

/// What a weight file says beside the tensors.
#[must_use]
pub fn metadata(shape: GaVaeShape, rule: ScoreRule) -> Metadata {
    let entry = |key: &str, value: String| (key.to_owned(), value);
    Metadata::from([
        entry("architecture", ARCHITECTURE.into()),
        entry("seg_len", WINDOW_FRAMES.to_string()),
        entry("width", shape.width().to_string()),
        entry("score_rule", rule.name().into()),
    ])
}

/// The share of each normal window in their mean; all alike when there is none.
fn normal_weights(labels: &[f32]) -> Vec<f32> {
    let normal = labels.iter().filter(|label| **label > 0.0).count();
    let share = |label: &f32| match normal {
        0 => 1.0 / labels.len() as f32,
        _ if *label > 0.0 => 1.0 / normal as f32,
        _ => 0.0,
    };
    labels.iter().map(share).collect()
}

/// The windows as (2, T * N * 18).
fn inputs(samples: &Samples, place: &Where) -> Tensor<2> {
    let (frames, count) = (samples.frames, samples.count);
    let mut values = vec![0.0; CHANNELS * frames * count * JOINTS];
    for sample in 0..count {
        for (at, value) in samples.window(sample).iter().enumerate() {
            let (channel, joint, time) = (at / (JOINTS * frames), at / frames % JOINTS, at % frames);
            values[((channel * frames + time) * count + sample) * JOINTS + joint] = *value;
        }
    }
    place.tensor(values, [CHANNELS, frames * count * JOINTS])
}

/// One forward pass.
struct Pass<'p> {
    leaves: &'p Leaves,
    place: &'p Where,
    /// Samples N.
    count: usize,
    is_training: bool,
    fixed: [Tensor<2>; SUBSETS],
    statistics: Vec<(usize, Tensor<2>)>,
}

impl Pass<'_> {
    fn leaf(&self, place: &str, suffix: &str) -> Tensor<2> {
        self.leaves.named(&format!("{place}.{suffix}"))
    }

    fn data_norm(&mut self, window: Tensor<2>) -> Tensor<2> {
        // Features are (joint, coordinate) in the file and rows here: one row per coordinate and joint.
        let columns = WINDOW_FRAMES * self.count;
        let by_feature = window.reshape([CHANNELS, columns, JOINTS]).permute([2, 0, 1]).reshape([JOINTS * CHANNELS, columns]);
        let normalised = self.batch_norm("data_norm", "", by_feature);
        normalised.reshape([JOINTS, CHANNELS, columns]).permute([1, 2, 0]).reshape([CHANNELS, columns * JOINTS])
    }

    /// Normalises every row.
    fn batch_norm(&mut self, place: &str, norm: &str, values: Tensor<2>) -> Tensor<2> {
        let name = |suffix: &str| if norm.is_empty() { format!("{place}.{suffix}") } else { format!("{place}.{norm}.{suffix}") };
        let column = |suffix: &str| self.leaves.named(&name(suffix)).transpose();
        let (weight, bias) = (column("weight"), column("bias"));
        if !self.is_training {
            let scale = weight / (column("running_var") + BATCH_NORM_EPSILON).sqrt();
            return (values - column("running_mean")) * scale + bias;
        }
        let elements = values.dims()[1];
        let mean = values.clone().mean_dim(1);
        let centred = values - mean.clone();
        let variance = (centred.clone() * centred.clone()).mean_dim(1);
        let unbiased = variance.clone() * (elements as f64 / (elements - 1).max(1) as f64);
        self.statistics.push((self.leaves.place_of(&name("running_mean")), mean.detach()));
        self.statistics.push((self.leaves.place_of(&name("running_var")), unbiased.detach()));
        centred * (weight / (variance + BATCH_NORM_EPSILON).sqrt()) + bias
    }

    fn block(&mut self, place: &str, shape: &BlockShape, input: Tensor<2>) -> Tensor<2> {
        let mixed = self.graph_attention(place, shape, input.clone());
        let mixed = relu(self.batch_norm(place, "norm", mixed));
        let moved = self.temporal(place, shape.frames, shape.stride, mixed);
        let moved = self.batch_norm(place, "tcn_norm", moved);
        let output = match shape.residual {
            Residual::None => moved,
            Residual::Identity => moved + input,
            Residual::Projected => {
                let every = self.every(shape, input);
                let projected = self.leaf(place, "residual.weight").matmul(every) + self.leaf(place, "residual.bias").transpose();
                moved + self.batch_norm(place, "residual_norm", projected)
            }
        };
        if shape.ends_in_relu { relu(output) } else { output }
    }

    /// Frames 0, stride, 2 * stride and so on.
    fn every(&self, shape: &BlockShape, input: Tensor<2>) -> Tensor<2> {
        if shape.stride == 1 {
            return input;
        }
        let row = self.count * JOINTS;
        let split = input.reshape([shape.inputs, shape.output_frames(), shape.stride, row]);
        split.slice([0..shape.inputs, 0..shape.output_frames(), 0..1, 0..row]).reshape([shape.inputs, shape.output_frames() * row])
    }

    fn graph_attention(&mut self, place: &str, shape: &BlockShape, input: Tensor<2>) -> Tensor<2> {
        let (outputs, columns) = (shape.outputs, shape.frames * self.count * JOINTS);
        let expanded = self.leaf(place, "gcn.expand.weight").matmul(input.clone());
        let part = |family: usize, subset: usize| {
            let first = (family * SUBSETS + subset) * outputs;
            expanded.clone().slice([first..first + outputs, 0..columns])
        };
        let learnt = self.leaf(place, "gcn.learnt").reshape([SUBSETS, JOINTS, JOINTS]);
        let mut families = Vec::with_capacity(SUBSETS);
        for family in 0..2 {
            let products = (0..SUBSETS).map(|subset| {
                let matrix = match family {
                    0 => self.fixed[subset].clone(),
                    _ => learnt.clone().slice([subset..subset + 1, 0..JOINTS, 0..JOINTS]).reshape([JOINTS, JOINTS]),
                };
                part(family, subset).reshape([columns / JOINTS * outputs, JOINTS]).matmul(matrix)
            });
            families.extend(products.reduce(|sum, product| sum + product).map(|sum| sum.reshape([outputs, columns])));
        }
        families.push(self.computed_family(place, shape, &input, &part));
        let joined = self.batch_norm(place, "gcn.family_norm", Tensor::cat(families, 0));
        let reduced = self.leaf(place, "gcn.reduce.weight").matmul(relu(joined));
        if !shape.projects_graph() {
            return reduced + input;
        }
        let projected = self.leaf(place, "gcn.residual.weight").matmul(input) + self.leaf(place, "gcn.residual.bias").transpose();
        reduced + self.batch_norm(place, "gcn.residual_norm", projected)
    }

    /// The products with the matrices that each window gives itself.
    fn computed_family(&self, place: &str, shape: &BlockShape, input: &Tensor<2>, part: &dyn Fn(usize, usize) -> Tensor<2>) -> Tensor<2> {
        let (frames, count, embedding, outputs) = (shape.frames, self.count, shape.embedding(), shape.outputs);
        let columns = frames * count * JOINTS;
        let embedded = |name: &str| {
            let bias = self.leaf(place, &format!("gcn.{name}.bias")).transpose();
            let values = self.leaf(place, &format!("gcn.{name}.weight")).matmul(input.clone()) + bias;
            // (subset, embedding * frame, sample, joint) to (sample, subset, joint, embedding * frame).
            values.reshape([SUBSETS, embedding * frames, count, JOINTS]).permute([2, 0, 3, 1])
        };
        let matrices = softmax(embedded("query").matmul(embedded("key").swap_dims(2, 3)), 2);
        let values = (0..SUBSETS).map(|subset| part(2, subset).reshape([1, outputs * frames, count, JOINTS]));
        let values = Tensor::cat(values.collect(), 0).permute([2, 0, 1, 3]);
        // (sample, subset, output * frame, joint), summed over subsets.
        let sums = values.matmul(matrices).sum_dim(1).reshape([count, outputs * frames, JOINTS]);
        sums.permute([1, 0, 2]).reshape([outputs, columns])
    }

    /// A convolution over nine frames, zeros beyond both ends.
    fn temporal(&self, place: &str, frames: usize, stride: usize, input: Tensor<2>) -> Tensor<2> {
        let (channels, row) = (input.dims()[0], self.count * JOINTS);
        let outputs = frames / stride;
        let zeros = Tensor::<3>::zeros([channels, TAPS / 2, row], (&self.place.device, self.place.precision));
        let padded = Tensor::cat(vec![zeros.clone(), input.reshape([channels, frames, row]), zeros], 1);
        let tap = |tap: usize| {
            let last = tap + (outputs - 1) * stride + 1;
            let seen = if stride == 1 {
                padded.clone().slice([0..channels, tap..last, 0..row])
            } else {
                let picked = (0..outputs).map(|output| {
                    let frame = tap + output * stride;
                    padded.clone().slice([0..channels, frame..frame + 1, 0..row])
                });
                Tensor::cat(picked.collect(), 1)
            };
            seen.reshape([channels, 1, outputs * row])
        };
        let gathered = Tensor::cat((0..TAPS).map(tap).collect(), 1).reshape([channels * TAPS, outputs * row]);
        self.leaf(place, "tcn.weight").matmul(gathered) + self.leaf(place, "tcn.bias").transpose()
    }

    fn decode(&mut self, shape: GaVaeShape, latent: Tensor<2>) -> Tensor<2> {
        let mut values = latent;
        for number in 0..DECODER_BLOCKS {
            let block = shape.decoder_block(number);
            values = self.stretched(values, &block);
            values = self.block(&format!("decoder.{number}"), &block, values);
        }
        let columns = WINDOW_FRAMES * self.count * JOINTS;
        let expanded = self.leaf("output", "gcn.weight").matmul(values) + self.leaf("output", "gcn.bias").transpose();
        let mut sums = Tensor::<2>::zeros([CHANNELS, columns], (&self.place.device, self.place.precision));
        for (subset, matrix) in self.fixed.iter().enumerate() {
            let part = expanded.clone().slice([subset * CHANNELS..(subset + 1) * CHANNELS, 0..columns]);
            sums = sums + part.reshape([CHANNELS * columns / JOINTS, JOINTS]).matmul(matrix.clone()).reshape([CHANNELS, columns]);
        }
        let normalised = relu(self.batch_norm("output", "norm", sums));
        self.temporal("output", WINDOW_FRAMES, 1, normalised)
    }

    /// Linear interpolation in time with half-pixel centres, held at both ends.
    fn stretched(&self, values: Tensor<2>, block: &BlockShape) -> Tensor<2> {
        if block.stretch == 1 {
            return values;
        }
        let (inputs, outputs) = (block.frames / block.stretch, block.frames);
        let mut matrix = vec![0.0; outputs * inputs];
        for output in 0..outputs {
            let at = ((output as f64 + 0.5) / block.stretch as f64 - 0.5).max(0.0);
            let before = at as usize;
            let (after, part) = ((before + 1).min(inputs - 1), (at - before as f64) as f32);
            matrix[output * inputs + before] += 1.0 - part;
            matrix[output * inputs + after] += part;
        }
        let (channels, row) = (block.inputs, self.count * JOINTS);
        // One product for all channels: time first.
        let by_time = values.reshape([channels, inputs, row]).swap_dims(0, 1).reshape([inputs, channels * row]);
        let stretched = self.place.tensor::<2>(matrix, [outputs, inputs]).matmul(by_time);
        stretched.reshape([outputs, channels, row]).swap_dims(0, 1).reshape([channels, outputs * row])
    }
}
