//! The arguments of `alfred-edge bench`, and what it prints.

use super::cold_start;
use super::run::{BenchSettings, run};
use super::{ColdStarts, Report, plot};
use crate::config::LaneName;
use crate::error::Error;
use crate::model_file;
use crate::model_file::Budget;
use crate::self_test;
use alfred_models::stg_nf::weights_file::{self, StgNfMetadata};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Longest measurement, in minutes: a week.
const MINUTES_MAX: f64 = 7.0 * 24.0 * 60.0;
/// Arena of an ONNX model.
const ARENA_BYTES: usize = 16 << 20;
/// Starts of the process that one call measures at most.
const COLD_STARTS_MAX: usize = 1_000;

/// Arguments of `bench`.
#[derive(clap::Args)]
pub(crate) struct BenchArguments {
    /// People in every frame, all of them scored in every frame.
    #[arg(long, default_value_t = 16)]
    persons: usize,
    /// Frames per second.
    #[arg(long, default_value_t = 30)]
    fps: u32,
    /// How long is measured.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Seconds of frames before that, until every ring is full and every page has been touched.
    #[arg(long, default_value_t = 20)]
    warm_up_seconds: u32,
    /// Keep every other core busy.
    #[arg(long)]
    stress: bool,
    /// Ask the system for what the packaged configuration asks for: all memory locked, stacks touched, SCHED_FIFO, no timer slack.
    #[arg(long)]
    real_time: bool,
    /// As one JSON object on stdout.
    #[arg(long)]
    json: bool,
    /// Write the histogram as an SVG file.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// The model; left out: a native STG-NF with made-up weights, which costs as much as any other.
    #[arg(long)]
    model: Option<PathBuf>,
    /// `fast` or `exact`.
    #[arg(long, value_enum, default_value_t = LaneName::Fast)]
    lane: LaneName,
    /// Also start the whole process so many times, and say how long its first score took.
    #[arg(long, default_value_t = 0)]
    cold_starts: usize,
}

#[derive(Serialize)]
struct Everything<'e> {
    #[serde(flatten)]
    report: &'e Report,
    cold_starts: Option<ColdStarts>,
}

/// Runs `alfred-edge bench`.
pub(crate) fn command(arguments: &BenchArguments) -> Result<(), Error> {
    if !(arguments.minutes > 0.0 && arguments.minutes <= MINUTES_MAX) {
        return Err(Error::input("--minutes", format!("{}: above 0 and at most {MINUTES_MAX} are possible", arguments.minutes)));
    }
    if arguments.cold_starts > COLD_STARTS_MAX {
        return Err(Error::input("--cold-starts", format!("at most {COLD_STARTS_MAX} are possible")));
    }
    let frames_per_second = f64::from(arguments.fps);
    let settings = BenchSettings {
        persons: arguments.persons,
        frames_per_second: arguments.fps,
        warm_up_frames: u64::from(arguments.warm_up_seconds) * u64::from(arguments.fps),
        frames: (arguments.minutes * 60.0 * frames_per_second).ceil() as u64,
        stress: arguments.stress,
        real_time: arguments.real_time,
    };
    let folder = Folder::new()?;
    let model_path = match &arguments.model {
        Some(path) => path.clone(),
        None => made_up_model(&folder.0)?,
    };
    let cold_starts = match arguments.cold_starts {
        0 => None,
        starts => Some(cold_start::measure(starts, &model_path, &folder.0)?),
    };
    let model = model_file::load(&model_path, arguments.lane, Budget::Bounded { bytes: ARENA_BYTES })?;
    let report = run(settings, model, &folder.0)?;
    if let Some(path) = &arguments.svg {
        std::fs::write(path, plot::svg(&report)).map_err(|error| Error::file(path, error))?;
    }
    if arguments.json {
        let json = serde_json::to_string_pretty(&Everything { report: &report, cold_starts });
        println!("{}", json.map_err(|error| Error::system("stdout", error))?);
    } else {
        println!("{report}\n{}", plot::text(&report));
        if let Some(cold_starts) = cold_starts {
            println!("{cold_starts}");
        }
    }
    Ok(())
}

/// A weight file in `folder` with the self-test's made-up model.
fn made_up_model(folder: &Path) -> Result<PathBuf, Error> {
    let path = folder.join("made-up.safetensors");
    let parameters = self_test::built_in_parameters().map_err(|what| Error::system("built-in model", what))?;
    let bytes = weights_file::write(&parameters, &StgNfMetadata::default()).map_err(|fault| Error::system("built-in model", fault))?;
    std::fs::write(&path, bytes).map_err(|error| Error::file(&path, error))?;
    Ok(path)
}

/// A temporary folder of this process, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Error> {
        let path = std::env::temp_dir().join(format!("alfred-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| Error::file(&path, error))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Best effort: it is in the folder for temporary things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
