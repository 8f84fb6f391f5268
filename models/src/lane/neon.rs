//! NEON lane: four values per vector, fused multiply-add; every 64-bit ARM processor has it.
//!
//! JUSTIFICATION for unsafe: loads and stores of `core::arch` take raw pointers, and the instructions ask for a feature that this
//! target's baseline includes (checked below at compile time).

use super::{Kernel, Lane};
use core::arch::aarch64::*;

const _: () = assert!(cfg!(target_feature = "neon"), "aarch64 without NEON: remove this lane from the build");

/// Four values at a time.
#[derive(Clone, Copy)]
pub struct Neon;

/// Values in a vector.
const WIDTH: usize = 4;

impl Neon {
    /// Runs a kernel on this lane.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

impl Lane for Neon {
    type Vector = float32x4_t;
    const WIDTH: usize = WIDTH;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        // SAFETY: NEON is in the target's baseline.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Vector {
        let from = &from[..WIDTH];
        // SAFETY: NEON is in the target's baseline; `from` has WIDTH values; unaligned loads are allowed.
        unsafe { vld1q_f32(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, vector: Self::Vector, to: &mut [f32]) {
        let to = &mut to[..WIDTH];
        // SAFETY: NEON is in the target's baseline; `to` has room for WIDTH values; unaligned stores are allowed.
        unsafe { vst1q_f32(to.as_mut_ptr(), vector) }
    }

    #[inline(always)]
    fn add(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: NEON is in the target's baseline.
        unsafe { vaddq_f32(one, other) }
    }

    #[inline(always)]
    fn subtract(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: NEON is in the target's baseline.
        unsafe { vsubq_f32(one, other) }
    }

    #[inline(always)]
    fn multiply(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: NEON is in the target's baseline.
        unsafe { vmulq_f32(one, other) }
    }

    #[inline(always)]
    fn divide(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: NEON is in the target's baseline.
        unsafe { vdivq_f32(one, other) }
    }

    #[inline(always)]
    fn multiply_add(self, one: Self::Vector, other: Self::Vector, term: Self::Vector) -> Self::Vector {
        // SAFETY: NEON is in the target's baseline.
        unsafe { vfmaq_f32(term, one, other) }
    }

    #[inline(always)]
    fn max(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: NEON is in the target's baseline.
        unsafe { vmaxq_f32(one, other) }
    }

    #[inline(always)]
    fn min(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: NEON is in the target's baseline.
        unsafe { vminq_f32(one, other) }
    }

    #[inline(always)]
    fn square_root(self, value: Self::Vector) -> Self::Vector {
        // SAFETY: NEON is in the target's baseline.
        unsafe { vsqrtq_f32(value) }
    }

    #[inline(always)]
    fn low_bits_to_exponent(self, value: Self::Vector) -> Self::Vector {
        // SAFETY: NEON is in the target's baseline.
        unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(value))) }
    }
}
