//! The validation set under a pair: labelled scores, the pair's threshold, and what the gate compares.

use crate::cycle::cross_fit::{CrossFit, cross_fit, deal};
use crate::cycle::footage::{DataPath, Stretch};
use crate::cycle::pair::Pair;
use crate::error::HostError;
use crate::metric::bootstrap::{BootstrapPlan, Interval, bootstrap_all};
use crate::metric::confusion::Confusion;
use crate::metric::eer::equal_error_rate;
use crate::metric::quantile::quantile;
use crate::metric::samples::{LabelledScore, Truth};
use crate::threshold::choice::{Choice, Refusal, Requirements, choose};
use crate::threshold::policy::Policy;
use alfred_bundle::format::QUANTILES;
use alfred_store::evaluation::ValidationScore;

/// Resamples of intervals and of the gate.
pub const RESAMPLES: usize = 300;
/// Labelled scores per class, at most.
const SCORES_PER_CLASS_MAX: usize = 3000;
/// Frames of one event that count, evenly spread: more say nothing new.
const FRAMES_PER_EVENT_MAX: usize = 40;

/// A member of the validation set with its poses.
#[derive(Clone, Debug)]
pub struct Member {
    /// The item's footage.
    pub stretch: Stretch,
    /// Its label.
    pub is_anomalous: bool,
    /// Frames of the camera that each of its frames stands for.
    pub weight: f64,
}

/// The validation set as a pair scores it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Equally many of each class, drawn by what they stand for; the group is the member's number.
    pub samples: Vec<LabelledScore>,
    /// The members' highest scores.
    pub scores: Vec<ValidationScore>,
    /// Quantiles of normal windows' scores, for the bundle.
    pub quantiles: Option<[f32; QUANTILES.len()]>,
    /// Fold of each member.
    folds: Vec<usize>,
}

/// Equal error rate with its interval.
#[derive(Clone, Copy, Debug)]
pub struct Eer {
    /// The rate, 0 to 1.
    pub rate: f64,
    /// Its 95 % interval.
    pub interval: Option<Interval>,
}

/// Scores the members with a pair.
///
/// # Errors
/// [`HostError`] when the pair makes no scorer.
pub fn judge(members: &[Member], pair: &Pair, path: &mut DataPath) -> Result<Judged, HostError> {
    let mut scorer = pair.scorer()?;
    let (mut frames, mut scores, mut normal_windows) = ([Vec::new(), Vec::new()], Vec::new(), Vec::new());
    for (group, member) in members.iter().enumerate() {
        let scored = path.score(&member.stretch, &mut scorer)?;
        let Some(peak) = scored.peak() else { continue };
        scores.push(ValidationScore { item: member.stretch.item, is_anomalous: member.is_anomalous, score: peak });
        if !member.is_anomalous && !member.stretch.is_event {
            normal_windows.extend(scored.windows.iter().map(|window| window.score));
        }
        let step = scored.smoothed.len().div_ceil(FRAMES_PER_EVENT_MAX).max(1);
        let kept: Vec<f64> = scored.smoothed.iter().copied().step_by(step).collect();
        let weight = member.weight * scored.smoothed.len() as f64 / kept.len() as f64;
        frames[usize::from(member.is_anomalous)].extend(kept.into_iter().map(|score| (score, weight, group as u32)));
    }
    let per_class = frames[0].len().max(frames[1].len()).min(SCORES_PER_CLASS_MAX);
    let mut samples = Vec::with_capacity(2 * per_class);
    for (class, frames) in frames.iter().enumerate() {
        let truth = Truth::of(class == 1);
        samples.extend(drawn(frames, per_class).map(|(score, group)| LabelledScore { score, truth, group }));
    }
    let person = |stretch: &Stretch| u64::from(stretch.start) << 32 | u64::from(stretch.person);
    let folds = deal(&members.iter().map(|member| (person(&member.stretch), member.is_anomalous)).collect::<Vec<_>>());
    Ok(Judged { samples, scores, quantiles: quantiles(normal_windows), folds })
}

/// `count` of the frames, each as often as its weight asks for, without chance: where the running weight passes the next step.
fn drawn(frames: &[(f64, f64, u32)], count: usize) -> impl Iterator<Item = (f64, u32)> + '_ {
    let total: f64 = frames.iter().map(|(_, weight, _)| weight).sum();
    let step = total / count.max(1) as f64;
    let mut running = 0.0;
    frames.iter().flat_map(move |&(score, weight, group)| {
        let before = (running / step).floor();
        running += weight;
        let times = if step > 0.0 { ((running / step + 1e-9).floor() - before).max(0.0) as usize } else { 0 };
        std::iter::repeat_n((score, group), times)
    })
}

fn quantiles(mut scores: Vec<f64>) -> Option<[f32; QUANTILES.len()]> {
    scores.sort_unstable_by(f64::total_cmp);
    let mut found = [0.0; QUANTILES.len()];
    for (place, share) in found.iter_mut().zip(QUANTILES) {
        *place = quantile(&scores, f64::from(share))? as f32;
    }
    Some(found)
}

impl Judged {
    /// The EER threshold, or why there is none.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn threshold(&self, events_per_class_min: usize, seed: u64) -> Result<Choice, Refusal> {
        let requirements = Requirements { events_per_class_min, ..Requirements::default() };
        choose(&self.samples, Policy::Eer, &requirements, &plan(seed))
    }

    /// The equal error rate; `None` where it has no value.
    #[must_use]
    pub fn eer(&self, seed: u64) -> Option<Eer> {
        let [rate] = bootstrap_all(&self.samples, &plan(seed), |ranked| [Some(equal_error_rate(ranked).rate())]).ok()?;
        Some(Eer { rate: rate.value, interval: rate.interval })
    }

    /// Decisions member by member at EER thresholds that they had no part in choosing; `None` when the set is too small for that.
    #[must_use]
    pub fn cross_fitted(&self, seed: u64) -> Option<CrossFit> {
        cross_fit(&self.samples, &self.folds, Policy::Eer, &plan(seed))
    }

    /// Decisions at a threshold that was chosen elsewhere, member by member: what the gate compares.
    #[must_use]
    pub fn decisions(&self, threshold: f64) -> Vec<Confusion> {
        let mut groups = vec![Confusion::default(); self.folds.len()];
        for sample in &self.samples {
            if let Some(group) = groups.get_mut(sample.group as usize) {
                group.add(sample.truth.is_anomalous(), sample.score >= threshold);
            }
        }
        groups
    }

    /// Decisions at a threshold in all.
    #[must_use]
    pub fn confusion(&self, threshold: f64) -> Confusion {
        self.decisions(threshold).iter().fold(Confusion::default(), |mut all, group| {
            all.merge(group);
            all
        })
    }
}

/// The plan of intervals.
#[must_use]
pub const fn plan(seed: u64) -> BootstrapPlan {
    BootstrapPlan { resamples: RESAMPLES, seed }
}
