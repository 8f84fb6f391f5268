//! Sixteen samples side by side: the unit in which a training batch is stored and computed.
//!
//! A batch of N windows is cut into blocks of [`LANES`] samples. Every value of a window becomes one [`Lane`]: the same value of
//! sixteen windows. Plain loops over a lane compile to SIMD on every target, and since no operation is reordered or fused, the bits are
//! the same whatever the instruction set. The last block may have dead lanes; [`LaneSum::total`] leaves them out.

/// Samples per block.
pub const LANES: usize = 16;

/// One value of sixteen samples.
pub type Lane = [f32; LANES];

/// All zero.
pub const ZERO: Lane = [0.0; LANES];

/// Element by element.
#[inline(always)]
pub fn map(mut function: impl FnMut(usize) -> f32) -> Lane {
    let mut out = ZERO;
    for (lane, out) in out.iter_mut().enumerate() {
        *out = function(lane);
    }
    out
}

/// Sums over a batch, kept per lane in f64 so that half a million summands lose nothing.
#[derive(Clone, Copy, Debug)]
pub struct LaneSum([f64; LANES]);

impl LaneSum {
    /// No summand yet.
    pub const ZERO: Self = Self([0.0; LANES]);

    /// Adds a lane.
    #[inline(always)]
    pub fn add(&mut self, lane: &Lane) {
        for (sum, value) in self.0.iter_mut().zip(lane) {
            *sum += f64::from(*value);
        }
    }

    /// The sum of one lane.
    #[must_use]
    pub fn lane(&self, lane: usize) -> f64 {
        self.0[lane]
    }

    /// The sum over the first `live` lanes.
    #[must_use]
    pub fn total(&self, live: usize) -> f64 {
        self.0.iter().take(live).sum()
    }
}

/// `exp(x)` for x from -80 to 0 (smaller ones count as -80); relative error below 2e-7.
///
/// Range reduction by ln 2 in two parts and the polynomial of Cephes' `expf` (Moshier), in the same operations on every platform.
#[inline(always)]
pub fn exp(x: &Lane) -> Lane {
    // Adding 1.5 * 2^23 rounds to a whole number, which then stands in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    map(|lane| {
        let x = x[lane].max(-80.0);
        let rounded = x * core::f32::consts::LOG2_E + ROUNDER;
        let n = rounded - ROUNDER;
        let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
        let mut polynomial = 1.987_569_1e-4_f32;
        for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            polynomial = polynomial * r + coefficient;
        }
        let power = f32::from_bits((rounded.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127)) << 23);
        (polynomial * r * r + r + 1.0) * power
    })
}

#[cfg(test)]
mod tests {
    use super::{LANES, LaneSum, exp, map};

    #[test]
    fn exp_is_accurate() {
        for step in 0..2000 {
            let x = map(|lane| -0.0025 * (step * LANES + lane) as f32);
            for (x, y) in x.iter().zip(exp(&x)) {
                let truth = libm::exp(f64::from(*x));
                assert!((f64::from(y) / truth - 1.0).abs() < 2e-7 || *x < -79.9, "exp({x}) = {y}, not {truth}");
            }
        }
    }

    #[test]
    fn dead_lanes_do_not_count() {
        let mut sum = LaneSum::ZERO;
        sum.add(&map(|lane| lane as f32));
        assert_eq!(sum.total(4), 6.0);
    }
}
