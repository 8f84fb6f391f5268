//! Architectures that can be trained: a trainer for each, fresh or from given weights, and weight files of either kind.

use crate::error::HostError;
use crate::evaluate::PREPROCESSING_SQUARE;
use crate::train::burn_device;
use crate::train::burn_ga_vae::{self, BetaCourse};
use crate::train::burn_sparta;
use crate::train::burn_stg_nf;
use crate::train::checkpoint::{Metadata, to_bytes};
use crate::train::ga_vae_trainer::GaVaeTrainer;
use crate::train::sparta_trainer::SpartaTrainer;
use crate::train::stg_nf_trainer::StgNfTrainer;
use crate::train::trainer::Trainer;
use alfred_models::ga_vae::parameters::{HeapParameters as GaVaeParameters, ScoreRule};
use alfred_models::ga_vae::shape::GaVaeShape;
use alfred_models::sparta::parameters::{Form, LAYERS};
use alfred_models::sparta::weights_file::HeapParameters;
use alfred_models::stg_nf::parameters::StgNfShape;
use alfred_models::weights::Weights;
use alfred_synth::random::Random;

/// Layers of SPARTA's encoder and decoder that are trained unless something else is asked for: on real motion one ranked windows as well as four did.
pub const DEPTH: usize = 1;

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

impl Architecture {
    /// Frame of a window of `window_frames` that its score belongs to, by the published rule.
    #[must_use]
    pub const fn score_frame_in_window(self, window_frames: usize) -> usize {
        match self {
            Self::StgNf | Self::GaVae => window_frames / 2,
            // The middle of the window's second half, which it predicts.
            Self::Sparta => window_frames * 3 / 4,
        }
    }
}

/// What computes a training step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// Derivatives written by hand; automatic ones for SPARTA's published form and with dropout.
    #[default]
    Hand,
    /// Automatic differentiation (burn), on the CPU.
    Burn,
    /// The same on a graphics processor; only in builds with the feature `gpu`.
    Gpu,
}

/// The share of its weight that the divergence from the prior starts with where GA-VAE is trained anew.
pub const BETA_FROM: f64 = 0.003;

/// What a fresh trainer needs to know; each architecture reads its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainerOptions {
    /// Detections T per window (STG-NF; the others have one length).
    pub frames: usize,
    /// Mean R of the prior (STG-NF).
    pub prior_mean: f32,
    /// Over what attention runs (SPARTA). Given weights keep theirs.
    pub form: Form,
    /// Share of values that training drops (SPARTA), 0 to 0.9; above 0 only automatic derivatives know it.
    pub dropout: f64,
    /// Layers of encoder and decoder each (SPARTA), 1 to 4: a layer more costs as much time again. Given weights keep theirs.
    pub depth: usize,
    /// Threads of hand-derived steps; results depend on it, and on nothing else of the machine.
    pub threads: usize,
    /// Width d (GA-VAE): even, 2 to 16.
    pub width: usize,
    /// Weight of the divergence from the prior (GA-VAE), above 0.
    pub beta: f64,
    /// The share of it that training starts with, above 0; by default [`BETA_FROM`], and 1 for given weights.
    pub beta_from: Option<f64>,
    /// How a window becomes its score (GA-VAE). Given weights keep theirs.
    pub score_rule: ScoreRule,
    /// What computes the step.
    pub backend: Backend,
}

impl Default for TrainerOptions {
    fn default() -> Self {
        Self {
            frames: 24,
            prior_mean: 3.0,
            form: Form::Tokens,
            dropout: 0.0,
            depth: DEPTH,
            threads: 1,
            width: 2,
            beta: 1.0,
            beta_from: None,
            score_rule: ScoreRule::Reconstruction,
            backend: Backend::Hand,
        }
    }
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
                Backend::Hand => Box::new(trainer.on_threads(options.threads)),
                Backend::Burn | Backend::Gpu => {
                    Box::new(burn_stg_nf::trainer(trainer.parameters(), true).on(burn_device::of(options.backend)?))
                }
            })
        }
        (Architecture::StgNf, Some(Weights::StgNf(weights))) => {
            if !weights.metadata.adjacency().is_mean() {
                return Err(HostError::argument("weights with max_hop", "only the published uniform adjacency (8 hops) can be trained"));
            }
            Ok(match options.backend {
                Backend::Hand => Box::new(StgNfTrainer::from_parameters(weights.parameters).on_threads(options.threads)),
                Backend::Burn | Backend::Gpu => {
                    Box::new(burn_stg_nf::trainer(&weights.parameters, false).on(burn_device::of(options.backend)?))
                }
            })
        }
        (Architecture::Sparta, None) => {
            if !(1..=LAYERS).contains(&options.depth) || options.form == Form::Published && options.depth != LAYERS {
                return Err(HostError::argument("--depth", "give 1 to 4 layers; the published form has 4"));
            }
            let parameters = burn_sparta::fresh(options.depth, &mut Random::new(seed));
            sparta(&parameters, options.form, options, seed)
        }
        (Architecture::Sparta, Some(Weights::Sparta(weights))) => sparta(&weights.parameters, weights.metadata.form, options, seed),
        (Architecture::GaVae, None) => {
            let shape = GaVaeShape::new(options.width).map_err(|fault| HostError::argument("--width", fault))?;
            let parameters = burn_ga_vae::fresh(shape, &mut Random::new(seed)).with_rule(options.score_rule);
            ga_vae(&parameters, BETA_FROM, options, seed)
        }
        (Architecture::GaVae, Some(Weights::GaVae(weights))) => ga_vae(&weights.parameters, 1.0, options, seed),
        (wanted, Some(weights)) => {
            Err(HostError::argument(format!("--arch {wanted:?}"), format!("the given weights are of {:?}", architecture_of(weights))))
        }
    }
}

/// SPARTA's trainer: the hand-derived step where there is one.
fn sparta(parameters: &HeapParameters, form: Form, options: &TrainerOptions, seed: u64) -> Result<Box<dyn Trainer>, HostError> {
    if form == Form::Tokens && options.backend == Backend::Hand && options.dropout == 0.0 {
        return Ok(Box::new(SpartaTrainer::new(parameters, options.threads)));
    }
    Ok(Box::new(burn_sparta::trainer(parameters, form, options.dropout, seed).on(burn_device::of(options.backend)?)))
}

/// GA-VAE's trainer; `beta_from` unless the options say otherwise.
fn ga_vae(parameters: &GaVaeParameters, beta_from: f64, options: &TrainerOptions, seed: u64) -> Result<Box<dyn Trainer>, HostError> {
    let course = BetaCourse { full: options.beta, first_share: options.beta_from.unwrap_or(beta_from) };
    if options.backend == Backend::Hand {
        return Ok(Box::new(GaVaeTrainer::new(parameters, course, seed, options.threads)));
    }
    Ok(Box::new(burn_ga_vae::trainer(parameters, course, seed).on(burn_device::of(options.backend)?)))
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
    use super::{Architecture, TrainerOptions, architecture_of, trainer_of, write_weights};
    use crate::train::checkpoint::Metadata;
    use alfred_models::weights;

    #[test]
    fn what_a_trainer_writes_is_read_and_trained_further() {
        let options = TrainerOptions::default();
        let fresh = trainer_of(Architecture::StgNf, None, &options, 3).expect("a trainer");
        let bytes = write_weights(fresh.as_ref(), &Metadata::from([("threshold".into(), "1.5".into())]));
        let weights = weights::read(&bytes).expect("what was written is read");
        assert_eq!((architecture_of(&weights), weights.window_frames(), weights.threshold()), (Architecture::StgNf, 24, Some(1.5)));
        let further = trainer_of(Architecture::StgNf, Some(&weights), &options, 4).expect("a trainer");
        assert_eq!(further.weights(), fresh.weights());
        let refused = trainer_of(Architecture::Sparta, Some(&weights), &options, 4).err().expect("another architecture").to_string();
        assert!(refused.contains("StgNf"), "{refused}");
    }
}
