//! From a candidate to devices: a signed bundle, its model in the database, a rollout.

use crate::cycle::judge::Eer;
use crate::cycle::pair::Pair;
use crate::error::HostError;
use alfred_bundle::format::{BUNDLE_BYTES_MAX, Bundle, ErrorRate, QUANTILES, SelfTest, ThresholdPolicy};
use alfred_bundle::signature::SecretKey;
use alfred_bundle::verify::build;
use alfred_core::decision::DecisionRule;
use alfred_core::units::Threshold;
use alfred_store::Store;
use alfred_store::bundle::NewBundle;
use alfred_store::rollout::Target;
use alfred_wire::name::Name;
use sha2::{Digest, Sha256};

/// Who does what the cycle does, in the audit log.
pub const WHO: &str = "cycle";

/// What a bundle says beside the pair.
#[derive(Clone, Copy, Debug)]
pub struct Papers<'p> {
    /// The camera.
    pub camera: &'p str,
    /// What its devices cut windows by.
    pub fingerprint: u64,
    /// The revision that runs there.
    pub parent: u64,
    /// How the threshold was chosen.
    pub policy: ThresholdPolicy,
    /// Its name in the database.
    pub policy_name: &'p str,
    /// Equal error rate on the validation set.
    pub eer: Option<Eer>,
    /// SHA-256 of the validation set.
    pub validation_sha256: [u8; 32],
    /// Quantiles of normal scores.
    pub quantiles: Option<[f32; QUANTILES.len()]>,
    /// Who asked for it, in the audit log.
    pub who: &'p str,
}

/// Builds, signs and keeps the bundle of a pair; returns its revision. No device gets it before a rollout.
///
/// # Errors
/// [`HostError::Argument`] when no bundle can be built, or the database fails.
pub fn build_bundle(store: &mut Store, pair: &Pair, papers: &Papers<'_>, key: &SecretKey, now_ms: i64) -> Result<u64, HostError> {
    let fault = |error: &dyn std::fmt::Display| HostError::argument("the bundle", error);
    let newest = store.bundles(Some(papers.camera)).map_err(|error| fault(&error))?.first().map_or(0, |bundle| bundle.revision);
    let revision = newest.max(papers.parent) + 1;
    let threshold = Threshold::new(pair.threshold).map_err(|error| fault(&error))?;
    let decision = DecisionRule::new(threshold, 0.0).map_err(|_| fault(&"the exit margin"))?;
    let error_rate = papers.eer.map(|eer| {
        let (low, high) = eer.interval.map_or((0.0, 1.0), |interval| (interval.low, interval.high));
        let rate = eer.rate.clamp(0.0, 1.0);
        ErrorRate { rate: rate as f32, low: low.clamp(0.0, rate) as f32, high: high.clamp(rate, 1.0) as f32 }
    });
    let bundle = Bundle {
        camera: Name::new(papers.camera).map_err(|error| fault(&error))?,
        revision,
        parent: papers.parent,
        fingerprint: papers.fingerprint,
        decision,
        policy: papers.policy,
        error_rate,
        validation_sha256: papers.validation_sha256,
        quantiles: papers.quantiles,
        self_test: SelfTest { seed: revision, expected: 0 },
        parameters: pair.parameters,
        max_hop: pair.max_hop,
        head: &pair.head,
    };
    let mut bytes = [0; BUNDLE_BYTES_MAX];
    let length = build(&bundle, key, &mut bytes).map_err(|code| fault(&code))?;
    let model: [u8; 32] = Sha256::digest(&pair.weights).into();
    let name = format!("{}-{revision}", papers.camera);
    let name = if Name::new(&name).is_ok() { name } else { format!("revision-{revision}") };
    store.add_model(&model, &name, "stg-nf", &pair.weights, now_ms).map_err(|error| fault(&error))?;
    let new = NewBundle {
        camera: papers.camera,
        revision,
        parent_revision: papers.parent,
        fingerprint: papers.fingerprint,
        threshold: f64::from(pair.threshold),
        policy: papers.policy_name,
        model: Some(&model),
        bytes: &bytes[..length],
    };
    store.add_bundle(&new, papers.who, now_ms).map_err(|error| fault(&error))?;
    Ok(revision)
}

/// Lets a camera's devices have a bundle.
///
/// # Errors
/// [`HostError::Argument`] when the database fails.
pub fn roll_out(store: &mut Store, camera: &str, revision: u64, who: &str, now_ms: i64) -> Result<(), HostError> {
    let target = Target { camera: camera.to_owned(), revision };
    store.roll_out(&[target], who, now_ms).map(drop).map_err(|error| HostError::argument("the rollout", error))
}
