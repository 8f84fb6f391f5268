//! Keys and signatures: ed25519 over every byte of a bundle but the signature itself.
//!
//! Keys are 32 bytes, in files and configurations 64 hexadecimal digits. Verification is the strict one: no weak keys, no second form of a
//! signature.

use crate::format::{BUNDLE_BYTES_MAX, HEADER_BYTES, MAGIC, SIGNATURE_BYTES};
use alfred_wire::error_code::ErrorCode;
use core::fmt;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Bytes of a key, secret or public.
pub const KEY_BYTES: usize = 32;

/// The host's secret.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A key from 32 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// What devices must trust.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the secret.
        f.debug_tuple("SecretKey").field(&self.public()).finish()
    }
}

/// A key that a device trusts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Takes a key's bytes; `None` for bytes that are no key, or a weak one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Option<Self> {
        VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak()).map(Self)
    }

    /// The bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; KEY_BYTES] {
        self.0.to_bytes()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads 64 hexadecimal digits; `None` for anything else.
#[must_use]
pub fn key_from_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits: &[u8; 2 * KEY_BYTES] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; KEY_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let digit = |character: u8| char::from(character).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

/// Signs the first `bytes` bytes but the last 64, which become the signature.
///
/// # Errors
/// [`ErrorCode::BundleTooLarge`], [`ErrorCode::BundleTruncated`] when the number is none that a bundle can have.
pub fn sign(bundle: &mut [u8; BUNDLE_BYTES_MAX], bytes: usize, key: &SecretKey) -> Result<(), ErrorCode> {
    let bundle = bundle.get_mut(..bytes).ok_or(ErrorCode::BundleTooLarge)?;
    let (signed, signature) = bundle.split_last_chunk_mut::<SIGNATURE_BYTES>().ok_or(ErrorCode::BundleTruncated)?;
    *signature = key.0.sign(signed).to_bytes();
    Ok(())
}

/// Checks size and signature, and nothing else; returns the signed bytes. Of what the bundle says only its length was looked at by then.
///
/// # Errors
/// [`ErrorCode::BundleTooLarge`], [`ErrorCode::BundleTruncated`], [`ErrorCode::BundleNotABundle`], [`ErrorCode::BundleNoKey`],
/// [`ErrorCode::BundleSignature`].
pub fn check<'b>(bytes: &'b [u8], trusted: &[PublicKey]) -> Result<&'b [u8], ErrorCode> {
    if bytes.len() > BUNDLE_BYTES_MAX {
        return Err(ErrorCode::BundleTooLarge);
    }
    let magic_bytes = bytes.len().min(MAGIC.len());
    if bytes[..magic_bytes] != MAGIC[..magic_bytes] {
        return Err(ErrorCode::BundleNotABundle);
    }
    let length = bytes.get(4..8).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes).ok_or(ErrorCode::BundleTruncated)?;
    let told = usize::try_from(length).unwrap_or(usize::MAX);
    if told > BUNDLE_BYTES_MAX {
        return Err(ErrorCode::BundleTooLarge);
    }
    if told < HEADER_BYTES + SIGNATURE_BYTES || bytes.len() > told {
        return Err(ErrorCode::BundleNotABundle);
    }
    if bytes.len() < told {
        return Err(ErrorCode::BundleTruncated);
    }
    if trusted.is_empty() {
        return Err(ErrorCode::BundleNoKey);
    }
    let (signed, signature) = bytes.split_last_chunk::<SIGNATURE_BYTES>().ok_or(ErrorCode::BundleTruncated)?;
    let signature = Signature::from_bytes(signature);
    let is_right = trusted.iter().any(|key| key.0.verify_strict(signed, &signature).is_ok());
    if is_right { Ok(signed) } else { Err(ErrorCode::BundleSignature) }
}
