//! What the machine did to us: page faults, memory, how long our threads had no core, and how late a thread is woken that only waits.

use crate::error::Error;
use crate::live::latency::Latency;
use alfred_board::counting_allocator::process_allocations;
use alfred_board::generic_linux::{MonotonicClock, ProcessMemory};
use alfred_board::hal::{Clock, Memory};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::timeline::Timeline;

/// Threads between the socket and the written line, by the names that `live` gives them.
const OUR_THREADS: [&str; 3] = ["ingest", "scoring", "output"];

/// From one look of the waiter to the next.
const WAITER_PERIOD_NS: u64 = 1_000_000;

/// Counts of the process at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessFigures {
    pub(crate) allocations: u64,
    pub(crate) minor_faults: i64,
    pub(crate) major_faults: i64,
    pub(crate) resident_bytes: u64,
}

impl ProcessFigures {
    pub(crate) fn now(memory: &mut ProcessMemory) -> Self {
        // Without the figures of a system that does not tell them the rest is still worth having.
        let (minor_faults, major_faults) =
            getrusage(UsageWho::RUSAGE_SELF).map_or((0, 0), |usage| (usage.minor_page_faults(), usage.major_page_faults()));
        let resident_bytes = memory.resident_bytes().unwrap_or(0);
        Self { allocations: process_allocations(), minor_faults, major_faults, resident_bytes }
    }
}

/// The kernel's count of how long each of our threads was ready to run but did not.
#[derive(Debug)]
pub(crate) struct RunQueue {
    files: Vec<File>,
    before_ns: u64,
}

impl RunQueue {
    /// Opens the counts of the threads that run by now; the kernel may have none (`CONFIG_SCHED_INFO`).
    pub(crate) fn open() -> Self {
        let mut files = Vec::new();
        for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if OUR_THREADS.contains(&name.trim()) {
                files.extend(File::open(task.path().join("schedstat")));
            }
        }
        let mut queue = Self { files, before_ns: 0 };
        queue.before_ns = queue.total_ns().unwrap_or(0);
        queue
    }

    /// Whether the kernel tells it for all of our threads.
    pub(crate) fn is_complete(&self) -> bool {
        self.files.len() == OUR_THREADS.len()
    }

    /// Nanoseconds without a core since the last call, of all threads together. Allocates nothing.
    pub(crate) fn since_last_ns(&mut self) -> u64 {
        let Some(now_ns) = self.total_ns() else { return 0 };
        let since = now_ns.saturating_sub(self.before_ns);
        self.before_ns = now_ns;
        since
    }

    fn total_ns(&self) -> Option<u64> {
        let mut total = 0;
        for file in &self.files {
            let mut text = [0; 64];
            let length = file.read_at(&mut text, 0).ok()?;
            // Time on a core, time waiting for one, number of turns.
            let waited: u64 = std::str::from_utf8(&text[..length]).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()?;
            total += waited;
        }
        Some(total)
    }
}

/// Sleeps until `at_ns` of the monotonic clock.
///
/// # Errors
/// A system without that clock.
pub(crate) fn sleep_until(at_ns: u64) -> Result<(), Error> {
    let time = TimeSpec::new((at_ns / 1_000_000_000) as i64, (at_ns % 1_000_000_000) as i64);
    loop {
        match clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &time) {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(Error::system("clock_nanosleep", error)),
        }
    }
}

/// The thread that only waits: how late it is woken is what anybody would have suffered. Runs until `stop`.
pub(crate) fn wait_and_note(timeline: &Timeline, stop: &AtomicBool, lateness: &mut Latency) -> Result<(), Error> {
    let mut next_ns = MonotonicClock.now().0;
    while !stop.load(Relaxed) {
        next_ns += WAITER_PERIOD_NS;
        sleep_until(next_ns)?;
        let now_ns = MonotonicClock.now().0;
        let late_ns = now_ns.saturating_sub(next_ns);
        lateness.record(late_ns);
        timeline.add_stall(now_ns, late_ns);
        // What was slept through is not made up for: that would count one stall many times.
        next_ns = next_ns.max(now_ns - now_ns % WAITER_PERIOD_NS);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_without_a_core_waits_and_its_wait_is_told() {
        let before = ProcessFigures::now(&mut ProcessMemory::open());
        let pages = vec![1_u8; 4 << 20];
        let after = ProcessFigures::now(&mut ProcessMemory::open());
        assert!(after.minor_faults > before.minor_faults && after.resident_bytes > 100_000, "{pages:?}", pages = pages.len());
        // This test's threads have other names.
        assert!(!RunQueue::open().is_complete());
        let at = MonotonicClock.now().0 + 2_000_000;
        sleep_until(at).expect("every Linux has this clock");
        assert!(MonotonicClock.now().0 >= at);
    }
}
