//! Trains a camera's verdict head on all human verdicts so far; `alfred_core::verdict_head` is what becomes of them on the device.

mod fit;

mod linear;

mod logistic;

mod normals;

mod sample;

mod train;

#[cfg(test)]
mod tests;

pub use sample::{HeadRecipe, HeadSample, NoHead};
pub use train::{TrainedHead, train, train_reported};
