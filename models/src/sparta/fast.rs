//! The fast engine of the `published` form: one kernel, written once, compiled for each lane.
//!
//! Tokens are the vectors' direction: an activation is a row of 24 tokens (one window) or 48 (two windows at once), and every weight is
//! loaded once per row of tokens and multiplied with all of them. So no vector is ever summed across, a layer normalisation is a sum
//! over rows, and the weights, 544 kB, pass through the processor once per call. The sums of `4 * PAIR` outputs times all tokens stay in
//! registers while a kernel goes over the inputs; what follows a product (bias, normalisation, ReLU, residual) is done on the way out.
//!
//! Columns are independent and treated alike, so a window's score has the same bits alone and beside another one.
// Positions address several arrays at once here; iterators over them would hide which.
#![allow(clippy::needless_range_loop)]

use super::fold::{BLOCK, FoldedDecoderLayer, FoldedEncoderLayer, FoldedFeedForward, FoldedSparta, Matrix, Mixing, Row};
use super::parameters::{EMBEDDING, HIDDEN, NORM_EPSILON, TOKENS};
use super::tokens::{Half, fill_row};
use crate::lane::{Kernel, Lane};
use core::array;
use core::mem::swap;

/// Windows that one call takes at most.
pub(super) const WINDOWS_MAX: usize = 2;

/// Columns that the widest shape has: two windows.
pub(super) const COLUMNS_MAX: usize = WINDOWS_MAX * TOKENS;

/// One over the length of a token.
pub(super) const INVERSE_EMBEDDING: f32 = 1.0 / EMBEDDING as f32;

/// One value per column: `GROUPS` times `VECTORS` vectors. A group's sums stay in registers together.
pub(super) type Columns<V, const VECTORS: usize, const GROUPS: usize> = [[V; VECTORS]; GROUPS];

/// Scores one or two windows of `2 * 18 * 48` values, [channel][joint][time]. `GROUPS * VECTORS` vectors hold 24 tokens per window;
/// columns beyond are zero. `PAIR` is 1 or 2: blocks of four outputs whose sums stay in registers together.
pub(super) struct Scores<'a, const VECTORS: usize, const GROUPS: usize, const PAIR: usize> {
    pub(super) model: &'a FoldedSparta,
    pub(super) windows: &'a [&'a [f32]],
}

impl<const VECTORS: usize, const GROUPS: usize, const PAIR: usize> Kernel for Scores<'_, VECTORS, GROUPS, PAIR> {
    type Output = [f64; WINDOWS_MAX];

    #[inline(always)]
    fn run<L: Lane>(self, lane: L) -> [f64; WINDOWS_MAX] {
        const { assert!(VECTORS * GROUPS * L::WIDTH <= COLUMNS_MAX && VECTORS * GROUPS * L::WIDTH >= TOKENS) };
        let (zero, one) = (lane.splat(0.0), lane.splat(1.0));
        let zeros = [[zero; VECTORS]; GROUPS];
        // Both streams take turns in writing to `free`.
        let (mut memory, mut output, mut free) = ([zeros; EMBEDDING], [zeros; EMBEDDING], [zeros; EMBEDDING]);
        let mut pass = Pass::<L, VECTORS, GROUPS, PAIR> {
            lane,
            memory: Stream { values: &mut memory, inverse: [[one; VECTORS]; GROUPS], mean: zeros },
            output: Stream { values: &mut output, inverse: [[one; VECTORS]; GROUPS], mean: zeros },
            free: &mut free,
            hidden: [zeros; HIDDEN],
            target: [zeros; EMBEDDING],
        };
        pass.run(self.model, self.windows)
    }
}

/// One row of columns per position of a token.
pub(super) type Plane<V, const VECTORS: usize, const GROUPS: usize> = [Columns<V, VECTORS, GROUPS>; EMBEDDING];

/// The values of one pass through the network.
struct Pass<'a, L: Lane, const VECTORS: usize, const GROUPS: usize, const PAIR: usize> {
    lane: L,
    /// The source's values, at last the encoder's output.
    memory: Stream<'a, L::Vector, VECTORS, GROUPS>,
    /// The target's values.
    output: Stream<'a, L::Vector, VECTORS, GROUPS>,
    /// Where the next self attention writes.
    free: &'a mut Plane<L::Vector, VECTORS, GROUPS>,
    /// A feed-forward network's hidden values.
    hidden: [Columns<L::Vector, VECTORS, GROUPS>; HIDDEN],
    /// The target's tokens, kept for the score.
    target: Plane<L::Vector, VECTORS, GROUPS>,
}

/// Values between two maps. They are centred and not yet divided: what they stand for is `n = values * inverse`.
struct Stream<'a, V, const VECTORS: usize, const GROUPS: usize> {
    values: &'a mut Plane<V, VECTORS, GROUPS>,
    /// `1 / sqrt(variance + 1e-5)`.
    inverse: Columns<V, VECTORS, GROUPS>,
    /// Mean over the positions of `gain * n`, where a residual follows.
    mean: Columns<V, VECTORS, GROUPS>,
}

/// What is done with finished sums of a product.
pub(super) trait Finish<L: Lane, const VECTORS: usize> {
    /// Takes the sums of one output for one group of columns.
    fn finish(&mut self, lane: L, output: usize, group: usize, sums: [L::Vector; VECTORS]);
}

/// The product of a matrix and all columns, handed to `finish` output by output.
#[inline(always)]
pub(super) fn multiply<L: Lane, const VECTORS: usize, const GROUPS: usize, const PAIR: usize, const INPUTS: usize, const BLOCKS: usize>(
    lane: L,
    matrix: &Matrix<INPUTS, BLOCKS>,
    inputs: &[Columns<L::Vector, VECTORS, GROUPS>; INPUTS],
    finish: &mut impl Finish<L, VECTORS>,
) {
    for (number, blocks) in matrix.0.as_chunks::<PAIR>().0.iter().enumerate() {
        for group in 0..GROUPS {
            let mut sums = [[[lane.splat(0.0); VECTORS]; BLOCK]; PAIR];
            for input in 0..INPUTS {
                let values = inputs[input][group];
                for (block, sums) in blocks.iter().zip(&mut sums) {
                    for (&weight, sums) in block[input].iter().zip(sums) {
                        let weight = lane.splat(weight);
                        for (sum, value) in sums.iter_mut().zip(values) {
                            *sum = lane.multiply_add(weight, value, *sum);
                        }
                    }
                }
            }
            for (output, sums) in sums.as_flattened().iter().enumerate() {
                finish.finish(lane, number * PAIR * BLOCK + output, group, *sums);
            }
        }
    }
}

/// `max(0, sums * scale + bias)`.
struct Expanded<'a, V, const VECTORS: usize, const GROUPS: usize> {
    bias: &'a [f32; HIDDEN],
    scale: &'a Columns<V, VECTORS, GROUPS>,
    out: &'a mut [Columns<V, VECTORS, GROUPS>; HIDDEN],
}

impl<L: Lane, const VECTORS: usize, const GROUPS: usize> Finish<L, VECTORS> for Expanded<'_, L::Vector, VECTORS, GROUPS> {
    #[inline(always)]
    fn finish(&mut self, lane: L, output: usize, group: usize, sums: [L::Vector; VECTORS]) {
        let (bias, zero) = (lane.splat(self.bias[output]), lane.splat(0.0));
        for vector in 0..VECTORS {
            let value = lane.multiply_add(sums[vector], self.scale[group][vector], bias);
            self.out[output][group][vector] = lane.max(value, zero);
        }
    }
}

/// Sums over the outputs so far, for the normalisation.
struct Moments<V, const VECTORS: usize, const GROUPS: usize> {
    squares: Columns<V, VECTORS, GROUPS>,
    /// Sum of `gain * value`.
    weighted: Columns<V, VECTORS, GROUPS>,
}

impl<V: Copy, const VECTORS: usize, const GROUPS: usize> Moments<V, VECTORS, GROUPS> {
    #[inline(always)]
    fn new(zero: V) -> Self {
        Self { squares: [[zero; VECTORS]; GROUPS], weighted: [[zero; VECTORS]; GROUPS] }
    }

    #[inline(always)]
    fn add<L: Lane<Vector = V>>(&mut self, lane: L, group: usize, vector: usize, value: V, gain: V) {
        self.squares[group][vector] = lane.multiply_add(value, value, self.squares[group][vector]);
        self.weighted[group][vector] = lane.multiply_add(gain, value, self.weighted[group][vector]);
    }

    /// Writes the inverse deviation and the weighted mean. `sqrt(v) / v` instead of `1 / sqrt(v)`: where the variance overflowed,
    /// the result is NaN and not 0, so the fault shows in the score.
    #[inline(always)]
    fn settle<L: Lane<Vector = V>>(&self, lane: L, inverse: &mut Columns<V, VECTORS, GROUPS>, mean: &mut Columns<V, VECTORS, GROUPS>) {
        let (share, epsilon) = (lane.splat(INVERSE_EMBEDDING), lane.splat(NORM_EPSILON as f32));
        for group in 0..GROUPS {
            for vector in 0..VECTORS {
                let variance = lane.multiply_add(self.squares[group][vector], share, epsilon);
                let deviation = lane.divide(lane.square_root(variance), variance);
                inverse[group][vector] = deviation;
                mean[group][vector] = lane.multiply(lane.multiply(self.weighted[group][vector], deviation), share);
            }
        }
    }
}

/// `sums * scale + bias`.
struct Mixed<'a, V, const VECTORS: usize, const GROUPS: usize> {
    bias: &'a Row,
    gain: &'a Row,
    scale: &'a Columns<V, VECTORS, GROUPS>,
    out: &'a mut [Columns<V, VECTORS, GROUPS>; EMBEDDING],
    moments: Moments<V, VECTORS, GROUPS>,
}

impl<L: Lane, const VECTORS: usize, const GROUPS: usize> Finish<L, VECTORS> for Mixed<'_, L::Vector, VECTORS, GROUPS> {
    #[inline(always)]
    fn finish(&mut self, lane: L, output: usize, group: usize, sums: [L::Vector; VECTORS]) {
        let (bias, gain) = (lane.splat(self.bias[output]), lane.splat(self.gain[output]));
        for vector in 0..VECTORS {
            let value = lane.multiply_add(sums[vector], self.scale[group][vector], bias);
            self.moments.add(lane, group, vector, value, gain);
            self.out[output][group][vector] = value;
        }
    }
}

/// `sums * scale + (residual_gain * n + bias - mean)`, written over the values that n comes from.
struct Resumed<'a, V, const VECTORS: usize, const GROUPS: usize> {
    bias: &'a Row,
    gain: &'a Row,
    residual_gain: &'a Row,
    scale: &'a Columns<V, VECTORS, GROUPS>,
    inverse: &'a Columns<V, VECTORS, GROUPS>,
    mean: &'a Columns<V, VECTORS, GROUPS>,
    values: &'a mut [Columns<V, VECTORS, GROUPS>; EMBEDDING],
    moments: Moments<V, VECTORS, GROUPS>,
}

impl<L: Lane, const VECTORS: usize, const GROUPS: usize> Finish<L, VECTORS> for Resumed<'_, L::Vector, VECTORS, GROUPS> {
    #[inline(always)]
    fn finish(&mut self, lane: L, output: usize, group: usize, sums: [L::Vector; VECTORS]) {
        let (bias, gain) = (lane.splat(self.bias[output]), lane.splat(self.gain[output]));
        let residual_gain = lane.splat(self.residual_gain[output]);
        for vector in 0..VECTORS {
            let given = lane.multiply(self.values[output][group][vector], self.inverse[group][vector]);
            let carried = lane.multiply_add(residual_gain, given, lane.subtract(bias, self.mean[group][vector]));
            let value = lane.multiply_add(sums[vector], self.scale[group][vector], carried);
            self.moments.add(lane, group, vector, value, gain);
            self.values[output][group][vector] = value;
        }
    }
}

impl<L: Lane, const VECTORS: usize, const GROUPS: usize, const PAIR: usize> Pass<'_, L, VECTORS, GROUPS, PAIR> {
    #[inline(always)]
    fn run(&mut self, model: &FoldedSparta, windows: &[&[f32]]) -> [f64; WINDOWS_MAX] {
        fill(self.lane, &model.positions, windows, [self.memory.values, self.output.values, &mut self.target]);
        for layer in &model.encoder {
            self.encode(layer);
        }
        for layer in &model.decoder {
            self.decode(layer);
        }
        errors(self.lane, [&model.gain, &model.offset], &self.output, &self.target)
    }

    #[inline(always)]
    fn encode(&mut self, layer: &FoldedEncoderLayer) {
        mix::<L, VECTORS, GROUPS, PAIR>(self.lane, &layer.mixing, &mut self.memory, &mut self.free);
        feed_forward::<L, VECTORS, GROUPS, PAIR>(
            self.lane,
            &layer.feed_forward,
            [&layer.mixing.gain; 2],
            &mut self.memory,
            &mut self.hidden,
        );
    }

    #[inline(always)]
    fn decode(&mut self, layer: &FoldedDecoderLayer) {
        let lane = self.lane;
        mix::<L, VECTORS, GROUPS, PAIR>(lane, &layer.mixing, &mut self.output, &mut self.free);
        let mut resumed = Resumed {
            bias: &layer.cross.bias,
            gain: &layer.cross.gain,
            residual_gain: &layer.mixing.gain,
            scale: &self.memory.inverse,
            inverse: &self.output.inverse,
            mean: &self.output.mean,
            values: self.output.values,
            moments: Moments::new(lane.splat(0.0)),
        };
        multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &layer.cross.matrix, self.memory.values, &mut resumed);
        let moments = resumed.moments;
        moments.settle(lane, &mut self.output.inverse, &mut self.output.mean);
        feed_forward::<L, VECTORS, GROUPS, PAIR>(lane, &layer.feed_forward, [&layer.cross.gain; 2], &mut self.output, &mut self.hidden);
    }
}

/// Fills three planes, row by row: source and target tokens with positional encoding, and the target without.
#[inline(always)]
fn fill<L: Lane, const VECTORS: usize, const GROUPS: usize>(
    lane: L,
    positions: &[[f32; TOKENS]; EMBEDDING],
    windows: &[&[f32]],
    [memory, output, plain]: [&mut Plane<L::Vector, VECTORS, GROUPS>; 3],
) {
    let mut added = [0.0; COLUMNS_MAX];
    let (mut source, mut target) = ([0.0; COLUMNS_MAX], [0.0; COLUMNS_MAX]);
    for position in 0..EMBEDDING {
        for (number, window) in windows.iter().take(WINDOWS_MAX).enumerate() {
            let columns = number * TOKENS..(number + 1) * TOKENS;
            fill_row(window, Half::Source, position, &mut source[columns.clone()]);
            fill_row(window, Half::Target, position, &mut target[columns.clone()]);
            added[columns].copy_from_slice(&positions[position]);
        }
        for group in 0..GROUPS {
            for vector in 0..VECTORS {
                let column = (group * VECTORS + vector) * L::WIDTH;
                let added = lane.load(&added[column..]);
                let tokens = lane.load(&target[column..]);
                memory[position][group][vector] = lane.add(lane.load(&source[column..]), added);
                output[position][group][vector] = lane.add(tokens, added);
                plain[position][group][vector] = tokens;
            }
        }
    }
}

/// Mean squared difference of the target's tokens and the prediction `gain * n + offset`, per window.
#[inline(always)]
fn errors<L: Lane, const VECTORS: usize, const GROUPS: usize>(
    lane: L,
    [gain, offset]: [&Row; 2],
    output: &Stream<'_, L::Vector, VECTORS, GROUPS>,
    target: &Plane<L::Vector, VECTORS, GROUPS>,
) -> [f64; WINDOWS_MAX] {
    let mut totals = [[lane.splat(0.0); VECTORS]; GROUPS];
    for position in 0..EMBEDDING {
        let (gain, offset) = (lane.splat(gain[position]), lane.splat(offset[position]));
        for group in 0..GROUPS {
            for vector in 0..VECTORS {
                let value = lane.multiply(output.values[position][group][vector], output.inverse[group][vector]);
                let difference = lane.subtract(target[position][group][vector], lane.multiply_add(gain, value, offset));
                totals[group][vector] = lane.multiply_add(difference, difference, totals[group][vector]);
            }
        }
    }
    let mut columns = [0.0; COLUMNS_MAX];
    for (vector, total) in totals.as_flattened().iter().enumerate() {
        lane.store(*total, &mut columns[vector * L::WIDTH..]);
    }
    array::from_fn(|window| mean_over_tokens(&columns[window * TOKENS..]))
}

/// Mean over all numbers of a window, from the sums of its 24 tokens.
#[inline(always)]
pub(super) fn mean_over_tokens(sums: &[f32]) -> f64 {
    sums[..TOKENS].iter().map(|&sum| f64::from(sum)).sum::<f64>() / (TOKENS * EMBEDDING) as f64
}

/// Self attention, residual and normalisation of a stream.
#[inline(always)]
fn mix<'a, L: Lane, const VECTORS: usize, const GROUPS: usize, const PAIR: usize>(
    lane: L,
    mixing: &Mixing,
    stream: &mut Stream<'a, L::Vector, VECTORS, GROUPS>,
    free: &mut &'a mut Plane<L::Vector, VECTORS, GROUPS>,
) {
    let moments = Moments::new(lane.splat(0.0));
    let mut mixed = Mixed { bias: &mixing.bias, gain: &mixing.gain, scale: &stream.inverse, out: free, moments };
    multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &mixing.matrix, stream.values, &mut mixed);
    let moments = mixed.moments;
    moments.settle(lane, &mut stream.inverse, &mut stream.mean);
    swap(&mut stream.values, free);
}

/// Feed-forward network, residual and normalisation of a stream. `gains` are the factors of the normalisations before and after; where
/// no residual follows, nobody reads the mean, and any second gain will do.
#[inline(always)]
fn feed_forward<L: Lane, const VECTORS: usize, const GROUPS: usize, const PAIR: usize>(
    lane: L,
    network: &FoldedFeedForward,
    gains: [&Row; 2],
    stream: &mut Stream<'_, L::Vector, VECTORS, GROUPS>,
    hidden: &mut [Columns<L::Vector, VECTORS, GROUPS>; HIDDEN],
) {
    let mut expanded = Expanded { bias: &network.expand_bias, scale: &stream.inverse, out: hidden };
    multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &network.expand, stream.values, &mut expanded);
    let ones = [[lane.splat(1.0); VECTORS]; GROUPS];
    let mut resumed = Resumed {
        bias: &network.contract_bias,
        gain: gains[1],
        residual_gain: gains[0],
        scale: &ones,
        inverse: &stream.inverse,
        mean: &stream.mean,
        values: stream.values,
        moments: Moments::new(lane.splat(0.0)),
    };
    multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &network.contract, hidden, &mut resumed);
    let moments = resumed.moments;
    moments.settle(lane, &mut stream.inverse, &mut stream.mean);
}
