//! AVX-512 lane: sixteen values per vector, fused multiply-add.
//!
//! JUSTIFICATION for unsafe: the instructions exist in `core::arch` only, and calling them is sound only on a processor that has them.
//! A value of [`Avx512`] is made by [`Avx512::detect`] alone, after asking the processor.

use super::{Kernel, Lane};
use core::arch::x86_64::*;

cpufeatures::new!(detected, "avx512f");

/// Proof that the processor has AVX-512F.
#[derive(Clone, Copy)]
pub struct Avx512(());

/// Values in a vector.
const WIDTH: usize = 16;

impl Avx512 {
    /// The lane, where the processor and the operating system support it.
    pub fn detect() -> Option<Self> {
        detected::get().then_some(Self(()))
    }

    /// Runs a kernel on this lane.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` proves the features.
        unsafe { run(self, kernel) }
    }
}

/// The kernel, compiled for this instruction set.
#[target_feature(enable = "avx512f")]
fn run<K: Kernel>(lane: Avx512, kernel: K) -> K::Output {
    kernel.run(lane)
}

impl Lane for Avx512 {
    type Vector = __m512;
    const WIDTH: usize = WIDTH;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Vector {
        let from = &from[..WIDTH];
        // SAFETY: `self` proves the features; `from` has WIDTH values; unaligned loads are allowed.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, vector: Self::Vector, to: &mut [f32]) {
        let to = &mut to[..WIDTH];
        // SAFETY: `self` proves the features; `to` has room for WIDTH values; unaligned stores are allowed.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), vector) }
    }

    #[inline(always)]
    fn add(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_add_ps(one, other) }
    }

    #[inline(always)]
    fn subtract(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_sub_ps(one, other) }
    }

    #[inline(always)]
    fn multiply(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_mul_ps(one, other) }
    }

    #[inline(always)]
    fn divide(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_div_ps(one, other) }
    }

    #[inline(always)]
    fn multiply_add(self, one: Self::Vector, other: Self::Vector, term: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_fmadd_ps(one, other, term) }
    }

    #[inline(always)]
    fn max(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_max_ps(one, other) }
    }

    #[inline(always)]
    fn min(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_min_ps(one, other) }
    }

    #[inline(always)]
    fn square_root(self, value: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_sqrt_ps(value) }
    }

    #[inline(always)]
    fn low_bits_to_exponent(self, value: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(value))) }
    }
}
