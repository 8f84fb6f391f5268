//! Attention among 24 tokens and its derivative, head by head: the part of SPARTA's hand-derived step that is no matrix product.
//!
//! Within a head everything is kept `[key][query]`, queries along the vectors, so that the softmax is made of plain sums over rows. What runs
//! over keys instead (the gradients of keys and values) reads a transposed copy.
//! Derivatives, with `s = k q / sqrt(6)`, `p = softmax over keys of s`, `o = p v`: `dv = p do`, `dp = v do`, `ds = p (dp - sum over keys of p dp)`,
//! `dq = ds k / sqrt(6)`, `dk = ds q / sqrt(6)`.
// Keys, queries and values address several arrays at once; iterators over them would hide which.
#![allow(clippy::needless_range_loop)]

use crate::train::lanes;
use alfred_models::lane::{Kernel, Lane, run_widest};
use alfred_models::sparta::parameters::{EMBEDDING, HEAD_VALUES, HEADS, TOKENS};

/// Queries, keys and values of a token, one after the other.
pub const PARTS: usize = 3 * EMBEDDING;

/// One head's weights of a window, `[key][query]`.
pub type Shares = [[f32; TOKENS]; TOKENS];

/// Numbers of one head, `[number][token]`.
type Rows = [[f32; TOKENS]; HEAD_VALUES];

const _: () = assert!((TOKENS * TOKENS).is_multiple_of(lanes::LANES));

/// `1 / sqrt(6)`.
fn scale() -> f32 {
    (1.0 / libm::sqrt(HEAD_VALUES as f64)) as f32
}

/// Attention of whole windows: `parts` holds 216 numbers per token, `shares` 12 heads per window, `joined` takes 72 numbers per token.
pub fn attend(parts: &[f32], shares: &mut [Shares], joined: &mut [f32]) {
    run_widest(Attend { parts, shares, joined, scale: scale() });
}

struct Attend<'a> {
    parts: &'a [f32],
    shares: &'a mut [Shares],
    joined: &'a mut [f32],
    scale: f32,
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lane>(self, _lane: L) {
        let windows = self.parts.chunks_exact(TOKENS * PARTS).zip(self.joined.chunks_exact_mut(TOKENS * EMBEDDING));
        for ((parts, joined), shares) in windows.zip(self.shares.chunks_exact_mut(HEADS)) {
            for (head, shares) in shares.iter_mut().enumerate() {
                let query = rows(parts, PARTS, head * HEAD_VALUES, self.scale);
                weigh(parts, head, &query, shares);
                soften(shares);
                let mut found = [[0.0; TOKENS]; HEAD_VALUES];
                for key in 0..TOKENS {
                    let value = &parts[key * PARTS + 2 * EMBEDDING + head * HEAD_VALUES..][..HEAD_VALUES];
                    for number in 0..HEAD_VALUES {
                        add_scaled(&mut found[number], &shares[key], value[number]);
                    }
                }
                for number in 0..HEAD_VALUES {
                    for token in 0..TOKENS {
                        joined[token * EMBEDDING + head * HEAD_VALUES + number] = found[number][token];
                    }
                }
            }
        }
    }
}

/// `sums += values * factor`.
#[inline(always)]
fn add_scaled(sums: &mut [f32; TOKENS], values: &[f32; TOKENS], factor: f32) {
    for token in 0..TOKENS {
        sums[token] += values[token] * factor;
    }
}

/// A head's numbers of all tokens, scaled; a token has `step` numbers.
#[inline(always)]
fn rows(values: &[f32], step: usize, first: usize, scale: f32) -> Rows {
    let mut rows = [[0.0; TOKENS]; HEAD_VALUES];
    for token in 0..TOKENS {
        let values = &values[token * step + first..][..HEAD_VALUES];
        for number in 0..HEAD_VALUES {
            rows[number][token] = values[number] * scale;
        }
    }
    rows
}

/// Scores of all keys for all queries, which are scaled already.
#[inline(always)]
fn weigh(parts: &[f32], head: usize, query: &Rows, scores: &mut Shares) {
    for key in 0..TOKENS {
        let numbers = &parts[key * PARTS + EMBEDDING + head * HEAD_VALUES..][..HEAD_VALUES];
        let mut sums = [0.0; TOKENS];
        for number in 0..HEAD_VALUES {
            add_scaled(&mut sums, &query[number], numbers[number]);
        }
        scores[key] = sums;
    }
}

/// The softmax over keys.
#[inline(always)]
fn soften(scores: &mut Shares) {
    let mut largest = scores[0];
    for row in scores.iter() {
        for token in 0..TOKENS {
            largest[token] = if row[token] > largest[token] { row[token] } else { largest[token] };
        }
    }
    for row in scores.iter_mut() {
        for token in 0..TOKENS {
            row[token] -= largest[token];
        }
    }
    for lane in scores.as_flattened_mut().as_chunks_mut::<{ lanes::LANES }>().0 {
        *lane = lanes::exp(lane);
    }
    let mut total = [0.0; TOKENS];
    for row in scores.iter() {
        for token in 0..TOKENS {
            total[token] += row[token];
        }
    }
    let share = total.map(|total| 1.0 / total);
    for row in scores.iter_mut() {
        for token in 0..TOKENS {
            row[token] *= share[token];
        }
    }
}

/// Gradients of `parts` (overwritten) from those of `joined`.
pub fn attend_back(parts: &[f32], shares: &[Shares], joined_gradient: &[f32], gradient: &mut [f32]) {
    run_widest(AttendBack { parts, shares, joined_gradient, gradient, scale: scale() });
}

struct AttendBack<'a> {
    parts: &'a [f32],
    shares: &'a [Shares],
    joined_gradient: &'a [f32],
    gradient: &'a mut [f32],
    scale: f32,
}

impl Kernel for AttendBack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lane>(self, _lane: L) {
        let inputs = self.parts.chunks_exact(TOKENS * PARTS).zip(self.joined_gradient.chunks_exact(TOKENS * EMBEDDING));
        let outputs = self.gradient.chunks_exact_mut(TOKENS * PARTS).zip(self.shares.chunks_exact(HEADS));
        for ((parts, joined), (gradient, shares)) in inputs.zip(outputs) {
            for (head, shares) in shares.iter().enumerate() {
                head_back(parts, head, shares, joined, gradient, self.scale);
            }
        }
    }
}

/// One head of one window.
#[inline(always)]
fn head_back(parts: &[f32], head: usize, shares: &Shares, joined: &[f32], gradient: &mut [f32], scale: f32) {
    let first = head * HEAD_VALUES;
    let (query, found) = (rows(parts, PARTS, first, scale), rows(joined, EMBEDDING, first, 1.0));
    // Gradients of the shares, then, in the same place, of the scores.
    let mut slopes = [[0.0; TOKENS]; TOKENS];
    let mut mean = [0.0; TOKENS];
    for key in 0..TOKENS {
        let value = &parts[key * PARTS + 2 * EMBEDDING + first..][..HEAD_VALUES];
        let mut sums = [0.0; TOKENS];
        for number in 0..HEAD_VALUES {
            add_scaled(&mut sums, &found[number], value[number]);
        }
        for token in 0..TOKENS {
            mean[token] += sums[token] * shares[key][token];
        }
        slopes[key] = sums;
    }
    let mut of_query = [[0.0; TOKENS]; HEAD_VALUES];
    for key in 0..TOKENS {
        for token in 0..TOKENS {
            slopes[key][token] = shares[key][token] * (slopes[key][token] - mean[token]);
        }
        let numbers = &parts[key * PARTS + EMBEDDING + first..][..HEAD_VALUES];
        for number in 0..HEAD_VALUES {
            add_scaled(&mut of_query[number], &slopes[key], numbers[number] * scale);
        }
    }
    let (slopes, shares) = (turned(&slopes), turned(shares));
    let (mut of_key, mut of_value) = ([[0.0; TOKENS]; HEAD_VALUES], [[0.0; TOKENS]; HEAD_VALUES]);
    for token in 0..TOKENS {
        for number in 0..HEAD_VALUES {
            add_scaled(&mut of_key[number], &slopes[token], query[number][token]);
            add_scaled(&mut of_value[number], &shares[token], found[number][token]);
        }
    }
    for token in 0..TOKENS {
        let out = &mut gradient[token * PARTS..][..PARTS];
        for number in 0..HEAD_VALUES {
            out[first + number] = of_query[number][token];
            out[EMBEDDING + first + number] = of_key[number][token];
            out[2 * EMBEDDING + first + number] = of_value[number][token];
        }
    }
}

/// The transposed.
#[inline(always)]
fn turned(matrix: &Shares) -> Shares {
    let mut out = [[0.0; TOKENS]; TOKENS];
    for row in 0..TOKENS {
        for column in 0..TOKENS {
            out[column][row] = matrix[row][column];
        }
    }
    out
}
