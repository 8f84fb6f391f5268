//! The engine of the `tokens` form: attention over a window's 24 tokens, one kernel for each lane.
//!
//! Layout and products are those of the `published` form ([`super::fast`]). In addition the softmax is vertical: queries lie along the
//! vectors, keys one below the other, so that largest score, sum and weighted values are plain sums over rows. Tokens see each other
//! here, so a pass takes one window. No library function runs at score time; the portable lane gives the same bits on every target.
// Positions address several arrays at once here; iterators over them would hide which.
#![allow(clippy::needless_range_loop)]

use super::fast::INVERSE_EMBEDDING;
use super::fast::{Columns, Finish, Moments, Plane, Resumed, Stream, errors, feed_forward, fill, multiply};
use super::fold::{BLOCK, Row};
use super::fold_tokens::{FoldedAttention, FoldedTokens};
use super::parameters::{EMBEDDING, HEAD_VALUES, HEADS, HIDDEN, TOKENS};
use crate::lane::{Kernel, Lane, exp2_of_negative};

/// Columns that a pass has at most: 24 tokens in whole vectors of 16.
const COLUMNS_MAX: usize = 32;

/// Keys or values of all tokens, `[position][token]`, read number by number.
type Spread = [[f32; COLUMNS_MAX]; EMBEDDING];

/// Values of a head whose sums stay in registers together.
const HEAD_BLOCK: usize = 3;

const _: () = assert!(TOKENS.is_multiple_of(BLOCK) && HEAD_VALUES.is_multiple_of(HEAD_BLOCK));

/// Scores one window of `2 * 18 * 48` values, [channel][joint][time]; shape parameters as in [`super::fast::Scores`].
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
        let (mut memory, mut output, mut target) = ([zeros; EMBEDDING], [zeros; EMBEDDING], [zeros; EMBEDDING]);
        fill(lane, &self.model.positions, &[self.window], [&mut memory, &mut output, &mut target]);
        let mut memory = Stream { mean: plain_mean(lane, &memory), values: &mut memory, inverse: ones };
        let mut output = Stream { mean: plain_mean(lane, &output), values: &mut output, inverse: ones };
        let mut work = Work {
            query: [zeros; EMBEDDING],
            joined: [zeros; EMBEDDING],
            keys: [[0.0; COLUMNS_MAX]; EMBEDDING],
            values: [[0.0; COLUMNS_MAX]; EMBEDDING],
        };
        let mut hidden = [zeros; HIDDEN];
        for layer in &self.model.encoder {
            work.look_up::<L, PAIR>(lane, &layer.attention, &memory, &memory);
            work.join::<L, PAIR>(lane, &layer.attention, &mut memory);
            let gains = [&layer.attention.gains[1], &layer.gain];
            feed_forward::<L, VECTORS, GROUPS, PAIR>(lane, &layer.feed_forward, gains, &mut memory, &mut hidden);
        }
        for layer in &self.model.decoder {
            work.look_up::<L, PAIR>(lane, &layer.attention, &output, &output);
            work.join::<L, PAIR>(lane, &layer.attention, &mut output);
            work.look_up::<L, PAIR>(lane, &layer.cross, &output, &memory);
            work.join::<L, PAIR>(lane, &layer.cross, &mut output);
            let gains = [&layer.cross.gains[1], &layer.gain];
            feed_forward::<L, VECTORS, GROUPS, PAIR>(lane, &layer.feed_forward, gains, &mut output, &mut hidden);
        }
        let [.., last] = &self.model.decoder;
        errors(lane, [&last.gain, &self.model.offset], &output, &target)[0]
    }
}

/// Mean over the positions of values that no normalisation has centred: what the first residual is centred with.
#[inline(always)]
fn plain_mean<L: Lane, const VECTORS: usize, const GROUPS: usize>(
    lane: L,
    values: &Plane<L::Vector, VECTORS, GROUPS>,
) -> Columns<L::Vector, VECTORS, GROUPS> {
    let mut totals = [[lane.splat(0.0); VECTORS]; GROUPS];
    for row in values {
        for group in 0..GROUPS {
            for vector in 0..VECTORS {
                totals[group][vector] = lane.add(totals[group][vector], row[group][vector]);
            }
        }
    }
    for total in totals.as_flattened_mut() {
        *total = lane.multiply(*total, lane.splat(INVERSE_EMBEDDING));
    }
    totals
}

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
        asking: &Stream<'_, V, VECTORS, GROUPS>,
        asked: &Stream<'_, V, VECTORS, GROUPS>,
    ) {
        let mut queries = Queries { bias: &attention.query_bias, scale: &asking.inverse, out: &mut self.query };
        multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &attention.query, asking.values, &mut queries);
        let mut keys = Spreading { scale: &asked.inverse, out: &mut self.keys };
        multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &attention.key, asked.values, &mut keys);
        let mut values = Spreading { scale: &asked.inverse, out: &mut self.values };
        multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &attention.value, asked.values, &mut values);
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

    /// What the heads found, through the output matrix, added to the residual, and normalised.
    #[inline(always)]
    fn join<L: Lane<Vector = V>, const PAIR: usize>(
        &self,
        lane: L,
        attention: &FoldedAttention,
        stream: &mut Stream<'_, V, VECTORS, GROUPS>,
    ) {
        let ones = [[lane.splat(1.0); VECTORS]; GROUPS];
        let mut resumed = Resumed {
            bias: &attention.bias,
            gain: &attention.gains[1],
            residual_gain: &attention.gains[0],
            scale: &ones,
            inverse: &stream.inverse,
            mean: &stream.mean,
            values: stream.values,
            moments: Moments::new(lane.splat(0.0)),
        };
        multiply::<L, VECTORS, GROUPS, PAIR, _, _>(lane, &attention.out, &self.joined, &mut resumed);
        let moments = resumed.moments;
        moments.settle(lane, &mut stream.inverse, &mut stream.mean);
    }
}
