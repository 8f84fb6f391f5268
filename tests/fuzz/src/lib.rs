//! Fuzz targets as plain functions, `run(data)`: whatever the bytes, no panic, and what is promised about the outcome holds.
//!
//! cargo-fuzz drives them with coverage on nightly (`targets/`), `tests/fuzz_short` with seeded mutations on every toolchain. Each has
//! seeds of its own in `corpus/`.

pub mod pose_line;

pub mod pose_message;

pub mod pose_file;

pub mod huvad;

pub mod frame_mask;

pub mod weights_file;

pub mod pipeline;

pub mod link_message;

pub mod bundle;

mod bytes;

#[path = "../../../runtime/core/tests/common/mod.rs"]
mod common;
