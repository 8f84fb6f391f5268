//! SPARTA as an ONNX graph, in either form: attention over one key collapsed to a matrix where the form allows it, normalisations that
//! follow a matrix centred in it.
//!
//! Inputs of the published form are tokens, as the published graphs have them: `src` and `tgt` (B, 24, 72); of the tokens form windows, `x`
//! (B, 2, 24, 18). All of this is exact algebra: scores differ from the
//! unfolded graph by rounding only. Formulas: SPARTA (arXiv 2408.15185), future-target decoder.

use super::description::Description;
use super::onnx::{Attribute, Graph};
use crate::import::sparta::PREPROCESSING_PUBLISHED;
use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_models::sparta::layers::{Attention, FeedForward, Norm};
use alfred_models::sparta::parameters::{EMBEDDING, Form, HEAD_VALUES, HEADS, HIDDEN, LAYERS, NORM_EPSILON, SEEN_FRAMES, TOKENS};
use alfred_models::sparta::tokens::positional_encoding;
use alfred_models::sparta::weights_file::SpartaWeights;

/// Over the numbers of a token, which stay as an axis of length 1.
const OVER_TOKEN: [Attribute<'static>; 2] = [Attribute::Integers("axes", &[2]), Attribute::Integer("keepdims", 1)];

/// The bytes of an ONNX file for `batch` windows per run: inputs as above, output `score` (B), higher = more anomalous.
#[must_use]
pub fn to_onnx(weights: &SpartaWeights, batch: usize) -> Vec<u8> {
    let metadata = &weights.metadata;
    let description = Description {
        architecture: "sparta",
        input_layout: match metadata.form {
            Form::Published => "sparta_tokens",
            Form::Tokens => "time_major",
        },
        score: "score",
        window_frames: metadata.form.window_frames(),
        score_frame: metadata.form.score_frame(),
        preprocessing: metadata.preprocessing.as_deref().unwrap_or(PREPROCESSING_PUBLISHED),
        threshold: metadata.threshold,
        other: &metadata.other,
    };
    let mut export = Export { graph: Graph::default(), form: metadata.form, batch };
    export.run(weights);
    description.to_file(&export.graph)
}

struct Export {
    graph: Graph,
    form: Form,
    batch: usize,
}

/// `out[output] = sum over inputs of matrix[output][input] * x[input] + bias[output]`.
struct Affine {
    matrix: Vec<f64>,
    bias: Vec<f64>,
}

impl Affine {
    fn new(weight: &[f32], bias: &[f32]) -> Self {
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
        Self { matrix: wide(weight), bias: wide(bias) }
    }

    /// Attention over one key: `W_o (W_v x + b_v) + b_o`.
    fn of_attention(attention: &Attention<'_>) -> Self {
        let values = Self::new(&attention.in_weight[2 * EMBEDDING * EMBEDDING..], &attention.in_bias[2 * EMBEDDING..]);
        let out = Self::new(attention.out_weight, attention.out_bias);
        let mut map = Self { matrix: vec![0.0; EMBEDDING * EMBEDDING], bias: out.bias.clone() };
        for output in 0..EMBEDDING {
            for middle in 0..EMBEDDING {
                let weight = out.matrix[output * EMBEDDING + middle];
                map.bias[output] += weight * values.bias[middle];
                for input in 0..EMBEDDING {
                    map.matrix[output * EMBEDDING + input] += weight * values.matrix[middle * EMBEDDING + input];
                }
            }
        }
        map
    }

    fn scaled(mut self, factor: f64) -> Self {
        self.matrix.iter_mut().chain(&mut self.bias).for_each(|value| *value *= factor);
        self
    }

    /// Adds the input to the output, and subtracts the mean over the outputs.
    fn with_residual_centred(mut self) -> Self {
        for place in 0..EMBEDDING {
            self.matrix[place * EMBEDDING + place] += 1.0;
        }
        for input in 0..EMBEDDING {
            let mean = (0..EMBEDDING).map(|output| self.matrix[output * EMBEDDING + input]).sum::<f64>() / EMBEDDING as f64;
            (0..EMBEDDING).for_each(|output| self.matrix[output * EMBEDDING + input] -= mean);
        }
        let mean = self.bias.iter().sum::<f64>() / EMBEDDING as f64;
        self.bias.iter_mut().for_each(|bias| *bias -= mean);
        self
    }
}

impl Export {
    fn run(&mut self, weights: &SpartaWeights) {
        let parameters = &weights.parameters;
        let [source, target] = match self.form {
            Form::Published => ["src", "tgt"].map(|name| self.graph.input(name, &[self.batch, TOKENS, EMBEDDING])),
            Form::Tokens => self.frame_tokens(),
        };
        let positions: Vec<f64> =
            (0..TOKENS * EMBEDDING).map(|at| f64::from(positional_encoding(at / EMBEDDING, at % EMBEDDING))).collect();
        self.graph.constant("positions", &[1, TOKENS, EMBEDDING], &positions);
        self.graph.constant("epsilon", &[], &[NORM_EPSILON]);
        let mut memory = self.graph.node("Add", "source_at", &[&source, "positions"], &[]);
        let [encoder, decoder] = if self.form == Form::Tokens { parameters.speaking_layers() } else { [[true; LAYERS]; 2] };
        for layer in (0..LAYERS).filter(|&layer| encoder[layer]) {
            let from = parameters.encoder(layer);
            let name = format!("encoder{layer}");
            memory = self.mix(&format!("{name}_self"), &from.self_attention, &memory, &from.norms[0]);
            memory = self.feed_forward(&format!("{name}_ff"), &from.feed_forward, &memory, &from.norms[1]);
        }
        let keys = if self.form == Form::Tokens { self.unit("memory", &memory) } else { memory.clone() };
        let goal = self.graph.node("Add", "target_at", &[&target, "positions"], &[]);
        // The tokens form predicts the target without reading it: only its error does.
        let mut values = if self.form == Form::Tokens { self.repeated_positions() } else { goal.clone() };
        for layer in (0..LAYERS).filter(|&layer| decoder[layer]) {
            let from = parameters.decoder(layer);
            let name = format!("decoder{layer}");
            values = self.mix(&format!("{name}_self"), &from.self_attention, &values, &from.norms[0]);
            let cross = format!("{name}_cross");
            values = match self.form {
                Form::Published => {
                    let change = self.affine(&cross, &memory, &Affine::of_attention(&from.cross_attention), EMBEDDING);
                    self.add_and_normalise(&cross, &values, &change, &from.norms[1])
                }
                Form::Tokens => {
                    let queries = self.normalise(&cross, &values, &from.norms[1]);
                    let change = self.attend(&cross, &from.cross_attention, [&queries, &keys, &memory]);
                    self.graph.node("Add", &format!("{cross}_sum"), &[&values, &change], &[])
                }
            };
            values = self.feed_forward(&format!("{name}_ff"), &from.feed_forward, &values, &from.norms[2]);
        }
        let goal = if self.form == Form::Tokens { goal } else { target };
        let difference = self.graph.node("Sub", "difference", &[&goal, &values], &[]);
        let error = match self.form {
            Form::Published => self.graph.node("Mul", "square", &[&difference, &difference], &[]),
            Form::Tokens => {
                let distance = self.graph.node("Abs", "distance", &[&difference], &[]);
                self.frames_of("unseen", &distance, SEEN_FRAMES, TOKENS, 1)
            }
        };
        let axes = [Attribute::Integers("axes", &[1, 2]), Attribute::Integer("keepdims", 0)];
        self.graph.node("ReduceMean", "score", &[&error], &axes);
        self.graph.output("score", &[self.batch]);
    }

    /// Entries `first..last` along an axis.
    fn frames_of(&mut self, name: &str, input: &str, first: usize, last: usize, axis: i64) -> String {
        let [first, last, axis] = [("first", first as i64), ("last", last as i64), ("axis", axis)]
            .map(|(what, value)| self.graph.integers(&format!("{name}_{what}"), &[value]));
        self.graph.node("Slice", name, &[input, &first, &last, &axis], &[])
    }

    /// Tokens of the windows `x` (B, 2, T, 18), one per frame: those that were seen, the others zero, and all of them.
    fn frame_tokens(&mut self) -> [String; 2] {
        let window = self.graph.input("x", &[self.batch, CHANNELS, TOKENS, JOINTS]);
        let origin = self.frames_of("origin", &window, 0, 1, 2);
        let relative = self.graph.node("Sub", "relative", &[&window, &origin], &[]);
        let both = self.graph.node("Concat", "both", &[&window, &relative], &[Attribute::Integer("axis", 3)]);
        let turned = self.graph.node("Transpose", "by_frame", &[&both], &[Attribute::Integers("perm", &[0, 2, 1, 3])]);
        let shape = self.graph.integers("tokens_shape", &[self.batch as i64, TOKENS as i64, EMBEDDING as i64]);
        let all = self.graph.node("Reshape", "tokens", &[&turned, &shape], &[]);
        let mask: Vec<f64> = (0..TOKENS).map(|token| if token < SEEN_FRAMES { 1.0 } else { 0.0 }).collect();
        self.graph.constant("is_seen", &[1, TOKENS, 1], &mask);
        let seen = self.graph.node("Mul", "seen", &[&all, "is_seen"], &[]);
        [seen, all]
    }

    /// Positions for every window of a run.
    fn repeated_positions(&mut self) -> String {
        let repeats = self.graph.integers("position_repeats", &[self.batch as i64, 1, 1]);
        self.graph.node("Tile", "positions_alone", &["positions", &repeats], &[])
    }

    /// Self attention with residual and normalisation.
    fn mix(&mut self, name: &str, attention: &Attention<'_>, input: &str, norm: &Norm<'_>) -> String {
        match self.form {
            Form::Published => {
                let map = Affine::of_attention(attention).with_residual_centred();
                let centred = self.affine(name, input, &map, EMBEDDING);
                self.scale(name, &centred, norm)
            }
            Form::Tokens => {
                let normalised = self.normalise(name, input, norm);
                let change = self.attend(name, attention, [&normalised; 3]);
                self.graph.node("Add", &format!("{name}_sum"), &[input, &change], &[])
            }
        }
    }

    fn feed_forward(&mut self, name: &str, network: &FeedForward<'_>, input: &str, norm: &Norm<'_>) -> String {
        let is_first = self.form == Form::Tokens;
        let read = if is_first { self.normalise(name, input, norm) } else { input.to_owned() };
        let hidden = self.affine(&format!("{name}_expand"), &read, &Affine::new(network.first_weight, network.first_bias), HIDDEN);
        let hidden = self.graph.node("Relu", &format!("{name}_hidden"), &[&hidden], &[]);
        let change = self.affine(&format!("{name}_contract"), &hidden, &Affine::new(network.second_weight, network.second_bias), EMBEDDING);
        if is_first {
            return self.graph.node("Add", &format!("{name}_sum"), &[input, &change], &[]);
        }
        self.add_and_normalise(name, input, &change, norm)
    }

    /// `x W^T + b` per token.
    fn affine(&mut self, name: &str, input: &str, map: &Affine, outputs: usize) -> String {
        let inputs = map.matrix.len() / outputs;
        let transposed: Vec<f64> = (0..inputs * outputs).map(|at| map.matrix[at % outputs * inputs + at / outputs]).collect();
        let weight = self.graph.constant(&format!("{name}_weight"), &[inputs, outputs], &transposed);
        let bias = self.graph.constant(&format!("{name}_bias"), &[outputs], &map.bias);
        let product = self.graph.node("MatMul", &format!("{name}_product"), &[input, &weight], &[]);
        self.graph.node("Add", &format!("{name}_map"), &[&product, &bias], &[])
    }

    /// Multi-head attention over tokens.
    fn attend(&mut self, name: &str, attention: &Attention<'_>, [queries, keys, values]: [&str; 3]) -> String {
        let part = |number: usize| {
            let rows = number * EMBEDDING..(number + 1) * EMBEDDING;
            Affine::new(&attention.in_weight[rows.start * EMBEDDING..rows.end * EMBEDDING], &attention.in_bias[rows])
        };
        let scale = 1.0 / libm::sqrt(HEAD_VALUES as f64);
        let heads = [self.batch as i64, TOKENS as i64, HEADS as i64, HEAD_VALUES as i64];
        let heads = self.graph.integers(&format!("{name}_heads"), &heads);
        let mut split = |what: &str, input: &str, map: Affine, order: &[i64]| {
            let map = self.affine(&format!("{name}_{what}"), input, &map, EMBEDDING);
            let split = self.graph.node("Reshape", &format!("{name}_{what}_split"), &[&map, &heads], &[]);
            self.graph.node("Transpose", &format!("{name}_{what}_heads"), &[&split], &[Attribute::Integers("perm", order)])
        };
        let query = split("query", queries, part(0).scaled(scale), &[0, 2, 1, 3]);
        let key = split("key", keys, part(1), &[0, 2, 3, 1]);
        let value = split("value", values, part(2), &[0, 2, 1, 3]);
        let scores = self.graph.node("MatMul", &format!("{name}_scores"), &[&query, &key], &[]);
        let shares = self.graph.node("Softmax", &format!("{name}_shares"), &[&scores], &[Attribute::Integer("axis", 3)]);
        let found = self.graph.node("MatMul", &format!("{name}_found"), &[&shares, &value], &[]);
        let tokens = self.graph.node("Transpose", &format!("{name}_tokens"), &[&found], &[Attribute::Integers("perm", &[0, 2, 1, 3])]);
        let shape = self.graph.integers(&format!("{name}_shape"), &[self.batch as i64, TOKENS as i64, EMBEDDING as i64]);
        let joined = self.graph.node("Reshape", &format!("{name}_joined"), &[&tokens, &shape], &[]);
        self.affine(&format!("{name}_out"), &joined, &Affine::new(attention.out_weight, attention.out_bias), EMBEDDING)
    }

    /// Residual, then layer normalisation.
    fn add_and_normalise(&mut self, name: &str, input: &str, change: &str, norm: &Norm<'_>) -> String {
        let sum = self.graph.node("Add", &format!("{name}_sum"), &[input, change], &[]);
        self.normalise(name, &sum, norm)
    }

    /// Layer normalisation.
    fn normalise(&mut self, name: &str, input: &str, norm: &Norm<'_>) -> String {
        let mean = self.graph.node("ReduceMean", &format!("{name}_mean"), &[input], &OVER_TOKEN);
        let centred = self.graph.node("Sub", &format!("{name}_centred"), &[input, &mean], &[]);
        self.scale(name, &centred, norm)
    }

    /// Layer normalisation without factors and offsets.
    fn unit(&mut self, name: &str, input: &str) -> String {
        let mean = self.graph.node("ReduceMean", &format!("{name}_mean"), &[input], &OVER_TOKEN);
        let centred = self.graph.node("Sub", &format!("{name}_centred"), &[input, &mean], &[]);
        self.over_deviation(name, &centred)
    }

    /// Centred values over their deviation.
    fn over_deviation(&mut self, name: &str, centred: &str) -> String {
        let square = self.graph.node("Mul", &format!("{name}_square"), &[centred, centred], &[]);
        let variance = self.graph.node("ReduceMean", &format!("{name}_variance"), &[&square], &OVER_TOKEN);
        let variance = self.graph.node("Add", &format!("{name}_above_zero"), &[&variance, "epsilon"], &[]);
        let deviation = self.graph.node("Sqrt", &format!("{name}_deviation"), &[&variance], &[]);
        self.graph.node("Div", &format!("{name}_unit"), &[centred, &deviation], &[])
    }

    /// The rest of a layer normalisation of centred values.
    fn scale(&mut self, name: &str, centred: &str, norm: &Norm<'_>) -> String {
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
        let unit = self.over_deviation(name, centred);
        let gain = self.graph.constant(&format!("{name}_gain"), &[EMBEDDING], &wide(norm.weight));
        let offset = self.graph.constant(&format!("{name}_offset"), &[EMBEDDING], &wide(norm.bias));
        let scaled = self.graph.node("Mul", &format!("{name}_scaled"), &[&unit, &gain], &[]);
        self.graph.node("Add", &format!("{name}_norm"), &[&scaled, &offset], &[])
    }
}
