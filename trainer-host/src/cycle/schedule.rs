//! What is due: requests first, then cameras whose slice is to be closed, the one whose last slice
//! was closed longest ago first. The daemon's thread
//! only looks; the work is done by a process of its own, one at a time, which ends with the daemon.

use crate::cycle::round::is_shipping;
use crate::cycle::settings::CycleSettings;
use crate::error::HostError;
use alfred_store::Store;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// How long a camera whose worker failed is left in peace.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(60);
/// How often a running worker and the order to stop are looked at.
const WATCH: Duration = Duration::from_millis(50);

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The camera.
    pub camera: String,
    /// Why, for the log; `None`: only requests wait.
    pub slice: Option<String>,
}

/// What is due now, the most urgent first.
///
/// # Errors
/// [`HostError::Argument`] when the database fails.
pub fn due(store: &Store, settings: &CycleSettings, now_ms: i64) -> Result<Vec<Due>, HostError> {
    let fault = |error| HostError::argument("the database", error);
    let mut found: Vec<Due> = Vec::new();
    for request in store.waiting_requests().map_err(fault)? {
        if !found.iter().any(|due| due.camera == request.camera) {
            found.push(Due { camera: request.camera, slice: None });
        }
    }
    let mut waiting: Vec<(i64, Due)> = Vec::new();
    for camera in store.cameras().map_err(fault)? {
        if settings.is_off(&camera.name) || found.iter().any(|due| due.camera == camera.name) {
            continue;
        }
        let state = store.cycle_state(&camera.name).map_err(fault)?;
        let new = store.camera_labels(&camera.name).map_err(fault)?.saturating_sub(state.labels_seen);
        let hours = (now_ms - state.changed_ms) as f64 / 3.6e6;
        let why = match () {
            () if new >= settings.labels_min => format!("{new} new verdicts"),
            () if settings.period_hours > 0.0 && state.changed_ms > 0 && hours >= settings.period_hours && new > 0 => {
                format!("{hours:.1} hours")
            }
            () => continue,
        };
        if !is_shipping(store, &camera.name)? {
            waiting.push((state.changed_ms, Due { camera: camera.name, slice: Some(why) }));
        }
    }
    // Or one camera with many verdicts would keep the others waiting.
    waiting.sort_by_key(|(changed_ms, _)| *changed_ms);
    found.extend(waiting.into_iter().map(|(_, due)| due));
    Ok(found)
}

/// The daemon's side: looks, starts workers, and waits for them.
pub struct Scheduler {
    settings: CycleSettings,
    database: PathBuf,
    /// The daemon's settings, which a worker reads for itself.
    config: PathBuf,
    program: PathBuf,
    resting: BTreeMap<String, Instant>,
}

impl Scheduler {
    /// For a daemon with these settings.
    ///
    /// # Errors
    /// [`HostError`] when source weights or key cannot be used, or this program does not find itself.
    pub fn new(settings: CycleSettings, database: &Path, config: &Path) -> Result<Self, HostError> {
        // Judged now: not when the first slice is due, weeks later.
        crate::cycle::round::Tools::read(settings.clone())?;
        let program = std::env::current_exe().map_err(|error| HostError::argument("this program", error))?;
        Ok(Self { settings, database: database.to_owned(), config: config.to_owned(), program, resting: BTreeMap::new() })
    }

    /// Looks until `stop`. A worker that runs then is ended; what it did not finish is done anew after the next start.
    pub fn run(mut self, stop: &AtomicBool) {
        let mut is_faulty = false;
        let mut looked: Option<Instant> = None;
        while !stop.load(Relaxed) {
            thread::sleep(WATCH);
            if looked.is_some_and(|looked| looked.elapsed() < Duration::from_millis(self.settings.look_ms)) {
                continue;
            }
            looked = Some(Instant::now());
            let found = Store::open(&self.database)
                .map_err(|error| HostError::argument("the database", error))
                .and_then(|store| due(&store, &self.settings, crate::cycle::command::now_ms()));
            match found {
                Ok(found) => {
                    is_faulty = false;
                    self.work(&found, stop);
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_faulty, true) {
                        eprintln!("cycle: {error}; looking again");
                    }
                }
            }
        }
    }

    fn work(&mut self, found: &[Due], stop: &AtomicBool) {
        self.resting.retain(|_, since| since.elapsed() < REST_AFTER_FAILURE);
        let Some(due) = found.iter().find(|due| !self.resting.contains_key(&due.camera)) else { return };
        match self.start(due) {
            Err(error) => {
                eprintln!("cycle: {}: the worker cannot be started: {error}", due.camera);
                self.resting.insert(due.camera.clone(), Instant::now());
            }
            Ok(mut worker) => {
                if !await_end(&mut worker, stop) {
                    eprintln!("cycle: {}: the worker failed; trying again in {} s", due.camera, REST_AFTER_FAILURE.as_secs());
                    self.resting.insert(due.camera.clone(), Instant::now());
                }
            }
        }
    }

    fn start(&self, due: &Due) -> std::io::Result<Child> {
        let run = |mut command: Command| {
            command.arg("cycle").arg("--config").arg(&self.config).arg("--camera").arg(&due.camera);
            command.arg("--daemon").arg(std::process::id().to_string());
            if let Some(why) = &due.slice {
                command.arg("--close").arg(why);
            }
            // The worker's own standard output would mix with the daemon's.
            command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()
        };
        if self.settings.niceness == 0 {
            return run(Command::new(&self.program));
        }
        let mut nice = Command::new("nice");
        nice.args(["-n", &self.settings.niceness.to_string()]).arg(&self.program);
        // Without `nice` the work is done all the same.
        run(nice).or_else(|_| run(Command::new(&self.program)))
    }
}

/// Whether the worker ended well; when the daemon stops it is ended, which is no failure.
fn await_end(worker: &mut Child, stop: &AtomicBool) -> bool {
    loop {
        match worker.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if stop.load(Relaxed) => {
                let _ = worker.kill();
                let _ = worker.wait();
                return true;
            }
            Ok(None) => thread::sleep(WATCH),
            Err(_) => return false,
        }
    }
}
