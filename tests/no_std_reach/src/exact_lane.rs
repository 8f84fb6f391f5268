//! The exact lane over the built-in model and windows of `alfred-edge self-test`: the same bits on every machine.

use alfred_core::scorer::Window;
use alfred_models::stg_nf::adjacency::Adjacency;
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape, TensorRole};
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};

/// `EXACT_LANE_BITS` of `runtime/src/self_test.rs`.
pub const EXPECTED: u64 = 0x12a0_91a3_0530_9e4e;

const FRAMES: usize = 24;
const WINDOWS: usize = 32;

/// SplitMix64, as the self-test has it.
pub struct Numbers(pub u64);

impl Numbers {
    /// From -1 to 1.
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// A model of ordinary magnitudes that learnt nothing; `None` never comes.
pub fn model(lane: Lane) -> Option<StgNfScorer> {
    let (mut parameters, mut numbers) = (StgNfParameters::zero(StgNfShape::new(FRAMES).ok()?), Numbers(1));
    parameters.visit_mut(|tensor| {
        for value in tensor.values.iter_mut() {
            let number = numbers.next();
            *value = if tensor.role == TensorRole::RunningVariance { 0.6 + 0.5 * number } else { 0.5 * number };
        }
    });
    StgNfScorer::new(&parameters, &Adjacency::published(), lane).ok()
}

/// FNV-1a over the bits of the scores; 0 when a window was not scored.
pub fn bits() -> u64 {
    let Some(model) = model(Lane::Exact) else { return 0 };
    let (mut numbers, mut folded) = (Numbers(2), 0xCBF2_9CE4_8422_2325_u64);
    for _ in 0..WINDOWS {
        let mut values = [0.0; 2 * FRAMES * 18];
        values.iter_mut().for_each(|value| *value = 1.5 * numbers.next());
        let window = Window::from_time_major(&values).unwrap_or(Window::EMPTY);
        let Ok(score) = model.score(&window) else { return 0 };
        folded = (folded ^ u64::from(score.value().to_bits())).wrapping_mul(0x0000_0100_0000_01B3);
    }
    folded
}
