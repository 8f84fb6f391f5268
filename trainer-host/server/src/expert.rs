//! What the daemon must know about models and cannot know itself: whoever links models gives it. Without one the daemon still serves; what
//! needs models then says so.

use alfred_store::playback::Playback;
use serde::Serialize;
use std::fmt::Debug;

/// The score of a person in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FrameScore {
    /// The frame.
    pub frame: u64,
    /// The smoothed anomaly score that decides there; higher = more anomalous.
    pub score: f64,
}

/// Scores of normal windows: as the bundle remembers them and as they are now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Which quantiles, 0 to 1, rising.
    pub levels: Vec<f64>,
    /// Those of the bundle's validation set; `None`: the bundle does not say.
    pub bundle: Option<Vec<f64>>,
    /// Those of the scores that were given; `None` without scores.
    pub recent: Option<Vec<f64>>,
}

/// Knows models and bundles.
pub trait Expert: Debug + Send + Sync {
    /// Scores of an item's flagged person, frame by frame, as the device decided: with this signed bundle, or with the device's model file
    /// when there is none.
    ///
    /// # Errors
    /// A text for people: why there are none.
    fn scores(&self, playback: &Playback, bundle: Option<&[u8]>) -> Result<Vec<FrameScore>, String>;

    /// Quantiles of a signed bundle (`None`: of no bundle) and of `scores`, which rise.
    fn quantiles(&self, bundle: Option<&[u8]>, scores: &[f64]) -> Quantiles;

    /// Places of at most `count` features, those that differ most first.
    fn spread(&self, features: &[Vec<f32>], count: usize) -> Vec<usize>;
}
