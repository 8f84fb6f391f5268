//! The engine of the `tokens` form: attention over a window's 24 tokens, one kernel for each lane.
//!
//! Layout and products are those of the `published` form ([`super::fast`]). In addition the softmax is vertical: queries lie along the
//! vectors, keys one below the other, so that largest score, sum and weighted values are plain sums over rows. Tokens see each other
//! here, so a pass takes one window. Encoder and decoder each have one stream of values, which their parts add to; before a part only the
//! stream's deviations are taken, since the rest of its normalisation is folded. No library function runs at score time; the portable lane gives the same bits on every target.
// Positions address several arrays at once here; iterators over them would hide which.
#![allow(clippy::needless_range_loop)]

use super::fast::{Columns, Finish, INVERSE_EMBEDDING, Plane, multiply};
use super::fold::{BLOCK, Row};
use super::fold_tokens::{FoldedAttention, FoldedNetwork, FoldedTokens};
use super::parameters::{EMBEDDING, HEAD_VALUES, HEADS, HIDDEN, NORM_EPSILON, SEEN_FRAMES, TOKENS};
use super::tokens::fill_frames;
use crate::lane::{Kernel, Lane, exp2_of_negative};

/// Columns that a pass has at most: 24 tokens in whole vectors of 16.
const COLUMNS_MAX: usize = 32;

/// Keys or values of all tokens, `[position][token]`, read number by number.
type Spread = [[f32; COLUMNS_MAX]; EMBEDDING];

/// Values of a head whose sums stay in registers together.
const HEAD_BLOCK: usize = 3;

const _: () = assert!(TOKENS.is_multiple_of(BLOCK) && HEAD_VALUES.is_multiple_of(HEAD_BLOCK));

/// Scores one window of `2 * 18 * 24` values, [channel][joint][time]; shape parameters as in [`super::fast::Scores`].
pub(super) struct TokenScore<'a, const VECTORS: usize, const GROUPS: usize, const PAIR: usize> {
    pub(super) model: &'a FoldedTokens,
    pub(super) window: &'a [f32],
}

impl<const VECTORS: usize, const GROUPS: usize, const PAIR: usize> Kernel for TokenScore<'_, VECTORS, GROUPS, PAIR> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lane>(self, lane: L) -> f64 {
        const { assert!(VECTORS * GROUPS * L::WIDTH <= COLUMNS_MAX && VECTORS * GROUPS * L::WIDTH >= TOKENS) };
        let zeros = [[lane.splat(0.0); VECTORS]; GROUPS];
        let ones = [[lane.splat(1.0); VECTORS]; GROUPS];
        let (mut memory, mut output, mut goal) = ([zeros; EMBEDDING], [zeros; EMBEDDING], [zeros; EMBEDDING]);
        fill(lane, &self.model.positions, self.window, [&mut memory, &mut output, &mut goal]);
        let mut work = Work {
            query: [zeros; EMBEDDING],
            joined: [zeros; EMBEDDING],
            keys: [[0.0; COLUMNS_MAX]; EMBEDDING],
            values: [[0.0; COLUMNS_MAX]; EMBEDDING],
        };
        let mut hidden = [zeros; HIDDEN];
        for layer in self.model.encoder.iter().filter(|layer| !layer.is_silent) {
            let inverse = deviations(lane, &memory);
            work.look_up::<L, PAIR>(lane, &layer.attention, (&memory, &inverse), (&memory, &inverse, &inverse));
            work.join::<L, PAIR>(lane, &layer.attention, &mut memory);
            feed_forward::<L, VECTORS, GROUPS, PAIR>(lane, &layer.network, &mut memory, &mut hidden);
        }
        let remembered = deviations(lane, &memory);
        for layer in self.model.decoder.iter().filter(|layer| !layer.is_silent) {
            let inverse = deviations(lane, &output);
            work.look_up::<L, PAIR>(lane, &layer.attention, (&output, &inverse), (&output, &inverse, &inverse));
            work.join::<L, PAIR>(lane, &layer.attention, &mut output);
            let inverse = deviations(lane, &output);
            work.look_up::<L, PAIR>(lane, &layer.cross, (&output, &inverse), (&memory, &remembered, &ones));
            work.join::<L, PAIR>(lane, &layer.cross, &mut output);
            feed_forward::<L, VECTORS, GROUPS, PAIR>(lane, &layer.network, &mut output, &mut hidden);
        }
        error(lane, &output, &goal)
    }
}

/// Fills three planes, row by row: seen tokens with positional encoding, positions alone, and all tokens with positions, of which the unseen are
/// what the positions are to become.
#[inline(always)]
fn fill<L: Lane, const VECTORS: usize, const GROUPS: usize>(
    lane: L,
    positions: &[[f32; TOKENS]; EMBEDDING],
    window: &[f32],
    [memory, output, goal]: [&mut Plane<L::Vector, VECTORS, GROUPS>; 3],
) {
    let (mut added, mut source, mut target) = ([0.0; COLUMNS_MAX], [0.0; COLUMNS_MAX], [0.0; COLUMNS_MAX]);
    for position in 0..EMBEDDING {
        fill_frames(window, position, &mut target[..TOKENS]);
        source[..SEEN_FRAMES].copy_from_slice(&target[..SEEN_FRAMES]);
        added[..TOKENS].copy_from_slice(&positions[position]);
        for group in 0..GROUPS {
            for vector in 0..VECTORS {
                let column = (group * VECTORS + vector) * L::WIDTH;
                let added = lane.load(&added[column..]);
                memory[position][group][vector] = lane.add(lane.load(&source[column..]), added);
                output[position][group][vector] = added;
                goal[position][group][vector] = lane.add(lane.load(&target[column..]), added);
            }
        }
    }
}

/// One over each token's deviation, in two passes, since a token's mean may be far from zero. `sqrt(v) / v` instead of `1 / sqrt(v)`: where
/// the variance overflowed, the result is NaN and not 0, so the fault shows in the score.
#[inline(always)]
fn deviations<L: Lane, const VECTORS: usize, const GROUPS: usize>(
    lane: L,
    values: &Plane<L::Vector, VECTORS, GROUPS>,
) -> Columns<L::Vector, VECTORS, GROUPS> {
    let (share, epsilon) = (lane.splat(INVERSE_EMBEDDING), lane.splat(NORM_EPSILON as f32));
    let mut inverse = [[lane.splat(0.0); VECTORS]; GROUPS];
    for group in 0..GROUPS {
        for vector in 0..VECTORS {
            let mut mean = lane.splat(0.0);
            for position in 0..EMBEDDING {
                mean = lane.add(mean, values[position][group][vector]);
            }
            let mean = lane.multiply(mean, share);
            let mut squares = lane.splat(0.0);
            for position in 0..EMBEDDING {
                let difference = lane.subtract(values[position][group][vector], mean);
                squares = lane.multiply_add(difference, difference, squares);
            }
            let variance = lane.multiply_add(squares, share, epsilon);
            inverse[group][vector] = lane.divide(lane.square_root(variance), variance);
        }
    }
    inverse
}

/// Mean absolute difference, in unseen tokens, of what came out and what it was to become. Of a NaN, both differences are NaN, and so is the larger.
#[inline(always)]
fn error<L: Lane, const VECTORS: usize, const GROUPS: usize>(
    lane: L,
    output: &Plane<L::Vector, VECTORS, GROUPS>,
    goal: &Plane<L::Vector, VECTORS, GROUPS>,
) -> f64 {
    let mut totals = [[lane.splat(0.0); VECTORS]; GROUPS];
    for position in 0..EMBEDDING {
        for group in 0..GROUPS {
            for vector in 0..VECTORS {
                let (goal, output) = (goal[position][group][vector], output[position][group][vector]);
                let difference = lane.max(lane.subtract(goal, output), lane.subtract(output, goal));
                totals[group][vector] = lane.add(totals[group][vector], difference);
            }
        }
    }
    let mut columns = [0.0; COLUMNS_MAX];
    for (vector, total) in totals.as_flattened().iter().enumerate() {
        lane.store(*total, &mut columns[vector * L::WIDTH..]);
    }
    let unseen = &columns[SEEN_FRAMES..TOKENS];
    unseen.iter().map(|&sum| f64::from(sum)).sum::<f64>() / (unseen.len() * EMBEDDING) as f64
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
            self.out[output][group][vector] = lane.max(zero, value);
        }
    }
}

/// `stream + sums + bias`, in the stream.
struct Added<'a, V, const VECTORS: usize, const GROUPS: usize> {
    bias: &'a Row,
    stream: &'a mut Plane<V, VECTORS, GROUPS>,
}

impl<L: Lane, const VECTORS: usize, const GROUPS: usize> Finish<L, VECTORS> for Added<'_, L::Vector, VECTORS, GROUPS> {
    #[inline(always)]
    fn finish(&mut self, lane: L, output: usize, group: usize, sums: [L::Vector; VECTORS]) {
        let bias = lane.splat(self.bias[output]);
        for vector in 0..VECTORS {
            let value = &mut self.stream[output][group][vector];
            *value = lane.add(*value, lane.add(sums[vector], bias));
        }
    }
}

/// Adds what the network makes of the stream.
#[inline(always)]
fn feed_forward<L: Lane, const VECTORS: usize, const GROUPS: usize, const PAIR: usize>(
    lane: L,
    network: &FoldedNetwork,
    stream: &mut Plane<L::Vector, VECTORS, GROUPS>,
    hidden: &mut [Columns<L::Vector, VECTORS, GROUPS>; HIDDEN],
) {
    let inverse = deviations(lane, stream);
    let mut expanded = Expanded { bias: &network.expand_bias, scale: &inverse, out: hidden };
    multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &network.expand, stream, &mut expanded);
    let mut added = Added { bias: &network.contract_bias, stream };
    multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &network.contract, hidden, &mut added);
}

/// Values, and one over their deviations.
type Stream<'a, V, const VECTORS: usize, const GROUPS: usize> = (&'a Plane<V, VECTORS, GROUPS>, &'a Columns<V, VECTORS, GROUPS>);

/// Values, and what scales the keys and the values made of them.
type Asked<'a, V, const VECTORS: usize, const GROUPS: usize> =
    (&'a Plane<V, VECTORS, GROUPS>, &'a Columns<V, VECTORS, GROUPS>, &'a Columns<V, VECTORS, GROUPS>);

/// What one attention needs beside its streams.
struct Work<V, const VECTORS: usize, const GROUPS: usize> {
    query: Plane<V, VECTORS, GROUPS>,
    /// What the heads found, one after the other.
    joined: Plane<V, VECTORS, GROUPS>,
    keys: Spread,
    values: Spread,
}

/// `sums * scale + bias`, kept as vectors.
struct Queries<'a, V, const VECTORS: usize, const GROUPS: usize> {
    bias: &'a Row,
    scale: &'a Columns<V, VECTORS, GROUPS>,
    out: &'a mut Plane<V, VECTORS, GROUPS>,
}

impl<L: Lane, const VECTORS: usize, const GROUPS: usize> Finish<L, VECTORS> for Queries<'_, L::Vector, VECTORS, GROUPS> {
    #[inline(always)]
    fn finish(&mut self, lane: L, output: usize, group: usize, sums: [L::Vector; VECTORS]) {
        let bias = lane.splat(self.bias[output]);
        for vector in 0..VECTORS {
            self.out[output][group][vector] = lane.multiply_add(sums[vector], self.scale[group][vector], bias);
        }
    }
}

/// `sums * scale`, kept as numbers.
struct Spreading<'a, V, const VECTORS: usize, const GROUPS: usize> {
    scale: &'a Columns<V, VECTORS, GROUPS>,
    out: &'a mut Spread,
}

impl<L: Lane, const VECTORS: usize, const GROUPS: usize> Finish<L, VECTORS> for Spreading<'_, L::Vector, VECTORS, GROUPS> {
    #[inline(always)]
    fn finish(&mut self, lane: L, output: usize, group: usize, sums: [L::Vector; VECTORS]) {
        for vector in 0..VECTORS {
            let column = (group * VECTORS + vector) * L::WIDTH;
            lane.store(lane.multiply(sums[vector], self.scale[group][vector]), &mut self.out[output][column..]);
        }
    }
}

impl<V: Copy, const VECTORS: usize, const GROUPS: usize> Work<V, VECTORS, GROUPS> {
    /// Queries of one stream, keys and values of another, and all heads.
    #[inline(always)]
    fn look_up<L: Lane<Vector = V>, const PAIR: usize>(
        &mut self,
        lane: L,
        attention: &FoldedAttention,
        asking: Stream<'_, V, VECTORS, GROUPS>,
        asked: Asked<'_, V, VECTORS, GROUPS>,
    ) {
        let mut queries = Queries { bias: &attention.query_bias, scale: asking.1, out: &mut self.query };
        multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &attention.query, asking.0, &mut queries);
        let mut keys = Spreading { scale: asked.1, out: &mut self.keys };
        multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &attention.key, asked.0, &mut keys);
        let mut values = Spreading { scale: asked.2, out: &mut self.values };
        multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &attention.value, asked.0, &mut values);
        for head in 0..HEADS {
            for group in 0..GROUPS {
                let (weights, share) = self.weights(lane, head, group);
                self.weigh(lane, head, group, &weights, &share);
            }
        }
    }

    /// Weights of all keys for a head's queries, before they are divided by their sum, and one over the sum.
    #[inline(always)]
    fn weights<L: Lane<Vector = V>>(&self, lane: L, head: usize, group: usize) -> ([[V; VECTORS]; TOKENS], [V; VECTORS]) {
        let first = head * HEAD_VALUES;
        let mut weights = [[lane.splat(0.0); VECTORS]; TOKENS];
        for (block, weights) in weights.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let mut sums = [[lane.splat(0.0); VECTORS]; BLOCK];
            for position in first..first + HEAD_VALUES {
                let queries = self.query[position][group];
                let keys = &self.keys[position][block * BLOCK..(block + 1) * BLOCK];
                for (&key, sums) in keys.iter().zip(&mut sums) {
                    let key = lane.splat(key);
                    for (sum, query) in sums.iter_mut().zip(queries) {
                        *sum = lane.multiply_add(key, query, *sum);
                    }
                }
            }
            *weights = sums;
        }
        let mut share = [lane.splat(0.0); VECTORS];
        for vector in 0..VECTORS {
            let mut largest = weights[0][vector];
            for key in 1..TOKENS {
                largest = lane.max(largest, weights[key][vector]);
            }
            let mut total = lane.splat(0.0);
            for key in 0..TOKENS {
                weights[key][vector] = exp2_of_negative(lane, lane.subtract(weights[key][vector], largest));
                total = lane.add(total, weights[key][vector]);
            }
            share[vector] = lane.divide(lane.splat(1.0), total);
        }
        (weights, share)
    }

    /// A head's weighted values.
    #[inline(always)]
    fn weigh<L: Lane<Vector = V>>(&mut self, lane: L, head: usize, group: usize, weights: &[[V; VECTORS]; TOKENS], share: &[V; VECTORS]) {
        for block in 0..HEAD_VALUES / HEAD_BLOCK {
            let first = head * HEAD_VALUES + block * HEAD_BLOCK;
            let mut sums = [[lane.splat(0.0); VECTORS]; HEAD_BLOCK];
            for key in 0..TOKENS {
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = lane.splat(self.values[first + row][key]);
                    for (sum, weight) in sums.iter_mut().zip(weights[key]) {
                        *sum = lane.multiply_add(value, weight, *sum);
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                for vector in 0..VECTORS {
                    self.joined[first + row][group][vector] = lane.multiply(sums[vector], share[vector]);
                }
            }
        }
    }

    /// What the heads found, through the output matrix, added to the stream.
    #[inline(always)]
    fn join<L: Lane<Vector = V>, const PAIR: usize>(&self, lane: L, attention: &FoldedAttention, stream: &mut Plane<V, VECTORS, GROUPS>) {
        let mut added = Added { bias: &attention.bias, stream };
        multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &attention.out, &self.joined, &mut added);
    }
}
