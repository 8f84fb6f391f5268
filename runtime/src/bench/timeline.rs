//! When each measured frame was due, sent and decided: one fixed table that feeder, observer and waiter write into.

use super::machine::{OUR_THREADS, Turns};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What never happened.
const NEVER: u64 = u64::MAX;

/// One measured frame; nanoseconds.
#[derive(Debug)]
struct FrameTimes {
    sent: AtomicU64,
    decided: AtomicU64,
    /// How long each of our threads was ready but had no core, until the next frame was due.
    waited: [AtomicU64; OUR_THREADS.len()],
    /// How long our threads were on a core, until the next frame was due.
    ran: AtomicU64,
    /// How long the feeder was ready but had no core, until it sent this frame.
    feeder_waited: AtomicU64,
    /// How late a thread that does nothing was woken in this frame's period, at most.
    stalled: AtomicU64,
    /// How long the core that lost most was taken away in this frame's period.
    stolen: AtomicU64,
}

/// The table. Frame numbers count from the stream's first frame; those of the warm-up have no row.
#[derive(Debug)]
pub(crate) struct Timeline {
    rows: Vec<FrameTimes>,
    /// Number of the first measured frame.
    first: u64,
    /// When frame 0 is due.
    origin_ns: AtomicU64,
    /// From one frame to the next.
    pub(crate) period_ns: u64,
}

/// What became of one measured frame; nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameOutcome {
    /// From when it was due to when it was sent.
    pub(crate) late: u64,
    /// From when it was sent to when the lines it caused were written; `None`: never, or never sent.
    pub(crate) latency: Option<u64>,
    /// How long the feeder was ready without a core before it sent this frame.
    pub(crate) feeder_waited: u64,
    /// How long that one of our threads was ready without a core that had none for longest, from when the frame was sent to the end of
    /// the period in which it was decided. The kernel tells a wait when it is over, so one that began earlier is in it.
    pub(crate) waited_most: u64,
    /// The same of all our threads together. They can wait at the same time, so this may be more than the frame lost.
    pub(crate) waited_sum: u64,
    /// How late a thread that does nothing was woken, at most, in those periods, less the time that our threads were on a core, for which
    /// it may have had to wait.
    pub(crate) stalled: u64,
    /// How long whoever runs this virtual machine kept a core away in those periods, at least, of the core that lost most.
    pub(crate) stolen: u64,
}

impl Timeline {
    /// A table of `frames` rows behind `warm_up` frames without one. All of its memory is written to now, so that no page of it is
    /// touched for the first time while frames run.
    pub(crate) fn new(warm_up: u64, frames: usize, period_ns: u64) -> Self {
        let never = || AtomicU64::new(NEVER);
        let row = |_| FrameTimes {
            sent: never(),
            decided: never(),
            waited: Default::default(),
            ran: AtomicU64::new(0),
            feeder_waited: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            stolen: AtomicU64::new(0),
        };
        Self { rows: (0..frames).map(row).collect(), first: warm_up, origin_ns: never(), period_ns }
    }

    /// Says when frame 0 is due.
    pub(crate) fn begin(&self, origin_ns: u64) {
        self.origin_ns.store(origin_ns, Relaxed);
    }

    /// When a frame is due.
    pub(crate) fn due_ns(&self, number: u64) -> u64 {
        self.origin_ns.load(Relaxed).saturating_add(number.saturating_mul(self.period_ns))
    }

    fn row(&self, number: u64) -> Option<&FrameTimes> {
        self.rows.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Frame `number` was sent.
    pub(crate) fn sent(&self, number: u64, at_ns: u64) {
        if let Some(row) = self.row(number) {
            row.sent.store(at_ns, Relaxed);
        }
    }

    /// What frame `number` caused has been written.
    pub(crate) fn decided(&self, number: u64, at_ns: u64) {
        if let Some(row) = self.row(number) {
            row.decided.store(at_ns, Relaxed);
        }
    }

    /// Our threads ran, and waited for a core, while frame `number` was the newest one.
    pub(crate) fn add_turns(&self, number: u64, turns: [Turns; OUR_THREADS.len()]) {
        let Some(row) = self.row(number) else { return };
        for (waited, turns) in row.waited.iter().zip(turns) {
            waited.fetch_add(turns.waited, Relaxed);
            row.ran.fetch_add(turns.ran, Relaxed);
        }
    }

    /// The feeder had to wait for a core before it sent frame `number`.
    pub(crate) fn add_feeder_wait(&self, number: u64, nanoseconds: u64) {
        if let Some(row) = self.row(number) {
            row.feeder_waited.fetch_add(nanoseconds, Relaxed);
        }
    }

    /// A thread that does nothing was woken so late at `at_ns`.
    pub(crate) fn add_stall(&self, at_ns: u64, late_ns: u64) {
        let origin = self.origin_ns.load(Relaxed);
        // Lateness belongs to every period that it lasted.
        let periods = |at: u64| at.checked_sub(origin).map(|since| since / self.period_ns);
        if let (Some(from), Some(to)) = (periods(at_ns.saturating_sub(late_ns)), periods(at_ns)) {
            for number in from..=to {
                if let Some(row) = self.row(number) {
                    row.stalled.fetch_max(late_ns, Relaxed);
                }
            }
        }
    }

    /// A core was away for so long, about `at_ns`.
    pub(crate) fn add_theft(&self, at_ns: u64, nanoseconds: u64) {
        let since = at_ns.checked_sub(self.origin_ns.load(Relaxed));
        if let Some(row) = since.and_then(|since| self.row(since / self.period_ns)) {
            row.stolen.fetch_add(nanoseconds, Relaxed);
        }
    }

    /// All that was taken away while frames were measured.
    pub(crate) fn stolen_ns(&self) -> u64 {
        self.rows.iter().map(|row| row.stolen.load(Relaxed)).sum()
    }

    /// Every measured frame, in order.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = FrameOutcome> {
        (0..self.rows.len()).map(|place| {
            let (row, due_ns) = (&self.rows[place], self.due_ns(self.first + place as u64));
            let (sent, decided) = (row.sent.load(Relaxed), row.decided.load(Relaxed));
            let is_complete = sent != NEVER && decided != NEVER;
            let periods = if is_complete { decided.saturating_sub(due_ns) / self.period_ns } else { 0 };
            let spanned = self.rows[place..].iter().take(usize::try_from(periods).unwrap_or(usize::MAX).saturating_add(1));
            let (mut waited, mut stalled, mut ran, mut stolen) = ([0; OUR_THREADS.len()], 0, 0, 0);
            for spanned in spanned {
                waited.iter_mut().zip(&spanned.waited).for_each(|(sum, part)| *sum += part.load(Relaxed));
                stalled = stalled.max(spanned.stalled.load(Relaxed));
                ran += spanned.ran.load(Relaxed);
                stolen += spanned.stolen.load(Relaxed);
            }
            FrameOutcome {
                late: if sent == NEVER { 0 } else { sent.saturating_sub(due_ns) },
                latency: is_complete.then(|| decided.saturating_sub(sent)),
                feeder_waited: row.feeder_waited.load(Relaxed),
                waited_most: waited.into_iter().max().unwrap_or(0),
                waited_sum: waited.into_iter().sum(),
                stalled: stalled.saturating_sub(ran),
                stolen,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_what_happened_and_nothing_else() {
        let timeline = Timeline::new(10, 3, 100);
        timeline.begin(1_000);
        for number in 0..20 {
            timeline.sent(number, timeline.due_ns(number) + 5);
        }
        // After 105: in the period of frame 11.
        timeline.decided(10, 2_105);
        timeline.decided(12, 2_245);
        let turns = |ran, waited| Turns { ran, waited };
        timeline.add_turns(11, [turns(20, 3), turns(0, 1), turns(2, 0)]);
        timeline.add_turns(12, [turns(0, 0), turns(0, 1), turns(0, 7)]);
        timeline.add_feeder_wait(10, 5);
        // From 2,150 to 2,250: frames 11 and 12.
        timeline.add_stall(2_250, 100);
        timeline.add_theft(2_199, 30);
        timeline.add_theft(900, 30);
        let outcomes: Vec<FrameOutcome> = timeline.outcomes().collect();
        let nothing = FrameOutcome { late: 5, latency: None, feeder_waited: 0, waited_most: 3, waited_sum: 4, stalled: 78, stolen: 30 };
        assert_eq!(outcomes[0], FrameOutcome { latency: Some(100), feeder_waited: 5, ..nothing });
        assert_eq!(outcomes[1], nothing);
        assert_eq!(outcomes[2], FrameOutcome { latency: Some(40), waited_most: 7, waited_sum: 8, stalled: 100, stolen: 0, ..nothing });
        assert_eq!(timeline.stolen_ns(), 30);
        assert_eq!(outcomes.len(), 3);
    }
}
