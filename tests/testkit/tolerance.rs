//! How far two correct implementations may differ, by name, so that no test invents a number.

/// |computed - expected| <= absolute + relative * |expected|.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// What it belongs to, for tables.
    pub name: &'static str,
    /// Part that does not depend on the value.
    pub absolute: f64,
    /// Part that grows with the value.
    pub relative: f64,
}

/// STG-NF, ShanghaiTech weights: bits per dimension. PyTorch's own f32 and f64 differ by 1.5e-5 on these windows.
pub const STG_NF_TOLERANCE_SHT: Tolerance = Tolerance { name: "1e-4 + 1e-5 rel", absolute: 1e-4, relative: 1e-5 };

/// STG-NF, UBnormal weights: bits per dimension. PyTorch's own f32 and f64 differ by 1.0e-4, on scores up to 239.
pub const STG_NF_TOLERANCE_UB: Tolerance = Tolerance { name: "3e-4 + 1e-5 rel", absolute: 3e-4, relative: 1e-5 };

/// SPARTA: mean squared error of tokens, relative; the absolute part serves scores near zero.
pub const SPARTA_TOLERANCE: Tolerance = Tolerance { name: "1e-5 rel", absolute: 1e-7, relative: 1e-5 };

impl Tolerance {
    /// Whether a computed value passes for the expected one; NaN never does.
    #[must_use]
    pub fn allows(&self, computed: f64, expected: f64) -> bool {
        (computed - expected).abs() <= self.absolute + self.relative * expected.abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerances_grow_with_the_value_and_never_allow_nan() {
        assert!(STG_NF_TOLERANCE_SHT.allows(100.001, 100.0));
        assert!(!STG_NF_TOLERANCE_SHT.allows(1.001, 1.0));
        assert!(!STG_NF_TOLERANCE_UB.allows(f64::NAN, 1.0));
        assert!(!STG_NF_TOLERANCE_UB.allows(1.0, f64::NAN));
    }
}
