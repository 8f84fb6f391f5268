//! From our weight files to files for others: fixed-shape ONNX and plain safetensors.

mod protobuf;

pub mod onnx;

mod description;

pub mod stg_nf;

pub mod sparta;

pub mod ga_vae;

pub mod check_windows;

pub mod command;
