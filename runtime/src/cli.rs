//! The command line. Results go to stdout, everything else to stderr; exit codes: 0 done, 1 the system failed, 2 bad input.

use crate::bench::command::{self as bench, BenchArguments};
use crate::board_side::{self, BoardArguments, BoardConfig};
use crate::config::{BundleConfig, Config, LaneName, MemoryConfig, ScaleName, Source};
use crate::error::Error;
use crate::live::board_source::BoardSource;
use crate::live::care::Surroundings;
use crate::live::health::BoardHealth;
use crate::live::line_source::LineSource;
use crate::live::link::{self, Desk, Inbox, LinkFeed, LinkSettings, NoSlots};
use crate::live::sampling::Sampling;
use crate::live::slot_scorer::Decider;
use crate::live::socket_source::SocketSource;
use crate::live::update::{UpdateSettings, Updates};
use crate::live::{self, Deciding, LiveSettings, sandbox};
use crate::memory_map::MemoryMap;
use crate::model_file::{self, Budget, LoadedModel};
use crate::replay::{self, ClipResult, Replay, Smoothing};
use crate::self_test;
use crate::tables::{self, Form, WindowForm};
use alfred_board::conformance::{self, Outcome};
use alfred_board::hal::Board;
use alfred_bundle::fingerprint::fingerprint;
use alfred_bundle::slots::SlotSettings;
use alfred_clips::frame_mask::{self, FrameMask};
use alfred_clips::pose_file::{self, Clip};
use alfred_core::pipeline::PipelineConfig;
use alfred_core::units::Threshold;
use alfred_link::config::LinkConfig;
use alfred_link::handle::LinkHandle;
use alfred_models::stg_nf::scorer::Lane;
use alfred_wire::name::Name;
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Scores tracked skeletons, decides, and reports events, in fixed memory.
#[derive(Parser)]
#[command(name = "alfred-edge", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Score pose files offline: one line per frame (or window) on stdout.
    Score(ScoreArguments),
    /// Score live poses: events, segments and health figures as JSON lines on stdout.
    Run(RunArguments),
    /// Print every block of memory that `run` plans for, and the total.
    MemoryMap(MemoryMapArguments),
    /// Check that this build computes on this machine what it should.
    SelfTest(SelfTestArguments),
    /// Measure the whole live path on this machine: latency, deadline misses, allocations, memory.
    Bench(BenchArguments),
}

#[derive(clap::Args)]
struct ScoreArguments {
    /// A .safetensors file with STG-NF weights, or an .onnx file.
    #[arg(long)]
    model: PathBuf,
    /// AlphaPose tracked-person JSON files, one clip each.
    #[arg(long, num_args = 1.., required = true)]
    poses: Vec<PathBuf>,
    /// `paper`: the published look-ahead cascade; `causal`: what the device decides.
    #[arg(long, value_enum, default_value_t = Smoothing::Causal)]
    smoothing: Smoothing,
    /// Anomaly score from which on a frame is anomalous; left out: what the model file says.
    #[arg(long, allow_negative_numbers = true)]
    threshold: Option<f32>,
    /// Form of the frame table.
    #[arg(long, value_enum, default_value_t = Form::Csv)]
    out: Form,
    /// Print scored windows (clip,person,first_frame,score) instead of frames.
    #[arg(long, value_enum)]
    windows: Option<WindowForm>,
    /// Folder of npy frame masks named like the clips: gives clips their length, adds clips without poses, and prints the AUC to stderr.
    #[arg(long)]
    masks: Option<PathBuf>,
    /// `fast` or `exact` (the same bits on every machine).
    #[arg(long, value_enum, default_value_t = LaneName::Fast)]
    lane: LaneName,
    /// What pixels are divided by; left out: what the model file says, else the published constants.
    #[arg(long, value_enum)]
    scale: Option<ScaleName>,
    /// A device's configuration, for its window, smoothing and decision settings; its model and input are not used.
    #[arg(long)]
    config: Option<PathBuf>,
}

#[derive(clap::Args)]
struct RunArguments {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Check the configuration and the model, print the memory map, and end.
    #[arg(long)]
    check_config: bool,
    /// Print the memory map to stderr before the first frame.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    board: BoardArguments,
}

#[derive(clap::Args)]
struct MemoryMapArguments {
    /// The configuration whose model is counted too.
    #[arg(long)]
    config: Option<PathBuf>,
    /// A model to count, without a configuration.
    #[arg(long, conflicts_with = "config")]
    model: Option<PathBuf>,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
    /// As a drop-in of the systemd unit: the `MemoryMax=` that the configured ceiling asks for.
    #[arg(long, conflicts_with = "json")]
    systemd: bool,
}

#[derive(clap::Args)]
struct SelfTestArguments {
    /// A model file to load and check too.
    #[arg(long)]
    model: Option<PathBuf>,
    /// With `--board`: asks every part of the board too; no alarm is given.
    #[command(flatten)]
    board: BoardArguments,
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Score(arguments) => score(&arguments),
        Command::Run(arguments) => run(&arguments),
        Command::MemoryMap(arguments) => memory_map(&arguments),
        Command::SelfTest(arguments) => self_test(&arguments),
        Command::Bench(arguments) => bench::command(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alfred-edge: {error}");
            error.exit_code()
        }
    }
}

fn score(arguments: &ScoreArguments) -> Result<(), Error> {
    let masks = arguments.masks.as_deref().map(frame_mask::read_folder).transpose()?;
    let mut model = model_file::load(&arguments.model, arguments.lane, Budget::Unbounded)?;
    let config = match &arguments.config {
        Some(path) => Config::read(path)?,
        None => Config::parse("[model]\nfile = \"unused\"\n").map_err(|what| Error::input("defaults", what))?,
    };
    let given = arguments.threshold.map(|value| Threshold::new(value).map_err(|error| Error::input("--threshold", error))).transpose()?;
    let mut pipeline = config
        .pipeline(model.window_frames(), model.scale, given.or(model.threshold))
        .map_err(|what| Error::input("configuration", what))?;
    pipeline.window = pipeline.window.with_score_frame(model.score_frame());
    if let Some(scale) = arguments.scale {
        pipeline.scale = scale.divisors();
    }
    let threshold = given.or(pipeline.decision.map(|rule| rule.threshold()));
    let clips = read_clips(&arguments.poses, masks.as_ref())?;
    let invalid = |error| Error::input("configuration", error);
    let name = model.name.clone();
    let mut replay = Replay::new(model.scorer(), pipeline, arguments.smoothing).map_err(invalid)?;
    let progress = progress_bar(clips.len());
    let mut results = Vec::with_capacity(clips.len());
    for clip in &clips {
        let mask = masks.as_ref().and_then(|masks| masks.get(&clip.name));
        results.push(replay.clip(clip, mask).map_err(invalid)?);
        progress.inc(1);
    }
    replay.finish(&mut results, threshold);
    progress.finish_and_clear();
    tell_losses(&results);
    let written = match arguments.windows {
        Some(WindowForm::Csv) => tables::write_windows(&results, io::stdout().lock()),
        None => tables::write_frames(&results, arguments.out, io::stdout().lock()),
    };
    match written {
        // Whoever read the table has seen enough: `score … | head` is no fault.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(|error| Error::system("stdout", error))?,
    }
    if let Some(masks) = &masks {
        tell_auc(&results, masks, arguments.smoothing, &name);
    }
    Ok(())
}

/// Reads every clip, in the order given; then one empty clip for each mask without poses.
fn read_clips(paths: &[PathBuf], masks: Option<&BTreeMap<String, FrameMask>>) -> Result<Vec<Clip>, Error> {
    let mut clips = Vec::with_capacity(paths.len());
    for path in paths {
        let clip = pose_file::read(path)?;
        if clips.iter().any(|other: &Clip| other.name == clip.name) {
            return Err(Error::file(path, format!("a second file for clip {}: clips are told apart by file name", clip.name)));
        }
        if masks.is_some_and(|masks| !masks.contains_key(&clip.name)) {
            return Err(Error::file(path, format!("no mask {}.npy in the folder of --masks: add it, or leave the clip out", clip.name)));
        }
        clips.push(clip);
    }
    for name in masks.iter().flat_map(|masks| masks.keys()) {
        if !clips.iter().any(|clip| clip.name == *name) {
            clips.push(Clip { name: name.clone(), ..Clip::default() });
        }
    }
    Ok(clips)
}

fn progress_bar(clips: usize) -> ProgressBar {
    // indicatif draws on stderr, and only where that is a terminal.
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} clips, {eta} left").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(clips as u64).with_style(style)
}

/// Names, per clip, whatever was dropped or could not be scored.
fn tell_losses(results: &[ClipResult]) {
    for clip in results {
        let counters = &clip.counters;
        let losses = [
            (clip.persons_over_limit, "persons beyond 64 in a frame, dropped"),
            (clip.frames_beyond_mask, "frames with poses beyond the mask's end, dropped"),
            (counters.persons_over_limit + counters.tracks_evicted, "tracks beyond 64 at a time, ended early"),
            (counters.persons_without_keypoints, "persons without a key-point, dropped"),
            (counters.keypoints_not_finite, "key-points that are no numbers, taken as undetected"),
            (counters.windows_degenerate, "windows whose y are all equal, not scored"),
            (counters.scores_not_finite, "windows without a finite score"),
            (counters.scores_engine_fault, "windows on which the engine failed"),
        ];
        for (count, what) in losses.into_iter().filter(|(count, _)| *count > 0) {
            eprintln!("{}: {count} {what}", clip.name);
        }
    }
}

fn tell_auc(results: &[ClipResult], masks: &BTreeMap<String, FrameMask>, smoothing: Smoothing, model: &str) {
    let with_masks = || results.iter().filter_map(|clip| masks.get(&clip.name).map(|mask| (clip, mask)));
    let frames: usize = with_masks().map(|(_, mask)| mask.len()).sum();
    let anomalous = with_masks().flat_map(|(_, mask)| mask).filter(|anomalous| **anomalous).count();
    let smoothing = match smoothing {
        Smoothing::Paper => "paper",
        Smoothing::Causal => "causal",
    };
    match replay::auc(with_masks()) {
        Ok(auc) => eprintln!(
            "AUC-ROC {auc:.8} (anomaly positive, smoothing {smoothing}, {model}; {} clips, {frames} frames, {anomalous} anomalous)",
            results.len()
        ),
        Err(why) => eprintln!("AUC-ROC: none, {why} ({frames} frames)"),
    }
}

fn run(arguments: &RunArguments) -> Result<(), Error> {
    let config = Config::read(&arguments.config)?;
    let place = |what| Error::file(&arguments.config, what);
    let model = model_file::load(&config.model.file, config.model.lane, Budget::Bounded { bytes: config.model.arena_bytes })?;
    let mut pipeline = config.pipeline(model.window_frames(), model.scale, model.threshold).map_err(place)?;
    pipeline.window = pipeline.window.with_score_frame(model.score_frame());
    if pipeline.decision.is_none() {
        return Err(place("no threshold: set decision.threshold, or use a model file whose metadata has one".into()));
    }
    let map = MemoryMap::new(Some(&model)).with_link(config.link.as_ref());
    let map = if config.bundle.is_some() { map.with_updates() } else { map };
    if arguments.verbose || arguments.check_config {
        eprintln!("{map}");
    }
    map.check(config.memory.ceiling_bytes).map_err(|error| place(error.to_string()))?;
    if arguments.check_config {
        println!("{}: valid; model {}, windows of {} frames", arguments.config.display(), model.name, model.window_frames());
        return Ok(());
    }
    // Blocked before any thread starts, so that every thread inherits it and the descriptor gets the signal.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().map_err(|error| Error::system("signals", error))?;
    let stop =
        SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(|error| Error::system("signals", error))?;
    let board = arguments.board.select(&config.board)?;
    start(&config, board.as_ref(), pipeline, model, &stop)
}

fn start(config: &Config, board: &dyn Board, pipeline: PipelineConfig, model: LoadedModel, stop: &SignalFd) -> Result<(), Error> {
    let settings = LiveSettings {
        camera: config.camera.clone(),
        model: model.name.clone(),
        pipeline,
        when_full: config.input.source.into(),
        deadline_us_max: config.input.deadline_us(),
        writes_frames: config.output.frames,
        writes_segments: config.output.segments,
        stats_period_s: config.output.stats_period_s,
        scoring_stack_bytes: model.stack_bytes(),
        sampling: config.link.as_ref().map(|_| Sampling {
            rules: config.samples.rules(),
            seed: RandomState::new().build_hasher().finish(),
            bytes_per_hour: Arc::new(config.samples.bytes_per_hour.into()),
        }),
    };
    let factory = Decider { scorer: model.into_scorer(), rule: settings.pipeline.decision, revision: 0 };
    let deciding = match &config.bundle {
        None => Deciding { live: factory, reserve: None, updates: None },
        Some(bundle) => updated(config, bundle, &settings, factory, board)?,
    };
    let (clock, stop, care) = (board.clock(), Some(stop.as_fd()), board_side::care(config, board));
    let linked = config.link.as_ref().map(|link| linked(config, link, &settings, &deciding, board, &care.health));
    let (handle, feed) = linked.transpose()?.unzip();
    let (writer, surroundings) = (unbuffered_stdout()?, Surroundings { clock, feed, care });
    let outcome = match config.input.source {
        Source::Stdin => {
            let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|error| Error::system("stdin", error))?;
            live::run_on_board(settings, deciding, LineSource::new(stdin), stop, writer, surroundings)
        }
        Source::Socket => {
            let source = SocketSource::listen(&config.input.socket, &config.input.allow_uids)?;
            live::run_on_board(settings, deciding, source, stop, writer, surroundings)
        }
        Source::Board => {
            let what = "the board has no pose source of its own: set it to stdin or socket, or take --board sim";
            let source = board.pose_source().ok_or_else(|| Error::input("input.source", what))?;
            live::run_on_board(settings, deciding, BoardSource(source), stop, writer, surroundings)
        }
    };
    // What was decided last is in the journal before the process ends; the host gets it now or after the next start.
    let ended = handle.map_or(Ok(()), |handle: LinkHandle| handle.stop().map_err(|error| Error::system("link", error)));
    outcome.and(ended)
}

/// Starts the link; bundles that come go to the inbox of the update thread.
fn linked(
    config: &Config,
    link: &LinkConfig,
    settings: &LiveSettings,
    deciding: &Deciding,
    board: &dyn Board,
    health: &Arc<BoardHealth>,
) -> Result<(LinkHandle, LinkFeed), Error> {
    let threshold = deciding.live.rule.map_or(f32::INFINITY, |rule| rule.threshold().value());
    let confirmed_revision = deciding.reserve.as_ref().unwrap_or(&deciding.live).revision;
    let (fingerprint, running_revision) = (fingerprint(&settings.pipeline), deciding.live.revision);
    let sample_bytes_per_hour = settings.sampling.as_ref().map(|sampling| Arc::clone(&sampling.bytes_per_hour));
    let link = LinkSettings {
        config: link,
        board,
        board_health: Arc::clone(health),
        camera: &config.camera,
        fingerprint,
        threshold,
        confirmed_revision,
        running_revision,
        sample_bytes_per_hour,
    };
    match config.bundle.as_ref().zip(deciding.updates.as_ref()) {
        Some((bundle, updates)) => confined(config, &link, Inbox::new(bundle.inbox.clone(), updates.withdrawal()), health),
        None => confined(config, &link, NoSlots, health),
    }
}

/// Starts the link's threads from one that has confined itself, so that they are confined.
fn confined(
    config: &Config,
    link: &LinkSettings<'_>,
    desk: impl Desk + 'static,
    health: &BoardHealth,
) -> Result<(LinkHandle, LinkFeed), Error> {
    if !config.sandbox.confine_link {
        return link::start(link, desk);
    }
    let rules = board_side::confinement(link.config, config.bundle.as_ref().map(|bundle| bundle.inbox.as_path()));
    let ran = sandbox::confined(&rules, || link::start(link, desk));
    let (started, enforcement) = ran.ok_or_else(|| Error::system("link", "its thread could not be started"))?;
    sandbox::report(&enforcement, health);
    started
}

/// Opens the slots: a bundle in them decides instead of the model file.
fn updated(
    config: &Config,
    bundle: &BundleConfig,
    settings: &LiveSettings,
    factory: Decider,
    board: &dyn Board,
) -> Result<Deciding, Error> {
    let invalid = |what: String| Error::input("configuration", what);
    let slots = SlotSettings {
        camera: Name::new(&config.camera).map_err(|error| invalid(format!("camera: {error}")))?,
        fingerprint: fingerprint(&settings.pipeline),
        trusted: bundle.trusted().map_err(invalid)?,
        starts_max: bundle.starts_max,
    };
    let updates = UpdateSettings {
        inbox: bundle.inbox.clone(),
        slots: bundle.slots.clone(),
        rules: bundle.rules(),
        lane: match config.model.lane {
            LaneName::Fast => Lane::Fast,
            LaneName::Exact => Lane::Exact,
        },
        poll: Duration::from_millis(bundle.poll_ms),
    };
    let (updates, start) = Updates::open(updates, slots, factory, board)?;
    Ok(Deciding { live: start.live, reserve: start.reserve, updates: Some(updates) })
}

/// std's stdout buffers by line with a lock of its own; the output thread has its buffer already.
fn unbuffered_stdout() -> Result<impl Write + Send, Error> {
    let stdout: OwnedFd = io::stdout().as_fd().try_clone_to_owned().map_err(|error| Error::system("stdout", error))?;
    Ok(std::fs::File::from(stdout))
}

fn memory_map(arguments: &MemoryMapArguments) -> Result<(), Error> {
    let bounded = |config: Option<&Config>| Budget::Bounded { bytes: config.map_or(4 << 20, |config| config.model.arena_bytes) };
    let model = match (&arguments.config, &arguments.model) {
        (Some(path), _) => {
            let config = Config::read(path)?;
            Some(model_file::load(&config.model.file, config.model.lane, bounded(Some(&config)))?)
        }
        (None, Some(path)) => Some(load_for_map(path, bounded(None))?),
        (None, None) => None,
    };
    let map = MemoryMap::new(model.as_ref());
    if arguments.systemd {
        let config = arguments.config.as_ref().map(|path| Config::read(path)).transpose()?;
        let ceiling = config.map_or_else(|| MemoryConfig::default().ceiling_bytes, |config| config.memory.ceiling_bytes);
        println!("[Service]\nMemoryMax={}", MemoryMap::memory_max_bytes(ceiling));
    } else if arguments.json {
        let json = serde_json::to_string_pretty(&map).map_err(|error| Error::system("stdout", error))?;
        println!("{json}");
    } else {
        println!("{map}");
    }
    Ok(())
}

fn load_for_map(path: &Path, budget: Budget) -> Result<LoadedModel, Error> {
    model_file::load(path, LaneName::Fast, budget)
}

fn self_test(arguments: &SelfTestArguments) -> Result<(), Error> {
    let mut failed = 0;
    for check in self_test::run() {
        match check.outcome {
            Ok(text) => println!("ok      {}: {text}", check.name),
            Err(text) => {
                failed += 1;
                println!("FAILED  {}: {text}", check.name);
            }
        }
    }
    if let Some(path) = &arguments.model {
        let model = model_file::load(path, LaneName::Fast, Budget::Bounded { bytes: 64 << 20 })?;
        println!("ok      model: {} with windows of {} frames", model.name, model.window_frames());
    }
    if arguments.board.board.is_some() {
        failed += ask_board(arguments.board.select(&BoardConfig::default())?.as_ref());
    }
    if failed > 0 {
        return Err(Error::system("self-test", format!("{failed} checks failed: do not let this build decide anything")));
    }
    Ok(())
}

/// Prints what every part of a board answers; how many break their contract.
fn ask_board(board: &dyn Board) -> u32 {
    let mut broken = 0;
    for check in conformance::run(board, None) {
        match check.outcome {
            Outcome::Holds(text) => println!("ok      {}: {text}", check.part),
            Outcome::Absent(text) => println!("absent  {}: {text}", check.part),
            Outcome::Broken(text) => {
                broken += 1;
                println!("FAILED  {}: {text}", check.part);
            }
        }
    }
    broken
}
