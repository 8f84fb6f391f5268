//! The oracle: the forward pass in `f64`, written line by line from the paper's formulas; slow, and nothing is folded.
//!
//! Every engine is tested against it, and trainers may check their gradients on it. Not for the device's data path.
// The formulas' own indices.
#![allow(clippy::needless_range_loop)]

use super::layers::{Attention, FeedForward, Norm};
use super::parameters::{EMBEDDING, Form, HEAD_VALUES, HEADS, HIDDEN, LAYERS, NORM_EPSILON, SpartaParameters, Stack, TOKENS, TensorName};
use super::tokens::{Half, frame_tokens, positional_encoding, tokens};

/// 24 tokens of 72 numbers.
pub type Sequence = [[f64; EMBEDDING]; TOKENS];

/// What the forward pass gives for one window.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The encoder's output.
    pub memory: Sequence,
    /// The decoder's output: the predicted target.
    pub prediction: Sequence,
    /// Mean over the numbers of the target of (target - prediction)^2, in the tokens form of |target - prediction|: the anomaly score.
    pub score: f64,
}

/// Evaluates a window of `2 * 18 * 48` values, in the tokens form 24, `[channel][joint][time]`.
///
/// # Panics
/// When it holds fewer.
#[must_use]
pub fn forward<V: AsRef<[f32]>>(parameters: &SpartaParameters<V>, form: Form, window: &[f32]) -> Outcome {
    let [source, target] = match form {
        Form::Published => [Half::Source, Half::Target].map(|half| tokens(window, half)),
        Form::Tokens => frame_tokens(window),
    };
    let [source, target] = [source, target].map(|tokens| tokens.map(|token| token.map(f64::from)));
    forward_observed(parameters, form, &source, &target, |_, _| {})
}

/// Evaluates tokens, to which the positional encoding is not yet added. After each part of a layer, `observe` receives the part's name
/// and its output: `self_attn`, `multihead_attn`, `linear2` (the feed-forward network) and `norm1` to `norm3`.
pub fn forward_observed<V: AsRef<[f32]>>(
    parameters: &SpartaParameters<V>,
    form: Form,
    source: &Sequence,
    target: &Sequence,
    mut observe: impl FnMut(TensorName, &Sequence),
) -> Outcome {
    let mut memory = with_positions(source);
    for layer in 0..LAYERS {
        let from = parameters.encoder(layer);
        let mut step = |values: &mut Sequence, part, norm, norm_part, change: &dyn Fn(&Sequence) -> Sequence| {
            let name = |suffix| TensorName { stack: Stack::Encoder, layer, suffix };
            residual(form, values, norm, change, &mut |is_norm, found| observe(name(if is_norm { norm_part } else { part }), found));
        };
        step(&mut memory, "self_attn", &from.norms[0], "norm1", &|values| attend(&from.self_attention, form, [values; 3]));
        step(&mut memory, "linear2", &from.norms[1], "norm2", &|values| values.map(|token| feed_forward(&from.feed_forward, &token)));
    }
    let mut keys = memory;
    normalise(&mut keys, &Norm { weight: &[1.0; EMBEDDING], bias: &[0.0; EMBEDDING] });
    let positions = with_positions(&[[0.0; EMBEDDING]; TOKENS]);
    let mut prediction = match form {
        Form::Published => with_positions(target),
        Form::Tokens => positions,
    };
    for layer in 0..LAYERS {
        let from = parameters.decoder(layer);
        let mut step = |values: &mut Sequence, part, norm, norm_part, change: &dyn Fn(&Sequence) -> Sequence| {
            let name = |suffix| TensorName { stack: Stack::Decoder, layer, suffix };
            residual(form, values, norm, change, &mut |is_norm, found| observe(name(if is_norm { norm_part } else { part }), found));
        };
        step(&mut prediction, "self_attn", &from.norms[0], "norm1", &|values| attend(&from.self_attention, form, [values; 3]));
        let cross = |values: &Sequence| attend(&from.cross_attention, form, [values, &keys, &memory]);
        step(&mut prediction, "multihead_attn", &from.norms[1], "norm2", &cross);
        let network = |values: &Sequence| values.map(|token| feed_forward(&from.feed_forward, &token));
        step(&mut prediction, "linear2", &from.norms[2], "norm3", &network);
    }
    if form == Form::Tokens {
        prediction.as_flattened_mut().iter_mut().zip(positions.as_flattened()).for_each(|(value, position)| *value -= position);
    }
    let first = form.first_predicted();
    let pairs = target[first..].as_flattened().iter().zip(prediction[first..].as_flattened());
    let differences = pairs.map(|(target, prediction)| target - prediction);
    let sum: f64 = match form {
        Form::Published => differences.map(|difference| difference * difference).sum(),
        Form::Tokens => differences.map(f64::abs).sum(),
    };
    Outcome { memory, prediction, score: sum / ((TOKENS - first) * EMBEDDING) as f64 }
}

fn with_positions(tokens: &Sequence) -> Sequence {
    let mut encoded = *tokens;
    for (token, row) in encoded.iter_mut().enumerate() {
        for (position, value) in row.iter_mut().enumerate() {
            *value += f64::from(positional_encoding(token, position));
        }
    }
    encoded
}

/// Multi-head attention of every token, to the key set that the form gives it: query, key and value are `W x + b` with the three parts
/// of the input matrix, each of its own input, and what the heads find goes through `W_o x + b_o`.
fn attend(attention: &Attention<'_>, form: Form, inputs: [&Sequence; 3]) -> Sequence {
    let [queries, keys, values] = [0, 1, 2].map(|part| project(attention, part, inputs[part]));
    let mut outputs = [[0.0; EMBEDDING]; TOKENS];
    for token in 0..TOKENS {
        let seen = match form {
            Form::Published => token..token + 1,
            Form::Tokens => 0..TOKENS,
        };
        let joined = weigh(&queries[token], &keys[seen.clone()], &values[seen]);
        for row in 0..EMBEDDING {
            outputs[token][row] = f64::from(attention.out_bias[row]) + dot(&attention.out_weight[row * EMBEDDING..], &joined);
        }
    }
    outputs
}

/// Queries (part 0), keys (1) or values (2) of all tokens.
fn project(attention: &Attention<'_>, part: usize, inputs: &Sequence) -> Sequence {
    inputs.map(|input| {
        let mut output = [0.0; EMBEDDING];
        for row in 0..EMBEDDING {
            let at = part * EMBEDDING + row;
            output[row] = f64::from(attention.in_bias[at]) + dot(&attention.in_weight[at * EMBEDDING..], &input);
        }
        output
    })
}

/// What the 12 heads of 6 numbers find for one query among any number of keys, one head after the other:
/// `softmax over keys of (query . key / sqrt(6))` weighs the values.
#[must_use]
pub fn weigh(query: &[f64; EMBEDDING], keys: &[[f64; EMBEDDING]], values: &[[f64; EMBEDDING]]) -> [f64; EMBEDDING] {
    let mut joined = [0.0; EMBEDDING];
    for head in 0..HEADS {
        let rows = head * HEAD_VALUES..(head + 1) * HEAD_VALUES;
        let score =
            |key: &[f64; EMBEDDING]| -> f64 { rows.clone().map(|row| query[row] * key[row]).sum::<f64>() / libm::sqrt(HEAD_VALUES as f64) };
        let largest = keys.iter().map(score).fold(f64::NEG_INFINITY, f64::max);
        let mut total = 0.0;
        for (key, value) in keys.iter().zip(values) {
            let weight = libm::exp(score(key) - largest);
            total += weight;
            for row in rows.clone() {
                joined[row] += weight * value[row];
            }
        }
        joined[rows].iter_mut().for_each(|value| *value /= total);
    }
    joined
}

/// Product of a matrix row, the first values of `weights`, and a vector.
fn dot(weights: &[f32], values: &[f64]) -> f64 {
    weights.iter().zip(values).map(|(&weight, value)| f64::from(weight) * value).sum()
}

/// `second_weight * max(0, first_weight * x + first_bias) + second_bias`.
fn feed_forward(network: &FeedForward<'_>, token: &[f64; EMBEDDING]) -> [f64; EMBEDDING] {
    let mut hidden = [0.0; HIDDEN];
    for row in 0..HIDDEN {
        hidden[row] = (f64::from(network.first_bias[row]) + dot(&network.first_weight[row * EMBEDDING..], token)).max(0.0);
    }
    let mut output = [0.0; EMBEDDING];
    for row in 0..EMBEDDING {
        output[row] = f64::from(network.second_bias[row]) + dot(&network.second_weight[row * HIDDEN..], &hidden);
    }
    output
}

/// One part with its residual. Published form: `norm(x + part(x))`; tokens form: `x + part(norm(x))`. `observe` learns what the part and
/// (true) the norm give.
fn residual(
    form: Form,
    values: &mut Sequence,
    norm: &Norm<'_>,
    part: &dyn Fn(&Sequence) -> Sequence,
    observe: &mut dyn FnMut(bool, &Sequence),
) {
    let mut inputs = *values;
    if form == Form::Tokens {
        normalise(&mut inputs, norm);
        observe(true, &inputs);
    }
    let change = part(&inputs);
    observe(false, &change);
    values.as_flattened_mut().iter_mut().zip(change.as_flattened()).for_each(|(value, change)| *value += change);
    if form == Form::Published {
        normalise(values, norm);
        observe(true, values);
    }
}

/// Layer normalisation: `(x - mean) / sqrt(variance + 1e-5) * weight + bias` per token, the variance divided by 72.
fn normalise(values: &mut Sequence, norm: &Norm<'_>) {
    for token in 0..TOKENS {
        let row = &mut values[token];
        let mean = row.iter().sum::<f64>() / EMBEDDING as f64;
        let variance = row.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / EMBEDDING as f64;
        let deviation = libm::sqrt(variance + NORM_EPSILON);
        for position in 0..EMBEDDING {
            row[position] = (row[position] - mean) / deviation * f64::from(norm.weight[position]) + f64::from(norm.bias[position]);
        }
    }
}
