//! How often somebody may fail to log in. Tokens cannot be guessed; this keeps those who try from keeping the host busy.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Failures of one address within a window.
pub(crate) const FAILURES_MAX: u32 = 10;
/// Length of a window, milliseconds.
pub(crate) const WINDOW_MS: i64 = 60_000;
/// Addresses that are remembered; when all of them are within their windows, nobody new may try.
const ADDRESSES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Window {
    began_ms: i64,
    failures: u32,
}

/// Failures by address.
#[derive(Debug, Default)]
pub(crate) struct LoginLimiter {
    windows: Mutex<HashMap<IpAddr, Window>>,
}

impl LoginLimiter {
    /// Whether an address may try now.
    pub(crate) fn may_try(&self, address: IpAddr, now_ms: i64) -> bool {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that went back begins a new window, or the address would wait for ever.
        windows.retain(|_, window| (0..WINDOW_MS).contains(&(now_ms - window.began_ms)));
        match windows.get(&address) {
            Some(window) => window.failures < FAILURES_MAX,
            None => windows.len() < ADDRESSES_MAX,
        }
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, address: IpAddr, now_ms: i64) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() < ADDRESSES_MAX || windows.contains_key(&address) {
            windows.entry(address).or_insert(Window { began_ms: now_ms, failures: 0 }).failures += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn failures_are_counted_per_address_and_forgotten_after_the_window() {
        let limiter = LoginLimiter::default();
        let address = |number: u32| IpAddr::from(Ipv4Addr::from(number));
        for _ in 0..FAILURES_MAX {
            assert!(limiter.may_try(address(1), 5));
            limiter.failed(address(1), 5);
        }
        assert!(!limiter.may_try(address(1), 5 + WINDOW_MS - 1));
        assert!(limiter.may_try(address(2), 5) && limiter.may_try(address(1), 5 + WINDOW_MS));
        assert!(limiter.may_try(address(1), -1_000_000), "the clock went back");
    }

    #[test]
    fn the_table_is_bounded() {
        let limiter = LoginLimiter::default();
        for number in 0..5000 {
            limiter.failed(IpAddr::from(Ipv4Addr::from(number)), 5);
        }
        assert_eq!(limiter.windows.lock().expect("sound").len(), ADDRESSES_MAX);
        assert!(!limiter.may_try(IpAddr::from(Ipv4Addr::from(4999)), 6));
    }
}
