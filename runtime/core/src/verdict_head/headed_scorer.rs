//! A model with a verdict head behind it, as the data path's scorer.

use super::head::VerdictHead;
use crate::scorer::{ScoreResult, Scorer, Window};

/// Any scorer, and the camera's head if it has one. Without a head every score passes untouched; with one, faults do. Nothing is allocated.
#[derive(Clone, Debug)]
pub struct HeadedScorer<S> {
    scorer: S,
    head: Option<VerdictHead>,
}

impl<S> HeadedScorer<S> {
    /// A scorer with or without a head.
    #[must_use]
    pub const fn new(scorer: S, head: Option<VerdictHead>) -> Self {
        Self { scorer, head }
    }

    /// The head, if there is one.
    #[must_use]
    pub const fn head(&self) -> Option<&VerdictHead> {
        self.head.as_ref()
    }

    /// The scorer itself, without the head.
    #[must_use]
    pub const fn scorer(&self) -> &S {
        &self.scorer
    }
}

impl<S: Scorer> Scorer for HeadedScorer<S> {
    fn window_frames(&self) -> usize {
        self.scorer.window_frames()
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        self.scorer.score_batch(windows, scores);
        let Some(head) = &self.head else { return };
        for (window, score) in windows.iter().zip(scores) {
            *score = score.map(|density| head.combine(window, density));
        }
    }
}
