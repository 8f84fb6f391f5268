//! Loads what scores: native weights of STG-NF, SPARTA or GA-VAE (`.safetensors`) or any ONNX file (`.onnx`), with all that the file says about its use.

use crate::config::LaneName;
use crate::error::Error;
use crate::limits::SCORING_STACK_BYTES;
#[cfg(feature = "onnx")]
use crate::limits::SCORING_STACK_ONNX_BYTES;
use alfred_core::normalise::PixelScale;
use alfred_core::scorer::Scorer;
use alfred_core::units::Threshold;
use alfred_models::ga_vae::scorer::{GaVaeScorer, HeapScorer};
#[cfg(feature = "onnx")]
use alfred_models::onnx_manifest::Declaration;
use alfred_models::sparta::fold::FoldedSparta;
use alfred_models::sparta::fold_tokens::FoldedTokens;
use alfred_models::sparta::parameters::Form;
use alfred_models::sparta::scorer::{Lane as WideLane, SpartaScorer};
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
#[cfg(feature = "onnx")]
use alfred_models::tract_engine::{ModelSource, TractEngine};
use alfred_models::weights::{self, Weights};
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "onnx")]
pub use alfred_models::tract_engine::Budget;

/// Memory for ONNX files; of no effect, since this build has no engine for them.
#[cfg(not(feature = "onnx"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// A region of so many bytes.
    Bounded {
        /// `model.arena_bytes`.
        bytes: usize,
    },
    /// The program's heap.
    Unbounded,
}

/// What scores.
pub enum Model {
    /// STG-NF, native.
    StgNf(Box<StgNfScorer>),
    /// SPARTA in its published form, native.
    Sparta(Box<SpartaScorer<Arc<FoldedSparta>>>),
    /// SPARTA with attention over tokens, native.
    SpartaTokens(Box<SpartaScorer<Arc<FoldedTokens>>>),
    /// GA-VAE, native.
    GaVae(Box<HeapScorer>),
    /// An ONNX file in tract.
    #[cfg(feature = "onnx")]
    Onnx(Box<TractEngine>),
}

impl Model {
    fn as_scorer(&self) -> &dyn Scorer {
        match self {
            Self::StgNf(scorer) => scorer.as_ref(),
            Self::Sparta(scorer) => scorer.as_ref(),
            Self::SpartaTokens(scorer) => scorer.as_ref(),
            Self::GaVae(scorer) => scorer.as_ref(),
            #[cfg(feature = "onnx")]
            Self::Onnx(engine) => engine.as_ref(),
        }
    }
}

/// A model and what its file says.
pub struct LoadedModel {
    /// What scores.
    pub model: Model,
    /// `stg-nf/avx512`, `sparta-tokens/exact`, `ga-vae/neon`, `onnx/tract`.
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
        self.model.as_scorer().window_frames()
    }

    /// Frame of a window that its score belongs to.
    #[must_use]
    pub fn score_frame(&self) -> usize {
        self.model.as_scorer().score_frame_in_window()
    }

    /// The scorer, to be used on this thread.
    pub fn scorer(&mut self) -> &mut dyn Scorer {
        match &mut self.model {
            Model::StgNf(scorer) => scorer.as_mut(),
            Model::Sparta(scorer) => scorer.as_mut(),
            Model::SpartaTokens(scorer) => scorer.as_mut(),
            Model::GaVae(scorer) => scorer.as_mut(),
            #[cfg(feature = "onnx")]
            Model::Onnx(engine) => engine.as_mut(),
        }
    }

    /// The scorer, to be moved to another thread.
    #[must_use]
    pub fn into_scorer(self) -> Box<dyn Scorer + Send> {
        match self.model {
            Model::StgNf(scorer) => scorer,
            Model::Sparta(scorer) => scorer,
            Model::SpartaTokens(scorer) => scorer,
            Model::GaVae(scorer) => scorer,
            #[cfg(feature = "onnx")]
            Model::Onnx(mut engine) => {
                // What tract keeps for this thread must not move to the other.
                engine.quiesce();
                engine
            }
        }
    }

    /// Bytes of the scorer, its folded weights and its scratch memory, and of its arena.
    #[must_use]
    pub fn bytes(&self) -> (usize, usize) {
        match &self.model {
            Model::StgNf(scorer) => (size_of_val(&**scorer), 0),
            Model::Sparta(scorer) => (size_of_val(&**scorer) + size_of::<FoldedSparta>(), 0),
            Model::SpartaTokens(scorer) => (size_of_val(&**scorer) + size_of::<FoldedTokens>(), 0),
            Model::GaVae(scorer) => (size_of_val(&**scorer) + scorer.heap_bytes(), 0),
            #[cfg(feature = "onnx")]
            Model::Onnx(engine) => (size_of_val(&**engine), engine.report().arena_bytes),
        }
    }

    /// Stack that a scoring thread needs.
    #[must_use]
    pub const fn stack_bytes(&self) -> usize {
        match &self.model {
            Model::StgNf(_) | Model::Sparta(_) | Model::SpartaTokens(_) | Model::GaVae(_) => SCORING_STACK_BYTES,
            #[cfg(feature = "onnx")]
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
        Some("safetensors") => load_native(path, lane),
        Some("onnx") => load_onnx(path, budget),
        _ => Err(Error::file(
            path,
            "unknown kind of model: a .safetensors file with weights of STG-NF, SPARTA or GA-VAE, or an .onnx file, is needed",
        )),
    }
}

fn load_native(path: &Path, lane: LaneName) -> Result<LoadedModel, Error> {
    let weights = weights::read_path(path).map_err(|fault| Error::file(path, fault))?;
    let scale = scale_of(weights.preprocessing(), weights.unnamed_scale()).map_err(|what| Error::file(path, what))?;
    let threshold = weights.threshold().map(Threshold::new).transpose().map_err(|error| Error::file(path, error))?;
    let (lane, wide) = match lane {
        LaneName::Fast => (Lane::Fast, WideLane::Fast),
        LaneName::Exact => (Lane::Exact, WideLane::Exact),
    };
    let (model, name) = match weights {
        Weights::StgNf(weights) => {
            let scorer = StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), lane);
            let scorer = scorer.map_err(|fault| Error::file(path, fault))?;
            let name = format!("stg-nf/{}", scorer.lane_name());
            (Model::StgNf(Box::new(scorer)), name)
        }
        Weights::Sparta(weights) => match weights.metadata.form {
            Form::Published => {
                let scorer = SpartaScorer::new(&weights.parameters, wide).map_err(|fault| Error::file(path, fault))?;
                let name = format!("sparta-published/{}", scorer.lane_name());
                (Model::Sparta(Box::new(scorer)), name)
            }
            Form::Tokens => {
                let scorer = SpartaScorer::new_tokens(&weights.parameters, wide).map_err(|fault| Error::file(path, fault))?;
                let name = format!("sparta-tokens/{}", scorer.lane_name());
                (Model::SpartaTokens(Box::new(scorer)), name)
            }
        },
        Weights::GaVae(weights) => {
            let scorer = GaVaeScorer::new(&weights.parameters, wide).map_err(|fault| Error::file(path, fault))?;
            let name = format!("ga-vae/{}", scorer.lane_name());
            (Model::GaVae(Box::new(scorer)), name)
        }
    };
    Ok(LoadedModel { model, name, scale, threshold })
}

#[cfg(not(feature = "onnx"))]
fn load_onnx(path: &Path, _: Budget) -> Result<LoadedModel, Error> {
    Err(Error::file(path, "this build has no engine for ONNX files: give a .safetensors file, or build alfred-edge with its feature onnx"))
}

#[cfg(feature = "onnx")]
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
    let threshold = manifest.threshold.map(Threshold::new).transpose().map_err(|error| Error::file(path, error))?;
    Ok(LoadedModel { name: "onnx/tract".into(), model: Model::Onnx(Box::new(engine)), scale, threshold })
}

fn scale_of(preprocessing: Option<&str>, published: PixelScale) -> Result<PixelScale, String> {
    let Some(name) = preprocessing else { return Ok(published) };
    PixelScale::of_preprocessing(name).ok_or_else(|| {
        let known: Vec<&str> = PixelScale::PREPROCESSINGS.iter().map(|(name, _)| *name).collect();
        format!("metadata preprocessing = {name:?} is unknown to this build: one of {} is needed", known.join(", "))
    })
}
