//! The equal-error-rate threshold: where as many normal samples are flagged as anomalous ones are missed.
//!
//! ALFred computes each camera's threshold this way. Definition here: candidates are all scores, and one above all of them; a sample is flagged
//! when its score is at least the threshold. The candidate with the smallest |FPR - FNR| wins; among equals the one with the
//! smaller larger rate, then the higher threshold. EER is the mean of both rates there.

/// A threshold and its error rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EqualErrorRate {
    /// Flag from this score on.
    pub threshold: f64,
    /// Share of normal samples that are flagged.
    pub false_positive_rate: f64,
    /// Share of anomalous samples that are missed.
    pub false_negative_rate: f64,
}

impl EqualErrorRate {
    /// Mean of both rates.
    #[must_use]
    pub fn rate(&self) -> f64 {
        0.5 * (self.false_positive_rate + self.false_negative_rate)
    }
}

/// The threshold of (score, is anomalous); sorts the samples. `None` when a class is empty or a score is not finite.
#[must_use]
pub fn equal_error_rate(samples: &mut [(f64, bool)]) -> Option<EqualErrorRate> {
    if !samples.iter().all(|(score, _)| score.is_finite()) {
        return None;
    }
    let anomalous = samples.iter().filter(|(_, label)| *label).count();
    let normal = samples.len() - anomalous;
    if anomalous == 0 || normal == 0 {
        return None;
    }
    samples.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut normal_below, mut anomalous_below) = (0, 0);
    let mut best: Option<((f64, f64), EqualErrorRate)> = None;
    let mut offer = |threshold: f64, normal_below: usize, anomalous_below: usize| {
        let false_positive_rate = (normal - normal_below) as f64 / normal as f64;
        let false_negative_rate = anomalous_below as f64 / anomalous as f64;
        let key = ((false_positive_rate - false_negative_rate).abs(), false_positive_rate.max(false_negative_rate));
        if best.is_none_or(|(old, _)| key <= old) {
            best = Some((key, EqualErrorRate { threshold, false_positive_rate, false_negative_rate }));
        }
    };
    for tied in samples.chunk_by(|a, b| a.0 == b.0) {
        offer(tied[0].0, normal_below, anomalous_below);
        let hits = tied.iter().filter(|(_, label)| *label).count();
        anomalous_below += hits;
        normal_below += tied.len() - hits;
    }
    let above = samples.last().map_or(0.0, |(score, _)| score.next_up());
    offer(above, normal_below, anomalous_below);
    best.map(|(_, rate)| rate)
}

#[cfg(test)]
mod tests {
    use super::equal_error_rate;

    #[test]
    fn separable_overlapping_and_empty() {
        let clean = equal_error_rate(&mut [(0.0, false), (1.0, false), (2.0, true), (3.0, true)]).expect("both classes");
        assert_eq!((clean.threshold, clean.rate()), (2.0, 0.0));
        let mixed = equal_error_rate(&mut [(0.0, false), (2.0, false), (1.0, true), (3.0, true)]).expect("both classes");
        assert_eq!((mixed.threshold, mixed.rate()), (2.0, 0.5));
        let tied = equal_error_rate(&mut [(1.0, false), (1.0, true)]).expect("both classes");
        assert_eq!(tied.false_positive_rate + tied.false_negative_rate, 1.0);
        assert!(equal_error_rate(&mut [(1.0, false)]).is_none());
        assert!(equal_error_rate(&mut [(f64::NAN, false), (0.0, true)]).is_none());
    }
}
