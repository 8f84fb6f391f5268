//! The daemon's cycle: ALFred's phases, camera by camera, with people's verdicts in place of truth.
//!
//! Warm-up phase: flagged events are reviewed until they, with sampled normals, make a balanced validation set. Active learning phase: each
//! slice of the stream is closed by time, by a number of verdicts, or by request; what trains is chosen (`phase`), the weights are
//! fine-tuned, and the candidate's threshold comes from the validation set, scored by exactly the device's windows, scorer and smoothing. A
//! candidate that is refused (`threshold`, `phase::gate`) leaves the pair in force, with the reason; another becomes a signed bundle and
//! is rolled out. A slice is closed by a process of its own at low priority, so that the daemon answers meanwhile.

pub mod settings;

pub mod footage;

pub mod pair;

pub mod cross_fit;

pub mod judge;

pub mod material;

pub mod adapt;

pub mod round;

pub mod ship;

pub mod request;

pub mod schedule;

pub mod command;

#[cfg(test)]
mod tests;
