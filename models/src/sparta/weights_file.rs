//! SPARTA weight files: safetensors with the published tensor names, read with every fault named, and written.

use super::parameters::{EMBEDDING, Form, HEADS, HIDDEN, LAYERS, ParameterFault, SpartaParameters, TOKENS};
use crate::weights_file::{self, CommonMetadata, FileFault, Format, WeightFile};
use std::collections::BTreeMap;
use std::path::Path;

/// Largest weight file in bytes; a published one has 1.3 MB.
pub const WEIGHTS_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Value of the metadata `architecture`.
pub const ARCHITECTURE: &str = "sparta-ftd";

static FORMAT: Format = Format {
    model: "SPARTA",
    bytes_max: WEIGHTS_FILE_BYTES_MAX,
    missing: "convert the whole checkpoint of a future-target decoder (FTD)",
    unexpected: "SPARTA with 4 + 4 layers: remove it, or choose another architecture",
    shape: "only width 72 and hidden width 64 are supported",
};

const _: () = assert!(LAYERS == 4 && EMBEDDING == 72 && HIDDEN == 64);

/// Sizes that metadata may declare, and must then declare like this.
const SIZES: [(&str, usize); 5] = [("seg_len", TOKENS), ("d_model", EMBEDDING), ("layers", LAYERS), ("heads", HEADS), ("ff", HIDDEN)];

/// What to do about a form that this reader does not know: among them the first tokens form, whose tensors had the same shapes.
const FORM_MEND: &str = "it must be \"published\" or \"tokens-2\"; weights of the first form \"tokens\" (windows of 48, squared error) cannot be used \
                         any more: train anew with alfred-host train --arch sparta";

/// Parameters on the heap.
pub type HeapParameters = SpartaParameters<Box<[f32]>>;

/// What a weight file says beside its tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpartaMetadata {
    /// Over what attention runs (`form`); files without it are published ones.
    pub form: Form,
    /// Name of the preprocessing that the model was trained with (`preprocessing`).
    pub preprocessing: Option<String>,
    /// Decision threshold on the model's score (`threshold`), finite.
    pub threshold: Option<f32>,
    /// How outputs become a score (`score_rule`).
    pub score_rule: Option<String>,
    /// Every other key, kept as it is: source, licence, notes.
    pub other: BTreeMap<String, String>,
}

/// A weight file's content.
#[derive(Clone, Debug, PartialEq)]
pub struct SpartaWeights {
    /// Valid parameters.
    pub parameters: HeapParameters,
    /// What else the file says.
    pub metadata: SpartaMetadata,
}

/// Why a weight file is refused. One line each: what is wrong, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum WeightsFault {
    /// The container, its metadata, or a tensor's name, type or shape.
    #[error(transparent)]
    File(#[from] FileFault),
    /// A value makes no sense.
    #[error("{0}")]
    Parameters(#[from] ParameterFault),
}

/// Reads a weight file; see [`read`].
///
/// # Errors
/// [`WeightsFault`]; a file beyond the size limit is not read to its end.
pub fn read_path(path: &Path) -> Result<SpartaWeights, WeightsFault> {
    read(&weights_file::read_bytes(path, &FORMAT)?)
}

/// Reads the bytes of a weight file.
///
/// # Errors
/// [`WeightsFault`], naming the tensor or the key.
pub fn read(bytes: &[u8]) -> Result<SpartaWeights, WeightsFault> {
    let mut file = WeightFile::open(bytes, &FORMAT)?;
    file.check_entry("architecture", "this reader knows \"sparta-ftd\"", ARCHITECTURE)?;
    for (key, size) in SIZES {
        file.take_entry(key, &format!("this architecture has {size}"), |value| value.parse().ok().filter(|&found: &usize| found == size))?;
    }
    let form = file.take_entry("form", FORM_MEND, Form::from_name)?.unwrap_or_default();
    let mut parameters = HeapParameters::zero();
    parameters.try_visit_mut(|tensor| file.take(&tensor.name.to_string(), tensor.shape.dimensions(), tensor.values))?;
    file.refuse_others()?;
    parameters.validate()?;
    let CommonMetadata { preprocessing, threshold, score_rule, other } = file.into_common()?;
    Ok(SpartaWeights { parameters, metadata: SpartaMetadata { form, preprocessing, threshold, score_rule, other } })
}

/// Writes a weight file with the published tensor names; the same model gives the same bytes.
///
/// # Errors
/// [`WeightsFault::Parameters`] for values that reading would refuse; [`WeightsFault::File`] when the format cannot hold them.
pub fn write<V: AsRef<[f32]>>(parameters: &SpartaParameters<V>, metadata: &SpartaMetadata) -> Result<Vec<u8>, WeightsFault> {
    parameters.validate()?;
    let SpartaMetadata { form, preprocessing, threshold, score_rule, other } = metadata.clone();
    let tensors = parameters.tensors().map(|tensor| (tensor.name.to_string(), tensor.shape.dimensions().to_vec(), tensor.values));
    let own = [("architecture", ARCHITECTURE.to_string()), ("form", form.name().to_string())];
    let sizes = SIZES.map(|(key, size)| (key, size.to_string()));
    let common = CommonMetadata { preprocessing, threshold, score_rule, other };
    Ok(weights_file::write(tensors, common, own.into_iter().chain(sizes))?)
}
