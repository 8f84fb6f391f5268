//! What the machine did to us: page faults, memory, how long our threads had no core, and how late a thread is woken that only waits.

use crate::error::Error;
use crate::live::latency::Latency;
use alfred_board::counting_allocator::process_allocations;
use alfred_board::generic_linux::{MonotonicClock, ProcessMemory};
use alfred_board::hal::{Clock, Memory};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use serde::Serialize;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::timeline::Timeline;

/// Threads between the socket and the written line, by the names that `live` gives them.
pub(crate) const OUR_THREADS: [&str; 3] = ["ingest", "scoring", "output"];

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

/// Longest answer of the kernel's that [`PageCensus`] reads.
const CENSUS_BYTES_MAX: usize = 2048;

/// Where the process's resident pages come from, counted page by page; bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pages {
    /// The process's own: heap, stacks, what it has written to. Nobody can take these away without swap.
    pub own: u64,
    /// Those of files: the program and its libraries. The kernel may take an idle one away and read it again later, unless it is locked.
    pub files: u64,
    /// Those of both kinds that are locked.
    pub locked: u64,
}

/// `/proc/self/smaps_rollup`: counts pages, where `statm` tells a sum of each processor's estimates.
#[derive(Debug)]
pub(crate) struct PageCensus {
    file: Option<File>,
}

impl PageCensus {
    /// Opens the file; a kernel without it (before 4.14) gives no census.
    pub(crate) fn open() -> Self {
        Self { file: File::open("/proc/self/smaps_rollup").ok() }
    }

    /// Counts now, which takes some tenths of a millisecond. Allocates nothing.
    pub(crate) fn count(&self) -> Option<Pages> {
        let mut text = [0; CENSUS_BYTES_MAX];
        let length = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        pages_in(std::str::from_utf8(&text[..length]).ok()?)
    }
}

fn pages_in(text: &str) -> Option<Pages> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let (resident, own, locked) = (bytes("Rss:")?, bytes("Anonymous:")?, bytes("Locked:")?);
    Some(Pages { own, files: resident.checked_sub(own)?, locked })
}

/// How one thread spent its time, as far as it wanted to run; nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    /// On a core.
    pub(crate) ran: u64,
    /// Ready, but without a core.
    pub(crate) waited: u64,
}

/// The kernel's count of one thread's turns.
#[derive(Debug)]
struct TurnCount {
    file: File,
    before: Turns,
}

impl TurnCount {
    fn open(path: &Path) -> Option<Self> {
        let mut count = Self { file: File::open(path).ok()?, before: Turns::default() };
        count.before = count.total()?;
        Some(count)
    }

    /// What came since the last call. Allocates nothing.
    fn since_last(&mut self) -> Turns {
        let Some(now) = self.total() else { return Turns::default() };
        let since = Turns { ran: now.ran.saturating_sub(self.before.ran), waited: now.waited.saturating_sub(self.before.waited) };
        self.before = now;
        since
    }

    fn total(&self) -> Option<Turns> {
        let mut text = [0; 64];
        let length = self.file.read_at(&mut text, 0).ok()?;
        // Time on a core, time waiting for one, number of turns.
        let mut words = std::str::from_utf8(&text[..length]).ok()?.split_ascii_whitespace();
        Some(Turns { ran: words.next()?.parse().ok()?, waited: words.next()?.parse().ok()? })
    }
}

/// These counts of the feeder and of the threads between the socket and the written line.
#[derive(Debug)]
pub(crate) struct RunQueue {
    feeder: Option<TurnCount>,
    ours: [Option<TurnCount>; OUR_THREADS.len()],
}

impl RunQueue {
    /// Opens the counts of the threads that run by now, the calling one as the feeder; the kernel may have none (`CONFIG_SCHED_INFO`).
    pub(crate) fn open() -> Self {
        let mut ours = [const { None }; OUR_THREADS.len()];
        for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if let Some(place) = OUR_THREADS.iter().position(|known| *known == name.trim()) {
                ours[place] = TurnCount::open(&task.path().join("schedstat"));
            }
        }
        Self { feeder: TurnCount::open(Path::new("/proc/thread-self/schedstat")), ours }
    }

    /// Whether the kernel tells it for all of these threads.
    pub(crate) fn is_complete(&self) -> bool {
        self.feeder.is_some() && self.ours.iter().all(Option::is_some)
    }

    /// The feeder's turns since the last call. Allocates nothing.
    pub(crate) fn feeder_since_last(&mut self) -> Turns {
        self.feeder.as_mut().map_or(Turns::default(), TurnCount::since_last)
    }

    /// Each of our threads' turns since the last call. Allocates nothing.
    pub(crate) fn ours_since_last(&mut self) -> [Turns; OUR_THREADS.len()] {
        self.ours.each_mut().map(|count| count.as_mut().map_or(Turns::default(), TurnCount::since_last))
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

/// Cores that are followed.
const CORES_MAX: usize = 64;
/// Bytes of `/proc/stat` that hold so many cores' lines.
const STAT_BYTES_MAX: usize = CORES_MAX * 128;
/// The unit of `/proc/stat`.
const TICK_NS: u64 = 10_000_000;
/// From one look at it to the next; the kernel's own count is at most 4 ms behind.
const THEFT_PERIOD_NS: u64 = 8_000_000;
const THEFT_LAG_NS: u64 = THEFT_PERIOD_NS + 4_000_000;

/// How long each core was taken away from this machine by whoever runs it as a virtual one ("steal" in `/proc/stat`).
#[derive(Debug)]
struct Thefts {
    file: Option<File>,
    ticks: [u64; CORES_MAX],
}

impl Thefts {
    fn open() -> Self {
        let mut thefts = Self { file: File::open("/proc/stat").ok(), ticks: [0; CORES_MAX] };
        thefts.since_last();
        thefts
    }

    /// Nanoseconds since the last call for which the core that lost most was away, at least: the kernel counts in steps, and one of them
    /// may have been nearly full before. Allocates nothing.
    fn since_last(&mut self) -> u64 {
        let mut text = [0; STAT_BYTES_MAX];
        let Some(length) = self.file.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()) else { return 0 };
        let mut most = 0;
        for (before, now) in self.ticks.iter_mut().zip(stolen_ticks(&text[..length])) {
            most = most.max(now.saturating_sub(*before));
            *before = now;
        }
        most.saturating_sub(1) * TICK_NS
    }
}

/// The eighth number of each core's line.
fn stolen_ticks(text: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let lines = text.split(|byte| *byte == b'\n').skip(1).map_while(|line| line.strip_prefix(b"cpu"));
    lines.map(|line| std::str::from_utf8(line).ok().and_then(|line| line.split_ascii_whitespace().nth(8)?.parse().ok()).unwrap_or(0))
}

/// The thread that only waits: how late it is woken is what anybody would have suffered. Runs until `stop`.
pub(crate) fn wait_and_note(timeline: &Timeline, stop: &AtomicBool, lateness: &mut Latency) -> Result<(), Error> {
    let (mut thefts, mut next_ns) = (Thefts::open(), MonotonicClock.now().0);
    let mut look_ns = next_ns + THEFT_PERIOD_NS;
    while !stop.load(Relaxed) {
        next_ns += WAITER_PERIOD_NS;
        sleep_until(next_ns)?;
        let now_ns = MonotonicClock.now().0;
        let late_ns = now_ns.saturating_sub(next_ns);
        lateness.record(late_ns);
        timeline.add_stall(now_ns, late_ns);
        if now_ns >= look_ns {
            look_ns = now_ns + THEFT_PERIOD_NS;
            timeline.add_theft(now_ns.saturating_sub(THEFT_LAG_NS), thefts.since_last());
        }
        // What was slept through is not made up for: that would count one stall many times.
        next_ns = next_ns.max(now_ns - now_ns % WAITER_PERIOD_NS);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_and_odd_answers_are_none() {
        let text = "5646-7ffd ---p 0 [rollup]\nRss:    1776 kB\nPss_Anon:   7 kB\nAnonymous:    112 kB\nLocked:   8 kB\n";
        assert_eq!(pages_in(text), Some(Pages { own: 112 << 10, files: 1664 << 10, locked: 8 << 10 }));
        for odd in ["", "Rss: 1 kB\nAnonymous: 2 kB\nLocked: 0 kB", "Rss: x kB\nAnonymous: 0 kB\nLocked: 0 kB"] {
            assert_eq!(pages_in(odd), None, "{odd:?}");
        }
        let census = PageCensus::open();
        let before = census.count().expect("this kernel has it");
        // Far more than the tests beside this one may give back meanwhile.
        let written = vec![1_u8; 64 << 20];
        let after = census.count().expect("this kernel has it");
        assert!(after.own >= before.own + (32 << 20), "{before:?} {after:?} {}", written.len());
    }

    #[test]
    fn thefts_are_read_core_by_core() {
        let text = b"cpu  9 9 9 9 9 9 9 99 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 1 2 3 4 5 6 7 80 9 10\nintr 5 6\n";
        assert_eq!(stolen_ticks(text).collect::<Vec<_>>(), [8, 80]);
        assert_eq!(stolen_ticks(b"").count(), 0);
        let thefts = Thefts::open();
        assert!(thefts.file.is_some(), "every Linux has it");
    }

    #[test]
    fn a_thread_without_a_core_waits_and_its_wait_is_told() {
        let before = ProcessFigures::now(&mut ProcessMemory::open());
        let pages = vec![1_u8; 4 << 20];
        let after = ProcessFigures::now(&mut ProcessMemory::open());
        assert!(after.minor_faults > before.minor_faults && after.resident_bytes > 100_000, "{pages:?}", pages = pages.len());
        // This test's threads have other names.
        let mut queue = RunQueue::open();
        assert!(!queue.is_complete());
        assert_eq!(queue.ours_since_last(), [Turns::default(); OUR_THREADS.len()]);
        let at = MonotonicClock.now().0 + 2_000_000;
        sleep_until(at).expect("every Linux has this clock");
        assert!(MonotonicClock.now().0 >= at);
        assert!(queue.feeder.is_none() || queue.feeder_since_last().ran > 0, "to sleep and wake up takes a while");
    }
}
