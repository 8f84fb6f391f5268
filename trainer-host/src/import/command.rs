//! `alfred-host import`: from a checkpoint of others to a weight file, with the source's fingerprint kept.

use super::tensors::{read_bytes, read_tensors};
use super::{sparta, stg_nf};
use crate::error::HostError;
use crate::train::checkpoint::replace;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::PathBuf;

/// Architectures that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ImportArchitecture {
    /// STG-NF, any window length; unsupervised or supervised prior.
    StgNf,
    /// SPARTA's future-target decoder branch (FTD).
    Sparta,
}

/// Arguments of `alfred-host import`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArguments {
    /// PyTorch checkpoint (.tar, .pth, .pth.tar) or safetensors file; nothing in it is executed.
    pub file: PathBuf,
    /// Architecture that it holds.
    #[arg(long, value_enum)]
    pub arch: ImportArchitecture,
    /// Weight file to write (safetensors).
    #[arg(long)]
    pub out: PathBuf,
    /// End with one line of JSON on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command: writes the weight file, or nothing.
///
/// # Errors
/// [`HostError`] naming file, place and mend.
pub fn run(arguments: &ImportArguments) -> Result<(), HostError> {
    let path = &arguments.file;
    let bytes = read_bytes(path)?;
    let mut source_sha256 = String::new();
    for byte in Sha256::digest(&bytes) {
        // Writing to a text cannot fail.
        let _ = write!(source_sha256, "{byte:02x}");
    }
    let file = read_tensors(path, &bytes)?;
    let (out, tensors) = match arguments.arch {
        ImportArchitecture::StgNf => {
            let mut weights = stg_nf::weights(path, &file)?;
            weights.metadata.other.insert("source_sha256".into(), source_sha256.clone());
            (stg_nf::to_file(path, &weights)?, weights.parameters.tensors().count())
        }
        ImportArchitecture::Sparta => {
            let mut weights = sparta::weights(path, &file)?;
            weights.metadata.other.insert("source_sha256".into(), source_sha256.clone());
            (sparta::to_file(path, &weights)?, weights.parameters.tensors().count())
        }
    };
    replace(&arguments.out, &out)?;
    if arguments.json {
        println!("{}", json!({"tensors": tensors, "bytes": out.len(), "source_sha256": source_sha256}));
    } else {
        println!("{tensors} tensors, {} bytes, source sha256 {source_sha256}", out.len());
    }
    Ok(())
}
