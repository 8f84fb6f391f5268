//! ALFred's phases, apart from models, files and user interfaces: what is asked of people, what trains, what the threshold is.
//!
//! Terms and rules: the paper (arXiv 2508.09058). The daemon and the experiment run this same code; they differ in who answers. Windows are
//! numbered by their place in a slice; a score is anomalous from the threshold on.

pub mod verdict;

pub mod slices;

pub mod event_group;

pub mod pseudo_label;

pub mod al_light;

pub mod methodology;

pub mod warm_up;

pub mod active_learning;

pub mod validation_set;

pub mod gate;

pub mod replay;

pub mod tracking_threshold;

pub mod poison_guard;

pub mod audit;

#[cfg(test)]
mod tests;
