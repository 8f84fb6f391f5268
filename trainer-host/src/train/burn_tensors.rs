//! What the models in burn share: parameters as leaves of the graph, samples as flat values, normalisations, and the margin for
//! anomalous windows.
//!
//! Everything is written with plain tensor operations in GEMM form (matrix products and element-wise maps): that is several times faster
//! and more accurate on a CPU than the library's convolutions, and runs on any of its backends.

use crate::dataset::windows::{Batch, WindowSet};
use alfred_core::limits::{CHANNELS, JOINTS};
use burn::tensor::{DType, Device, Tensor, TensorData};
use std::collections::HashMap;

/// How many times the normal windows' mean score an anomalous window must reach before it stops pulling on the weights.
pub const ANOMALY_MARGIN: f64 = 4.0;

/// A tensor of a model: its published name, its shape, and whether gradients move it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Published name.
    pub name: String,
    /// Shape, slowest dimension first.
    pub shape: Vec<usize>,
    /// `false` for running statistics.
    pub is_trainable: bool,
}

impl TensorSpec {
    /// Number of values.
    #[must_use]
    pub fn values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Rows and columns in the graph: a vector is one row, a kernel has its outputs as rows.
    fn matrix(&self) -> [usize; 2] {
        match *self.shape {
            [] | [_] => [1, self.values()],
            [rows, ..] => [rows, self.values() / rows.max(1)],
        }
    }
}

/// Where tensors live and how exact their numbers are.
#[derive(Clone, Debug)]
pub struct Place {
    /// The device, with or without automatic differentiation.
    pub device: Device,
    /// `F32` in training; tests compare with `F64`.
    pub precision: DType,
}

impl Place {
    /// A constant.
    pub fn tensor<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), (&self.device, self.precision))
    }
}

/// A model's tensors in the graph, all as matrices.
#[derive(Debug)]
pub struct Leaves {
    tensors: Vec<Tensor<2>>,
    places: HashMap<String, usize>,
}

impl Leaves {
    /// Loads flat values, which lie in the order of `specs`. With `tracked`, gradients of the trainable ones are kept.
    #[must_use]
    pub fn load(specs: &[TensorSpec], values: &[f32], place: &Place, tracked: bool) -> Self {
        let mut rest = values;
        let mut tensors = Vec::with_capacity(specs.len());
        for spec in specs {
            let (own, after) = rest.split_at(spec.values());
            rest = after;
            let tensor = place.tensor(own.to_vec(), spec.matrix());
            tensors.push(if tracked && spec.is_trainable { tensor.require_grad() } else { tensor });
        }
        Self { tensors, places: specs.iter().enumerate().map(|(index, spec)| (spec.name.clone(), index)).collect() }
    }

    /// All tensors, in order.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor<2>] {
        &self.tensors
    }

    /// Where the tensor of this name stands.
    ///
    /// # Panics
    /// When the model has none.
    #[must_use]
    pub fn place_of(&self, name: &str) -> usize {
        self.places[name]
    }

    /// The tensor of this name.
    ///
    /// # Panics
    /// When the model has none.
    #[must_use]
    pub fn named(&self, name: &str) -> Tensor<2> {
        self.tensors[self.place_of(name)].clone()
    }
}

/// The samples of a batch: their values one after the other, each `[channel][joint][time]`, mirrored where asked for.
#[derive(Clone, Debug)]
pub struct Samples {
    /// `count * 2 * 18 * frames` values.
    pub values: Vec<f32>,
    /// +1 normal, -1 anomalous.
    pub labels: Vec<f32>,
    /// Number of samples N.
    pub count: usize,
    /// Detections T of each.
    pub frames: usize,
}

impl Samples {
    /// Gathers a batch.
    #[must_use]
    pub fn of(set: &WindowSet, batch: Batch<'_>) -> Self {
        let frames = set.frames();
        let mut values = Vec::with_capacity(batch.items.len() * CHANNELS * JOINTS * frames);
        for item in batch.items {
            let (x, y) = set.window(item.window).split_at(JOINTS * frames);
            let sign = if item.mirrored { -1.0 } else { 1.0 };
            values.extend(x.iter().map(|value| sign * value));
            values.extend_from_slice(y);
        }
        let labels = batch.items.iter().map(|item| set.label(item.window)).collect();
        Self { values, labels, count: batch.items.len(), frames }
    }

    /// The values of one sample.
    #[must_use]
    pub fn window(&self, index: usize) -> &[f32] {
        let size = CHANNELS * JOINTS * self.frames;
        &self.values[index * size..][..size]
    }
}

/// `inputs (M, in) * weight (out, in)^T + bias (1, out)`.
pub fn linear(inputs: Tensor<2>, weight: Tensor<2>, bias: Tensor<2>) -> Tensor<2> {
    inputs.matmul(weight.transpose()) + bias
}

/// Normalises every row: `(x - mean) / sqrt(variance + epsilon) * weight + bias`, the variance divided by the row's length.
pub fn layer_norm(inputs: Tensor<2>, weight: Tensor<2>, bias: Tensor<2>, epsilon: f64) -> Tensor<2> {
    let centred = inputs.clone() - inputs.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    centred / (variance + epsilon).sqrt() * weight + bias
}

/// The loss of a batch from its windows' scores (N): the sum over windows labelled normal and of what anomalous ones lack to a margin
/// ([`lacking_to_margin`]), over N.
pub fn margin_loss(scores: Tensor<1>, labels: &[f32], place: &Place) -> Tensor<1> {
    let share = 1.0 / labels.len() as f32;
    let weights = labels.iter().map(|label| if *label > 0.0 { share } else { 0.0 }).collect();
    let of_normal = (scores.clone() * place.tensor::<1>(weights, [labels.len()])).sum();
    match lacking_to_margin(scores, labels, place) {
        Some(lacking) => of_normal + lacking,
        None => of_normal,
    }
}

/// The sum over windows labelled anomalous of what their score lacks to [`ANOMALY_MARGIN`] times the normal windows' mean, over N. That mean is
/// a constant here: otherwise lowering it would be a way out. `None` when nothing is anomalous, or nothing normal says how high is high.
pub fn lacking_to_margin(scores: Tensor<1>, labels: &[f32], place: &Place) -> Option<Tensor<1>> {
    let count = labels.len();
    let normal = labels.iter().filter(|label| **label > 0.0).count();
    if normal == 0 || normal == count {
        return None;
    }
    let weights = |wanted: bool, share: usize| {
        let weight = labels.iter().map(|label| if (*label > 0.0) == wanted { 1.0 / share as f32 } else { 0.0 }).collect();
        place.tensor::<1>(weight, [count])
    };
    let margin = (scores.clone() * weights(true, normal)).sum().detach() * ANOMALY_MARGIN;
    Some((burn::tensor::activation::relu(margin - scores) * weights(false, count)).sum())
}
