//! One camera of the demo: its people and its `alfred-edge` process, from the first frame until the held-out stretch is over.

use crate::annotator::Truth;
use crate::judge::Flagged;
use alfred_store::Store;
use alfred_store::cycle::{CycleState, Phase};
use alfred_store::evaluation::Evaluation;
use alfred_testkit::closed_loop::device::{Device, Told};
use alfred_testkit::closed_loop::scene::{Camera, KeptFrame};
use indicatif::ProgressBar;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How much faster than real time frames are fed.
pub(crate) const SPEED: f64 = 10.0;
/// Frames between two looks into the database.
const LOOK_FRAMES: usize = 60;
/// How long a device may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one camera needs.
pub(crate) struct CameraRun<'d> {
    pub(crate) name: &'d str,
    pub(crate) edge: &'d Path,
    pub(crate) config: PathBuf,
    pub(crate) database: PathBuf,
    pub(crate) seed: u64,
    pub(crate) anomalous_share: f64,
    /// Slices of active learning to wait for.
    pub(crate) slices: u64,
    /// Frames of the held-out stretch.
    pub(crate) held_out: usize,
    /// When the loop must be over, whatever it has reached.
    pub(crate) until: Instant,
    pub(crate) truth: Arc<Truth>,
    /// Set when no more verdicts are wanted.
    pub(crate) is_done: Arc<AtomicBool>,
    pub(crate) bar: ProgressBar,
}

/// What came of one camera.
pub(crate) struct CameraRecord {
    pub(crate) name: String,
    pub(crate) frames: Vec<KeptFrame>,
    /// The device's own events.
    pub(crate) flagged: Vec<Flagged>,
    /// Revision and the frame from which on it decided.
    pub(crate) swaps: Vec<(u64, u64)>,
    /// What became of bundles: revision and last stage.
    pub(crate) stages: Vec<(u64, String)>,
    /// Frame that was newest when each slice was closed.
    pub(crate) closed_at: Vec<u64>,
    /// Slices of the warm-up phase.
    pub(crate) warm_up_rounds: u64,
    pub(crate) evaluations: Vec<Evaluation>,
    /// First frame of the held-out stretch.
    pub(crate) held_out_from: u64,
    /// The device's last figures.
    pub(crate) stats: Value,
    /// Longest time between two decided frames around a swap, and over the whole run, as they were read here.
    pub(crate) gap_at_swap: Duration,
    pub(crate) segments: u64,
}

impl CameraRun<'_> {
    pub(crate) fn run(self) -> Result<CameraRecord, String> {
        let mut camera = Camera::new(self.name, self.anomalous_share, self.seed)?;
        let mut device = Device::start(self.edge, &self.config)?;
        let store = Store::open(&self.database).map_err(|error| error.to_string())?;
        let (mut frames, mut told, mut closed_at, mut warm_up) = (Vec::new(), Vec::new(), Vec::new(), None);
        let (mut left, mut held_out_from, mut line) = (None, 0, String::new());
        let (step, begun) = (Duration::from_secs_f64(1.0 / (camera.rate * SPEED)), Instant::now());
        self.bar.set_length(self.slices + 1);
        while left != Some(0) {
            let Some(frame) = camera.next() else { break };
            frame.write_line(&mut line);
            self.truth.add(self.name, &frame);
            device.feed(line.as_bytes())?;
            frames.push(frame);
            told.extend(device.output.try_iter());
            if let Some(left) = &mut left {
                *left -= 1;
            } else if frames.len().is_multiple_of(LOOK_FRAMES) {
                let state = store.cycle_state(self.name).map_err(|error| error.to_string())?;
                while (closed_at.len() as u64) < state.slice {
                    closed_at.push(frames.len() as u64);
                }
                self.show(&state, frames.len(), &told);
                if state.phase == Phase::ActiveLearning {
                    warm_up.get_or_insert(state.slice);
                }
                let has_learned = warm_up.is_some_and(|warm_up| state.slice >= warm_up + self.slices);
                if has_learned || Instant::now() > self.until {
                    self.is_done.store(true, Relaxed);
                    if self.is_settled(&store)? || Instant::now() > self.until + PATIENCE / 3 {
                        left = Some(self.held_out);
                        held_out_from = frames.len() as u64;
                        self.bar.set_message("held-out frames");
                    }
                }
            }
            // A frame that is late stays late: the next ones come on time again.
            let due = step * u32::try_from(frames.len()).unwrap_or(u32::MAX);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        told.extend(device.end(PATIENCE)?);
        let evaluations = store.evaluations(Some(self.name), 1000).map_err(|error| error.to_string())?;
        self.bar.finish_with_message("done");
        let warm_up_rounds = warm_up.unwrap_or(evaluations.len() as u64);
        record(self.name, frames, &told, Closed { at: closed_at, warm_up_rounds }, evaluations, held_out_from)
    }

    fn show(&self, state: &CycleState, frames: usize, told: &[Told]) {
        let phase = if state.phase == Phase::WarmUp { "warm-up phase" } else { "active learning" };
        let revision = told.iter().rev().find_map(|(_, line)| line.get("bundle")).map_or(0, |bundle| count(&bundle["revision"]));
        self.bar.set_position(state.slice.min(self.slices + 1));
        self.bar.set_message(format!("{phase}, slice {}, revision {revision}, {frames} frames", state.slice));
    }

    /// Whether no bundle is on its way.
    fn is_settled(&self, store: &Store) -> Result<bool, String> {
        alfred_trainer_host::cycle::round::is_shipping(store, self.name).map(|is_shipping| !is_shipping).map_err(|error| error.to_string())
    }
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// When slices were closed.
struct Closed {
    at: Vec<u64>,
    warm_up_rounds: u64,
}

fn record(
    name: &str,
    frames: Vec<KeptFrame>,
    told: &[Told],
    closed: Closed,
    mut evaluations: Vec<Evaluation>,
    held_out_from: u64,
) -> Result<CameraRecord, String> {
    let of = |kind: &'static str| told.iter().filter_map(move |(at, line)| line.get(kind).map(|what| (*at, what)));
    let (mut flagged, mut swaps, mut stages) = (Vec::new(), Vec::new(), Vec::<(u64, String)>::new());
    for (_, event) in of("event") {
        if event["kind"].as_str().is_some_and(|kind| kind.starts_with("end")) {
            let (first, last) = (count(&event["first_frame"]), count(&event["last_frame"]));
            flagged.push(Flagged { person: count(&event["person"]) as u32, first, last });
        }
    }
    for (_, bundle) in of("bundle") {
        let (revision, stage) = (count(&bundle["revision"]), bundle["stage"].as_str().unwrap_or("").to_owned());
        if stage == "trial" {
            swaps.push((revision, count(&bundle["from_frame"])));
        }
        stages.retain(|(known, _)| *known != revision);
        stages.push((revision, stage));
    }
    let decided: Vec<(Instant, u64)> = of("frame").map(|(at, frame)| (at, count(&frame["frame"]))).collect();
    let gaps = decided.windows(2).map(|pair| (pair[1].1, pair[1].0.duration_since(pair[0].0)));
    let near = |number: u64| swaps.iter().any(|(_, from)| number.abs_diff(*from) <= 30);
    let gap_at_swap = gaps.filter(|(number, _)| near(*number)).map(|(_, gap)| gap).max().unwrap_or_default();
    evaluations.reverse();
    let stats = of("stats").next_back().map(|(_, stats)| stats.clone()).ok_or("alfred-edge wrote no health figures")?;
    let segments = count(&stats["counters"]["segments"]);
    Ok(CameraRecord {
        name: name.to_owned(),
        frames,
        flagged,
        swaps,
        stages,
        closed_at: closed.at,
        warm_up_rounds: closed.warm_up_rounds,
        evaluations,
        held_out_from,
        stats,
        gap_at_swap,
        segments,
    })
}
