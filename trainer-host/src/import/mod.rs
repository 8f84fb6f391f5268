//! From files of others to weight files of ours: PyTorch checkpoints and safetensors, nothing in them executed.

pub mod tensors;

mod names;

pub mod stg_nf;

pub mod sparta;

pub mod command;
