//! STG-NF weight files: safetensors with the published tensor names, read with every fault named, and written.

use super::adjacency::{Adjacency, PUBLISHED_MAX_HOP};
use super::parameters::{FLOWS, NETWORK_CHANNELS, ParameterFault, ShapeFault, StgNfParameters, StgNfShape};
use crate::weights_file::{self, CommonMetadata, FileFault, Format, WeightFile};
use alfred_core::limits::JOINTS;
use std::collections::BTreeMap;
use std::path::Path;

/// Largest weight file in bytes; a published one has 40 kB.
pub const WEIGHTS_FILE_BYTES_MAX: u64 = 1024 * 1024;

static FORMAT: Format = Format {
    model: "STG-NF",
    bytes_max: WEIGHTS_FILE_BYTES_MAX,
    missing: "convert the whole checkpoint, running statistics included",
    unexpected: "STG-NF: use hidden width 0 and no trained edge importance, or remove it",
    shape: "all kernels must fit the same window length",
};

/// Value of the metadata `architecture`.
pub const ARCHITECTURE: &str = "stg-nf";

/// Value of the metadata `adjacency`: the only strategy that is rebuilt from the skeleton.
pub const ADJACENCY_UNIFORM: &str = "uniform";

/// The tensor that names the window length: its shape is `[2, 2, T / 2 + 1, 1]`.
pub(crate) const KERNEL_NAME: &str = "flow.layers.0.block.0.tcn.2.weight";

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
    /// The container, its metadata, or a tensor's name, type or shape.
    #[error(transparent)]
    File(#[from] FileFault),
    /// A prior buffer is not what the model's formulas assume.
    #[error("buffer {0} does not hold one constant per channel with deviation 1: learnt priors are not supported")]
    Prior(&'static str),
    /// The window length is none that a model can have.
    #[error("{0}")]
    WindowLength(#[from] ShapeFault),
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
    read(&weights_file::read_bytes(path, &FORMAT)?)
}

/// Reads the bytes of a weight file. Window length and R come from the metadata `seg_len` and `R`, or, where these are missing, from
/// the temporal kernel's shape and the buffer `prior_h_normal`; where both are there, they must agree.
///
/// # Errors
/// [`WeightsFault`], naming the tensor or the key.
pub fn read(bytes: &[u8]) -> Result<StgNfWeights, WeightsFault> {
    let mut file = WeightFile::open(bytes, &FORMAT)?;
    let shape = window_shape(&mut file)?;
    let mut parameters = StgNfParameters::zero(shape);
    parameters.prior_mean = prior_mean(&mut file, shape)?;
    parameters.try_visit_mut(|tensor| file.take(&tensor.name.to_string(), tensor.shape.dimensions(), tensor.values))?;
    file.refuse_others()?;
    parameters.validate()?;
    file.check_entry("architecture", "this reader knows \"stg-nf\"", ARCHITECTURE)?;
    file.check_entry("adjacency", "this reader rebuilds \"uniform\"", ADJACENCY_UNIFORM)?;
    let max_hop = file
        .take_entry("max_hop", "it must be a number of bones, 0 to 17", |value| value.parse().ok().filter(|&hops: &usize| hops < JOINTS))?;
    let max_hop = max_hop.unwrap_or(PUBLISHED_MAX_HOP);
    let CommonMetadata { preprocessing, threshold, score_rule, other } = file.into_common()?;
    Ok(StgNfWeights { parameters, metadata: StgNfMetadata { max_hop, preprocessing, threshold, score_rule, other } })
}

/// Writes a weight file with the published tensor names. Without the constant prior buffers: they say no more than `R`.
///
/// # Errors
/// [`WeightsFault::Parameters`] for values that reading would refuse; [`WeightsFault::File`] when the format cannot hold them.
pub fn write(parameters: &StgNfParameters, metadata: &StgNfMetadata) -> Result<Vec<u8>, WeightsFault> {
    parameters.validate()?;
    let StgNfMetadata { max_hop, preprocessing, threshold, score_rule, other } = metadata.clone();
    let tensors = parameters.tensors().map(|tensor| (tensor.name.to_string(), tensor.shape.dimensions().to_vec(), tensor.values));
    let own = [
        ("architecture", ARCHITECTURE.to_string()),
        ("seg_len", parameters.shape.frames().to_string()),
        ("K", FLOWS.to_string()),
        // Debug prints the fewest digits that read back as the same number.
        ("R", format!("{:?}", parameters.prior_mean)),
        ("adjacency", ADJACENCY_UNIFORM.to_string()),
        ("max_hop", max_hop.to_string()),
    ];
    Ok(weights_file::write(tensors, CommonMetadata { preprocessing, threshold, score_rule, other }, own)?)
}

/// Window length, from the temporal kernel, checked against `seg_len`.
fn window_shape(file: &mut WeightFile<'_>) -> Result<StgNfShape, WeightsFault> {
    let found = file.dimensions(KERNEL_NAME)?;
    let &[NETWORK_CHANNELS, NETWORK_CHANNELS, taps, 1] = found.as_slice() else {
        return Err(file.shape_fault(KERNEL_NAME, &[NETWORK_CHANNELS, NETWORK_CHANNELS, 13, 1], &found).into());
    };
    let shape = StgNfShape::from_taps(taps)?;
    let mend = format!("the temporal kernel's {taps} taps mean {}", shape.frames());
    file.take_entry("seg_len", &mend, |value| value.parse().ok().filter(|&frames: &usize| frames == shape.frames()))?;
    file.take_entry("K", "this architecture has 8 flow steps", |value| value.parse().ok().filter(|&flows: &usize| flows == FLOWS))?;
    Ok(shape)
}

/// Prior mean R, from the metadata or the buffer `prior_h_normal`.
fn prior_mean(file: &mut WeightFile<'_>, shape: StgNfShape) -> Result<f32, WeightsFault> {
    let frames = shape.frames();
    let buffer = prior_buffer(file, PRIOR_NORMAL, &[PRIOR_CHANNELS, frames, JOINTS])?;
    let abnormal = prior_buffer(file, PRIOR_ABNORMAL, &[PRIOR_CHANNELS, frames, JOINTS])?;
    let top = prior_buffer(file, PRIOR_TOP, &[1, PRIOR_CHANNELS, frames, JOINTS])?;
    if top.is_some_and(|mean| mean != 0.0) {
        return Err(WeightsFault::Prior(PRIOR_TOP));
    }
    let mend = buffer.map_or("it must be a finite number".to_string(), |mean| format!("the buffer {PRIOR_NORMAL} says {mean}"));
    let declared = file.take_entry("R", &mend, |value| {
        value.parse().ok().filter(|mean: &f32| mean.is_finite() && buffer.is_none_or(|buffer| buffer == *mean))
    })?;
    let mean = declared.or(buffer).ok_or(WeightsFault::PriorMeanUnknown)?;
    if abnormal.is_some_and(|abnormal| abnormal != -mean) {
        return Err(WeightsFault::Prior(PRIOR_ABNORMAL));
    }
    Ok(mean)
}

/// The mean that a prior buffer holds: one constant in its first two channels, zero in the others.
fn prior_buffer(file: &mut WeightFile<'_>, name: &'static str, expected: &[usize]) -> Result<Option<f32>, WeightsFault> {
    let Some(values) = file.take_if_any(name, expected)? else { return Ok(None) };
    let values: Vec<f32> = values.collect();
    let (means, logs) = values.split_at(values.len() / 2);
    let mean = means.first().copied().unwrap_or(f32::NAN);
    let constant = mean.is_finite() && means.iter().all(|&value| value == mean) && logs.iter().all(|&value| value == 0.0);
    if constant { Ok(Some(mean)) } else { Err(WeightsFault::Prior(name)) }
}
