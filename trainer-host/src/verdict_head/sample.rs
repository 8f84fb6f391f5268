//! What a head is trained on, how, and why there may be none.

use alfred_core::scorer::Window;
use alfred_core::units::AnomalyScore;
use alfred_core::verdict_head::{Features, HeadFault, features};

/// One window with a verdict: a confirmed anomaly, a false alarm that a person put right, or a pseudo-normal window that nobody had to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadSample {
    /// Features of the normalised window.
    pub features: Features,
    /// The model's score, as the device computes it.
    pub density: AnomalyScore,
    /// The verdict.
    pub is_anomalous: bool,
    /// What belongs together: windows of one group are never learned from and checked on in the same fold. The clip or, on a live camera,
    /// the event and the hour around it, since windows of one event are nearly copies of each other.
    pub group: u32,
}

impl HeadSample {
    /// A sample from a window.
    #[must_use]
    pub fn new(window: &Window, density: AnomalyScore, is_anomalous: bool, group: u32) -> Self {
        Self { features: features(window), density, is_anomalous, group }
    }
}

/// How a head is trained.
///
/// The default was chosen on the motion-capture benchmark without its cameras' test videos: heads learned from one of (the source's test split, the
/// cameras' train slices) and were judged on the anomalies of the other and on normal windows of later slices. No motion clip is in both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadRecipe {
    /// How strongly the verdicts pull against the prior, above zero: half of the weight of all anomalous windows and half of all normal ones,
    /// whatever their number. More follows the judged kinds closer and costs kinds that nobody has judged.
    pub evidence: f64,
    /// Lowest log-odds that count: how far verdicts may excuse a window.
    pub verdict_floor: f32,
    /// Weight of the verdicts' log-odds.
    pub verdict_share: f32,
    /// Weight of the standardised distance from the normal windows.
    pub distance_share: f32,
    /// Weight of the standardised density score.
    pub density_share: f32,
    /// Groups with anomalous windows that are needed, at least 2: fewer cannot be checked on each other.
    pub anomalous_groups_min: usize,
    /// Normal windows that are needed, at least 2.
    pub normal_windows_min: usize,
    /// Parts that the groups are cut into for the check, at least 2.
    pub folds: usize,
    /// AUC-ROC (0 to 1) by which the head must beat the density score alone on groups that it has not seen.
    pub gain_min: f64,
}

impl Default for HeadRecipe {
    fn default() -> Self {
        Self {
            evidence: 40.0,
            verdict_floor: -6.0,
            verdict_share: 1.0,
            distance_share: 0.5,
            density_share: 1.5,
            anomalous_groups_min: 3,
            normal_windows_min: 200,
            folds: 3,
            gain_min: 0.0,
        }
    }
}

/// Why there is no head. The density score then serves alone, as before.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum NoHead {
    /// Too few groups with confirmed anomalies.
    #[error("confirmed anomalies in {found} groups of windows, {needed} are needed; review more alarms")]
    TooFewAnomalous {
        /// Groups with an anomalous window.
        found: usize,
        /// Groups needed.
        needed: usize,
    },
    /// Too few normal windows.
    #[error("{found} normal windows, {needed} are needed; let the camera run longer")]
    TooFewNormal {
        /// Normal windows.
        found: usize,
        /// Windows needed.
        needed: usize,
    },
    /// A sample's features are no numbers.
    #[error("sample {sample}: a feature is NaN or infinite; leave out windows that have no normalised form")]
    NotFinite {
        /// Index of the sample.
        sample: usize,
    },
    /// The recipe makes no sense.
    #[error("the recipe's {0} lies outside its range; see HeadRecipe")]
    Recipe(&'static str),
    /// On groups that it had not seen, the head was no better than the density score alone.
    #[error("on unseen groups the head reaches an AUC-ROC of {head:.3}, the density score alone {density:.3}; review more alarms")]
    NoGain {
        /// Mean AUC-ROC of the heads over the folds, 0 to 1.
        head: f64,
        /// Mean AUC-ROC of the density score on the same windows.
        density: f64,
    },
    /// No fold held windows of both classes, so nothing could be checked.
    #[error("no part of the groups holds both classes outside the other parts; review alarms of more than one day or place")]
    Unchecked,
    /// The equations have no solution.
    #[error("the regression has no solution; look for absurd features")]
    Singular,
    /// The trained numbers are no head.
    #[error("the trained head is refused: {0}")]
    Refused(#[from] HeadFault),
}
