//! Seeded models and windows for tests; no published weights.

use super::parameters::{EMBEDDING, Form, HIDDEN, SpartaParameters};
use alfred_core::scorer::Window;

/// A small generator (SplitMix64): the same numbers on every target.
pub(super) struct Seeded(pub(super) u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `low..high`, exact in `f32` arithmetic.
    pub(super) fn uniform(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.next() >> 40) as f32 / (1 << 24) as f32;
        low + (high - low) * unit
    }
}

/// A model of ordinary magnitudes: matrices that keep their input's size, factors of normalisations around 1.
pub(super) fn seeded_parameters(seed: u64) -> SpartaParameters<Box<[f32]>> {
    let mut parameters = SpartaParameters::zero();
    let mut random = Seeded(seed);
    parameters.visit_mut(|tensor| {
        let (low, high) = match *tensor.shape.dimensions() {
            [_, EMBEDDING] => (-0.2, 0.2),
            [_, HIDDEN] => (-0.22, 0.22),
            _ if tensor.name.suffix.starts_with("norm") && tensor.name.suffix.ends_with("weight") => (0.4, 1.6),
            _ => (-0.5, 0.5),
        };
        tensor.values.iter_mut().for_each(|value| *value = random.uniform(low, high));
    });
    parameters
}

/// A window of values in `-extent..extent`, as long as the form wants it.
pub(super) fn seeded_window(form: Form, seed: u64, extent: f32) -> Window {
    let mut window = Window::EMPTY;
    window.set_frames(form.window_frames());
    let mut random = Seeded(seed);
    window.values_mut().iter_mut().for_each(|value| *value = random.uniform(-extent, extent));
    window
}
