//! The dense engine: any 18 x 18 adjacency matrix, one network output per joint and time.
//!
//! For models whose graph convolution is no plain mean (fewer hops, other strategies). Same arithmetic as the exact engine, so it too
//! gives the same bits on every target.

use super::adjacency::Adjacency;
use super::exact::{Row, at_least, convolve, couple_joint, run};
use super::fold::{FoldedFlow, FoldedStgNf};
use super::parameters::NETWORK_CHANNELS;
use alfred_core::limits::{JOINTS, WINDOW_FRAMES_MAX};

/// An adjacency matrix ready to run: about 1.4 kB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DenseAdjacency {
    /// `[to][from]`: the weights of one output joint are neighbours.
    weights: [[f32; JOINTS]; JOINTS],
    /// Sum of each joint's weights: what a constant is multiplied by.
    column_sums: [f32; JOINTS],
}

impl DenseAdjacency {
    /// Rounds the matrix to `f32`; its column sums are taken in `f64`.
    pub(super) fn new(adjacency: &Adjacency) -> Self {
        let mut dense = Self { weights: [[0.0; JOINTS]; JOINTS], column_sums: [0.0; JOINTS] };
        for to in 0..JOINTS {
            let column = adjacency.entries().map(|row| row[to]);
            dense.weights[to] = column.map(|weight| weight as f32);
            dense.column_sums[to] = column.iter().sum::<f64>() as f32;
        }
        dense
    }
}

/// Negative log-likelihood of a window in bits per dimension. `window` holds `2 * 18 * T` values, [channel][joint][time].
pub(super) fn negative_log_likelihood(model: &FoldedStgNf, adjacency: &DenseAdjacency, window: &[f32]) -> f64 {
    run(model, window, |flow, conditioner, transformed, totals| {
        let frames = model.shape().frames();
        for (joint, (given, values)) in conditioner.chunks_exact(frames).zip(transformed.chunks_exact_mut(frames)).enumerate() {
            let outputs = coupling_network(flow, adjacency, conditioner, joint, frames);
            couple_joint(flow, &outputs, given, values, totals);
        }
    })
}

/// The network's outputs per time for one joint, up to the residual path.
fn coupling_network(
    flow: &FoldedFlow,
    adjacency: &DenseAdjacency,
    conditioner: &[f32],
    joint: usize,
    frames: usize,
) -> [Row; NETWORK_CHANNELS] {
    let mut product: Row = [0.0; WINDOW_FRAMES_MAX];
    for (from, weight) in conditioner.chunks_exact(frames).zip(&adjacency.weights[joint]) {
        for (sum, value) in product.iter_mut().zip(from) {
            *sum += weight * value;
        }
    }
    let mut hidden = [[0.0; WINDOW_FRAMES_MAX]; NETWORK_CHANNELS];
    for (channel, hidden) in hidden.iter_mut().enumerate() {
        let offset = flow.gcn_column[channel] * adjacency.column_sums[joint] + flow.gcn_offset[channel];
        for (hidden, product) in hidden[..frames].iter_mut().zip(&product) {
            *hidden = at_least(flow.gcn_slope[channel] * product + offset, 0.0);
        }
    }
    convolve(flow, &hidden, frames)
}
