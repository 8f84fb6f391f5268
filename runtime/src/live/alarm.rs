//! Alarms beside the board: told on the output thread when an event begins and when it ends, before anything is written. No rung of the
//! degrade ladder touches them.

use crate::live::health::BoardHealth;
use crate::live::output::Item;
use alfred_board::hal::{Alarm, AlarmOutput};
use alfred_wire::output::Kind;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// `[alarm]`: at most one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlarmConfig {
    /// A file that takes `1` while an event lasts and `0` afterwards: `/sys/class/gpio/gpio79/value`, `/sys/class/leds/NAME/brightness`.
    pub line: Option<PathBuf>,
    /// A Unix datagram socket that takes one JSON line per beginning and end of an event.
    pub socket: Option<PathBuf>,
}

/// What the output thread tells alarms with.
pub struct AlarmFeed {
    output: Box<dyn AlarmOutput>,
    lasting: u32,
    health: Arc<BoardHealth>,
}

impl AlarmFeed {
    /// No event lasts yet.
    #[must_use]
    pub fn new(output: Box<dyn AlarmOutput>, health: Arc<BoardHealth>) -> Self {
        Self { output, lasting: 0, health }
    }

    /// Tells what concerns people beside the board.
    pub(crate) fn take(&mut self, item: &Item) {
        let Item::Event(event) = item else { return };
        let begins = match event.kind {
            Kind::New => true,
            Kind::Update => return,
            _ => false,
        };
        self.lasting = if begins { self.lasting.saturating_add(1) } else { self.lasting.saturating_sub(1) };
        let alarm = Alarm { event: event.id, begins, lasting: self.lasting, frame: event.last_frame, score_max: event.peak_score };
        match self.output.tell(&alarm) {
            Ok(()) => drop(self.health.alarms_given.fetch_add(1, Relaxed)),
            Err(fault) => {
                if self.health.alarms_lost.fetch_add(1, Relaxed) == 0 {
                    eprintln!("alarm: {fault}: an alarm is not given; further ones are only counted (alarms_lost)");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alfred_board::facts::Facts;
    use alfred_board::hal::{AlarmTarget, Board as _};
    use alfred_board::sim::{SimBoard, SimSettings};
    use alfred_wire::output::EventMessage;

    #[test]
    fn beginnings_and_ends_are_told_once_each_and_losses_are_counted() {
        let board = SimBoard::new(Facts::named("sim").expect("a board"), SimSettings { alarm_fault_every: 4, ..SimSettings::default() });
        let health = Arc::new(BoardHealth::default());
        let output = board.alarm_output(&AlarmTarget::Line("any".into())).expect("the simulated one");
        let mut feed = AlarmFeed::new(output, Arc::clone(&health));
        let mut event = |id, kind| {
            let (first_frame, last_frame) = (1, 2);
            let message = EventMessage {
                id,
                kind,
                person: 0,
                first_frame,
                last_frame,
                anomalous_frames: 2,
                peak_score: 1.0,
                peak_frame: 1,
                mean_score: 1.0,
                threshold: 0.5,
            };
            feed.take(&Item::Event(message));
        };
        event(0, Kind::New);
        event(1, Kind::New);
        event(0, Kind::Update);
        event(0, Kind::EndScoreFell);
        event(1, Kind::EndPersonLeft);
        let told: Vec<(u64, bool, u32)> = board.alarms().iter().map(|alarm| (alarm.event, alarm.begins, alarm.lasting)).collect();
        assert_eq!(told, [(0, true, 1), (1, true, 2), (0, false, 1)]);
        assert_eq!((health.alarms_given.load(Relaxed), health.alarms_lost.load(Relaxed)), (3, 1));
    }
}
