//! The bandwidth cap: a bucket that fills at a fixed rate and may be overdrawn by one message.
//!
//! A message is sent whole as soon as the bucket is not in debt, and its bytes are taken out then: so the largest message passes however
//! low the rate is, and over time the rate holds.

use std::time::Duration;

/// Seconds of the rate that the bucket holds when it is full: the burst after a quiet time.
const BURST_S: i64 = 1;

/// Bytes that may be sent.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// Bytes per second; 0: no cap.
    rate: u32,
    /// In billionths of a byte, so that no part is lost to rounding.
    level: i128,
    filled_at: Duration,
}

const NANO: i128 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket. `now` counts from any origin and never runs backwards.
    #[must_use]
    pub fn new(bytes_per_second_max: u32, now: Duration) -> Self {
        let level = i128::from(BURST_S) * i128::from(bytes_per_second_max) * NANO;
        Self { rate: bytes_per_second_max, level, filled_at: now }
    }

    /// Whether a message may go now.
    pub fn allows(&mut self, now: Duration) -> bool {
        if self.rate == 0 {
            return true;
        }
        let passed = now.saturating_sub(self.filled_at).as_nanos();
        self.filled_at = self.filled_at.max(now);
        let room = i128::from(BURST_S) * i128::from(self.rate) * NANO;
        let gained = i128::try_from(passed).unwrap_or(i128::MAX).saturating_mul(i128::from(self.rate));
        self.level = self.level.saturating_add(gained).min(room);
        self.level >= 0
    }

    /// Takes the bytes of a message out.
    pub fn take(&mut self, bytes: usize) {
        self.level = self.level.saturating_sub(bytes as i128 * NANO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that pass in an hour of messages of `bytes` that are tried every 50 ms.
    fn passed(rate: u32, bytes: usize) -> u64 {
        let mut bucket = TokenBucket::new(rate, Duration::ZERO);
        let mut sum = 0;
        for tick in 0..72_000_u64 {
            while bucket.allows(Duration::from_millis(50 * tick)) && sum < u64::MAX / 2 {
                bucket.take(bytes);
                sum += bytes as u64;
            }
        }
        sum
    }

    #[test]
    fn the_rate_holds_over_time_for_messages_of_every_size() {
        for (rate, bytes) in [(1000, 10), (1000, 999), (1000, 57_000), (7, 57_000), (1_000_000, 57_000)] {
            let (most, least) = (u64::from(rate) * 3601 + bytes as u64, u64::from(rate) * 3590);
            let passed = passed(rate, bytes);
            assert!(passed <= most && passed >= least, "rate {rate}, messages of {bytes}: {passed}");
        }
    }

    #[test]
    fn no_rate_is_no_cap_and_time_may_stand_still() {
        let mut bucket = TokenBucket::new(0, Duration::ZERO);
        bucket.take(usize::MAX);
        assert!(bucket.allows(Duration::ZERO));
        let mut bucket = TokenBucket::new(10, Duration::from_secs(5));
        bucket.take(11);
        assert!(!bucket.allows(Duration::from_secs(4)), "an earlier time gains nothing");
        assert!(bucket.allows(Duration::from_secs(6)));
    }
}
