//! A board that does not exist: seeded people before a made-up camera, and every fault that a board can have, on demand.
//!
//! Time is virtual: at speed 0 each frame moves the clock by one frame step, a stall by its length, and nothing waits; at another speed the
//! clock runs by itself, so many times as fast as the machine's. The same settings give the same frames, stamps, temperatures over time
//! and faults, to the bit. The camera is in [`crate::sim_camera`], storage that loses power, runs full or fails in [`crate::sim_storage`].
//!
//! What it does not model: the time that work takes (at speed 0 latencies measured on its clock say nothing, else they are the machine's,
//! times the speed), caches, other processes, radio.

use crate::facts::Facts;
use crate::file_storage::FileStorage;
use crate::generic_linux::{MonotonicClock, ProcessMemory};
use crate::hal::{
    Alarm, AlarmFault, AlarmOutput, AlarmTarget, Board, Clock, Identity, Memory, MilliCelsius, MilliWatts, PoseSource, Power, SensorFault,
    Storage, Thermal, Watchdog, WatchdogFault,
};
use crate::sim_camera::SimCamera;
use crate::sim_storage::FailingStorage;
use alfred_core::units::MonotonicNs;
use alfred_synth::camera::CameraSpec;
use alfred_synth::random::Random;
use serde::Deserialize;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where the clock starts: not at zero, which messages use for "no time known", and far enough from it for steps backwards.
pub(crate) const ORIGIN_NS: u64 = 1_000_000_000_000;

/// Fastest that time may go.
const SPEED_MAX: f64 = 1000.0;

/// Alarms that the board remembers; later ones are only counted.
const ALARMS_MAX: usize = 1024;

/// What happens on the board, and with which seed. Probabilities are per frame.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimSettings {
    /// Everything random depends on it.
    pub seed: u64,
    /// Frames after which the source ends.
    pub frames: u64,
    /// A camera of the synthetic catalogue.
    pub camera: String,
    /// Share of frames in which something anomalous happens, 0 to 0.9.
    pub event_share: f64,
    /// Probability that a frame never comes.
    pub drop: f64,
    /// Probability that a frame comes after its successor.
    pub reorder: f64,
    /// Probability that a frame comes twice.
    pub duplicate: f64,
    /// Frames between two stalls; 0: none.
    pub stall_every_frames: u64,
    /// Length of a stall, milliseconds.
    pub stall_ms: u64,
    /// Frame at which the stamps of the camera leap; 0: never.
    pub clock_step_frame: u64,
    /// How far, milliseconds; may be negative.
    pub clock_step_ms: i64,
    /// (second, thousandths of a degree): straight lines between, the first and last value beyond. Empty: no thermometer.
    pub temperature: Vec<(u64, i32)>,
    /// Probability that a reading of a sensor fails.
    pub sensor_fault: f64,
    /// Milliseconds within which the watchdog must be kicked; 0: no watchdog.
    pub watchdog_ms: u64,
    /// Every so many alarms one cannot be given; 0: all can.
    pub alarm_fault_every: u64,
    /// Every so many writes to a region of storage one fails and changes nothing; 0: none.
    pub storage_fault_every: u64,
    /// How fast time goes, 0 to 1000: 1 as on a wall clock, 10 ten times as fast; 0: only frames move it, as fast as they are taken.
    pub speed: f64,
    /// After the last frame the camera is silent and the board stays, instead of the source's end.
    pub stays: bool,
}

impl Default for SimSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            frames: 3000,
            camera: "source0".into(),
            event_share: 0.1,
            drop: 0.0,
            reorder: 0.0,
            duplicate: 0.0,
            stall_every_frames: 0,
            stall_ms: 0,
            clock_step_frame: 0,
            clock_step_ms: 0,
            temperature: vec![(0, 45_000)],
            sensor_fault: 0.0,
            watchdog_ms: 0,
            alarm_fault_every: 0,
            storage_fault_every: 0,
            speed: 0.0,
            stays: false,
        }
    }
}

impl SimSettings {
    /// Which setting lies outside its range.
    ///
    /// # Errors
    /// Its name and its range.
    pub fn check(&self) -> Result<(), String> {
        let probabilities =
            [("drop", self.drop), ("reorder", self.reorder), ("duplicate", self.duplicate), ("sensor_fault", self.sensor_fault)];
        for (name, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name} = {value}: a probability from 0 to 1 is needed"));
            }
        }
        if !(0.0..=0.9).contains(&self.event_share) {
            return Err(format!("event_share = {}: a share from 0 to 0.9 is needed", self.event_share));
        }
        if !(0.0..=SPEED_MAX).contains(&self.speed) {
            return Err(format!("speed = {}: a factor from 0 to {SPEED_MAX} is needed", self.speed));
        }
        if CameraSpec::named(&self.camera).is_none() {
            let names: Vec<&str> = CameraSpec::catalogue().iter().map(|camera| camera.name).collect();
            return Err(format!("camera = {:?} is unknown: one of {} is needed", self.camera, names.join(", ")));
        }
        if self.temperature.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err("temperature: the seconds must rise".into());
        }
        Ok(())
    }
}

/// A clock that runs at its speed, and stands still at speed 0 unless it is moved.
#[derive(Debug)]
pub struct SimClock {
    moved_ns: AtomicU64,
    started_ns: u64,
    speed: f64,
}

impl SimClock {
    fn new(speed: f64) -> Self {
        Self { moved_ns: AtomicU64::new(ORIGIN_NS), started_ns: MonotonicClock.now().0, speed }
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.moved_ns.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> MonotonicNs {
        let moved_ns = self.moved_ns.load(SeqCst);
        if self.speed <= 0.0 {
            return MonotonicNs(moved_ns);
        }
        let run_ns = MonotonicClock.now().0.saturating_sub(self.started_ns);
        MonotonicNs(moved_ns.saturating_add((run_ns as f64 * self.speed) as u64))
    }
}

/// What the simulated watchdog saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchdogFigures {
    /// Whether it was told that the process is ready, and not yet that it ends.
    pub is_ready: bool,
    /// Kicks.
    pub kicks: u64,
    /// When it was kicked last, or told of the start, on the board's clock.
    pub last_ns: u64,
}

/// The simulated board. Clones are the same board.
#[derive(Clone, Debug)]
pub struct SimBoard {
    facts: Facts,
    settings: SimSettings,
    clock: Arc<SimClock>,
    watchdog: Arc<Mutex<WatchdogFigures>>,
    alarms: Arc<Mutex<Alarms>>,
}

#[derive(Debug, Default)]
struct Alarms {
    told: Vec<Alarm>,
    count: u64,
}

impl SimBoard {
    /// A board at its first second.
    #[must_use]
    pub fn new(facts: Facts, settings: SimSettings) -> Self {
        let alarms = Alarms { told: Vec::with_capacity(ALARMS_MAX), count: 0 };
        let clock = Arc::new(SimClock::new(settings.speed));
        Self { facts, settings, clock, watchdog: Arc::default(), alarms: Arc::new(Mutex::new(alarms)) }
    }

    /// What happens on it.
    #[must_use]
    pub const fn settings(&self) -> &SimSettings {
        &self.settings
    }

    /// The clock, to be moved by a test.
    #[must_use]
    pub fn sim_clock(&self) -> Arc<SimClock> {
        Arc::clone(&self.clock)
    }

    /// What the watchdog saw.
    #[must_use]
    pub fn watchdog_figures(&self) -> WatchdogFigures {
        *self.watchdog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the watchdog would have ended the process by now.
    #[must_use]
    pub fn has_bitten(&self) -> bool {
        let figures = self.watchdog_figures();
        let silent_ns = self.clock.now().0.saturating_sub(figures.last_ns);
        figures.is_ready && self.settings.watchdog_ms > 0 && silent_ns > self.settings.watchdog_ms * 1_000_000
    }

    /// The alarms that were given, the first 1024.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner).told.clone()
    }
}

impl Board for SimBoard {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn identity(&self) -> Identity {
        Identity { model: Some("simulated board".into()), serial: Some(format!("seed-{}", self.settings.seed)) }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.sim_clock()
    }

    fn memory(&self) -> Box<dyn Memory + Send> {
        Box::new(ProcessMemory::open())
    }

    fn thermal(&self) -> Result<Box<dyn Thermal>, SensorFault> {
        if self.settings.temperature.is_empty() {
            return Err(SensorFault::Absent);
        }
        Ok(Box::new(SimSensor { board: self.clone(), random: Random::new(self.settings.seed ^ 0x7e) }))
    }

    fn power(&self) -> Result<Box<dyn Power>, SensorFault> {
        Ok(Box::new(SimSensor { board: self.clone(), random: Random::new(self.settings.seed ^ 0x90) }))
    }

    fn watchdog(&self) -> Option<Box<dyn Watchdog>> {
        (self.settings.watchdog_ms > 0).then(|| Box::new(SimWatchdog(self.clone())) as Box<dyn Watchdog>)
    }

    fn alarm_output(&self, _: &AlarmTarget) -> Result<Box<dyn AlarmOutput>, AlarmFault> {
        Ok(Box::new(SimAlarm(self.clone())))
    }

    fn pose_source(&self) -> Option<Box<dyn PoseSource>> {
        SimCamera::new(self.clone()).map(|camera| Box::new(camera) as Box<dyn PoseSource>)
    }

    fn storage(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn Storage + Send>> {
        let file = FileStorage::open(path, bytes)?;
        Ok(Box::new(FailingStorage::new(file, self.settings.storage_fault_every)))
    }
}

/// Thermometer and power meter.
struct SimSensor {
    board: SimBoard,
    random: Random,
}

impl SimSensor {
    fn temperature(&self) -> i32 {
        let points = &self.board.settings.temperature;
        // The curve begins with the board.
        let now_ms = self.board.clock.now().0.saturating_sub(ORIGIN_NS) / 1_000_000;
        let (mut value, mut since_ms) = (points.first().map_or(0, |point| point.1), 0);
        for (second, next) in points {
            let until_ms = second.saturating_mul(1000);
            if now_ms < until_ms {
                let share = (now_ms - since_ms) as f64 / (until_ms - since_ms) as f64;
                return value + (f64::from(next - value) * share) as i32;
            }
            (value, since_ms) = (*next, until_ms);
        }
        value
    }
}

impl Thermal for SimSensor {
    fn read(&mut self) -> Result<MilliCelsius, SensorFault> {
        if self.random.chance(self.board.settings.sensor_fault) {
            return Err(SensorFault::Disabled);
        }
        Ok(MilliCelsius(self.temperature() + self.random.between(-100.0, 100.0) as i32))
    }
}

impl Power for SimSensor {
    fn read(&mut self) -> Result<MilliWatts, SensorFault> {
        if self.random.chance(self.board.settings.sensor_fault) {
            return Err(SensorFault::Disabled);
        }
        Ok(MilliWatts(7000 + self.random.below(500) as u32))
    }
}

struct SimWatchdog(SimBoard);

impl SimWatchdog {
    fn change(&self, change: impl FnOnce(&mut WatchdogFigures)) {
        let mut figures = self.0.watchdog.lock().unwrap_or_else(PoisonError::into_inner);
        figures.last_ns = self.0.clock.now().0;
        change(&mut figures);
    }
}

impl Watchdog for SimWatchdog {
    fn period(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.0.settings.watchdog_ms))
    }
    fn ready(&mut self) -> Result<(), WatchdogFault> {
        self.change(|figures| figures.is_ready = true);
        Ok(())
    }
    fn kick(&mut self) -> Result<(), WatchdogFault> {
        if !self.0.watchdog_figures().is_ready {
            return Err(WatchdogFault(ErrorKind::NotConnected));
        }
        self.change(|figures| figures.kicks += 1);
        Ok(())
    }
    fn stopping(&mut self) -> Result<(), WatchdogFault> {
        self.change(|figures| figures.is_ready = false);
        Ok(())
    }
}

struct SimAlarm(SimBoard);

impl AlarmOutput for SimAlarm {
    fn tell(&mut self, alarm: &Alarm) -> Result<(), AlarmFault> {
        let mut alarms = self.0.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        alarms.count += 1;
        let every = self.0.settings.alarm_fault_every;
        if every > 0 && alarms.count.is_multiple_of(every) {
            return Err(AlarmFault::Full);
        }
        // The room is there already: contracts forbid to allocate.
        if alarms.told.len() < ALARMS_MAX {
            alarms.told.push(*alarm);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(settings: SimSettings) -> SimBoard {
        settings.check().expect("valid");
        SimBoard::new(Facts::named("sim").expect("a board"), settings)
    }

    #[test]
    fn temperature_follows_its_curve_and_the_watchdog_bites_who_is_silent() {
        let board = board(SimSettings { temperature: vec![(0, 40_000), (10, 90_000)], watchdog_ms: 500, ..SimSettings::default() });
        let mut thermal = board.thermal().expect("it has one");
        let near = |reading: Result<MilliCelsius, SensorFault>, value: i32| (reading.expect("it answers").0 - value).abs() <= 100;
        assert!(near(thermal.read(), 40_000));
        board.sim_clock().advance(Duration::from_secs(5));
        assert!(near(thermal.read(), 65_000));
        board.sim_clock().advance(Duration::from_secs(50));
        assert!(near(thermal.read(), 90_000));
        let mut watchdog = board.watchdog().expect("it has one");
        assert!(watchdog.kick().is_err() && !board.has_bitten(), "it waits for the start");
        watchdog.ready().expect("told");
        board.sim_clock().advance(Duration::from_millis(400));
        watchdog.kick().expect("told");
        board.sim_clock().advance(Duration::from_millis(400));
        assert!(!board.has_bitten());
        board.sim_clock().advance(Duration::from_millis(400));
        assert!(board.has_bitten());
        watchdog.stopping().expect("told");
        assert!(!board.has_bitten());
        assert_eq!(board.watchdog_figures().kicks, 1);
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        let cases = [
            (SimSettings { drop: 1.5, ..SimSettings::default() }, "drop"),
            (SimSettings { event_share: 1.0, ..SimSettings::default() }, "event_share"),
            (SimSettings { speed: f64::NAN, ..SimSettings::default() }, "speed"),
            (SimSettings { camera: "moon".into(), ..SimSettings::default() }, "camera"),
            (SimSettings { temperature: vec![(5, 0), (5, 1)], ..SimSettings::default() }, "temperature"),
        ];
        for (settings, part) in cases {
            assert!(settings.check().expect_err("refused").starts_with(part));
        }
    }
}
