//! Weights and checkpoints as safetensors with the same bytes for the same contents.
//!
//! The library's own writer orders the header's metadata at random; a file that must come out bit-identical needs a sorted header. The
//! format is eight bytes of header length, a JSON header padded with spaces to a multiple of eight, and the raw little-endian tensors.

use crate::error::HostError;
use crate::train::trainer::Trainer;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Largest checkpoint that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// One named f32 tensor.
pub type NamedTensor = (String, Vec<usize>, Vec<f32>);

/// The header's metadata.
pub type Metadata = BTreeMap<String, String>;

/// Values by tensor name.
pub type Tensors = BTreeMap<String, Vec<f32>>;

/// The file's bytes: metadata sorted by key, tensors in the given order.
#[must_use]
pub fn to_bytes(tensors: &[NamedTensor], metadata: &Metadata) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), json!(metadata));
    let mut end = 0;
    for (name, shape, values) in tensors {
        let start = end;
        end += values.len() * 4;
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]}));
    }
    let mut text = serde_json::Value::from(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text);
    out.extend(tensors.iter().flat_map(|(_, _, values)| values).flat_map(|value| value.to_le_bytes()));
    out
}

/// Writes a file beside its place and moves it there, so that a kill leaves the old or the new one.
///
/// # Errors
/// [`HostError::File`].
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), HostError> {
    let beside = path.with_extension("part");
    fs::write(&beside, bytes).map_err(HostError::file(&beside))?;
    fs::rename(&beside, path).map_err(HostError::file(path))
}

/// What a checkpoint says besides the tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Epochs done.
    pub epochs_done: u32,
    /// Steps done in the epoch after those.
    pub epoch_steps: u64,
    /// Sum of the losses of the samples seen in that epoch.
    pub epoch_loss: f64,
    /// Lowest validation loss so far.
    pub best_loss: f64,
    /// Epochs since then.
    pub epochs_since_best: u32,
    /// Fingerprint of plan and data; another one cannot be resumed.
    pub fingerprint: String,
}

impl Progress {
    /// Nothing done yet.
    #[must_use]
    pub const fn new(fingerprint: String) -> Self {
        Self { epochs_done: 0, epoch_steps: 0, epoch_loss: 0.0, best_loss: f64::INFINITY, epochs_since_best: 0, fingerprint }
    }
}

/// Where the best epoch of a run with this checkpoint is kept.
#[must_use]
pub fn best_path(checkpoint: &Path) -> PathBuf {
    checkpoint.with_extension("best.safetensors")
}

/// Writes a checkpoint.
///
/// # Errors
/// [`HostError::File`].
pub fn save(path: &Path, trainer: &dyn Trainer, progress: &Progress) -> Result<(), HostError> {
    let (state, steps) = trainer.optimiser_state();
    let mut tensors = trainer.weights();
    tensors.extend(state.into_iter().map(|(name, values)| (name, vec![values.len()], values)));
    let metadata = BTreeMap::from([
        ("steps".to_owned(), steps.to_string()),
        ("epochs_done".to_owned(), progress.epochs_done.to_string()),
        ("epoch_steps".to_owned(), progress.epoch_steps.to_string()),
        // Bits, since a resumed run must go on from the very same numbers.
        ("epoch_loss_bits".to_owned(), progress.epoch_loss.to_bits().to_string()),
        ("best_loss_bits".to_owned(), progress.best_loss.to_bits().to_string()),
        ("epochs_since_best".to_owned(), progress.epochs_since_best.to_string()),
        ("fingerprint".to_owned(), progress.fingerprint.clone()),
    ]);
    replace(path, &to_bytes(&tensors, &metadata))
}

/// Reads a safetensors file: metadata and f32 tensors by name.
///
/// # Errors
/// [`HostError`] when the file is unreadable or no safetensors file.
pub fn read(path: &Path) -> Result<(Metadata, Tensors), HostError> {
    let size = fs::metadata(path).map_err(HostError::file(path))?.len();
    if size > FILE_BYTES_MAX {
        return Err(HostError::data(path, format!("{size} bytes"), "this is no checkpoint: they are far smaller"));
    }
    let bytes = fs::read(path).map_err(HostError::file(path))?;
    let broken = |error: safetensors::SafeTensorError| HostError::data(path, error, "give a safetensors file, or start without it");
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let file = safetensors::SafeTensors::deserialize(&bytes).map_err(broken)?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let mut tensors = Tensors::new();
    for (name, view) in file.tensors() {
        if view.dtype() != safetensors::Dtype::F32 {
            return Err(HostError::data(path, format!("tensor {name}"), "store it as F32"));
        }
        let values = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        tensors.insert(name, values);
    }
    Ok((metadata, tensors))
}

/// Goes on from a checkpoint.
///
/// # Errors
/// [`HostError`] when the file does not fit the trainer or the plan.
pub fn resume(path: &Path, trainer: &mut dyn Trainer, fingerprint: &str) -> Result<Progress, HostError> {
    let (metadata, tensors) = read(path)?;
    let number = |key: &str| {
        let value = metadata.get(key).and_then(|value| value.parse::<u64>().ok());
        value.ok_or_else(|| HostError::data(path, format!("metadata {key}"), "this is no checkpoint of ours: start without --resume"))
    };
    if metadata.get("fingerprint").map(String::as_str) != Some(fingerprint) {
        return Err(HostError::data(
            path,
            "metadata fingerprint",
            "data or options changed: use those of the interrupted run, or start without --resume",
        ));
    }
    let progress = Progress {
        epochs_done: number("epochs_done")? as u32,
        epoch_steps: number("epoch_steps")?,
        epoch_loss: f64::from_bits(number("epoch_loss_bits")?),
        best_loss: f64::from_bits(number("best_loss_bits")?),
        epochs_since_best: number("epochs_since_best")? as u32,
        fingerprint: fingerprint.into(),
    };
    trainer
        .restore(&mut |name| tensors.get(name).cloned(), number("steps")?)
        .map_err(|name| HostError::data(path, format!("tensor {name}"), "missing or of another length: start without --resume"))?;
    Ok(progress)
}
