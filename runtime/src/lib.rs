//! alfred-runtime: the device process. `alfred-edge` is a thin binary over it, so that tests can run every part in-process.
//!
//! Offline: `alfred_clips` → [`replay`] → [`tables`]. Live: [`live`] (ingest → scoring → output threads). Both drive the same
//! `alfred_core::pipeline`.
#![forbid(unsafe_code)]

pub mod limits;

pub mod error;

pub mod model_file;

pub mod replay;

pub mod tables;

pub mod config;

pub mod board_side;

pub mod memory_map;

pub mod live;

pub mod self_test;

pub mod bench;

pub mod cli;
