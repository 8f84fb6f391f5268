//! SPARTA, future-target decoder branch (FTD): from the tensors of a checkpoint to a safetensors file with the same names.
//!
//! Source of names and shapes: the published checkpoints (<https://github.com/TeCSAR-UNCC/SPARTA>, Apache-2.0). Tokens are the 72 numbers
//! of two frames, so there is neither an embedding nor an output layer; the table of positions is computed, not stored.

use super::names;
use super::tensors::TensorFile;
use crate::error::HostError;
use crate::train::checkpoint::to_bytes;
use std::collections::BTreeMap;
use std::path::Path;

/// Numbers of a token: 18 joints, absolute and relative, of two frames.
pub const TOKEN_VALUES: usize = 72;
/// Width of the feed-forward layers.
pub const FEED_FORWARD_VALUES: usize = 64;
/// Layers of the encoder, and of the decoder.
pub const LAYERS: usize = 4;
/// Heads of every attention, 6 numbers each.
pub const HEADS: usize = 12;
/// Detections S of source and of target in the ShanghaiTech weights.
const SEGMENT_FRAMES_PUBLISHED: usize = 24;
/// Longest S that fits a window of 2 S detections.
const SEGMENT_FRAMES_MAX: usize = alfred_core::limits::WINDOW_FRAMES_MAX;
/// What the published training code does to poses: OpenPose-18 joints, pixels over 1280 x 720 whatever the camera's resolution.
pub const PREPROCESSING_PUBLISHED: &str = "openpose18-1280x720";

/// Every tensor of the branch with its shape, sorted by name.
#[must_use]
pub fn tensor_list() -> BTreeMap<String, Vec<usize>> {
    const WIDTH: usize = TOKEN_VALUES;
    let attention: [(&str, Vec<usize>); 4] = [
        ("in_proj_weight", vec![3 * WIDTH, WIDTH]),
        ("in_proj_bias", vec![3 * WIDTH]),
        ("out_proj.weight", vec![WIDTH, WIDTH]),
        ("out_proj.bias", vec![WIDTH]),
    ];
    let feed_forward: [(&str, Vec<usize>); 4] = [
        ("linear1.weight", vec![FEED_FORWARD_VALUES, WIDTH]),
        ("linear1.bias", vec![FEED_FORWARD_VALUES]),
        ("linear2.weight", vec![WIDTH, FEED_FORWARD_VALUES]),
        ("linear2.bias", vec![WIDTH]),
    ];
    let mut out = BTreeMap::new();
    for (part, attentions, norms) in [("encoder", &["self_attn"][..], 2), ("decoder", &["self_attn", "multihead_attn"], 3)] {
        for layer in 0..LAYERS {
            let mut insert = |name: String, shape: &[usize]| out.insert(format!("{part}.layers.{layer}.{name}"), shape.to_vec());
            for kind in attentions {
                for (name, shape) in &attention {
                    insert(format!("{kind}.{name}"), shape);
                }
            }
            for (name, shape) in &feed_forward {
                insert((*name).into(), shape);
            }
            for norm in 1..=norms {
                insert(format!("norm{norm}.weight"), &[WIDTH]);
                insert(format!("norm{norm}.bias"), &[WIDTH]);
            }
        }
    }
    out
}

/// Checks a file's tensors against the architecture and gives the safetensors file's bytes, sorted by name.
///
/// # Errors
/// [`HostError::Data`] naming missing and unexpected tensors, the first wrong shape, a value that is not finite, or arguments of the
/// training script that mean another network.
pub fn to_file(path: &Path, file: &TensorFile, mut metadata: BTreeMap<String, String>) -> Result<Vec<u8>, HostError> {
    let list = tensor_list();
    let required: Vec<String> = list.keys().cloned().collect();
    names::check(path, file, "SPARTA's FTD branch (4 + 4 layers of width 72)", &required, &[])?;
    let mut tensors = Vec::with_capacity(list.len());
    for (name, shape) in list {
        let Some(tensor) = file.tensors.get(&name) else { continue };
        if tensor.shape != shape {
            let place = format!("tensor {name} has shape {:?} instead of {shape:?}", tensor.shape);
            return Err(HostError::data(path, place, "give a checkpoint of SPARTA's FTD branch (width 72, feed-forward 64)"));
        }
        if !tensor.values.iter().all(|value| value.is_finite()) {
            return Err(HostError::data(path, format!("tensor {name} holds NaN or an infinity"), "use the weights from before it"));
        }
        tensors.push((name, shape, tensor.values.clone()));
    }
    let segment = segment_frames(path, file)?;
    let mut insert = |key: &str, value: String| metadata.insert(key.into(), value);
    insert("architecture", "sparta".into());
    insert("branch", "ftd".into());
    insert("seg_len", segment.to_string());
    insert("d_model", TOKEN_VALUES.to_string());
    insert("ff", FEED_FORWARD_VALUES.to_string());
    insert("layers", LAYERS.to_string());
    insert("heads", HEADS.to_string());
    metadata.entry("preprocessing".into()).or_insert_with(|| PREPROCESSING_PUBLISHED.into());
    // The released weights were trained with attention across the windows of a batch; alone, a window attends to itself only.
    metadata.entry("form".into()).or_insert_with(|| "published".into());
    Ok(to_bytes(&tensors, &metadata))
}

/// S, from the script's arguments or the metadata; refuses arguments that mean another network and leave no trace in the tensors.
fn segment_frames(path: &Path, file: &TensorFile) -> Result<usize, HostError> {
    let heads = if file.is_checkpoint { "model_num_heads" } else { "heads" };
    for (key, known) in [(heads, HEADS.to_string()), ("token_config", "pst".into()), ("relative", "True".into())] {
        let Some(value) = file.metadata.get(key).filter(|&value| *value != known) else { continue };
        let place = format!("{key} = {}", super::pickle::clip(value));
        return Err(HostError::data(path, place, format!("only {key} = {known} is known")));
    }
    let Some(text) = file.metadata.get("seg_len") else { return Ok(SEGMENT_FRAMES_PUBLISHED) };
    let frames = text.trim().parse().ok().filter(|frames| (2..=SEGMENT_FRAMES_MAX).contains(frames) && frames % 2 == 0);
    frames.ok_or_else(|| {
        let place = format!("seg_len = {}", super::pickle::clip(text));
        HostError::data(path, place, format!("an even number of detections up to {SEGMENT_FRAMES_MAX} is needed"))
    })
}
