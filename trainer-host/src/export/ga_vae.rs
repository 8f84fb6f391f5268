//! GA-VAE's encoder, its decoder where the score needs it, and the score as an ONNX graph: every batch normalisation folded in f64 into the convolution before it.
//!
//! The three matrices of an adjacency family are applied to a block's input and one 1x1 convolution sums them, as in the native engine.
//! All of this is exact algebra: scores differ from the unfolded graph by rounding only. Formulas: `alfred_models::ga_vae::layers`.

use super::description::Description;
use super::onnx::{Attribute, Graph};
use crate::evaluate::PREPROCESSING_SQUARE;
use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_models::ga_vae::layers::{BatchNorm, Block, Output, Projection};
use alfred_models::ga_vae::parameters::{BATCH_NORM_EPSILON, HeapParameters, ScoreRule};
use alfred_models::ga_vae::shape::{BlockShape, DECODER_BLOCKS, ENCODER_BLOCKS, LATENT_FRAMES, Residual, SUBSETS, TAPS, WINDOW_FRAMES};
use alfred_models::ga_vae::skeleton::fixed_family;
use alfred_models::ga_vae::weights_file::GaVaeWeights;

const PIXEL: Attribute<'static> = Attribute::Integers("kernel_shape", &[1, 1]);

/// The bytes of an ONNX file for `batch` windows per run: input `x` (B, 2, 24, 18), output `score` (B), higher = more anomalous.
#[must_use]
pub fn to_onnx(weights: &GaVaeWeights, batch: usize) -> Vec<u8> {
    let metadata = &weights.metadata;
    let description = Description {
        architecture: "ga_vae",
        input_layout: "time_major",
        score: "score",
        window_frames: WINDOW_FRAMES,
        score_frame: WINDOW_FRAMES / 2,
        preprocessing: metadata.preprocessing.as_deref().unwrap_or(PREPROCESSING_SQUARE),
        threshold: metadata.threshold,
        other: &metadata.other,
    };
    let mut export = Export { graph: Graph::default(), batch: batch as i64 };
    export.run(weights);
    description.to_file(&export.graph)
}

struct Export {
    graph: Graph,
    batch: i64,
}

/// A batch normalisation's channel as `slope * x + offset`.
fn slope_and_offset(norm: &BatchNorm<'_>, channel: usize) -> (f64, f64) {
    let slope = f64::from(norm.weight[channel]) / libm::sqrt(f64::from(norm.running_var[channel]) + BATCH_NORM_EPSILON);
    (slope, f64::from(norm.bias[channel]) - slope * f64::from(norm.running_mean[channel]))
}

/// A kernel's rows times the slopes of the normalisation after it.
fn sloped(norm: &BatchNorm<'_>, first: usize, weight: &[f32], outputs: usize) -> Vec<f64> {
    let row = weight.len() / outputs;
    weight.iter().enumerate().map(|(at, &value)| slope_and_offset(norm, first + at / row).0 * f64::from(value)).collect()
}

/// What is constant in a projection's outputs.
fn projected_offsets(projection: &Projection<'_>) -> Vec<f64> {
    let offset = |(channel, &bias): (usize, &f32)| {
        let (slope, offset) = slope_and_offset(&projection.norm, channel);
        slope * f64::from(bias) + offset
    };
    projection.convolution.bias.iter().enumerate().map(offset).collect()
}

impl Export {
    fn run(&mut self, weights: &GaVaeWeights) {
        let parameters = &weights.parameters;
        let input = self.graph.input("x", &[self.batch as usize, CHANNELS, WINDOW_FRAMES, JOINTS]);
        let norm = parameters.data_norm();
        let factors: Vec<(f64, f64)> =
            (0..CHANNELS * JOINTS).map(|at| slope_and_offset(&norm, at % JOINTS * CHANNELS + at / JOINTS)).collect();
        let shape = [1, CHANNELS, 1, JOINTS];
        let slope = self.graph.constant("data_slope", &shape, &factors.iter().map(|factor| factor.0).collect::<Vec<_>>());
        let offset = self.graph.constant("data_offset", &shape, &factors.iter().map(|factor| factor.1).collect::<Vec<_>>());
        let scaled = self.graph.node("Mul", "data_scaled", &[&input, &slope], &[]);
        let mut values = self.graph.node("Add", "data", &[&scaled, &offset], &[]);
        let fixed: Vec<f64> = fixed_family().as_flattened().as_flattened().to_vec();
        self.graph.constant("fixed", &[1, SUBSETS, JOINTS, JOINTS], &fixed);
        for number in 0..ENCODER_BLOCKS {
            values = self.block(&format!("b{number}"), &parameters.encoder_block(number), &values);
        }
        match parameters.rule() {
            ScoreRule::Distance => self.distance(parameters, &values),
            ScoreRule::Reconstruction => {
                let output = self.decode(parameters, &values);
                let difference = self.graph.node("Sub", "difference", &[&output, &input], &[]);
                self.mean_square(&difference, "score");
            }
        }
        self.graph.output("score", &[self.batch as usize]);
    }

    /// The distance between the encoder's output and its mean over the training windows.
    fn distance(&mut self, parameters: &HeapParameters, values: &str) {
        let latent = parameters.shape();
        let mean: Vec<f64> = parameters.reference_mean().iter().map(|&value| f64::from(value)).collect();
        let mean = self.graph.constant("reference_mean", &[1, latent.output_channels(), LATENT_FRAMES, JOINTS], &mean);
        let difference = self.graph.node("Sub", "difference", &[values, &mean], &[]);
        let average = self.mean_square(&difference, "average");
        let count = self.graph.constant("count", &[], &[latent.latent_values() as f64]);
        let total = self.graph.node("Mul", "total", &[&average, &count], &[]);
        self.graph.node("Sqrt", "score", &[&total], &[]);
    }

    fn mean_square(&mut self, difference: &str, name: &str) -> String {
        let square = self.graph.node("Mul", "square", &[difference, difference], &[]);
        let axes = [Attribute::Integers("axes", &[1, 2, 3]), Attribute::Integer("keepdims", 0)];
        self.graph.node("ReduceMean", name, &[&square], &axes)
    }

    /// The window that the decoder makes of the latent means, the first half of the encoder's output.
    fn decode(&mut self, parameters: &HeapParameters, values: &str) -> String {
        let (means, deviations) = ("latent_means", "latent_deviations");
        self.graph.node_with("Split", &[means, deviations], &[values], &[Attribute::Integer("axis", 1)]);
        let mut values = means.to_owned();
        for number in 0..DECODER_BLOCKS {
            let block = parameters.decoder_block(number);
            let name = format!("d{number}");
            values = self.stretched(&name, &block.shape, &values);
            values = self.block(&name, &block, &values);
        }
        self.output(&parameters.output(), &values)
    }

    /// Linear interpolation in time with half-pixel centres, held at both ends: a product with a constant matrix.
    fn stretched(&mut self, name: &str, shape: &BlockShape, input: &str) -> String {
        if shape.stretch == 1 {
            return input.to_owned();
        }
        let frames = shape.frames / shape.stretch;
        let mut matrix = vec![0.0; shape.frames * frames];
        for (frame, row) in matrix.chunks_exact_mut(frames).enumerate() {
            let at = ((frame as f64 + 0.5) / shape.stretch as f64 - 0.5).max(0.0);
            let before = at as usize;
            row[before] += 1.0 - (at - before as f64);
            row[(before + 1).min(frames - 1)] += at - before as f64;
        }
        let matrix = self.graph.constant(&format!("{name}_stretch"), &[1, 1, shape.frames, frames], &matrix);
        self.graph.node("MatMul", &format!("{name}_stretched"), &[&matrix, input], &[])
    }

    /// The last graph convolution, its normalisation, and the last convolution over time.
    fn output(&mut self, from: &Output<'_>, input: &str) -> String {
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
        let expanded = SUBSETS * CHANNELS;
        let inputs = from.gcn.weight.len() / expanded;
        let weight = self.graph.constant("out_weight", &[expanded, inputs, 1, 1], &wide(from.gcn.weight));
        let bias = self.graph.constant("out_bias", &[expanded], &wide(from.gcn.bias));
        let values = self.graph.node("Conv", "out_expanded", &[input, &weight, &bias], &[PIXEL]);
        let rows = [self.batch, SUBSETS as i64, (CHANNELS * WINDOW_FRAMES) as i64, JOINTS as i64];
        let rows = self.graph.integers("out_rows", &rows);
        let values = self.graph.node("Reshape", "out_parts", &[&values, &rows], &[]);
        let values = self.graph.node("MatMul", "out_mixed", &[&values, "fixed"], &[]);
        // Every matrix has its share of a mean.
        let axes = [Attribute::Integers("axes", &[1]), Attribute::Integer("keepdims", 0)];
        let values = self.graph.node("ReduceMean", "out_mean", &[&values], &axes);
        let window = self.graph.integers("out_shape", &[self.batch, CHANNELS as i64, WINDOW_FRAMES as i64, JOINTS as i64]);
        let values = self.graph.node("Reshape", "out_window", &[&values, &window], &[]);
        let factors: Vec<(f64, f64)> = (0..CHANNELS).map(|channel| slope_and_offset(&from.norm, channel)).collect();
        let slopes: Vec<f64> = factors.iter().map(|factor| factor.0 * SUBSETS as f64).collect();
        let slope = self.graph.constant("out_slope", &[1, CHANNELS, 1, 1], &slopes);
        let offset = self.graph.constant("out_offset", &[1, CHANNELS, 1, 1], &factors.iter().map(|factor| factor.1).collect::<Vec<_>>());
        let values = self.graph.node("Mul", "out_scaled", &[&values, &slope], &[]);
        let values = self.graph.node("Add", "out_normal", &[&values, &offset], &[]);
        let values = self.graph.node("Relu", "out_hidden", &[&values], &[]);
        let padding = (TAPS / 2) as i64;
        let pads = [padding, 0, padding, 0];
        let attributes = [Attribute::Integers("kernel_shape", &[TAPS as i64, 1]), Attribute::Integers("pads", &pads)];
        let weight = self.graph.constant("out_time_weight", &[CHANNELS, CHANNELS, TAPS, 1], &wide(from.temporal.weight));
        let bias = self.graph.constant("out_time_bias", &[CHANNELS], &wide(from.temporal.bias));
        self.graph.node("Conv", "out", &[&values, &weight, &bias], &attributes)
    }

    fn block(&mut self, name: &str, from: &Block<'_>, input: &str) -> String {
        let graph = self.graph_attention(name, from, input);
        let hidden = self.graph.node("Relu", &format!("{name}_hidden"), &[&graph], &[]);
        let (outputs, stride) = (from.shape.outputs, from.shape.stride as i64);
        let mut bias: Vec<f64> = (0..outputs)
            .map(|channel| {
                let (slope, offset) = slope_and_offset(&from.temporal_norm, channel);
                slope * f64::from(from.temporal.bias[channel]) + offset
            })
            .collect();
        if let Some(residual) = &from.residual {
            bias.iter_mut().zip(projected_offsets(residual)).for_each(|(bias, offset)| *bias += offset);
        }
        let strides = Attribute::Integers("strides", &[stride, 1]);
        let padding = (TAPS / 2) as i64;
        let pads = [padding, 0, padding, 0];
        let attributes = [Attribute::Integers("kernel_shape", &[TAPS as i64, 1]), Attribute::Integers("pads", &pads), strides];
        let kernel = sloped(&from.temporal_norm, 0, from.temporal.weight, outputs);
        let weight = self.graph.constant(&format!("{name}_time_weight"), &[outputs, outputs, TAPS, 1], &kernel);
        let bias = self.graph.constant(&format!("{name}_time_bias"), &[outputs], &bias);
        let mut values = self.graph.node("Conv", &format!("{name}_time"), &[&hidden, &weight, &bias], &attributes);
        values = match (from.shape.residual, &from.residual) {
            (Residual::Identity, _) => self.graph.node("Add", &format!("{name}_sum"), &[&values, input], &[]),
            (_, Some(residual)) => {
                let kernel = sloped(&residual.norm, 0, residual.convolution.weight, outputs);
                let shape = [outputs, from.shape.inputs, 1, 1];
                let weight = self.graph.constant(&format!("{name}_residual_weight"), &shape, &kernel);
                let residual = self.graph.node("Conv", &format!("{name}_residual"), &[input, &weight], &[PIXEL, strides]);
                self.graph.node("Add", &format!("{name}_sum"), &[&values, &residual], &[])
            }
            _ => values,
        };
        if from.shape.ends_in_relu { self.graph.node("Relu", &format!("{name}_out"), &[&values], &[]) } else { values }
    }

    /// Families, their reduction, the graph residual, and the normalisation after them.
    fn graph_attention(&mut self, name: &str, from: &Block<'_>, input: &str) -> String {
        let (inputs, outputs, frames) = (from.shape.inputs, from.shape.outputs, from.shape.frames);
        let flat = [self.batch, 1, (inputs * frames) as i64, JOINTS as i64];
        let flat = self.graph.integers(&format!("{name}_flat_shape"), &flat);
        let flat = self.graph.node("Reshape", &format!("{name}_flat"), &[input, &flat], &[]);
        let wide = [self.batch, (SUBSETS * inputs) as i64, frames as i64, JOINTS as i64];
        let wide = self.graph.integers(&format!("{name}_wide_shape"), &wide);
        let learnt: Vec<f64> = from.learnt.iter().map(|&value| f64::from(value)).collect();
        let learnt = self.graph.constant(&format!("{name}_learnt"), &[1, SUBSETS, JOINTS, JOINTS], &learnt);
        let computed = self.computed_family(name, from, input);
        let mut families = Vec::new();
        for (family, matrices) in ["fixed", &learnt, &computed].into_iter().enumerate() {
            let name = format!("{name}_f{family}");
            let mixed = self.graph.node("MatMul", &format!("{name}_mixed"), &[&flat, matrices], &[]);
            let mixed = self.graph.node("Reshape", &format!("{name}_wide"), &[&mixed, &wide], &[]);
            // [output][(matrix, input)] from [(matrix, output)][input].
            let row = |output: usize, subset: usize| ((family * SUBSETS + subset) * outputs + output) * inputs;
            let kernel: Vec<f64> = (0..outputs)
                .flat_map(|output| (0..SUBSETS).flat_map(move |subset| (0..inputs).map(move |input| (output, subset, input))))
                .map(|(output, subset, input)| {
                    let slope = slope_and_offset(&from.family_norm, family * outputs + output).0;
                    slope * f64::from(from.expand[row(output, subset) + input])
                })
                .collect();
            let bias: Vec<f64> = (0..outputs).map(|output| slope_and_offset(&from.family_norm, family * outputs + output).1).collect();
            let weight = self.graph.constant(&format!("{name}_weight"), &[outputs, SUBSETS * inputs, 1, 1], &kernel);
            let bias = self.graph.constant(&format!("{name}_bias"), &[outputs], &bias);
            let sums = self.graph.node("Conv", &format!("{name}_sums"), &[&mixed, &weight, &bias], &[PIXEL]);
            families.push(self.graph.node("Relu", &format!("{name}_relu"), &[&sums], &[]));
        }
        let families: Vec<&str> = families.iter().map(String::as_str).collect();
        let joined = self.graph.node("Concat", &format!("{name}_joined"), &families, &[Attribute::Integer("axis", 1)]);
        self.reduce(name, from, input, &joined)
    }

    fn reduce(&mut self, name: &str, from: &Block<'_>, input: &str, joined: &str) -> String {
        let (inputs, outputs) = (from.shape.inputs, from.shape.outputs);
        let carried = from.graph_residual.as_ref().map(projected_offsets);
        let bias: Vec<f64> = (0..outputs)
            .map(|channel| {
                let (slope, offset) = slope_and_offset(&from.norm, channel);
                offset + slope * carried.as_ref().map_or(0.0, |carried| carried[channel])
            })
            .collect();
        let kernel = sloped(&from.norm, 0, from.reduce, outputs);
        let weight = self.graph.constant(&format!("{name}_reduce_weight"), &[outputs, SUBSETS * outputs, 1, 1], &kernel);
        let bias = self.graph.constant(&format!("{name}_reduce_bias"), &[outputs], &bias);
        let reduced = self.graph.node("Conv", &format!("{name}_reduced"), &[joined, &weight, &bias], &[PIXEL]);
        let residual = match &from.graph_residual {
            Some(residual) => {
                let mut kernel = sloped(&residual.norm, 0, residual.convolution.weight, outputs);
                kernel.iter_mut().enumerate().for_each(|(at, value)| *value *= slope_and_offset(&from.norm, at / inputs).0);
                let weight = self.graph.constant(&format!("{name}_graph_weight"), &[outputs, inputs, 1, 1], &kernel);
                self.graph.node("Conv", &format!("{name}_graph_residual"), &[input, &weight], &[PIXEL])
            }
            None => {
                let gain: Vec<f64> = (0..outputs).map(|channel| slope_and_offset(&from.norm, channel).0).collect();
                let gain = self.graph.constant(&format!("{name}_gain"), &[1, outputs, 1, 1], &gain);
                self.graph.node("Mul", &format!("{name}_graph_residual"), &[input, &gain], &[])
            }
        };
        self.graph.node("Add", &format!("{name}_graph"), &[&reduced, &residual], &[])
    }

    /// (B, 3, from joint, to joint): the softmax over `from` of queries times keys, summed over embeddings and frames.
    fn computed_family(&mut self, name: &str, from: &Block<'_>, input: &str) -> String {
        let (inputs, embeddings) = (from.shape.inputs, SUBSETS * from.shape.embedding());
        let sums = (from.shape.embedding() * from.shape.frames) as i64;
        let shape = self.graph.integers(&format!("{name}_embedding_shape"), &[self.batch, SUBSETS as i64, sums, JOINTS as i64]);
        let [queries, keys] = [("query", &from.query), ("key", &from.key)].map(|(what, convolution)| {
            let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
            let weight = self.graph.constant(&format!("{name}_{what}_weight"), &[embeddings, inputs, 1, 1], &wide(convolution.weight));
            let bias = self.graph.constant(&format!("{name}_{what}_bias"), &[embeddings], &wide(convolution.bias));
            let values = self.graph.node("Conv", &format!("{name}_{what}"), &[input, &weight, &bias], &[PIXEL]);
            self.graph.node("Reshape", &format!("{name}_{what}_rows"), &[&values, &shape], &[])
        });
        let queries = self.graph.node("Transpose", &format!("{name}_queries"), &[&queries], &[Attribute::Integers("perm", &[0, 1, 3, 2])]);
        let scores = self.graph.node("MatMul", &format!("{name}_scores"), &[&queries, &keys], &[]);
        self.graph.node("Softmax", &format!("{name}_computed"), &[&scores], &[Attribute::Integer("axis", 2)])
    }
}
