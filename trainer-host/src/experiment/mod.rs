//! `alfred-host experiment`: the paper's methodologies and ours on a data set with ground truth, and the tables and figures of what came out.
//!
//! Each cell (camera, model, methodology, seed) is a chain of iterations, one per slice, of the very code that the daemon runs
//! ([`crate::phase`]); truth answers in a person's place. Everything is by window at the data set's stride. Book-keeping as in the paper: cumulative
//! FNR, FPR and EBI on the train slices with the pair in force before the slice trains; AUC on the balanced validation set, best step.

pub mod command;

pub mod settings;

pub mod source;

pub mod chain;

mod judgement;

pub mod held_out;

pub mod head_stage;

pub mod unseen;

pub mod store;

pub mod schedule;

pub mod record;

pub mod cells;

pub mod tables;

pub mod head_tables;

pub mod answers;

pub mod figures;

pub mod html;

#[cfg(test)]
mod tests;
