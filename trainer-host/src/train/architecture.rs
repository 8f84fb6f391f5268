//! Architectures that can be trained: a trainer for each, fresh or from given weights, and weight files of either kind.

use crate::error::HostError;
use crate::evaluate::PREPROCESSING_SQUARE;
use crate::train::burn_sparta;
use crate::train::burn_stg_nf;
use crate::train::checkpoint::{Metadata, to_bytes};
use crate::train::stg_nf_trainer::StgNfTrainer;
use crate::train::trainer::Trainer;
use alfred_core::normalise::PixelScale;
use alfred_core::scorer::Scorer;
use alfred_models::sparta::parameters::Form;
use alfred_models::sparta::scorer::{Lane as SpartaLane, SpartaScorer};
use alfred_models::stg_nf::parameters::StgNfShape;
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_models::weights::{self, Weights};
use alfred_synth::random::Random;
use std::path::Path;

/// Architectures that can be trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Architecture {
    /// STG-NF, a normalising flow.
    StgNf,
    /// SPARTA's prediction branch, a transformer.
    Sparta,
    /// TSGAD-style graph-attentive variational auto-encoder.
    #[value(name = "gavae")]
    GaVae,
}

/// What computes a training step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// Derivatives written by hand where there are any (STG-NF), automatic ones elsewhere.
    #[default]
    Hand,
    /// Automatic differentiation (burn).
    Burn,
}

/// What a fresh trainer needs to know; each architecture reads its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainerOptions {
    /// Detections T per window (STG-NF; the others have one length).
    pub frames: usize,
    /// Mean R of the prior (STG-NF).
    pub prior_mean: f32,
    /// Over what attention runs (SPARTA). Given weights keep theirs.
    pub form: Form,
    /// Share of values that training drops (SPARTA), 0 to 0.9.
    pub dropout: f64,
    /// What computes the step.
    pub backend: Backend,
}

impl Default for TrainerOptions {
    fn default() -> Self {
        Self { frames: 24, prior_mean: 3.0, form: Form::Tokens, dropout: 0.0, backend: Backend::Hand }
    }
}

/// Reads a weight file of any architecture.
///
/// # Errors
/// [`HostError::Data`].
pub fn read_weights(path: &Path) -> Result<Weights, HostError> {
    weights::read_path(path).map_err(|fault| HostError::data(path, "weights", fault))
}

/// Which architecture given weights are of.
#[must_use]
pub const fn architecture_of(weights: &Weights) -> Architecture {
    match weights {
        Weights::StgNf(_) => Architecture::StgNf,
        Weights::Sparta(_) => Architecture::Sparta,
        Weights::GaVae(_) => Architecture::GaVae,
    }
}

/// Name of the preprocessing that the model was trained with; files that say nothing are published ones.
#[must_use]
pub fn preprocessing_of(weights: &Weights) -> &str {
    let published = match weights {
        Weights::StgNf(_) => "openpose18-856x480",
        Weights::Sparta(_) | Weights::GaVae(_) => "openpose18-1280x720",
    };
    weights.preprocessing().unwrap_or(published)
}

/// The pixel scale that the model was trained with.
///
/// # Errors
/// [`HostError::Data`] for a preprocessing that this build does not know.
pub fn pixel_scale(weights: &Weights, place: &Path) -> Result<PixelScale, HostError> {
    let name = preprocessing_of(weights);
    PixelScale::of_preprocessing(name)
        .ok_or_else(|| HostError::data(place, format!("metadata preprocessing = {name:?}"), "name one that this build knows"))
}

/// The device's scorer in the lane whose bits are the same on every machine.
///
/// # Errors
/// [`HostError::Data`] when the weights cannot be folded.
pub fn scorer_of(weights: &Weights, place: &Path) -> Result<Box<dyn Scorer>, HostError> {
    let fault = |fault: &dyn std::fmt::Display| HostError::data(place, "weights", fault);
    Ok(match weights {
        Weights::StgNf(weights) => {
            Box::new(StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), Lane::Exact).map_err(|f| fault(&f))?)
        }
        Weights::Sparta(weights) => match weights.metadata.form {
            Form::Published => Box::new(SpartaScorer::new(&weights.parameters, SpartaLane::Exact).map_err(|f| fault(&f))?),
            Form::Tokens => Box::new(SpartaScorer::new_tokens(&weights.parameters, SpartaLane::Exact).map_err(|f| fault(&f))?),
        },
        Weights::GaVae(_) => return Err(fault(&"this build does not score with GA-VAE")),
    })
}

/// A trainer: fresh from `seed`, or going on from `weights`, which must be of the same architecture.
///
/// # Errors
/// [`HostError`] when options or weights do not fit the architecture.
pub fn trainer_of(
    architecture: Architecture,
    weights: Option<&Weights>,
    options: &TrainerOptions,
    seed: u64,
) -> Result<Box<dyn Trainer>, HostError> {
    match (architecture, weights) {
        (Architecture::StgNf, None) => {
            let shape = StgNfShape::new(options.frames).map_err(|fault| HostError::argument("--frames", fault))?;
            let trainer = StgNfTrainer::new(shape, options.prior_mean, &mut Random::new(seed));
            Ok(match options.backend {
                Backend::Hand => Box::new(trainer),
                Backend::Burn => Box::new(burn_stg_nf::trainer(trainer.parameters(), true)),
            })
        }
        (Architecture::StgNf, Some(Weights::StgNf(weights))) => {
            if !weights.metadata.adjacency().is_mean() {
                return Err(HostError::argument("weights with max_hop", "only the published uniform adjacency (8 hops) can be trained"));
            }
            Ok(match options.backend {
                Backend::Hand => Box::new(StgNfTrainer::from_parameters(weights.parameters)),
                Backend::Burn => Box::new(burn_stg_nf::trainer(&weights.parameters, false)),
            })
        }
        (Architecture::Sparta, None) => {
            let parameters = burn_sparta::fresh(&mut Random::new(seed));
            Ok(Box::new(burn_sparta::trainer(&parameters, options.form, options.dropout, seed)))
        }
        (Architecture::Sparta, Some(Weights::Sparta(weights))) => {
            Ok(Box::new(burn_sparta::trainer(&weights.parameters, weights.metadata.form, options.dropout, seed)))
        }
        (Architecture::GaVae, None) => Err(HostError::argument("--arch", "this build does not train it")),
        (wanted, Some(weights)) => {
            Err(HostError::argument(format!("--arch {wanted:?}"), format!("the given weights are of {:?}", architecture_of(weights))))
        }
    }
}

/// A weight file's bytes: the trainer's tensors under their published names, the architecture's own metadata, and `metadata`. The
/// preprocessing is [`PREPROCESSING_SQUARE`] unless `metadata` says another.
#[must_use]
pub fn write_weights(trainer: &dyn Trainer, metadata: &Metadata) -> Vec<u8> {
    let mut entries = trainer.metadata();
    entries.insert("preprocessing".into(), PREPROCESSING_SQUARE.into());
    entries.extend(metadata.clone());
    to_bytes(&trainer.weights(), &entries)
}

#[cfg(test)]
mod tests {
    use super::{Architecture, TrainerOptions, architecture_of, scorer_of, trainer_of, weights, write_weights};
    use crate::train::checkpoint::Metadata;
    use std::path::Path;

    #[test]
    fn what_a_trainer_writes_is_read_and_trained_further() {
        let place = Path::new("memory");
        let options = TrainerOptions::default();
        let fresh = trainer_of(Architecture::StgNf, None, &options, 3).expect("a trainer");
        let bytes = write_weights(fresh.as_ref(), &Metadata::from([("threshold".into(), "1.5".into())]));
        let weights = weights::read(&bytes).expect("what was written is read");
        assert_eq!((architecture_of(&weights), weights.window_frames(), weights.threshold()), (Architecture::StgNf, 24, Some(1.5)));
        assert_eq!(scorer_of(&weights, place).expect("a scorer").window_frames(), 24);
        let further = trainer_of(Architecture::StgNf, Some(&weights), &options, 4).expect("a trainer");
        assert_eq!(further.weights(), fresh.weights());
        let refused = trainer_of(Architecture::Sparta, Some(&weights), &options, 4).err().expect("another architecture").to_string();
        assert!(refused.contains("StgNf"), "{refused}");
    }
}
