//! Where a bench runs: one core for the whole process, and a line that says which machine gave the figures.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use std::fs::read_to_string;
use std::path::Path;

/// Environment variable that names the core; without it, the last one that this process may use.
pub const CORE_VARIABLE: &str = "ALFRED_BENCH_CORE";

const SELF: Pid = Pid::from_raw(0);

/// Keeps this thread on one core, whose number is returned; `None` (and a warning) where the system does not allow it.
pub fn pin() -> Option<usize> {
    let allowed = sched_getaffinity(SELF).ok()?;
    let wanted = std::env::var(CORE_VARIABLE).ok().and_then(|text| text.parse().ok());
    // The first core serves most interrupts.
    let core = wanted.or_else(|| (0..CpuSet::count()).rev().find(|&core| allowed.is_set(core).unwrap_or(false)))?;
    let mut one = CpuSet::new();
    let pinned = one.set(core).and_then(|()| sched_setaffinity(SELF, &one));
    if let Err(error) = pinned {
        eprintln!("cannot stay on core {core} ({error}): the figures contain moves between cores");
        return None;
    }
    Some(core)
}

/// Processor, core and frequency governor in one line.
pub fn describe(core: Option<usize>) -> String {
    let processor = processor().unwrap_or_else(|| "unknown processor".into());
    let Some(core) = core else { return format!("{processor}, not pinned") };
    let governor = read_line(Path::new(&format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor")));
    format!("{processor}, core {core}, governor {}", governor.unwrap_or_else(|| "not readable".into()))
}

/// Load average over one minute.
pub fn load_average() -> String {
    let line = read_line(Path::new("/proc/loadavg"));
    line.and_then(|line| line.split(' ').next().map(str::to_owned)).unwrap_or_else(|| "unknown".into())
}

/// How often this thread had to give its core to somebody else so far; always 0 where the system does not count it.
pub fn interruptions() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

fn processor() -> Option<String> {
    let board = read_line(Path::new("/proc/device-tree/model")).map(|model| model.trim_end_matches('\0').to_owned());
    let information = read_to_string("/proc/cpuinfo").ok()?;
    // ARM kernels print no name, only the number of the part.
    let part = || value_of(&information, "CPU part").map(|part| format!("ARM part {part}"));
    let name = value_of(&information, "model name").map(str::to_owned).or_else(part)?;
    Some(board.map_or(name.clone(), |board| format!("{board}, {name}")))
}

fn value_of<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn read_line(path: &Path) -> Option<String> {
    Some(read_to_string(path).ok()?.lines().next()?.trim().to_owned())
}
