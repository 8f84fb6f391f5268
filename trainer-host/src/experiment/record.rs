//! What an iteration leaves behind.

use crate::experiment::unseen::UnseenClass;
use crate::metric::confusion::Confusion;
use crate::phase::audit::Audit;

/// Quantiles of the scores of flagged windows at 0, 5, 25, 50, 75, 95 and 100 %.
pub type ScoreQuantiles = [f64; 7];

/// The places of [`ScoreQuantiles`].
pub const QUANTILES: [f64; 7] = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0];

/// One iteration of one cell.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StepRecord {
    /// Number of the slice, from 0; for training without slices the number of slices less one.
    pub slice: u32,
    /// Decisions on the train slice by the pair in force before it trained, clip by clip. Empty for training without slices.
    pub train_by_clip: Vec<Confusion>,
    /// Decisions on held-out videos by the pair after it, clip by clip, summed over the halvings.
    pub held_out_by_clip: Vec<Confusion>,
    /// AUC-ROC on the balanced validation set after it.
    pub auc_roc: f64,
    /// AUC-PR there.
    pub auc_pr: f64,
    /// Threshold that goes with the weights after it.
    pub threshold: f64,
    /// Verdicts asked for.
    pub labels: u64,
    /// Verdicts that full active learning would have asked for: flagged windows.
    pub labels_full: u64,
    /// Windows that trained as normal.
    pub trained_normal: u64,
    /// Windows that trained as anomalous.
    pub trained_anomalous: u64,
    /// Truly anomalous windows among those that trained as normal.
    pub trained_wrong: u64,
    /// Pseudo-normal windows that the poisoning guard held back.
    pub held_back: u64,
    /// Whether the gate let the candidate through; `None` without a gate.
    pub gate_open: Option<bool>,
    /// Whether a verdict head was in force after it; `None` where the methodology has none.
    pub head: Option<bool>,
    /// Scores of flagged windows.
    pub flagged_scores: Option<ScoreQuantiles>,
    /// Threshold in force before it.
    pub theta_eer: f64,
    /// AL Light's upper end of the band at the slice's end.
    pub theta_med: Option<f64>,
    /// What the audit sample says so far.
    pub audit: Option<Audit>,
    /// Classes left out of the verdicts, after the last slice; empty where there is no head or no class has a name.
    #[serde(default)]
    pub unseen: Vec<UnseenClass>,
    /// Time it took, seconds. Not part of any table that must repeat.
    pub seconds: f64,
}

impl StepRecord {
    /// Decisions on the train slice.
    #[must_use]
    pub fn train(&self) -> Confusion {
        sum(&self.train_by_clip)
    }

    /// Decisions on held-out videos.
    #[must_use]
    pub fn held_out(&self) -> Confusion {
        sum(&self.held_out_by_clip)
    }
}

/// The sum of decisions.
#[must_use]
pub fn sum(parts: &[Confusion]) -> Confusion {
    let mut all = Confusion::default();
    parts.iter().for_each(|part| all.merge(part));
    all
}

/// A finished cell.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Cell {
    /// Camera.
    pub camera: String,
    /// Model, as on the command line.
    pub model: String,
    /// Methodology.
    pub methodology: String,
    /// Seed.
    pub seed: u64,
    /// Its iterations.
    pub steps: Vec<StepRecord>,
}

impl Cell {
    /// Cumulative decisions on the train slices; `None` for training without slices.
    #[must_use]
    pub fn cumulative(&self) -> Option<Confusion> {
        let all = sum(&self.steps.iter().map(StepRecord::train).collect::<Vec<_>>());
        (all != Confusion::default()).then_some(all)
    }

    /// Decisions on held-out videos after the last iteration, clip by clip.
    #[must_use]
    pub fn held_out_by_clip(&self) -> &[Confusion] {
        self.steps.last().map_or(&[], |step| &step.held_out_by_clip)
    }

    /// Verdicts asked for, and those of full active learning.
    #[must_use]
    pub fn labels(&self) -> (u64, u64) {
        self.steps.iter().fold((0, 0), |(labels, full), step| (labels + step.labels, full + step.labels_full))
    }

    /// Highest AUC-ROC and AUC-PR over the iterations, as the paper reports them.
    #[must_use]
    pub fn best_auc(&self) -> (f64, f64) {
        let best = |of: fn(&StepRecord) -> f64| self.steps.iter().map(of).fold(f64::NAN, f64::max);
        (best(|step| step.auc_roc), best(|step| step.auc_pr))
    }
}
