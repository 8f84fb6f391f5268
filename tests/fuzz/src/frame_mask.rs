//! npy frame masks: read, with no more frames than the file has bytes, or refused with one line.

use alfred_clips::frame_mask::parse;

/// Runs the target.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    match parse(data) {
        Err(what) => assert!(!what.is_empty() && !what.contains('\n'), "{what:?} is not one line"),
        Ok(frames) => assert!(frames.len() <= data.len()),
    }
}
