//! The bytes of a bundle, version 1. Little-endian; every byte is signed, unused ones are zero.
//!
//! | bytes | type | what |
//! |---|---|---|
//! | 0..4 | | `ALFB` |
//! | 4..8 | u32 | bytes of the whole bundle, signature included |
//! | 8..10 | u16 | version, 1 |
//! | 10 | u8 | architecture: 1 = STG-NF |
//! | 11 | u8 | policy that chose the threshold, see [`ThresholdPolicy`] |
//! | 12..20 | u64 | revision, from 1, rising per camera |
//! | 20..28 | u64 | revision that it was fine-tuned from; 0: from none |
//! | 28..36 | u64 | fingerprint of windows, preprocessing and smoothing |
//! | 36..40 | f32 | threshold on the model's score |
//! | 40..44 | f32 | exit margin, at least 0 |
//! | 44..56 | 3 f32 | equal error rate, lower and upper end of its interval, 0 to 1; zeros if unknown |
//! | 56..88 | | SHA-256 of the validation set; zeros if there is none |
//! | 88..124 | 9 f32 | score quantiles of the validation set's normal windows, see [`QUANTILES`]; zeros if unknown |
//! | 124..132 | u64 | seed of the self-test's windows |
//! | 132..140 | u64 | what the self-test must give |
//! | 140 | u8 | bit 0: the error rate is known; bit 1: the quantiles are known |
//! | 141 | u8 | STG-NF: hop limit of the adjacency |
//! | 142 | u8 | window length T |
//! | 143 | u8 | bytes of the camera's name |
//! | 144..146 | u16 | bytes of the verdict head; 0: none |
//! | 146..148 | u16 | bytes of the weights |
//! | 148..212 | | the camera's name, zeros behind it |
//! | 212.. | f32 each | STG-NF: prior mean R, then the trainable tensors of the collapsed weights in the order of `StgNfParameters::tensors` |
//! | then | | the verdict head, as `VerdictHead::to_bytes` writes it |
//! | last 64 | | ed25519 signature over everything before it |
//!
//! STG-NF with T = 24 takes 2,744 bytes, with a verdict head 3,442; T = 44 is the longest window that fits (without a head).

use crate::collapse::{UNIT_VARIANCE, collapse};
use alfred_core::decision::DecisionRule;
use alfred_core::units::Threshold;
use alfred_core::verdict_head::VerdictHead;
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape, Tensor, TensorRole};
use alfred_wire::error_code::ErrorCode;
use alfred_wire::name::{NAME_BYTES_MAX, Name};

/// Bytes of a bundle at most.
pub const BUNDLE_BYTES_MAX: usize = 4096;
/// Bytes of the signature at its end.
pub const SIGNATURE_BYTES: usize = 64;
/// Bytes before the weights.
pub const HEADER_BYTES: usize = 212;
/// Version of the form.
pub const VERSION: u16 = 1;
/// First bytes.
pub const MAGIC: [u8; 4] = *b"ALFB";
/// Which quantiles of the scores a bundle carries.
pub const QUANTILES: [f32; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

const HAS_ERROR_RATE: u8 = 1;
const HAS_QUANTILES: u8 = 2;

const _: () = assert!(HEADER_BYTES == 148 + NAME_BYTES_MAX);

/// What a bundle's weights are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Architecture {
    /// STG-NF with its weights in the bundle.
    StgNf = 1,
}

/// How the threshold was chosen; for people and for the host's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ThresholdPolicy {
    /// Given by hand.
    Given = 0,
    /// Equal error rate (the paper).
    EqualErrorRate = 1,
    /// Best F1.
    F1 = 2,
    /// Best harmonic mean of precision, recall and specificity.
    HarmonicPrs = 3,
    /// A fixed false positive rate.
    FixedFalsePositiveRate = 4,
    /// A number of alarms per day.
    AlarmBudget = 5,
}

impl ThresholdPolicy {
    /// All policies, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Given, Self::EqualErrorRate, Self::F1, Self::HarmonicPrs, Self::FixedFalsePositiveRate, Self::AlarmBudget];
}

/// A rate with its interval, all 0 to 1, ordered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorRate {
    /// The rate.
    pub rate: f32,
    /// Lower end of its interval.
    pub low: f32,
    /// Upper end of its interval.
    pub high: f32,
}

/// What a device must compute before it lets the weights decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTest {
    /// Seed of the windows.
    pub seed: u64,
    /// Their scores on the exact lane, folded; see `self_test`.
    pub expected: u64,
}

/// Everything in a bundle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bundle<'b> {
    /// The camera that it is for.
    pub camera: Name,
    /// Its revision, from 1.
    pub revision: u64,
    /// The revision that it was fine-tuned from; 0: none.
    pub parent: u64,
    /// What the threshold was computed for; see `fingerprint`.
    pub fingerprint: u64,
    /// Threshold and exit margin.
    pub decision: DecisionRule,
    /// How the threshold was chosen.
    pub policy: ThresholdPolicy,
    /// Equal error rate on the validation set.
    pub error_rate: Option<ErrorRate>,
    /// SHA-256 of the validation set; zeros if there is none.
    pub validation_sha256: [u8; 32],
    /// Quantiles of normal windows' scores, rising, at [`QUANTILES`]: what drift is measured against.
    pub quantiles: Option<[f32; QUANTILES.len()]>,
    /// What the device must compute.
    pub self_test: SelfTest,
    /// The weights; valid. Writing collapses them; those that were read are collapsed.
    pub parameters: StgNfParameters,
    /// Hop limit of the 'uniform' adjacency.
    pub max_hop: u8,
    /// The verdict head's bytes; none: no head. Those that were read are valid.
    pub head: &'b [u8],
}

/// Puts numbers behind each other; `None` once there is no room.
struct Writer<'b> {
    bytes: &'b mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes.get_mut(self.at..self.at.checked_add(bytes.len())?)?.copy_from_slice(bytes);
        self.at += bytes.len();
        Some(())
    }

    fn floats(&mut self, values: &[f32]) -> Option<()> {
        values.iter().try_for_each(|value| self.put(&value.to_le_bytes()))
    }
}

/// Tensors that a bundle carries.
fn is_carried(tensor: &Tensor<'_>) -> bool {
    tensor.role == TensorRole::Trainable
}

impl Bundle<'_> {
    /// The verdict head, if there is one.
    #[must_use]
    pub fn verdict_head(&self) -> Option<VerdictHead> {
        VerdictHead::from_bytes(self.head).ok()
    }

    /// Writes everything but the signature, for which 64 bytes are left behind it; returns the number of bytes with it.
    /// `None`: the bundle would be larger than [`BUNDLE_BYTES_MAX`].
    pub fn write(&self, bytes: &mut [u8; BUNDLE_BYTES_MAX]) -> Option<usize> {
        let parameters = collapse(&self.parameters);
        let values: usize = parameters.tensors().filter(is_carried).map(|tensor| tensor.values.len()).sum();
        let weights_bytes = 4 * (1 + values);
        let total = HEADER_BYTES + weights_bytes + self.head.len() + SIGNATURE_BYTES;
        if total > BUNDLE_BYTES_MAX {
            return None;
        }
        let name = self.camera.as_str().as_bytes();
        let known = self.error_rate.map_or(0, |_| HAS_ERROR_RATE) | self.quantiles.map_or(0, |_| HAS_QUANTILES);
        let mut out = Writer { bytes, at: 0 };
        out.put(&MAGIC)?;
        out.put(&(total as u32).to_le_bytes())?;
        out.put(&VERSION.to_le_bytes())?;
        out.put(&[Architecture::StgNf as u8, self.policy as u8])?;
        for number in [self.revision, self.parent, self.fingerprint] {
            out.put(&number.to_le_bytes())?;
        }
        out.floats(&[self.decision.threshold().value(), self.decision.exit_margin()])?;
        out.floats(&self.error_rate.map_or([0.0; 3], |rate| [rate.rate, rate.low, rate.high]))?;
        out.put(&self.validation_sha256)?;
        out.floats(&self.quantiles.unwrap_or_default())?;
        out.put(&self.self_test.seed.to_le_bytes())?;
        out.put(&self.self_test.expected.to_le_bytes())?;
        out.put(&[known, self.max_hop, parameters.shape.frames() as u8, name.len() as u8])?;
        out.put(&(self.head.len() as u16).to_le_bytes())?;
        out.put(&(weights_bytes as u16).to_le_bytes())?;
        let mut camera = [0; NAME_BYTES_MAX];
        camera.get_mut(..name.len())?.copy_from_slice(name);
        out.put(&camera)?;
        out.floats(&[parameters.prior_mean])?;
        parameters.tensors().filter(is_carried).try_for_each(|tensor| out.floats(tensor.values))?;
        out.put(self.head)?;
        Some(total)
    }
}

/// Takes numbers one after another; beyond the end nothing.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn bytes(&mut self, count: usize) -> Result<&'b [u8], ErrorCode> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ErrorCode::BundleMalformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ErrorCode> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ErrorCode::BundleMalformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn long(&mut self) -> Result<u64, ErrorCode> {
        self.array().map(u64::from_le_bytes)
    }

    /// A finite number.
    fn float(&mut self) -> Result<f32, ErrorCode> {
        let value = f32::from_le_bytes(self.array()?);
        if value.is_finite() { Ok(value) } else { Err(ErrorCode::BundleNotFinite) }
    }

    fn floats<const N: usize>(&mut self) -> Result<[f32; N], ErrorCode> {
        let mut values = [0.0; N];
        for value in &mut values {
            *value = self.float()?;
        }
        Ok(values)
    }
}

/// Reads the signed part of a bundle: everything before its signature, which must have been found right.
///
/// # Errors
/// A code of the table: another version or architecture, a number that is not finite, a field outside its range.
pub fn read(signed: &[u8]) -> Result<Bundle<'_>, ErrorCode> {
    let mut from = Reader(signed.get(MAGIC.len() + 4..).ok_or(ErrorCode::BundleMalformed)?);
    if u16::from_le_bytes(from.array()?) != VERSION {
        return Err(ErrorCode::BundleVersion);
    }
    let [architecture, policy] = from.array()?;
    if architecture != Architecture::StgNf as u8 {
        return Err(ErrorCode::BundleArchitecture);
    }
    let policy = *ThresholdPolicy::ALL.get(usize::from(policy)).ok_or(ErrorCode::BundleMalformed)?;
    let (revision, parent, fingerprint) = (from.long()?, from.long()?, from.long()?);
    if revision == 0 || parent >= revision {
        return Err(ErrorCode::BundleMalformed);
    }
    let threshold = Threshold::new(from.float()?).map_err(|_| ErrorCode::BundleNotFinite)?;
    let decision = DecisionRule::new(threshold, from.float()?).map_err(|_| ErrorCode::BundleMalformed)?;
    let error_rate = from.floats()?;
    let validation_sha256 = from.array()?;
    let quantiles = from.floats()?;
    let self_test = SelfTest { seed: from.long()?, expected: from.long()? };
    let [known, max_hop, frames, name_bytes] = from.array()?;
    let head_bytes = usize::from(u16::from_le_bytes(from.array()?));
    let weights_bytes = usize::from(u16::from_le_bytes(from.array()?));
    let camera = read_name(from.array()?, name_bytes)?;
    let parameters = read_weights(frames, from.bytes(weights_bytes)?)?;
    let head = from.bytes(head_bytes)?;
    if !head.is_empty() && VerdictHead::from_bytes(head).is_err() {
        return Err(ErrorCode::BundleMalformed);
    }
    if !from.0.is_empty() || known & !(HAS_ERROR_RATE | HAS_QUANTILES) != 0 {
        return Err(ErrorCode::BundleMalformed);
    }
    Ok(Bundle {
        camera,
        revision,
        parent,
        fingerprint,
        decision,
        policy,
        error_rate: read_error_rate(known & HAS_ERROR_RATE != 0, error_rate)?,
        validation_sha256,
        quantiles: read_quantiles(known & HAS_QUANTILES != 0, quantiles)?,
        self_test,
        parameters,
        max_hop,
        head,
    })
}

fn read_name(padded: [u8; NAME_BYTES_MAX], length: u8) -> Result<Name, ErrorCode> {
    let (name, padding) = padded.split_at_checked(length.into()).ok_or(ErrorCode::BundleMalformed)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(ErrorCode::BundleMalformed);
    }
    Name::from_bytes(name).map_err(|_| ErrorCode::BundleMalformed)
}

fn read_weights(frames: u8, bytes: &[u8]) -> Result<StgNfParameters, ErrorCode> {
    let shape = StgNfShape::new(frames.into()).map_err(|_| ErrorCode::BundleMalformed)?;
    let mut parameters = StgNfParameters::zero(shape);
    let mut from = Reader(bytes);
    parameters.prior_mean = from.float()?;
    parameters.try_visit_mut(|tensor| {
        tensor.values.iter_mut().try_for_each(|value| {
            *value = match tensor.role {
                TensorRole::Trainable => from.float()?,
                TensorRole::RunningMean => 0.0,
                TensorRole::RunningVariance => UNIT_VARIANCE,
            };
            Ok(())
        })
    })?;
    if !from.0.is_empty() {
        return Err(ErrorCode::BundleMalformed);
    }
    parameters.validate().map(|()| parameters).map_err(|_| ErrorCode::BundleNotFinite)
}

fn read_error_rate(known: bool, [rate, low, high]: [f32; 3]) -> Result<Option<ErrorRate>, ErrorCode> {
    match known {
        true if 0.0 <= low && low <= rate && rate <= high && high <= 1.0 => Ok(Some(ErrorRate { rate, low, high })),
        // By bits: -0.0 would be a second form of the same bundle.
        false if [rate, low, high].map(f32::to_bits) == [0; 3] => Ok(None),
        _ => Err(ErrorCode::BundleMalformed),
    }
}

fn read_quantiles(known: bool, values: [f32; QUANTILES.len()]) -> Result<Option<[f32; QUANTILES.len()]>, ErrorCode> {
    match known {
        true if values.is_sorted() => Ok(Some(values)),
        false if values.map(f32::to_bits) == [0; QUANTILES.len()] => Ok(None),
        _ => Err(ErrorCode::BundleMalformed),
    }
}
