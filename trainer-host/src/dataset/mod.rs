//! Data sets on disk and in memory: clips of tracked poses, frame masks, and the windows that models train on.

pub mod alphapose;

pub mod camera;

pub mod layout;

pub mod published_layout;

pub mod sound;

pub mod windows;

#[cfg(test)]
mod published_layout_tests;
