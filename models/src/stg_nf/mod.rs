//! STG-NF: a normalizing flow over windows of human poses; its negative log-likelihood is the anomaly score.
//!
//! Source: "Normalizing Flows for Human Pose Anomaly Detection" (ICCV 2023). The formulas are implemented here from their
//! description. Data moves: weight file → parameters → folded → one of the engines → score.

pub mod parameters;

#[cfg(feature = "std")]
pub mod weights_file;

pub mod adjacency;

pub mod fold;

pub mod reference;

mod exact;

mod dense;

mod fast;

pub mod scorer;

#[cfg(test)]
mod test_kit;

#[cfg(test)]
mod parity_tests;

#[cfg(test)]
mod parameters_tests;

#[cfg(all(test, feature = "std"))]
mod weights_file_tests;

#[cfg(all(test, feature = "std"))]
mod golden_tests;
