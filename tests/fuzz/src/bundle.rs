//! Bundles: refused without a right signature; with one, read or refused, and what is read is written as the same bytes.
//!
//! First byte even: the rest is a bundle. Odd: the rest are changes to a valid bundle (place: 2 bytes, value: 1 byte), which is then signed
//! again with the right key, since no mutation would ever find a signature.

use super::bytes::Bytes;
use alfred_bundle::format::{BUNDLE_BYTES_MAX, Bundle, SIGNATURE_BYTES, SelfTest, ThresholdPolicy, read};
use alfred_bundle::signature::{SecretKey, check, sign};
use alfred_bundle::verify::{Admission, build, prove, verify};
use alfred_core::decision::DecisionRule;
use alfred_core::units::Threshold;
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape};
use alfred_wire::name::Name;
use std::sync::LazyLock;

static KEY: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::from_bytes(&[7; 32]));

static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let bundle = Bundle {
        camera: Name::new("gate").expect("a name"),
        revision: 3,
        parent: 2,
        fingerprint: 9,
        decision: DecisionRule::new(Threshold::new(1.5).expect("finite"), 0.0).expect("not negative"),
        policy: ThresholdPolicy::EqualErrorRate,
        error_rate: None,
        validation_sha256: [1; 32],
        quantiles: None,
        self_test: SelfTest { seed: 1, expected: 0 },
        parameters: StgNfParameters::zero(StgNfShape::new(4).expect("the shortest window")),
        max_hop: 8,
        head: b"",
    };
    let mut bytes = [0; BUNDLE_BYTES_MAX];
    let length = build(&bundle, &KEY, &mut bytes).expect("valid");
    bytes[..length].to_vec()
});

/// Runs the target.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    if mode % 2 == 0 {
        let admission = Admission { camera: Name::new("gate").expect("a name"), fingerprint: 9, confirmed: 2, highest_tried: 2 };
        if *rest != **VALID {
            assert!(verify(rest, &[KEY.public()], &admission).is_err(), "nobody but the key makes bundles");
        }
        // As if the signature were right.
        judge(rest.split_last_chunk::<SIGNATURE_BYTES>().map_or(rest, |(signed, _)| signed));
        return;
    }
    let (mut bytes, mut changes) = ([0; BUNDLE_BYTES_MAX], Bytes(rest));
    bytes[..VALID.len()].copy_from_slice(&VALID);
    while !changes.is_empty() {
        let (place, value) = (usize::from(changes.short()), changes.byte());
        bytes[place % VALID.len()] = value;
    }
    sign(&mut bytes, VALID.len(), &KEY).expect("as long as before");
    if let Ok(signed) = check(&bytes[..VALID.len()], &[KEY.public()]) {
        judge(signed);
    }
}

fn judge(signed: &[u8]) {
    let Ok(bundle) = read(signed) else { return };
    assert!(bundle.parameters.validate().is_ok() && bundle.parent < bundle.revision);
    let mut again = [0; BUNDLE_BYTES_MAX];
    let length = bundle.write(&mut again).expect("it fitted before");
    // The length field is only looked at together with the signature.
    assert_eq!(again[8..length - SIGNATURE_BYTES], signed[8..], "one bundle, one form");
    let _ = prove(&bundle);
}
