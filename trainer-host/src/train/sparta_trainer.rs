//! Trains SPARTA's `tokens` form with the hand-derived step: forward, backward, clip, Adam; on one thread or several.
//!
//! A batch is cut into chunks of [`CHUNK`] windows; thread i takes every chunk whose number is i modulo the threads, and the threads' gradients
//! are added in order. So the bits depend on the number of threads and on nothing else.

use crate::dataset::windows::{Batch, WindowSet};
use crate::train::burn_sparta::metadata;
use crate::train::burn_tensors::{ANOMALY_MARGIN, Samples};
use crate::train::checkpoint::Metadata;
use crate::train::optimiser::{Adam, clip_norm};
use crate::train::sparta_layers::Parameters;
use crate::train::sparta_step::{CHUNK, Places, Workspace};
use crate::train::trainer::{StepReport, TrainFault, Trainer};
use alfred_models::sparta::parameters::{Form, PARAMETERS, SpartaParameters};
use alfred_models::sparta::weights_file::HeapParameters;
use std::thread;

/// Gradient norm beyond which gradients are cut, as in the other step.
pub const GRADIENT_NORM_MAX: f64 = 5.0;

/// A SPARTA model in training.
#[derive(Debug)]
pub struct SpartaTrainer {
    parameters: HeapParameters,
    transposed: Vec<f32>,
    optimiser: Adam,
    places: Places,
    workspaces: Vec<Workspace>,
}

/// A batch's loss, scores and gradient.
#[derive(Clone, Debug)]
pub struct BatchGradient {
    /// As [`crate::train::burn_tensors::margin_loss`].
    pub loss: f64,
    /// Mean absolute errors of the windows.
    pub scores: Vec<f64>,
    /// In storage order.
    pub gradient: Vec<f32>,
}

impl SpartaTrainer {
    /// Trains given parameters on so many threads, at least one. Layers that are silent now stay so.
    ///
    /// # Panics
    /// Never: parameters have one length.
    #[must_use]
    pub fn new<V: AsRef<[f32]>>(parameters: &SpartaParameters<V>, threads: usize) -> Self {
        let (workspace, places) = Workspace::new(&parameters.speaking_layers());
        let mut own = HeapParameters::zero();
        own.values_mut().copy_from_slice(parameters.values());
        let workspaces = vec![workspace; threads.max(1)];
        Self { parameters: own, transposed: vec![0.0; PARAMETERS], optimiser: Adam::new(PARAMETERS), places, workspaces }
    }

    /// The parameters as they are now.
    #[must_use]
    pub const fn parameters(&self) -> &HeapParameters {
        &self.parameters
    }

    /// Loss, scores and gradient of a batch.
    pub fn loss_and_gradient(&mut self, samples: &Samples) -> BatchGradient {
        self.places.transpose(self.parameters.values(), &mut self.transposed);
        let count = samples.count;
        let normal = samples.labels.iter().filter(|label| **label > 0.0).count();
        let share = 1.0 / count.max(1) as f32;
        // Anomalous windows pull by what they lack to a margin, which all scores must be known for.
        let margin = (normal > 0 && normal < count).then(|| {
            let scores = self.pass(samples, &|_, _| None);
            let of_normal = scores.iter().zip(&samples.labels).filter(|(_, label)| **label > 0.0).map(|(score, _)| score);
            of_normal.sum::<f64>() / normal as f64 * ANOMALY_MARGIN
        });
        let slope = |index: usize, score: f64| match margin {
            _ if samples.labels[index] > 0.0 => share,
            Some(margin) if score < margin => -share,
            _ => 0.0,
        };
        self.workspaces.iter_mut().for_each(|workspace| workspace.gradient.fill(0.0));
        let scores = self.pass(samples, &|index, score| Some(slope(index, score)));
        let loss =
            |(score, label): (&f64, &f32)| if *label > 0.0 { *score } else { margin.map_or(0.0, |margin| (margin - score).max(0.0)) };
        let loss = scores.iter().zip(&samples.labels).map(loss).sum::<f64>() / count.max(1) as f64;
        let mut gradient = self.workspaces[0].gradient.clone();
        for workspace in &self.workspaces[1..] {
            gradient.iter_mut().zip(&workspace.gradient).for_each(|(sum, value)| *sum += value);
        }
        BatchGradient { loss, scores, gradient }
    }

    /// Scores of all windows; where `slope` of a window's number and score gives any for a chunk, the chunk's gradient is added too.
    fn pass(&mut self, samples: &Samples, slope: &(dyn Fn(usize, f64) -> Option<f32> + Sync)) -> Vec<f64> {
        let parameters = &Parameters { plain: self.parameters.values(), transposed: &self.transposed };
        let threads = self.workspaces.len();
        let work = |workspace: &mut Workspace, thread: usize| {
            let mut out = Vec::new();
            for first in (thread * CHUNK..samples.count).step_by(CHUNK * threads) {
                let numbers = first..(first + CHUNK).min(samples.count);
                let chunk: Vec<&[f32]> = numbers.clone().map(|index| samples.window(index)).collect();
                let scores = workspace.forward(parameters, &chunk);
                let mut slopes = [0.0; CHUNK];
                let mut is_wanted = false;
                for (place, index) in numbers.enumerate() {
                    if let Some(slope) = slope(index, scores[place]) {
                        (slopes[place], is_wanted) = (slope, true);
                    }
                    out.push((index, scores[place]));
                }
                if is_wanted {
                    workspace.back(parameters, &slopes);
                }
            }
            out
        };
        let parts: Vec<Vec<(usize, f64)>> = if threads == 1 {
            self.workspaces.iter_mut().map(|workspace| work(workspace, 0)).collect()
        } else {
            thread::scope(|scope| {
                let work = &work;
                let started: Vec<_> = self
                    .workspaces
                    .iter_mut()
                    .enumerate()
                    .map(|(thread, workspace)| scope.spawn(move || work(workspace, thread)))
                    .collect();
                // A thread that panicked has printed why; its windows then lack, and the caller's sums are not finite.
                started.into_iter().map(|handle| handle.join().unwrap_or_default()).collect()
            })
        };
        let mut scores = vec![f64::NAN; samples.count];
        parts.into_iter().flatten().for_each(|(index, score)| scores[index] = score);
        scores
    }
}

impl Trainer for SpartaTrainer {
    fn window_frames(&self) -> usize {
        Form::Tokens.window_frames()
    }

    fn parameter_count(&self) -> usize {
        PARAMETERS
    }

    /// By a margin.
    fn learns_from_anomalies(&self) -> bool {
        true
    }

    fn train_batch(&mut self, set: &WindowSet, batch: Batch<'_>, learning_rate: f64) -> Result<StepReport, TrainFault> {
        if set.frames() != self.window_frames() {
            return Err(TrainFault::WrongWindow);
        }
        let BatchGradient { loss, mut gradient, .. } = self.loss_and_gradient(&Samples::of(set, batch));
        let gradient_norm = clip_norm(&mut gradient, GRADIENT_NORM_MAX);
        if !(loss.is_finite() && gradient_norm.is_finite()) {
            return Err(TrainFault::NotFinite);
        }
        self.optimiser.step(self.parameters.values_mut(), &gradient, learning_rate);
        Ok(StepReport { loss, gradient_norm })
    }

    fn estimate_statistics(&mut self, _set: &WindowSet, _batch: Batch<'_>, _momentum: f64) {}

    fn score_batch(&mut self, set: &WindowSet, batch: Batch<'_>, scores: &mut Vec<f64>) {
        self.places.transpose(self.parameters.values(), &mut self.transposed);
        let samples = Samples::of(set, batch);
        let new = self.pass(&samples, &|_, _| None);
        scores.extend(new);
    }

    fn weights(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let tensors = self.parameters.tensors();
        tensors.map(|tensor| (tensor.name.to_string(), tensor.shape.dimensions().to_vec(), tensor.values.to_vec())).collect()
    }

    fn metadata(&self) -> Metadata {
        metadata(Form::Tokens)
    }

    fn optimiser_state(&self) -> (Vec<(String, Vec<f32>)>, u64) {
        let state = vec![("adam.moment".into(), self.optimiser.moment.clone()), ("adam.square".into(), self.optimiser.square.clone())];
        (state, self.optimiser.steps)
    }

    fn restore(&mut self, lookup: &mut dyn FnMut(&str) -> Option<Vec<f32>>, steps: u64) -> Result<(), String> {
        let mut get = |name: &str, length: usize| lookup(name).filter(|values| values.len() == length).ok_or_else(|| name.to_owned());
        let mut parameters = HeapParameters::zero();
        parameters.try_visit_mut(|tensor| {
            tensor.values.copy_from_slice(&get(&tensor.name.to_string(), tensor.values.len())?);
            Ok::<(), String>(())
        })?;
        self.optimiser = Adam { moment: get("adam.moment", PARAMETERS)?, square: get("adam.square", PARAMETERS)?, steps };
        self.parameters = parameters;
        Ok(())
    }
}
