//! One camera of the demo: its people and its `alfred-edge` process, from the first frame until the held-out stretch is over.

use crate::judge::Flagged;
use alfred_store::Store;
use alfred_store::cycle::{CycleState, Phase};
use alfred_store::evaluation::Evaluation;
use alfred_testkit::closed_loop::annotator::Truth;
use alfred_testkit::closed_loop::device::{Device, Told};
use alfred_testkit::closed_loop::scene::{Camera, KeptFrame};
use indicatif::ProgressBar;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How much faster than real time the boards run.
pub(crate) const SPEED: f64 = 10.0;
/// Time between two looks into the database.
const LOOK: Duration = Duration::from_millis(200);
/// Frames by which the truth is ahead of what a device has decided: whatever it tells the host has been there.
const TRUTH_AHEAD_FRAMES: u64 = 600;
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
    pub(crate) held_out: u64,
    /// When the loop must be over, whatever it has reached.
    pub(crate) until: Instant,
    pub(crate) truth: Arc<Truth>,
    /// Set when no more verdicts are wanted.
    pub(crate) is_done: Arc<AtomicBool>,
    pub(crate) bar: ProgressBar,
}

/// What is before the camera, made once more from its seed.
struct Scene {
    camera: Camera,
    frames: Vec<KeptFrame>,
}

impl Scene {
    /// Goes on until there are `count` frames.
    fn go_on(&mut self, count: u64, mut see: impl FnMut(&KeptFrame)) -> Result<(), String> {
        while (self.frames.len() as u64) < count {
            let frame = self.camera.next().ok_or("the scene has ended")?;
            see(&frame);
            self.frames.push(frame);
        }
        Ok(())
    }
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
    /// The board as the device named it at its start.
    pub(crate) board: Value,
    /// The device's last figures.
    pub(crate) stats: Value,
    /// Longest time between two decided frames around a swap, and over the whole run, as they were read here.
    pub(crate) gap_at_swap: Duration,
    pub(crate) segments: u64,
}

impl CameraRun<'_> {
    pub(crate) fn run(self) -> Result<CameraRecord, String> {
        let mut scene = Scene { camera: Camera::new(self.name, self.anomalous_share, self.seed)?, frames: Vec::new() };
        let mut device = Device::start(self.edge, &self.config)?;
        let store = Store::open(&self.database).map_err(|error| error.to_string())?;
        let (mut told, mut closed_at, mut warm_up) = (Vec::new(), Vec::new(), None);
        let (mut held_out_from, mut decided, mut looked) = (None, 0, Instant::now());
        self.bar.set_length(self.slices + 1);
        while held_out_from.is_none_or(|from| decided < from + self.held_out) {
            let line = match device.output.recv_timeout(LOOK) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Err("alfred-edge ended by itself: its errors are above".into()),
            };
            if let Some(frame) = line.1.get("frame") {
                decided = count(&frame["frame"]) + 1;
                scene.go_on(decided + TRUTH_AHEAD_FRAMES, |frame| self.truth.add(self.name, frame))?;
            }
            told.push(line);
            if held_out_from.is_some() || looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            let state = store.cycle_state(self.name).map_err(|error| error.to_string())?;
            while (closed_at.len() as u64) < state.slice {
                closed_at.push(decided);
            }
            self.show(&state, decided, &told);
            if state.phase == Phase::ActiveLearning {
                warm_up.get_or_insert(state.slice);
            }
            let has_learned = warm_up.is_some_and(|warm_up| state.slice >= warm_up + self.slices);
            if has_learned || Instant::now() > self.until {
                self.is_done.store(true, Relaxed);
                if self.is_settled(&store)? || Instant::now() > self.until + PATIENCE / 3 {
                    held_out_from = Some(decided);
                    self.bar.set_message("held-out frames");
                }
            }
        }
        told.extend(device.end(PATIENCE)?);
        let decided = told.iter().filter_map(|(_, line)| line.get("frame")).map(|frame| count(&frame["frame"]) + 1).max().unwrap_or(0);
        scene.go_on(decided, |_| ())?;
        scene.frames.truncate(usize::try_from(decided).unwrap_or(usize::MAX));
        let evaluations = store.evaluations(Some(self.name), 1000).map_err(|error| error.to_string())?;
        self.bar.finish_with_message("done");
        let warm_up_rounds = warm_up.unwrap_or(evaluations.len() as u64);
        let closed = Closed { at: closed_at, warm_up_rounds };
        record(self.name, scene.frames, &told, closed, evaluations, held_out_from.unwrap_or(decided))
    }

    fn show(&self, state: &CycleState, frames: u64, told: &[Told]) {
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
    let board = of("start").next().map(|(_, start)| start["board"].clone()).unwrap_or_default();
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
        board,
        stats,
        gap_at_swap,
        segments,
    })
}
