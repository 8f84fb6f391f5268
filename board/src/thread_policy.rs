//! What a thread may ask of the Linux scheduler and of the memory manager; who asks, and when, is decided elsewhere.
//!
//! JUSTIFICATION of `unsafe`: `sched_setscheduler` has no safe wrapper in nix, and a crate for this one call would wrap the same line.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::unistd::Pid;
use std::hint::black_box;

/// Lowest and highest real-time priority that is accepted: what lies above 90 competes with the kernel's own threads.
pub const PRIORITIES: std::ops::RangeInclusive<u8> = 1..=90;

/// CAP_IPC_LOCK's number.
const CAP_IPC_LOCK: u32 = 14;

/// Lets the calling thread run before every ordinary one, until it waits (SCHED_FIFO). Threads that it starts are ordinary ones.
///
/// # Errors
/// EPERM without CAP_SYS_NICE and with a too small RLIMIT_RTPRIO, or where a control group grants no real-time budget; EINVAL outside
/// [`PRIORITIES`].
pub fn run_first(priority: u8) -> Result<(), Errno> {
    if !PRIORITIES.contains(&priority) {
        return Err(Errno::EINVAL);
    }
    // SAFETY: all-zero is a value of this plain struct on every libc; the field that matters is set below.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = i32::from(priority);
    // SAFETY: 0 means the calling thread; the pointer is valid for the call, which keeps nothing of it.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    Errno::result(result).map(drop)
}

/// Keeps the calling thread on these cores.
///
/// # Errors
/// EINVAL when none of them exists.
pub fn stay_on(cores: &[u32]) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core as usize)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// How late the kernel may wake the calling thread to save power; 0 would mean the default, so 1 ns is the least.
///
/// # Errors
/// The system's. Without effect on real-time threads, which are never woken late on purpose.
pub fn wake_within(slack_ns: u64) -> Result<(), Errno> {
    nix::sys::prctl::set_timerslack(slack_ns.max(1))
}

/// Keeps everything that the process has and will have in memory, and fills it in now: no page fault later.
///
/// Only where no limit stands against it: with a small RLIMIT_MEMLOCK the call may succeed and every later allocation beyond it fail.
///
/// # Errors
/// EPERM when the limit is finite and the process may not exceed it; the system's.
pub fn stay_in_memory() -> Result<(), Errno> {
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if soft != nix::sys::resource::RLIM_INFINITY && !has_capability(CAP_IPC_LOCK) {
        return Err(Errno::EPERM);
    }
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
}

/// Whether the process has a capability now.
fn has_capability(number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|bits| bits >> number & 1 == 1)
}

/// Bytes of one step of [`touch_stack`].
const STEP_BYTES: usize = 2048;

/// Writes to `bytes` of the calling thread's stack, so that its pages are there before the first frame.
#[inline(never)]
pub fn touch_stack(bytes: usize) {
    let mut step = [0_u8; STEP_BYTES];
    black_box(&mut step);
    if bytes > 2 * STEP_BYTES {
        // A little more than the array lies on the stack per step, hence the reserve that callers keep.
        touch_stack(bytes - STEP_BYTES - 64);
    }
    black_box(&mut step);
}

/// Page faults of the calling thread so far: those that the memory served, and those for which a disk was asked.
///
/// # Errors
/// The system's.
pub fn page_faults() -> Result<(u64, u64), Errno> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    Ok((usage.minor_page_faults() as u64, usage.major_page_faults() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_wishes_are_refused_and_touched_pages_do_not_fault_again() {
        assert_eq!(run_first(0), Err(Errno::EINVAL));
        assert_eq!(run_first(91), Err(Errno::EINVAL));
        assert!(stay_on(&[1023]).is_err() && stay_on(&[]).is_err());
        let faults = std::thread::Builder::new()
            .stack_size(512 * 1024)
            .spawn(|| {
                wake_within(0).expect("every thread may");
                stay_on(&[0]).expect("there is a first core");
                let fresh = page_faults().expect("Linux").0;
                touch_stack(256 * 1024);
                let touched = page_faults().expect("Linux").0;
                touch_stack(256 * 1024);
                (touched - fresh, page_faults().expect("Linux").0 - touched)
            })
            .and_then(|thread| thread.join().map_err(|_| std::io::Error::other("it panicked")))
            .expect("a thread");
        // Huge pages may make the first number small; the second is what counts.
        assert!(faults.1 <= 2, "{faults:?}");
    }
}
