//! SPARTA, future-target decoder branch (FTD): from the tensors of a checkpoint to a weight file.
//!
//! Source of names and shapes: the published checkpoints (<https://github.com/TeCSAR-UNCC/SPARTA>, Apache-2.0). The released weights were
//! trained with attention across the windows of a batch, so a file that says nothing else has the form `published`.

use super::names;
use super::tensors::TensorFile;
use crate::error::HostError;
use crate::train::checkpoint::to_bytes;
use alfred_models::sparta::parameters::HEADS;
use alfred_models::sparta::weights_file::{self, HeapParameters, SpartaWeights};
use alfred_pickle::pickle::clip;
use std::collections::BTreeMap;
use std::path::Path;

/// What the published training code does to poses: OpenPose-18 joints, pixels over 1280 x 720 whatever the camera's resolution.
pub const PREPROCESSING_PUBLISHED: &str = "openpose18-1280x720";

/// Finds a SPARTA model among a file's tensors.
///
/// # Errors
/// [`HostError::Data`] naming missing and unexpected tensors, or arguments of the training script that mean another network.
pub fn weights(path: &Path, file: &TensorFile) -> Result<SpartaWeights, HostError> {
    let required: Vec<String> = HeapParameters::zero().tensors().map(|tensor| tensor.name.to_string()).collect();
    names::check(path, file, "SPARTA's FTD branch (4 + 4 layers of width 72)", &required, &[])?;
    let mut metadata = if file.is_checkpoint { from_arguments(path, &file.metadata)? } else { file.metadata.clone() };
    metadata.entry("preprocessing".into()).or_insert_with(|| PREPROCESSING_PUBLISHED.into());
    // The reader of weight files judges shapes and values, so that there is one judge.
    let tensors: Vec<_> = file.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone(), tensor.values.clone())).collect();
    weights_file::read(&to_bytes(&tensors, &metadata)).map_err(|fault| HostError::data(path, "weights", fault))
}

/// The weight file's bytes.
///
/// # Errors
/// [`HostError::Data`] when a value cannot be a model's.
pub fn to_file(path: &Path, weights: &SpartaWeights) -> Result<Vec<u8>, HostError> {
    weights_file::write(&weights.parameters, &weights.metadata).map_err(|fault| HostError::data(path, "weights", fault))
}

/// Metadata from a training script's arguments; refuses what changes the function and leaves no trace in the tensors.
fn from_arguments(path: &Path, arguments: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, HostError> {
    for (key, known) in [("model_num_heads", HEADS.to_string()), ("token_config", "pst".into()), ("relative", "True".into())] {
        if let Some(value) = arguments.get(key).filter(|&value| *value != known) {
            return Err(HostError::data(path, format!("args {key} = {}", clip(value)), format!("only {known} is known")));
        }
    }
    Ok(arguments.iter().filter(|(key, _)| *key == "seg_len").map(|(key, value)| (key.clone(), value.clone())).collect())
}
