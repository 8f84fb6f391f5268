//! The degrade ladder: what the process does less of when the board is hot, declared in [`RUNGS`], never the alarms.
//!
//! Up at once when a rung's temperature is reached, over several rungs if need be; down one rung at a time, and only when the temperature
//! lies a margin below the rung's and the last change is some time ago. A thermometer that does not answer changes nothing.

use alfred_board::hal::{MilliCelsius, SensorFault};
use serde::Deserialize;

/// What holds on one rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Factor on the configured window stride.
    pub stride_factor: u32,
    /// Whether a candidate is scored beside the live model. On trial and live models are always scored: alarms come from them.
    pub scores_shadow: bool,
}

/// The ladder, coolest rung first.
pub const RUNGS: [Rung; 4] = [
    Rung { stride_factor: 1, scores_shadow: true },
    Rung { stride_factor: 2, scores_shadow: true },
    Rung { stride_factor: 4, scores_shadow: true },
    Rung { stride_factor: 4, scores_shadow: false },
];

/// `[thermal]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThermalConfig {
    /// Whether the process does less when the board is hot; left out: on every board but `generic-linux`.
    pub degrade: Option<bool>,
    /// Where the first, second and third rung begin, in thousandths of a degree Celsius; left out: what the board's facts say.
    pub rungs_milli_celsius: Option<[i32; 3]>,
    /// How far below a rung's beginning the temperature must lie before that rung is left.
    pub hysteresis_milli_celsius: i32,
    /// Seconds from a change to the next step down.
    pub dwell_s: u64,
    /// Milliseconds between two readings.
    pub period_ms: u64,
}

impl Default for ThermalConfig {
    fn default() -> Self {
        Self { degrade: None, rungs_milli_celsius: None, hysteresis_milli_celsius: 5000, dwell_s: 10, period_ms: 1000 }
    }
}

impl ThermalConfig {
    /// Which setting lies outside its range.
    ///
    /// # Errors
    /// Its name and its range.
    pub fn check(&self) -> Result<(), String> {
        if self.rungs_milli_celsius.is_some_and(|[first, second, third]| first >= second || second >= third) {
            return Err("thermal.rungs_milli_celsius: three rising temperatures are needed".into());
        }
        if !(0..=50_000).contains(&self.hysteresis_milli_celsius) || !(10..=60_000).contains(&self.period_ms) {
            return Err("thermal: hysteresis_milli_celsius must lie from 0 to 50000, period_ms from 10 to 60000".into());
        }
        Ok(())
    }

    /// The ladder for a board whose own rungs are `rungs_milli_celsius`.
    #[must_use]
    pub fn ladder(&self, rungs_milli_celsius: [i32; 3]) -> Ladder {
        Ladder {
            begins: self.rungs_milli_celsius.unwrap_or(rungs_milli_celsius).map(MilliCelsius),
            hysteresis: self.hysteresis_milli_celsius,
            dwell_ns: self.dwell_s.saturating_mul(1_000_000_000),
            rung: 0,
            changed_ns: None,
        }
    }
}

/// Where on the ladder the board is.
#[derive(Clone, Debug)]
pub struct Ladder {
    begins: [MilliCelsius; 3],
    hysteresis: i32,
    dwell_ns: u64,
    rung: usize,
    changed_ns: Option<u64>,
}

impl Ladder {
    /// Index into [`RUNGS`].
    #[must_use]
    pub const fn rung(&self) -> usize {
        self.rung
    }

    /// Takes a reading at a time of the board's clock; the new rung if it changes.
    pub fn step(&mut self, reading: Result<MilliCelsius, SensorFault>, now_ns: u64) -> Option<usize> {
        let temperature = reading.ok()?;
        let asked = self.begins.iter().filter(|begin| temperature >= **begin).count();
        let next = if asked > self.rung {
            asked
        } else {
            let below = self.begins[self.rung.checked_sub(1)?];
            let has_dwelt = self.changed_ns.is_none_or(|changed| now_ns.saturating_sub(changed) >= self.dwell_ns);
            if !has_dwelt || temperature.0 >= below.0.saturating_sub(self.hysteresis) {
                return None;
            }
            self.rung - 1
        };
        self.rung = next;
        self.changed_ns = Some(now_ns);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alfred_board::facts::Facts;
    use alfred_board::hal::Board as _;
    use alfred_board::sim::{SimBoard, SimSettings};
    use std::time::Duration;

    fn sim(temperature: Vec<(u64, i32)>) -> SimBoard {
        SimBoard::new(Facts::named("sim").expect("a board"), SimSettings { temperature, ..SimSettings::default() })
    }

    /// The rung after each second of a ramp up and down: 40 degrees at first, 95 at 100 s, 40 again at 300 s.
    #[test]
    fn the_ladder_follows_a_ramp_with_hysteresis() {
        let board = sim(vec![(0, 40_000), (100, 95_000), (300, 40_000)]);
        let (mut ladder, mut thermal) =
            (ThermalConfig::default().ladder(board.facts().thermal.rungs_milli_celsius), board.thermal().expect("one"));
        let mut changes = Vec::new();
        for _ in 0..320 {
            board.sim_clock().advance(Duration::from_secs(1));
            let reading = thermal.read();
            if let Some(rung) = ladder.step(reading, board.clock().now().0) {
                changes.push((rung, reading.expect("it answers").0));
            }
        }
        let rungs: Vec<usize> = changes.iter().map(|change| change.0).collect();
        assert_eq!(rungs, [1, 2, 3, 2, 1, 0], "{changes:?}");
        let begins = [80_000, 85_000, 90_000];
        for (up, begin) in changes[..3].iter().zip(begins) {
            assert!((begin..begin + 1000).contains(&up.1), "{changes:?}");
        }
        for (down, begin) in changes[3..].iter().zip(begins.iter().rev()) {
            assert!((begin - 6000..begin - 5000).contains(&down.1), "{changes:?}");
        }
    }

    #[test]
    fn a_leap_climbs_at_once_and_comes_down_step_by_step() {
        let mut ladder = ThermalConfig { dwell_s: 10, ..ThermalConfig::default() }.ladder([80_000, 85_000, 90_000]);
        let second = 1_000_000_000;
        assert_eq!(ladder.step(Ok(MilliCelsius(99_000)), second), Some(3));
        assert_eq!(ladder.step(Ok(MilliCelsius(20_000)), 2 * second), None, "too soon");
        assert_eq!(ladder.step(Err(SensorFault::Disabled), 50 * second), None, "no answer changes nothing");
        assert_eq!(ladder.step(Ok(MilliCelsius(20_000)), 51 * second), Some(2));
        assert_eq!(ladder.step(Ok(MilliCelsius(20_000)), 60 * second), None);
        assert_eq!(ladder.step(Ok(MilliCelsius(20_000)), 61 * second), Some(1));
        assert_eq!(ladder.step(Ok(MilliCelsius(85_000)), 62 * second), Some(2), "up needs no waiting");
        assert_eq!(ladder.rung(), 2);
        assert_eq!(ladder.step(Ok(MilliCelsius(80_000)), 100 * second), None, "within the margin");
        assert_eq!(ladder.step(Ok(MilliCelsius(79_999)), 100 * second), Some(1));
        assert_eq!(ThermalConfig::default().ladder([1, 2, 3]).step(Ok(MilliCelsius(0)), 5), None);
    }

    #[test]
    fn the_ladder_only_ever_takes_away_and_never_the_live_model() {
        for pair in RUNGS.windows(2) {
            assert!(pair[1].stride_factor >= pair[0].stride_factor && (pair[0].scores_shadow || !pair[1].scores_shadow));
        }
        assert_eq!(RUNGS.map(|rung| rung.stride_factor), [1, 2, 4, 4]);
        assert!(ThermalConfig { rungs_milli_celsius: Some([3, 2, 1]), ..ThermalConfig::default() }.check().is_err());
    }
}
