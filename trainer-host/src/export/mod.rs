//! From our weight files to files for others: fixed-shape ONNX and plain safetensors.

mod protobuf;

pub mod onnx;

pub mod stg_nf;

pub mod check_windows;

pub mod command;
