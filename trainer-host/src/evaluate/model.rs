//! What evaluation needs of a model, and the models that come from weight files. The one place where evaluation asks for the architecture.

use crate::error::HostError;
use alfred_core::normalise::PixelScale;
use alfred_core::scorer::Scorer;
use alfred_models::ga_vae::scorer::GaVaeScorer;
use alfred_models::sparta::parameters::Form;
use alfred_models::sparta::scorer::{Lane as WideLane, SpartaScorer};
use alfred_models::stg_nf::scorer::{Lane as StgNfLane, StgNfScorer};
use alfred_models::stg_nf::weights_file::{self as stg_nf_file, StgNfWeights};
use alfred_models::weights::{self, Weights};
use std::path::{Path, PathBuf};

/// Name of the preprocessing of our own weights: OpenPose-18 joints, square pixels.
pub const PREPROCESSING_SQUARE: &str = "openpose18-square-pixels";

/// Which arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Lane {
    /// The same bits on every machine.
    #[default]
    Exact,
    /// The fastest engine of this processor.
    Fast,
}

/// A model to evaluate: of a weight file, or in training.
pub trait Model: Sync {
    /// Its architecture, for reports.
    fn architecture(&self) -> &str;

    /// Detections T of a window.
    fn window_frames(&self) -> usize;

    /// What pixels are divided by.
    fn pixel_scale(&self) -> PixelScale;

    /// The threshold that the model came with.
    fn threshold(&self) -> Option<f64> {
        None
    }

    /// Frame of a window, counted from its first one, that its score belongs to by the model's published rule: the middle (T / 2) unless
    /// the model says otherwise. Offline figures and the device follow it.
    fn score_frame_in_window(&self) -> usize {
        self.window_frames() / 2
    }

    /// A new scorer. Several are made, one per thread.
    ///
    /// # Errors
    /// [`HostError`] when the parameters make no scorer.
    fn scorer(&self, lane: Lane) -> Result<Box<dyn Scorer + '_>, HostError>;
}

/// A model of a weight file.
#[derive(Clone, Debug)]
pub struct FileModel {
    path: PathBuf,
    weights: Weights,
    scale: PixelScale,
}

impl FileModel {
    /// Reads a weight file of any architecture.
    ///
    /// # Errors
    /// [`HostError::Data`] when the file is refused, or its preprocessing is unknown.
    pub fn read(path: &Path) -> Result<Self, HostError> {
        let weights = weights::read_path(path).map_err(|fault| HostError::data(path, "weights", fault))?;
        Self::of(weights, path)
    }

    /// Of weights in memory; `path` is for messages.
    ///
    /// # Errors
    /// [`HostError::Data`] for a preprocessing that this build does not know.
    pub fn of(weights: Weights, path: &Path) -> Result<Self, HostError> {
        let scale = named_scale(weights.preprocessing(), weights.unnamed_scale(), path)?;
        Ok(Self { path: path.to_owned(), weights, scale })
    }

    /// What the file holds.
    #[must_use]
    pub const fn weights(&self) -> &Weights {
        &self.weights
    }
}

impl Model for FileModel {
    fn architecture(&self) -> &str {
        self.weights.architecture()
    }

    fn window_frames(&self) -> usize {
        self.weights.window_frames()
    }

    fn pixel_scale(&self) -> PixelScale {
        self.scale
    }

    fn threshold(&self) -> Option<f64> {
        self.weights.threshold().map(f64::from)
    }

    fn score_frame_in_window(&self) -> usize {
        self.weights.score_frame_in_window()
    }

    fn scorer(&self, lane: Lane) -> Result<Box<dyn Scorer + '_>, HostError> {
        let fault = |fault: &dyn std::fmt::Display| HostError::data(&self.path, "weights", fault);
        let (stg_nf, wide) = match lane {
            Lane::Exact => (StgNfLane::Exact, WideLane::Exact),
            Lane::Fast => (StgNfLane::Fast, WideLane::Fast),
        };
        Ok(match &self.weights {
            Weights::StgNf(weights) => {
                Box::new(StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), stg_nf).map_err(|error| fault(&error))?)
            }
            Weights::Sparta(weights) => match weights.metadata.form {
                Form::Published => Box::new(SpartaScorer::new(&weights.parameters, wide).map_err(|error| fault(&error))?),
                Form::Tokens => Box::new(SpartaScorer::new_tokens(&weights.parameters, wide).map_err(|error| fault(&error))?),
            },
            Weights::GaVae(weights) => Box::new(GaVaeScorer::new(&weights.parameters, wide).map_err(|error| fault(&error))?),
        })
    }
}

/// Reads an STG-NF weight file.
///
/// # Errors
/// [`HostError::Data`].
pub fn read_weights(path: &Path) -> Result<StgNfWeights, HostError> {
    stg_nf_file::read_path(path).map_err(|fault| HostError::data(path, "weights", fault))
}

/// The pixel scale that an STG-NF model was trained with. Files that say nothing are published ones.
///
/// # Errors
/// [`HostError::Data`] for a preprocessing that this build does not know.
pub fn pixel_scale(weights: &StgNfWeights, place: &Path) -> Result<PixelScale, HostError> {
    named_scale(weights.metadata.preprocessing.as_deref(), PixelScale::PUBLISHED_STG_NF, place)
}

fn named_scale(name: Option<&str>, unnamed: PixelScale, place: &Path) -> Result<PixelScale, HostError> {
    let Some(name) = name else { return Ok(unnamed) };
    PixelScale::of_preprocessing(name)
        .ok_or_else(|| HostError::data(place, format!("metadata preprocessing = {name:?}"), "name one that this build knows"))
}
