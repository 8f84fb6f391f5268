//! STG-NF weight files: safetensors with the published tensor names, read with every fault named, and written.
//!
//! A file is untrusted: its size is checked before anything is parsed, then its header, then each tensor's type, shape and values.

use super::adjacency::{Adjacency, PUBLISHED_MAX_HOP};
use super::parameters::{FLOWS, NETWORK_CHANNELS, ParameterFault, ShapeFault, StgNfParameters, StgNfShape};
use crate::sorted_header::with_sorted_header;
use alfred_core::limits::JOINTS;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

/// Largest weight file in bytes; a published one has 40 kB.
pub const WEIGHTS_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Value of the metadata `architecture`.
pub const ARCHITECTURE: &str = "stg-nf";

/// Value of the metadata `adjacency`: the only strategy that is rebuilt from the skeleton.
pub const ADJACENCY_UNIFORM: &str = "uniform";

/// The tensor that names the window length: its shape is `[2, 2, T / 2 + 1, 1]`.
const KERNEL_NAME: &str = "flow.layers.0.block.0.tcn.2.weight";

/// Constant buffers of published files: accepted, checked, not kept. `[R, R, 0, 0]`, its negative, and zeros, per frame and joint.
const PRIOR_NORMAL: &str = "prior_h_normal";
const PRIOR_ABNORMAL: &str = "prior_h_abnormal";
const PRIOR_TOP: &str = "prior_h";

/// Channels of the prior buffers: means of x and y, logarithms of deviations of x and y.
const PRIOR_CHANNELS: usize = 4;

/// What a weight file says beside its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct StgNfMetadata {
    /// Hop limit of the 'uniform' adjacency (`max_hop`); published: 8.
    pub max_hop: usize,
    /// Name of the preprocessing that the model was trained with (`preprocessing`).
    pub preprocessing: Option<String>,
    /// Decision threshold on the model's score (`threshold`), finite.
    pub threshold: Option<f32>,
    /// How outputs become a score (`score_rule`).
    pub score_rule: Option<String>,
    /// Every other key, kept as it is: source, licence, notes.
    pub other: BTreeMap<String, String>,
}

impl Default for StgNfMetadata {
    fn default() -> Self {
        Self { max_hop: PUBLISHED_MAX_HOP, preprocessing: None, threshold: None, score_rule: None, other: BTreeMap::new() }
    }
}

impl StgNfMetadata {
    /// The adjacency that the model was trained with.
    #[must_use]
    pub fn adjacency(&self) -> Adjacency {
        Adjacency::uniform(self.max_hop)
    }
}

/// A weight file's content.
#[derive(Clone, Debug, PartialEq)]
pub struct StgNfWeights {
    /// Valid parameters.
    pub parameters: StgNfParameters,
    /// What else the file says.
    pub metadata: StgNfMetadata,
}

/// Why a weight file is refused. One line each: what is wrong, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum WeightsFault {
    /// The file cannot be read.
    #[error("the weight file cannot be read: {0}: check its path and permissions")]
    Unreadable(#[from] std::io::Error),
    /// The file is larger than [`WEIGHTS_FILE_BYTES_MAX`].
    #[error("the weight file has more than {WEIGHTS_FILE_BYTES_MAX} bytes: it is no STG-NF model")]
    TooLarge,
    /// The container is damaged.
    #[error("the weight file is no safetensors file: {0}: copy or convert it again")]
    Container(SafeTensorError),
    /// A tensor of the model is not in the file.
    #[error("tensor {0} is missing: convert the whole checkpoint, running statistics included")]
    Missing(String),
    /// The file holds a tensor that no STG-NF model has.
    #[error("tensor {0} is no part of STG-NF: use hidden width 0 and no trained edge importance, or remove it")]
    Unexpected(String),
    /// A tensor has another shape.
    #[error("tensor {name} has shape {found:?} instead of {expected:?}: all kernels must fit the same window length")]
    Shape {
        /// Full name.
        name: String,
        /// Shape that the window length implies.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A tensor has another type than `f32`.
    #[error("tensor {name} has type {found:?} instead of F32: convert it with .float()")]
    Type {
        /// Full name.
        name: String,
        /// Type in the file.
        found: Dtype,
    },
    /// A prior buffer is not what the model's formulas assume.
    #[error("buffer {0} does not hold one constant per channel with deviation 1: learnt priors are not supported")]
    Prior(&'static str),
    /// The window length is none that a model can have.
    #[error("{0}")]
    WindowLength(#[from] ShapeFault),
    /// A metadata value is not understood, or contradicts the tensors.
    #[error("metadata {key} = {value:?} is not valid: {mend}")]
    Metadata {
        /// The key.
        key: &'static str,
        /// Its value in the file.
        value: String,
        /// What it should be.
        mend: String,
    },
    /// The prior mean is nowhere in the file.
    #[error("the prior mean R is unknown: add metadata \"R\" (published: 3 or 10) or the buffer prior_h_normal")]
    PriorMeanUnknown,
    /// A value makes no sense.
    #[error("{0}")]
    Parameters(#[from] ParameterFault),
}

/// Reads a weight file; see [`read`].
///
/// # Errors
/// [`WeightsFault`]; a file beyond the size limit is not read to its end.
pub fn read_path(path: &Path) -> Result<StgNfWeights, WeightsFault> {
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to know.
    std::fs::File::open(path)?.take(WEIGHTS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    read(&bytes)
}

/// Reads the bytes of a weight file. Window length and R come from the metadata `seg_len` and `R`, or, where these are missing, from
/// the temporal kernel's shape and the buffer `prior_h_normal`; where both are there, they must agree.
///
/// # Errors
/// [`WeightsFault`], naming the tensor or the key.
pub fn read(bytes: &[u8]) -> Result<StgNfWeights, WeightsFault> {
    if bytes.len() as u64 > WEIGHTS_FILE_BYTES_MAX {
        return Err(WeightsFault::TooLarge);
    }
    let file = SafeTensors::deserialize(bytes).map_err(WeightsFault::Container)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(WeightsFault::Container)?;
    let mut entries: BTreeMap<String, String> =
        header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    let shape = window_shape(&file, &mut entries)?;
    let prior_mean = prior_mean(&file, shape, &mut entries)?;
    let mut parameters = StgNfParameters::zero(shape);
    parameters.prior_mean = prior_mean;
    let mut known: Vec<String> = [PRIOR_TOP, PRIOR_NORMAL, PRIOR_ABNORMAL].map(String::from).to_vec();
    parameters.try_visit_mut(|tensor| {
        let name = tensor.name.to_string();
        let view = view(&file, &name, tensor.shape.dimensions())?.ok_or_else(|| WeightsFault::Missing(name.clone()))?;
        for (value, from) in tensor.values.iter_mut().zip(floats(&view)) {
            *value = from;
        }
        known.push(name);
        Ok::<(), WeightsFault>(())
    })?;
    // The smallest name, so that the message is the same on every run.
    if let Some(name) = file.names().into_iter().filter(|name| !known.iter().any(|known| known == name)).min() {
        return Err(WeightsFault::Unexpected(name.to_string()));
    }
    parameters.validate()?;
    let metadata = read_metadata(entries)?;
    Ok(StgNfWeights { parameters, metadata })
}

/// Writes a weight file with the published tensor names. Without the constant prior buffers: they say no more than `R`.
///
/// # Errors
/// [`WeightsFault::Parameters`] for values that reading would refuse; [`WeightsFault::Container`] when the format cannot hold them.
pub fn write(parameters: &StgNfParameters, metadata: &StgNfMetadata) -> Result<Vec<u8>, WeightsFault> {
    parameters.validate()?;
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = parameters
        .tensors()
        .map(|tensor| {
            let bytes = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (tensor.name.to_string(), tensor.shape.dimensions().to_vec(), bytes)
        })
        .collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (name, shape, bytes) in &tensors {
        views.push((name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(WeightsFault::Container)?));
    }
    let bytes = safetensors::serialize(views, Some(write_metadata(parameters, metadata))).map_err(WeightsFault::Container)?;
    Ok(with_sorted_header(&bytes).unwrap_or(bytes))
}

/// A tensor of the file if it is there, its type and shape checked.
fn view<'a>(file: &SafeTensors<'a>, name: &str, expected: &[usize]) -> Result<Option<TensorView<'a>>, WeightsFault> {
    let Ok(view) = file.tensor(name) else { return Ok(None) };
    if view.dtype() != Dtype::F32 {
        return Err(WeightsFault::Type { name: name.to_string(), found: view.dtype() });
    }
    if view.shape() != expected {
        return Err(WeightsFault::Shape { name: name.to_string(), expected: expected.to_vec(), found: view.shape().to_vec() });
    }
    Ok(Some(view))
}

/// The values of an `f32` tensor.
fn floats<'a>(view: &TensorView<'a>) -> impl Iterator<Item = f32> + use<'a> {
    let data: &'a [u8] = view.data();
    data.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// A metadata value that parses and passes the check.
fn parse<T: std::str::FromStr>(
    entries: &mut BTreeMap<String, String>,
    key: &'static str,
    mend: &str,
    check: impl Fn(&T) -> bool,
) -> Result<Option<T>, WeightsFault> {
    let Some(value) = entries.remove(key) else { return Ok(None) };
    match value.trim().parse() {
        Ok(parsed) if check(&parsed) => Ok(Some(parsed)),
        _ => Err(WeightsFault::Metadata { key, value, mend: mend.to_string() }),
    }
}

/// Window length, from the temporal kernel, checked against `seg_len`.
fn window_shape(file: &SafeTensors<'_>, entries: &mut BTreeMap<String, String>) -> Result<StgNfShape, WeightsFault> {
    let kernel = file.tensor(KERNEL_NAME).map_err(|_| WeightsFault::Missing(KERNEL_NAME.to_string()))?;
    let &[NETWORK_CHANNELS, NETWORK_CHANNELS, taps, 1] = kernel.shape() else {
        let expected = vec![NETWORK_CHANNELS, NETWORK_CHANNELS, 13, 1];
        return Err(WeightsFault::Shape { name: KERNEL_NAME.to_string(), expected, found: kernel.shape().to_vec() });
    };
    let shape = StgNfShape::from_taps(taps)?;
    let mend = format!("the temporal kernel's {taps} taps mean {}", shape.frames());
    parse::<usize>(entries, "seg_len", &mend, |&frames| frames == shape.frames())?;
    parse::<usize>(entries, "K", "this architecture has 8 flow steps", |&flows| flows == FLOWS)?;
    Ok(shape)
}

/// Prior mean R, from the metadata or the buffer `prior_h_normal`.
fn prior_mean(file: &SafeTensors<'_>, shape: StgNfShape, entries: &mut BTreeMap<String, String>) -> Result<f32, WeightsFault> {
    let frames = shape.frames();
    let buffer = prior_buffer(file, PRIOR_NORMAL, &[PRIOR_CHANNELS, frames, JOINTS])?;
    let abnormal = prior_buffer(file, PRIOR_ABNORMAL, &[PRIOR_CHANNELS, frames, JOINTS])?;
    let top = prior_buffer(file, PRIOR_TOP, &[1, PRIOR_CHANNELS, frames, JOINTS])?;
    if top.is_some_and(|mean| mean != 0.0) {
        return Err(WeightsFault::Prior(PRIOR_TOP));
    }
    let mend = buffer.map_or("it must be a finite number".to_string(), |mean| format!("the buffer {PRIOR_NORMAL} says {mean}"));
    let declared = parse::<f32>(entries, "R", &mend, |&mean| mean.is_finite() && buffer.is_none_or(|buffer| buffer == mean))?;
    let mean = declared.or(buffer).ok_or(WeightsFault::PriorMeanUnknown)?;
    if abnormal.is_some_and(|abnormal| abnormal != -mean) {
        return Err(WeightsFault::Prior(PRIOR_ABNORMAL));
    }
    Ok(mean)
}

/// The mean that a prior buffer holds: one constant in its first two channels, zero in the others.
fn prior_buffer(file: &SafeTensors<'_>, name: &'static str, expected: &[usize]) -> Result<Option<f32>, WeightsFault> {
    let Some(view) = view(file, name, expected)? else { return Ok(None) };
    let values: Vec<f32> = floats(&view).collect();
    let (means, logs) = values.split_at(values.len() / 2);
    let mean = means.first().copied().unwrap_or(f32::NAN);
    let constant = mean.is_finite() && means.iter().all(|&value| value == mean) && logs.iter().all(|&value| value == 0.0);
    if constant { Ok(Some(mean)) } else { Err(WeightsFault::Prior(name)) }
}

/// What remains of the metadata when shape and prior are known.
fn read_metadata(mut entries: BTreeMap<String, String>) -> Result<StgNfMetadata, WeightsFault> {
    parse::<String>(&mut entries, "architecture", "this reader knows \"stg-nf\"", |name| name == ARCHITECTURE)?;
    parse::<String>(&mut entries, "adjacency", "this reader rebuilds \"uniform\"", |name| name == ADJACENCY_UNIFORM)?;
    let max_hop = parse(&mut entries, "max_hop", "it must be a number of bones, 0 to 17", |&hops| hops < JOINTS)?;
    let threshold = parse::<f32>(&mut entries, "threshold", "it must be a finite number", |threshold| threshold.is_finite())?;
    Ok(StgNfMetadata {
        max_hop: max_hop.unwrap_or(PUBLISHED_MAX_HOP),
        preprocessing: entries.remove("preprocessing"),
        threshold,
        score_rule: entries.remove("score_rule"),
        other: entries,
    })
}

/// The metadata of a file to be written; ours win over entries of the same key in `other`.
fn write_metadata(parameters: &StgNfParameters, metadata: &StgNfMetadata) -> HashMap<String, String> {
    let mut entries: HashMap<String, String> = metadata.other.clone().into_iter().collect();
    let mut insert = |key: &str, value: String| entries.insert(key.to_string(), value);
    insert("architecture", ARCHITECTURE.to_string());
    insert("seg_len", parameters.shape.frames().to_string());
    insert("K", FLOWS.to_string());
    // Debug prints the fewest digits that read back as the same number.
    insert("R", format!("{:?}", parameters.prior_mean));
    insert("adjacency", ADJACENCY_UNIFORM.to_string());
    insert("max_hop", metadata.max_hop.to_string());
    if let Some(preprocessing) = &metadata.preprocessing {
        insert("preprocessing", preprocessing.clone());
    }
    if let Some(threshold) = metadata.threshold {
        insert("threshold", format!("{threshold:?}"));
    }
    if let Some(rule) = &metadata.score_rule {
        insert("score_rule", rule.clone());
    }
    entries
}
