//! Weight files: read or refused with one line; what is read is written and read again as the same weights, and scores.
//!
//! First byte even: the rest is the file. Odd: the rest are changes to a valid file (place: 2 bytes, value: 1 byte; place 65,535: the
//! file ends at the next place), because a whole valid file is too large for coverage to build from nothing.

use super::bytes::Bytes;
use alfred_core::scorer::Window;
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape};
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_models::stg_nf::weights_file::{StgNfMetadata, read, write};
use std::sync::LazyLock;

static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let parameters = StgNfParameters::zero(StgNfShape::new(4).expect("the shortest window"));
    let metadata = StgNfMetadata { threshold: Some(1.5), preprocessing: Some("shanghaitech".into()), ..StgNfMetadata::default() };
    write(&parameters, &metadata).expect("valid")
});

/// Runs the target.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let (Some(mode), rest) = (data.first(), data.get(1..).unwrap_or_default()) else { return };
    if mode % 2 == 0 { judge(rest) } else { judge(&changed(rest)) }
}

fn changed(changes: &[u8]) -> Vec<u8> {
    let mut file = VALID.clone();
    let mut changes = Bytes(changes);
    while !changes.is_empty() {
        match changes.short() {
            u16::MAX => file.truncate(usize::from(changes.short())),
            place => {
                let (length, value) = (file.len().max(1), changes.byte());
                if let Some(byte) = file.get_mut(usize::from(place) % length) {
                    *byte = value;
                }
            }
        }
    }
    file
}

fn judge(file: &[u8]) {
    let weights = match read(file) {
        Ok(weights) => weights,
        Err(fault) => {
            // Debug of the dependency's own error may not span lines either: people read it in one-line logs.
            assert!(!fault.to_string().contains('\n'), "{fault}");
            return;
        }
    };
    let again = write(&weights.parameters, &weights.metadata).expect("what was read can be written");
    let again = read(&again).expect("what was written can be read");
    assert_eq!(again.parameters, weights.parameters);
    assert_eq!(again.metadata, weights.metadata);
    let Ok(scorer) = StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), Lane::Fast) else { return };
    let mut window = Window::EMPTY;
    window.set_frames(weights.parameters.shape.frames());
    if let Ok(score) = scorer.score(&window) {
        assert!(score.value().is_finite());
    }
}
