//! alfred-synth: seeded synthetic people before synthetic cameras, for training, tests, demos and benches.
//!
//! Data moves one way: random → body and motion (joint angles) → actor (a person with a plan) → scene (who is there, what happens) →
//! camera (pixels) → detector (noise, drop-outs, tracks) → frames with truth. Everything is procedural: no recording of any person
//! went into it. The same seed gives the same bytes on every platform: only IEEE arithmetic and the `libm` crate are used.
//! What it does not model: cloth, crowds that avoid each other, lens distortion, detectors that invent people.
#![forbid(unsafe_code)]

pub mod random;

pub mod geometry;

pub mod behaviour;

pub mod body;

pub mod motion;

pub mod action;

pub mod actor;

pub mod camera;

pub mod detector;

pub mod director;

pub mod scene;

pub mod clip;

pub mod crowd;

pub mod strip;
