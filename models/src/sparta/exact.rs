//! The exact engine of the `published` form: plain `f32` loops in one fixed order, so that every target gives the same bits.
//!
//! Only additions, multiplications, divisions and square roots, each correctly rounded by IEEE 754 and never fused (Rust does not
//! contract them). It is the witness for boards: its scores prove that a board runs the model that the trainer judged. The portable
//! lane of the fast kernel keeps the same order and gives the same bits; a test holds both to it.

use super::fast::{INVERSE_EMBEDDING, mean_over_tokens};
use super::fold::{BLOCK, FoldedFeedForward, FoldedSparta, Matrix, Mixing, Row};
use super::parameters::{EMBEDDING, HIDDEN, NORM_EPSILON, TOKENS};
use super::tokens::{Half, fill_row};

/// One value per token.
type Tokens = [f32; TOKENS];

/// Values between two maps: centred, not yet divided by their deviation.
struct Stream {
    values: [Tokens; EMBEDDING],
    /// `1 / sqrt(variance + 1e-5)`.
    inverse: Tokens,
    /// Mean of `gain * values * inverse`.
    mean: Tokens,
}

impl Stream {
    /// The tokens of one half of the window plus positional encoding.
    fn new(model: &FoldedSparta, window: &[f32], half: Half) -> Self {
        let mut values = [[0.0; TOKENS]; EMBEDDING];
        for (position, row) in values.iter_mut().enumerate() {
            fill_row(window, half, position, row);
            row.iter_mut().zip(&model.positions[position]).for_each(|(value, encoding)| *value += encoding);
        }
        Self { values, inverse: [1.0; TOKENS], mean: [0.0; TOKENS] }
    }

    /// Self attention, residual, normalisation.
    fn mix(&mut self, mixing: &Mixing) {
        self.values = products(&mixing.matrix, &self.values);
        for (values, bias) in self.values.iter_mut().zip(&mixing.bias) {
            for (value, inverse) in values.iter_mut().zip(&self.inverse) {
                *value = *value * inverse + bias;
            }
        }
        self.settle(&mixing.gain);
    }

    /// Adds products times their scale to the residual path, and normalises.
    fn resume(&mut self, products: &[Tokens; EMBEDDING], scale: &Tokens, bias: &Row, residual_gain: &Row, gain: &Row) {
        for (output, (values, sums)) in self.values.iter_mut().zip(products).enumerate() {
            for token in 0..TOKENS {
                let given = values[token] * self.inverse[token];
                let carried = residual_gain[output] * given + (bias[output] - self.mean[token]);
                values[token] = sums[token] * scale[token] + carried;
            }
        }
        self.settle(gain);
    }

    /// Feed-forward network, residual, normalisation.
    fn feed_forward(&mut self, network: &FoldedFeedForward, gain: &Row) {
        let mut hidden: [Tokens; HIDDEN] = products(&network.expand, &self.values);
        for (hidden, bias) in hidden.iter_mut().zip(&network.expand_bias) {
            for (value, inverse) in hidden.iter_mut().zip(&self.inverse) {
                let sum = *value * inverse + bias;
                *value = if sum > 0.0 { sum } else { 0.0 };
            }
        }
        self.resume(&products(&network.contract, &hidden), &[1.0; TOKENS], &network.contract_bias, gain, gain);
    }

    /// The moments of the values. `sqrt(v) / v` is NaN where the variance overflowed, so that the fault shows in the score.
    fn settle(&mut self, gain: &Row) {
        let (mut squares, mut weighted) = ([0.0; TOKENS], [0.0; TOKENS]);
        for (values, gain) in self.values.iter().zip(gain) {
            for token in 0..TOKENS {
                squares[token] += values[token] * values[token];
                weighted[token] += gain * values[token];
            }
        }
        for token in 0..TOKENS {
            let variance = squares[token] * INVERSE_EMBEDDING + NORM_EPSILON as f32;
            self.inverse[token] = libm::sqrtf(variance) / variance;
            self.mean[token] = weighted[token] * self.inverse[token] * INVERSE_EMBEDDING;
        }
    }
}

/// Matrix times values, input after input.
fn products<const INPUTS: usize, const BLOCKS: usize, const OUTPUTS: usize>(
    matrix: &Matrix<INPUTS, BLOCKS>,
    inputs: &[Tokens; INPUTS],
) -> [Tokens; OUTPUTS] {
    const { assert!(OUTPUTS == BLOCKS * BLOCK) };
    let mut outputs = [[0.0; TOKENS]; OUTPUTS];
    for (output, sums) in outputs.iter_mut().enumerate() {
        for (weights, values) in matrix.0[output / BLOCK].iter().zip(inputs) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += weights[output % BLOCK] * value;
            }
        }
    }
    outputs
}

/// Score of a window of `2 * 18 * 48` values, [channel][joint][time]: mean over tokens and positions of (target - prediction)^2.
pub(super) fn score(model: &FoldedSparta, window: &[f32]) -> f64 {
    let mut memory = Stream::new(model, window, Half::Source);
    for layer in &model.encoder {
        memory.mix(&layer.mixing);
        memory.feed_forward(&layer.feed_forward, &layer.mixing.gain);
    }
    let mut output = Stream::new(model, window, Half::Target);
    for layer in &model.decoder {
        output.mix(&layer.mixing);
        let cross = products(&layer.cross.matrix, &memory.values);
        output.resume(&cross, &memory.inverse, &layer.cross.bias, &layer.mixing.gain, &layer.cross.gain);
        output.feed_forward(&layer.feed_forward, &layer.cross.gain);
    }
    let (mut totals, mut target) = ([0.0; TOKENS], [0.0; TOKENS]);
    for (position, values) in output.values.iter().enumerate() {
        fill_row(window, Half::Target, position, &mut target);
        for token in 0..TOKENS {
            let prediction = model.gain[position] * (values[token] * output.inverse[token]) + model.offset[position];
            let difference = target[token] - prediction;
            totals[token] += difference * difference;
        }
    }
    mean_over_tokens(&totals)
}
