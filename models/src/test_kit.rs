//! What the tests of several architectures share.

/// FNV-1a over the bits of scores: one number for "the same bits on every target".
pub(crate) fn hash_bits(scores: &[f32]) -> u64 {
    hash_more_bits(0xcbf2_9ce4_8422_2325, scores)
}

/// Goes on with a hash.
pub(crate) fn hash_more_bits(start: u64, scores: &[f32]) -> u64 {
    let bytes = scores.iter().flat_map(|score| score.to_bits().to_le_bytes());
    bytes.fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
