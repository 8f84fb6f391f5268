//! Vector lanes: the same few operations on every instruction set, for kernels that are written once.
//!
//! A kernel implements [`Kernel`]; a lane's `run` compiles it for the lane's instructions. Everything in between must be
//! `#[inline(always)]`, else the compiler leaves a call, and with it the wrong instruction set, inside a loop.

mod portable;

#[cfg(target_arch = "x86_64")]
mod avx2;

#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(target_arch = "aarch64")]
mod neon;

pub(crate) use portable::Portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use {avx2::Avx2, avx512::Avx512};

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;

/// The vector operations of one instruction set. A value of an implementing type is the proof that the processor has it.
pub(crate) trait Lane: Copy {
    /// `WIDTH` values of type `f32`.
    type Vector: Copy;
    /// Values in a vector: 4 to 16.
    const WIDTH: usize;
    /// All values the same.
    fn splat(self, value: f32) -> Self::Vector;
    /// The first `WIDTH` values of a slice that has as many.
    fn load(self, from: &[f32]) -> Self::Vector;
    /// Writes to the first `WIDTH` values of a slice that has as many.
    fn store(self, vector: Self::Vector, to: &mut [f32]);
    /// `one + other`.
    fn add(self, one: Self::Vector, other: Self::Vector) -> Self::Vector;
    /// `one - other`.
    fn subtract(self, one: Self::Vector, other: Self::Vector) -> Self::Vector;
    /// `one * other`.
    fn multiply(self, one: Self::Vector, other: Self::Vector) -> Self::Vector;
    /// `one / other`, correctly rounded.
    fn divide(self, one: Self::Vector, other: Self::Vector) -> Self::Vector;
    /// `one * other + term`, rounded once or twice.
    fn multiply_add(self, one: Self::Vector, other: Self::Vector, term: Self::Vector) -> Self::Vector;
    /// The larger values; which one for NaN is not specified.
    fn max(self, one: Self::Vector, other: Self::Vector) -> Self::Vector;
    /// The square root, correctly rounded.
    fn square_root(self, value: Self::Vector) -> Self::Vector;
}

/// A computation that runs on any lane.
pub(crate) trait Kernel {
    /// What it computes.
    type Output;
    /// Computes it with a lane's operations. To be marked `#[inline(always)]`.
    fn run<L: Lane>(self, lane: L) -> Self::Output;
}
