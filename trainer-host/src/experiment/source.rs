//! Source weights: trained once per model and seed on the source domain, kept, and given their EER threshold on the source's test part.

use crate::dataset::camera::{Part, read_source_test};
use crate::dataset::layout::{Split, clips, read_events};
use crate::dataset::sound::sound_clips;
use crate::dataset::windows::{WindowSet, read_clips};
use crate::error::HostError;
use crate::experiment::settings::{Settings, training_recipe};
use crate::metric::eer::equal_error_rate_of;
use crate::metric::pr::auc_pr;
use crate::metric::roc::auc_roc;
use crate::metric::samples::Ranked;
use crate::phase::validation_set::balance;
use crate::train::architecture::{Architecture, TrainerOptions, trainer_of, write_weights};
use crate::train::checkpoint::{Metadata, replace};
use crate::train::run::{scores, train};
use alfred_core::normalise::PixelScale;
use alfred_core::track_window::WindowPolicy;
use alfred_models::weights::{self, Weights};
use std::fs;
use std::path::{Path, PathBuf};

/// Seed by which the source's test part is balanced; a camera's validation set uses it too.
pub const BALANCE_SEED: u64 = 7;

/// K-1 weights of one model and seed.
#[derive(Clone, Debug)]
pub struct Source {
    /// Weight file.
    pub bytes: Vec<u8>,
    /// The source's EER threshold, by window.
    pub threshold: f64,
    /// AUC-ROC and AUC-PR on the source's balanced test windows.
    pub auc: (f64, f64),
}

/// How a model cuts its windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cutting {
    /// Its window length and the frame that its scores belong to, and the stride of the experiment.
    pub policy: WindowPolicy,
}

/// Windows of a model on this data.
///
/// # Errors
/// [`HostError`] when the model cannot be made.
pub fn cutting(model: Architecture, stride: u32) -> Result<Cutting, HostError> {
    let trainer = trainer_of(model, None, &TrainerOptions::default(), 0)?;
    let policy = WindowPolicy { stride, ..WindowPolicy::published(trainer.window_frames()) };
    Ok(Cutting { policy: policy.with_score_frame(model.score_frame_in_window(trainer.window_frames())) })
}

/// Weights from a weight file's bytes; `place` is for messages.
///
/// # Errors
/// [`HostError::Data`].
pub fn weights_of(bytes: &[u8], place: &Path) -> Result<Weights, HostError> {
    weights::read(bytes).map_err(|fault| HostError::data(place, "weights", fault))
}

/// The source domain's windows.
#[derive(Debug)]
pub struct SourceData {
    train: WindowSet,
    test: Part,
}

impl SourceData {
    /// Reads them for a model.
    ///
    /// # Errors
    /// [`HostError`] when the data cannot be used.
    pub fn read(settings: &Settings, model: Architecture) -> Result<Self, HostError> {
        let cutting = cutting(model, settings.stride)?;
        let events = read_events(&settings.data)?;
        let files = sound_clips(clips(&settings.data, Split::Train)?, settings.strict)?.clips;
        let (train, _) = read_clips(&files, events.as_ref(), &cutting.policy, &PixelScale::SQUARE)?;
        Ok(Self { train, test: read_source_test(&settings.data, &cutting, &PixelScale::SQUARE, settings.strict)? })
    }
}

/// Where the weights of a model and seed are kept.
#[must_use]
pub fn path(out: &Path, model: &str, seed: u64) -> PathBuf {
    out.join("source").join(format!("{model}-seed{seed}.safetensors"))
}

/// The file of a model in the folder of K-1 weights, if it holds one.
#[must_use]
pub fn given_weights(settings: &Settings, model: &str) -> Option<PathBuf> {
    settings.source_weights.as_ref().map(|folder| folder.join(format!("{model}.safetensors"))).filter(|file| file.is_file())
}

/// The weights of a model and seed: those kept, those given, or newly trained ones.
///
/// # Errors
/// [`HostError`] when training fails or a file cannot be used.
pub fn source(settings: &Settings, model: Architecture, name: &str, seed: u64, data: &SourceData) -> Result<Source, HostError> {
    let path = path(&settings.out, name, seed);
    let recipe = training_recipe(model);
    let given = given_weights(settings, name);
    let bytes = if path.is_file() {
        fs::read(&path).map_err(HostError::file(&path))?
    } else {
        let bytes = if let Some(given) = given {
            fs::read(&given).map_err(HostError::file(&given))?
        } else {
            let mut trainer = trainer_of(model, None, &TrainerOptions::default(), seed)?;
            train(trainer.as_mut(), &data.train, None, &recipe.source_plan(seed))?;
            write_weights(trainer.as_ref(), &Metadata::new())
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(HostError::file(folder))?;
        }
        replace(&path, &bytes)?;
        bytes
    };
    let weights = weights_of(&bytes, &path)?;
    let mut trainer = trainer_of(model, Some(&weights), &TrainerOptions::default(), seed)?;
    let scores = scores(trainer.as_mut(), &data.test.windows, recipe.batch);
    let chosen = balance(&data.test.is_anomalous, BALANCE_SEED);
    let pairs = || chosen.iter().map(|&window| (scores[window as usize], data.test.is_anomalous[window as usize]));
    let unfit = |reason| HostError::data(&path, format!("the source's test part sets no threshold: {reason}"), "give it both classes");
    let rate = equal_error_rate_of(pairs()).map_err(unfit)?;
    let ranked = Ranked::of_pairs(pairs()).map_err(unfit)?;
    Ok(Source { bytes, threshold: rate.threshold, auc: (auc_roc(&ranked), auc_pr(&ranked)) })
}
