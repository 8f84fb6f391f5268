//! Bundles for tests: random weights of ordinary magnitudes.
#![allow(missing_docs, reason = "test code")]

use crate::format::{BUNDLE_BYTES_MAX, Bundle, ErrorRate, SelfTest, ThresholdPolicy};
use crate::signature::SecretKey;
use crate::verify::{Admission, build};
use alfred_core::decision::DecisionRule;
use alfred_core::units::Threshold;
use alfred_core::verdict_head::{Features, HEAD_BYTES, HEAD_DIRECTIONS, HEAD_FEATURES, HeadParts, VerdictHead};
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape, TensorRole};
use alfred_synth::random::Random;
use alfred_wire::name::Name;
use std::sync::LazyLock;

pub fn key() -> SecretKey {
    SecretKey::from_bytes(&[7; 32])
}

/// A head of ordinary numbers.
static HEAD: LazyLock<[u8; HEAD_BYTES]> = LazyLock::new(|| {
    let mut random = Random::new(1);
    let mut numbers = |low, high| -> Features { std::array::from_fn(|_| random.between(low, high) as f32) };
    let parts = HeadParts {
        feature_means: numbers(-1.0, 1.0),
        feature_deviations: numbers(0.1, 1.0),
        verdict_weights: numbers(-0.5, 0.5),
        verdict_bias: -1.0,
        verdict_floor: -3.0,
        directions: [[0.0; HEAD_FEATURES]; HEAD_DIRECTIONS],
        direction_gains: [0.0; HEAD_DIRECTIONS],
        rest_gain: 0.01,
        distance_mean: 1.0,
        distance_deviation: 0.5,
        density_mean: 0.0,
        density_deviation: 1.0,
        verdict_share: 1.0,
        distance_share: 0.5,
        density_share: 1.0,
    };
    VerdictHead::from_parts(&parts).expect("ordinary numbers").to_bytes()
});

pub fn parameters(frames: usize, seed: u64) -> StgNfParameters {
    let mut parameters = StgNfParameters::zero(StgNfShape::new(frames).expect("a length that models have"));
    let mut random = Random::new(seed);
    parameters.visit_mut(|tensor| {
        for value in tensor.values.iter_mut() {
            let number = random.between(-1.0, 1.0) as f32;
            *value = if tensor.role == TensorRole::RunningVariance { 0.6 + 0.5 * number } else { 0.4 * number };
        }
    });
    parameters
}

pub fn bundle(revision: u64) -> Bundle<'static> {
    Bundle {
        camera: Name::new("gate").expect("a name"),
        revision,
        parent: 0,
        fingerprint: 0xF1,
        decision: DecisionRule::new(Threshold::new(1.5).expect("finite"), 0.25).expect("not negative"),
        policy: ThresholdPolicy::EqualErrorRate,
        error_rate: Some(ErrorRate { rate: 0.2, low: 0.1, high: 0.3 }),
        validation_sha256: [0xAB; 32],
        quantiles: Some([-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0]),
        self_test: SelfTest { seed: revision, expected: 0 },
        parameters: parameters(24, revision),
        max_hop: 8,
        head: &*HEAD,
    }
}

pub fn built(bundle: &Bundle<'_>) -> Vec<u8> {
    let mut bytes = [0; BUNDLE_BYTES_MAX];
    let length = build(bundle, &key(), &mut bytes).expect("valid");
    bytes[..length].to_vec()
}

pub fn admission() -> Admission {
    Admission { camera: Name::new("gate").expect("a name"), fingerprint: 0xF1, confirmed: 0, highest_tried: 0 }
}
