//! STG-NF as an ONNX graph: normalisations folded in f64, and the mean adjacency collapsed to a mean over joints.
//!
//! The graph keeps the two coordinates as planes (B, 1, T, 18) that change roles after every step. A step rewrites only the plane that it
//! transforms; ActNorm waits as an affine map in the constants that read a plane. All of this is exact algebra: scores differ from the
//! unfolded graph by rounding only. Formulas: "Normalizing Flows for Human Pose Anomaly Detection" (ICCV 2023).

use super::description::Description;
use super::onnx::{Attribute, Graph};
use crate::import::stg_nf::PREPROCESSING_PUBLISHED;
use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_models::stg_nf::adjacency::Adjacency;
use alfred_models::stg_nf::parameters::{BATCH_NORM_EPSILON, BatchNorm, FlowParameters, NETWORK_CHANNELS, StgNfShape};
use alfred_models::stg_nf::weights_file::StgNfWeights;
use std::f64::consts::{LN_2, PI};

/// `scale = sigmoid(raw + 2) + 1e-6`.
const SCALE_BIAS: f64 = 2.0;
const SCALE_EPSILON: f64 = 1e-6;
/// Variance of the prior.
const PRIOR_VARIANCE: f64 = 1.0 + 1e-6;
/// Shape of a constant per network channel.
const PER_CHANNEL: [usize; 4] = [1, NETWORK_CHANNELS, 1, 1];

/// A map `slope * value + offset` that a plane still waits for.
#[derive(Clone, Copy)]
struct Affine {
    slope: f64,
    offset: f64,
}

impl Affine {
    const IDENTITY: Self = Self { slope: 1.0, offset: 0.0 };

    /// This map, followed by ActNorm's `(z + bias) * exp(logs)`.
    fn then_actnorm(self, bias: f32, logs: f32) -> Self {
        let factor = libm::exp(f64::from(logs));
        Self { slope: self.slope * factor, offset: (self.offset + f64::from(bias)) * factor }
    }

    /// A batch normalisation's channel in evaluation mode.
    fn batch_norm(norm: &BatchNorm, channel: usize) -> Self {
        let slope = f64::from(norm.weight[channel]) / libm::sqrt(f64::from(norm.running_var[channel]) + BATCH_NORM_EPSILON);
        Self { slope, offset: f64::from(norm.bias[channel]) - slope * f64::from(norm.running_mean[channel]) }
    }
}

/// A plane's name in the graph, and the map it waits for.
struct Plane {
    name: String,
    pending: Affine,
}

/// The bytes of an ONNX file for `batch` windows per run: input `x` (B, 2, T, 18), output `nll` (B), in bits per dimension, higher =
/// more anomalous. Its metadata name layout, score rule, window length and preprocessing, and whatever else the weight file says.
#[must_use]
pub fn to_onnx(weights: &StgNfWeights, batch: usize) -> Vec<u8> {
    let frames = weights.parameters.shape.frames();
    let description = Description {
        architecture: "stg_nf",
        input_layout: "time_major",
        score: "nll",
        window_frames: frames,
        score_frame: frames / 2,
        preprocessing: weights.metadata.preprocessing.as_deref().unwrap_or(PREPROCESSING_PUBLISHED),
        threshold: weights.metadata.threshold,
        other: &weights.metadata.other,
    };
    description.to_file(&graph(weights, batch))
}

fn graph(weights: &StgNfWeights, batch: usize) -> Graph {
    let parameters = &weights.parameters;
    let shape = parameters.shape;
    let mut graph = Graph::default();
    let input = graph.input("x", &[batch, CHANNELS, shape.frames(), JOINTS]);
    graph.node_with("Split", &["x0", "x1"], &[&input], &[Attribute::Integer("axis", 1)]);
    graph.constant("scale_epsilon", &[], &[SCALE_EPSILON]);
    let adjacency = weights.metadata.adjacency();
    let mix = (!adjacency.is_mean()).then(|| adjacency_constant(&mut graph, &adjacency));
    let mut transformed = Plane { name: "x0".into(), pending: Affine::IDENTITY };
    let mut conditioner = Plane { name: "x1".into(), pending: Affine::IDENTITY };
    // Product of all scales per element: at least 0.88^8, so one logarithm at the end serves all steps.
    let mut scales: Option<String> = None;
    let mut log_determinant = 0.0;
    for (step, flow) in parameters.flows.iter().enumerate() {
        // ActNorm's channel 0 meets the plane that this step transforms: the channels swap before and after every step.
        transformed.pending = transformed.pending.then_actnorm(flow.actnorm_bias[0], flow.actnorm_logs[0]);
        conditioner.pending = conditioner.pending.then_actnorm(flow.actnorm_bias[1], flow.actnorm_logs[1]);
        log_determinant += f64::from(flow.actnorm_logs[0]) + f64::from(flow.actnorm_logs[1]);
        let (name, scale) = coupling(&mut graph, flow, step, shape, mix.as_deref(), &transformed, &conditioner);
        scales = Some(match scales {
            None => scale,
            Some(product) => graph.node("Mul", &format!("s{step}_product"), &[&product, &scale], &[]),
        });
        transformed = conditioner;
        conditioner = Plane { name, pending: Affine::IDENTITY };
    }
    score(&mut graph, batch, f64::from(parameters.prior_mean), log_determinant, [&transformed, &conditioner], &scales.unwrap_or_default());
    graph
}

/// The matrix A of `out[u] = sum over v of in[v] * A[v][u]`. Its columns sum to 1, so that A leaves constants alone.
fn adjacency_constant(graph: &mut Graph, adjacency: &Adjacency) -> String {
    let entries: Vec<f64> = adjacency.entries().iter().flatten().copied().collect();
    graph.constant("adjacency", &[JOINTS, JOINTS], &entries)
}

/// One step: the names of the rewritten plane and of its scales.
fn coupling(
    graph: &mut Graph,
    flow: &FlowParameters,
    step: usize,
    shape: StgNfShape,
    mix: Option<&str>,
    transformed: &Plane,
    conditioner: &Plane,
) -> (String, String) {
    let name = |what: &str| format!("s{step}_{what}");
    let constants = fold(flow, shape, step > 0, conditioner.pending, transformed.pending);
    let mixed = match mix {
        None => graph.node(
            "ReduceMean",
            &name("mean"),
            &[&conditioner.name],
            &[Attribute::Integers("axes", &[3]), Attribute::Integer("keepdims", 1)],
        ),
        Some(adjacency) => graph.node("MatMul", &name("mixed"), &[&conditioner.name, adjacency], &[]),
    };
    let pixel = [Attribute::Integers("kernel_shape", &[1, 1])];
    let weight = graph.constant(&name("graph_weight"), &[NETWORK_CHANNELS, 1, 1, 1], &constants.graph_slope);
    let bias = graph.constant(&name("graph_bias"), &[NETWORK_CHANNELS], &constants.graph_offset);
    let hidden = graph.node("Conv", &name("graph"), &[&mixed, &weight, &bias], &pixel);
    let hidden = graph.node("Relu", &name("hidden"), &[&hidden], &[]);
    let taps = shape.taps();
    let padding = shape.padding() as i64;
    let kernel = graph.constant(&name("time_weight"), &[NETWORK_CHANNELS, NETWORK_CHANNELS, taps, 1], &constants.kernel);
    let bias = graph.constant(&name("time_bias"), &[NETWORK_CHANNELS], &constants.network_offset);
    let attributes = [Attribute::Integers("kernel_shape", &[taps as i64, 1]), Attribute::Integers("pads", &[padding, 0, padding, 0])];
    let mut outputs = graph.node("Conv", &name("time"), &[&hidden, &kernel, &bias], &attributes);
    if step > 0 {
        let weight = graph.constant(&name("residual_weight"), &[NETWORK_CHANNELS, 1, 1, 1], &constants.residual_slope);
        let residual = graph.node("Conv", &name("residual"), &[&conditioner.name, &weight], &pixel);
        outputs = graph.node("Add", &name("sum"), &[&outputs, &residual], &[]);
    }
    let floor = graph.constant(&name("floor"), &PER_CHANNEL, &constants.floor);
    let outputs = graph.node("Max", &name("outputs"), &[&outputs, &floor], &[]);
    let (shift, raw) = (name("shift"), name("raw"));
    graph.node_with("Split", &[&shift, &raw], &[&outputs], &[Attribute::Integer("axis", 1)]);
    let sigmoid = graph.node("Sigmoid", &name("sigmoid"), &[&raw], &[]);
    let scale = graph.node("Add", &name("scale"), &[&sigmoid, "scale_epsilon"], &[]);
    let slope = graph.constant(&name("slope"), &[], &[transformed.pending.slope]);
    let sloped = graph.node("Mul", &name("sloped"), &[&transformed.name, &slope], &[]);
    let shifted = graph.node("Add", &name("shifted"), &[&sloped, &shift], &[]);
    (graph.node("Mul", &name("plane"), &[&shifted, &scale], &[]), scale)
}

/// A step's constants on planes whose maps are pending.
struct Folded {
    /// Graph convolution per channel.
    graph_slope: [f64; NETWORK_CHANNELS],
    graph_offset: [f64; NETWORK_CHANNELS],
    /// Temporal kernel `[output][input][tap]`.
    kernel: Vec<f64>,
    /// All that is constant in the network's outputs; the shift's includes the transformed plane's pending offset, the scale's its 2.
    network_offset: [f64; NETWORK_CHANNELS],
    residual_slope: [f64; NETWORK_CHANNELS],
    /// Floors that do the work of ReLU: `max(0, h) + offset = max(offset, h + offset)`.
    floor: [f64; NETWORK_CHANNELS],
}

fn fold(flow: &FlowParameters, shape: StgNfShape, residual: bool, conditioner: Affine, transformed: Affine) -> Folded {
    let floor = [transformed.offset, SCALE_BIAS];
    let values = NETWORK_CHANNELS * shape.taps();
    let mut out = Folded {
        graph_slope: [0.0; NETWORK_CHANNELS],
        graph_offset: [0.0; NETWORK_CHANNELS],
        kernel: Vec::with_capacity(NETWORK_CHANNELS * values),
        network_offset: floor,
        residual_slope: [0.0; NETWORK_CHANNELS],
        floor,
    };
    for output in 0..NETWORK_CHANNELS {
        let before = Affine::batch_norm(&flow.norm_before, output);
        let weight = f64::from(flow.gcn_weight[output]);
        out.graph_slope[output] = before.slope * weight * conditioner.slope;
        out.graph_offset[output] = before.slope * (weight * conditioner.offset + f64::from(flow.gcn_bias[output])) + before.offset;
        let after = Affine::batch_norm(&flow.norm_after, output);
        out.kernel.extend(flow.tcn_weight.iter().skip(output * values).take(values).map(|&weight| after.slope * f64::from(weight)));
        out.network_offset[output] += after.slope * f64::from(flow.tcn_bias[output]) + after.offset;
        if residual {
            let norm = Affine::batch_norm(&flow.residual_norm, output);
            let weight = norm.slope * f64::from(flow.residual_weight[output]);
            out.residual_slope[output] = weight * conditioner.slope;
            out.network_offset[output] += weight * conditioner.offset + norm.slope * f64::from(flow.residual_bias[output]) + norm.offset;
        }
    }
    out
}

/// From the last planes and the product of scales to `nll`.
fn score(graph: &mut Graph, batch: usize, prior_mean: f64, log_determinant: f64, planes: [&Plane; CHANNELS], scales: &str) {
    let mut squares = Vec::new();
    for (number, plane) in planes.into_iter().enumerate() {
        let name = |what: &str| format!("prior{number}_{what}");
        // In units of the prior's deviation.
        let unit = 1.0 / libm::sqrt(PRIOR_VARIANCE);
        let slope = graph.constant(&name("slope"), &[], &[plane.pending.slope * unit]);
        let offset = graph.constant(&name("offset"), &[], &[(plane.pending.offset - prior_mean) * unit]);
        let sloped = graph.node("Mul", &name("sloped"), &[&plane.name, &slope], &[]);
        let distance = graph.node("Add", &name("distance"), &[&sloped, &offset], &[]);
        squares.push(graph.node("Mul", &name("square"), &[&distance, &distance], &[]));
    }
    let squares = graph.node("Add", "squares", &[&squares[0], &squares[1]], &[]);
    let half = graph.constant("half", &[], &[0.5]);
    let energy = graph.node("Mul", "energy", &[&squares, &half], &[]);
    let logs = graph.node("Log", "log_scales", &[scales], &[]);
    let nats = graph.node("Sub", "nats", &[&energy, &logs], &[]);
    // Over joints first: shorter sums round less.
    let axes = |axes| [Attribute::Integers("axes", axes), Attribute::Integer("keepdims", 0)];
    let by_frame = graph.node("ReduceMean", "nats_by_frame", &[&nats], &axes(&[3]));
    let mean = graph.node("ReduceMean", "nats_mean", &[&by_frame], &axes(&[1, 2]));
    // Per dimension and in bits: each of the T * 18 elements stands for two dimensions.
    let to_bits = graph.constant("to_bits", &[], &[1.0 / (CHANNELS as f64 * LN_2)]);
    let constant = graph.constant("constant_bits", &[], &[(0.5 * libm::log(2.0 * PI) - log_determinant / 2.0) / LN_2]);
    let bits = graph.node("Mul", "bits", &[&mean, &to_bits], &[]);
    graph.node("Add", "nll", &[&bits, &constant], &[]);
    graph.output("nll", &[batch]);
}
