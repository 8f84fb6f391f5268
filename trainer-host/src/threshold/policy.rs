//! The rules by which a threshold can be chosen: the paper's EER and four for operators.

use crate::metric::alarms::AlarmLoad;
use crate::metric::eer::equal_error_rate;
use crate::metric::samples::{Candidate, Ranked};

/// A rule that picks one of the candidates of labelled scores.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Where FPR = FNR: the rule of ALFred.
    Eer,
    /// Highest F1. It depends on the share of anomalous samples: on a balanced validation set it flags more than a camera's base rate bears.
    MaxF1,
    /// Highest harmonic mean of precision, recall and specificity.
    HPrs,
    /// Lowest threshold whose FPR is at most this.
    FixedFpr {
        /// 0 to 1.
        fpr: f64,
    },
    /// Lowest threshold that is expected to give at most so many alarms: rates of the (balanced) validation set, weighted with the
    /// camera's own base rate.
    AlarmBudget {
        /// Alarms per camera and day, true and false ones; above 0.
        alarms_per_day: f64,
        /// What the camera sees in a day.
        load: AlarmLoad,
    },
}

impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Eer => f.write_str("equal error rate"),
            Self::MaxF1 => f.write_str("highest F1"),
            Self::HPrs => f.write_str("highest H_PRS"),
            Self::FixedFpr { fpr } => write!(f, "FPR of at most {:.2} %", 100.0 * fpr),
            Self::AlarmBudget { alarms_per_day, .. } => write!(f, "at most {alarms_per_day} alarms a day"),
        }
    }
}

impl Policy {
    /// Whether its numbers are in their ranges.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        match self {
            Self::Eer | Self::MaxF1 | Self::HPrs => true,
            Self::FixedFpr { fpr } => (0.0..=1.0).contains(fpr),
            Self::AlarmBudget { alarms_per_day, load } => alarms_per_day.is_finite() && *alarms_per_day > 0.0 && load.is_valid(),
        }
    }

    /// The candidate that this rule picks; among equals the highest threshold. `None` when only flagging nothing at all would do.
    #[must_use]
    pub fn pick(&self, ranked: &Ranked) -> Option<Candidate> {
        let picked = match *self {
            Self::Eer => {
                let threshold = equal_error_rate(ranked).threshold;
                Some(Candidate { threshold, confusion: ranked.at(threshold) })
            }
            Self::MaxF1 => highest(ranked, |candidate| candidate.confusion.f1()),
            Self::HPrs => highest(ranked, |candidate| candidate.confusion.h_prs()),
            Self::FixedFpr { fpr } => lowest(ranked, |rates| rates.0 <= fpr),
            Self::AlarmBudget { alarms_per_day, load } => lowest(ranked, |rates| load.alarms_per_day(rates.0, rates.1) <= alarms_per_day),
        };
        picked.filter(|candidate| candidate.confusion.true_positive + candidate.confusion.false_positive > 0)
    }
}

fn highest(ranked: &Ranked, figure: impl Fn(&Candidate) -> Option<f64>) -> Option<Candidate> {
    let mut best: Option<(f64, Candidate)> = None;
    for candidate in ranked.candidates() {
        let value = figure(&candidate).unwrap_or(0.0);
        if best.is_none_or(|(old, _)| value >= old) {
            best = Some((value, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The lowest candidate whose (FPR, FNR) is allowed. What flags less costs less, so every higher one is allowed too.
fn lowest(ranked: &Ranked, is_allowed: impl Fn((f64, f64)) -> bool) -> Option<Candidate> {
    ranked
        .candidates()
        .find(|candidate| candidate.confusion.false_positive_rate().zip(candidate.confusion.false_negative_rate()).is_some_and(&is_allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Normal 0..=9, anomalous 5.5..=14.5: recall and FPR are easy to read off.
    fn ranked() -> Ranked {
        let normal = (0..10).map(|index| (f64::from(index), false));
        Ranked::of_pairs(normal.chain((0..10).map(|index| (f64::from(index) + 5.5, true)))).expect("both classes")
    }

    fn threshold(policy: Policy) -> f64 {
        policy.pick(&ranked()).expect("a candidate").threshold
    }

    #[test]
    fn each_rule_picks_its_own_threshold() {
        let at = |threshold: f64| ranked().at(threshold);
        assert_eq!(at(threshold(Policy::Eer)).false_positive_rate(), at(threshold(Policy::Eer)).false_negative_rate());
        let f1 = |threshold: f64| at(threshold).f1().expect("defined");
        let h_prs = |threshold: f64| at(threshold).h_prs().expect("defined");
        for candidate in ranked().candidates() {
            assert!(f1(threshold(Policy::MaxF1)) >= f1(candidate.threshold));
            assert!(h_prs(threshold(Policy::HPrs)) >= h_prs(candidate.threshold));
        }
        assert_eq!(threshold(Policy::FixedFpr { fpr: 0.2 }), 7.5);
        assert_eq!(threshold(Policy::FixedFpr { fpr: 0.19 }), 8.5);
        assert_eq!(threshold(Policy::FixedFpr { fpr: 1.0 }), 0.0);
    }

    #[test]
    fn a_budget_is_kept_at_the_base_rate_and_not_at_that_of_the_samples() {
        let load = AlarmLoad { frames_per_second: 10.0, base_rate: 0.01, frames_per_alarm: 50.0 };
        for alarms_per_day in [200.0, 1500.0, 4000.0, 1e9] {
            let picked = Policy::AlarmBudget { alarms_per_day, load }.pick(&ranked()).expect("a candidate");
            let expected = |candidate: &Candidate| {
                let rates = (candidate.confusion.false_positive_rate(), candidate.confusion.false_negative_rate());
                load.alarms_per_day(rates.0.expect("both"), rates.1.expect("both"))
            };
            assert!(expected(&picked) <= alarms_per_day);
            let below = ranked().candidates().filter(|candidate| candidate.threshold < picked.threshold).last();
            assert!(below.is_none_or(|candidate| expected(&candidate) > alarms_per_day));
        }
        // Rare anomalies leave room for a lower threshold: at the balanced base rate the true alarms alone would break the budget.
        let budget = |base_rate| Policy::AlarmBudget { alarms_per_day: 1800.0, load: AlarmLoad { base_rate, ..load } };
        assert!(threshold(budget(0.01)) < threshold(budget(0.5)));
    }

    #[test]
    fn flagging_nothing_is_no_choice() {
        let reversed = Ranked::of_pairs([(0.0, true), (1.0, false)]).expect("both classes");
        assert_eq!(Policy::FixedFpr { fpr: 0.5 }.pick(&reversed), None);
        assert_eq!(Policy::MaxF1.pick(&reversed).map(|candidate| candidate.threshold), Some(0.0));
        for policy in [Policy::FixedFpr { fpr: f64::NAN }, Policy::FixedFpr { fpr: 1.5 }] {
            assert!(!policy.is_valid());
        }
    }
}
