//! `alfred-edge` with a link and slots on the simulated board, whose camera waits when the device is busy, so that no frame is lost unless
//! its faults say so.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines of a device that wait for whoever looks at them, a quarter of an hour of frames; with more of them the device itself waits.
const TOLD_MAX: usize = 1 << 16;

/// What a device is set up with.
#[derive(Clone, Debug)]
pub struct DeviceSettings<'d> {
    /// Camera and device.
    pub name: &'d str,
    /// Folder of its enrolment; configuration, journal and slots lie there, too.
    pub folder: &'d Path,
    /// Port of the host on this machine.
    pub port: u16,
    /// Weight file.
    pub weights: &'d Path,
    /// The host's public key.
    pub key: &'d str,
    /// The simulated board.
    pub board: BoardPlan<'d>,
    /// Windows in shadow, and on trial.
    pub trial: (u64, u64),
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Bytes of normal samples per hour of the board's time.
    pub sample_bytes_per_hour: u32,
}

/// The simulated board that a device runs on.
#[derive(Clone, Copy, Debug)]
pub struct BoardPlan<'d> {
    /// Of the people and of the faults.
    pub seed: u64,
    /// Share of anomalous time.
    pub event_share: f64,
    /// How fast its time goes.
    pub speed: f64,
    /// Frames of the camera, which is silent afterwards.
    pub frames: u64,
    /// Further lines of `[board.sim]`: what goes wrong.
    pub faults: &'d str,
}

/// The camera's frames per second.
pub const RATE: f64 = 30.0;

/// Writes a device's configuration; returns its path.
///
/// # Errors
/// The system's, in one line.
pub fn write_config(settings: &DeviceSettings<'_>) -> Result<PathBuf, String> {
    let DeviceSettings { name, folder, port, weights, key, board, trial, journal_bytes, sample_bytes_per_hour } = settings;
    let path = folder.join("edge.toml");
    // Cameras of a demo are half full of anomalies, and their first bundle changes nearly every decision: the bounds are wide.
    let text = format!(
        "camera = {name:?}\n[model]\nfile = {weights:?}\n[input]\nsource = \"board\"\nframes_per_second = {RATE:.1}\n\
         [output]\nframes = true\nsegments = true\nstats_period_s = 10\n\
         [link]\nhost = \"127.0.0.1:{port}\"\ndevice = {name:?}\nauthority = \"authority.crt\"\ncertificate = \"device.crt\"\nkey = \"device.key\"\n\
         journal = \"journal.alfred\"\njournal_bytes = {journal_bytes}\nspool = \"spool\"\n\
         [samples]\nbytes_per_hour = {sample_bytes_per_hour}\n\
         [bundle]\nkeys = [{key:?}]\ninbox = \"inbox\"\nslots = \"slots.alfred\"\nshadow_windows = {}\ntrial_windows = {}\n\
         disagreement_max = 0.95\nflag_rate_max = 0.9\npoll_ms = 50\nstarts_max = 250\n\
         [board]\nname = \"sim\"\n[board.sim]\nseed = {}\ncamera = {name:?}\nevent_share = {}\nspeed = {:.3}\nframes = {}\nstays = true\n{}",
        trial.0,
        trial.1,
        board.seed,
        board.event_share,
        board.speed,
        board.frames,
        board.faults,
        weights = weights.display().to_string(),
    );
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// A line of the device's output, and when it was read.
pub type Told = (Instant, Value);

/// A running device; ends with its owner.
#[derive(Debug)]
pub struct Device {
    child: Child,
    /// What it says.
    pub output: Receiver<Told>,
    reader: Option<JoinHandle<()>>,
}

impl Device {
    /// Starts it.
    ///
    /// # Errors
    /// The system's, in one line.
    pub fn start(program: &Path, config: &Path) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("alfred-edge: {error}"))?;
        let stdout = child.stdout.take().ok_or("alfred-edge has no output")?;
        let (send, output) = sync_channel(TOLD_MAX);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Skeletons take much room, and nobody here looks at them.
                if line.starts_with("{\"segment\"") {
                    continue;
                }
                let Ok(value) = serde_json::from_str(&line) else { continue };
                if send.send((Instant::now(), value)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, output, reader: Some(reader) })
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, as a service manager does, and waits until it has; returns the rest of what it says.
    ///
    /// # Errors
    /// That it ended badly, or did not end in time.
    pub fn end(&mut self, patience: Duration) -> Result<Vec<Told>, String> {
        let process = i32::try_from(self.child.id()).map_err(|error| error.to_string())?;
        kill(Pid::from_raw(process), Signal::SIGTERM).map_err(|error| format!("alfred-edge cannot be told to end: {error}"))?;
        let begun = Instant::now();
        let mut told = Vec::new();
        let status = loop {
            told.extend(self.output.try_iter());
            match self.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if begun.elapsed() > patience => {
                    self.kill();
                    return Err(format!("alfred-edge did not end within {} s", patience.as_secs()));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        told.extend(self.output.try_iter());
        if status.success() { Ok(told) } else { Err(format!("alfred-edge ended with {status}")) }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill();
    }
}
