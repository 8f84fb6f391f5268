//! Figures of merit: how well scores separate anomalous from normal behaviour, and what a threshold costs.
//!
//! Anomaly is the positive class everywhere, and a sample is flagged when its score is at least the threshold. Tied scores are one step of
//! every curve: no figure depends on the order of its input.

pub mod samples;

pub mod confusion;

pub mod quantile;

pub mod roc;

pub mod pr;

pub mod eer;

pub mod miss_rate;

pub mod event;

pub mod alarms;

pub mod bootstrap;

pub mod figures;

#[cfg(test)]
mod invariance_tests;
