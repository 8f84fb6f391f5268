//! `alfred-host export`: from a weight file to ONNX or plain safetensors, and windows to check the result with.

use super::check_windows::check_windows;
use super::{ga_vae, sparta, stg_nf};
use crate::error::HostError;
use crate::evaluate::model::{FileModel, Lane, Model};
use crate::train::checkpoint::replace;
use alfred_core::limits::BATCH_WINDOWS_MAX;
use alfred_models::weights::Weights;
use serde_json::json;
use std::path::PathBuf;

/// Formats that weights can be exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// A fixed-shape graph with weights, opset 17.
    Onnx,
    /// Tensors under their published names.
    Safetensors,
}

/// Arguments of `alfred-host export`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArguments {
    /// Weight file (safetensors; STG-NF, SPARTA or GA-VAE).
    #[arg(long)]
    pub weights: PathBuf,
    /// Format to write.
    #[arg(long, value_enum)]
    pub to: ExportFormat,
    /// File to write.
    #[arg(long)]
    pub out: PathBuf,
    /// Windows per run of the ONNX graph.
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Also write windows with the native engine's scores (safetensors: x, score).
    #[arg(long)]
    pub check_windows: Option<PathBuf>,
    /// End with one line of JSON on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`HostError`] when the weights cannot be used, the batch is out of range, or a file cannot be written.
pub fn run(arguments: &ExportArguments) -> Result<(), HostError> {
    let path = &arguments.weights;
    if !(1..=BATCH_WINDOWS_MAX).contains(&arguments.batch) {
        return Err(HostError::argument(format!("--batch {}", arguments.batch), format!("give 1 to {BATCH_WINDOWS_MAX} windows")));
    }
    let model = FileModel::read(path)?;
    // Values that overflow when folded make no scorer, and would make a graph of infinities.
    let mut scorer = model.scorer(Lane::Exact)?;
    let bytes = match arguments.to {
        ExportFormat::Onnx => to_onnx(model.weights(), arguments.batch),
        ExportFormat::Safetensors => model.weights().write().map_err(|fault| HostError::data(path, "weights", fault))?,
    };
    replace(&arguments.out, &bytes)?;
    if let Some(out) = &arguments.check_windows {
        let windows =
            check_windows(scorer.as_mut()).map_err(|reason| HostError::data(path, reason, "use weights that score every window"))?;
        replace(out, &windows)?;
    }
    if arguments.json {
        println!("{}", json!({"bytes": bytes.len(), "window_frames": model.window_frames()}));
    } else {
        println!("{} bytes, windows of {} frames", bytes.len(), model.window_frames());
    }
    Ok(())
}

/// The bytes of an ONNX file for `batch` windows per run; see the modules of the architectures for inputs and outputs.
#[must_use]
pub fn to_onnx(weights: &Weights, batch: usize) -> Vec<u8> {
    match weights {
        Weights::StgNf(weights) => stg_nf::to_onnx(weights, batch),
        Weights::Sparta(weights) => sparta::to_onnx(weights, batch),
        Weights::GaVae(weights) => ga_vae::to_onnx(weights, batch),
    }
}
