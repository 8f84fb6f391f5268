//! A pair of weights and threshold, judged on a camera's validation part.

use crate::dataset::camera::Part;
use crate::error::HostError;
use crate::experiment::chain::Chain;
use crate::experiment::head_stage::HeadStage;
use crate::experiment::held_out::{self, Judged};
use crate::experiment::record::sum;
use crate::experiment::source::BALANCE_SEED;
use crate::metric::confusion::Confusion;
use crate::metric::eer::equal_error_rate_of;
use crate::metric::pr::auc_pr;
use crate::metric::roc::auc_roc;
use crate::metric::samples::Ranked;
use crate::phase::methodology::ThresholdFrom;
use crate::phase::pseudo_label::is_flagged;
use crate::phase::validation_set::balance;
use crate::train::trainer::Trainer;
use std::path::Path;

/// A pair's threshold and figures.
pub(super) struct Judgement {
    pub threshold: f64,
    pub auc_roc: f64,
    pub auc_pr: f64,
    /// Decisions on held-out clips, summed over the halvings.
    pub held_out_by_clip: Vec<Confusion>,
    /// Decisions on the clips that the threshold was set on, for the gate.
    pub validation_by_clip: Vec<Confusion>,
}

impl Chain<'_> {
    /// Threshold and figures of a pair on the camera's validation part. A gated chain sees one half of its clips only, for threshold, AUC and gate, and
    /// is reported on the other: what chooses a candidate must not judge it.
    pub(super) fn judge(&self, trainer: &mut dyn Trainer, head: &HeadStage) -> Result<Judgement, HostError> {
        let part = &self.camera.validation;
        let density = self.density(trainer, &part.windows);
        let scores = head.apply(&self.looks.validation_features, &density);
        let clip: Vec<u32> = (0..part.windows.len() as u32).map(|window| part.windows.origin(window).clip).collect();
        let seen = self.seen_clips(&clip);
        let is_seen = |window: u32| seen.get(clip[window as usize] as usize) == Some(&true);
        let known: Vec<u32> = (0..part.windows.len() as u32).filter(|&window| is_seen(window)).collect();
        let truth: Vec<bool> = known.iter().map(|&window| part.is_anomalous[window as usize]).collect();
        let chosen: Vec<u32> = balance(&truth, BALANCE_SEED).into_iter().map(|place| known[place as usize]).collect();
        let pairs = || chosen.iter().map(|&window| (scores[window as usize], part.is_anomalous[window as usize]));
        let unfit = |reason| {
            HostError::data(
                Path::new(&self.camera.name),
                format!("the validation part sets no threshold: {reason}"),
                "give it both classes and finite poses",
            )
        };
        let ranked = Ranked::of_pairs(pairs()).map_err(unfit)?;
        let fixed = (self.recipe().threshold == ThresholdFrom::Source).then_some(self.source.threshold);
        let threshold = match fixed {
            Some(threshold) => threshold,
            None => equal_error_rate_of(pairs()).map_err(unfit)?.threshold,
        };
        let judged = Judged { scores: &scores, is_anomalous: &part.is_anomalous, clip: &clip, clips: part.clips.len() };
        let held_out_by_clip = if self.recipe().gated { held_out::beside(&judged, &seen) } else { held_out::by_clip(&judged, fixed) };
        let validation_by_clip =
            decisions(part, &scores, threshold).into_iter().zip(&seen).filter(|(_, seen)| **seen).map(|(clip, _)| clip).collect();
        Ok(Judgement { threshold, auc_roc: auc_roc(&ranked), auc_pr: auc_pr(&ranked), held_out_by_clip, validation_by_clip })
    }

    /// Validation clips that threshold and gate may look at: all, or half of them. Where that half holds one class only it sets no threshold: a
    /// gated chain then sees all clips, and nothing is left to report it on.
    fn seen_clips(&self, clip: &[u32]) -> Vec<bool> {
        let part = &self.camera.validation;
        let half = held_out::gate_half(part.clips.len());
        let holds = |class: bool| {
            part.is_anomalous.iter().zip(clip).any(|(truth, clip)| *truth == class && half.get(*clip as usize) == Some(&true))
        };
        if self.recipe().gated && holds(false) && holds(true) { half } else { vec![true; part.clips.len()] }
    }
}

/// Decisions by clip.
pub(super) fn decisions(part: &Part, scores: &[f64], threshold: f64) -> Vec<Confusion> {
    let mut out = vec![Confusion::default(); part.clips.len()];
    for (window, (&score, &truth)) in (0_u32..).zip(scores.iter().zip(&part.is_anomalous)) {
        if let Some(clip) = out.get_mut(part.windows.origin(window).clip as usize) {
            clip.add(truth, is_flagged(score, threshold));
        }
    }
    debug_assert_eq!(sum(&out).total(), scores.len() as u64);
    out
}
