//! What the board's side of the live process knows and counts: written by its threads, read by the health figures. Counts only rise.

use alfred_board::hal::{MilliCelsius, MilliWatts};
use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};

/// No reading yet, or the last one failed.
const UNKNOWN: i64 = i64::MIN;

/// How far the threads have come: what the watchdog's kicks depend on.
#[derive(Debug, Default)]
pub struct FlowCounters {
    /// Frames that the scoring thread took up.
    pub frames_taken: AtomicU64,
    /// Frames that it finished.
    pub frames_done: AtomicU64,
    /// Messages that the output thread took up.
    pub items_taken: AtomicU64,
    /// Messages that it finished.
    pub items_done: AtomicU64,
}

/// Figures of the board's side.
#[derive(Debug)]
pub struct BoardHealth {
    /// See [`FlowCounters`].
    pub flow: FlowCounters,
    temperature: AtomicI64,
    power: AtomicI64,
    /// Readings of a sensor that failed.
    pub sensor_faults: AtomicU64,
    /// Rung of the degrade ladder that the temperature asks for; the scoring thread follows between two frames.
    pub rung: AtomicU32,
    /// Changes of the rung.
    pub rung_changes: AtomicU64,
    /// Alarms given.
    pub alarms_given: AtomicU64,
    /// Alarms that could not be given.
    pub alarms_lost: AtomicU64,
    /// Kicks of the watchdog.
    pub watchdog_kicks: AtomicU64,
    /// Times at which it was not kicked, since nothing flowed.
    pub watchdog_withheld: AtomicU64,
    /// Times at which it could not be told.
    pub watchdog_faults: AtomicU64,
    /// Wishes that the system refused: memory locks, priorities, cores, confinement.
    pub capabilities_missing: AtomicU64,
    /// Page faults of the scoring thread since its first frame that the memory served.
    pub page_faults_minor: AtomicU64,
    /// And those for which a disk was asked.
    pub page_faults_major: AtomicU64,
}

impl Default for BoardHealth {
    fn default() -> Self {
        Self {
            flow: FlowCounters::default(),
            temperature: AtomicI64::new(UNKNOWN),
            power: AtomicI64::new(UNKNOWN),
            sensor_faults: AtomicU64::default(),
            rung: AtomicU32::default(),
            rung_changes: AtomicU64::default(),
            alarms_given: AtomicU64::default(),
            alarms_lost: AtomicU64::default(),
            watchdog_kicks: AtomicU64::default(),
            watchdog_withheld: AtomicU64::default(),
            watchdog_faults: AtomicU64::default(),
            capabilities_missing: AtomicU64::default(),
            page_faults_minor: AtomicU64::default(),
            page_faults_major: AtomicU64::default(),
        }
    }
}

impl BoardHealth {
    /// The latest temperature; `None` when it is not known.
    #[must_use]
    pub fn temperature(&self) -> Option<MilliCelsius> {
        i32::try_from(self.temperature.load(Relaxed)).ok().map(MilliCelsius)
    }

    pub(crate) fn set_temperature(&self, value: Option<MilliCelsius>) {
        self.temperature.store(value.map_or(UNKNOWN, |value| i64::from(value.0)), Relaxed);
    }

    /// The latest power; `None` when it is not known.
    #[must_use]
    pub fn power(&self) -> Option<MilliWatts> {
        u32::try_from(self.power.load(Relaxed)).ok().map(MilliWatts)
    }

    pub(crate) fn set_power(&self, value: Option<MilliWatts>) {
        self.power.store(value.map_or(UNKNOWN, |value| i64::from(value.0)), Relaxed);
    }

    /// Tells once, and counts, that the system refused a wish; the process goes on without.
    pub(crate) fn miss(&self, what: &str, why: &dyn std::fmt::Display, mend: &str) {
        self.capabilities_missing.fetch_add(1, Relaxed);
        eprintln!("system: {what}: {why}; going on without. {mend}");
    }
}

impl Serialize for BoardHealth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("temperature_milli_celsius", &self.temperature().map(|value| value.0))?;
        map.serialize_entry("power_milliwatts", &self.power().map(|value| value.0))?;
        map.serialize_entry("degrade_rung", &self.rung.load(Relaxed))?;
        let counts = [
            ("degrade_changes", &self.rung_changes),
            ("sensor_faults", &self.sensor_faults),
            ("alarms_given", &self.alarms_given),
            ("alarms_lost", &self.alarms_lost),
            ("watchdog_kicks", &self.watchdog_kicks),
            ("watchdog_withheld", &self.watchdog_withheld),
            ("watchdog_faults", &self.watchdog_faults),
            ("capabilities_missing", &self.capabilities_missing),
            ("page_faults_minor", &self.page_faults_minor),
            ("page_faults_major", &self.page_faults_major),
        ];
        for (name, count) in counts {
            map.serialize_entry(name, &count.load(Relaxed))?;
        }
        map.end()
    }
}
