//! `alfred-host bundle`: keys, building, looking into, and verifying of bundles.

use crate::error::HostError;
use crate::evaluate::{pixel_scale, read_weights};
use crate::train::checkpoint::replace;
use alfred_bundle::fingerprint::of_defaults;
use alfred_bundle::format::{BUNDLE_BYTES_MAX, Bundle, MAGIC, SIGNATURE_BYTES, SelfTest, ThresholdPolicy, read};
use alfred_bundle::signature::{PublicKey, SecretKey, check, key_from_hex};
use alfred_bundle::verify::{Admission, build, verify};
use alfred_core::decision::DecisionRule;
use alfred_core::units::Threshold;
use alfred_wire::error_code::ErrorCode;
use alfred_wire::name::Name;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Arguments of `alfred-host bundle`.
#[derive(Clone, Debug, clap::Args)]
pub struct BundleArguments {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum BundleCommand {
    /// Makes a key: the secret goes into a file, the public one is printed and belongs into the devices' configuration.
    Keygen(KeygenArguments),
    /// Builds and signs a bundle from STG-NF weights.
    Build(BuildArguments),
    /// Prints what a bundle says.
    Inspect(InspectArguments),
    /// Judges a bundle as a device would.
    Verify(VerifyArguments),
}

#[derive(Clone, Debug, clap::Args)]
struct KeygenArguments {
    /// File to write; one that is there stays.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Debug, clap::Args)]
struct BuildArguments {
    /// STG-NF weight file.
    #[arg(long)]
    weights: PathBuf,
    /// The host's secret key, as `keygen` wrote it.
    #[arg(long)]
    key: PathBuf,
    /// The camera that the bundle is for.
    #[arg(long)]
    camera: String,
    /// Its revision: above every one that the camera's device ever tried.
    #[arg(long)]
    revision: u64,
    /// The revision that these weights were fine-tuned from; the device takes them only while that one runs. 0: none.
    #[arg(long, default_value_t = 0)]
    parent: u64,
    /// Anomaly score from which on something is anomalous; left out: what the weight file says.
    #[arg(long, allow_negative_numbers = true)]
    threshold: Option<f32>,
    /// How far below the threshold an anomaly lasts.
    #[arg(long, default_value_t = 0.0)]
    exit_margin: f32,
    /// How the threshold was chosen; for people.
    #[arg(long, value_enum, default_value = "equal-error-rate")]
    policy: PolicyName,
    /// File whose SHA-256 names the validation set.
    #[arg(long)]
    validation: Option<PathBuf>,
    /// Verdict head file.
    #[arg(long)]
    head: Option<PathBuf>,
    /// Fingerprint in the device's start line (16 hexadecimal digits); left out: that of default windows and smoothing.
    #[arg(long)]
    fingerprint: Option<String>,
    /// Bundle to write.
    #[arg(long)]
    out: PathBuf,
    /// End with one line of JSON on stdout.
    #[arg(long)]
    json: bool,
}

/// Policies that chose a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PolicyName {
    Given,
    EqualErrorRate,
    F1,
    HarmonicPrs,
    FixedFalsePositiveRate,
    AlarmBudget,
}

impl PolicyName {
    const fn policy(self) -> ThresholdPolicy {
        ThresholdPolicy::ALL[self as usize]
    }
}

#[derive(Clone, Debug, clap::Args)]
struct InspectArguments {
    /// The bundle.
    file: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct VerifyArguments {
    /// The bundle.
    file: PathBuf,
    /// Public key that the device trusts (64 hexadecimal digits); may be given several times.
    #[arg(long, required = true)]
    trust: Vec<String>,
    /// The device's camera.
    #[arg(long)]
    camera: String,
    /// The device's fingerprint; left out: the bundle's own.
    #[arg(long)]
    fingerprint: Option<String>,
    /// The revision that the device has confirmed.
    #[arg(long, default_value_t = 0)]
    confirmed: u64,
}

/// Runs the command.
///
/// # Errors
/// [`HostError`] naming file, place and mend; a refused bundle with its code.
pub fn run(arguments: &BundleArguments) -> Result<(), HostError> {
    match &arguments.command {
        BundleCommand::Keygen(arguments) => keygen(arguments),
        BundleCommand::Build(arguments) => run_build(arguments),
        BundleCommand::Inspect(arguments) => inspect(arguments),
        BundleCommand::Verify(arguments) => run_verify(arguments),
    }
}

fn keygen(arguments: &KeygenArguments) -> Result<(), HostError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 32];
    File::open(source).and_then(|mut source| source.read_exact(&mut bytes)).map_err(HostError::file(source))?;
    let out = &arguments.out;
    // Never over a key that devices may trust, and never for others to read.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out).map_err(HostError::file(out))?;
    file.write_all(hex(&bytes).as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(HostError::file(out))?;
    println!("{}", SecretKey::from_bytes(&bytes).public());
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads at most `bytes_max` bytes; what is longer is refused by whoever judges them.
fn read_file(path: &Path, bytes_max: usize) -> Result<Vec<u8>, HostError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(HostError::file(path))?;
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(HostError::file(path))?;
    Ok(bytes)
}

pub(crate) fn read_key(path: &Path) -> Result<SecretKey, HostError> {
    let bytes = read_file(path, 200)?;
    let key = std::str::from_utf8(&bytes).ok().and_then(|text| key_from_hex(text.trim()));
    key.map(|bytes| SecretKey::from_bytes(&bytes)).ok_or_else(|| HostError::data(path, "no key", "give a file that `bundle keygen` wrote"))
}

fn read_fingerprint(text: &str) -> Result<u64, HostError> {
    let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    number.ok_or_else(|| HostError::argument("--fingerprint", "give the 16 hexadecimal digits of the device's start line"))
}

fn camera(text: &str) -> Result<Name, HostError> {
    Name::new(text).map_err(|error| HostError::argument("--camera", error))
}

fn run_build(arguments: &BuildArguments) -> Result<(), HostError> {
    let weights = read_weights(&arguments.weights)?;
    let place = |what: &str, mend: &dyn std::fmt::Display| HostError::data(&arguments.weights, what, mend);
    let threshold = arguments.threshold.or(weights.metadata.threshold);
    let threshold = threshold.ok_or_else(|| place("no threshold in its metadata", &"give --threshold"))?;
    let threshold = Threshold::new(threshold).map_err(|error| HostError::argument("--threshold", error))?;
    let decision = DecisionRule::new(threshold, arguments.exit_margin)
        .map_err(|_| HostError::argument("--exit-margin", "give a finite number of at least 0"))?;
    let fingerprint = match &arguments.fingerprint {
        Some(text) => read_fingerprint(text)?,
        None => of_defaults(weights.parameters.shape.frames(), &pixel_scale(&weights, &arguments.weights)?)
            .ok_or_else(|| place("window length", &"no device scores such windows"))?,
    };
    let validation_sha256 = match &arguments.validation {
        Some(path) => Sha256::digest(fs::read(path).map_err(HostError::file(path))?).into(),
        None => [0; 32],
    };
    let head = arguments.head.as_deref().map(|path| read_file(path, BUNDLE_BYTES_MAX)).transpose()?.unwrap_or_default();
    let max_hop = u8::try_from(weights.metadata.max_hop).map_err(|error| place("metadata max_hop", &error))?;
    let bundle = Bundle {
        camera: camera(&arguments.camera)?,
        revision: arguments.revision,
        parent: arguments.parent,
        fingerprint,
        decision,
        policy: arguments.policy.policy(),
        error_rate: None,
        validation_sha256,
        quantiles: None,
        self_test: SelfTest { seed: arguments.revision, expected: 0 },
        parameters: weights.parameters,
        max_hop,
        head: &head,
    };
    let key = read_key(&arguments.key)?;
    let mut bytes = [0; BUNDLE_BYTES_MAX];
    let length = build(&bundle, &key, &mut bytes).map_err(|code| place("no bundle can be built", &code))?;
    replace(&arguments.out, &bytes[..length])?;
    let told = read(&bytes[..length - SIGNATURE_BYTES]).map_err(|code| place("bundle", &code))?;
    if arguments.json {
        println!("{}", to_json(&told, length));
    } else {
        println!("{length} bytes, revision {}, fingerprint {:016x}, key {}", told.revision, told.fingerprint, key.public());
    }
    Ok(())
}

fn inspect(arguments: &InspectArguments) -> Result<(), HostError> {
    let bytes = read_file(&arguments.file, BUNDLE_BYTES_MAX)?;
    let refused = |code: ErrorCode| HostError::data(&arguments.file, "refused", code);
    // Without a key there is no signature to be judged; size and contents are.
    if !bytes.starts_with(&MAGIC) {
        return Err(refused(ErrorCode::BundleNotABundle));
    }
    match check(&bytes, &[]) {
        Err(ErrorCode::BundleNoKey) => {}
        outcome => drop(outcome.map_err(refused)?),
    }
    let bundle = read(&bytes[..bytes.len() - SIGNATURE_BYTES]).map_err(refused)?;
    let told = to_json(&bundle, bytes.len());
    if arguments.json {
        println!("{told}");
        return Ok(());
    }
    for (name, value) in told.as_object().into_iter().flatten() {
        println!("{name:<18}{value}");
    }
    println!("the signature was not checked: `alfred-host bundle verify` does that");
    Ok(())
}

fn to_json(bundle: &Bundle<'_>, bytes: usize) -> Value {
    json!({
        "bytes": bytes,
        "camera": bundle.camera.as_str(),
        "revision": bundle.revision,
        "parent": bundle.parent,
        "fingerprint": format!("{:016x}", bundle.fingerprint),
        "architecture": "stg-nf",
        "window_frames": bundle.parameters.shape.frames(),
        "threshold": bundle.decision.threshold().value(),
        "exit_margin": bundle.decision.exit_margin(),
        "policy": format!("{:?}", bundle.policy),
        "error_rate": bundle.error_rate.map(|rate| [rate.rate, rate.low, rate.high]),
        "validation_sha256": hex(&bundle.validation_sha256),
        "quantiles": bundle.quantiles,
        "head_bytes": bundle.head.len(),
        "self_test": format!("{:016x}", bundle.self_test.expected),
    })
}

fn run_verify(arguments: &VerifyArguments) -> Result<(), HostError> {
    let bytes = read_file(&arguments.file, BUNDLE_BYTES_MAX)?;
    let trusted: Option<Vec<PublicKey>> =
        arguments.trust.iter().map(|text| key_from_hex(text).and_then(|bytes| PublicKey::from_bytes(&bytes))).collect();
    let trusted = trusted.ok_or_else(|| HostError::argument("--trust", "give the 64 hexadecimal digits that keygen printed"))?;
    let refused = |code: ErrorCode| HostError::data(&arguments.file, "refused", code);
    let own = check(&bytes, &trusted).and_then(read).map_err(refused)?.fingerprint;
    let fingerprint = arguments.fingerprint.as_deref().map(read_fingerprint).transpose()?.unwrap_or(own);
    let confirmed = arguments.confirmed;
    let admission = Admission { camera: camera(&arguments.camera)?, fingerprint, confirmed, highest_tried: confirmed };
    let bundle = verify(&bytes, &trusted, &admission).map_err(refused)?;
    println!("ok: revision {} for {}, {} bytes, self-test {:016x}", bundle.revision, bundle.camera, bytes.len(), bundle.self_test.expected);
    Ok(())
}

#[cfg(test)]
#[path = "bundle_command_tests.rs"]
mod tests;
