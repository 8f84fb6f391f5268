//! SPARTA weight files: safetensors with the published tensor names, read with every fault named, and written.
//!
//! A file is untrusted: its size is checked before anything is parsed, then its header, then each tensor's type, shape and values.

use super::parameters::{EMBEDDING, Form, HEADS, HIDDEN, LAYERS, ParameterFault, SpartaParameters, TOKENS};
use crate::sorted_header::with_sorted_header;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::path::Path;

/// Largest weight file in bytes; a published one has 1.3 MB.
pub const WEIGHTS_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Value of the metadata `architecture`.
pub const ARCHITECTURE: &str = "sparta-ftd";

/// Sizes that metadata may declare, and must then declare like this.
const SIZES: [(&str, usize); 5] = [("seg_len", TOKENS), ("d_model", EMBEDDING), ("layers", LAYERS), ("heads", HEADS), ("ff", HIDDEN)];

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
    /// The file cannot be read.
    #[error("the weight file cannot be read: {0}: check its path and permissions")]
    Unreadable(#[from] std::io::Error),
    /// The file is larger than [`WEIGHTS_FILE_BYTES_MAX`].
    #[error("the weight file has more than {WEIGHTS_FILE_BYTES_MAX} bytes: it is no SPARTA model")]
    TooLarge,
    /// The container is damaged.
    #[error("the weight file is no safetensors file: {0}: copy or convert it again")]
    Container(SafeTensorError),
    /// A tensor of the model is not in the file.
    #[error("tensor {0} is missing: convert the whole checkpoint of a future-target decoder (FTD)")]
    Missing(String),
    /// The file holds a tensor that no SPARTA model has.
    #[error("tensor {0} is no part of SPARTA with {LAYERS} + {LAYERS} layers: remove it, or choose another architecture")]
    Unexpected(String),
    /// A tensor has another shape.
    #[error("tensor {name} has shape {found:?} instead of {expected:?}: only width {EMBEDDING} and hidden width {HIDDEN} are supported")]
    Shape {
        /// Full name.
        name: String,
        /// Shape of the architecture.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A tensor has another type than `f32`.
    #[error("tensor {name} has type {found:?} instead of F32: convert it with .float()")]
    Type {
        /// Full name.
        name: String,
        /// Type in the file.
        found: Dtype,
    },
    /// A metadata value is not understood, or is not this architecture's.
    #[error("metadata {key} = {value:?} is not valid: {mend}")]
    Metadata {
        /// The key.
        key: &'static str,
        /// Its value in the file.
        value: String,
        /// What it should be.
        mend: String,
    },
    /// A value makes no sense.
    #[error("{0}")]
    Parameters(#[from] ParameterFault),
}

/// Reads a weight file; see [`read`].
///
/// # Errors
/// [`WeightsFault`]; a file beyond the size limit is not read to its end.
pub fn read_path(path: &Path) -> Result<SpartaWeights, WeightsFault> {
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to know.
    std::fs::File::open(path)?.take(WEIGHTS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    read(&bytes)
}

/// Reads the bytes of a weight file.
///
/// # Errors
/// [`WeightsFault`], naming the tensor or the key.
pub fn read(bytes: &[u8]) -> Result<SpartaWeights, WeightsFault> {
    if bytes.len() as u64 > WEIGHTS_FILE_BYTES_MAX {
        return Err(WeightsFault::TooLarge);
    }
    let file = SafeTensors::deserialize(bytes).map_err(WeightsFault::Container)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(WeightsFault::Container)?;
    let entries = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    let metadata = read_metadata(entries)?;
    let mut parameters = HeapParameters::zero();
    let mut known = HashSet::new();
    parameters.try_visit_mut(|tensor| {
        let name = tensor.name.to_string();
        let view = view(&file, &name, tensor.shape.dimensions())?;
        for (value, bytes) in tensor.values.iter_mut().zip(view.data().as_chunks().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        known.insert(name);
        Ok::<(), WeightsFault>(())
    })?;
    // The smallest name, so that the message is the same on every run.
    if let Some(name) = file.names().into_iter().filter(|name| !known.contains(*name)).min() {
        return Err(WeightsFault::Unexpected(name.to_string()));
    }
    parameters.validate()?;
    Ok(SpartaWeights { parameters, metadata })
}

/// Writes a weight file with the published tensor names; the same model gives the same bytes.
///
/// # Errors
/// [`WeightsFault::Parameters`] for values that reading would refuse; [`WeightsFault::Container`] when the format cannot hold them.
pub fn write<V: AsRef<[f32]>>(parameters: &SpartaParameters<V>, metadata: &SpartaMetadata) -> Result<Vec<u8>, WeightsFault> {
    parameters.validate()?;
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = parameters
        .tensors()
        .map(|tensor| {
            let bytes = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (tensor.name.to_string(), tensor.shape.dimensions().to_vec(), bytes)
        })
        .collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (name, shape, bytes) in &tensors {
        views.push((name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(WeightsFault::Container)?));
    }
    let bytes = safetensors::serialize(views, Some(write_metadata(metadata))).map_err(WeightsFault::Container)?;
    Ok(with_sorted_header(&bytes).unwrap_or(bytes))
}

/// A tensor of the file, its type and shape checked.
fn view<'a>(file: &SafeTensors<'a>, name: &str, expected: &[usize]) -> Result<TensorView<'a>, WeightsFault> {
    let view = file.tensor(name).map_err(|_| WeightsFault::Missing(name.to_string()))?;
    if view.dtype() != Dtype::F32 {
        return Err(WeightsFault::Type { name: name.to_string(), found: view.dtype() });
    }
    if view.shape() != expected {
        return Err(WeightsFault::Shape { name: name.to_string(), expected: expected.to_vec(), found: view.shape().to_vec() });
    }
    Ok(view)
}

/// A metadata value that parses and passes the check.
fn parse<T>(
    entries: &mut BTreeMap<String, String>,
    key: &'static str,
    mend: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, WeightsFault> {
    let Some(value) = entries.remove(key) else { return Ok(None) };
    match parse(value.trim()) {
        Some(parsed) => Ok(Some(parsed)),
        None => Err(WeightsFault::Metadata { key, value, mend: mend.to_string() }),
    }
}

/// Everything beside the tensors.
fn read_metadata(mut entries: BTreeMap<String, String>) -> Result<SpartaMetadata, WeightsFault> {
    parse(&mut entries, "architecture", "this reader knows \"sparta-ftd\"", |name| (name == ARCHITECTURE).then_some(()))?;
    for (key, size) in SIZES {
        let mend = format!("this architecture has {size}");
        parse(&mut entries, key, &mend, |value| value.parse().ok().filter(|&found: &usize| found == size))?;
    }
    let form = parse(&mut entries, "form", "it must be \"published\" or \"tokens\"", Form::from_name)?;
    let threshold = parse(&mut entries, "threshold", "it must be a finite number", |value| {
        value.parse().ok().filter(|threshold: &f32| threshold.is_finite())
    })?;
    Ok(SpartaMetadata {
        form: form.unwrap_or_default(),
        preprocessing: entries.remove("preprocessing"),
        threshold,
        score_rule: entries.remove("score_rule"),
        other: entries,
    })
}

/// The metadata of a file to be written; ours win over entries of the same key in `other`.
fn write_metadata(metadata: &SpartaMetadata) -> HashMap<String, String> {
    let mut entries: HashMap<String, String> = metadata.other.clone().into_iter().collect();
    let mut insert = |key: &str, value: String| entries.insert(key.to_string(), value);
    insert("architecture", ARCHITECTURE.to_string());
    insert("form", metadata.form.name().to_string());
    for (key, size) in SIZES {
        insert(key, size.to_string());
    }
    if let Some(preprocessing) = &metadata.preprocessing {
        insert("preprocessing", preprocessing.clone());
    }
    if let Some(threshold) = metadata.threshold {
        // Debug prints the fewest digits that read back as the same number.
        insert("threshold", format!("{threshold:?}"));
    }
    if let Some(rule) = &metadata.score_rule {
        insert("score_rule", rule.clone());
    }
    entries
}
