//! Attention among 24 tokens and its derivative, head by head: the part of SPARTA's hand-derived step that is no matrix product.
//!
//! Within a head everything is kept `[key][query]`, queries along the vectors, so that the softmax is made of plain sums over rows. What runs
//! over keys instead (the gradients of keys and values) reads a transposed copy.
//! Derivatives, with `s = k q / sqrt(6)`, `p = softmax over keys of s`, `o = p v`: `dv = p do`, `dp = v do`, `ds = p (dp - sum over keys of p dp)`,
//! `dq = ds k / sqrt(6)`, `dk = ds q / sqrt(6)`.
// Keys, queries and values address several arrays at once; iterators over them would hide which.
#![allow(clippy::needless_range_loop)]

use alfred_models::lane::{Kernel, Lane, exp2_of_negative, run_widest};
use alfred_models::sparta::parameters::{EMBEDDING, HEAD_VALUES, HEADS, TOKENS};

/// Queries, keys and values of a token, one after the other.
pub const PARTS: usize = 3 * EMBEDDING;

/// One head's weights of a window, `[key][query]`.
pub type Shares = [[f32; TOKENS]; TOKENS];

/// Numbers of one head, `[number][token]`.
type Rows = [[f32; TOKENS]; HEAD_VALUES];

/// `1 / sqrt(6)`.
fn scale() -> f32 {
    (1.0 / libm::sqrt(HEAD_VALUES as f64)) as f32
}

/// A pass over every head of some windows.
pub(super) trait EveryHead {
    /// Computes it with rows of [`TOKENS`] numbers in so many vectors.
    fn every_head<L: Lane, const VECTORS: usize>(self, lane: L);
}

/// A pass, with as many vectors to a row as the lane needs.
pub(super) struct InRows<P>(pub(super) P);

impl<P: EveryHead> Kernel for InRows<P> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lane>(self, lane: L) {
        match L::WIDTH {
            16 => self.0.every_head::<L, 2>(lane),
            8 => self.0.every_head::<L, 3>(lane),
            _ => self.0.every_head::<L, 6>(lane),
        }
    }
}

/// Attention of whole windows: `parts` holds 216 numbers per token, `shares` 12 heads per window, `joined` takes 72 numbers per token.
pub fn attend(parts: &[f32], shares: &mut [Shares], joined: &mut [f32]) {
    run_widest(InRows(Attend { parts, shares, joined }));
}

pub(super) struct Attend<'a> {
    pub(super) parts: &'a [f32],
    pub(super) shares: &'a mut [Shares],
    pub(super) joined: &'a mut [f32],
}

impl EveryHead for Attend<'_> {
    #[inline(always)]
    fn every_head<L: Lane, const VECTORS: usize>(self, lane: L) {
        let windows = self.parts.chunks_exact(TOKENS * PARTS).zip(self.joined.chunks_exact_mut(TOKENS * EMBEDDING));
        for ((parts, joined), shares) in windows.zip(self.shares.chunks_exact_mut(HEADS)) {
            for (head, shares) in shares.iter_mut().enumerate() {
                head_forward::<L, VECTORS>(lane, parts, head * HEAD_VALUES, shares, joined);
            }
        }
    }
}

/// One head of one window: its shares, and what every query finds.
#[inline(always)]
fn head_forward<L: Lane, const VECTORS: usize>(lane: L, parts: &[f32], first: usize, shares: &mut Shares, joined: &mut [f32]) {
    // Powers of two in place of those of e.
    let scale = scale() * core::f32::consts::LOG2_E;
    let query = loaded::<L, VECTORS>(lane, &gather(parts, PARTS, first));
    let mut largest = Row::<L, VECTORS>::splat(lane, f32::NEG_INFINITY);
    for key in 0..TOKENS {
        let numbers = &parts[key * PARTS + EMBEDDING + first..][..HEAD_VALUES];
        let mut sums = Row::splat(lane, 0.0);
        for number in 0..HEAD_VALUES {
            sums = sums.plus(lane, query[number], numbers[number] * scale);
        }
        largest = largest.max(lane, sums);
        sums.store(lane, &mut shares[key]);
    }
    let mut total = Row::<L, VECTORS>::splat(lane, 0.0);
    for key in 0..TOKENS {
        let power = Row::load(lane, &shares[key]).less(lane, largest).exp2(lane);
        total = total.sum(lane, power);
        power.store(lane, &mut shares[key]);
    }
    let share = total.inverse(lane);
    let mut found = [Row::<L, VECTORS>::splat(lane, 0.0); HEAD_VALUES];
    for key in 0..TOKENS {
        let weights = Row::load(lane, &shares[key]).times(lane, share);
        weights.store(lane, &mut shares[key]);
        let value = &parts[key * PARTS + 2 * EMBEDDING + first..][..HEAD_VALUES];
        for number in 0..HEAD_VALUES {
            found[number] = found[number].plus(lane, weights, value[number]);
        }
    }
    scatter(&kept(lane, found), joined, EMBEDDING, first);
}

/// Gradients of `parts` (overwritten) from those of `joined`.
pub fn attend_back(parts: &[f32], shares: &[Shares], joined_gradient: &[f32], gradient: &mut [f32]) {
    run_widest(InRows(AttendBack { parts, shares, joined_gradient, gradient }));
}

pub(super) struct AttendBack<'a> {
    pub(super) parts: &'a [f32],
    pub(super) shares: &'a [Shares],
    pub(super) joined_gradient: &'a [f32],
    pub(super) gradient: &'a mut [f32],
}

impl EveryHead for AttendBack<'_> {
    #[inline(always)]
    fn every_head<L: Lane, const VECTORS: usize>(self, lane: L) {
        let inputs = self.parts.chunks_exact(TOKENS * PARTS).zip(self.joined_gradient.chunks_exact(TOKENS * EMBEDDING));
        let outputs = self.gradient.chunks_exact_mut(TOKENS * PARTS).zip(self.shares.chunks_exact(HEADS));
        for ((parts, joined), (gradient, shares)) in inputs.zip(outputs) {
            for (head, shares) in shares.iter().enumerate() {
                head_back::<L, VECTORS>(lane, parts, head * HEAD_VALUES, shares, joined, gradient);
            }
        }
    }
}

/// A row of 24 numbers in vectors; where a lane's width is no divisor of 24, the last one overlaps the one before it.
#[derive(Clone, Copy)]
struct Row<L: Lane, const VECTORS: usize>([L::Vector; VECTORS]);

impl<L: Lane, const VECTORS: usize> Row<L, VECTORS> {
    /// Where a vector begins.
    #[inline(always)]
    fn offset(vector: usize) -> usize {
        (vector * L::WIDTH).min(TOKENS - L::WIDTH)
    }

    #[inline(always)]
    fn splat(lane: L, value: f32) -> Self {
        Self([lane.splat(value); VECTORS])
    }

    #[inline(always)]
    fn load(lane: L, from: &[f32; TOKENS]) -> Self {
        let mut row = Self::splat(lane, 0.0);
        for vector in 0..VECTORS {
            row.0[vector] = lane.load(&from[Self::offset(vector)..]);
        }
        row
    }

    #[inline(always)]
    fn store(self, lane: L, to: &mut [f32; TOKENS]) {
        for vector in 0..VECTORS {
            lane.store(self.0[vector], &mut to[Self::offset(vector)..]);
        }
    }

    /// `self + values * factor`.
    #[inline(always)]
    fn plus(mut self, lane: L, values: Self, factor: f32) -> Self {
        let factor = lane.splat(factor);
        for vector in 0..VECTORS {
            self.0[vector] = lane.multiply_add(values.0[vector], factor, self.0[vector]);
        }
        self
    }

    /// The larger numbers; NaN where `other` is NaN.
    #[inline(always)]
    fn max(mut self, lane: L, other: Self) -> Self {
        for vector in 0..VECTORS {
            self.0[vector] = lane.max(self.0[vector], other.0[vector]);
        }
        self
    }

    /// Two to the power of numbers up to 0.
    #[inline(always)]
    fn exp2(mut self, lane: L) -> Self {
        for vector in 0..VECTORS {
            self.0[vector] = exp2_of_negative(lane, self.0[vector]);
        }
        self
    }

    /// One over the numbers.
    #[inline(always)]
    fn inverse(mut self, lane: L) -> Self {
        for vector in 0..VECTORS {
            self.0[vector] = lane.divide(lane.splat(1.0), self.0[vector]);
        }
        self
    }

    /// `self + one * other`, place by place.
    #[inline(always)]
    fn plus_product(mut self, lane: L, one: Self, other: Self) -> Self {
        for vector in 0..VECTORS {
            self.0[vector] = lane.multiply_add(one.0[vector], other.0[vector], self.0[vector]);
        }
        self
    }

    /// `self + other`, place by place.
    #[inline(always)]
    fn sum(mut self, lane: L, other: Self) -> Self {
        for vector in 0..VECTORS {
            self.0[vector] = lane.add(self.0[vector], other.0[vector]);
        }
        self
    }

    /// `self - other`, place by place.
    #[inline(always)]
    fn less(mut self, lane: L, other: Self) -> Self {
        for vector in 0..VECTORS {
            self.0[vector] = lane.subtract(self.0[vector], other.0[vector]);
        }
        self
    }

    /// `self * other`, place by place.
    #[inline(always)]
    fn times(mut self, lane: L, other: Self) -> Self {
        for vector in 0..VECTORS {
            self.0[vector] = lane.multiply(self.0[vector], other.0[vector]);
        }
        self
    }
}

/// One head of one window.
#[inline(always)]
fn head_back<L: Lane, const VECTORS: usize>(lane: L, parts: &[f32], first: usize, shares: &Shares, joined: &[f32], gradient: &mut [f32]) {
    let scale = scale();
    // Gradients of the shares, then, in the same place, of the scores.
    let mut slopes = [[0.0; TOKENS]; TOKENS];
    let mut mean = Row::<L, VECTORS>::splat(lane, 0.0);
    {
        let found = loaded::<L, VECTORS>(lane, &gather(joined, EMBEDDING, first));
        for key in 0..TOKENS {
            let value = &parts[key * PARTS + 2 * EMBEDDING + first..][..HEAD_VALUES];
            let mut sums = Row::splat(lane, 0.0);
            for number in 0..HEAD_VALUES {
                sums = sums.plus(lane, found[number], value[number]);
            }
            mean = mean.plus_product(lane, sums, Row::load(lane, &shares[key]));
            sums.store(lane, &mut slopes[key]);
        }
    }
    let mut of_query = [Row::<L, VECTORS>::splat(lane, 0.0); HEAD_VALUES];
    for key in 0..TOKENS {
        let slope = Row::<L, VECTORS>::load(lane, &slopes[key]).less(lane, mean).times(lane, Row::load(lane, &shares[key]));
        slope.store(lane, &mut slopes[key]);
        let numbers = &parts[key * PARTS + EMBEDDING + first..][..HEAD_VALUES];
        for number in 0..HEAD_VALUES {
            of_query[number] = of_query[number].plus(lane, slope, numbers[number] * scale);
        }
    }
    scatter(&kept(lane, of_query), gradient, PARTS, first);
    // Sums over queries: the same with keys along the vectors.
    let query = Numbers { values: parts, step: PARTS, first, scale };
    sum_over_queries::<L, VECTORS>(lane, &turned(&slopes), query, gradient, EMBEDDING + first);
    let sent = Numbers { values: joined, step: EMBEDDING, first, scale: 1.0 };
    sum_over_queries::<L, VECTORS>(lane, &turned(shares), sent, gradient, 2 * EMBEDDING + first);
}

/// A head's numbers where they lie, times a factor.
#[derive(Clone, Copy)]
struct Numbers<'a> {
    values: &'a [f32],
    /// From one token to the next.
    step: usize,
    first: usize,
    scale: f32,
}

/// Writes, for every key, the sum over queries of `weights[query][key] * number of the query`.
#[inline(always)]
fn sum_over_queries<L: Lane, const VECTORS: usize>(lane: L, weights: &Shares, of: Numbers<'_>, gradient: &mut [f32], first: usize) {
    let mut sums = [Row::<L, VECTORS>::splat(lane, 0.0); HEAD_VALUES];
    for token in 0..TOKENS {
        let weights = Row::load(lane, &weights[token]);
        let numbers = &of.values[token * of.step + of.first..][..HEAD_VALUES];
        for number in 0..HEAD_VALUES {
            sums[number] = sums[number].plus(lane, weights, numbers[number] * of.scale);
        }
    }
    scatter(&kept(lane, sums), gradient, PARTS, first);
}

/// Rows in vectors.
#[inline(always)]
fn loaded<L: Lane, const VECTORS: usize>(lane: L, rows: &Rows) -> [Row<L, VECTORS>; HEAD_VALUES] {
    let mut out = [Row::splat(lane, 0.0); HEAD_VALUES];
    for number in 0..HEAD_VALUES {
        out[number] = Row::load(lane, &rows[number]);
    }
    out
}

/// Rows in memory.
#[inline(always)]
fn kept<L: Lane, const VECTORS: usize>(lane: L, rows: [Row<L, VECTORS>; HEAD_VALUES]) -> Rows {
    let mut out = [[0.0; TOKENS]; HEAD_VALUES];
    for number in 0..HEAD_VALUES {
        rows[number].store(lane, &mut out[number]);
    }
    out
}

/// Writes four rows of four numbers, transposed: what compilers know to make of shuffles. Rows begin `from_step`
/// numbers after each other, and `to_step` where they are written.
///
/// No closures in here: where they are not inlined, they are compiled for other instructions.
#[inline(always)]
fn turn_block(from: &[f32], from_step: usize, to: &mut [f32], to_step: usize) {
    let rows = [four(from), four(&from[from_step..]), four(&from[2 * from_step..]), four(&from[3 * from_step..])];
    for place in 0..4 {
        let column = [rows[0][place], rows[1][place], rows[2][place], rows[3][place]];
        to[place * to_step..][..4].copy_from_slice(&column);
    }
}

/// The first four numbers.
#[inline(always)]
fn four(from: &[f32]) -> [f32; 4] {
    let from = &from[..4];
    [from[0], from[1], from[2], from[3]]
}

/// Blocks of four that cover a head's six numbers; two numbers are written twice.
const HEAD_BLOCKS: [usize; 2] = [0, HEAD_VALUES - 4];

/// A head's numbers of all tokens; a token has `step` numbers.
#[inline(always)]
fn gather(values: &[f32], step: usize, first: usize) -> Rows {
    let mut rows = [[0.0; TOKENS]; HEAD_VALUES];
    let out = rows.as_flattened_mut();
    for token in (0..TOKENS).step_by(4) {
        for number in HEAD_BLOCKS {
            turn_block(&values[token * step + first + number..], step, &mut out[number * TOKENS + token..], TOKENS);
        }
    }
    rows
}

/// The way back of [`gather`].
#[inline(always)]
fn scatter(rows: &Rows, values: &mut [f32], step: usize, first: usize) {
    let from = rows.as_flattened();
    for token in (0..TOKENS).step_by(4) {
        for number in HEAD_BLOCKS {
            turn_block(&from[number * TOKENS + token..], TOKENS, &mut values[token * step + first + number..], step);
        }
    }
}

/// The transposed.
#[inline(always)]
fn turned(matrix: &Shares) -> Shares {
    let mut turned = [[0.0; TOKENS]; TOKENS];
    let (from, out) = (matrix.as_flattened(), turned.as_flattened_mut());
    for row in (0..TOKENS).step_by(4) {
        for column in (0..TOKENS).step_by(4) {
            turn_block(&from[row * TOKENS + column..], TOKENS, &mut out[column * TOKENS + row..], TOKENS);
        }
    }
    turned
}
