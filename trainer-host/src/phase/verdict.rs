//! What people say of windows, and who is asked.

use alfred_synth::random::Random;

/// A person's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Verdict {
    /// Nothing unusual: a flagged window was a false positive.
    Normal,
    /// Unusual: a flagged window was a true positive.
    Anomalous,
}

impl Verdict {
    /// The verdict that truth asks for.
    #[must_use]
    pub const fn of(is_anomalous: bool) -> Self {
        if is_anomalous { Self::Anomalous } else { Self::Normal }
    }

    /// Whether it says "unusual".
    #[must_use]
    pub const fn is_anomalous(self) -> bool {
        matches!(self, Self::Anomalous)
    }
}

/// Whoever answers questions: a person behind the review page, or [`SimulatedAnnotator`].
pub trait Annotator {
    /// The verdict on windows that are shown as one; `None`: skipped or unsure, which trains nothing.
    fn verdict(&mut self, windows: &[u32]) -> Option<Verdict>;

    /// What an audit has said of windows below the threshold, which warm-up asks nobody about; `None`: nothing, they are taken for normal.
    fn audited(&mut self, _windows: &[u32]) -> Option<Verdict> {
        None
    }

    /// Whether these windows, shown as one, may join the validation set; false: they are kept for training.
    fn may_validate(&mut self, _windows: &[u32]) -> bool {
        true
    }
}

/// Answers from ground truth, and errs at a given rate.
///
/// Windows shown as one are anomalous when any of them is: a person who sees a fall in a clip says so, however long the walk before it.
#[derive(Clone, Debug)]
pub struct SimulatedAnnotator<'t> {
    is_anomalous: &'t dyn Truth,
    error_share: f64,
    random: Random,
}

/// Ground truth by window.
pub trait Truth: std::fmt::Debug {
    /// Whether the window is anomalous.
    fn is_anomalous(&self, window: u32) -> bool;
}

impl Truth for Vec<bool> {
    fn is_anomalous(&self, window: u32) -> bool {
        self.get(window as usize).copied().unwrap_or(false)
    }
}

impl<'t> SimulatedAnnotator<'t> {
    /// Answers from `truth`; a share `error_share` (0 to 1) of the answers is wrong.
    #[must_use]
    pub fn new(truth: &'t dyn Truth, error_share: f64, seed: u64) -> Self {
        Self { is_anomalous: truth, error_share: error_share.clamp(0.0, 1.0), random: Random::new(seed) }
    }
}

impl Annotator for SimulatedAnnotator<'_> {
    fn verdict(&mut self, windows: &[u32]) -> Option<Verdict> {
        let truth = windows.iter().any(|&window| self.is_anomalous.is_anomalous(window));
        let errs = self.error_share > 0.0 && self.random.chance(self.error_share);
        Some(Verdict::of(truth != errs))
    }
}
