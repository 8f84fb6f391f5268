//! When each measured frame was due, sent and decided: one fixed table that feeder, observer and waiter write into.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What never happened.
const NEVER: u64 = u64::MAX;

/// One measured frame; nanoseconds.
#[derive(Debug)]
struct FrameTimes {
    sent: AtomicU64,
    decided: AtomicU64,
    /// How long our threads were ready but had no core, until the next frame was due.
    waited: AtomicU64,
    /// How late a thread that does nothing was woken in this frame's period, at most.
    stalled: AtomicU64,
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
    /// How long our threads were ready without a core, from when it was due to the end of the period in which it was decided. The
    /// kernel tells a wait when it is over, so one that began earlier is in it.
    pub(crate) waited: u64,
    /// How late a thread that does nothing was woken, at most, in those periods.
    pub(crate) stalled: u64,
}

impl Timeline {
    /// A table of `frames` rows behind `warm_up` frames without one. All of its memory is written to now, so that no page of it is
    /// touched for the first time while frames run.
    pub(crate) fn new(warm_up: u64, frames: usize, period_ns: u64) -> Self {
        let never = || AtomicU64::new(NEVER);
        let row = |_| FrameTimes { sent: never(), decided: never(), waited: AtomicU64::new(0), stalled: AtomicU64::new(0) };
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

    /// Our threads had to wait for a core while frame `number` was the newest one.
    pub(crate) fn add_wait(&self, number: u64, nanoseconds: u64) {
        if let Some(row) = self.row(number) {
            row.waited.fetch_add(nanoseconds, Relaxed);
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

    /// Every measured frame, in order.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = FrameOutcome> {
        (0..self.rows.len()).map(|place| {
            let (row, due_ns) = (&self.rows[place], self.due_ns(self.first + place as u64));
            let (sent, decided) = (row.sent.load(Relaxed), row.decided.load(Relaxed));
            let is_complete = sent != NEVER && decided != NEVER;
            let periods = if is_complete { decided.saturating_sub(due_ns) / self.period_ns } else { 0 };
            let spanned = self.rows[place..].iter().take(usize::try_from(periods).unwrap_or(usize::MAX).saturating_add(1));
            let (waited, stalled) =
                spanned.fold((0, 0), |(waited, stalled), row| (waited + row.waited.load(Relaxed), stalled.max(row.stalled.load(Relaxed))));
            FrameOutcome {
                late: if sent == NEVER { 0 } else { sent.saturating_sub(due_ns) },
                latency: is_complete.then(|| decided.saturating_sub(sent)),
                waited,
                stalled,
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
        timeline.add_wait(11, 3);
        timeline.add_wait(12, 7);
        // From 2,150 to 2,250: frames 11 and 12.
        timeline.add_stall(2_250, 100);
        let outcomes: Vec<FrameOutcome> = timeline.outcomes().collect();
        assert_eq!(outcomes[0], FrameOutcome { late: 5, latency: Some(100), waited: 3, stalled: 100 });
        assert_eq!(outcomes[1], FrameOutcome { late: 5, latency: None, waited: 3, stalled: 100 });
        assert_eq!(outcomes[2], FrameOutcome { late: 5, latency: Some(40), waited: 7, stalled: 100 });
        assert_eq!(outcomes.len(), 3);
    }
}
