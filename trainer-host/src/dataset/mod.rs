//! Data sets on disk and in memory: clips of tracked poses and frame masks.

pub mod alphapose;

pub mod layout;
