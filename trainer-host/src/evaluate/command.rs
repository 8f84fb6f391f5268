//! `alfred-host evaluate`: the figures of a weight file on the test clips of a domain.

use super::evaluation::{BASE_RATE, Settings, SmoothingChoice, evaluate_model};
use super::model::{FileModel, Lane};
use super::output::{to_json, to_text};
use super::plots::write_plots;
use super::scores::GroupBy;
use crate::error::HostError;
use crate::metric::bootstrap::BootstrapPlan;
use std::path::PathBuf;

const RESAMPLES_MAX: usize = 100_000;

/// Arguments of `alfred-host evaluate`.
#[derive(Clone, Debug, clap::Args)]
pub struct EvaluateArguments {
    /// Weight file (safetensors); the file says its architecture.
    #[arg(long)]
    pub weights: PathBuf,
    /// Data set; its test split is evaluated.
    #[arg(long)]
    pub data: PathBuf,
    /// Domain (camera) of a data set with several: a folder below json/, or the beginning of ShanghaiTech's and HuVAD's clip names. Left
    /// out: `source` where there is one, else all.
    #[arg(long)]
    pub domain: Option<String>,
    /// Which frame scores to evaluate.
    #[arg(long, value_enum, default_value = "both")]
    pub smoothing: SmoothingChoice,
    /// Resamples of the 95 % intervals; 0: none.
    #[arg(long, default_value_t = 300)]
    pub resamples: usize,
    /// Seed of the resamples.
    #[arg(long, default_value_t = 20)]
    pub seed: u64,
    /// What intervals resample.
    #[arg(long, value_enum, default_value = "clip")]
    pub group: GroupBy,
    /// Share of anomalous frames at the camera that expected alarms are for; the default is that of the paper's cameras.
    #[arg(long, default_value_t = BASE_RATE)]
    pub base_rate: f64,
    /// Frames per second of that camera.
    #[arg(long, default_value_t = 30.0)]
    pub frames_per_second: f64,
    /// Arithmetic: the same bits everywhere, or the fastest here.
    #[arg(long, value_enum, default_value = "exact")]
    pub lane: Lane,
    /// Write ROC, precision-recall and score distributions as SVG into this folder.
    #[arg(long)]
    pub plots: Option<PathBuf>,
    /// Stop at the first clip that cannot be read, in place of leaving it out.
    #[arg(long)]
    pub strict: bool,
    /// End with one line of JSON on stdout, in place of the text.
    #[arg(long)]
    pub json: bool,
}

impl EvaluateArguments {
    /// The settings.
    ///
    /// # Errors
    /// [`HostError::Argument`] for a number out of range.
    pub fn settings(&self) -> Result<Settings, HostError> {
        if self.resamples > RESAMPLES_MAX {
            return Err(HostError::argument("--resamples", format!("give at most {RESAMPLES_MAX}")));
        }
        if !(0.0..=1.0).contains(&self.base_rate) {
            return Err(HostError::argument("--base-rate", "give a share from 0 to 1"));
        }
        if !(self.frames_per_second > 0.0 && self.frames_per_second <= 1000.0) {
            return Err(HostError::argument("--frames-per-second", "give a number above 0, at most 1000"));
        }
        Ok(Settings {
            domain: self.domain.clone(),
            smoothing: self.smoothing,
            plan: BootstrapPlan { resamples: self.resamples, seed: self.seed },
            group_by: self.group,
            lane: self.lane,
            base_rate: self.base_rate,
            frames_per_second: self.frames_per_second,
            strict: self.strict,
            progress: true,
        })
    }
}

/// Runs the command.
///
/// # Errors
/// [`HostError`] when an argument, the weights or the data cannot be used.
pub fn run(arguments: &EvaluateArguments) -> Result<(), HostError> {
    let settings = arguments.settings()?;
    let model = FileModel::read(&arguments.weights)?;
    let evaluation = evaluate_model(&model, &arguments.data, &settings)?;
    if let Some(folder) = &arguments.plots {
        for path in write_plots(&evaluation, folder)? {
            eprintln!("alfred-host: wrote {}", path.display());
        }
    }
    if arguments.json {
        println!("{}", to_json(&evaluation));
    } else {
        print!("{}", to_text(&evaluation));
    }
    Ok(())
}
