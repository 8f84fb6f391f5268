//! STG-NF in burn: the same step as the hand-derived one by automatic differentiation, to check one by the other.
//!
//! Source: STG-NF (ICCV 2023). The uniform adjacency over 8 hops makes the graph convolution a mean over the joints; the temporal
//! convolution is a product with a banded matrix that is built from its taps.

use crate::dataset::windows::{Batch, WindowSet};
use crate::train::burn_tensors::{Leaves, Place, Samples, TensorSpec};
use crate::train::burn_trainer::{BurnModel, BurnTrainer, Mode, Outcome};
use crate::train::checkpoint::Metadata;
use crate::train::optimiser::{Adamax, Optimiser};
use crate::train::stg_nf_trainer::{GRADIENT_NORM_MAX, StgNfTrainer, metadata};
use alfred_core::limits::JOINTS;
use alfred_models::stg_nf::parameters::{BATCH_NORM_EPSILON, FLOWS, NETWORK_CHANNELS, StgNfParameters, StgNfShape, TensorRole};
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, sigmoid};

/// Added to the coupling's scale.
const SCALE_MIN: f64 = 1e-6;
/// Variance of the prior.
const PRIOR_VARIANCE: f64 = 1.0 + 1e-6;

/// STG-NF's forward pass.
#[derive(Clone, Debug)]
pub struct StgNfModel {
    shape: StgNfShape,
    prior_mean: f32,
    specs: Vec<TensorSpec>,
}

/// A trainer that goes on from given parameters. `is_fresh`: ActNorm is set from the first batch.
#[must_use]
pub fn trainer(parameters: &StgNfParameters, is_fresh: bool) -> BurnTrainer<StgNfModel> {
    let specs = parameters
        .tensors()
        .map(|tensor| TensorSpec {
            name: tensor.name.to_string(),
            shape: tensor.shape.dimensions().to_vec(),
            is_trainable: tensor.role == TensorRole::Trainable,
        })
        .collect();
    let model = StgNfModel { shape: parameters.shape, prior_mean: parameters.prior_mean, specs };
    let optimiser = Optimiser::Adamax(Adamax::new(parameters.shape.trainable_parameters()));
    BurnTrainer::new(model, flat(parameters), optimiser, GRADIENT_NORM_MAX, 0, is_fresh)
}

fn flat(parameters: &StgNfParameters) -> Vec<f32> {
    parameters.tensors().flat_map(|tensor| tensor.values.to_vec()).collect()
}

/// (1, 1, 1) from one value of a leaf.
fn scalar(leaf: Tensor<2>, row: usize, column: usize) -> Tensor<3> {
    leaf.slice([row..row + 1, column..column + 1]).reshape([1, 1, 1])
}

impl BurnModel for StgNfModel {
    fn frames(&self) -> usize {
        self.shape.frames()
    }

    fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    fn forward(&self, leaves: &Leaves, samples: &Samples, place: &Place, mode: Mode<'_>) -> Outcome {
        let (frames, count) = (self.frames(), samples.count);
        let mut pass = Pass {
            model: self,
            leaves,
            toeplitz: self.toeplitz(place),
            elements: count * frames * JOINTS,
            is_training: matches!(mode, Mode::Train(_)),
            statistics: Vec::new(),
        };
        let [mut z1, mut z2] = channels(samples, place);
        let mut log_determinant = Tensor::<3>::zeros([1, count, 1], (&place.device, place.precision));
        for flow in 0..FLOWS {
            let name = |suffix: &str| format!("flow.layers.{flow}.{suffix}");
            let (bias, logs) = (leaves.named(&name("actnorm.bias")), leaves.named(&name("actnorm.logs")));
            z1 = (z1 + scalar(bias.clone(), 0, 0)) * scalar(logs.clone(), 0, 0).exp();
            z2 = (z2 + scalar(bias, 0, 1)) * scalar(logs.clone(), 0, 1).exp();
            log_determinant = log_determinant + (scalar(logs.clone(), 0, 0) + scalar(logs, 0, 1)) * (frames * JOINTS) as f64;
            // The permutation swaps the channels: what was second conditions, what was first is transformed.
            let (conditioner, transformed) = (z2, z1);
            let [shift, raw] = pass.network(flow, conditioner.clone());
            let scale = sigmoid(raw + 2.0) + SCALE_MIN;
            log_determinant = log_determinant + scale.clone().log().sum_dim(0).sum_dim(2);
            z1 = conditioner;
            z2 = (transformed + shift) * scale;
        }
        let scores = |labels: Vec<f32>| {
            let means = labels.iter().map(|label| self.prior_mean * label).collect();
            let mean = place.tensor(means, [1, count, 1]);
            let squares = [&z1, &z2].map(|z| {
                let distance = z.clone() - mean.clone();
                (distance.clone() * distance).sum_dim(0).sum_dim(2)
            });
            let [first, second] = squares;
            let dimensions = (2 * frames * JOINTS) as f64;
            let log_prior = (first + second) * (-0.5 / PRIOR_VARIANCE) - 0.5 * dimensions * libm::log(core::f64::consts::TAU);
            ((log_prior + log_determinant.clone()) * (-1.0 / (core::f64::consts::LN_2 * dimensions))).reshape([count])
        };
        // The published rule: a label of -1 turns the prior's mean round in training; scores are those of a normal window.
        Outcome { loss: scores(samples.labels.clone()).mean(), scores: scores(vec![1.0; count]), statistics: pass.statistics }
    }

    fn initialise(&self, values: &mut [f32], set: &WindowSet, batch: Batch<'_>) {
        let mut parameters = StgNfParameters::zero(self.shape);
        parameters.prior_mean = self.prior_mean;
        let mut rest = &*values;
        parameters.visit_mut(|tensor| {
            let (own, after) = rest.split_at(tensor.values.len());
            tensor.values.copy_from_slice(own);
            rest = after;
        });
        values.copy_from_slice(&flat(&StgNfTrainer::initialised(parameters, set, batch)));
    }

    fn metadata(&self) -> Metadata {
        let mut parameters = StgNfParameters::zero(self.shape);
        parameters.prior_mean = self.prior_mean;
        metadata(&parameters)
    }
}

/// Both coordinates as (time, sample, joint).
fn channels(samples: &Samples, place: &Place) -> [Tensor<3>; 2] {
    let frames = samples.frames;
    [0, 1].map(|channel| {
        let mut values = vec![0.0; frames * samples.count * JOINTS];
        for sample in 0..samples.count {
            let window = &samples.window(sample)[channel * JOINTS * frames..][..JOINTS * frames];
            for (place, value) in window.iter().enumerate() {
                values[(place % frames * samples.count + sample) * JOINTS + place / frames] = *value;
            }
        }
        place.tensor(values, [frames, samples.count, JOINTS])
    })
}

impl StgNfModel {
    /// (taps, T * T): which tap stands where in the banded matrix of a temporal convolution with zero padding.
    fn toeplitz(&self, place: &Place) -> Tensor<2> {
        let (frames, taps, padding) = (self.frames(), self.shape.taps(), self.shape.padding());
        let mut values = vec![0.0; taps * frames * frames];
        for tap in 0..taps {
            for time in 0..frames {
                if let Some(source) = (time + tap).checked_sub(padding).filter(|source| *source < frames) {
                    values[(tap * frames + time) * frames + source] = 1.0;
                }
            }
        }
        place.tensor(values, [taps, frames * frames])
    }
}

/// One forward pass between its flows.
struct Pass<'p> {
    model: &'p StgNfModel,
    leaves: &'p Leaves,
    toeplitz: Tensor<2>,
    /// Values per channel that statistics are over.
    elements: usize,
    is_training: bool,
    statistics: Vec<(usize, Tensor<2>)>,
}

impl Pass<'_> {
    /// Shift and raw scale, (T, N, V) each, from the conditioner.
    fn network(&mut self, flow: usize, conditioner: Tensor<3>) -> [Tensor<3>; NETWORK_CHANNELS] {
        let name = |suffix: &str| format!("flow.layers.{flow}.block.0.{suffix}");
        let [frames, count, _] = conditioner.dims();
        let taps = self.model.shape.taps();
        let means = conditioner.clone().mean_dim(2);
        let (weight, bias) = (self.leaves.named(&name("gcn.conv.weight")), self.leaves.named(&name("gcn.conv.bias")));
        // The same for every joint, so it is computed once per frame.
        let before = [0, 1].map(|o| means.clone() * scalar(weight.clone(), o, 0) + scalar(bias.clone(), 0, o));
        let hidden = self.batch_norm(&name("tcn.0"), before).map(relu).map(|channel| channel.reshape([frames, count]));
        let hidden = Tensor::cat(hidden.to_vec(), 0);
        let kernel = self.leaves.named(&name("tcn.2.weight")).reshape([NETWORK_CHANNELS * NETWORK_CHANNELS, taps]);
        // (output, input, time, source) becomes a matrix from (input, source) to (output, time).
        let band = kernel.matmul(self.toeplitz.clone()).reshape([NETWORK_CHANNELS, NETWORK_CHANNELS, frames, frames]);
        let band: Tensor<2> = band.permute([0, 2, 1, 3]).reshape([NETWORK_CHANNELS * frames, NETWORK_CHANNELS * frames]);
        let convolved = band.matmul(hidden);
        let bias = self.leaves.named(&name("tcn.2.bias"));
        let after = [0, 1].map(|o| {
            let own = convolved.clone().slice([o * frames..(o + 1) * frames, 0..count]).reshape([frames, count, 1]);
            own + scalar(bias.clone(), 0, o)
        });
        let after = self.batch_norm(&name("tcn.3"), after);
        if flow == 0 {
            return after.map(|channel| relu(channel).repeat_dim(2, JOINTS));
        }
        let (weight, bias) = (self.leaves.named(&name("residual.0.weight")), self.leaves.named(&name("residual.0.bias")));
        let residual = [0, 1].map(|o| conditioner.clone() * scalar(weight.clone(), o, 0) + scalar(bias.clone(), 0, o));
        let [first, second] = self.batch_norm(&name("residual.1"), residual);
        let [shift, raw] = after;
        [relu(shift + first), relu(raw + second)]
    }

    /// Normalises each channel over all its values. A channel that is the same for every joint has the same mean and variance as its
    /// copies; only the factor of the unbiased variance counts them.
    fn batch_norm(&mut self, name: &str, channels: [Tensor<3>; 2]) -> [Tensor<3>; 2] {
        let leaf = |suffix: &str| self.leaves.named(&format!("{name}.{suffix}"));
        let (weight, bias) = (leaf("weight"), leaf("bias"));
        let mut statistics = [Vec::new(), Vec::new()];
        let mut index = 0;
        let out = channels.map(|values| {
            let o = index;
            index += 1;
            let [mean, variance] = if self.is_training {
                let mean = values.clone().mean().reshape([1, 1, 1]);
                let centred = values.clone() - mean.clone();
                let variance = (centred.clone() * centred).mean().reshape([1, 1, 1]);
                let unbiased = variance.clone() * (self.elements as f64 / (self.elements - 1).max(1) as f64);
                statistics[0].push(mean.clone().reshape([1, 1]));
                statistics[1].push(unbiased.reshape([1, 1]));
                [mean, variance]
            } else {
                [scalar(leaf("running_mean"), 0, o), scalar(leaf("running_var"), 0, o)]
            };
            (values - mean) / (variance + BATCH_NORM_EPSILON).sqrt() * scalar(weight.clone(), 0, o) + scalar(bias.clone(), 0, o)
        });
        for (suffix, parts) in ["running_mean", "running_var"].into_iter().zip(statistics) {
            if !parts.is_empty() {
                self.statistics.push((self.leaves.place_of(&format!("{name}.{suffix}")), Tensor::cat(parts, 1)));
            }
        }
        out
    }
}
