//! Data sets on disk and in memory: clips of tracked poses, frame masks, and the windows that models train on.

pub mod alphapose;

pub mod camera;

pub mod layout;

pub mod windows;
