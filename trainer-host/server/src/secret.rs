//! Random secrets: reviewers' tokens, sessions, guards against forged requests. 256 bits each, so that a plain hash is enough to keep them.

use crate::error::ServeError;
use alfred_store::device::Sha256;
use sha2::Digest;
use std::fmt::Write;
use subtle::ConstantTimeEq;

/// Letters of a secret.
pub const SECRET_LETTERS: usize = 64;

/// A new secret: 64 hexadecimal digits.
///
/// # Errors
/// [`ServeError::System`] when the system gives no random numbers.
pub fn new_secret() -> Result<String, ServeError> {
    let mut bytes = [0; SECRET_LETTERS / 2];
    getrandom::fill(&mut bytes).map_err(|error| ServeError::System(format!("no random numbers: {error}")))?;
    let mut text = String::with_capacity(SECRET_LETTERS);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// What is kept of a secret.
#[must_use]
pub fn hash(secret: &str) -> Sha256 {
    sha2::Sha256::digest(secret.as_bytes()).into()
}

/// Whether two texts or hashes are the same, in a time that tells nothing about where they differ.
#[must_use]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_new_and_kept_as_hashes() {
        let (one, other) = (new_secret().expect("random"), new_secret().expect("random"));
        assert!(one.len() == SECRET_LETTERS && one != other && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        // FIPS 180-2, appendix B.1.
        assert_eq!(hash("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert!(is_same(&hash(&one), &hash(&one)) && !is_same(&hash(&one), &hash(&other)) && !is_same(b"a", b"ab"));
    }
}
