//! From a file to a sealed engine, or to one line that names the file, the place and the mend.

use super::graph::{Decoded, Graph};
use super::warm_up::{self, WarmUpError};
use super::{Budget, EngineCounters, Runner, TractEngine};
use crate::arena::ArenaError;
use crate::onnx_manifest::{Declaration, Manifest, ManifestError};
use crate::score_rule::ScoreRule;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Largest ONNX file, bytes. The published models have 0.04 to 1.5 MB.
pub const ONNX_FILE_BYTES_MAX: usize = 16 << 20;

/// Largest sidecar, bytes.
const SIDECAR_BYTES_MAX: usize = 64 << 10;

/// Where an ONNX model comes from.
#[derive(Clone, Copy, Debug)]
pub enum ModelSource<'a> {
    /// A file, with an optional sidecar `<file>.json` beside it.
    File(&'a Path),
    /// Bytes in memory, already verified by the caller if they came over the network; there is no sidecar.
    Bytes {
        /// What messages call them.
        name: &'a str,
        /// The ONNX file's content.
        bytes: &'a [u8],
    },
}

/// Why a model does not become an engine. One line: file, place, mend.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Read {
        /// The model or sidecar.
        file: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is larger than its limit.
    #[error("{file}: more than {bytes_max} bytes: export a smaller model")]
    TooLarge {
        /// The model or sidecar.
        file: String,
        /// The limit.
        bytes_max: usize,
    },
    /// No ONNX file, or a graph that this engine does not run.
    #[error("{file}: {reason}")]
    Graph {
        /// The model.
        file: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// The declaration is missing or wrong.
    #[error("{file}: {source}")]
    Manifest {
        /// The model.
        file: String,
        /// What is wrong.
        source: ManifestError,
    },
    /// No arena.
    #[error("{file}: {source}")]
    Arena {
        /// The model.
        file: String,
        /// Why.
        source: ArenaError,
    },
    /// The runs need more memory than given.
    #[error("{file}: needs {needed_bytes} bytes of arena, {given_bytes} given: raise model.arena_bytes")]
    DoesNotFit {
        /// The model.
        file: String,
        /// Bytes with which the warm-up fits, measured.
        needed_bytes: usize,
        /// Bytes of the budget.
        given_bytes: usize,
    },
    /// Each run keeps memory, so no budget would do.
    #[error("{file}: every run keeps {bytes} bytes more: the model has state between runs; export it without")]
    Grows {
        /// The model.
        file: String,
        /// Growth of one run.
        bytes: usize,
    },
    /// A window's score depends on the others of its batch.
    #[error("{file}: a window's score depends on its neighbours in the batch: export the per-window model, or with batch 1")]
    Coupled {
        /// The model.
        file: String,
    },
    /// A plain window has no finite score.
    #[error("{file}: the score of a plain window is NaN or infinite: the weights are broken, or the score rule names the wrong output")]
    NotFinite {
        /// The model.
        file: String,
    },
}

impl TractEngine {
    /// Loads, checks, optimises and warms up a model; all but the warm-up runs outside the arena.
    ///
    /// `declared` is stronger than what the file and its sidecar say (see `onnx_manifest`); `Declaration::default()` says nothing. Shapes
    /// must be fixed, inputs f32. A batch of B = 1 to 16 windows is supported; an incomplete last batch is filled up and costs a whole run.
    ///
    /// # Errors
    /// [`LoadError`]; nothing of the engine stays.
    pub fn load(source: ModelSource<'_>, declared: Declaration, budget: Budget) -> Result<Self, LoadError> {
        let (file, sidecar) = match source {
            ModelSource::File(path) => (path.display().to_string(), read_sidecar(path)?),
            ModelSource::Bytes { name, .. } => (name.to_string(), Declaration::default()),
        };
        let graph_error = |reason| LoadError::Graph { file: file.clone(), reason };
        let manifest_error = |source| LoadError::Manifest { file: file.clone(), source };
        let decoded = match source {
            ModelSource::File(path) => Decoded::from_bytes(&read(path, ONNX_FILE_BYTES_MAX)?),
            ModelSource::Bytes { bytes, .. } if bytes.len() > ONNX_FILE_BYTES_MAX => {
                return Err(LoadError::TooLarge { file, bytes_max: ONNX_FILE_BYTES_MAX });
            }
            ModelSource::Bytes { bytes, .. } => Decoded::from_bytes(bytes),
        };
        let decoded = decoded.map_err(graph_error)?;
        let metadata = Declaration::from_pairs(decoded.metadata()).map_err(manifest_error)?;
        let declared = Declaration::combine(declared, sidecar, metadata).map_err(manifest_error)?;
        let manifest = Manifest::resolve(declared, &decoded.facts).map_err(manifest_error)?;
        let inputs: Vec<Vec<f32>> = decoded.facts.inputs.iter().map(|input| vec![0.0; input.shape.iter().product()]).collect();
        let graph = decoded.into_graph(manifest.output_index).map_err(graph_error)?;
        check_output(&graph, &manifest, &inputs).map_err(graph_error)?;
        let mut runner = Runner { graph, scores: vec![0.0; manifest.batch_windows], inputs, manifest: manifest.clone() };
        let (arena, report) = warm_up::run(&mut runner, budget).map_err(|error| warm_up_error(error, file))?;
        let overflows_seen = arena.as_ref().map_or(0, |arena| arena.counters().overflows);
        Ok(Self { runner, arena, manifest, report, counters: EngineCounters::default(), overflows_seen })
    }

    /// Smallest arena, found by trying, in which this model's runs fit, also on a thread that never ran it.
    ///
    /// # Errors
    /// [`LoadError::Arena`], such as when the arena allocator is not installed, or [`LoadError::Graph`] when a run fails.
    pub fn arena_bytes_needed(&mut self) -> Result<usize, LoadError> {
        warm_up::bytes_needed(&mut self.runner).map_err(|error| warm_up_error(error, "the model".into()))
    }
}

fn warm_up_error(error: WarmUpError, file: String) -> LoadError {
    match error {
        WarmUpError::Run(reason) => LoadError::Graph { file, reason },
        WarmUpError::Arena(source) => LoadError::Arena { file, source },
        WarmUpError::DoesNotFit { needed_bytes, given_bytes } => LoadError::DoesNotFit { file, needed_bytes, given_bytes },
        WarmUpError::Grows { bytes } => LoadError::Grows { file, bytes },
        WarmUpError::Coupled => LoadError::Coupled { file },
        WarmUpError::NotFinite => LoadError::NotFinite { file },
    }
}

/// The output that the rule reads must hold one number per window, or what the rule compares it with.
fn check_output(graph: &Graph, manifest: &Manifest, inputs: &[Vec<f32>]) -> Result<(), String> {
    let shape = graph.output_shape();
    let values: usize = shape.iter().product();
    let expected = match manifest.score_rule {
        ScoreRule::Output { .. } => manifest.batch_windows,
        ScoreRule::MeanSquaredError { .. } => manifest.target_index.and_then(|index| inputs.get(index)).map_or(0, Vec::len),
    };
    if values == expected {
        return Ok(());
    }
    Err(format!(
        "the output of {} has shape {shape:?}, {expected} values are expected: name another output in alfred.score_rule",
        manifest.score_rule
    ))
}

/// The sidecar `<file>.json`, if there is one.
fn read_sidecar(model: &Path) -> Result<Declaration, LoadError> {
    let mut path = model.as_os_str().to_owned();
    path.push(".json");
    let path = PathBuf::from(path);
    match read(&path, SIDECAR_BYTES_MAX) {
        Ok(bytes) => Declaration::from_sidecar(&bytes).map_err(|source| LoadError::Manifest { file: path.display().to_string(), source }),
        Err(LoadError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(Declaration::default()),
        Err(error) => Err(error),
    }
}

/// A file of at most `bytes_max` bytes; a larger one is refused after reading one byte too many, whatever its length claims.
fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, LoadError> {
    let error = |source| LoadError::Read { file: path.display().to_string(), source };
    let file = File::open(path).map_err(error)?;
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() > bytes_max { Err(LoadError::TooLarge { file: path.display().to_string(), bytes_max }) } else { Ok(bytes) }
}
