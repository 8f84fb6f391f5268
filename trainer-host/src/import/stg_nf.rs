//! STG-NF: from the tensors of a published or self-made checkpoint to a weight file.

use super::names;
use super::tensors::TensorFile;
use crate::error::HostError;
use crate::train::checkpoint::to_bytes;
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape};
use alfred_models::stg_nf::weights_file::{self, ADJACENCY_UNIFORM, StgNfWeights};
use alfred_pickle::pickle::clip;
use std::collections::BTreeMap;
use std::path::Path;

/// What the published training code does to poses: OpenPose-18 joints, pixels over 856 x 480 whatever the camera's resolution.
pub const PREPROCESSING_PUBLISHED: &str = "openpose18-856x480";

/// Tensor whose third dimension is `T / 2 + 1`.
const KERNEL: &str = "flow.layers.0.block.0.tcn.2.weight";
/// Constant buffers that say no more than R.
const PRIORS: [&str; 3] = ["prior_h", "prior_h_normal", "prior_h_abnormal"];
/// A script's arguments that weight files have too, under the same name; they are checked against the tensors.
const SHARED_ARGUMENTS: [&str; 4] = ["seg_len", "R", "K", "max_hop"];

/// Finds an STG-NF model among a file's tensors. R comes from `prior_h_normal`, T from the temporal kernel; where the script's arguments
/// or the metadata name them too, they must agree.
///
/// # Errors
/// [`HostError::Data`] naming missing and unexpected tensors, or what contradicts the published architecture.
pub fn weights(path: &Path, file: &TensorFile) -> Result<StgNfWeights, HostError> {
    let kernel = file.tensors.get(KERNEL);
    let shape = kernel.and_then(|kernel| StgNfShape::from_taps(*kernel.shape.get(2)?).ok());
    // The names are the same at every length; without a sound kernel the check below or the reader names it.
    let shape = shape.map_or_else(|| StgNfShape::new(24), Ok).map_err(|fault| HostError::data(path, KERNEL, fault))?;
    let required: Vec<String> = StgNfParameters::zero(shape).tensors().map(|tensor| tensor.name.to_string()).collect();
    names::check(path, file, "STG-NF with hidden width 0 and no trained edge importance", &required, &PRIORS)?;
    let mut metadata = if file.is_checkpoint { from_arguments(path, &file.metadata)? } else { file.metadata.clone() };
    metadata.entry("preprocessing".into()).or_insert_with(|| PREPROCESSING_PUBLISHED.into());
    // The reader of weight files judges shapes, priors and values, so that there is one judge.
    let tensors: Vec<_> = file.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone(), tensor.values.clone())).collect();
    weights_file::read(&to_bytes(&tensors, &metadata)).map_err(|fault| HostError::data(path, "weights", fault))
}

/// The weight file's bytes.
///
/// # Errors
/// [`HostError::Data`] when a value cannot be a model's.
pub fn to_file(path: &Path, weights: &StgNfWeights) -> Result<Vec<u8>, HostError> {
    weights_file::write(&weights.parameters, &weights.metadata).map_err(|fault| HostError::data(path, "weights", fault))
}

/// Metadata from a training script's arguments; refuses what changes the function and leaves no trace in the tensors.
fn from_arguments(path: &Path, arguments: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, HostError> {
    let refused = [
        ("strategy", "only \"uniform\" adjacency is rebuilt from the skeleton"),
        ("L", "only one level of flows is known"),
        ("flow_permutation", "only the reversal of channels is known"),
        ("headless", "all 18 joints are needed"),
    ];
    for (key, mend) in refused {
        let Some(value) = arguments.get(key) else { continue };
        let known = match key {
            "strategy" => value == ADJACENCY_UNIFORM,
            "L" => value == "1",
            // Any other word, typing errors included, means the reversal; `invconv` also brings tensors of its own.
            "flow_permutation" => value != "shuffle" && value != "invconv",
            _ => value == "False",
        };
        if !known {
            return Err(HostError::data(path, format!("args {key} = {}", clip(value)), mend));
        }
    }
    let shared = arguments.iter().filter(|(key, _)| SHARED_ARGUMENTS.contains(&key.as_str()));
    Ok(shared.map(|(key, value)| (key.clone(), value.clone())).collect())
}
