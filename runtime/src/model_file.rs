//! Loads what scores: native STG-NF weights (`.safetensors`) or any ONNX file (`.onnx`), with all that the file says about its use.

use crate::config::LaneName;
use crate::error::Error;
use crate::limits::{SCORING_STACK_BYTES, SCORING_STACK_ONNX_BYTES};
use alfred_core::normalise::PixelScale;
use alfred_core::scorer::Scorer;
use alfred_core::units::Threshold;
use alfred_models::onnx_manifest::Declaration;
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_models::stg_nf::weights_file;
use alfred_models::tract_engine::{Budget, ModelSource, TractEngine};
use std::path::Path;

/// What scores.
pub enum Model {
    /// STG-NF, native.
    StgNf(Box<StgNfScorer>),
    /// An ONNX file in tract.
    Onnx(Box<TractEngine>),
}

/// A model and what its file says.
pub struct LoadedModel {
    /// What scores.
    pub model: Model,
    /// `stg-nf/avx512`, `onnx/tract`.
    pub name: String,
    /// What pixels are divided by.
    pub scale: PixelScale,
    /// The threshold that travels with the weights; `None` if the file has none.
    pub threshold: Option<Threshold>,
}

impl LoadedModel {
    /// Detections per window.
    #[must_use]
    pub fn window_frames(&self) -> usize {
        match &self.model {
            Model::StgNf(scorer) => scorer.window_frames(),
            Model::Onnx(engine) => engine.window_frames(),
        }
    }

    /// The scorer, to be used on this thread.
    pub fn scorer(&mut self) -> &mut dyn Scorer {
        match &mut self.model {
            Model::StgNf(scorer) => scorer.as_mut(),
            Model::Onnx(engine) => engine.as_mut(),
        }
    }

    /// The scorer, to be moved to another thread.
    #[must_use]
    pub fn into_scorer(self) -> Box<dyn Scorer + Send> {
        match self.model {
            Model::StgNf(scorer) => scorer,
            Model::Onnx(mut engine) => {
                // What tract keeps for this thread must not move to the other.
                engine.quiesce();
                engine
            }
        }
    }

    /// Bytes of the scorer itself, and of its arena.
    #[must_use]
    pub fn bytes(&self) -> (usize, usize) {
        match &self.model {
            Model::StgNf(scorer) => (size_of_val(&**scorer), 0),
            Model::Onnx(engine) => (size_of_val(&**engine), engine.report().arena_bytes),
        }
    }

    /// Stack that a scoring thread needs.
    #[must_use]
    pub const fn stack_bytes(&self) -> usize {
        match &self.model {
            Model::StgNf(_) => SCORING_STACK_BYTES,
            Model::Onnx(_) => SCORING_STACK_ONNX_BYTES,
        }
    }
}

/// Loads a model file; its ending says what it is. `budget` is for ONNX files.
///
/// # Errors
/// One line that names the file, the place in it, and the mend.
pub fn load(path: &Path, lane: LaneName, budget: Budget) -> Result<LoadedModel, Error> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => load_stg_nf(path, lane),
        Some("onnx") => load_onnx(path, budget),
        _ => Err(Error::file(path, "unknown kind of model: a .safetensors file with STG-NF weights or an .onnx file is needed")),
    }
}

fn load_stg_nf(path: &Path, lane: LaneName) -> Result<LoadedModel, Error> {
    let weights = weights_file::read_path(path).map_err(|fault| Error::file(path, fault))?;
    let lane = match lane {
        LaneName::Fast => Lane::Fast,
        LaneName::Exact => Lane::Exact,
    };
    let scorer = StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), lane).map_err(|fault| Error::file(path, fault))?;
    // Published files say nothing: theirs are the published constants.
    let scale =
        scale_of(weights.metadata.preprocessing.as_deref(), PixelScale::PUBLISHED_STG_NF).map_err(|what| Error::file(path, what))?;
    let threshold = weights.metadata.threshold.map(Threshold::new).transpose().map_err(|error| Error::file(path, error))?;
    Ok(LoadedModel { name: format!("stg-nf/{}", scorer.lane_name()), model: Model::StgNf(Box::new(scorer)), scale, threshold })
}

fn load_onnx(path: &Path, budget: Budget) -> Result<LoadedModel, Error> {
    let engine =
        TractEngine::load(ModelSource::File(path), Declaration::default(), budget).map_err(|error| Error::Input(error.to_string()))?;
    let manifest = engine.manifest();
    let published = match manifest.window_frames {
        48 => PixelScale::PUBLISHED_SPARTA,
        _ => PixelScale::PUBLISHED_STG_NF,
    };
    let preprocessing = Some(manifest.preprocessing.as_str()).filter(|name| !name.is_empty());
    let scale = scale_of(preprocessing, published).map_err(|what| Error::file(path, what))?;
    Ok(LoadedModel { name: "onnx/tract".into(), model: Model::Onnx(Box::new(engine)), scale, threshold: None })
}

fn scale_of(preprocessing: Option<&str>, published: PixelScale) -> Result<PixelScale, String> {
    let Some(name) = preprocessing else { return Ok(published) };
    PixelScale::of_preprocessing(name).ok_or_else(|| {
        let known: Vec<&str> = PixelScale::PREPROCESSINGS.iter().map(|(name, _)| *name).collect();
        format!("metadata preprocessing = {name:?} is unknown to this build: one of {} is needed", known.join(", "))
    })
}
