//! Configurations: read, and then valid for every window length, or refused with one line. Not under cargo-fuzz, since alfred-runtime
//! builds tract.

use alfred_core::normalise::PixelScale;
use alfred_runtime::config::Config;

/// Runs the target.
pub fn run(data: &[u8]) {
    // As `Config::read` does: no UTF-8, no configuration.
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text) {
        Err(what) => assert!(!what.is_empty() && !what.contains('\n'), "{what:?} is not one line"),
        Ok(config) => {
            for frames in [4, 16, 24, 48] {
                config.pipeline(frames, PixelScale::SQUARE, None).expect("was checked when it was read");
            }
        }
    }
}
