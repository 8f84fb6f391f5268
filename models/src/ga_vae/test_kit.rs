//! Seeded models and windows for tests; nothing learnt.

use super::parameters::{HeapParameters, Place, TensorRole, is_norm_factor};
use super::shape::{GaVaeShape, WINDOW_FRAMES};
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

/// A model of ordinary magnitudes: kernels that keep their input's size, normalisations around the identity, embeddings small enough
/// that no softmax is sharp.
pub(super) fn seeded_parameters(width: usize, seed: u64) -> HeapParameters {
    let mut parameters = HeapParameters::zero(GaVaeShape::new(width).expect("tests name valid widths"));
    let mut random = Seeded(seed);
    parameters.visit_mut(|tensor| {
        let dimensions = tensor.shape.dimensions();
        let fan_in: usize = dimensions.iter().skip(1).product();
        // Uniform with a variance of one over the inputs.
        let extent = (3.0 / fan_in as f64).sqrt() as f32;
        let (low, high) = match tensor.role {
            TensorRole::RunningVariance => (0.5, 1.5),
            TensorRole::RunningMean | TensorRole::ReferenceMean => (-0.3, 0.3),
            TensorRole::Trainable if is_norm_factor(&tensor.name) => (0.5, 1.5),
            TensorRole::Trainable if tensor.name.suffix == "gcn.learnt" => (-0.1, 0.2),
            TensorRole::Trainable if tensor.name.suffix.ends_with("query.weight") => (-0.2 * extent, 0.2 * extent),
            TensorRole::Trainable if dimensions.len() == 1 => (-0.2, 0.2),
            TensorRole::Trainable => (-extent, extent),
        };
        debug_assert!(tensor.name.place != Place::Score || tensor.role == TensorRole::ReferenceMean);
        tensor.values.iter_mut().for_each(|value| *value = random.uniform(low, high));
    });
    parameters
}

/// A window of values in `-extent..extent`.
pub(super) fn seeded_window(seed: u64, extent: f32) -> Window {
    let mut window = Window::EMPTY;
    window.set_frames(WINDOW_FRAMES);
    let mut random = Seeded(seed);
    window.values_mut().iter_mut().for_each(|value| *value = random.uniform(-extent, extent));
    window
}
