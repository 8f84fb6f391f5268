//! The exact engine: plain `f32` arithmetic in one fixed order, so that every target gives the same bits.
//!
//! Only additions, multiplications, divisions and comparisons (each correctly rounded by IEEE 754, never fused: Rust does not contract
//! them), and `exp` and `log` of the pure-Rust `libm`. It is the witness for boards: its scores prove that a board runs the model that
//! the trainer judged. Loops run along time, the fastest axis, where the order of sums over joints stays fixed.

use super::fold::{FoldedFlow, FoldedStgNf, SCALE, SCALE_EPSILON, SHIFT};
use super::parameters::NETWORK_CHANNELS;
use alfred_core::limits::{CHANNELS, JOINTS, WINDOW_FRAMES_MAX};

/// One value per time.
pub(super) type Row = [f32; WINDOW_FRAMES_MAX];

/// One coordinate of a window.
type Plane = [f32; JOINTS * WINDOW_FRAMES_MAX];

/// The larger of a value and a floor; the floor for NaN. A NaN is not lost by it: it also stays in its plane, up to the prior.
#[inline(always)]
pub(super) fn at_least(value: f32, floor: f32) -> f32 {
    if value > floor { value } else { floor }
}

/// Per-time accumulators of a window: 18 joints and 8 steps each, so that no product or sum grows long.
pub(super) struct Totals {
    scales: Row,
    squares: Row,
}

/// Negative log-likelihood of a window in bits per dimension. `window` holds `2 * 18 * T` values, [channel][joint][time].
pub(super) fn negative_log_likelihood(model: &FoldedStgNf, window: &[f32]) -> f64 {
    run(model, window, |flow, conditioner, transformed, totals| {
        let frames = model.shape().frames();
        let outputs = coupling_network(flow, conditioner, frames);
        for (given, values) in conditioner.chunks_exact(frames).zip(transformed.chunks_exact_mut(frames)) {
            couple_joint(flow, &outputs, given, values, totals);
        }
    })
}

/// All steps and the prior. `step` transforms its second plane given its first.
#[inline(always)]
pub(super) fn run(model: &FoldedStgNf, window: &[f32], step: impl Fn(&FoldedFlow, &[f32], &mut [f32], &mut Totals)) -> f64 {
    let frames = model.shape().frames();
    let values = JOINTS * frames;
    let mut planes: [Plane; CHANNELS] = [[0.0; JOINTS * WINDOW_FRAMES_MAX]; CHANNELS];
    for (plane, from) in planes.iter_mut().zip(window.chunks_exact(values)) {
        plane[..values].copy_from_slice(from);
    }
    let [x, y] = &mut planes;
    // Even steps transform x given y; after each step the two change roles.
    let (mut transformed, mut conditioner) = (&mut x[..values], &mut y[..values]);
    let mut totals = Totals { scales: [1.0; WINDOW_FRAMES_MAX], squares: [0.0; WINDOW_FRAMES_MAX] };
    for flow in &model.flows {
        step(flow, conditioner, transformed, &mut totals);
        (transformed, conditioner) = (conditioner, transformed);
    }
    add_squares(transformed, model.last_slope, model.last_offset, &mut totals.squares, frames);
    add_squares(conditioner, 1.0, -model.prior_mean, &mut totals.squares, frames);
    let squares = totals.squares[..frames].iter().fold(0.0, |sum, &value| sum + f64::from(value));
    let mut log_scales = 0.0;
    // 8 times 18 joints times 8 steps: the product of a chunk stays far above the smallest f64.
    for chunk in totals.scales[..frames].chunks(8) {
        log_scales += libm::log(chunk.iter().fold(1.0, |product, &scale| product * f64::from(scale)));
    }
    model.bits_per_dimension(squares, log_scales)
}

/// The network's outputs per time, up to the residual path.
fn coupling_network(flow: &FoldedFlow, conditioner: &[f32], frames: usize) -> [Row; NETWORK_CHANNELS] {
    let mut sums: Row = [0.0; WINDOW_FRAMES_MAX];
    for joint in conditioner.chunks_exact(frames) {
        for (sum, value) in sums.iter_mut().zip(joint) {
            *sum += value;
        }
    }
    let mut hidden = [[0.0; WINDOW_FRAMES_MAX]; NETWORK_CHANNELS];
    for (channel, hidden) in hidden.iter_mut().enumerate() {
        for (hidden, sum) in hidden[..frames].iter_mut().zip(&sums) {
            *hidden = at_least(flow.mean_slope[channel] * sum + flow.mean_offset[channel], 0.0);
        }
    }
    convolve(flow, &hidden, frames)
}

/// Temporal convolution of two channels to two, zero-padded, offsets included: `out[o][t] = offset[o] + sum over i, k of
/// kernel[i][k][o] * hidden[i][t + k - taps / 2]`.
pub(super) fn convolve(flow: &FoldedFlow, hidden: &[Row; NETWORK_CHANNELS], frames: usize) -> [Row; NETWORK_CHANNELS] {
    let (taps, padding) = (frames / 2 + 1, frames / 4);
    let mut outputs = [[flow.network_offset[0]; WINDOW_FRAMES_MAX], [flow.network_offset[1]; WINDOW_FRAMES_MAX]];
    for (input, hidden) in hidden.iter().enumerate() {
        for tap in 0..taps {
            // Output times whose input lies inside the window.
            let (first, end) = (padding.saturating_sub(tap), frames - tap.saturating_sub(padding));
            let hidden = &hidden[first + tap - padding..end + tap - padding];
            for (output, channel) in outputs.iter_mut().enumerate() {
                let weight = flow.kernel[input][tap][output];
                for (value, hidden) in channel[first..end].iter_mut().zip(hidden) {
                    *value += weight * hidden;
                }
            }
        }
    }
    outputs
}

/// Transforms one joint's values given its other coordinate.
#[inline(always)]
pub(super) fn couple_joint(flow: &FoldedFlow, outputs: &[Row; NETWORK_CHANNELS], given: &[f32], values: &mut [f32], totals: &mut Totals) {
    let mut scales: Row = [1.0; WINDOW_FRAMES_MAX];
    for ((scale, given), raw) in scales.iter_mut().zip(given).zip(&outputs[SCALE]) {
        let raw = at_least(flow.residual_slope[SCALE] * given + raw, 0.0);
        *scale = 1.0 / (1.0 + libm::expf(-(raw + 2.0))) + SCALE_EPSILON as f32;
    }
    for (((value, given), shift), scale) in values.iter_mut().zip(given).zip(&outputs[SHIFT]).zip(&scales) {
        let shift = at_least(flow.residual_slope[SHIFT] * given + shift, flow.transformed_offset);
        *value = (flow.transformed_slope * *value + shift) * scale;
    }
    for (total, scale) in totals.scales.iter_mut().zip(&scales[..given.len()]) {
        *total *= scale;
    }
}

/// Adds the squares of `slope * value + offset` to the accumulator of each value's time.
fn add_squares(plane: &[f32], slope: f32, offset: f32, squares: &mut Row, frames: usize) {
    for joint in plane.chunks_exact(frames) {
        for (total, value) in squares.iter_mut().zip(joint) {
            let distance = slope * value + offset;
            *total += distance * distance;
        }
    }
}
