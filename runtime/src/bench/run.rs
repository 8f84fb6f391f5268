//! Sets the live path, the feeder, the observer and the waiter up, lets them run, and gathers what they found.

use super::feeder::{Feeder, Marks};
use super::machine;
use super::observer::{Observations, Observer};
use super::report::{Report, Setting};
use super::stress;
use super::timeline::Timeline;
use crate::config::Config;
use crate::error::Error;
use crate::live::care::{Care, Surroundings};
use crate::live::health::BoardHealth;
use crate::live::latency::Latency;
use crate::live::real_time::{RealTimeConfig, Role, enter};
use crate::live::slot_scorer::Decider;
use crate::live::socket_source::SocketSource;
use crate::live::{self, Deciding, LiveSettings, WhenFull};
use crate::model_file::LoadedModel;
use crate::replay::HeapMemory;
use alfred_board::generic_linux::MonotonicClock;
use alfred_core::limits::PERSONS_MAX;
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{Pipeline, PipelineConfig, Sink, WindowScore};
use alfred_core::pose::PoseFrame;
use alfred_core::scorer::Scorer;
use alfred_core::units::{FrameIndex, MonotonicNs, Threshold};
use alfred_synth::crowd::Crowd;
use std::any::Any;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Frames over which a threshold is looked for when the model has none: events shall come and go.
const TRIAL_FRAMES: u64 = 400;
/// One window in so many is above that threshold; after smoothing fewer are.
const ANOMALOUS_SHARE: usize = 5;
/// Decisions that came at all came within so many frames.
const SLACK_FRAMES: u64 = 10;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BenchSettings {
    /// People in every frame, each scored in every frame: 1 to 64.
    pub persons: usize,
    /// Frames per second, 1 to 240.
    pub frames_per_second: u32,
    /// Frames before the measured ones.
    pub warm_up_frames: u64,
    /// Measured frames.
    pub frames: u64,
    /// Whether every other core is kept busy.
    pub stress: bool,
    /// Whether the threads run as under the packaged configuration, and feeder and waiter beside them as ingest does.
    pub real_time: bool,
}

/// Measures a model. The socket is made in `folder`.
///
/// # Errors
/// Settings outside their ranges; a live path that failed.
pub fn run(settings: BenchSettings, mut model: LoadedModel, folder: &Path) -> Result<Report, Error> {
    if !(1..=PERSONS_MAX).contains(&settings.persons) || !(1..=240).contains(&settings.frames_per_second) || settings.frames == 0 {
        return Err(Error::input("bench", format!("1 to {PERSONS_MAX} persons, 1 to 240 frames per second and some frames are needed")));
    }
    let crowd = Crowd::record();
    let config = Config::parse("[model]\nfile = \"unused\"\n").map_err(|what| Error::input("defaults", what))?;
    let invalid = |what| Error::input("configuration", what);
    let threshold = match model.threshold {
        Some(threshold) => threshold,
        None => rare_threshold(model.scorer(), &crowd, settings.persons, &config).map_err(invalid)?,
    };
    let mut pipeline = config.pipeline(model.window_frames(), model.scale, Some(threshold)).map_err(invalid)?;
    pipeline.window = pipeline.window.with_score_frame(model.score_frame());
    let delay_frames = (pipeline.window.centre_lag_frames() + pipeline.smoothing.ahead_frames()) as u64;
    let period_ns = 1_000_000_000 / u64::from(settings.frames_per_second);
    let live = live_settings(&model, pipeline, period_ns);
    let frames = usize::try_from(settings.frames).map_err(|_| Error::input("bench", "too many frames"))?;
    let timeline = Timeline::new(settings.warm_up_frames, frames, period_ns);
    let about = Setting {
        settings,
        model: model.name.clone(),
        window_frames: model.window_frames(),
        deadline_us: live.deadline_us_max,
        stress_threads: if settings.stress { stress::threads() } else { 0 },
    };
    let feeder = Feeder {
        crowd: &crowd,
        persons: settings.persons,
        timeline: &timeline,
        warm_up: settings.warm_up_frames,
        measured: settings.frames,
        after: delay_frames + SLACK_FRAMES,
    };
    let socket = folder.join("poses.sock");
    let source = SocketSource::listen(&socket, &[])?;
    let (seen, mut lateness) = (Arc::new(Mutex::new(Observations::new())), Latency::new().ok_or_else(no_histogram)?);
    let observer = Observer::new(&timeline, delay_frames, Arc::clone(&seen));
    let around = Around { stress_threads: about.stress_threads, real_time: Arc::new(real_time(settings.real_time)) };
    let marks = measure(live, model, source, observer, &feeder, &socket, &around, &mut lateness)?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    Report::new(about, &timeline, &marks, &seen, &lateness)
}

/// What is asked of the machine, and what burdens it.
struct Around {
    stress_threads: usize,
    real_time: Arc<RealTimeConfig>,
}

/// What `board/systemd/edge.toml` asks for, or nothing.
fn real_time(is_wanted: bool) -> RealTimeConfig {
    if !is_wanted {
        return RealTimeConfig::default();
    }
    RealTimeConfig { lock_memory: true, touch_stacks: true, priority: 40, timer_slack_ns: 1_000, ..RealTimeConfig::default() }
}

fn no_histogram() -> Error {
    Error::system("latency", "cannot make a histogram")
}

/// As under `run` with a socket and everything written.
fn live_settings(model: &LoadedModel, pipeline: PipelineConfig, period_ns: u64) -> LiveSettings {
    LiveSettings {
        camera: "bench".into(),
        model: model.name.clone(),
        pipeline,
        when_full: WhenFull::Shed,
        deadline_us_max: period_ns / 1_000,
        writes_frames: true,
        writes_segments: true,
        stats_period_s: 1,
        sampling: None,
        scoring_stack_bytes: model.stack_bytes(),
    }
}

/// Everything at once, until the feeder has sent its last frame.
#[expect(clippy::too_many_arguments, reason = "one call starts what was made in separate places")]
fn measure(
    settings: LiveSettings,
    model: LoadedModel,
    source: SocketSource,
    observer: Observer<'_>,
    feeder: &Feeder<'_>,
    socket: &Path,
    around: &Around,
    lateness: &mut Latency,
) -> Result<Marks, Error> {
    let (stop_reader, stop_writer) = nix::unistd::pipe().map_err(|error| Error::system("pipe", error))?;
    let stop = AtomicBool::new(false);
    let scorer = model.into_scorer();
    let deciding = Deciding { live: Decider { scorer, rule: settings.pipeline.decision, revision: 0 }, reserve: None, updates: None };
    let health = Arc::new(BoardHealth::default());
    let care = Care { real_time: Arc::clone(&around.real_time), health: Arc::clone(&health), ..Care::default() };
    let surroundings = Surroundings { clock: Arc::new(MonotonicClock), feed: None, care };
    let mut walked: Vec<Vec<u64>> = (0..around.stress_threads).map(|_| stress::memory()).collect();
    thread::scope(|scope| {
        for memory in &mut walked {
            scope.spawn(|| stress::run(memory, &stop));
        }
        let waiter = scope.spawn(|| {
            enter(Role::Ingest, 0, &around.real_time, &health);
            machine::wait_and_note(feeder.timeline, &stop, lateness)
        });
        let live = scope.spawn(|| live::run_on_board(settings, deciding, source, Some(stop_reader.as_fd()), observer, surroundings));
        let marks = scope.spawn(|| {
            // The camera's side of the socket keeps up with ours.
            enter(Role::Ingest, 0, &around.real_time, &health);
            feeder.run(socket)
        });
        let marks = marks.join().unwrap_or_else(panicked);
        drop(stop_writer);
        stop.store(true, Relaxed);
        // The live path's own fault explains the feeder's.
        live.join().unwrap_or_else(panicked)?;
        waiter.join().unwrap_or_else(panicked)?;
        marks
    })
}

fn panicked<T>(_: Box<dyn Any + Send>) -> Result<T, Error> {
    Err(Error::system("bench", "a thread panicked: please report this"))
}

/// The score that few windows of this crowd exceed.
fn rare_threshold(scorer: &mut dyn Scorer, crowd: &Crowd, persons: usize, config: &Config) -> Result<Threshold, String> {
    #[derive(Default)]
    struct Scores(Vec<f32>);
    impl Sink for Scores {
        fn window(&mut self, window: &WindowScore) {
            self.0.push(window.score.value());
        }
    }
    let (mut scores, mut memory) = (Scores::default(), HeapMemory::default());
    let window_frames = scorer.window_frames();
    let pipeline = config.pipeline(window_frames, PixelScale::SQUARE, None)?;
    let mut pipeline = Pipeline::new(pipeline, window_frames, memory.lend()).map_err(|error| error.to_string())?;
    let mut frame = Box::new(PoseFrame::new(FrameIndex(0), MonotonicNs(0)));
    for number in 0..TRIAL_FRAMES {
        crowd.write(persons, number, &mut frame);
        pipeline.step(&frame, scorer, &mut scores);
    }
    scores.0.sort_by(f32::total_cmp);
    let place = scores.0.len().saturating_sub(1 + scores.0.len() / ANOMALOUS_SHARE);
    let value = scores.0.get(place).copied().ok_or("the model scores none of the synthetic people")?;
    Threshold::new(value).map_err(|error| error.to_string())
}
