//! Trains STG-NF with the hand-derived step: forward, backward, clip at 100, Adamax; on one thread or several, with the same bits.

use crate::dataset::windows::{Batch, WindowSet};
use crate::train::checkpoint::Metadata;
use crate::train::optimiser::{Adamax, clip_norm};
use crate::train::stg_nf_backward::Gradients;
use crate::train::stg_nf_forward::{Statistics, Workspace};
use crate::train::trainer::{StepReport, TrainFault, Trainer};
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape, TensorRole};
use alfred_synth::random::Random;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Gradient norm beyond which gradients are cut (published).
pub(super) const GRADIENT_NORM_MAX: f64 = 100.0;
/// Momentum of the running statistics (PyTorch's default).
const MOMENTUM: f64 = 0.1;

/// An STG-NF model in training.
#[derive(Debug)]
pub struct StgNfTrainer {
    parameters: StgNfParameters,
    optimiser: Adamax,
    workspace: Workspace,
    gradients: Gradients,
    initialise_actnorm: bool,
    /// Where the step runs; without one, on the process's own pool.
    pool: Option<ThreadPool>,
}

/// A pool of so many threads; `None` when the system refuses them.
fn pool_of(threads: usize) -> Option<ThreadPool> {
    ThreadPoolBuilder::new().num_threads(threads.max(1)).thread_name(|thread| format!("stg-nf {thread}")).build().ok()
}

/// Does something on a pool's threads.
fn on<R: Send>(pool: Option<&ThreadPool>, work: impl FnOnce() -> R + Send) -> R {
    match pool {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

impl StgNfTrainer {
    /// A model with random weights. Kernels and biases are uniform in `±1 / sqrt(fan-in)`, as PyTorch initialises convolutions;
    /// normalisations start as the identity; each ActNorm is set from the first batch.
    #[must_use]
    pub fn new(shape: StgNfShape, prior_mean: f32, random: &mut Random) -> Self {
        let mut parameters = StgNfParameters::zero(shape);
        parameters.prior_mean = prior_mean;
        let temporal_bound = 1.0 / libm::sqrt(2.0 * shape.taps() as f64);
        parameters.visit_mut(|tensor| {
            let bound = match tensor.name.suffix {
                "block.0.gcn.conv.weight" | "block.0.gcn.conv.bias" | "block.0.residual.0.weight" | "block.0.residual.0.bias" => 1.0,
                "block.0.tcn.2.weight" | "block.0.tcn.2.bias" => temporal_bound,
                _ => return,
            };
            tensor.values.iter_mut().for_each(|value| *value = random.between(-bound, bound) as f32);
        });
        Self::with(parameters, true)
    }

    /// Goes on from given weights: ActNorm is left as it is, the optimiser starts anew.
    #[must_use]
    pub fn from_parameters(parameters: StgNfParameters) -> Self {
        Self::with(parameters, false)
    }

    fn with(parameters: StgNfParameters, initialise_actnorm: bool) -> Self {
        Self {
            optimiser: Adamax::new(parameters.shape.trainable_parameters()),
            workspace: Workspace::new(parameters.shape),
            gradients: Gradients::default(),
            parameters,
            initialise_actnorm,
            pool: pool_of(1),
        }
    }

    /// The same on so many threads, at least one. Results do not depend on their number.
    #[must_use]
    pub fn on_threads(self, threads: usize) -> Self {
        if threads > 1 { Self { pool: pool_of(threads), ..self } } else { self }
    }

    /// `parameters` with ActNorm set from a batch, as the first step of a fresh training does it.
    pub(super) fn initialised(parameters: StgNfParameters, set: &WindowSet, batch: Batch<'_>) -> StgNfParameters {
        let mut trainer = Self::with(parameters, true);
        trainer.loss_and_gradient(set, batch, 0.0);
        trainer.parameters
    }

    /// The parameters as they are now.
    #[must_use]
    pub const fn parameters(&self) -> &StgNfParameters {
        &self.parameters
    }

    /// Loss and gradient of a batch with batch statistics, by forward and backward pass; running statistics move by `momentum`.
    pub fn loss_and_gradient(&mut self, set: &WindowSet, batch: Batch<'_>, momentum: f64) -> (f64, StgNfParameters) {
        let initialise = core::mem::take(&mut self.initialise_actnorm);
        let Self { parameters, workspace, gradients, pool, .. } = self;
        on(pool.as_ref(), || {
            workspace.load(set, batch, parameters.prior_mean);
            let loss = workspace.forward(parameters, Statistics::Batch { momentum }, initialise);
            (loss, gradients.backward(workspace, parameters))
        })
    }

    /// Negative log-likelihoods of the samples of the latest batch, bits per dimension.
    #[must_use]
    pub fn latest_nll(&self) -> &[f64] {
        &self.workspace.nll
    }
}

/// What a weight file says beside its tensors.
#[must_use]
pub fn metadata(parameters: &StgNfParameters) -> Metadata {
    let entry = |key: &str, value: String| (key.to_owned(), value);
    Metadata::from([
        entry("architecture", "stg-nf".into()),
        entry("seg_len", parameters.shape.frames().to_string()),
        entry("R", format!("{:?}", parameters.prior_mean)),
        entry("K", "8".into()),
        entry("adjacency", "uniform".into()),
        entry("max_hop", "8".into()),
    ])
}

/// The trainable values in the table's order.
#[must_use]
pub fn trainable(parameters: &StgNfParameters) -> Vec<f32> {
    let tensors = parameters.tensors().filter(|tensor| tensor.role == TensorRole::Trainable);
    tensors.flat_map(|tensor| tensor.values.to_vec()).collect()
}

fn set_trainable(parameters: &mut StgNfParameters, values: &[f32]) {
    let mut values = values.iter();
    parameters.visit_mut(|tensor| {
        if tensor.role == TensorRole::Trainable {
            tensor.values.iter_mut().zip(&mut values).for_each(|(out, value)| *out = *value);
        }
    });
}

impl Trainer for StgNfTrainer {
    fn window_frames(&self) -> usize {
        self.parameters.shape.frames()
    }

    fn parameter_count(&self) -> usize {
        self.parameters.shape.trainable_parameters()
    }

    /// The published supervised rule: the prior's mean is +R for normal windows and -R for anomalous ones.
    fn learns_from_anomalies(&self) -> bool {
        true
    }

    fn train_batch(&mut self, set: &WindowSet, batch: Batch<'_>, learning_rate: f64) -> Result<StepReport, TrainFault> {
        if set.frames() != self.window_frames() {
            return Err(TrainFault::WrongWindow);
        }
        let before = self.parameters;
        let (loss, gradient) = self.loss_and_gradient(set, batch, MOMENTUM);
        let mut gradient = trainable(&gradient);
        let gradient_norm = clip_norm(&mut gradient, GRADIENT_NORM_MAX);
        if !(loss.is_finite() && gradient_norm.is_finite()) {
            self.parameters = before;
            return Err(TrainFault::NotFinite);
        }
        let mut values = trainable(&self.parameters);
        self.optimiser.step(&mut values, &gradient, learning_rate);
        set_trainable(&mut self.parameters, &values);
        Ok(StepReport { loss, gradient_norm })
    }

    fn estimate_statistics(&mut self, set: &WindowSet, batch: Batch<'_>, momentum: f64) {
        let Self { parameters, workspace, pool, .. } = self;
        on(pool.as_ref(), || {
            workspace.load(set, batch, parameters.prior_mean);
            workspace.forward(parameters, Statistics::Batch { momentum }, false);
        });
    }

    fn score_batch(&mut self, set: &WindowSet, batch: Batch<'_>, scores: &mut Vec<f64>) {
        let Self { parameters, workspace, pool, .. } = self;
        on(pool.as_ref(), || {
            workspace.load(set, batch, parameters.prior_mean);
            // Scores are against the prior of normal windows, whatever the label.
            let prior = parameters.prior_mean;
            workspace.priors.iter_mut().flatten().for_each(|value| *value = prior);
            workspace.forward(parameters, Statistics::Running, false);
        });
        scores.extend_from_slice(&self.workspace.nll);
    }

    fn weights(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let tensors = self.parameters.tensors();
        tensors.map(|tensor| (tensor.name.to_string(), tensor.shape.dimensions().to_vec(), tensor.values.to_vec())).collect()
    }

    fn metadata(&self) -> Metadata {
        metadata(&self.parameters)
    }

    fn optimiser_state(&self) -> (Vec<(String, Vec<f32>)>, u64) {
        let state = vec![("adamax.moment".into(), self.optimiser.moment.clone()), ("adamax.norm".into(), self.optimiser.norm.clone())];
        (state, self.optimiser.steps)
    }

    fn restore(&mut self, lookup: &mut dyn FnMut(&str) -> Option<Vec<f32>>, steps: u64) -> Result<(), String> {
        let mut parameters = self.parameters;
        let mut get = |name: &str, length: usize| lookup(name).filter(|values| values.len() == length).ok_or_else(|| name.to_owned());
        parameters.try_visit_mut(|tensor| {
            tensor.values.copy_from_slice(&get(&tensor.name.to_string(), tensor.values.len())?);
            Ok::<(), String>(())
        })?;
        let count = self.optimiser.moment.len();
        self.optimiser = Adamax { moment: get("adamax.moment", count)?, norm: get("adamax.norm", count)?, steps };
        self.parameters = parameters;
        self.initialise_actnorm = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::StgNfTrainer;
    use crate::dataset::windows::Batch;
    use crate::train::gradient_tests::{items, random_set};
    use crate::train::trainer::Trainer;
    use alfred_models::stg_nf::parameters::StgNfShape;
    use alfred_synth::random::Random;

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let shape = StgNfShape::new(16).expect("a shape");
        // The last block is not full.
        let set = random_set(16, 75, &mut Random::new(51));
        let trained = |threads: usize| {
            let mut trainer = StgNfTrainer::new(shape, 3.0, &mut Random::new(4)).on_threads(threads);
            let batch = Batch { items: &items(&set) };
            let losses: Vec<f64> = (0..6).map(|_| trainer.train_batch(&set, batch, 2e-3).expect("a finite step").loss).collect();
            trainer.estimate_statistics(&set, batch, 0.5);
            let mut scores = Vec::new();
            trainer.score_batch(&set, batch, &mut scores);
            (losses, scores, trainer.weights())
        };
        let one = trained(1);
        for threads in [2, 3] {
            assert_eq!(trained(threads), one, "{threads} threads");
        }
    }
}
