//! The thread that looks after the process: thermometer and power meter, the degrade ladder, the watchdog. It decides nothing about frames
//! but the rung, which the scoring thread takes over between two of them.

use crate::live::health::BoardHealth;
use crate::live::ingest::IngestCounters;
use crate::live::thermal::{Ladder, RUNGS};
use crate::live::touch_thread;
use crate::live::watchdog::{Flow, Judge, Verdict};
use alfred_board::hal::{Clock, Power, SensorFault, Thermal, Watchdog};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Looks per period of the watchdog: one late look is no late kick.
const LOOKS_PER_PERIOD: u32 = 4;

/// What it looks at.
pub struct Supervisor {
    /// Thermometer; `None`: the board has none.
    pub thermal: Option<Box<dyn Thermal>>,
    /// Power meter; `None`: the board has none.
    pub power: Option<Box<dyn Power>>,
    /// Who wants to be kicked; `None`: nobody.
    pub watchdog: Option<Box<dyn Watchdog>>,
    /// The degrade ladder; `None`: the temperature changes nothing.
    pub ladder: Option<Ladder>,
    /// When to kick.
    pub judge: Judge,
    /// Time between two readings of the sensors.
    pub period: Duration,
    /// The board's clock.
    pub clock: Arc<dyn Clock>,
    /// What it finds out.
    pub health: Arc<BoardHealth>,
}

impl Supervisor {
    /// Works until the other end of `ended` has gone; then tells the watchdog that the process ends of its own accord.
    pub(crate) fn run(mut self, ended: &Receiver<()>, ingest: &IngestCounters) {
        touch_thread();
        // All threads run by now.
        self.tell(|watchdog| watchdog.ready());
        let kick_period = self.watchdog.as_ref().and_then(|watchdog| watchdog.period()).map(|period| period / LOOKS_PER_PERIOD);
        let tick = kick_period.map_or(self.period, |kick| kick.min(self.period)).max(Duration::from_millis(1));
        let (mut sensors_due, mut kick_due) = (Duration::ZERO, Duration::ZERO);
        let mut last = Verdict::Kick;
        // Nobody sends: either the time is up, or the other end has gone.
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(tick) {
            sensors_due += tick;
            if sensors_due >= self.period {
                sensors_due = Duration::ZERO;
                self.read_sensors();
            }
            kick_due += tick;
            if let Some(kick) = kick_period
                && kick_due >= kick
            {
                kick_due = Duration::ZERO;
                last = self.kick(ingest, last);
            }
        }
        self.tell(|watchdog| watchdog.stopping());
    }

    /// Reads the sensors once and follows the ladder.
    pub fn read_sensors(&mut self) {
        let fault = |reading: &Result<_, SensorFault>| u64::from(reading.is_err());
        if let Some(power) = &mut self.power {
            let reading = power.read();
            self.health.sensor_faults.fetch_add(u64::from(reading.is_err()), Relaxed);
            self.health.set_power(reading.ok());
        }
        let Some(thermal) = &mut self.thermal else { return };
        let reading = thermal.read();
        self.health.sensor_faults.fetch_add(fault(&reading), Relaxed);
        self.health.set_temperature(reading.ok());
        let now_ns = self.clock.now().0;
        if let Some(rung) = self.ladder.as_mut().and_then(|ladder| ladder.step(reading, now_ns)) {
            self.health.rung.store(rung as u32, Relaxed);
            self.health.rung_changes.fetch_add(1, Relaxed);
            let what = RUNGS[rung];
            eprintln!(
                "thermal: {} thousandths of a degree: rung {rung}: stride x{}, shadow scoring {}, alarms on",
                reading.map_or(0, |temperature| temperature.0),
                what.stride_factor,
                if what.scores_shadow { "on" } else { "off" }
            );
        }
    }

    /// Looks at the flow and kicks, or not; tells when that changes.
    fn kick(&mut self, ingest: &IngestCounters, last: Verdict) -> Verdict {
        let verdict = self.judge.judge(flow(&self.health, ingest));
        if verdict == Verdict::Kick {
            self.health.watchdog_kicks.fetch_add(1, Relaxed);
            self.tell(|watchdog| watchdog.kick());
        } else {
            self.health.watchdog_withheld.fetch_add(1, Relaxed);
            if verdict != last {
                eprintln!("watchdog: not kicked: {verdict:?}");
            }
        }
        verdict
    }

    fn tell(&mut self, what: impl FnOnce(&mut dyn Watchdog) -> Result<(), alfred_board::hal::WatchdogFault>) {
        let Some(watchdog) = &mut self.watchdog else { return };
        if let Err(fault) = what(watchdog.as_mut())
            && self.health.watchdog_faults.fetch_add(1, Relaxed) == 0
        {
            eprintln!("watchdog: it cannot be told: {}; further faults are only counted", fault.0);
        }
    }
}

fn flow(health: &BoardHealth, ingest: &IngestCounters) -> Flow {
    // Done before taken before come: a frame that moves on meanwhile never looks finished before it came.
    let flow = &health.flow;
    let (items_done, frames_done) = (flow.items_done.load(Relaxed), flow.frames_done.load(Relaxed));
    let (items_taken, frames_taken) = (flow.items_taken.load(Relaxed), flow.frames_taken.load(Relaxed));
    let shed = ingest.frames_shed.load(Relaxed);
    Flow {
        rounds: ingest.rounds.load(Relaxed),
        frames_come: ingest.messages.load(Relaxed).saturating_sub(shed),
        frames_taken,
        frames_done,
        items_taken,
        items_done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::thermal::ThermalConfig;
    use crate::live::watchdog::WatchdogConfig;
    use alfred_board::facts::Facts;
    use alfred_board::hal::Board as _;
    use alfred_board::sim::{SimBoard, SimSettings};
    use crossbeam::channel::bounded;

    fn supervisor(board: &SimBoard, health: &Arc<BoardHealth>) -> Supervisor {
        Supervisor {
            thermal: board.thermal().ok(),
            power: board.power().ok(),
            watchdog: board.watchdog(),
            ladder: Some(ThermalConfig::default().ladder(board.facts().thermal.rungs_milli_celsius)),
            judge: Judge::new(&WatchdogConfig::default()),
            period: Duration::from_millis(2),
            clock: board.clock(),
            health: Arc::clone(health),
        }
    }

    /// Waits for a condition, since threads take their time.
    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let started = std::time::Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn it_kicks_while_frames_flow_and_stops_while_a_frame_hangs() {
        let settings = SimSettings { watchdog_ms: 8, temperature: vec![(0, 92_000)], ..SimSettings::default() };
        let board = SimBoard::new(Facts::named("sim").expect("a board"), settings);
        let (health, ingest) = (Arc::new(BoardHealth::default()), IngestCounters::default());
        let (alive, ended) = bounded::<()>(0);
        let supervisor = supervisor(&board, &health);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| supervisor.run(&ended, &ingest));
            let frame = |counter: &std::sync::atomic::AtomicU64| counter.fetch_add(1, Relaxed);
            eventually("frames flow", || {
                frame(&ingest.messages);
                frame(&health.flow.frames_taken);
                frame(&health.flow.frames_done);
                board.watchdog_figures().kicks > 3
            });
            assert!(board.watchdog_figures().is_ready);
            frame(&ingest.messages);
            frame(&health.flow.frames_taken);
            eventually("the frame hangs", || health.watchdog_withheld.load(Relaxed) > 3);
            let kicks = board.watchdog_figures().kicks;
            eventually("it goes on hanging", || health.watchdog_withheld.load(Relaxed) > 8);
            assert_eq!(board.watchdog_figures().kicks, kicks, "not one kick while it hangs");
            frame(&health.flow.frames_done);
            eventually("frames flow again", || board.watchdog_figures().kicks > kicks);
            drop(alive);
            thread.join().expect("no panic");
        });
        assert!(!board.watchdog_figures().is_ready, "it was told of the end");
        assert_eq!((health.rung.load(Relaxed), health.rung_changes.load(Relaxed)), (3, 1), "92 degrees");
        assert!(health.temperature().is_some() && health.power().is_some());
    }
}
