//! One camera of the demo: its people, its `alfred-edge` process, and what came of them.

use alfred_core::pipeline::{FrameDecision, Pipeline, Sink};
use alfred_models::tract_engine::Budget;
use alfred_runtime::config::{Config, LaneName};
use alfred_runtime::model_file;
use alfred_runtime::replay::HeapMemory;
use alfred_synth::camera::CameraSpec;
use alfred_synth::director::Events;
use alfred_synth::scene::{Scene, SceneFrame};
use alfred_trainer_host::metric::confusion::Confusion;
use alfred_trainer_host::metric::eer::equal_error_rate_of;
use alfred_wire::pose_message::{MESSAGE_BYTES_MAX, encode};
use indicatif::ProgressBar;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Share of anomalous time: balanced as the warm-up phase's validation set, since a demo is short. A real camera is below 1 %.
const ANOMALOUS_SHARE: f64 = 0.4;
/// Frames of the warm-up phase, labelled.
const WARM_UP_FRAMES: usize = 18_000;
/// How much faster than real time frames are fed.
const SPEED: f64 = 10.0;
const PATIENCE: Duration = Duration::from_secs(30);

/// What one camera needs.
pub(crate) struct CameraRun<'d> {
    pub(crate) name: &'d str,
    pub(crate) edge: &'d Path,
    pub(crate) folder: &'d Path,
    pub(crate) weights: &'d Path,
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    pub(crate) bar: ProgressBar,
}

/// What came of one camera.
pub(crate) struct CameraReport {
    pub(crate) name: String,
    pub(crate) frames: u64,
    pub(crate) frames_dropped: u64,
    pub(crate) windows: u64,
    pub(crate) events: u64,
    pub(crate) segments: u64,
    pub(crate) segments_lost: u64,
    pub(crate) allocations: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) latency_p50_us: f64,
    pub(crate) latency_p99_us: f64,
    /// With the threshold that came with the weights.
    pub(crate) source: Confusion,
    /// With the camera's own EER threshold.
    pub(crate) camera: Confusion,
}

impl CameraRun<'_> {
    pub(crate) fn run(self) -> Result<CameraReport, String> {
        let camera = CameraSpec::named(self.name).ok_or_else(|| format!("there is no camera {}", self.name))?;
        let mut scene = Scene::new(&camera, Events::Share(ANOMALOUS_SHARE), self.seed);
        self.bar.set_length(WARM_UP_FRAMES as u64);
        self.bar.set_message("warm-up phase");
        let thresholds = self.warm_up(&mut scene)?;
        let frames = (self.seconds * camera.rate * SPEED) as usize;
        self.bar.set_length(frames as u64);
        self.bar.set_position(0);
        self.bar.set_message(format!("live, threshold {:.3}", thresholds.camera));
        let report = self.live(&mut scene, frames, camera.rate, thresholds);
        self.bar.finish_with_message("done");
        report
    }

    fn config_text(&self, socket: &Path, rate: f64, threshold: f64) -> String {
        format!(
            "camera = {:?}\n[model]\nfile = {:?}\n[input]\nsource = \"socket\"\nsocket = {:?}\nframes_per_second = {rate:.1}\n\
             [decision]\nthreshold = {threshold:.6}\n[output]\nframes = true\nstats_period_s = 0\n",
            self.name,
            self.weights.display().to_string(),
            socket.display().to_string(),
        )
    }

    /// Labelled frames through the device's own data path give the camera's EER threshold on smoothed frame scores.
    fn warm_up(&self, scene: &mut Scene) -> Result<Thresholds, String> {
        struct Smoothed(Vec<Option<f64>>);
        impl Sink for Smoothed {
            fn frame(&mut self, decision: &FrameDecision) {
                self.0.push(decision.smoothed.map(|score| f64::from(score.value())));
            }
        }
        let config = Config::parse(&self.config_text(Path::new("unused"), 30.0, 0.0))?;
        let mut model = model_file::load(self.weights, LaneName::Fast, Budget::Unbounded).map_err(|error| error.to_string())?;
        let settings = config.pipeline(model.window_frames(), model.scale, None)?;
        let (mut memory, mut smoothed, mut truth) = (HeapMemory::default(), Smoothed(Vec::new()), Vec::new());
        let mut pipeline = Pipeline::new(settings, model.window_frames(), memory.lend()).map_err(|error| error.to_string())?;
        let source = model.threshold.ok_or("the weights have no threshold")?.value();
        for frame in scene.by_ref().take(WARM_UP_FRAMES) {
            pipeline.step(&frame.poses, model.scorer(), &mut smoothed);
            truth.push(frame.anomalous);
            self.bar.inc(1);
        }
        pipeline.finish(&mut smoothed);
        let samples = smoothed.0.iter().zip(&truth).filter_map(|(score, anomalous)| score.map(|score| (score, *anomalous)));
        let camera = equal_error_rate_of(samples).map_err(|fault| format!("warm-up phase: {fault}, or use another --seed"))?.threshold;
        Ok(Thresholds { source: f64::from(source), camera })
    }

    fn live(&self, scene: &mut Scene, frames: usize, rate: f64, thresholds: Thresholds) -> Result<CameraReport, String> {
        let socket_path = self.folder.join(format!("{}.sock", self.name));
        let config = self.folder.join(format!("{}.toml", self.name));
        std::fs::write(&config, self.config_text(&socket_path, rate, thresholds.camera)).map_err(|error| error.to_string())?;
        let mut command = Command::new(self.edge);
        command.arg("run").arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut edge = EdgeProcess(command.spawn().map_err(|error| format!("alfred-edge: {error}"))?);
        let stdout = edge.0.stdout.take().ok_or("alfred-edge has no output")?;
        let reader = std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()).collect::<Vec<Value>>()
        });
        let truth = self.feed(scene, frames, rate, &connected(&socket_path)?)?;
        // What is in the socket is read before the signal is: a moment is enough for that.
        std::thread::sleep(Duration::from_millis(300));
        edge.end()?;
        let messages = reader.join().map_err(|_| "the reader panicked")?;
        report(self.name, &messages, &truth, thresholds.source)
    }

    /// Sends frames at [`SPEED`] times the camera's rate; returns the truth by frame number.
    fn feed(&self, scene: &mut Scene, frames: usize, rate: f64, socket: &OwnedFd) -> Result<Vec<(u64, bool)>, String> {
        let mut message = [0; MESSAGE_BYTES_MAX];
        let mut truth = Vec::with_capacity(frames);
        let started = Instant::now();
        for (number, SceneFrame { mut poses, anomalous, .. }) in scene.by_ref().take(frames).enumerate() {
            // Stamped by the device on arrival.
            poses.captured.0 = 0;
            let length = encode(&poses, &mut message).ok_or("a frame is too large")?;
            send(socket.as_raw_fd(), &message[..length], MsgFlags::empty()).map_err(|error| format!("alfred-edge's socket: {error}"))?;
            truth.push((poses.frame.0, anomalous));
            self.bar.inc(1);
            let due = Duration::from_secs_f64((number + 1) as f64 / (rate * SPEED));
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
        Ok(truth)
    }
}

#[derive(Clone, Copy)]
struct Thresholds {
    source: f64,
    camera: f64,
}

/// Ends with its owner, whatever happens.
struct EdgeProcess(Child);

impl EdgeProcess {
    fn end(&mut self) -> Result<(), String> {
        let pid = i32::try_from(self.0.id()).map_err(|error| error.to_string())?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|error| error.to_string())?;
        let status = self.0.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("alfred-edge ended with {status}")) }
    }
}

impl Drop for EdgeProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connected(path: &Path) -> Result<OwnedFd, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let client = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).map_err(|error| error.to_string())?;
        let address = UnixAddr::new(path).map_err(|error| error.to_string())?;
        match connect(client.as_raw_fd(), &address) {
            Ok(()) => return Ok(client),
            Err(error) if Instant::now() > end => return Err(format!("{}: {error}: alfred-edge did not start", path.display())),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Compares what the process wrote with the truth.
fn report(name: &str, messages: &[Value], truth: &[(u64, bool)], source_threshold: f64) -> Result<CameraReport, String> {
    let of = |kind: &'static str| messages.iter().filter_map(move |message| message.get(kind));
    let (mut source, mut camera) = (Confusion::default(), Confusion::default());
    let truth: std::collections::BTreeMap<u64, bool> = truth.iter().copied().collect();
    for frame in of("frame") {
        let number = frame["frame"].as_u64().ok_or("a frame without a number")?;
        let Some(&anomalous) = truth.get(&number) else { continue };
        let smoothed = frame["smoothed"].as_f64();
        source.add(anomalous, smoothed.is_some_and(|score| score >= source_threshold));
        camera.add(anomalous, frame["anomalous"].as_bool().unwrap_or(false));
    }
    let stats = of("stats").next_back().ok_or("alfred-edge wrote no health figures")?;
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let counters = &stats["counters"];
    let scored = count(&counters["frames"]);
    Ok(CameraReport {
        name: name.into(),
        frames: scored,
        frames_dropped: (truth.len() as u64).saturating_sub(scored),
        windows: count(&counters["windows_scored"]),
        events: count(&counters["events"]),
        segments: of("segment").count() as u64,
        segments_lost: count(&stats["segments_lost"]),
        allocations: count(&stats["allocations_since_start"]),
        resident_bytes: count(&stats["resident_bytes"]),
        latency_p50_us: stats["frame_to_decision"]["p50_us"].as_f64().unwrap_or(0.0),
        latency_p99_us: stats["frame_to_decision"]["p99_us"].as_f64().unwrap_or(0.0),
        source,
        camera,
    })
}
