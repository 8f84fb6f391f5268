//! alfred-models: the architectures that turn windows of poses into anomaly scores.
//!
//! [`stg_nf`], [`sparta`] and [`ga_vae`] are native code without heap or std; the generic engine runs any ONNX file.
#![cfg_attr(not(feature = "std"), no_std)]

pub mod lane;

#[cfg(test)]
mod test_kit;

#[cfg(feature = "std")]
mod sorted_header;

#[cfg(feature = "std")]
pub mod weights_file;

pub mod stg_nf;

pub mod sparta;

pub mod ga_vae;

#[cfg(feature = "std")]
pub mod weights;

#[cfg(feature = "tract")]
pub mod arena;

pub mod score_rule;

pub mod onnx_keys;

#[cfg(feature = "tract")]
pub mod input_layout;

#[cfg(feature = "tract")]
pub mod onnx_manifest;

#[cfg(feature = "tract")]
pub mod tract_engine;

#[cfg(feature = "tract")]
#[doc(hidden)]
pub mod test_models;
