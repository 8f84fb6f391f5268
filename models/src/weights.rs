//! Weight files of any native architecture: which one it is, is asked of the file.

use crate::ga_vae::shape::WINDOW_FRAMES as GA_VAE_FRAMES;
use crate::ga_vae::weights_file::{self as ga_vae_file, GaVaeWeights};
use crate::sparta::weights_file::{self as sparta_file, SpartaWeights};
use crate::stg_nf::weights_file::{self as stg_nf_file, StgNfWeights};
use crate::weights_file::{FileFault, Format, WeightFile, read_bytes};
use alfred_core::normalise::PixelScale;
use std::path::Path;

/// A tensor that only SPARTA's files hold.
const SPARTA_NAME: &str = "encoder.layers.0.self_attn.in_proj_weight";

static ANY: Format = Format {
    model: "native",
    bytes_max: ga_vae_file::WEIGHTS_FILE_BYTES_MAX,
    missing: "use a weight file of STG-NF, SPARTA or GA-VAE",
    unexpected: "any native architecture",
    shape: "all tensors must fit the same model",
};

/// A weight file's content, by architecture.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// STG-NF.
    StgNf(Box<StgNfWeights>),
    /// SPARTA, in either form.
    Sparta(SpartaWeights),
    /// GA-VAE.
    GaVae(GaVaeWeights),
}

/// Why a weight file is refused. One line each: what is wrong, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum WeightsFault {
    /// The file cannot be read or is no container of weights.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The file belongs to no native architecture.
    #[error("the weight file says architecture {found:?}: one of \"stg-nf\", \"sparta-ftd\" and \"ga-vae\" is needed")]
    Architecture {
        /// What the file says; empty if nothing.
        found: String,
    },
    /// No STG-NF model.
    #[error(transparent)]
    StgNf(#[from] stg_nf_file::WeightsFault),
    /// No SPARTA model.
    #[error(transparent)]
    Sparta(#[from] sparta_file::WeightsFault),
    /// No GA-VAE model.
    #[error(transparent)]
    GaVae(#[from] ga_vae_file::WeightsFault),
}

/// Reads a weight file of any native architecture; see [`read`].
///
/// # Errors
/// [`WeightsFault`]; a file beyond the size limit is not read to its end.
pub fn read_path(path: &Path) -> Result<Weights, WeightsFault> {
    read(&read_bytes(path, &ANY)?)
}

/// Reads the bytes of a weight file. The architecture is the metadata `architecture`; a file without it (converted from a published
/// checkpoint) is known by its tensors.
///
/// # Errors
/// [`WeightsFault`], naming the tensor or the key.
pub fn read(bytes: &[u8]) -> Result<Weights, WeightsFault> {
    let file = WeightFile::open(bytes, &ANY)?;
    let architecture = match file.entry("architecture") {
        Some(name) => name.trim().to_string(),
        None if file.holds(stg_nf_file::KERNEL_NAME) => stg_nf_file::ARCHITECTURE.to_string(),
        None if file.holds(SPARTA_NAME) => sparta_file::ARCHITECTURE.to_string(),
        None if file.holds(ga_vae_file::WIDTH_NAME) => ga_vae_file::ARCHITECTURE.to_string(),
        None => String::new(),
    };
    match architecture.as_str() {
        stg_nf_file::ARCHITECTURE => Ok(Weights::StgNf(Box::new(stg_nf_file::read(bytes)?))),
        sparta_file::ARCHITECTURE => Ok(Weights::Sparta(sparta_file::read(bytes)?)),
        ga_vae_file::ARCHITECTURE => Ok(Weights::GaVae(ga_vae_file::read(bytes)?)),
        _ => Err(WeightsFault::Architecture { found: architecture }),
    }
}

impl Weights {
    /// `stg-nf`, `sparta-ftd` or `ga-vae`.
    #[must_use]
    pub const fn architecture(&self) -> &'static str {
        match self {
            Self::StgNf(_) => stg_nf_file::ARCHITECTURE,
            Self::Sparta(_) => sparta_file::ARCHITECTURE,
            Self::GaVae(_) => ga_vae_file::ARCHITECTURE,
        }
    }

    /// Detections of a window.
    #[must_use]
    pub const fn window_frames(&self) -> usize {
        match self {
            Self::StgNf(weights) => weights.parameters.shape.frames(),
            Self::Sparta(weights) => weights.metadata.form.window_frames(),
            Self::GaVae(_) => GA_VAE_FRAMES,
        }
    }

    /// Frame of a window, counted from its first one, that its score belongs to.
    #[must_use]
    pub const fn score_frame_in_window(&self) -> usize {
        match self {
            Self::StgNf(_) | Self::GaVae(_) => self.window_frames() / 2,
            Self::Sparta(weights) => weights.metadata.form.score_frame(),
        }
    }

    /// What pixels were divided by where the file does not say it: the published constants of its architecture; GA-VAE has no published
    /// weights, so that its files are our own.
    #[must_use]
    pub const fn unnamed_scale(&self) -> PixelScale {
        match self {
            Self::StgNf(_) => PixelScale::PUBLISHED_STG_NF,
            Self::Sparta(_) => PixelScale::PUBLISHED_SPARTA,
            Self::GaVae(_) => PixelScale::SQUARE,
        }
    }

    /// Name of the preprocessing that the model was trained with, if the file has it.
    #[must_use]
    pub fn preprocessing(&self) -> Option<&str> {
        match self {
            Self::StgNf(weights) => weights.metadata.preprocessing.as_deref(),
            Self::Sparta(weights) => weights.metadata.preprocessing.as_deref(),
            Self::GaVae(weights) => weights.metadata.preprocessing.as_deref(),
        }
    }

    /// Decision threshold on the model's score, if the file has one.
    #[must_use]
    pub const fn threshold(&self) -> Option<f32> {
        match self {
            Self::StgNf(weights) => weights.metadata.threshold,
            Self::Sparta(weights) => weights.metadata.threshold,
            Self::GaVae(weights) => weights.metadata.threshold,
        }
    }

    /// Sets the decision threshold, or removes it.
    pub const fn set_threshold(&mut self, threshold: Option<f32>) {
        match self {
            Self::StgNf(weights) => weights.metadata.threshold = threshold,
            Self::Sparta(weights) => weights.metadata.threshold = threshold,
            Self::GaVae(weights) => weights.metadata.threshold = threshold,
        }
    }

    /// The bytes of a weight file with this content.
    ///
    /// # Errors
    /// [`WeightsFault`] for values that reading would refuse.
    pub fn write(&self) -> Result<Vec<u8>, WeightsFault> {
        Ok(match self {
            Self::StgNf(weights) => stg_nf_file::write(&weights.parameters, &weights.metadata)?,
            Self::Sparta(weights) => sparta_file::write(&weights.parameters, &weights.metadata)?,
            Self::GaVae(weights) => ga_vae_file::write(&weights.parameters, &weights.metadata)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ga_vae, sparta, stg_nf};

    fn models() -> [Weights; 3] {
        let shape = stg_nf::parameters::StgNfShape::new(24).expect("a valid length");
        let width = ga_vae::shape::GaVaeShape::new(2).expect("a valid width");
        [
            Weights::StgNf(Box::new(StgNfWeights {
                parameters: stg_nf::parameters::StgNfParameters::zero(shape),
                metadata: stg_nf_file::StgNfMetadata::default(),
            })),
            Weights::Sparta(SpartaWeights {
                parameters: sparta_file::HeapParameters::zero(),
                metadata: sparta_file::SpartaMetadata { form: sparta::parameters::Form::Tokens, ..Default::default() },
            }),
            Weights::GaVae(GaVaeWeights {
                parameters: ga_vae::parameters::HeapParameters::zero(width),
                metadata: ga_vae_file::GaVaeMetadata::default(),
            }),
        ]
    }

    #[test]
    fn every_architecture_is_read_back_as_itself() {
        for (mut weights, frames) in models().into_iter().zip([24, 24, 24]) {
            weights.set_threshold(Some(0.25));
            let bytes = weights.write().expect("valid");
            let read = read(&bytes).expect("what was written is valid");
            assert_eq!(read, weights);
            assert_eq!((read.threshold(), read.window_frames()), (Some(0.25), frames));
        }
    }

    #[test]
    fn files_without_an_architecture_are_known_by_their_tensors() {
        for weights in models() {
            let bytes = weights.write().expect("valid");
            let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a container");
            let mut metadata = header.metadata().clone().expect("metadata");
            let architecture = metadata.remove("architecture").expect("it is written");
            assert_eq!(architecture, weights.architecture());
            let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a container");
            let bare = safetensors::serialize(tensors.tensors(), Some(metadata.clone())).expect("writes");
            assert_eq!(read(&bare).expect("known by its tensors"), weights);
            metadata.insert("architecture".into(), "another".into());
            let other = safetensors::serialize(tensors.tensors(), Some(metadata)).expect("writes");
            assert!(read(&other).is_err_and(|fault| fault.to_string().contains("\"another\"")));
        }
    }

    #[test]
    fn what_holds_no_model_is_refused() {
        let empty: [(&str, safetensors::tensor::TensorView<'_>); 0] = [];
        let bytes = safetensors::serialize(empty, None).expect("writes");
        assert!(matches!(read(&bytes), Err(WeightsFault::Architecture { .. })));
        assert!(matches!(read(b"nothing"), Err(WeightsFault::File(FileFault::Container(_)))));
        assert!(matches!(read_path(Path::new("no/such/file")), Err(WeightsFault::File(FileFault::Unreadable(_)))));
    }
}
