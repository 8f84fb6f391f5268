//! AVX2 lane: eight values per vector, fused multiply-add.
//!
//! JUSTIFICATION for unsafe: the instructions exist in `core::arch` only, and calling them is sound only on a processor that has them.
//! A value of [`Avx2`] is made by [`Avx2::detect`] alone, after asking the processor.

use super::{Kernel, Lane};
use core::arch::x86_64::*;

cpufeatures::new!(detected, "avx2", "fma");

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx2(());

/// Values in a vector.
const WIDTH: usize = 8;

impl Avx2 {
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
#[target_feature(enable = "avx2,fma")]
fn run<K: Kernel>(lane: Avx2, kernel: K) -> K::Output {
    kernel.run(lane)
}

impl Lane for Avx2 {
    type Vector = __m256;
    const WIDTH: usize = WIDTH;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Vector {
        let from = &from[..WIDTH];
        // SAFETY: `self` proves the features; `from` has WIDTH values; unaligned loads are allowed.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, vector: Self::Vector, to: &mut [f32]) {
        let to = &mut to[..WIDTH];
        // SAFETY: `self` proves the features; `to` has room for WIDTH values; unaligned stores are allowed.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), vector) }
    }

    #[inline(always)]
    fn add(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_add_ps(one, other) }
    }

    #[inline(always)]
    fn subtract(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_sub_ps(one, other) }
    }

    #[inline(always)]
    fn multiply(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_mul_ps(one, other) }
    }

    #[inline(always)]
    fn divide(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_div_ps(one, other) }
    }

    #[inline(always)]
    fn multiply_add(self, one: Self::Vector, other: Self::Vector, term: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_fmadd_ps(one, other, term) }
    }

    #[inline(always)]
    fn max(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_max_ps(one, other) }
    }

    #[inline(always)]
    fn min(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_min_ps(one, other) }
    }

    #[inline(always)]
    fn square_root(self, value: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_sqrt_ps(value) }
    }

    #[inline(always)]
    fn low_bits_to_exponent(self, value: Self::Vector) -> Self::Vector {
        // SAFETY: `self` proves the features.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(value))) }
    }
}
