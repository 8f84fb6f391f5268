//! alfred-host as a library: data sets, training, evaluation, and the commands on top of them.
#![forbid(unsafe_code)]

pub mod error;

mod progress;

pub mod dataset;

pub mod train;

pub mod metric;

pub mod threshold;

pub mod report;

pub mod evaluate;

pub mod verdict_head;

pub mod phase;

pub mod query;

pub mod experiment;

pub mod synth_command;

pub mod train_command;

pub mod import;

pub mod export;

pub mod one_person;

pub mod cycle;

pub mod bundle_command;

pub mod expert;

pub mod daemon_command;

pub mod status_command;

pub mod label_command;

pub mod review_command;

#[cfg(test)]
mod command_tests;
