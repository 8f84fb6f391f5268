//! Trains any model written in burn: forward, automatic derivatives, clipped gradient, and our own optimisers on flat values.
//!
//! Parameters live as one flat vector in the model's storage order and become leaves of a new graph in every step. That costs a copy of
//! the weights per step (about a thousandth of a step's time on a CPU) and keeps optimiser, checkpoints and files free of the library.

use crate::dataset::windows::{Batch, WindowSet};
use crate::train::burn_device;
use crate::train::burn_tensors::{Leaves, Place, Samples, TensorSpec};
use crate::train::checkpoint::Metadata;
use crate::train::optimiser::{Optimiser, clip_norm};
use crate::train::trainer::{StepReport, TrainFault, Trainer};
use alfred_synth::random::Random;
use burn::tensor::{DType, Device, Tensor};

/// Momentum of running statistics (PyTorch's default).
pub const MOMENTUM: f64 = 0.1;

/// Where a forward pass takes the statistics of batch normalisations from, and whether it makes noise.
#[derive(Debug)]
pub enum Mode<'m> {
    /// From the batch; the stream feeds dropout and sampling.
    Train(&'m mut Random),
    /// From the running ones; nothing is random.
    Infer,
}

/// What a forward pass gives.
#[derive(Debug)]
pub struct Outcome {
    /// What training lowers, a scalar.
    pub loss: Tensor<1>,
    /// Anomaly scores of the N windows, as inference defines them; in training mode with its noise.
    pub scores: Tensor<1>,
    /// The batch's statistics, by the place of the tensor that runs after them.
    pub statistics: Vec<(usize, Tensor<2>)>,
}

/// A model in burn.
pub trait BurnModel: Send {
    /// Detections T of its windows.
    fn frames(&self) -> usize;

    /// Its tensors, in storage order.
    fn specs(&self) -> &[TensorSpec];

    /// The tensor, if any, that is fitted to what inference gives: its statistics come from a forward pass without batch statistics.
    fn reference(&self) -> Option<usize> {
        None
    }

    /// Loss, scores and statistics of a batch.
    fn forward(&self, leaves: &Leaves, samples: &Samples, place: &Place, mode: Mode<'_>) -> Outcome;

    /// As [`Trainer::set_done_share`].
    fn set_done_share(&mut self, _done: f64) {}

    /// Sets parameters that depend on data from the first batch of a fresh training.
    fn initialise(&self, _values: &mut [f32], _set: &WindowSet, _batch: Batch<'_>) {}

    /// What a weight file says beside the tensors.
    fn metadata(&self) -> Metadata;
}

/// Loss, gradient in storage order, and a batch's statistics: (tensor, values).
pub type LossAndGradient = (f64, Vec<f64>, Vec<(usize, Vec<f32>)>);

/// A model in training.
#[derive(Debug)]
pub struct BurnTrainer<M> {
    model: M,
    values: Vec<f32>,
    optimiser: Optimiser,
    gradient_norm_max: f64,
    seed: u64,
    is_fresh: bool,
    device: Device,
}

impl<M: BurnModel> BurnTrainer<M> {
    /// Trains `values`, which lie in the order of the model's tensors. `is_fresh`: they are not trained yet. The noise of training is a
    /// function of `seed` and the number of steps done.
    #[must_use]
    pub fn new(model: M, values: Vec<f32>, optimiser: Optimiser, gradient_norm_max: f64, seed: u64, is_fresh: bool) -> Self {
        Self { model, values, optimiser, gradient_norm_max, seed, is_fresh, device: burn_device::cpu() }
    }

    /// The same, computed elsewhere than on the CPU.
    #[must_use]
    pub fn on(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// All values, in storage order.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The model.
    #[must_use]
    pub const fn model(&self) -> &M {
        &self.model
    }

    /// Loss, gradient of the trainable values (in storage order), and the batch's statistics by tensor, computed in `precision`.
    pub fn loss_and_gradient(&self, samples: &Samples, precision: DType) -> LossAndGradient {
        let place = Place { device: self.device.clone().autodiff(), precision };
        let leaves = Leaves::load(self.model.specs(), &self.values, &place, true);
        let mut random = self.noise();
        let outcome = self.model.forward(&leaves, samples, &place, Mode::Train(&mut random));
        let statistics = outcome.statistics.iter().map(|(index, tensor)| (*index, singles(tensor.clone()))).collect();
        let loss = doubles(outcome.loss.clone()).first().copied().unwrap_or(f64::NAN);
        let mut gradients = outcome.loss.backward();
        let mut gradient = Vec::with_capacity(self.values.len());
        for (leaf, spec) in leaves.tensors().iter().zip(self.model.specs()).filter(|(_, spec)| spec.is_trainable) {
            match leaf.grad_remove(&mut gradients) {
                Some(values) => gradient.extend(doubles(values)),
                // Not part of the graph: queries and keys of an attention that has one key only.
                None => gradient.resize(gradient.len() + spec.values(), 0.0),
            }
        }
        (loss, gradient, statistics)
    }

    /// The stream of the next step.
    fn noise(&self) -> Random {
        noise_of_step(self.seed, self.optimiser.steps())
    }

    /// Moves running statistics towards a batch's.
    fn run_after(&mut self, statistics: &[(usize, Vec<f32>)], momentum: f64) {
        for (index, new) in statistics {
            let start: usize = self.model.specs()[..*index].iter().map(TensorSpec::values).sum();
            for (running, new) in self.values[start..].iter_mut().zip(new) {
                *running = (f64::from(*running) * (1.0 - momentum) + f64::from(*new) * momentum) as f32;
            }
        }
    }

    fn trainable(&self) -> Vec<f32> {
        let mut rest = self.values.as_slice();
        let mut out = Vec::with_capacity(rest.len());
        for spec in self.model.specs() {
            let (own, after) = rest.split_at(spec.values());
            rest = after;
            if spec.is_trainable {
                out.extend_from_slice(own);
            }
        }
        out
    }

    fn set_trainable(&mut self, values: &[f32]) {
        let (mut from, mut to) = (values, self.values.as_mut_slice());
        for spec in self.model.specs() {
            let (own, after) = to.split_at_mut(spec.values());
            to = after;
            if spec.is_trainable {
                let (new, rest) = from.split_at(own.len());
                own.copy_from_slice(new);
                from = rest;
            }
        }
    }
}

/// The stream of random numbers of the step after `steps`.
#[must_use]
pub fn noise_of_step(seed: u64, steps: u64) -> Random {
    Random::new(seed ^ steps.wrapping_add(1).wrapping_mul(0xd134_2543_de82_ef95))
}

/// A tensor's values, rows first.
pub(super) fn doubles<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    // Reading back numbers fails when a GPU is lost; an empty answer is found by whoever counts.
    tensor.try_into_vec_as::<f64>().unwrap_or_default()
}

fn singles<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap_or_default()
}

impl<M: BurnModel> Trainer for BurnTrainer<M> {
    fn window_frames(&self) -> usize {
        self.model.frames()
    }

    fn parameter_count(&self) -> usize {
        self.model.specs().iter().filter(|spec| spec.is_trainable).map(TensorSpec::values).sum()
    }

    /// STG-NF by its prior of the other sign, the others by a margin.
    fn learns_from_anomalies(&self) -> bool {
        true
    }

    fn set_done_share(&mut self, done: f64) {
        self.model.set_done_share(done);
    }

    fn train_batch(&mut self, set: &WindowSet, batch: Batch<'_>, learning_rate: f64) -> Result<StepReport, TrainFault> {
        if set.frames() != self.window_frames() {
            return Err(TrainFault::WrongWindow);
        }
        if core::mem::take(&mut self.is_fresh) {
            self.model.initialise(&mut self.values, set, batch);
        }
        let (loss, gradient, statistics) = self.loss_and_gradient(&Samples::of(set, batch), DType::F32);
        let mut gradient: Vec<f32> = gradient.into_iter().map(|value| value as f32).collect();
        let gradient_norm = clip_norm(&mut gradient, self.gradient_norm_max);
        let mut values = self.trainable();
        if !(loss.is_finite() && gradient_norm.is_finite() && gradient.len() == values.len()) {
            return Err(TrainFault::NotFinite);
        }
        self.run_after(&statistics, MOMENTUM);
        self.optimiser.step(&mut values, &gradient, learning_rate);
        self.set_trainable(&values);
        Ok(StepReport { loss, gradient_norm })
    }

    fn estimate_statistics(&mut self, set: &WindowSet, batch: Batch<'_>, momentum: f64) {
        if self.model.specs().iter().all(|spec| spec.is_trainable) {
            return;
        }
        let place = Place { device: self.device.clone(), precision: DType::F32 };
        let leaves = Leaves::load(self.model.specs(), &self.values, &place, false);
        let (samples, reference) = (Samples::of(set, batch), self.model.reference());
        let outcome = self.model.forward(&leaves, &samples, &place, Mode::Train(&mut self.noise()));
        let owned = |statistics: Vec<(usize, Tensor<2>)>, wanted: bool| -> Vec<(usize, Vec<f32>)> {
            let part = statistics.into_iter().filter(|(index, _)| (Some(*index) == reference) == wanted);
            part.map(|(index, tensor)| (index, singles(tensor))).collect()
        };
        self.run_after(&owned(outcome.statistics, false), momentum);
        if reference.is_some() {
            let leaves = Leaves::load(self.model.specs(), &self.values, &place, false);
            let outcome = self.model.forward(&leaves, &samples, &place, Mode::Infer);
            self.run_after(&owned(outcome.statistics, true), momentum);
        }
    }

    fn score_batch(&mut self, set: &WindowSet, batch: Batch<'_>, scores: &mut Vec<f64>) {
        let place = Place { device: self.device.clone(), precision: DType::F32 };
        let leaves = Leaves::load(self.model.specs(), &self.values, &place, false);
        scores.extend(doubles(self.model.forward(&leaves, &Samples::of(set, batch), &place, Mode::Infer).scores));
    }

    fn weights(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let mut rest = self.values.as_slice();
        let specs = self.model.specs().iter();
        specs
            .map(|spec| {
                let (own, after) = rest.split_at(spec.values());
                rest = after;
                (spec.name.clone(), spec.shape.clone(), own.to_vec())
            })
            .collect()
    }

    fn metadata(&self) -> Metadata {
        self.model.metadata()
    }

    fn optimiser_state(&self) -> (Vec<(String, Vec<f32>)>, u64) {
        self.optimiser.state()
    }

    fn restore(&mut self, lookup: &mut dyn FnMut(&str) -> Option<Vec<f32>>, steps: u64) -> Result<(), String> {
        let mut get = |name: &str, length: usize| lookup(name).filter(|values| values.len() == length).ok_or_else(|| name.to_owned());
        let mut values = Vec::with_capacity(self.values.len());
        for spec in self.model.specs() {
            values.extend(get(&spec.name, spec.values())?);
        }
        self.optimiser = self.optimiser.restored(&mut get, steps)?;
        self.values = values;
        self.is_fresh = false;
        Ok(())
    }
}
