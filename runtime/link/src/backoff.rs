//! How long to wait before the next try: twice as long each time, with jitter, so that a fleet does not come back in step.
//!
//! "Full jitter" after Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015), with a floor of half the range.

use alfred_synth::random::Random;
use std::time::Duration;

/// Waiting times between `first` and `longest`.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    random: Random,
}

impl Backoff {
    /// Waits of about `first` at the beginning and `longest` in the end.
    #[must_use]
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { first, longest, next: first, random: Random::new(seed) }
    }

    /// The next wait: between half and all of a time that doubles with each call.
    pub fn wait(&mut self) -> Duration {
        let all = self.next.min(self.longest);
        self.next = self.next.saturating_mul(2).min(self.longest);
        all.mul_f64(self.random.between(0.5, 1.0))
    }

    /// The wait after something that will not pass by itself.
    pub fn wait_longest(&mut self) -> Duration {
        self.next = self.longest;
        self.wait()
    }

    /// It worked: begin with short waits again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ_between_devices() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut backoff = Backoff::new(first, longest, 1);
        for doubling in 0..20 {
            let all = Duration::from_secs(1 << doubling.min(10)).min(longest);
            let wait = backoff.wait();
            assert!(wait >= all / 2 && wait <= all, "{doubling}: {wait:?} of {all:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
        assert!(backoff.wait_longest() >= longest / 2);
        let waits = |seed| (0..4).map(|_| Backoff::new(first, longest, seed).wait()).collect::<Vec<_>>();
        assert_eq!(waits(3), waits(3));
        assert_ne!(waits(3), waits(4));
    }

    #[test]
    fn no_number_of_tries_overflows() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(u64::MAX / 4), 1);
        assert!((0..200).all(|_| backoff.wait() <= Duration::from_secs(u64::MAX / 4)));
    }
}
