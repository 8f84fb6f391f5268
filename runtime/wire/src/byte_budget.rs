//! A budget of bytes per hour: over no hour, wherever it begins, is more given than that.

use alfred_core::units::MonotonicNs;

const HOUR_NS: u128 = 3_600_000_000_000;

/// A bucket of an eighth of the hour's bytes that fills with the other seven eighths per hour: what an hour can take is what the bucket
/// held at its beginning and what ran in since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteBudget {
    bytes_per_hour: u32,
    /// Byte-nanoseconds in an hour's unit: bytes times [`HOUR_NS`].
    level: u128,
    filled: MonotonicNs,
}

impl ByteBudget {
    /// A budget whose bucket is empty at `now`; 0 bytes: nothing is ever given.
    #[must_use]
    pub const fn new(bytes_per_hour: u32, now: MonotonicNs) -> Self {
        Self { bytes_per_hour, level: 0, filled: now }
    }

    /// Bytes per hour.
    #[must_use]
    pub const fn bytes_per_hour(&self) -> u32 {
        self.bytes_per_hour
    }

    /// Most bytes that can be taken at once: an eighth of the hour's.
    #[must_use]
    pub const fn bytes_at_once_max(&self) -> u32 {
        self.bytes_per_hour / 8
    }

    /// Whether `bytes` could be taken now.
    pub fn holds(&mut self, bytes: usize, now: MonotonicNs) -> bool {
        let elapsed = u128::from(now.0.saturating_sub(self.filled.0));
        self.filled = MonotonicNs(now.0.max(self.filled.0));
        let capacity = u128::from(self.bytes_at_once_max()) * HOUR_NS;
        let rate = u128::from(self.bytes_per_hour - self.bytes_at_once_max());
        self.level = (self.level + elapsed * rate).min(capacity);
        self.level >= bytes as u128 * HOUR_NS
    }

    /// Takes `bytes` if the bucket holds them.
    pub fn take(&mut self, bytes: usize, now: MonotonicNs) -> bool {
        let holds = self.holds(bytes, now);
        if holds {
            self.level -= bytes as u128 * HOUR_NS;
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn no_hour_takes_more_than_the_budget(
            bytes_per_hour in 0_u32..100_000,
            asks in proptest::collection::vec((0_u64..900_000_000_000, 0_usize..20_000), 1..300),
        ) {
            let mut budget = ByteBudget::new(bytes_per_hour, MonotonicNs(5));
            let (mut now, mut taken) = (5_u64, Vec::new());
            for (pause, bytes) in asks {
                now += pause;
                if budget.take(bytes, MonotonicNs(now)) {
                    taken.push((now, bytes));
                }
            }
            for &(begin, _) in &taken {
                let hour: usize = taken.iter().filter(|(at, _)| (begin..begin + HOUR_NS as u64).contains(at)).map(|(_, bytes)| bytes).sum();
                prop_assert!(hour <= bytes_per_hour as usize, "{hour} bytes of {bytes_per_hour}");
            }
        }
    }

    #[test]
    fn the_budget_is_used_and_spread() {
        let mut budget = ByteBudget::new(80_000, MonotonicNs(0));
        let second = 1_000_000_000;
        let taken: Vec<u64> = (0..3 * 3600).filter(|at| budget.take(500, MonotonicNs(at * second))).collect();
        assert!((3 * 138..=3 * 140).contains(&taken.len()), "{} of 500 bytes in three hours", taken.len());
        assert!(taken.windows(2).all(|pair| pair[1] - pair[0] < 60), "never a minute without one");
        assert!(!budget.take(10_001, MonotonicNs(u64::MAX)), "more than an eighth at once");
        assert!(budget.take(10_000, MonotonicNs(u64::MAX)));
        assert!(!budget.take(1, MonotonicNs(0)), "a clock that runs back gives nothing");
        assert!(!ByteBudget::new(0, MonotonicNs(0)).take(1, MonotonicNs(u64::MAX)));
    }
}
