//! When the watchdog is kicked: only when frames really flow, from the source through scoring to the output.
//!
//! Policy for a source that sends nothing: `watchdog.idle`. `kick` (default): a camera that is off is no fault of this process; that it is
//! off shows in the figures. `withhold`: whoever wants a restart when no frame comes. A thread that took something up and does not finish it
//! is stuck under either policy.

use serde::Deserialize;

/// `[watchdog]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchdogConfig {
    /// What to do when no frame comes.
    pub idle: IdlePolicy,
}

/// `watchdog.idle`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdlePolicy {
    /// Go on kicking, as long as the ingest thread goes on looking for frames.
    #[default]
    Kick,
    /// Stop kicking.
    Withhold,
}

/// How far everything has come at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Looks of the ingest thread at its source.
    pub rounds: u64,
    /// Frames that came, without those that gave way to newer ones.
    pub frames_come: u64,
    /// Frames that the scoring thread took up.
    pub frames_taken: u64,
    /// Frames that it finished.
    pub frames_done: u64,
    /// Messages that the output thread took up.
    pub items_taken: u64,
    /// Messages that it finished.
    pub items_done: u64,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Frames flow, or the idle policy says so.
    Kick,
    /// Nothing came, and the policy asks for frames.
    Idle,
    /// The ingest thread does not look at its source.
    IngestStuck,
    /// A frame waits or is in work, and none was finished.
    ScoringStuck,
    /// A message is in work, and none was finished: whoever reads the output does not.
    OutputStuck,
}

/// Compares each look with the one before.
#[derive(Clone, Debug)]
pub struct Judge {
    idle: IdlePolicy,
    last: Flow,
}

impl Judge {
    /// A judge who has seen nothing yet.
    #[must_use]
    pub fn new(config: &WatchdogConfig) -> Self {
        Self { idle: config.idle, last: Flow::default() }
    }

    /// Judges by what happened since the last look.
    pub fn judge(&mut self, now: Flow) -> Verdict {
        let last = std::mem::replace(&mut self.last, now);
        if now.items_taken > now.items_done && now.items_done == last.items_done {
            return Verdict::OutputStuck;
        }
        if now.frames_done > last.frames_done {
            return Verdict::Kick;
        }
        // A frame that came just now may still be on its way: it counts from the next look on.
        if now.frames_taken > now.frames_done || last.frames_come > now.frames_done {
            return Verdict::ScoringStuck;
        }
        if now.rounds == last.rounds && now.frames_come == last.frames_come {
            return Verdict::IngestStuck;
        }
        match self.idle {
            IdlePolicy::Kick => Verdict::Kick,
            IdlePolicy::Withhold => Verdict::Idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOWING: Flow = Flow { rounds: 10, frames_come: 100, frames_taken: 100, frames_done: 100, items_taken: 5, items_done: 5 };

    fn judge(idle: IdlePolicy, then: Flow) -> Verdict {
        let mut judge = Judge::new(&WatchdogConfig { idle });
        assert_eq!(judge.judge(FLOWING), Verdict::Kick);
        judge.judge(then)
    }

    #[test]
    fn frames_that_flow_kick_and_whoever_is_stuck_does_not() {
        let more = Flow { rounds: 20, frames_come: 130, frames_taken: 130, frames_done: 129, ..FLOWING };
        assert_eq!(judge(IdlePolicy::Withhold, more), Verdict::Kick);
        let in_work = Flow { rounds: 11, frames_come: 101, frames_taken: 101, ..FLOWING };
        assert_eq!(judge(IdlePolicy::Kick, in_work), Verdict::ScoringStuck);
        assert_eq!(judge(IdlePolicy::Kick, Flow { items_taken: 6, frames_done: 101, ..FLOWING }), Verdict::OutputStuck);
        assert_eq!(judge(IdlePolicy::Kick, FLOWING), Verdict::IngestStuck);
    }

    #[test]
    fn an_idle_source_follows_the_declared_policy() {
        let idle = Flow { rounds: 12, ..FLOWING };
        assert_eq!(judge(IdlePolicy::Kick, idle), Verdict::Kick);
        assert_eq!(judge(IdlePolicy::Withhold, idle), Verdict::Idle);
        assert_eq!(WatchdogConfig::default().idle, IdlePolicy::Kick);
    }

    #[test]
    fn a_frame_that_waits_twice_is_stuck() {
        let mut judge = Judge::new(&WatchdogConfig::default());
        judge.judge(FLOWING);
        let waiting = Flow { frames_come: 101, rounds: 11, ..FLOWING };
        assert_eq!(judge.judge(waiting), Verdict::Kick, "it may just have come");
        assert_eq!(judge.judge(Flow { rounds: 12, ..waiting }), Verdict::ScoringStuck);
        assert_eq!(judge.judge(Flow { rounds: 13, frames_taken: 101, frames_done: 101, ..waiting }), Verdict::Kick);
    }
}
