//! Portable lane: plain arithmetic on four values, which the compiler vectorises with whatever the target has at least.
//!
//! Multiply-add is rounded twice, so the lane gives the same bits on every target, too.

use super::fast::{Lane, fits, negative_log_likelihood};
use super::fold::FoldedStgNf;

/// Four values at a time; runs everywhere.
#[derive(Clone, Copy)]
pub(super) struct Portable;

/// Values in a vector.
const WIDTH: usize = 4;

// Every window length is a multiple of 4.
const _: () = assert!(fits(4, WIDTH) && fits(20, WIDTH) && fits(44, WIDTH) && fits(48, WIDTH));

/// Combines two vectors value by value.
#[inline(always)]
fn zip(one: [f32; WIDTH], other: [f32; WIDTH], operation: impl Fn(f32, f32) -> f32) -> [f32; WIDTH] {
    [operation(one[0], other[0]), operation(one[1], other[1]), operation(one[2], other[2]), operation(one[3], other[3])]
}

impl Portable {
    /// Negative log-likelihood of a window in bits per dimension.
    pub(super) fn score(self, model: &FoldedStgNf, window: &[f32]) -> f64 {
        negative_log_likelihood(self, model, window)
    }
}

impl Lane for Portable {
    type Vector = [f32; WIDTH];
    const WIDTH: usize = WIDTH;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        [value; WIDTH]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Vector {
        [from[0], from[1], from[2], from[3]]
    }

    #[inline(always)]
    fn store(self, vector: Self::Vector, to: &mut [f32]) {
        to[..WIDTH].copy_from_slice(&vector);
    }

    #[inline(always)]
    fn add(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        zip(one, other, |one, other| one + other)
    }

    #[inline(always)]
    fn multiply(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        zip(one, other, |one, other| one * other)
    }

    #[inline(always)]
    fn divide(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        zip(one, other, |one, other| one / other)
    }

    #[inline(always)]
    fn multiply_add(self, one: Self::Vector, other: Self::Vector, term: Self::Vector) -> Self::Vector {
        self.add(self.multiply(one, other), term)
    }

    #[inline(always)]
    fn max(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        zip(one, other, |one, other| if one > other { one } else { other })
    }

    #[inline(always)]
    fn min(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        zip(one, other, |one, other| if one < other { one } else { other })
    }
}
