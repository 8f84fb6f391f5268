//! The trait between the training loop and an architecture's training step.

use crate::dataset::windows::{Batch, WindowSet};
use crate::train::checkpoint::Metadata;
use std::fmt;

/// What a training step reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Mean loss of the batch before the step, on the model's score scale.
    pub loss: f64,
    /// L2 norm of the gradient before clipping.
    pub gradient_norm: f64,
}

/// Why a step was refused; the parameters are those from before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainFault {
    /// Loss or gradient is NaN or infinite.
    NotFinite,
    /// The windows' length is not the model's.
    WrongWindow,
}

impl fmt::Display for TrainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFinite => "the loss is NaN or infinite: lower the learning rate or look for broken poses",
            Self::WrongWindow => "the windows' length is not the model's: cut them anew",
        })
    }
}

impl std::error::Error for TrainFault {}

/// One architecture's training step. Everything is deterministic: the same calls give the same bits.
pub trait Trainer {
    /// Detections T of the windows that it takes.
    fn window_frames(&self) -> usize;

    /// Trainable parameters.
    fn parameter_count(&self) -> usize;

    /// Whether a window's label matters to the loss: windows labelled -1 are then pushed away from what is normal. Where it is `false`,
    /// anomalous windows must be kept out of the training set, because they would be learnt as normal.
    fn learns_from_anomalies(&self) -> bool {
        false
    }

    /// Said before every step: the share of the run that is done, 0 to 1. Losses whose parts are weighed by it listen.
    fn set_done_share(&mut self, _done: f64) {}

    /// One step of the optimiser on one batch.
    ///
    /// # Errors
    /// [`TrainFault`]; the parameters are then unchanged.
    fn train_batch(&mut self, set: &WindowSet, batch: Batch<'_>, learning_rate: f64) -> Result<StepReport, TrainFault>;

    /// Moves running statistics towards the batch's with weight `momentum`; parameters stay. Architectures without them do nothing.
    fn estimate_statistics(&mut self, set: &WindowSet, batch: Batch<'_>, momentum: f64);

    /// Anomaly scores of a batch as inference computes them, appended to `scores`.
    fn score_batch(&mut self, set: &WindowSet, batch: Batch<'_>, scores: &mut Vec<f64>);

    /// The tensors of the weights: name, shape, values.
    fn weights(&self) -> Vec<(String, Vec<usize>, Vec<f32>)>;

    /// What a weight file says about the architecture beside its tensors.
    fn metadata(&self) -> Metadata;

    /// The optimiser's tensors and its step count, for checkpoints.
    fn optimiser_state(&self) -> (Vec<(String, Vec<f32>)>, u64);

    /// Goes on from stored weights and optimiser state. Returns the name of the first tensor that is missing or has another length.
    ///
    /// # Errors
    /// The name of the tensor at fault.
    fn restore(&mut self, lookup: &mut dyn FnMut(&str) -> Option<Vec<f32>>, steps: u64) -> Result<(), String>;
}
