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

pub use portable::Portable;

#[cfg(target_arch = "x86_64")]
pub use {avx2::Avx2, avx512::Avx512};

#[cfg(target_arch = "aarch64")]
pub use neon::Neon;

/// The vector operations of one instruction set. A value of an implementing type is the proof that the processor has it.
pub trait Lane: Copy {
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
    /// The larger values; NaN where `other` is NaN.
    fn max(self, one: Self::Vector, other: Self::Vector) -> Self::Vector;
    /// The smaller values; NaN where `other` is NaN.
    fn min(self, one: Self::Vector, other: Self::Vector) -> Self::Vector;
    /// The square root, correctly rounded.
    fn square_root(self, value: Self::Vector) -> Self::Vector;
    /// The values whose bits are the given bits shifted up by 23: the lowest 8 bits of the significand become the exponent.
    fn low_bits_to_exponent(self, value: Self::Vector) -> Self::Vector;
}

/// `ln(2)^k / k!`: the series of `2^x`. On -0.5..0.5 what is left out is below 1.3e-7, one unit in the last place.
const EXP2: [f32; 7] = [1.0, core::f32::consts::LN_2, 0.240_226_5, 0.055_504_11, 9.618_129e-3, 1.333_355_8e-3, 1.540_353_1e-4];

/// 1.5 * 2^23 + 127: added to a number of at most a few hundred, it leaves the number, rounded and biased by 127, in the low bits.
const ROUND_AND_BIAS: f32 = 12_583_039.0;

/// `2^x` for `x <= 0`; below -126 it stays at 2^-126. Plain arithmetic: a lane that rounds twice gives the same bits everywhere.
#[inline(always)]
pub fn exp2_of_negative<L: Lane>(lane: L, x: L::Vector) -> L::Vector {
    // In this order NaN stays.
    let x = lane.max(lane.splat(-126.0), x);
    let biased = lane.add(x, lane.splat(ROUND_AND_BIAS));
    let rest = lane.subtract(x, lane.subtract(biased, lane.splat(ROUND_AND_BIAS)));
    let mut power = lane.splat(EXP2[6]);
    for coefficient in [EXP2[5], EXP2[4], EXP2[3], EXP2[2], EXP2[1], EXP2[0]] {
        power = lane.multiply_add(power, rest, lane.splat(coefficient));
    }
    lane.multiply(power, lane.low_bits_to_exponent(biased))
}

/// Runs a kernel on the widest lane that this processor has; the choice is the same in every call.
pub fn run_widest<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(lane) = Avx512::detect() {
            return lane.run(kernel);
        }
        if let Some(lane) = Avx2::detect() {
            return lane.run(kernel);
        }
        Portable.run(kernel)
    }
    #[cfg(target_arch = "aarch64")]
    {
        Neon.run(kernel)
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        Portable.run(kernel)
    }
}

/// A computation that runs on any lane.
pub trait Kernel {
    /// What it computes.
    type Output;
    /// Computes it with a lane's operations. To be marked `#[inline(always)]`.
    fn run<L: Lane>(self, lane: L) -> Self::Output;
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp2<'a>(&'a [f32; 16], &'a mut [f32; 16]);

    impl Kernel for Exp2<'_> {
        type Output = ();

        #[inline(always)]
        fn run<L: Lane>(self, lane: L) {
            for (from, to) in self.0.chunks_exact(L::WIDTH).zip(self.1.chunks_exact_mut(L::WIDTH)) {
                lane.store(exp2_of_negative(lane, lane.load(from)), to);
            }
        }
    }

    #[test]
    fn powers_of_two_are_right_to_the_last_places_on_every_lane() {
        for step in 0..10_000 {
            let input: [f32; 16] = core::array::from_fn(|place| -((step * 16 + place) as f32) * 126.0 / 160_000.0);
            let mut outputs = vec![[0.0; 16]];
            Portable.run(Exp2(&input, &mut outputs[0]));
            let mut run = |run: &dyn Fn(Exp2<'_>)| {
                let mut output = [0.0; 16];
                run(Exp2(&input, &mut output));
                outputs.push(output);
            };
            #[cfg(target_arch = "x86_64")]
            {
                Avx2::detect().iter().for_each(|lane| run(&|kernel| lane.run(kernel)));
                Avx512::detect().iter().for_each(|lane| run(&|kernel| lane.run(kernel)));
            }
            #[cfg(target_arch = "aarch64")]
            run(&|kernel| Neon.run(kernel));
            for (input, output) in outputs.iter().flat_map(|output| input.iter().zip(output)) {
                let expected = libm::exp2(f64::from(*input));
                assert!((f64::from(*output) - expected).abs() <= 3e-7 * expected, "{input}: {output} instead of {expected}");
            }
        }
    }
}
