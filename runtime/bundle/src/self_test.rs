//! Proof that weights compute on the device what they computed on the host: the exact lane's scores of seeded windows, bit by bit.
//!
//! The exact lane (and the dense one, for adjacencies that are no plain mean) has the same bits on x86-64 and aarch64; what a wrong
//! transfer, a miscompiled build or broken memory would change is noticed before the weights decide anything.

use crate::fingerprint::Folded;
use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_core::scorer::Window;
use alfred_core::verdict_head::VerdictHead;
use alfred_models::stg_nf::adjacency::Adjacency;
use alfred_models::stg_nf::parameters::StgNfParameters;
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_wire::error_code::ErrorCode;

/// Windows that are scored.
pub const WINDOWS: usize = 8;

/// Steele and Vigna's SplitMix64: the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    /// From -1 to 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Folds the scores' bits, the verdict head's part in them included; what a device must find, too.
///
/// # Errors
/// [`ErrorCode::BundleNotFinite`] when the weights cannot be folded, [`ErrorCode::BundleSelfTest`] when a window has no score.
pub fn run(parameters: &StgNfParameters, max_hop: u8, head: Option<&VerdictHead>, seed: u64) -> Result<u64, ErrorCode> {
    let adjacency = Adjacency::uniform(max_hop.into());
    let scorer = StgNfScorer::new(parameters, &adjacency, Lane::Exact).map_err(|_| ErrorCode::BundleNotFinite)?;
    let (mut numbers, mut window, mut folded) = (Numbers(seed), Window::EMPTY, Folded::new());
    window.set_frames(parameters.shape.frames());
    for _ in 0..WINDOWS {
        debug_assert_eq!(window.values().len(), CHANNELS * JOINTS * parameters.shape.frames());
        window.values_mut().iter_mut().for_each(|value| *value = 1.5 * numbers.next());
        let score = scorer.score(&window).map_err(|_| ErrorCode::BundleSelfTest)?;
        let score = head.map_or(score, |head| head.combine(&window, score));
        folded = folded.with(score.value().to_bits().into());
    }
    Ok(folded.value())
}
