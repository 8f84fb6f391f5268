//! What a head sees of a window: where each coordinate is, how much it spreads, and how fast it moves.

use crate::limits::{CHANNELS, JOINTS};
use crate::scorer::Window;

/// Numbers per coordinate: mean, standard deviation, mean step.
pub const FEATURE_KINDS: usize = 3;

/// Numbers per window.
pub const HEAD_FEATURES: usize = FEATURE_KINDS * CHANNELS * JOINTS;

/// A window in the order [kind][channel][joint]: means over time, then population standard deviations, then means of |value - value one
/// detection earlier|. Units are those of a normalised window: standard deviations of its y.
pub type Features = [f32; HEAD_FEATURES];

/// The features of a window. Sums run in f64 and in the order of time: the same bits on every machine. Not finite where the window is not.
#[must_use]
pub fn features(window: &Window) -> Features {
    let mut features = [0.0; HEAD_FEATURES];
    let frames = window.frames();
    for (place, row) in window.values().chunks_exact(frames).enumerate() {
        let mean = row.iter().map(|value| f64::from(*value)).sum::<f64>() / frames as f64;
        let mut squares = 0.0;
        for value in row {
            let deviation = f64::from(*value) - mean;
            squares += deviation * deviation;
        }
        let steps: f64 = row.windows(2).map(|pair| (f64::from(pair[1]) - f64::from(pair[0])).abs()).sum();
        let kinds = [mean, libm::sqrt(squares / frames as f64), steps / (frames - 1) as f64];
        for (kind, value) in kinds.into_iter().enumerate() {
            features[kind * CHANNELS * JOINTS + place] = value as f32;
        }
    }
    features
}

const _: () = assert!(crate::limits::WINDOW_FRAMES_MIN >= 2, "a step needs two detections");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_spread_and_step_of_one_coordinate() {
        let mut window = Window::EMPTY;
        window.set_frames(4);
        let (channel, joint) = (1, 3);
        let row = channel * JOINTS + joint;
        window.values_mut()[row * 4..][..4].copy_from_slice(&[1.0, 3.0, 1.0, 3.0]);
        let features = features(&window);
        let place = |kind: usize| kind * CHANNELS * JOINTS + row;
        assert_eq!([features[place(0)], features[place(1)], features[place(2)]], [2.0, 1.0, 2.0]);
        assert_eq!(features.iter().filter(|value| **value != 0.0).count(), FEATURE_KINDS);
    }
}
