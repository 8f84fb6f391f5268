//! `alfred-host evaluate` and what it is made of: a model of any architecture, scores by window and by frame, figures, plots.

pub mod model;

pub mod scores;

pub mod events;

pub mod evaluation;

pub mod output;

pub mod plots;

pub mod command;

#[cfg(test)]
mod tests;

pub use command::{EvaluateArguments, run};
pub use evaluation::{Evaluation, FrameEvaluation, Settings, evaluate_clips, evaluate_model};
pub use model::{FileModel, Lane, Model, PREPROCESSING_SQUARE, pixel_scale, read_weights};
pub use output::to_json;
