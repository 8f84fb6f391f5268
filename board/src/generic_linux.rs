//! Boards under Linux: CLOCK_MONOTONIC, /proc, the thermal zones and power rails that the board's facts name, and whatever else happens to
//! be there. What differs from board to board is data (`boards/*.toml`); none of the Jetson boards was at hand, and the tests read made-up
//! trees that follow the vendor's documents.

use crate::facts::Facts;
use crate::hal::{AlarmFault, AlarmOutput, AlarmTarget, Board, Clock, Identity, Memory, PoseSource, Power, SensorFault, Thermal, Watchdog};
use crate::linux::{ServiceManager, ThermalZones, alarm_output, identity_text};
use crate::power_meter::PowerMeter;
use crate::root::Root;
use alfred_core::units::MonotonicNs;
use nix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A machine of which as much is known beforehand as its facts say.
#[derive(Clone, Debug)]
pub struct GenericLinux {
    facts: Facts,
    root: Root,
}

impl GenericLinux {
    /// The machine whose system paths lie below `root`.
    #[must_use]
    pub const fn new(facts: Facts, root: Root) -> Self {
        Self { facts, root }
    }
}

impl Board for GenericLinux {
    fn facts(&self) -> &Facts {
        &self.facts
    }
    fn identity(&self) -> Identity {
        let first_of = |paths: [&str; 2]| paths.into_iter().find_map(|path| identity_text(&self.root, path));
        Identity {
            model: first_of(["/proc/device-tree/model", "/sys/class/dmi/id/product_name"]),
            // DMI's is readable by root only; as another user there is none.
            serial: first_of(["/proc/device-tree/serial-number", "/sys/class/dmi/id/product_serial"]),
        }
    }
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(MonotonicClock)
    }
    fn memory(&self) -> Box<dyn Memory + Send> {
        Box::new(ProcessMemory::open())
    }
    fn thermal(&self) -> Result<Box<dyn Thermal>, SensorFault> {
        ThermalZones::open(&self.root, &self.facts.thermal.zones).map(|zones| Box::new(zones) as Box<dyn Thermal>)
    }
    fn power(&self) -> Result<Box<dyn Power>, SensorFault> {
        PowerMeter::open(&self.root, &self.facts).map(|meter| Box::new(meter) as Box<dyn Power>)
    }
    fn watchdog(&self) -> Option<Box<dyn Watchdog>> {
        ServiceManager::from_environment().map(|manager| Box::new(manager) as Box<dyn Watchdog>)
    }
    fn alarm_output(&self, target: &AlarmTarget) -> Result<Box<dyn AlarmOutput>, AlarmFault> {
        alarm_output(&self.root, target)
    }
    fn pose_source(&self) -> Option<Box<dyn PoseSource>> {
        None
    }
}

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
