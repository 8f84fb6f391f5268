//! What an experiment is asked to do, and what must be the same for one to go on where another stopped.

use crate::phase::methodology::Methodology;
use crate::train::architecture::Architecture;
use crate::train::optimiser::Schedule;
use crate::train::run::Plan;
use std::path::PathBuf;

/// Windows of one person start so many detections apart, in training and in judging, unless the command line says otherwise.
pub const STRIDE: u32 = 6;

/// How a model is trained on the source and adapted to a slice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingRecipe {
    /// Epochs on the source domain.
    pub source_epochs: u32,
    /// Learning rate there, falling by half a cosine.
    pub source_rate: f64,
    /// Epochs on a slice.
    pub slice_epochs: u32,
    /// Learning rate there, constant.
    pub slice_rate: f64,
    /// Samples per step.
    pub batch: usize,
}

/// The recipe of a model; nothing here was tuned on a target camera. STG-NF's source recipe is the best found on the source's own test split; those
/// of SPARTA and GA-VAE are cut down to what their steps cost.
#[must_use]
pub const fn training_recipe(model: Architecture) -> TrainingRecipe {
    match model {
        Architecture::StgNf => TrainingRecipe { source_epochs: 60, source_rate: 5e-3, slice_epochs: 3, slice_rate: 2e-3, batch: 256 },
        Architecture::Sparta => TrainingRecipe { source_epochs: 6, source_rate: 2e-3, slice_epochs: 1, slice_rate: 5e-4, batch: 32 },
        Architecture::GaVae => TrainingRecipe { source_epochs: 6, source_rate: 3e-3, slice_epochs: 1, slice_rate: 5e-4, batch: 64 },
    }
}

impl TrainingRecipe {
    /// The plan of training on the source domain.
    #[must_use]
    pub fn source_plan(&self, seed: u64) -> Plan {
        Plan { epochs: self.source_epochs, learning_rate: self.source_rate, schedule: Schedule::Cosine, ..self.plan(seed) }
    }

    /// The plan of one iteration.
    #[must_use]
    pub fn slice_plan(&self, seed: u64) -> Plan {
        Plan { epochs: self.slice_epochs, learning_rate: self.slice_rate, schedule: Schedule::Constant, ..self.plan(seed) }
    }

    fn plan(&self, seed: u64) -> Plan {
        Plan {
            epochs: 0,
            batch: self.batch,
            learning_rate: 0.0,
            schedule: Schedule::Constant,
            seed,
            mirror: true,
            time_max: None,
            statistics_batches: 64,
            patience_epochs: None,
            checkpoint: None,
            checkpoint_period: std::time::Duration::from_secs(60),
            resume: false,
            progress: false,
        }
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Data set.
    pub data: PathBuf,
    /// Where results go.
    pub out: PathBuf,
    /// Cameras.
    pub cameras: Vec<String>,
    /// Models.
    pub models: Vec<Architecture>,
    /// Methodologies.
    pub methodologies: Vec<&'static Methodology>,
    /// Slices per camera.
    pub slices: usize,
    /// Detections from one window's start to the next.
    pub stride: u32,
    /// Seeds, from 0.
    pub seeds: u64,
    /// Folder with K-1 weights, `MODEL.safetensors` each, that serve every seed instead of weights trained here.
    pub source_weights: Option<PathBuf>,
    /// Whether an unreadable clip ends the run; else it is named and left out.
    pub strict: bool,
    /// Cells at a time.
    pub jobs: usize,
    /// Share of wrong answers of the simulated annotator.
    pub annotator_error_share: f64,
}
