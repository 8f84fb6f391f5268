//! `cargo demo`: the closed loop. Three real `alfred-edge` processes on simulated boards, each with a made-up camera, a real `alfred-host`,
//! mutual TLS between them, and a reviewer who speaks the HTTP API and knows the truth.
//!
//! Per camera: warm-up phase, then at least three slices of active learning, each with fine-tuning, a threshold from the validation set, and,
//! if the candidate may go out, a signed bundle that the device takes while frames flow. At the end the device's own decisions on frames
//! that nothing has learned from are compared with the source pair's on the same frames.

mod camera_run;
mod judge;
mod report;

use alfred_store::Store;
use alfred_testkit::closed_loop::annotator::{Annotator, Truth};
use alfred_testkit::closed_loop::daemon::{Daemon, HostFolder, build_programs};
use alfred_testkit::closed_loop::device::{BoardPlan, Device, DeviceSettings, RATE, write_config};
use alfred_testkit::closed_loop::session::Session;
use camera_run::{CameraRecord, CameraRun, SPEED};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use report::{HeldOut, Row};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Cameras, how each learns, and in which order its events are judged. Before `dojo` fighting is normal.
const CAMERAS: [(&str, &str, &str); 3] =
    [("hall", "verdict_head", "newest"), ("alley", "verdict_head", "newest"), ("dojo", "verdict_head", "newest")];
/// Share of anomalous time: balanced as a validation set, since a demo is short. A real camera is below 1 %.
const ANOMALOUS_SHARE: f64 = 0.4;
/// Slices of active learning.
const SLICES: u64 = 3;
/// Verdicts that close a slice.
const LABELS_PER_SLICE: u64 = 180;
/// When learning ends, whatever was reached.
const LEARNING_MAX: Duration = Duration::from_secs(140);
/// How long the last records may take to the host.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// What goes wrong on the boards unless `--faults` asks for more: it costs no frame and no segment. Frames that come twice, sensors that do not
/// answer, a camera whose clock is set back by a minute, and half a minute of heat in the warm-up phase, on the first rung of the ladder.
const MILD_FAULTS: &str = "duplicate = 0.01\nsensor_fault = 0.05\nclock_step_frame = 3000\nclock_step_ms = -60000\nwatchdog_ms = 20000\n\
                           temperature = [[0, 45000], [10, 45000], [20, 82000], [50, 82000], [60, 45000]]\n";
/// What `--faults` adds: frames that are lost or come too late, stalls of the camera, storage that refuses a write now and then, and all rungs
/// of the ladder. Each of them is counted where it costs something.
const HARD_FAULTS: &str = "duplicate = 0.01\nsensor_fault = 0.05\nclock_step_frame = 3000\nclock_step_ms = -60000\nwatchdog_ms = 20000\n\
                           drop = 0.002\nreorder = 0.002\nstall_every_frames = 2000\nstall_ms = 1500\nstorage_fault_every = 500\n\
                           temperature = [[0, 45000], [100, 45000], [130, 93000], [160, 93000], [190, 45000]]\n";
/// More frames than a demo lasts.
const FRAMES_MAX: u64 = 1 << 40;

struct Arguments {
    seconds: f64,
    seed: u64,
    keep: bool,
    has_hard_faults: bool,
}

impl Arguments {
    const fn faults(&self) -> &'static str {
        if self.has_hard_faults { HARD_FAULTS } else { MILD_FAULTS }
    }
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("demo: {what}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Arguments, String> {
    const USAGE: &str = "cargo demo [--seed N] [--seconds S] [--faults] [--keep]";
    let mut parsed = Arguments { seconds: 15.0, seed: 1, keep: false, has_hard_faults: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--keep" {
            parsed.keep = true;
            continue;
        }
        if word == "--faults" {
            parsed.has_hard_faults = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value: {USAGE}"))?;
        match word.as_str() {
            "--seconds" => parsed.seconds = value.parse().map_err(|_| format!("--seconds {value}: a number is needed"))?,
            "--seed" => parsed.seed = value.parse().map_err(|_| format!("--seed {value}: a whole number is needed"))?,
            _ => return Err(format!("{word} is unknown: {USAGE}")),
        }
    }
    if !(1.0..=600.0).contains(&parsed.seconds) {
        return Err("--seconds (of held-out frames at the end) must lie between 1 and 600".into());
    }
    Ok(parsed)
}

/// Weights that we trained ourselves, on made-up people.
fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/stg_nf_synthetic/weights.safetensors")
}

/// A host that is set up, and its devices' configurations.
struct Site {
    host: HostFolder,
    daemon: Daemon,
    key: String,
    /// Folder of each device.
    devices: Vec<PathBuf>,
    tokens: [String; 2],
}

impl Site {
    /// Writes the configuration of the device at `place` of [`CAMERAS`], on this board.
    fn configure(&self, place: usize, board: BoardPlan<'_>) -> Result<PathBuf, String> {
        write_config(&DeviceSettings {
            name: CAMERAS[place].0,
            folder: &self.devices[place],
            port: self.host.port,
            weights: &weights(),
            key: &self.key,
            board,
            trial: (400, 1000),
            journal_bytes: 64 << 20,
            sample_bytes_per_hour: 40 << 20,
        })
    }
}

fn set_up(programs: &Path, folder: &Path, seed: u64) -> Result<Site, String> {
    let host = HostFolder::new(&programs.join("alfred-host"), folder)?;
    let key = host.make_key()?;
    let devices = CAMERAS.iter().map(|(name, _, _)| host.enrol(name)).collect::<Result<_, _>>()?;
    let tokens = [host.add_user("annotator", "reviewer")?, host.add_user("you", "operator")?];
    let mut cycle = format!(
        "[cycle]\nsource_weights = {:?}\nkey = \"bundle.key\"\nlabels_min = {LABELS_PER_SLICE}\nperiod_hours = 0.0\nlook_ms = 200\nniceness = 0\nseed = {seed}\n",
        weights().display().to_string()
    );
    for (name, methodology, _) in CAMERAS {
        cycle += &format!("[cycle.cameras.{name}]\nmethodology = {methodology:?}\n");
    }
    let daemon = host.serve(&cycle)?;
    Ok(Site { host, daemon, key, devices, tokens })
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let programs = build_programs(&["alfred-edge", "alfred-host"])?;
    let started = Instant::now();
    let folder = std::env::temp_dir().join(format!("alfred-demo-{}", std::process::id()));
    eprintln!("seed {} (repeat with: cargo demo --seed {0} --seconds {1})", arguments.seed, arguments.seconds);
    eprintln!(
        "boards: sim, seed {}, {SPEED} times real time; faults: {}",
        arguments.seed,
        arguments.faults().trim_end().replace('\n', ", ")
    );
    let site = set_up(&programs, &folder, arguments.seed)?;
    let labels = Arc::new(AtomicU64::new(0));
    let records = learn(&site, &programs, arguments, &labels, started)?;
    drain(&site, &programs)?;
    let store = Store::open(&site.host.database()).map_err(|error| error.to_string())?;
    let (mut rows, mut held_out): (Vec<Row>, Vec<HeldOut>) = (Vec::new(), Vec::new());
    for record in &records {
        let (of_camera, last) = report::judge(record, &store, &weights())?;
        rows.extend(of_camera);
        held_out.push(last);
    }
    report::print_table(&rows, &held_out, &records);
    let totals = totals(&store, &records, &held_out, labels.load(Relaxed), arguments.seed, started)?;
    let page = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.parent()?.join("demo.html")));
    let page = page.unwrap_or_else(|| folder.join("demo.html"));
    report::write_page(&page, arguments.seed, &rows, &held_out, &totals.to_string())?;
    println!("report: {}", page.display());
    if arguments.keep {
        println!(
            "the daemon runs on (process {}): http://{}/ , reviewer you, token {}",
            site.daemon.id(),
            site.daemon.http,
            site.tokens[1]
        );
        println!("its files: {}; end it with: kill {}", folder.display(), site.daemon.id());
        site.daemon.leave();
    } else {
        drop(site);
        let _ = std::fs::remove_dir_all(&folder);
    }
    println!("{totals}");
    Ok(())
}

/// The cameras run, a reviewer judges, the daemon learns.
fn learn(
    site: &Site,
    programs: &Path,
    arguments: &Arguments,
    labels: &Arc<AtomicU64>,
    started: Instant,
) -> Result<Vec<CameraRecord>, String> {
    let truth = Arc::new(Truth::default());
    let bars = MultiProgress::new();
    let style = ProgressStyle::with_template("{prefix:6} {bar:20} {msg}").map_err(|error| error.to_string())?;
    let done: Vec<Arc<AtomicBool>> = CAMERAS.iter().map(|_| Arc::default()).collect();
    let session = Session::log_in(&site.daemon.http, "annotator", &site.tokens[0])?;
    let cameras = CAMERAS.iter().zip(&done).map(|((name, _, strategy), done)| ((*name).to_owned(), *strategy, Arc::clone(done)));
    let annotator = Annotator { session, truth: Arc::clone(&truth), cameras: cameras.collect(), labels: Arc::clone(labels) };
    let (stop, edge) = (AtomicBool::new(false), programs.join("alfred-edge"));
    let board =
        BoardPlan { seed: arguments.seed, event_share: ANOMALOUS_SHARE, speed: SPEED, frames: FRAMES_MAX, faults: arguments.faults() };
    let configs = (0..CAMERAS.len()).map(|place| site.configure(place, board)).collect::<Result<Vec<_>, _>>()?;
    std::thread::scope(|scope| {
        let annotator = scope.spawn(|| annotator.run(&stop));
        let runs: Vec<_> = CAMERAS
            .iter()
            .enumerate()
            .map(|(place, (name, _, _))| {
                let run = CameraRun {
                    name,
                    edge: &edge,
                    config: configs[place].clone(),
                    database: site.host.database(),
                    seed: arguments.seed,
                    anomalous_share: ANOMALOUS_SHARE,
                    slices: SLICES,
                    held_out: (arguments.seconds * RATE * SPEED) as u64,
                    until: started + LEARNING_MAX,
                    truth: Arc::clone(&truth),
                    is_done: Arc::clone(&done[place]),
                    bar: bars.add(ProgressBar::new(0)).with_style(style.clone()).with_prefix(*name),
                };
                scope.spawn(move || run.run())
            })
            .collect();
        let records: Vec<Result<CameraRecord, String>> =
            runs.into_iter().map(|run| run.join().unwrap_or_else(|_| Err("a camera's thread panicked".into()))).collect();
        stop.store(true, Relaxed);
        annotator.join().unwrap_or_else(|_| Err("the annotator's thread panicked".into()))?;
        records.into_iter().collect()
    })
}

/// What was in the journals when the devices ended reaches the host after their next start.
fn drain(site: &Site, programs: &Path) -> Result<(), String> {
    let store = Store::open(&site.host.database()).map_err(|error| error.to_string())?;
    let mut devices = Vec::new();
    for place in 0..CAMERAS.len() {
        // Nobody is before the camera any more, and time goes as on the wall.
        let board = BoardPlan { seed: 0, event_share: 0.0, speed: 1.0, frames: 0, faults: "" };
        devices.push(Device::start(&programs.join("alfred-edge"), &site.configure(place, board)?)?);
    }
    let begun = Instant::now();
    let boots = store.devices().map_err(|error| error.to_string())?;
    let is_drained = |store: &Store| -> Result<bool, String> {
        let now = store.devices().map_err(|error| error.to_string())?;
        Ok(now.iter().all(|device| {
            let is_new = boots.iter().all(|before| before.name != device.name || before.boot != device.boot);
            is_new && device.health.as_ref().is_some_and(|health| health["journal_records"] == 0 && health["uptime_s"].as_u64() < Some(60))
        }))
    };
    // Two heartbeats: the first of the new life may still be the old one's.
    while !is_drained(&store)? && begun.elapsed() < DRAIN_MAX {
        std::thread::sleep(Duration::from_millis(100));
    }
    for mut device in devices {
        device.end(DRAIN_MAX)?;
    }
    Ok(())
}

fn totals(
    store: &Store,
    records: &[CameraRecord],
    held_out: &[HeldOut],
    labels: u64,
    seed: u64,
    started: Instant,
) -> Result<Value, String> {
    let bundles = store.bundles(None).map_err(|error| error.to_string())?;
    let rounded = |share: Option<f64>| share.map_or(Value::Null, |share| json!((share * 1e4).round() / 100.0));
    let by_camera = |of: fn(&HeldOut) -> Option<f64>| -> Map<String, Value> {
        held_out.iter().map(|one| (one.camera.clone(), rounded(of(one)))).collect()
    };
    let figure = |record: &CameraRecord, path: &str| record.stats.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let (mut dropped, mut lost, mut slices) = (0, 0, Map::new());
    for record in records {
        dropped += (record.frames.len() as u64).saturating_sub(figure(record, "/counters/frames")) + figure(record, "/ingest/frames_shed");
        // What the device cut, less what the host has; the device counts what it had to give up itself.
        let arrived = store.segments_of(&record.name).map_err(|error| error.to_string())?;
        lost += record.segments.saturating_sub(arrived);
        slices.insert(record.name.clone(), json!((record.evaluations.len() as u64).saturating_sub(record.warm_up_rounds)));
    }
    let confirmed = records.iter().flat_map(|record| &record.stages).filter(|(_, stage)| stage == "confirmed").count();
    let gap_ms = records.iter().map(|record| record.gap_at_swap.as_secs_f64() * 1e3).fold(0.0, f64::max);
    Ok(json!({
        "cameras": records.len(),
        "seed": seed,
        "board": records.first().map(|record| &record.board["name"]),
        "slices": slices,
        "ebi_source": by_camera(|one| one.source.ebi()),
        "ebi_adapted": by_camera(|one| one.adapted.ebi()),
        "labels": labels,
        "bundles": bundles.len(),
        "bundles_confirmed": confirmed,
        "bundle_bytes_max": bundles.iter().map(|bundle| bundle.bytes).max(),
        "frames": records.iter().map(|record| record.frames.len()).sum::<usize>(),
        "frames_dropped": dropped,
        "segments": records.iter().map(|record| record.segments).sum::<u64>(),
        "segments_lost": lost,
        "gap_at_swap_ms_max": (gap_ms * 100.0).round() / 100.0,
        "seconds": started.elapsed().as_secs(),
    }))
}
