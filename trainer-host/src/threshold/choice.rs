//! Choosing a threshold, or refusing to: a choice has intervals, a refusal has a reason and keeps what was there.

use super::policy::Policy;
use crate::metric::bootstrap::{BootstrapPlan, Interval, bootstrap_all};
use crate::metric::roc::auc_roc;
use crate::metric::samples::{LabelledScore, NoMetric, Ranked, Truth};
use std::collections::BTreeSet;

/// What labelled scores must be like before a threshold may come from them.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Requirements {
    /// Groups (events or clips) that hold samples of a class, at least, for either class. With ten, a rate near 35 % is known to 30 points
    /// either way; fewer say next to nothing.
    pub events_per_class_min: usize,
    /// The lower end of the AUC-ROC's interval must be above this. At 0.5 the scores carry no information, and whatever
    /// threshold follows from them is chance.
    pub auc_roc_low_min: f64,
}

impl Default for Requirements {
    fn default() -> Self {
        Self { events_per_class_min: 10, auc_roc_low_min: 0.5 }
    }
}

/// The 95 % intervals of a choice, by group; `None` where too few resamples had a value.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ChoiceIntervals {
    /// Of the threshold that the policy would pick on other groups of the same kind.
    pub threshold: Option<Interval>,
    /// Of the FPR at the chosen threshold.
    pub false_positive_rate: Option<Interval>,
    /// Of the FNR at the chosen threshold.
    pub false_negative_rate: Option<Interval>,
    /// Of the EBI at the chosen threshold.
    pub ebi: Option<Interval>,
    /// Of the AUC-ROC.
    pub auc_roc: Option<Interval>,
}

/// A threshold and what it is expected to do. Shares are from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Choice {
    /// Flag from this score on; finite.
    pub threshold: f64,
    /// The rule that picked it.
    pub policy: Policy,
    /// FPR on the samples.
    pub false_positive_rate: f64,
    /// FNR on the samples.
    pub false_negative_rate: f64,
    /// Error Balance Index.
    pub ebi: f64,
    /// AUC-ROC of the scores, whatever the threshold.
    pub auc_roc: f64,
    /// How sure all of this is.
    pub intervals: ChoiceIntervals,
    /// Groups with normal samples.
    pub normal_groups: usize,
    /// Groups with anomalous samples.
    pub anomalous_groups: usize,
}

/// Why no threshold is chosen. One line each: what is wrong, and how to mend it.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The samples are no basis for any figure.
    #[error("the validation set is no basis for a threshold: {0}")]
    Samples(#[from] NoMetric),
    /// Too few events or clips of a class.
    #[error("only {found} events or clips with {truth} samples, {needed} are needed: review more of them")]
    TooFewEvents {
        /// The class.
        truth: Truth,
        /// Groups that hold it.
        found: usize,
        /// Groups that it takes.
        needed: usize,
    },
    /// The bootstrap gave no interval.
    #[error("too few resamples hold both classes for an interval of the AUC-ROC: review more events, or raise the number of resamples")]
    NoInterval,
    /// The scores may be no better than chance.
    #[error(
        "the AUC-ROC's interval begins at {:.1} %, not above {:.1} %: these weights do not tell anomalies from normal behaviour here, train them first",
        100.0 * low,
        100.0 * needed
    )]
    NotAboveChance {
        /// Lower end of the interval, 0 to 1.
        low: f64,
        /// What it must be above.
        needed: f64,
    },
    /// No threshold meets the policy.
    #[error("no threshold that flags anything gives {policy}: allow more, or train other weights")]
    OutOfReach {
        /// The policy.
        policy: Policy,
    },
    /// The policy itself cannot be used.
    #[error("the policy's numbers are out of range ({policy}): rates are from 0 to 1, alarms and frames above 0")]
    BadPolicy {
        /// The policy.
        policy: Policy,
    },
}

/// Chooses a threshold by `policy`.
///
/// # Errors
/// [`Refusal`]: a bad policy, then samples that are empty, of one class or not finite, then too few groups per class, then an AUC-ROC not surely above
/// chance, then a policy that nothing meets.
pub fn choose(samples: &[LabelledScore], policy: Policy, requirements: &Requirements, plan: &BootstrapPlan) -> Result<Choice, Refusal> {
    if !policy.is_valid() {
        return Err(Refusal::BadPolicy { policy });
    }
    let ranked = Ranked::new(samples)?;
    let groups = |truth: Truth| {
        let found = samples.iter().filter(|sample| sample.truth == truth).map(|sample| sample.group).collect::<BTreeSet<u32>>().len();
        let needed = requirements.events_per_class_min;
        if found < needed { Err(Refusal::TooFewEvents { truth, found, needed }) } else { Ok(found) }
    };
    let (normal_groups, anomalous_groups) = (groups(Truth::Normal)?, groups(Truth::Anomalous)?);
    let picked = policy.pick(&ranked);
    // Without a candidate the bootstrap still answers for the AUC: chance is the more basic reason.
    let threshold = picked.map_or(f64::MAX, |candidate| candidate.threshold);
    let figures = |ranked: &Ranked| {
        let counts = ranked.at(threshold);
        let rates = [counts.false_positive_rate(), counts.false_negative_rate(), counts.ebi()];
        [Some(auc_roc(ranked)), rates[0], rates[1], rates[2]]
    };
    let [auc_roc, false_positive_rate, false_negative_rate, ebi] = bootstrap_all(samples, plan, figures)?;
    let low = auc_roc.interval.ok_or(Refusal::NoInterval)?.low;
    if low <= requirements.auc_roc_low_min {
        return Err(Refusal::NotAboveChance { low, needed: requirements.auc_roc_low_min });
    }
    if picked.is_none() {
        return Err(Refusal::OutOfReach { policy });
    }
    let repicked = |ranked: &Ranked| [policy.pick(ranked).map(|candidate| candidate.threshold)];
    let [repicked] = bootstrap_all(samples, plan, repicked)?;
    Ok(Choice {
        threshold,
        policy,
        false_positive_rate: false_positive_rate.value,
        false_negative_rate: false_negative_rate.value,
        ebi: ebi.value,
        auc_roc: auc_roc.value,
        intervals: ChoiceIntervals {
            threshold: repicked.interval,
            false_positive_rate: false_positive_rate.interval,
            false_negative_rate: false_negative_rate.interval,
            ebi: ebi.interval,
            auc_roc: auc_roc.interval,
        },
        normal_groups,
        anomalous_groups,
    })
}

/// What becomes of a camera's threshold.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The new one.
    Adopted(Box<Choice>),
    /// The old one stays.
    Kept {
        /// The old threshold.
        threshold: f64,
        /// Why.
        refusal: Refusal,
    },
}

impl Outcome {
    /// The threshold that holds from now on.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        match self {
            Self::Adopted(choice) => choice.threshold,
            Self::Kept { threshold, .. } => *threshold,
        }
    }
}

/// Takes the new threshold, or keeps the old one and says why.
#[must_use]
pub fn decide(old_threshold: f64, result: Result<Choice, Refusal>) -> Outcome {
    match result {
        Ok(choice) => Outcome::Adopted(Box::new(choice)),
        Err(refusal) => Outcome::Kept { threshold: old_threshold, refusal },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alfred_synth::random::Random;

    const PLAN: BootstrapPlan = BootstrapPlan { resamples: 200, seed: 5 };

    /// `groups` clips of 40 samples, half of them anomalous and `shift` higher.
    fn samples(groups: u32, shift: f64) -> Vec<LabelledScore> {
        let mut random = Random::new(8);
        (0..groups)
            .flat_map(|group| (0..40).map(move |index| (group, index % 2 == 0)))
            .map(|(group, is_anomalous)| {
                let score = random.normal() + if is_anomalous { shift } else { 0.0 };
                LabelledScore { score, truth: Truth::of(is_anomalous), group }
            })
            .collect()
    }

    fn choose_eer(samples: &[LabelledScore]) -> Result<Choice, Refusal> {
        choose(samples, Policy::Eer, &Requirements::default(), &PLAN)
    }

    #[test]
    fn good_scores_give_a_threshold_with_intervals() {
        let choice = choose_eer(&samples(12, 2.0)).expect("a choice");
        // Two unit normals two apart: the rates are equal in the middle, at 15.9 %.
        assert!((choice.threshold - 1.0).abs() < 0.3 && (choice.false_positive_rate - 0.159).abs() < 0.05, "{choice:?}");
        assert!((choice.false_positive_rate - choice.false_negative_rate).abs() < 0.01);
        let inside =
            |interval: Option<Interval>, value: f64| interval.is_some_and(|interval| interval.low <= value && value <= interval.high);
        assert!(inside(choice.intervals.threshold, choice.threshold));
        assert!(inside(choice.intervals.false_positive_rate, choice.false_positive_rate));
        assert!(inside(choice.intervals.ebi, choice.ebi) && inside(choice.intervals.auc_roc, choice.auc_roc));
        assert_eq!((choice.normal_groups, choice.anomalous_groups), (12, 12));
        assert_eq!(decide(7.0, Ok(choice)).threshold(), choice.threshold);
    }

    #[test]
    fn what_is_no_basis_is_refused_and_the_old_threshold_stays() {
        let good = samples(12, 2.0);
        let normal: Vec<LabelledScore> = good.iter().filter(|sample| sample.truth == Truth::Normal).copied().collect();
        let equal: Vec<LabelledScore> = good.iter().map(|sample| LabelledScore { score: 1.0, ..*sample }).collect();
        let mut broken = good.clone();
        broken[3].score = f64::NAN;
        let cases: [(&[LabelledScore], Refusal); 5] = [
            (&[], Refusal::Samples(NoMetric::Empty)),
            (&normal, Refusal::Samples(NoMetric::OneClass { present: Truth::Normal })),
            (&broken, Refusal::Samples(NoMetric::NotFinite { index: 3 })),
            (&samples(9, 2.0), Refusal::TooFewEvents { truth: Truth::Normal, found: 9, needed: 10 }),
            (&equal, Refusal::NotAboveChance { low: 0.5, needed: 0.5 }),
        ];
        for (samples, refusal) in cases {
            let outcome = decide(0.75, choose_eer(samples));
            assert_eq!(outcome, Outcome::Kept { threshold: 0.75, refusal });
            assert_eq!((outcome.threshold(), refusal.to_string().lines().count()), (0.75, 1));
        }
        assert!(matches!(choose_eer(&samples(30, -1.0)), Err(Refusal::NotAboveChance { low, .. }) if low < 0.5));
    }

    #[test]
    fn policies_out_of_reach_or_out_of_range_are_refused() {
        let good = samples(12, 2.0);
        let top = good.iter().filter(|sample| sample.truth == Truth::Anomalous).map(|sample| sample.score).fold(f64::MIN, f64::max);
        let mut crowned = good.clone();
        crowned.push(LabelledScore { score: top + 1.0, truth: Truth::Normal, group: 0 });
        let strict = Policy::FixedFpr { fpr: 0.0 };
        let choose = |samples: &[LabelledScore], policy| choose(samples, policy, &Requirements::default(), &PLAN);
        assert_eq!(choose(&crowned, strict), Err(Refusal::OutOfReach { policy: strict }));
        let bad = Policy::FixedFpr { fpr: -0.1 };
        assert_eq!(choose(&good, bad), Err(Refusal::BadPolicy { policy: bad }));
        let no_plan = BootstrapPlan { resamples: 0, seed: 0 };
        assert_eq!(super::choose(&good, Policy::Eer, &Requirements::default(), &no_plan), Err(Refusal::NoInterval));
    }
}
