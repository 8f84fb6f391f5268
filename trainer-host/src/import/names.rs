//! A model's list of tensors against a file's: what is missing, what is too much, named.

use super::tensors::TensorFile;
use crate::error::HostError;
use std::collections::BTreeSet;
use std::path::Path;

/// Tensors that a message names before it counts the rest.
const NAMED_MAX: usize = 5;

/// Checks that a file holds all `required` tensors and, besides them, none but `tolerated` ones.
///
/// # Errors
/// [`HostError::Data`] naming up to five missing and five unexpected tensors.
pub fn check(path: &Path, file: &TensorFile, model: &str, required: &[String], tolerated: &[&str]) -> Result<(), HostError> {
    let required: BTreeSet<&str> = required.iter().map(String::as_str).collect();
    let found: BTreeSet<&str> = file.tensors.keys().map(String::as_str).collect();
    let missing: Vec<&str> = required.difference(&found).copied().collect();
    let extra: Vec<&str> = found.difference(&required).copied().filter(|name| !tolerated.contains(name)).collect();
    let mut faults = Vec::new();
    for (what, names) in [("missing", &missing), ("unexpected", &extra)] {
        if !names.is_empty() {
            faults.push(format!("{what} tensors: {}", listing(names)));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(HostError::data(path, faults.join("; "), format!("give a checkpoint of {model}, running statistics included")))
}

/// Up to five names, then how many more there are.
fn listing(names: &[&str]) -> String {
    let named: Vec<String> = names.iter().take(NAMED_MAX).map(|name| alfred_pickle::pickle::clip(name)).collect();
    match names.len().saturating_sub(NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
