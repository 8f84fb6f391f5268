//! What the weight files of all native architectures have in common: a safetensors container, read with every fault named, and written.
//!
//! A file is untrusted: its size is checked before anything is parsed, then its header, then each tensor's type, shape and values.

use crate::sorted_header::with_sorted_header;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

/// Why a container is refused. One line each: what is wrong, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The file cannot be read.
    #[error("the weight file cannot be read: {0}: check its path and permissions")]
    Unreadable(#[from] std::io::Error),
    /// The file is larger than any of its architecture.
    #[error("the weight file has more than {bytes_max} bytes: it is no {model} model")]
    TooLarge {
        /// Bytes that are allowed.
        bytes_max: u64,
        /// The architecture.
        model: &'static str,
    },
    /// The container is damaged.
    #[error("the weight file is no safetensors file: {0}: copy or convert it again")]
    Container(SafeTensorError),
    /// A tensor of the model is not in the file.
    #[error("tensor {name} is missing: {mend}")]
    Missing {
        /// Full name.
        name: String,
        /// What to do.
        mend: &'static str,
    },
    /// The file holds a tensor that no such model has.
    #[error("tensor {name} is no part of {mend}")]
    Unexpected {
        /// Full name.
        name: String,
        /// The architecture and what to do.
        mend: &'static str,
    },
    /// A tensor has another shape.
    #[error("tensor {name} has shape {found:?} instead of {expected:?}: {mend}")]
    Shape {
        /// Full name.
        name: String,
        /// Shape of the architecture.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
        /// What to do.
        mend: &'static str,
    },
    /// A tensor has another type than `f32`.
    #[error("tensor {name} has type {found:?} instead of F32: convert it with .float()")]
    Type {
        /// Full name.
        name: String,
        /// Type in the file.
        found: Dtype,
    },
    /// A metadata value is not understood, or contradicts the architecture or the tensors.
    #[error("metadata {key} = {value:?} is not valid: {mend}")]
    Metadata {
        /// The key.
        key: &'static str,
        /// Its value in the file.
        value: String,
        /// What it should be.
        mend: String,
    },
}

/// What an architecture's files are called and how they are mended.
#[derive(Debug)]
pub(crate) struct Format {
    /// Name in sentences.
    pub(crate) model: &'static str,
    /// Largest file.
    pub(crate) bytes_max: u64,
    /// After "tensor X is missing: ".
    pub(crate) missing: &'static str,
    /// After "tensor X is no part of ".
    pub(crate) unexpected: &'static str,
    /// After "tensor X has shape A instead of B: ".
    pub(crate) shape: &'static str,
}

/// What every weight file may say beside its tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CommonMetadata {
    pub(crate) preprocessing: Option<String>,
    pub(crate) threshold: Option<f32>,
    pub(crate) score_rule: Option<String>,
    pub(crate) other: BTreeMap<String, String>,
}

/// Reads a file of at most so many bytes.
pub(crate) fn read_bytes(path: &Path, format: &Format) -> Result<Vec<u8>, FileFault> {
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to know.
    std::fs::File::open(path)?.take(format.bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// An opened container: tensors and metadata are taken out of it, and what remains is refused or kept.
pub(crate) struct WeightFile<'a> {
    format: &'static Format,
    tensors: SafeTensors<'a>,
    entries: BTreeMap<String, String>,
    known: BTreeSet<String>,
}

impl<'a> WeightFile<'a> {
    /// Checks size and header.
    pub(crate) fn open(bytes: &'a [u8], format: &'static Format) -> Result<Self, FileFault> {
        if bytes.len() as u64 > format.bytes_max {
            return Err(FileFault::TooLarge { bytes_max: format.bytes_max, model: format.model });
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(FileFault::Container)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(FileFault::Container)?;
        let entries = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Self { format, tensors, entries, known: BTreeSet::new() })
    }

    /// A metadata value as it stands.
    pub(crate) fn entry(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// Shape of a tensor that must be there.
    pub(crate) fn dimensions(&self, name: &str) -> Result<Vec<usize>, FileFault> {
        match self.tensors.tensor(name) {
            Ok(view) => Ok(view.shape().to_vec()),
            Err(_) => Err(FileFault::Missing { name: name.to_string(), mend: self.format.missing }),
        }
    }

    /// The fault of a tensor with another shape.
    pub(crate) fn shape_fault(&self, name: &str, expected: &[usize], found: &[usize]) -> FileFault {
        FileFault::Shape { name: name.to_string(), expected: expected.to_vec(), found: found.to_vec(), mend: self.format.shape }
    }

    /// The values of a tensor if it is there, its type and shape checked.
    pub(crate) fn take_if_any(&mut self, name: &str, expected: &[usize]) -> Result<Option<impl Iterator<Item = f32> + use<'a>>, FileFault> {
        let Ok(view) = self.tensors.tensor(name) else { return Ok(None) };
        if view.dtype() != Dtype::F32 {
            return Err(FileFault::Type { name: name.to_string(), found: view.dtype() });
        }
        if view.shape() != expected {
            return Err(self.shape_fault(name, expected, view.shape()));
        }
        self.known.insert(name.to_string());
        let data: &'a [u8] = view.data();
        Ok(Some(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))))
    }

    /// Fills `values` with a tensor that must be there.
    pub(crate) fn take(&mut self, name: &str, expected: &[usize], values: &mut [f32]) -> Result<(), FileFault> {
        let found = self.take_if_any(name, expected)?;
        let found = found.ok_or_else(|| FileFault::Missing { name: name.to_string(), mend: self.format.missing })?;
        values.iter_mut().zip(found).for_each(|(value, from)| *value = from);
        Ok(())
    }

    /// Refuses tensors that nobody took.
    pub(crate) fn refuse_others(&self) -> Result<(), FileFault> {
        // The smallest name, so that the message is the same on every run.
        match self.tensors.names().into_iter().filter(|&name| !self.known.contains(name)).min() {
            Some(name) => Err(FileFault::Unexpected { name: name.to_string(), mend: self.format.unexpected }),
            None => Ok(()),
        }
    }

    /// Takes a metadata value that `read` understands.
    pub(crate) fn take_entry<T>(
        &mut self,
        key: &'static str,
        mend: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, FileFault> {
        let Some(value) = self.entries.remove(key) else { return Ok(None) };
        match read(value.trim()) {
            Some(read) => Ok(Some(read)),
            None => Err(FileFault::Metadata { key, value, mend: mend.to_string() }),
        }
    }

    /// Takes a metadata value that may be missing but has one valid value.
    pub(crate) fn check_entry(&mut self, key: &'static str, mend: &str, expected: &str) -> Result<(), FileFault> {
        self.take_entry(key, mend, |value| (value == expected).then_some(())).map(|_| ())
    }

    /// What remains of the metadata.
    pub(crate) fn into_common(mut self) -> Result<CommonMetadata, FileFault> {
        let threshold = self.take_entry("threshold", "it must be a finite number", |value| {
            value.parse().ok().filter(|threshold: &f32| threshold.is_finite())
        })?;
        let preprocessing = self.entries.remove("preprocessing");
        let score_rule = self.entries.remove("score_rule");
        Ok(CommonMetadata { preprocessing, threshold, score_rule, other: self.entries })
    }
}

/// Writes tensors and metadata; the same model gives the same bytes. `own` entries win over entries of the same key in `other`.
pub(crate) fn write<'t>(
    tensors: impl Iterator<Item = (String, Vec<usize>, &'t [f32])>,
    common: CommonMetadata,
    own: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<Vec<u8>, FileFault> {
    let mut entries = common.other;
    entries.extend(own.into_iter().map(|(key, value)| (key.to_string(), value)));
    // Debug prints the fewest digits that read back as the same number.
    let threshold = common.threshold.map(|threshold| format!("{threshold:?}"));
    for (key, value) in [("preprocessing", common.preprocessing), ("threshold", threshold), ("score_rule", common.score_rule)] {
        if let Some(value) = value {
            entries.insert(key.to_string(), value);
        }
    }
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> =
        tensors.map(|(name, shape, values)| (name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())).collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (name, shape, bytes) in &tensors {
        views.push((name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(FileFault::Container)?));
    }
    let bytes = safetensors::serialize(views, Some(entries.into_iter().collect())).map_err(FileFault::Container)?;
    Ok(with_sorted_header(&bytes).unwrap_or(bytes))
}
