//! The fast engine: one kernel over a small set of vector operations, instantiated once per instruction set.
//!
//! Time is a window's fastest axis, so a plane of 18 x T values is one flat run of vectors, and what depends on time alone repeats
//! every `period` vectors. A flow step is then one pass: the coupling network's 2 x T outputs stay in registers as the pass goes over
//! the joints, and the sums over joints that the next step's network needs fall out of it.
//!
//! The scale is `sigmoid(raw + 2) + 1e-6 = 1 / (1 + exp(-2 - raw)) + 1e-6` with `raw >= 0`. `exp(-(2 + raw) / 8)` is a polynomial of
//! degree 5; its eighth power is taken by three squarings, the last fused with the addition. This needs no integer operation.
// Positions address several arrays at once here; iterators over them would hide which.
#![allow(clippy::needless_range_loop)]

use super::fold::{FoldedFlow, FoldedStgNf, SCALE, SHIFT};
use super::parameters::{FLOWS, NETWORK_CHANNELS};
use crate::lane::{Kernel, Lane, Portable};
use alfred_core::limits::{JOINTS, WINDOW_FRAMES_MAX};

/// Polynomial for `exp(-(2 + raw) / 8)` on `0..=RAW_MAX`, lowest power first. Minimax of the error it makes in the scale (Remez
/// exchange), with the value at 0 fixed, because dead ReLUs put much weight there. It changes the scale by at most 2.6e-8.
pub(super) const EXP_EIGHTH: [f32; 6] = [0.778_800_8, -0.097_349_8, 6.083_367_4e-3, -2.525_247_6e-4, 7.537_714e-6, -1.343_758e-7];

/// Beyond it the scale's distance from 1 + 1e-6 is below `f32` resolution.
pub(super) const RAW_MAX: f32 = 14.5;

/// Numerator of the scale: stands for `1 + 1e-6 * (1 + exp(-2 - raw))`, and is off by at most 7.3e-8.
pub(super) const SCALE_NUMERATOR: f32 = 1.000_001_1;

/// Divisors lie in `1..=1.1354`: so many in an `f32` product stay below 1e33.
const PRODUCT_LENGTH_MAX: usize = 600;

/// And so many in an `f64` product stay below 1e276.
const PRODUCT_LENGTH_MAX_F64: usize = 5000;

/// Values after which the network's outputs repeat, at most: the least common multiple of T and the width.
const GROUP_MAX: usize = 2 * WINDOW_FRAMES_MAX;

/// A group and a vector's overhang.
const PATTERN_MAX: usize = GROUP_MAX + 16;

/// Vectors of a group, at most: T = 48 with 2 values per vector.
const PERIOD_MAX: usize = WINDOW_FRAMES_MAX / 2;

/// Vectors that cover the T outputs of a network.
const BLOCKS_MAX: usize = PERIOD_MAX;

/// The window, zero-padded on both sides for the convolution, and a vector's overhang.
const PADDED_MAX: usize = WINDOW_FRAMES_MAX + WINDOW_FRAMES_MAX / 2 + 16;

/// Greatest common divisor.
const fn common_divisor(one: usize, other: usize) -> usize {
    if other == 0 { one } else { common_divisor(other, one % other) }
}

/// Values after which T and the width come out even.
const fn group_values(frames: usize, width: usize) -> usize {
    frames / common_divisor(frames, width) * width
}

/// Whether a lane of this width can run windows of this length: a plane must be whole groups.
pub(super) const fn fits(frames: usize, width: usize) -> bool {
    (JOINTS * frames).is_multiple_of(group_values(frames, width)) && group_values(frames, width) <= GROUP_MAX
}

// Every window length is a multiple of 4, so that the portable lane and NEON run all of them.
const _: () = assert!(Portable::WIDTH == 4 && fits(4, 4) && fits(20, 4) && fits(44, 4) && fits(48, 4));

/// One coordinate of a window, cache-line aligned.
#[repr(C, align(64))]
struct Plane<const VALUES: usize>([f32; VALUES]);

/// The network's outputs for one group, and the group's sums over joints.
#[repr(C, align(64))]
struct Patterns {
    outputs: [[f32; PATTERN_MAX]; NETWORK_CHANNELS],
    sums: [f32; PATTERN_MAX],
    hidden: [[f32; PADDED_MAX]; NETWORK_CHANNELS],
}

/// Accumulators of a window that go through all passes.
struct Totals<V> {
    /// Product of the scales' divisors since it was last taken out.
    divisors: V,
    /// Sum of `(z - R)^2`.
    squares: V,
}

/// Negative log-likelihood of a window in bits per dimension. `window` holds `2 * 18 * T` values, [channel][joint][time]; T fits the
/// lane ([`fits`]).
pub(super) struct NegativeLogLikelihood<'a> {
    pub(super) model: &'a FoldedStgNf,
    pub(super) window: &'a [f32],
}

impl Kernel for NegativeLogLikelihood<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lane>(self, lane: L) -> f64 {
        let Self { model, window } = self;
        // The published lengths are compiled with constant bounds.
        match model.shape().frames() {
            24 => run::<L, { 24 * JOINTS }>(lane, model, window, 24, const { group_values(24, L::WIDTH) }),
            16 => run::<L, { 16 * JOINTS }>(lane, model, window, 16, const { group_values(16, L::WIDTH) }),
            frames => run::<L, { WINDOW_FRAMES_MAX * JOINTS }>(lane, model, window, frames, group_values(frames, L::WIDTH)),
        }
    }
}

/// A copy of a channel; free of zeroing when the length is the array's.
#[inline(always)]
fn plane<const VALUES: usize>(from: &[f32]) -> Plane<VALUES> {
    if let Some(exact) = from.first_chunk::<VALUES>() {
        return Plane(*exact);
    }
    let mut plane = Plane([0.0; VALUES]);
    plane.0[..from.len()].copy_from_slice(from);
    plane
}

#[inline(always)]
fn run<L: Lane, const VALUES: usize>(lane: L, model: &FoldedStgNf, window: &[f32], frames: usize, group: usize) -> f64 {
    let values = JOINTS * frames;
    let (x, y) = window.split_at(values);
    let (mut x, mut y) = (plane::<VALUES>(x), plane::<VALUES>(&y[..values]));
    let (x, y) = (&mut x.0[..values], &mut y.0[..values]);
    let mut patterns = Patterns {
        outputs: [[0.0; PATTERN_MAX]; NETWORK_CHANNELS],
        sums: [0.0; PATTERN_MAX],
        hidden: [[0.0; PADDED_MAX]; NETWORK_CHANNELS],
    };
    let mut totals = Totals { divisors: lane.splat(1.0), squares: lane.splat(0.0) };
    let mut log_divisors = 0.0;
    let per_flow = values / L::WIDTH;
    let flush_after = usize::max(1, usize::min(PRODUCT_LENGTH_MAX / per_flow, PRODUCT_LENGTH_MAX_F64 / values));
    sum_joints(lane, y, group, &mut patterns.sums);
    for (flow, folded) in model.flows.iter().enumerate() {
        coupling_network(lane, folded, frames, group, &mut patterns);
        let (conditioner, transformed) = if flow % 2 == 0 { (&mut *y, &mut *x) } else { (&mut *x, &mut *y) };
        if flow < FLOWS - 1 {
            couple::<L, false>(lane, model, folded, conditioner, transformed, group, &mut patterns, &mut totals);
        } else {
            couple::<L, true>(lane, model, folded, conditioner, transformed, group, &mut patterns, &mut totals);
        }
        if (flow + 1) % flush_after == 0 || flow == FLOWS - 1 {
            log_divisors += libm::log(reduce(lane, totals.divisors, 1.0, |one, other| one * other));
            totals.divisors = lane.splat(1.0);
        }
    }
    let squares = reduce(lane, totals.squares, 0.0, |one, other| one + other);
    let log_scales = (FLOWS * values) as f64 * LOG_NUMERATOR - log_divisors;
    model.bits_per_dimension(squares, log_scales)
}

/// `ln(SCALE_NUMERATOR)`: `n - n^2 / 2`, further terms are below 1e-18.
const LOG_NUMERATOR: f64 = {
    let excess = SCALE_NUMERATOR as f64 - 1.0;
    excess - excess * excess / 2.0
};

/// Folds a vector's values in `f64`, in order.
#[inline(always)]
fn reduce<L: Lane>(lane: L, vector: L::Vector, start: f64, fold: impl Fn(f64, f64) -> f64) -> f64 {
    let mut values = [0.0; 16];
    lane.store(vector, &mut values);
    let mut total = start;
    for &value in &values[..L::WIDTH] {
        total = fold(total, f64::from(value));
    }
    total
}

/// Sums a plane over the joints: `group` sums, of which those a whole T apart belong to the same time.
#[inline(always)]
fn sum_joints<L: Lane>(lane: L, plane: &[f32], group: usize, sums: &mut [f32; PATTERN_MAX]) {
    let mut totals = [lane.splat(0.0); PERIOD_MAX];
    for values in plane.chunks_exact(group) {
        for position in 0..group / L::WIDTH {
            totals[position] = lane.add(totals[position], lane.load(&values[position * L::WIDTH..]));
        }
    }
    for position in 0..group / L::WIDTH {
        lane.store(totals[position], &mut sums[position * L::WIDTH..]);
    }
}

/// The coupling network up to its residual: from the sums over joints to the two outputs per time, repeated over the group.
#[inline(always)]
fn coupling_network<L: Lane>(lane: L, flow: &FoldedFlow, frames: usize, group: usize, patterns: &mut Patterns) {
    let (taps, padding) = (frames / 2 + 1, frames / 4);
    let blocks = frames.div_ceil(L::WIDTH);
    let zero = lane.splat(0.0);
    let slopes = flow.mean_slope.map(|slope| lane.splat(slope));
    let offsets = flow.mean_offset.map(|offset| lane.splat(offset));
    for block in 0..blocks {
        let at = block * L::WIDTH;
        let mut sum = lane.load(&patterns.sums[at..]);
        for row in 1..group / frames {
            sum = lane.add(sum, lane.load(&patterns.sums[row * frames + at..]));
        }
        for channel in 0..NETWORK_CHANNELS {
            let hidden = lane.max(lane.multiply_add(sum, slopes[channel], offsets[channel]), zero);
            lane.store(hidden, &mut patterns.hidden[channel][padding + at..]);
        }
    }
    // The last vector may have reached beyond the window, where the convolution must see zeros.
    let overhang = blocks * L::WIDTH - frames;
    for channel in 0..NETWORK_CHANNELS {
        patterns.hidden[channel][padding + frames..][..overhang].fill(0.0);
    }
    let mut outputs = [[[zero; BLOCKS_MAX]; NETWORK_CHANNELS]; NETWORK_CHANNELS];
    for tap in 0..taps {
        for input in 0..NETWORK_CHANNELS {
            let shift = lane.splat(flow.kernel[input][tap][SHIFT]);
            let scale = lane.splat(flow.kernel[input][tap][SCALE]);
            for block in 0..blocks {
                let hidden = lane.load(&patterns.hidden[input][block * L::WIDTH + tap..]);
                // A chain of additions per input: half the latency.
                outputs[input][SHIFT][block] = lane.multiply_add(hidden, shift, outputs[input][SHIFT][block]);
                outputs[input][SCALE][block] = lane.multiply_add(hidden, scale, outputs[input][SCALE][block]);
            }
        }
    }
    for channel in 0..NETWORK_CHANNELS {
        let offset = lane.splat(flow.network_offset[channel]);
        // A row's last vector may reach into the next row, which is written after it.
        for row in 0..group / frames {
            for block in 0..blocks {
                let sum = lane.add(lane.add(outputs[0][channel][block], outputs[1][channel][block]), offset);
                lane.store(sum, &mut patterns.outputs[channel][row * frames + block * L::WIDTH..]);
            }
        }
    }
}

/// One pass over both planes: transforms one given the other, and collects the sums over joints for the next step's network, or, in
/// the last step, the squares of the prior.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn couple<L: Lane, const LAST: bool>(
    lane: L,
    model: &FoldedStgNf,
    flow: &FoldedFlow,
    conditioner: &[f32],
    transformed: &mut [f32],
    group: usize,
    patterns: &mut Patterns,
    totals: &mut Totals<L::Vector>,
) {
    let period = group / L::WIDTH;
    let mut shifts = [lane.splat(0.0); PERIOD_MAX];
    let mut scales = [lane.splat(0.0); PERIOD_MAX];
    let mut sums = [lane.splat(0.0); PERIOD_MAX];
    for position in 0..period {
        shifts[position] = lane.load(&patterns.outputs[SHIFT][position * L::WIDTH..]);
        scales[position] = lane.load(&patterns.outputs[SCALE][position * L::WIDTH..]);
    }
    let shift_slope = lane.splat(flow.residual_slope[SHIFT]);
    let scale_slope = lane.splat(flow.residual_slope[SCALE]);
    let slope = lane.splat(flow.transformed_slope);
    let floor = lane.splat(flow.transformed_offset);
    let coefficients = EXP_EIGHTH.map(|coefficient| lane.splat(coefficient));
    let (zero, raw_max) = (lane.splat(0.0), lane.splat(RAW_MAX));
    let (one, numerator) = (lane.splat(1.0), lane.splat(SCALE_NUMERATOR));
    let (last_slope, last_offset) = (lane.splat(model.last_slope), lane.splat(model.last_offset));
    let minus_mean = lane.splat(-model.prior_mean);
    let (mut divisors, mut squares) = (totals.divisors, totals.squares);
    for (conditioner, transformed) in conditioner.chunks_exact(group).zip(transformed.chunks_exact_mut(group)) {
        for position in 0..period {
            let at = position * L::WIDTH;
            let given = lane.load(&conditioner[at..]);
            let shift = lane.max(lane.multiply_add(given, shift_slope, shifts[position]), floor);
            let raw = lane.multiply_add(given, scale_slope, scales[position]);
            let raw = lane.min(lane.max(raw, zero), raw_max);
            let mut power = lane.multiply_add(coefficients[5], raw, coefficients[4]);
            power = lane.multiply_add(power, raw, coefficients[3]);
            power = lane.multiply_add(power, raw, coefficients[2]);
            power = lane.multiply_add(power, raw, coefficients[1]);
            power = lane.multiply_add(power, raw, coefficients[0]);
            power = lane.multiply(power, power);
            power = lane.multiply(power, power);
            let divisor = lane.multiply_add(power, power, one);
            divisors = lane.multiply(divisors, divisor);
            let scale = lane.divide(numerator, divisor);
            let value = lane.multiply_add(lane.load(&transformed[at..]), slope, shift);
            if LAST {
                let distance = lane.multiply_add(value, scale, minus_mean);
                squares = lane.multiply_add(distance, distance, squares);
                let distance = lane.multiply_add(given, last_slope, last_offset);
                squares = lane.multiply_add(distance, distance, squares);
            } else {
                let value = lane.multiply(value, scale);
                sums[position] = lane.add(sums[position], value);
                lane.store(value, &mut transformed[at..]);
            }
        }
    }
    if !LAST {
        for position in 0..period {
            lane.store(sums[position], &mut patterns.sums[position * L::WIDTH..]);
        }
    }
    totals.divisors = divisors;
    totals.squares = squares;
}
