//! Portable lane: plain arithmetic on four values, which the compiler vectorises with whatever the target has at least.
//!
//! Multiply-add is rounded twice, so the lane gives the same bits on every target, too.

use super::{Kernel, Lane};

/// Four values at a time; runs everywhere.
#[derive(Clone, Copy)]
pub struct Portable;

/// Values in a vector.
const WIDTH: usize = 4;

impl Portable {
    /// Runs a kernel on this lane.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

/// Combines two vectors value by value.
#[inline(always)]
fn zip(one: [f32; WIDTH], other: [f32; WIDTH], operation: impl Fn(f32, f32) -> f32) -> [f32; WIDTH] {
    [operation(one[0], other[0]), operation(one[1], other[1]), operation(one[2], other[2]), operation(one[3], other[3])]
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
    fn subtract(self, one: Self::Vector, other: Self::Vector) -> Self::Vector {
        zip(one, other, |one, other| one - other)
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

    #[inline(always)]
    fn square_root(self, value: Self::Vector) -> Self::Vector {
        [libm::sqrtf(value[0]), libm::sqrtf(value[1]), libm::sqrtf(value[2]), libm::sqrtf(value[3])]
    }

    #[inline(always)]
    fn low_bits_to_exponent(self, value: Self::Vector) -> Self::Vector {
        let shift = |value: f32| f32::from_bits(value.to_bits() << 23);
        [shift(value[0]), shift(value[1]), shift(value[2]), shift(value[3])]
    }
}
