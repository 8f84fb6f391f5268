//! Everything that must hold before a bundle may be tried: one function, one code per reason.

use crate::collapse::collapse;
use crate::format::{BUNDLE_BYTES_MAX, Bundle, read};
use crate::self_test;
use crate::signature::{PublicKey, SecretKey, check, sign};
use alfred_wire::error_code::ErrorCode;
use alfred_wire::name::Name;

/// What a device knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Its camera.
    pub camera: Name,
    /// Fingerprint of its data path.
    pub fingerprint: u64,
    /// The revision that is confirmed; 0: none.
    pub confirmed: u64,
    /// The highest revision that was ever tried: lower or equal ones are refused, so that neither old nor failed weights come back.
    pub highest_tried: u64,
}

/// Verifies a bundle: size, signature, contents, camera, revision, parent, fingerprint, self-test, in this order.
///
/// # Errors
/// The code of the first thing that does not hold.
pub fn verify<'b>(bytes: &'b [u8], trusted: &[PublicKey], admission: &Admission) -> Result<Bundle<'b>, ErrorCode> {
    let bundle = read(check(bytes, trusted)?)?;
    if bundle.camera != admission.camera {
        return Err(ErrorCode::BundleWrongCamera);
    }
    if bundle.revision <= admission.highest_tried.max(admission.confirmed) {
        return Err(ErrorCode::BundleDowngrade);
    }
    if bundle.parent != 0 && bundle.parent != admission.confirmed {
        return Err(ErrorCode::BundleParent);
    }
    if bundle.fingerprint != admission.fingerprint {
        return Err(ErrorCode::BundleFingerprint);
    }
    prove(&bundle)?;
    Ok(bundle)
}

/// Runs a bundle's self-test.
///
/// # Errors
/// [`ErrorCode::BundleSelfTest`], [`ErrorCode::BundleNotFinite`].
pub fn prove(bundle: &Bundle<'_>) -> Result<(), ErrorCode> {
    let found = self_test::run(&bundle.parameters, bundle.max_hop, bundle.verdict_head().as_ref(), bundle.self_test.seed)?;
    if found == bundle.self_test.expected { Ok(()) } else { Err(ErrorCode::BundleSelfTest) }
}

/// Builds a bundle: computes what its self-test must give, writes and signs it. Returns its bytes' number.
///
/// # Errors
/// [`ErrorCode::BundleTooLarge`], and whatever a device would refuse in its contents.
pub fn build(bundle: &Bundle<'_>, key: &SecretKey, bytes: &mut [u8; BUNDLE_BYTES_MAX]) -> Result<usize, ErrorCode> {
    bundle.parameters.validate().map_err(|_| ErrorCode::BundleNotFinite)?;
    let mut bundle = Bundle { parameters: collapse(&bundle.parameters), ..*bundle };
    bundle.self_test.expected = self_test::run(&bundle.parameters, bundle.max_hop, bundle.verdict_head().as_ref(), bundle.self_test.seed)?;
    bytes.fill(0);
    let length = bundle.write(bytes).ok_or(ErrorCode::BundleTooLarge)?;
    sign(bytes, length, key)?;
    // What a device would refuse is refused here.
    read(check(&bytes[..length], &[key.public()])?)?;
    Ok(length)
}
