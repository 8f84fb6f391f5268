//! GA-VAE weight files: safetensors, read with every fault named, and written.

use super::parameters::{GaVaeParameters, HeapParameters, ParameterFault, ScoreRule};
use super::shape::{GaVaeShape, ShapeFault, WINDOW_FRAMES};
use crate::weights_file::{self, CommonMetadata, FileFault, Format, WeightFile};
use std::collections::BTreeMap;
use std::path::Path;

/// Largest weight file in bytes; width 10 has 13 MB, width 16 has 34 MB.
pub const WEIGHTS_FILE_BYTES_MAX: u64 = 40 * 1024 * 1024;

/// Value of the metadata `architecture`.
pub const ARCHITECTURE: &str = "ga-vae";

/// A tensor whose length is 8 d.
pub(crate) const WIDTH_NAME: &str = "encoder.0.norm.weight";

static FORMAT: Format = Format {
    model: "GA-VAE",
    bytes_max: WEIGHTS_FILE_BYTES_MAX,
    missing: "write the whole model, decoder, running statistics and reference mean included",
    unexpected: "a GA-VAE: remove it, or choose another architecture",
    shape: "all tensors must fit the same width",
};

/// What a weight file says beside its tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GaVaeMetadata {
    /// Name of the preprocessing that the model was trained with (`preprocessing`).
    pub preprocessing: Option<String>,
    /// Decision threshold on the model's score (`threshold`), finite.
    pub threshold: Option<f32>,
    /// Every other key, kept as it is: source, licence, notes.
    pub other: BTreeMap<String, String>,
}

/// A weight file's content.
#[derive(Clone, Debug, PartialEq)]
pub struct GaVaeWeights {
    /// Valid parameters.
    pub parameters: HeapParameters,
    /// What else the file says.
    pub metadata: GaVaeMetadata,
}

/// Why a weight file is refused. One line each: what is wrong, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum WeightsFault {
    /// The container, its metadata, or a tensor's name, type or shape.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The width is none that a model can have.
    #[error("{0}")]
    Width(#[from] ShapeFault),
    /// A value makes no sense.
    #[error("{0}")]
    Parameters(#[from] ParameterFault),
}

/// Reads a weight file; see [`read`].
///
/// # Errors
/// [`WeightsFault`]; a file beyond the size limit is not read to its end.
pub fn read_path(path: &Path) -> Result<GaVaeWeights, WeightsFault> {
    read(&weights_file::read_bytes(path, &FORMAT)?)
}

/// Reads the bytes of a weight file. The width comes from the tensors; where the metadata `width` is there, it must agree.
///
/// # Errors
/// [`WeightsFault`], naming the tensor or the key.
pub fn read(bytes: &[u8]) -> Result<GaVaeWeights, WeightsFault> {
    let mut file = WeightFile::open(bytes, &FORMAT)?;
    file.check_entry("architecture", "this reader knows \"ga-vae\"", ARCHITECTURE)?;
    let rules = ScoreRule::ALL.map(|rule| format!("{:?}", rule.name())).join(" or ");
    let rule = file.take_entry("score_rule", &format!("this architecture's is {rules}"), ScoreRule::named)?.unwrap_or_default();
    file.check_entry("seg_len", "this architecture has windows of 24 detections", &WINDOW_FRAMES.to_string())?;
    let found = file.dimensions(WIDTH_NAME)?;
    let &[channels] = found.as_slice() else { return Err(file.shape_fault(WIDTH_NAME, &[80], &found).into()) };
    let shape = GaVaeShape::new(channels / 8)?;
    let width = shape.width();
    file.check_entry("width", &format!("the tensors mean {width}"), &width.to_string())?;
    let mut parameters = HeapParameters::zero(shape).with_rule(rule);
    parameters.try_visit_mut(|tensor| file.take(&tensor.name.to_string(), tensor.shape.dimensions(), tensor.values))?;
    file.refuse_others()?;
    parameters.validate()?;
    let CommonMetadata { preprocessing, threshold, other, .. } = file.into_common()?;
    Ok(GaVaeWeights { parameters, metadata: GaVaeMetadata { preprocessing, threshold, other } })
}

/// Writes a weight file; the same model gives the same bytes.
///
/// # Errors
/// [`WeightsFault::Parameters`] for values that reading would refuse; [`WeightsFault::File`] when the format cannot hold them.
pub fn write<V: AsRef<[f32]>>(parameters: &GaVaeParameters<V>, metadata: &GaVaeMetadata) -> Result<Vec<u8>, WeightsFault> {
    parameters.validate()?;
    let GaVaeMetadata { preprocessing, threshold, other } = metadata.clone();
    let tensors = parameters.tensors().map(|tensor| (tensor.name.to_string(), tensor.shape.dimensions().to_vec(), tensor.values));
    let own = [
        ("architecture", ARCHITECTURE.to_string()),
        ("seg_len", WINDOW_FRAMES.to_string()),
        ("width", parameters.shape().width().to_string()),
    ];
    let common = CommonMetadata { preprocessing, threshold, score_rule: Some(parameters.rule().name().to_string()), other };
    Ok(weights_file::write(tensors, common, own)?)
}
