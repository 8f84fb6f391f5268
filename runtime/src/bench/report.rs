//! What `bench` found, as text and as JSON.

use super::feeder::Marks;
use super::machine::Pages;
use super::observer::Observations;
use super::run::BenchSettings;
use super::timeline::{FrameOutcome, Timeline};
use crate::error::Error;
use crate::live::latency::{Latency, LatencyFigures};
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// What was measured on what.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) settings: BenchSettings,
    pub(crate) model: String,
    pub(crate) window_frames: usize,
    pub(crate) deadline_us: u64,
    pub(crate) stress_threads: usize,
}

/// Exact quantiles of measured times, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50_us: f64,
    /// 90th percentile.
    pub p90_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// Largest.
    pub max_us: f64,
}

impl Quantiles {
    /// Of times in nanoseconds, which are sorted on the way; all 0 where there are none.
    #[must_use]
    pub fn of(nanoseconds: &mut [u64]) -> Self {
        nanoseconds.sort_unstable();
        let at = |share: f64| {
            // The smallest time that so large a share does not exceed.
            let place = (share * nanoseconds.len() as f64).ceil() as usize;
            nanoseconds.get(place.saturating_sub(1)).map_or(0.0, |&time| time as f64 / 1e3)
        };
        Self { p50_us: at(0.5), p90_us: at(0.9), p99_us: at(0.99), p999_us: at(0.999), max_us: at(1.0) }
    }
}

impl From<LatencyFigures> for Quantiles {
    fn from(figures: LatencyFigures) -> Self {
        let LatencyFigures { p50_us, p90_us, p99_us, p999_us, max_us, .. } = figures;
        Self { p50_us, p90_us, p99_us, p999_us, max_us }
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the model and its lane.
    pub model: String,
    /// People in every frame.
    pub persons: usize,
    /// Frames per second.
    pub frames_per_second: u32,
    /// Measured frames, after the warm-up.
    pub frames: u64,
    /// Threads that kept other cores busy.
    pub stress_threads: usize,
    /// Whether the threads asked for what the packaged configuration asks for.
    pub real_time: bool,
    /// What the system refused of it.
    pub capabilities_missing: u64,
    /// Time from one frame to the next, by which a frame must be decided.
    pub deadline_us: u64,
    /// From when a frame was due to when the lines that it caused were written.
    pub due_to_written: Quantiles,
    /// From when it was sent, which leaves out how late the feeder was woken.
    pub sent_to_written: Quantiles,
    /// The data path alone, as the health figures tell it, warm-up included.
    pub step: Quantiles,
    /// Lateness of a thread that does nothing but wait, every millisecond.
    pub idle_thread_lateness: Quantiles,
    /// Frames whose lines came after the deadline, or never.
    pub deadline_misses: u64,
    /// Those that the machine explains by a count of the kernel's: without the time that the feeder waited for a core before it sent the
    /// frame, and that the one thread of ours waited for a core that waited longest; or without the time by which even a thread without
    /// work was woken late, less what our own threads ran; or without the time for which a virtual machine's core was taken away. The live
    /// path would have been in time.
    pub deadline_misses_of_the_machine: u64,
    /// Those that are explained only by the waits of all our threads added up, which may have waited at the same time.
    pub deadline_misses_of_added_waits: u64,
    /// The rest.
    pub deadline_misses_of_ours: u64,
    /// Whether the kernel told how long our threads waited for a core.
    pub run_queue_waits_are_known: bool,
    /// Milliseconds for which whoever runs this virtual machine kept a core away (steal), at least, while it was measured.
    pub stolen_ms: u64,
    /// Heap allocations of the whole process while it was measured.
    pub allocations: u64,
    /// Page faults served without the disk, meanwhile.
    pub minor_page_faults: i64,
    /// Page faults served from the disk, meanwhile.
    pub major_page_faults: i64,
    /// Resident bytes when the warm-up was over.
    pub resident_bytes_at_start: u64,
    /// Resident bytes after the last measured frame.
    pub resident_bytes_at_end: u64,
    /// Most of them, looked at every second.
    pub resident_bytes_max: u64,
    /// Where the resident pages came from when the warm-up was over, counted page by page; `None`: this kernel does not tell.
    pub pages_at_start: Option<Pages>,
    /// The same after the last measured frame.
    pub pages_at_end: Option<Pages>,
    /// Whether the process's own pages (heap, stacks, whatever it wrote to) are no more at the end than at the start. Pages of the program's
    /// file are not its own: unless memory is locked, the kernel takes idle ones away and reads them again.
    pub memory_is_flat: Option<bool>,
    /// Windows scored, of the whole stream.
    pub windows_scored: u64,
    /// Windows that everybody in every frame makes; the same number unless frames were lost.
    pub windows_expected: u64,
    /// Frames, messages and segment parts lost, of the whole stream.
    pub lost: u64,
    /// Events reported, of the whole stream.
    pub events: u64,
    /// Segment parts written, of the whole stream.
    pub segments: u64,
    /// Share of the time from frame to frame that the data path's 99th percentile leaves, in percent.
    pub spare_percent: f64,
    /// Times from due to written in nanoseconds, sorted; for the histogram.
    #[serde(skip)]
    pub times_ns: Vec<u64>,
}

/// Whose fault a missed deadline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    InTime,
    Machine,
    AddedWaits,
    Ours,
}

fn judge(frame: &FrameOutcome, deadline_ns: u64) -> Judgement {
    let Some(latency) = frame.latency else {
        // It was never decided: no machine explains that.
        return Judgement::Ours;
    };
    let total = frame.late + latency;
    // The feeder's lateness counts as far as somebody saw what caused it; the rest was its own work.
    let late = frame.late.min(frame.feeder_waited.max(frame.stalled));
    let is_in_time_without = |nanoseconds: u64| total.saturating_sub(nanoseconds) <= deadline_ns;
    if is_in_time_without(0) {
        Judgement::InTime
    } else if is_in_time_without(late + frame.waited_most.min(latency))
        || is_in_time_without(frame.stalled)
        || is_in_time_without(frame.stolen)
    {
        Judgement::Machine
    } else if is_in_time_without(late + (frame.waited_sum + frame.stolen).min(latency)) {
        Judgement::AddedWaits
    } else {
        Judgement::Ours
    }
}

impl Report {
    pub(crate) fn new(about: Setting, timeline: &Timeline, marks: &Marks, seen: &Observations, lateness: &Latency) -> Result<Self, Error> {
        let stats: Value = serde_json::from_slice(&seen.stats).map_err(|error| Error::system("health figures", error))?;
        let number = |path: &str| stats.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        let time = |name: &str| stats.pointer(&format!("/stats/step/{name}")).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let step = Quantiles {
            p50_us: time("p50_us"),
            p90_us: time("p90_us"),
            p99_us: time("p99_us"),
            p999_us: time("p999_us"),
            max_us: time("max_us"),
        };
        let lost = ["/stats/output_lost", "/stats/segments_lost", "/stats/ingest/frames_shed", "/stats/ingest/messages_refused"];
        let outcomes: Vec<FrameOutcome> = timeline.outcomes().collect();
        let count = |wanted| outcomes.iter().filter(|frame| judge(frame, about.deadline_us * 1_000) == wanted).count() as u64;
        let (ours, machine, added) = (count(Judgement::Ours), count(Judgement::Machine), count(Judgement::AddedWaits));
        let mut times_ns: Vec<u64> = outcomes.iter().filter_map(|frame| Some(frame.late + frame.latency?)).collect();
        let mut sent_ns: Vec<u64> = outcomes.iter().filter_map(|frame| frame.latency).collect();
        let frames_taken = number("/stats/counters/frames");
        Ok(Self {
            persons: about.settings.persons,
            frames_per_second: about.settings.frames_per_second,
            frames: about.settings.frames,
            stress_threads: about.stress_threads,
            real_time: about.settings.real_time,
            capabilities_missing: number("/stats/board/capabilities_missing"),
            deadline_us: about.deadline_us,
            due_to_written: Quantiles::of(&mut times_ns),
            sent_to_written: Quantiles::of(&mut sent_ns),
            step,
            idle_thread_lateness: lateness.figures().into(),
            deadline_misses: ours + machine + added,
            deadline_misses_of_the_machine: machine,
            deadline_misses_of_added_waits: added,
            deadline_misses_of_ours: ours,
            run_queue_waits_are_known: marks.waits_are_known,
            stolen_ms: timeline.stolen_ns() / 1_000_000,
            allocations: marks.after.allocations - marks.before.allocations,
            minor_page_faults: marks.after.minor_faults - marks.before.minor_faults,
            major_page_faults: marks.after.major_faults - marks.before.major_faults,
            resident_bytes_at_start: marks.before.resident_bytes,
            resident_bytes_at_end: marks.after.resident_bytes,
            resident_bytes_max: marks.resident_bytes_max.max(marks.after.resident_bytes),
            pages_at_start: marks.pages[0],
            pages_at_end: marks.pages[1],
            memory_is_flat: marks.pages[0].zip(marks.pages[1]).map(|(start, end)| end.own <= start.own),
            windows_scored: number("/stats/counters/windows_scored"),
            windows_expected: about.settings.persons as u64 * frames_taken.saturating_sub(about.window_frames as u64 - 1),
            lost: lost.into_iter().map(number).sum(),
            events: seen.events,
            segments: seen.segments,
            spare_percent: 100.0 - 100.0 * step.p99_us / about.deadline_us as f64,
            model: about.model,
            times_ns,
        })
    }
}

impl Report {
    fn write_pages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(start), Some(end)) = (self.pages_at_start, self.pages_at_end) else {
            return writeln!(f, "own memory: this kernel does not count it (/proc/self/smaps_rollup)");
        };
        let verdict = match end.own.checked_sub(start.own) {
            Some(0) => "flat, to the byte".into(),
            Some(grown) => format!("NOT flat: grown by {grown} bytes"),
            None => format!("flat: {} bytes fewer", start.own - end.own),
        };
        writeln!(f, "own memory: {} bytes at start, {} at end: {verdict}", start.own, end.own)?;
        writeln!(f, "pages of the program's file: {} bytes at start, {} at end; {} bytes locked", start.files, end.files, end.locked)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let busy = match self.stress_threads {
            0 => "no load of ours beside it".into(),
            threads => format!("{threads} busy threads beside it"),
        };
        writeln!(
            f,
            "{}: {} persons, {} frames per second, {} frames, {busy}; {}",
            self.model,
            self.persons,
            self.frames_per_second,
            self.frames,
            match (self.real_time, self.capabilities_missing) {
                (false, _) => "ordinary scheduling, memory not locked".into(),
                (true, 0) => "memory locked, SCHED_FIFO".into(),
                (true, missing) => format!("real time asked for, {missing} wishes refused"),
            }
        )?;
        writeln!(f, "\n{:<34} {:>10} {:>10} {:>10} {:>10} {:>10}", "microseconds", "p50", "p90", "p99", "p99.9", "max")?;
        let rows = [
            ("frame due to decision written", self.due_to_written),
            ("frame sent to decision written", self.sent_to_written),
            ("data path alone", self.step),
            ("lateness of a thread that waits", self.idle_thread_lateness),
        ];
        for (name, times) in rows {
            let Quantiles { p50_us, p90_us, p99_us, p999_us, max_us } = times;
            writeln!(f, "{name:<34} {p50_us:>10.1} {p90_us:>10.1} {p99_us:>10.1} {p999_us:>10.1} {max_us:>10.1}")?;
        }
        writeln!(
            f,
            "\ndeadline {} µs: {} missed, of which {} are the machine's, {} its only if several waits add up, and {} ours; cores stolen for {} ms{}",
            self.deadline_us,
            self.deadline_misses,
            self.deadline_misses_of_the_machine,
            self.deadline_misses_of_added_waits,
            self.deadline_misses_of_ours,
            self.stolen_ms,
            if self.run_queue_waits_are_known { "" } else { " (this kernel does not tell waits for a core)" }
        )?;
        writeln!(f, "data path's p99 leaves {:.2} % of the time from frame to frame", self.spare_percent)?;
        writeln!(f, "{} allocations; page faults: {} minor, {} major", self.allocations, self.minor_page_faults, self.major_page_faults)?;
        writeln!(
            f,
            "resident: {} bytes at start, {} at end, at most {}",
            self.resident_bytes_at_start, self.resident_bytes_at_end, self.resident_bytes_max
        )?;
        self.write_pages(f)?;
        writeln!(
            f,
            "{} of {} windows scored, {} lost messages, {} event lines, {} segment parts",
            self.windows_scored, self.windows_expected, self.lost, self.events, self.segments
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_times() {
        let mut times: Vec<u64> = (1..=1000).rev().map(|time| time * 1_000).collect();
        let found = Quantiles::of(&mut times);
        assert_eq!(found, Quantiles { p50_us: 500.0, p90_us: 900.0, p99_us: 990.0, p999_us: 999.0, max_us: 1000.0 });
        assert_eq!(Quantiles::of(&mut []), Quantiles::default());
    }

    #[test]
    fn a_miss_is_the_machines_only_when_the_machine_explains_it() {
        let frame = |late, feeder_waited, latency, [waited_most, waited_sum]: [u64; 2], stalled| FrameOutcome {
            stolen: 0,
            late,
            latency,
            feeder_waited,
            waited_most,
            waited_sum,
            stalled,
        };
        for (outcome, expected) in [
            (frame(0, 0, Some(100), [0, 0], 0), Judgement::InTime),
            (frame(0, 0, Some(101), [0, 0], 0), Judgement::Ours),
            // Late for a reason that the kernel counted, for one that it did not, and for both.
            (frame(50, 50, Some(51), [0, 0], 0), Judgement::Machine),
            (frame(50, 0, Some(51), [0, 0], 0), Judgement::Ours),
            (frame(50, 1, Some(51), [0, 0], 0), Judgement::Machine),
            // A wait before this frame was late explains no more than its lateness.
            (frame(50, 90, Some(151), [0, 0], 0), Judgement::Ours),
            (frame(0, 0, Some(150), [50, 60], 0), Judgement::Machine),
            (frame(0, 0, Some(150), [49, 49], 0), Judgement::Ours),
            (frame(0, 0, Some(150), [49, 50], 0), Judgement::AddedWaits),
            (frame(0, 0, Some(150), [0, 0], 60), Judgement::Machine),
            (frame(0, 1000, None, [1000, 1000], 1000), Judgement::Ours),
            (FrameOutcome { stolen: 50, ..frame(0, 0, Some(150), [0, 0], 0) }, Judgement::Machine),
            (FrameOutcome { stolen: 49, ..frame(0, 0, Some(150), [0, 0], 0) }, Judgement::Ours),
            (FrameOutcome { stolen: 30, ..frame(0, 0, Some(150), [20, 20], 0) }, Judgement::AddedWaits),
        ] {
            assert_eq!(judge(&outcome, 100), expected, "{outcome:?}");
        }
    }
}
