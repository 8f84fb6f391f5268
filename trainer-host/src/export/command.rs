//! `alfred-host export`: from a weight file to ONNX or plain safetensors, and windows to check the result with.

use super::check_windows::check_windows;
use super::stg_nf::to_onnx;
use crate::error::HostError;
use crate::evaluate::read_weights;
use crate::import::stg_nf::to_file;
use crate::train::checkpoint::replace;
use alfred_core::limits::BATCH_WINDOWS_MAX;
use alfred_models::stg_nf::fold::FoldedStgNf;
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
    /// Weight file (safetensors, STG-NF).
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
    let weights = read_weights(path)?;
    // Values that overflow when folded would make a graph of infinities.
    FoldedStgNf::fold(&weights.parameters).map_err(|fault| HostError::data(path, "weights", fault))?;
    let bytes = match arguments.to {
        ExportFormat::Onnx => to_onnx(&weights, arguments.batch),
        ExportFormat::Safetensors => to_file(path, &weights)?,
    };
    replace(&arguments.out, &bytes)?;
    if let Some(out) = &arguments.check_windows {
        let windows = check_windows(&weights).map_err(|reason| HostError::data(path, reason, "use weights that score every window"))?;
        replace(out, &windows)?;
    }
    if arguments.json {
        println!("{}", json!({"bytes": bytes.len(), "window_frames": weights.parameters.shape.frames()}));
    } else {
        println!("{} bytes, windows of {} frames", bytes.len(), weights.parameters.shape.frames());
    }
    Ok(())
}
