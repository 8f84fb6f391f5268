//! Windows with the scores of the native engine, in a file for whoever checks an exported model with another engine.

use crate::train::checkpoint::{Metadata, NamedTensor, to_bytes};
use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_core::scorer::{ScoreFault, Scorer, Window};
use alfred_synth::random::Random;

/// Windows in the file.
pub const WINDOWS: usize = 64;
/// Seed of their values.
const SEED: u64 = 17;

/// A safetensors file with `x` (64, 2, T, 18), normalised windows, and `score` (64), by the scorer given: a native engine whose bits are
/// the same on every machine. A third each: noise, one pose that sways, one that is thrown far off.
///
/// # Errors
/// One line, when a score is not finite.
pub fn check_windows(scorer: &mut dyn Scorer) -> Result<Vec<u8>, String> {
    let frames = scorer.window_frames();
    let mut random = Random::new(SEED);
    let (mut values, mut scores) = (Vec::new(), Vec::new());
    for number in 0..WINDOWS {
        let window = one_window(number, frames, &mut random);
        let window_of = Window::from_time_major(&window).ok_or_else(|| format!("a window of {frames} frames cannot be made"))?;
        let mut score = [Err(ScoreFault::Engine)];
        scorer.score_batch(&[window_of], &mut score);
        scores.push(score[0].map_err(|fault| format!("window {number}: {fault}"))?.value());
        values.extend(window);
    }
    let tensors: [NamedTensor; 2] =
        [("x".into(), vec![WINDOWS, CHANNELS, frames, JOINTS], values), ("score".into(), vec![WINDOWS], scores)];
    Ok(to_bytes(&tensors, &Metadata::new()))
}

/// Values [channel][time][joint].
fn one_window(number: usize, frames: usize, random: &mut Random) -> Vec<f32> {
    let pose: Vec<f64> = (0..CHANNELS * JOINTS).map(|_| random.normal()).collect();
    let sway = random.between(0.0, 0.3);
    let mut out = Vec::with_capacity(CHANNELS * frames * JOINTS);
    for channel in 0..CHANNELS {
        for frame in 0..frames {
            for joint in 0..JOINTS {
                let still = pose[channel * JOINTS + joint] + sway * libm::sin(frame as f64 * 0.5 + joint as f64);
                out.push(match number % 3 {
                    0 => random.normal(),
                    1 => still,
                    _ => still + 4.0 * frame as f64 / frames as f64,
                } as f32);
            }
        }
    }
    out
}
