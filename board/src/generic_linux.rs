//! Any Linux: CLOCK_MONOTONIC and /proc.

use crate::hal::{Clock, Memory};
use alfred_core::units::MonotonicNs;
use nix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// CLOCK_MONOTONIC: the same clock as Python's `time.monotonic_ns()`, so that a pose estimator on this machine can stamp its frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock;

impl Clock for MonotonicClock {
    fn now(&self) -> MonotonicNs {
        // CLOCK_MONOTONIC exists on every Linux; should it ever fail, time stands still rather than the process.
        clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_or(MonotonicNs(0), |time| MonotonicNs(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64))
    }
}

/// `/proc/self/statm`, opened once.
#[derive(Debug, Default)]
pub struct ProcessMemory {
    statm: Option<File>,
}

impl ProcessMemory {
    /// Opens the file; without it nothing can be told, which is no fault.
    #[must_use]
    pub fn open() -> Self {
        Self { statm: File::open("/proc/self/statm").ok() }
    }
}

impl Memory for ProcessMemory {
    fn resident_bytes(&mut self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.statm.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
        Some(pages * u64::try_from(page_bytes).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_rises_and_the_process_has_memory() {
        let before = MonotonicClock.now();
        assert!(MonotonicClock.now() >= before && before.0 > 0);
        let resident = ProcessMemory::open().resident_bytes().expect("Linux");
        assert!(resident > 100_000, "{resident}");
    }
}
