//! One number for everything that a threshold depends on beside the weights: windows, preprocessing, smoothing, and this code's version.
//!
//! Host and device compute it from the same settings; a bundle made for other ones is refused. It tells apart, it does not protect: the
//! signature does.

use alfred_core::limits::{CHANNELS, JOINTS, WINDOW_MISSING_FRAMES_MAX};
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::PipelineConfig;
use alfred_core::smoothing::{CausalKernel, LIVE_AHEAD_FRAMES, LIVE_BACK_FRAMES, LIVE_SIGMA_FRAMES};
use alfred_core::track_window::WindowPolicy;

/// Raised whenever the data path computes other scores from the same settings.
pub const DATA_PATH_VERSION: u64 = 1;

/// FNV-1a over 64-bit words (Fowler, Noll, Vo), as the built-in self-test has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded(u64);

impl Folded {
    /// Nothing folded in.
    #[must_use]
    pub const fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    /// Folds a word in.
    #[must_use]
    pub const fn with(self, word: u64) -> Self {
        Self((self.0 ^ word).wrapping_mul(0x0000_0100_0000_01B3))
    }

    /// What came out; words that differ in their upper bits only are told apart, too.
    #[must_use]
    pub const fn value(self) -> u64 {
        // SplitMix64's last step (Steele and Vigna): every bit depends on every bit.
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Default for Folded {
    fn default() -> Self {
        Self::new()
    }
}

/// The fingerprint of a data path. Its threshold, events and segments take no part: a bundle brings the one, the others decide nothing.
#[must_use]
pub fn fingerprint(config: &PipelineConfig) -> u64 {
    of_parts(&config.window, &config.scale, &config.smoothing)
}

/// The fingerprint of a device whose configuration says nothing about windows and smoothing; `None` for a window length that no model has.
#[must_use]
pub fn of_defaults(window_frames: usize, scale: &PixelScale) -> Option<u64> {
    let smoothing = CausalKernel::gaussian(LIVE_SIGMA_FRAMES, LIVE_BACK_FRAMES, LIVE_AHEAD_FRAMES).ok()?;
    let window = WindowPolicy::live(window_frames);
    window.is_valid().then(|| of_parts(&window, scale, &smoothing))
}

fn of_parts(window: &WindowPolicy, scale: &PixelScale, smoothing: &CausalKernel) -> u64 {
    let words = [
        DATA_PATH_VERSION,
        CHANNELS as u64,
        JOINTS as u64,
        WINDOW_MISSING_FRAMES_MAX as u64,
        window.window_frames as u64,
        u64::from(window.stride),
        window.gap_frames_max.map_or(u64::MAX, u64::from),
        window.jump_heights_max.map_or(u64::MAX, |heights| u64::from(heights.to_bits())),
        u64::from(window.skip_last_window),
        u64::from(window.confidence_min.to_bits()),
        scale.x.to_bits(),
        scale.y.to_bits(),
        smoothing.back_frames() as u64,
        smoothing.ahead_frames() as u64,
    ];
    let folded = words.into_iter().fold(Folded::new(), Folded::with);
    smoothing.weights().iter().fold(folded, |folded, weight| fold_wide(folded, weight.to_bits())).value()
}

/// FNV's product moves bits upwards only: both halves are folded in, so that the upper one spreads as well.
fn fold_wide(folded: Folded, word: u64) -> Folded {
    folded.with(word >> 32).with(word & 0xFFFF_FFFF)
}
