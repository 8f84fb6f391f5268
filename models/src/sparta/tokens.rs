//! From a window to tokens: which number stands where, and what is added for the position.
//!
//! In the `tokens` form a token is one frame's pose: [18 x absolute, 18 x relative, 18 y absolute, 18 y relative].
//!
//! In the published form a token is two frames of ONE coordinate, not one frame's pose as the paper's figure suggests: the published code reads
//! (channel, time, 36) as (24, 72) without permuting (its token configuration `pst`). Tokens 0..12 hold x, tokens 12..24 y; token i of
//! a coordinate holds [18 absolute, 18 relative] of frame 2i, then the same of frame 2i + 1. Relative means: minus the same joint in
//! the first frame of the whole window.

use super::parameters::{EMBEDDING, Form, SEEN_FRAMES, TOKENS};
use alfred_core::limits::{CHANNELS, JOINTS};

/// Detections of a published window.
const WINDOW_FRAMES: usize = Form::Published.window_frames();

/// Tokens that one coordinate gives.
const TOKENS_PER_CHANNEL: usize = TOKENS / CHANNELS;

/// Positions in a token of one frame's values of a coordinate: absolute, relative.
const FRAME_VALUES: usize = 2 * JOINTS;

const _: () = assert!(EMBEDDING == 2 * FRAME_VALUES && WINDOW_FRAMES / 2 == 2 * TOKENS_PER_CHANNEL);

/// Half of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Frames 0..24: what the encoder reads.
    Source,
    /// Frames 24..48: what the decoder reads, and what its output is compared with.
    Target,
}

impl Half {
    const fn first_frame(self) -> usize {
        match self {
            Self::Source => 0,
            Self::Target => WINDOW_FRAMES / 2,
        }
    }
}

/// Number `position` of every token, `row[token]`. `window` holds `2 * 18 * 48` values, [channel][joint][time]; `row` holds 24.
#[inline(always)]
pub(super) fn fill_row(window: &[f32], half: Half, position: usize, row: &mut [f32]) {
    let (frame, rest) = (position / FRAME_VALUES, position % FRAME_VALUES);
    let (is_relative, joint) = (rest >= JOINTS, rest % JOINTS);
    for (channel, tokens) in row[..TOKENS].chunks_exact_mut(TOKENS_PER_CHANNEL).enumerate() {
        let series = &window[(channel * JOINTS + joint) * WINDOW_FRAMES..][..WINDOW_FRAMES];
        let origin = if is_relative { series[0] } else { 0.0 };
        for (token, pair) in tokens.iter_mut().zip(series[half.first_frame()..].chunks_exact(2)) {
            *token = pair[frame] - origin;
        }
    }
}

/// Number `position` of the tokens form's tokens, `row[frame]`. `window` holds `2 * 18 * 24` values, [channel][joint][time]; `row` holds 24.
#[inline(always)]
pub(super) fn fill_frames(window: &[f32], position: usize, row: &mut [f32]) {
    let (channel, rest) = (position / FRAME_VALUES, position % FRAME_VALUES);
    let (is_relative, joint) = (rest >= JOINTS, rest % JOINTS);
    let series = &window[(channel * JOINTS + joint) * TOKENS..][..TOKENS];
    let origin = if is_relative { series[0] } else { 0.0 };
    for (value, number) in row[..TOKENS].iter_mut().zip(series) {
        *value = number - origin;
    }
}

/// The tokens form's tokens of a window, `[frame][position]`, without positional encoding: what was seen (the rest is 0), and everything.
///
/// `window` holds `2 * 18 * 24` values, `[channel][joint][time]`.
///
/// # Panics
/// When it holds fewer.
#[must_use]
pub fn frame_tokens(window: &[f32]) -> [[[f32; EMBEDDING]; TOKENS]; 2] {
    let mut all = [[0.0; EMBEDDING]; TOKENS];
    let mut row = [0.0; TOKENS];
    for position in 0..EMBEDDING {
        fill_frames(window, position, &mut row);
        for (token, value) in all.iter_mut().zip(row) {
            token[position] = value;
        }
    }
    let mut seen = all;
    seen[SEEN_FRAMES..].fill([0.0; EMBEDDING]);
    [seen, all]
}

/// The published form's tokens of one half of a window, `[token][position]`, without positional encoding: what trainers feed.
///
/// `window` holds `2 * 18 * 48` values, `[channel][joint][time]`, as in [`alfred_core::scorer::Window::values`].
///
/// # Panics
/// When it holds fewer.
#[must_use]
pub fn tokens(window: &[f32], half: Half) -> [[f32; EMBEDDING]; TOKENS] {
    let mut tokens = [[0.0; EMBEDDING]; TOKENS];
    let mut row = [0.0; TOKENS];
    for position in 0..EMBEDDING {
        fill_row(window, half, position, &mut row);
        for (token, value) in tokens.iter_mut().zip(row) {
            token[position] = value;
        }
    }
    tokens
}

/// What is added to number `position` of token `token`, of source and target alike: `sin(token * w)` at even positions 2i,
/// `cos(token * w)` at odd ones, `w = 10000^(-2i / 72)`. Exponent, w and angle are rounded to `f32` as the published code does it.
#[must_use]
pub fn positional_encoding(token: usize, position: usize) -> f32 {
    let pair = (position / 2 * 2) as f32;
    let exponent = pair * (-libm::log(10_000.0) / EMBEDDING as f64) as f32;
    let angle = f64::from(token as f32 * libm::exp(f64::from(exponent)) as f32);
    if position.is_multiple_of(2) { libm::sin(angle) as f32 } else { libm::cos(angle) as f32 }
}
