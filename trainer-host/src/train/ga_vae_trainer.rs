//! Trains GA-VAE with the hand-derived step: forward, backward, clip, Adam; on one thread or several.

use crate::dataset::windows::{Batch, WindowSet};
use crate::train::burn_ga_vae::{BetaCourse, GRADIENT_NORM_MAX, metadata, noise_of_step};
use crate::train::burn_tensors::Samples;
use crate::train::burn_trainer::MOMENTUM;
use crate::train::checkpoint::Metadata;
use crate::train::ga_vae_group::{Parts, WINDOW_VALUES};
use crate::train::ga_vae_step::{BatchGradient, Network, Statistics};
use crate::train::optimiser::{Adam, clip_norm};
use crate::train::trainer::{StepReport, TrainFault, Trainer};
use alfred_models::ga_vae::parameters::{GaVaeParameters, HeapParameters, ScoreRule};
use alfred_models::ga_vae::shape::WINDOW_FRAMES;

/// A GA-VAE in training.
#[derive(Debug)]
pub struct GaVaeTrainer {
    parameters: HeapParameters,
    network: Network,
    optimiser: Adam,
    course: BetaCourse,
    /// Weight of the divergence from the prior.
    beta: f64,
    seed: u64,
}

impl GaVaeTrainer {
    /// Trains given parameters on so many threads, at least one. `course` weighs the divergence from the prior; the noise of training is a
    /// function of `seed` and the number of steps done.
    #[must_use]
    pub fn new<V: AsRef<[f32]>>(parameters: &GaVaeParameters<V>, course: impl Into<BetaCourse>, seed: u64, threads: usize) -> Self {
        let course = course.into();
        let shape = parameters.shape();
        let mut own = HeapParameters::zero(shape).with_rule(parameters.rule());
        own.values_mut().copy_from_slice(parameters.values());
        let optimiser = Adam::new(shape.trainable_parameters());
        Self { parameters: own, network: Network::new(shape, threads), optimiser, course, beta: course.at(0.0), seed }
    }

    /// Loss, gradient and statistics of a batch; nothing moves.
    pub fn loss_and_gradient(&mut self, samples: &Samples) -> BatchGradient {
        let mut noise = noise_of_step(self.seed, self.optimiser.steps);
        let rule = self.parameters.rule();
        self.network.loss_and_gradient(self.parameters.values(), samples, (rule, self.beta), &mut noise)
    }

    /// What scores are made of; errors only with `decode`.
    pub fn measure(&mut self, samples: &Samples, decode: bool) -> Vec<Parts> {
        self.network.measure(self.parameters.values(), samples, decode)
    }

    /// Moves running statistics towards a batch's.
    fn run_after(&mut self, statistics: &Statistics, momentum: f64) {
        let values = self.parameters.values_mut();
        for (at, new) in statistics {
            for (running, new) in values[*at..].iter_mut().zip(new) {
                *running = (f64::from(*running) * (1.0 - momentum) + f64::from(*new) * momentum) as f32;
            }
        }
    }
}

impl Trainer for GaVaeTrainer {
    fn window_frames(&self) -> usize {
        WINDOW_FRAMES
    }

    fn parameter_count(&self) -> usize {
        self.parameters.shape().trainable_parameters()
    }

    /// By a margin.
    fn learns_from_anomalies(&self) -> bool {
        true
    }

    fn set_done_share(&mut self, done: f64) {
        self.beta = self.course.at(done);
    }

    fn train_batch(&mut self, set: &WindowSet, batch: Batch<'_>, learning_rate: f64) -> Result<StepReport, TrainFault> {
        if set.frames() != WINDOW_FRAMES {
            return Err(TrainFault::WrongWindow);
        }
        let BatchGradient { loss, mut gradient, statistics } = self.loss_and_gradient(&Samples::of(set, batch));
        let gradient_norm = clip_norm(&mut gradient, GRADIENT_NORM_MAX);
        if !(loss.is_finite() && gradient_norm.is_finite()) {
            return Err(TrainFault::NotFinite);
        }
        self.run_after(&statistics, MOMENTUM);
        let mut trainable = self.network.plan().gather(self.parameters.values());
        self.optimiser.step(&mut trainable, &gradient, learning_rate);
        self.network.plan().scatter(&trainable, self.parameters.values_mut());
        Ok(StepReport { loss, gradient_norm })
    }

    fn estimate_statistics(&mut self, set: &WindowSet, batch: Batch<'_>, momentum: f64) {
        let samples = Samples::of(set, batch);
        let mut noise = noise_of_step(self.seed, self.optimiser.steps);
        let statistics = self.network.statistics(self.parameters.values(), &samples, &mut noise);
        self.run_after(&statistics, momentum);
        // The reference is fitted to what inference gives with them.
        self.measure(&samples, false);
        let reference = vec![(self.network.plan().reference, self.network.reference(&samples.labels))];
        self.run_after(&reference, momentum);
    }

    fn score_batch(&mut self, set: &WindowSet, batch: Batch<'_>, scores: &mut Vec<f64>) {
        let rule = self.parameters.rule();
        let parts = self.measure(&Samples::of(set, batch), rule == ScoreRule::Reconstruction);
        scores.extend(parts.iter().map(|parts| match rule {
            ScoreRule::Distance => parts.distance.sqrt(),
            ScoreRule::Reconstruction => parts.error / WINDOW_VALUES as f64,
        }));
    }

    fn weights(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let tensors = self.parameters.tensors();
        tensors.map(|tensor| (tensor.name.to_string(), tensor.shape.dimensions().to_vec(), tensor.values.to_vec())).collect()
    }

    fn metadata(&self) -> Metadata {
        metadata(self.parameters.shape(), self.parameters.rule())
    }

    fn optimiser_state(&self) -> (Vec<(String, Vec<f32>)>, u64) {
        let state = vec![("adam.moment".into(), self.optimiser.moment.clone()), ("adam.square".into(), self.optimiser.square.clone())];
        (state, self.optimiser.steps)
    }

    fn restore(&mut self, lookup: &mut dyn FnMut(&str) -> Option<Vec<f32>>, steps: u64) -> Result<(), String> {
        let mut get = |name: &str, length: usize| lookup(name).filter(|values| values.len() == length).ok_or_else(|| name.to_owned());
        let mut parameters = HeapParameters::zero(self.parameters.shape()).with_rule(self.parameters.rule());
        parameters.try_visit_mut(|tensor| {
            tensor.values.copy_from_slice(&get(&tensor.name.to_string(), tensor.values.len())?);
            Ok::<(), String>(())
        })?;
        let count = self.parameter_count();
        self.optimiser = Adam { moment: get("adam.moment", count)?, square: get("adam.square", count)?, steps };
        self.parameters = parameters;
        Ok(())
    }
}
