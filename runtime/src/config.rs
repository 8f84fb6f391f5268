//! The configuration file of `alfred-edge run`: TOML, unknown keys refused, every default stated here.

use crate::board_side::{self, BoardConfig, SandboxConfig};
use crate::error::Error;
use crate::limits::CONFIG_BYTES_MAX;
use crate::live::alarm::AlarmConfig;
use crate::live::real_time::RealTimeConfig;
use crate::live::thermal::ThermalConfig;
use crate::live::watchdog::WatchdogConfig;
use alfred_bundle::signature::{PublicKey, key_from_hex};
use alfred_bundle::trial::TrialRules;
use alfred_core::decision::DecisionRule;
use alfred_core::event::EventRule;
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::PipelineConfig;
use alfred_core::segment::SegmentRule;
use alfred_core::smoothing::{CausalKernel, LIVE_AHEAD_FRAMES, LIVE_BACK_FRAMES, LIVE_SIGMA_FRAMES};
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::Threshold;
use alfred_link::config::LinkConfig;
use alfred_wire::name::Name;
use alfred_wire::sampler::{BACK_FRAMES_MAX, SampleRules};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The whole file. Only `model.file` must be given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The camera's name, for people; appears in the first output line.
    #[serde(default = "default_camera")]
    pub camera: String,
    /// What scores.
    pub model: ModelConfig,
    /// Where poses come from.
    #[serde(default)]
    pub input: InputConfig,
    /// When detections become windows.
    #[serde(default)]
    pub window: WindowConfig,
    /// How scores are smoothed.
    #[serde(default)]
    pub smoothing: SmoothingConfig,
    /// When something is anomalous.
    #[serde(default)]
    pub decision: DecisionConfig,
    /// How anomalous frames become events.
    #[serde(default)]
    pub event: EventConfig,
    /// What is kept around an event.
    #[serde(default)]
    pub segment: SegmentConfig,
    /// What is written.
    #[serde(default)]
    pub output: OutputConfig,
    /// How much memory the process may plan for.
    #[serde(default)]
    pub memory: MemoryConfig,
    /// The host, if there is one: `alfred-host enroll` writes this section. Left out: nothing leaves but the output.
    #[serde(default)]
    pub link: Option<LinkConfig>,
    /// What the host gets of normal people, to train on; needs `[link]`.
    #[serde(default)]
    pub samples: SampleConfig,
    /// Whether and how weights are updated while it runs; left out: they are not.
    #[serde(default)]
    pub bundle: Option<BundleConfig>,
    /// Which board this is, and what is simulated where it is none.
    #[serde(default)]
    pub board: BoardConfig,
    /// What is asked of the system so that frames are decided in time.
    #[serde(default)]
    pub real_time: RealTimeConfig,
    /// What is left out while the board is hot.
    #[serde(default)]
    pub thermal: ThermalConfig,
    /// When the watchdog is kicked.
    #[serde(default)]
    pub watchdog: WatchdogConfig,
    /// Who beside the board is told of events.
    #[serde(default)]
    pub alarm: AlarmConfig,
    /// Whether the threads that talk to the network are confined.
    #[serde(default)]
    pub sandbox: SandboxConfig,
}

/// `[model]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// A `.safetensors` file with STG-NF weights, or an `.onnx` file. Relative paths start at the configuration file.
    pub file: PathBuf,
    /// `fast` (SIMD) or `exact` (the same bits on every machine). ONNX files have one lane.
    #[serde(default)]
    pub lane: LaneName,
    /// Bytes of the arena in which an ONNX model runs; at most 1 GiB.
    #[serde(default = "default_arena_bytes")]
    pub arena_bytes: usize,
    /// What pixels are divided by; left out: what the model file says, else the published constants of its architecture.
    #[serde(default)]
    pub scale: Option<ScaleConfig>,
}

/// `model.lane`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LaneName {
    /// SIMD, chosen at run time.
    #[default]
    Fast,
    /// Scalar, fixed order: the same bits on x86-64 and aarch64.
    Exact,
}

/// `model.scale`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum ScaleConfig {
    /// A known scale.
    Named(ScaleName),
    /// Divisors in pixels.
    Divisors {
        /// Divisor of x.
        x: f64,
        /// Divisor of y.
        y: f64,
    },
}

/// Names of known scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleName {
    /// 856 x 480, for the published STG-NF weights.
    PublishedStgNf,
    /// 1280 x 720, for the published SPARTA weights.
    PublishedSparta,
    /// Square pixels: people keep their proportions on every camera.
    Square,
}

impl ScaleConfig {
    /// The divisors.
    #[must_use]
    pub const fn divisors(self) -> PixelScale {
        match self {
            Self::Named(name) => name.divisors(),
            Self::Divisors { x, y } => PixelScale { x, y },
        }
    }
}

impl ScaleName {
    /// The divisors.
    #[must_use]
    pub const fn divisors(self) -> PixelScale {
        match self {
            Self::PublishedStgNf => PixelScale::PUBLISHED_STG_NF,
            Self::PublishedSparta => PixelScale::PUBLISHED_SPARTA,
            Self::Square => PixelScale::SQUARE,
        }
    }
}

/// `[input]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputConfig {
    /// `stdin` (JSON lines; a full queue blocks the pipe, nothing is lost) or `socket` (SOCK_SEQPACKET messages; a full queue sheds the oldest frame).
    pub source: Source,
    /// Path of the socket.
    pub socket: PathBuf,
    /// Users who may connect besides this process's own and root.
    pub allow_uids: Vec<u32>,
    /// Frames per second of the camera; sets the deadline.
    pub frames_per_second: f64,
    /// Microseconds from a frame's arrival to its decisions; left out: one frame step.
    pub deadline_us_max: Option<u64>,
}

/// `input.source`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// JSON lines on standard input.
    #[default]
    Stdin,
    /// Messages on a Unix SOCK_SEQPACKET socket.
    Socket,
    /// The board's own source; only the simulated board has one.
    Board,
}

impl Default for InputConfig {
    fn default() -> Self {
        Self {
            source: Source::Stdin,
            socket: PathBuf::from("/run/alfred/poses.sock"),
            allow_uids: Vec::new(),
            frames_per_second: 30.0,
            deadline_us_max: None,
        }
    }
}

impl InputConfig {
    /// The deadline in microseconds.
    #[must_use]
    pub fn deadline_us(&self) -> u64 {
        self.deadline_us_max.unwrap_or((1e6 / self.frames_per_second) as u64)
    }
}

/// `[window]`. The length is the model's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WindowConfig {
    /// Detections between two windows of a person; 1 scores every person on every frame.
    pub stride: u32,
    /// Missing frames after which a person's window starts anew.
    pub gap_frames_max: u32,
    /// Body heights per frame beyond which the same number is somebody else.
    pub jump_heights_max: f32,
    /// Mean detector score that a window must exceed; 0: no filter.
    pub confidence_min: f32,
}

impl Default for WindowConfig {
    fn default() -> Self {
        let live = WindowPolicy::live(24);
        Self {
            stride: live.stride,
            gap_frames_max: live.gap_frames_max.unwrap_or_default(),
            jump_heights_max: live.jump_heights_max.unwrap_or_default(),
            confidence_min: live.confidence_min,
        }
    }
}

/// `[smoothing]`: a Gaussian, cut.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmoothingConfig {
    /// Standard deviation in frames; 0: no smoothing.
    pub sigma_frames: f64,
    /// Frames before the decided one, at most 63.
    pub back_frames: usize,
    /// Frames after the decided one, at most 30: part of the delay.
    pub ahead_frames: usize,
}

impl Default for SmoothingConfig {
    fn default() -> Self {
        Self { sigma_frames: LIVE_SIGMA_FRAMES, back_frames: LIVE_BACK_FRAMES, ahead_frames: LIVE_AHEAD_FRAMES }
    }
}

/// `[decision]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionConfig {
    /// Anomaly score from which on something is anomalous; left out: what the model file says.
    pub threshold: Option<f32>,
    /// How far below the threshold an anomaly lasts.
    pub exit_margin: f32,
}

/// `[event]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventConfig {
    /// Normal frames within one event.
    pub gap_merge_frames: u32,
    /// Frames below which there is no event.
    pub length_frames_min: u32,
    /// Frames between two updates.
    pub update_frames: u32,
}

impl Default for EventConfig {
    /// At 30 frames per second: half a second, a fifth of a second, one second.
    fn default() -> Self {
        Self { gap_merge_frames: 15, length_frames_min: 6, update_frames: 30 }
    }
}

/// `[segment]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SegmentConfig {
    /// Frames before the event, at most 90.
    pub pre_roll_frames: u32,
    /// Frames after the event, at most 90.
    pub post_roll_frames: u32,
}

impl Default for SegmentConfig {
    fn default() -> Self {
        Self { pre_roll_frames: 45, post_roll_frames: 45 }
    }
}

/// `[output]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputConfig {
    /// Write a line per decided frame.
    pub frames: bool,
    /// Write the skeletons of events.
    pub segments: bool,
    /// Seconds between two lines of health figures; 0: only at the end.
    pub stats_period_s: u64,
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self { frames: false, segments: true, stats_period_s: 60 }
    }
}

/// `[memory]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryConfig {
    /// Bytes that the memory map may add up to; above it the process refuses to start.
    pub ceiling_bytes: u64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { ceiling_bytes: 16 << 20 }
    }
}

/// `[samples]`: stretches of people below the threshold, chosen evenly and thinly: the host's training stream. Positions keep to 1/8 pixel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleConfig {
    /// Bytes per hour, over no hour more; 0: none. The host may change it while the process runs.
    pub bytes_per_hour: u32,
    /// How far below the threshold the score of a sample's window must lie, at least 0.
    pub margin: f32,
    /// Frames before its window that a sample holds, 0 to 64: with as many as smoothing looks back and ahead, the host can compute the
    /// smoothed score that the device decides by.
    pub back_frames: u32,
}

impl Default for SampleConfig {
    /// About 400 samples an hour.
    fn default() -> Self {
        Self { bytes_per_hour: 1 << 20, margin: 0.0, back_frames: (LIVE_BACK_FRAMES + LIVE_AHEAD_FRAMES + 2) as u32 }
    }
}

impl SampleConfig {
    /// The rules of the choice.
    #[must_use]
    pub const fn rules(&self) -> SampleRules {
        SampleRules { bytes_per_hour: self.bytes_per_hour, margin: self.margin, back_frames: self.back_frames }
    }
}

/// `[bundle]`: signed updates of weights and threshold. Relative paths start at the configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleConfig {
    /// Public keys of the host (64 hexadecimal digits each); bundles of others are refused.
    pub keys: Vec<String>,
    /// Folder in which `*.bundle` files appear; each is taken and removed.
    pub inbox: PathBuf,
    /// File for the slots; made if it is not there.
    pub slots: PathBuf,
    /// Windows scored beside the live model before a bundle may decide; 0: none.
    #[serde(default = "default_shadow_windows")]
    pub shadow_windows: u64,
    /// Share of windows, 0 to 1, that both may decide differently.
    #[serde(default = "default_disagreement_max")]
    pub disagreement_max: f64,
    /// Share of windows, 0 to 1, that a bundle may flag in shadow and on trial.
    #[serde(default = "default_flag_rate_max")]
    pub flag_rate_max: f64,
    /// Windows on probation.
    #[serde(default = "default_trial_windows")]
    pub trial_windows: u64,
    /// Windows without a score that shadow and trial may have.
    #[serde(default = "default_faults_max")]
    pub faults_max: u64,
    /// Starts of the process during one shadow or trial; one more and the bundle goes.
    #[serde(default = "default_starts_max")]
    pub starts_max: u8,
    /// Milliseconds between two looks at inbox and counts.
    #[serde(default = "default_poll_ms")]
    pub poll_ms: u64,
}

/// At 8 persons and 30 frames per second: 8 seconds.
fn default_shadow_windows() -> u64 {
    2000
}

fn default_disagreement_max() -> f64 {
    0.2
}

fn default_flag_rate_max() -> f64 {
    0.3
}

/// At 8 persons and 30 frames per second: 83 seconds.
fn default_trial_windows() -> u64 {
    20_000
}

fn default_faults_max() -> u64 {
    10
}

fn default_starts_max() -> u8 {
    3
}

fn default_poll_ms() -> u64 {
    500
}

impl BundleConfig {
    /// The bounds of shadow and trial.
    #[must_use]
    pub const fn rules(&self) -> TrialRules {
        TrialRules {
            shadow_windows: self.shadow_windows,
            disagreement_max: self.disagreement_max,
            flag_rate_max: self.flag_rate_max,
            trial_windows: self.trial_windows,
            faults_max: self.faults_max,
        }
    }

    /// The keys.
    ///
    /// # Errors
    /// Which key is none.
    pub fn trusted(&self) -> Result<Vec<PublicKey>, String> {
        let key = |text: &String| {
            let key = key_from_hex(text).and_then(|bytes| PublicKey::from_bytes(&bytes));
            key.ok_or_else(|| {
                format!("bundle.keys: {text:?} is no key: give the 64 hexadecimal digits that `alfred-host bundle keygen` printed")
            })
        };
        self.keys.iter().map(key).collect()
    }

    fn check(&self) -> Result<(), String> {
        if self.trusted()?.is_empty() {
            return Err("bundle.keys: without a key every bundle is refused: give the host's public key, or leave [bundle] out".into());
        }
        if !self.rules().is_valid() {
            return Err("bundle: disagreement_max and flag_rate_max must lie from 0 to 1, trial_windows must be at least 1".into());
        }
        if self.starts_max == 0 || !(10..=60_000).contains(&self.poll_ms) {
            return Err("bundle: starts_max must be at least 1, poll_ms must lie from 10 to 60000".into());
        }
        Ok(())
    }
}

fn default_camera() -> String {
    "camera".into()
}

fn default_arena_bytes() -> usize {
    4 << 20
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// One line that names the file, the line and the mend.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let size = std::fs::metadata(path).map_err(|error| Error::file(path, format!("{error}: is the path right?")))?.len();
        if size > CONFIG_BYTES_MAX {
            return Err(Error::file(path, format!("{size} bytes, at most {CONFIG_BYTES_MAX} are read: is it a configuration file?")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
        let mut config = Self::parse(&text).map_err(|what| Error::file(path, what))?;
        if let Some(folder) = path.parent() {
            // Joining an absolute path leaves it as it is.
            config.model.file = folder.join(&config.model.file);
            if let Some(bundle) = &mut config.bundle {
                bundle.inbox = folder.join(&bundle.inbox);
                bundle.slots = folder.join(&bundle.slots);
            }
            if let Some(link) = &mut config.link {
                link.resolve(folder);
            }
        }
        Ok(config)
    }

    /// Reads and checks a file's text.
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| describe(text, &error))?;
        let rate = config.input.frames_per_second;
        if !(rate.is_finite() && (0.1..=1000.0).contains(&rate)) {
            return Err(format!("input.frames_per_second = {rate}: a rate from 0.1 to 1000 is needed"));
        }
        if config.camera.is_empty() || config.camera.len() > 64 {
            return Err("camera: a name of 1 to 64 bytes is needed".into());
        }
        if config.model.arena_bytes > 1 << 30 {
            return Err(format!("model.arena_bytes = {}: at most 1 GiB", config.model.arena_bytes));
        }
        board_side::check(&config)?;
        if let Some(bundle) = &config.bundle {
            bundle.check()?;
            Name::new(&config.camera).map_err(|error| format!("camera: {error}"))?;
        }
        if !(config.samples.margin.is_finite() && config.samples.margin >= 0.0) || config.samples.back_frames > BACK_FRAMES_MAX {
            return Err(format!("samples: margin must be finite and at least 0, back_frames must lie from 0 to {BACK_FRAMES_MAX}"));
        }
        config.pipeline(24, PixelScale::SQUARE, None)?;
        Ok(config)
    }

    /// The data path's settings for a model with windows of `window_frames`. `scale` and `threshold` are the model file's; the configuration's
    /// own come first.
    ///
    /// # Errors
    /// Which setting lies outside its range.
    pub fn pipeline(&self, window_frames: usize, scale: PixelScale, threshold: Option<Threshold>) -> Result<PipelineConfig, String> {
        let own = match self.decision.threshold {
            Some(value) => Some(Threshold::new(value).map_err(|_| format!("decision.threshold = {value}: a finite number is needed"))?),
            None => threshold,
        };
        let margin = self.decision.exit_margin;
        let decision = own
            .map(|threshold| DecisionRule::new(threshold, margin))
            .transpose()
            .map_err(|_| format!("decision.exit_margin = {margin}: a finite number of at least 0 is needed"))?;
        let smoothing = &self.smoothing;
        let kernel = CausalKernel::gaussian(smoothing.sigma_frames, smoothing.back_frames, smoothing.ahead_frames);
        let smoothing = kernel.map_err(|error| format!("smoothing: {error}"))?;
        let window = WindowPolicy {
            stride: self.window.stride,
            gap_frames_max: Some(self.window.gap_frames_max),
            jump_heights_max: Some(self.window.jump_heights_max),
            confidence_min: self.window.confidence_min,
            ..WindowPolicy::live(window_frames)
        };
        if !window.is_valid() {
            return Err("window: stride must be at least 1, jump_heights_max above 0, both filters finite".into());
        }
        let (event, segment) = (&self.event, &self.segment);
        let idle = window.centre_lag_frames() + smoothing.ahead_frames() + smoothing.back_frames();
        Ok(PipelineConfig {
            window,
            scale: self.model.scale.map_or(scale, ScaleConfig::divisors),
            decision,
            event: EventRule {
                gap_merge_frames: event.gap_merge_frames,
                length_frames_min: event.length_frames_min,
                update_frames: event.update_frames,
            },
            segment: SegmentRule { pre_roll_frames: segment.pre_roll_frames, post_roll_frames: segment.post_roll_frames },
            // By then every frame of the person is decided and every gap has outgrown its merge.
            idle_frames_max: Some((idle as u32).saturating_add(event.gap_merge_frames).saturating_add(1)),
            smoothing,
        })
    }
}

/// TOML's errors span several lines; ours is one, with the line's number.
fn describe(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| 1 + text.as_bytes()[..span.start.min(text.len())].iter().filter(|byte| **byte == b'\n').count());
    match line {
        Some(line) => format!("line {line}: {}", error.message()),
        None => error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests;
