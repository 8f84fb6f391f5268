//! Labelled scores, sorted once: what every figure of this module is computed from.

use super::confusion::Confusion;

/// What a sample really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    /// The negative class.
    Normal,
    /// The positive class.
    Anomalous,
}

impl Truth {
    /// From a mask's value.
    #[must_use]
    pub const fn of(is_anomalous: bool) -> Self {
        if is_anomalous { Self::Anomalous } else { Self::Normal }
    }

    /// Whether it is the positive class.
    #[must_use]
    pub const fn is_anomalous(self) -> bool {
        matches!(self, Self::Anomalous)
    }
}

impl std::fmt::Display for Truth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_anomalous() { "anomalous" } else { "normal" })
    }
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelledScore {
    /// Higher = more anomalous; finite.
    pub score: f64,
    /// What it really is.
    pub truth: Truth,
    /// Its event or clip: samples of one group depend on each other, so that intervals resample whole groups.
    pub group: u32,
}

/// Why there is no figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMetric {
    /// No sample at all.
    #[error("there is no sample: give scores of labelled windows or frames")]
    Empty,
    /// Only one class.
    #[error("every sample is {present}: label some of the other class")]
    OneClass {
        /// The class that is there.
        present: Truth,
    },
    /// A score is NaN or infinite.
    #[error("the score of sample {index} is NaN or infinite: score its window again, or leave it out")]
    NotFinite {
        /// Place of the sample in the input, from 0.
        index: usize,
    },
    /// The figure has no value on these samples.
    #[error("the figure has no value on these samples: choose another figure or more samples")]
    Undefined,
}

/// All samples of one score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The score.
    pub score: f64,
    /// Normal samples of this score.
    pub normal: u64,
    /// Anomalous samples of this score.
    pub anomalous: u64,
}

/// A threshold that could be chosen, and what it does to the samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Flag from this score on.
    pub threshold: f64,
    /// The counts at it.
    pub confusion: Confusion,
}

/// Samples by rising score, ties joined, both classes present, all scores finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    steps: Vec<Step>,
    normal: u64,
    anomalous: u64,
}

impl Ranked {
    /// Sorts samples; groups play no part.
    ///
    /// # Errors
    /// [`NoMetric`] when there is no sample, only one class, or a score that is not finite.
    pub fn new(samples: &[LabelledScore]) -> Result<Self, NoMetric> {
        Self::of_pairs(samples.iter().map(|sample| (sample.score, sample.truth.is_anomalous())))
    }

    /// Sorts (score, is anomalous).
    ///
    /// # Errors
    /// As [`Ranked::new`].
    pub fn of_pairs(pairs: impl IntoIterator<Item = (f64, bool)>) -> Result<Self, NoMetric> {
        let mut pairs: Vec<(f64, bool)> = pairs.into_iter().collect();
        if let Some(index) = pairs.iter().position(|(score, _)| !score.is_finite()) {
            return Err(NoMetric::NotFinite { index });
        }
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        Self::of_sorted(pairs.iter().map(|&(score, is_anomalous)| (score, Truth::of(is_anomalous), 1)))
    }

    /// From finite scores in rising order, each with how often it counts.
    pub(super) fn of_sorted(sorted: impl Iterator<Item = (f64, Truth, u64)>) -> Result<Self, NoMetric> {
        let mut steps: Vec<Step> = Vec::with_capacity(sorted.size_hint().0);
        let (mut normal, mut anomalous) = (0, 0);
        for (score, truth, count) in sorted.filter(|(_, _, count)| *count > 0) {
            let (normal_here, anomalous_here) = if truth.is_anomalous() { (0, count) } else { (count, 0) };
            normal += normal_here;
            anomalous += anomalous_here;
            match steps.last_mut() {
                Some(step) if step.score == score => {
                    step.normal += normal_here;
                    step.anomalous += anomalous_here;
                }
                _ => steps.push(Step { score, normal: normal_here, anomalous: anomalous_here }),
            }
        }
        match (normal, anomalous) {
            (0, 0) => Err(NoMetric::Empty),
            (0, _) => Err(NoMetric::OneClass { present: Truth::Anomalous }),
            (_, 0) => Err(NoMetric::OneClass { present: Truth::Normal }),
            _ => Ok(Self { steps, normal, anomalous }),
        }
    }

    /// By rising score, each score once; never empty.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Normal samples; at least 1.
    #[must_use]
    pub const fn normal(&self) -> u64 {
        self.normal
    }

    /// Anomalous samples; at least 1.
    #[must_use]
    pub const fn anomalous(&self) -> u64 {
        self.anomalous
    }

    /// The counts when samples are flagged from `threshold` on. NaN flags nothing.
    #[must_use]
    pub fn at(&self, threshold: f64) -> Confusion {
        let first = if threshold.is_nan() { self.steps.len() } else { self.steps.partition_point(|step| step.score < threshold) };
        let (false_positive, true_positive) =
            self.steps[first..].iter().fold((0, 0), |(normal, anomalous), step| (normal + step.normal, anomalous + step.anomalous));
        self.counts(false_positive, true_positive)
    }

    /// Every threshold that makes a difference, rising: each score, and the next number above all of them, which flags nothing.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate> + '_ {
        let above = self.steps.last().map(|step| Step { score: step.score.next_up(), normal: 0, anomalous: 0 });
        self.steps.iter().copied().chain(above).scan((self.normal, self.anomalous), |flagged, step| {
            let confusion = self.counts(flagged.0, flagged.1);
            *flagged = (flagged.0 - step.normal, flagged.1 - step.anomalous);
            Some(Candidate { threshold: step.score, confusion })
        })
    }

    const fn counts(&self, false_positive: u64, true_positive: u64) -> Confusion {
        Confusion {
            true_positive,
            false_positive,
            true_negative: self.normal - false_positive,
            false_negative: self.anomalous - true_positive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_ranked_is_named() {
        assert_eq!(Ranked::of_pairs([]), Err(NoMetric::Empty));
        assert_eq!(Ranked::of_pairs([(1.0, true)]), Err(NoMetric::OneClass { present: Truth::Anomalous }));
        assert_eq!(Ranked::of_pairs([(1.0, false), (2.0, false)]), Err(NoMetric::OneClass { present: Truth::Normal }));
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Ranked::of_pairs([(1.0, true), (odd, false)]), Err(NoMetric::NotFinite { index: 1 }));
        }
    }

    #[test]
    fn ties_are_one_step_and_both_zeros_are_equal() {
        let ranked = Ranked::of_pairs([(0.0, true), (-0.0, false), (2.0, true), (2.0, true)]).expect("both classes");
        let steps: Vec<(f64, u64, u64)> = ranked.steps().iter().map(|step| (step.score, step.normal, step.anomalous)).collect();
        assert_eq!(steps, [(0.0, 1, 1), (2.0, 0, 2)]);
        let flagged: Vec<u64> =
            ranked.candidates().map(|candidate| candidate.confusion.true_positive + candidate.confusion.false_positive).collect();
        assert_eq!(flagged, [4, 2, 0]);
        for candidate in ranked.candidates() {
            assert_eq!(ranked.at(candidate.threshold), candidate.confusion);
        }
        assert_eq!(ranked.at(f64::NAN).true_positive, 0);
    }
}
