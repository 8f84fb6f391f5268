//! Weight files that come out the same to the byte.

use std::collections::BTreeMap;

/// The container's library writes metadata in the order of a hash map, another one in each process; the same model must give the same
/// bytes, since files are hashed and signed. `None` if the header is not what the library writes.
pub(crate) fn with_sorted_header(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let sorted: BTreeMap<&String, BTreeMap<&String, &serde_json::Value>> =
        entries.iter().map(|(name, entry)| Some((name, entry.as_object()?.iter().collect()))).collect::<Option<_>>()?;
    let mut text = serde_json::to_vec(&sorted).ok()?;
    // Tensor data begins at a multiple of eight bytes.
    text.resize(text.len().next_multiple_of(8), b' ');
    Some([&(text.len() as u64).to_le_bytes(), text.as_slice(), data].concat())
}
