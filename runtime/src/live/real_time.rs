//! What the process asks of the system so that frames are decided in time. Each wish is optional; one that is refused is told once, counted
//! (`capabilities_missing`), and the process goes on without.
//!
//! | wish | needs | without |
//! |---|---|---|
//! | `lock_memory` | RLIMIT_MEMLOCK unlimited, or CAP_IPC_LOCK | page faults are possible, and counted |
//! | `touch_stacks` | nothing | stacks fault in with the first frames |
//! | `priority` | RLIMIT_RTPRIO, or CAP_SYS_NICE | ordinary scheduling |
//! | `scoring_cores`, `other_cores` | the cores exist | any core |
//! | `timer_slack_ns` | nothing | 50 us, the system's own |
//!
//! Priority inheritance: there is no lock of ours on the frame path. What remains are the waiting lists inside the channels, which a
//! thread holds for the length of a push; std's mutexes cannot inherit priorities. So every thread that shares a channel with the
//! scoring thread on each frame (ingest, output) is a real-time thread too, one step below it: no ordinary thread can keep the
//! processor from whoever holds such a list. The update thread, which shares a channel only while weights change, stays ordinary, and the
//! scoring thread never waits for it.

use crate::live::health::BoardHealth;
use alfred_board::thread_policy::{PRIORITIES, run_first, stay_in_memory, stay_on, touch_stack, wake_within};
use serde::Deserialize;

/// `[real_time]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RealTimeConfig {
    /// Keep all of the process in memory from the start.
    pub lock_memory: bool,
    /// Write to every thread's stack before its first frame.
    pub touch_stacks: bool,
    /// Real-time priority (SCHED_FIFO) of the scoring thread, 2 to 90; ingest and output run one below. 0: ordinary scheduling.
    pub priority: u8,
    /// Cores of the scoring thread; empty: any.
    pub scoring_cores: Vec<u32>,
    /// Cores of every other thread; empty: any.
    pub other_cores: Vec<u32>,
    /// How late threads may be woken, nanoseconds; 0: the system's own.
    pub timer_slack_ns: u64,
}

impl RealTimeConfig {
    /// Which setting lies outside its range.
    ///
    /// # Errors
    /// Its name and its range.
    pub fn check(&self) -> Result<(), String> {
        if self.priority != 0 && (self.priority < 2 || !PRIORITIES.contains(&self.priority)) {
            return Err(format!("real_time.priority = {}: 0, or 2 to {}", self.priority, PRIORITIES.end()));
        }
        if self.scoring_cores.iter().chain(&self.other_cores).any(|core| *core > 1023) {
            return Err("real_time: a core's number lies from 0 to 1023".into());
        }
        Ok(())
    }
}

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes poses.
    Ingest,
    /// Scores and decides.
    Scoring,
    /// Writes.
    Output,
    /// Everything else.
    Ordinary,
}

/// Stack that is left alone when the rest is touched: what the thread uses already, guard pages, the steps' own frames.
const STACK_RESERVE_BYTES: usize = 32 * 1024;

/// Locks the process's memory, before its threads start, so that their stacks are locked with it.
pub fn lock_memory(config: &RealTimeConfig, health: &BoardHealth) {
    if config.lock_memory
        && let Err(error) = stay_in_memory()
    {
        health.miss("lock_memory", &error, "RLIMIT_MEMLOCK must be unlimited (LimitMEMLOCK=infinity in the unit)");
    }
}

/// Makes the calling thread what its role asks for.
pub fn enter(role: Role, stack_bytes: usize, config: &RealTimeConfig, health: &BoardHealth) {
    if config.touch_stacks {
        touch_stack(stack_bytes.saturating_sub(STACK_RESERVE_BYTES));
    }
    let cores = if role == Role::Scoring { &config.scoring_cores } else { &config.other_cores };
    if !cores.is_empty()
        && let Err(error) = stay_on(cores)
    {
        health.miss("cores", &format_args!("{role:?} on {cores:?}: {error}"), "does this board have those cores?");
    }
    if config.timer_slack_ns > 0
        && let Err(error) = wake_within(config.timer_slack_ns)
    {
        health.miss("timer_slack_ns", &error, "");
    }
    let priority = match role {
        Role::Scoring => config.priority,
        Role::Ingest | Role::Output => config.priority.saturating_sub(1),
        Role::Ordinary => 0,
    };
    if priority > 0
        && let Err(error) = run_first(priority)
    {
        let mend = "RLIMIT_RTPRIO must allow it (LimitRTPRIO= in the unit)";
        health.miss("priority", &format_args!("{role:?} at {priority}: {error}"), mend);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn refused_wishes_are_counted_and_nothing_stops() {
        let health = BoardHealth::default();
        let config = RealTimeConfig { scoring_cores: vec![1000], timer_slack_ns: 1000, touch_stacks: true, ..RealTimeConfig::default() };
        let thread = std::thread::Builder::new().stack_size(128 * 1024);
        std::thread::scope(|scope| {
            let thread = thread.spawn_scoped(scope, || enter(Role::Scoring, 128 * 1024, &config, &health));
            thread.expect("a thread").join().expect("no panic");
        });
        assert_eq!(health.capabilities_missing.load(Relaxed), 1, "there is no core 1000");
        enter(Role::Output, 0, &RealTimeConfig::default(), &health);
        lock_memory(&RealTimeConfig::default(), &health);
        assert_eq!(health.capabilities_missing.load(Relaxed), 1, "nothing asked for, nothing missing");
    }

    #[test]
    fn settings_outside_their_range_are_named() {
        assert!(RealTimeConfig { priority: 1, ..RealTimeConfig::default() }.check().expect_err("1").contains("2 to 90"));
        assert!(RealTimeConfig { priority: 99, ..RealTimeConfig::default() }.check().is_err());
        assert!(RealTimeConfig { other_cores: vec![5000], ..RealTimeConfig::default() }.check().is_err());
        assert!(RealTimeConfig { priority: 90, ..RealTimeConfig::default() }.check().is_ok());
    }
}
