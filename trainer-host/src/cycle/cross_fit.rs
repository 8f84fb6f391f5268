//! What a threshold does to events that had no part in choosing it.
//!
//! A threshold judged on the set that chose it looks better than it is, the more so the fewer events there are. Here the events are dealt into
//! folds; each fold is decided at the threshold that all other folds choose. All windows and events of one person are in one fold. The
//! threshold that goes out is the one of the whole set, which rests on more events than any of these.

use crate::metric::bootstrap::{BootstrapPlan, Estimate, bootstrap_groups};
use crate::metric::confusion::Confusion;
use crate::metric::samples::{LabelledScore, Ranked};
use crate::threshold::policy::Policy;
use std::collections::BTreeMap;

/// Folds: each threshold rests on four fifths of the events.
pub const FOLDS: usize = 5;

/// Decisions on a validation set, each at a threshold of the other folds.
#[derive(Clone, Debug)]
pub struct CrossFit {
    /// By group (member of the set).
    pub decisions: Vec<Confusion>,
    /// FNR, 0 to 1, with its 95 % interval: groups are resampled, and in each resample every fold's threshold is chosen anew.
    pub false_negative_rate: Estimate,
    /// FPR, likewise.
    pub false_positive_rate: Estimate,
    /// EBI, likewise.
    pub ebi: Estimate,
}

/// Deals groups into folds: groups of one `person` stay together, and each class is spread evenly, in the order in which persons come.
#[must_use]
pub fn deal(groups: &[(u64, bool)]) -> Vec<usize> {
    let mut folds_of: BTreeMap<u64, usize> = BTreeMap::new();
    let mut held = [[0_usize; 2]; FOLDS];
    let mut counts: BTreeMap<u64, [usize; 2]> = BTreeMap::new();
    for &(person, is_anomalous) in groups {
        counts.entry(person).or_default()[usize::from(is_anomalous)] += 1;
    }
    for &(person, _) in groups {
        let count = counts[&person];
        folds_of.entry(person).or_insert_with(|| {
            // Anomalies are the rarer class: they are spread first.
            let class = usize::from(count[1] > 0);
            let fold = (0..FOLDS).min_by_key(|&fold| (held[fold][class], held[fold][1 - class])).unwrap_or(0);
            held[fold][0] += count[0];
            held[fold][1] += count[1];
            fold
        });
    }
    groups.iter().map(|(person, _)| folds_of[person]).collect()
}

/// Decides every fold at the threshold that `policy` chooses from the others; `folds` by group number. `None` where some fold's others choose
/// none, or a rate has no value: too few events, or all anomalies are one person's.
#[must_use]
pub fn cross_fit(samples: &[LabelledScore], folds: &[usize], policy: Policy, plan: &BootstrapPlan) -> Option<CrossFit> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(|a, b| a.score.total_cmp(&b.score));
    let all = vec![1; folds.len()];
    let thresholds = thresholds(&sorted, folds, &all, policy)?;
    let mut decisions = vec![Confusion::default(); folds.len()];
    for sample in &sorted {
        let (group, threshold) = (sample.group as usize, thresholds[*folds.get(sample.group as usize)?]);
        decisions[group].add(sample.truth.is_anomalous(), sample.score >= threshold);
    }
    let figures = |counts: &[u64]| {
        let Some(thresholds) = self::thresholds(&sorted, folds, counts, policy) else { return [None; 3] };
        let mut all = Confusion::default();
        for sample in &sorted {
            let group = sample.group as usize;
            let is_flagged = sample.score >= thresholds[folds[group]];
            for _ in 0..counts[group] {
                all.add(sample.truth.is_anomalous(), is_flagged);
            }
        }
        [all.false_negative_rate(), all.false_positive_rate(), all.ebi()]
    };
    let [false_negative_rate, false_positive_rate, ebi] = bootstrap_groups(folds.len(), plan, figures)?;
    Some(CrossFit { decisions, false_negative_rate, false_positive_rate, ebi })
}

/// For each fold the threshold of the others; `counts`: how often each group counts. Folds that hold nothing need none.
fn thresholds(sorted: &[LabelledScore], folds: &[usize], counts: &[u64], policy: Policy) -> Option<[f64; FOLDS]> {
    let mut found = [f64::NAN; FOLDS];
    for (fold, threshold) in found.iter_mut().enumerate() {
        if !folds.iter().zip(counts).any(|(of, count)| *of == fold && *count > 0) {
            continue;
        }
        let others = sorted.iter().filter(|sample| folds.get(sample.group as usize).is_some_and(|of| *of != fold));
        let pairs = others.flat_map(|sample| {
            let count = usize::try_from(counts[sample.group as usize]).unwrap_or(0);
            std::iter::repeat_n((sample.score, sample.truth.is_anomalous()), count)
        });
        *threshold = policy.pick(&Ranked::of_pairs(pairs).ok()?)?.threshold;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::samples::Truth;
    use alfred_synth::random::Random;

    const PLAN: BootstrapPlan = BootstrapPlan { resamples: 100, seed: 1 };

    /// `events` events of each class, ten frames each, of one score that is the event's own; anomalies lie `apart` higher.
    fn set(events: u32, apart: f64, seed: u64) -> (Vec<LabelledScore>, Vec<(u64, bool)>) {
        let mut random = Random::new(seed);
        let (mut samples, mut groups) = (Vec::new(), Vec::new());
        for group in 0..2 * events {
            let is_anomalous = group % 2 == 1;
            let score = random.normal() + if is_anomalous { apart } else { 0.0 };
            samples.extend((0..10).map(|_| LabelledScore { score, truth: Truth::of(is_anomalous), group }));
            groups.push((u64::from(group), is_anomalous));
        }
        (samples, groups)
    }

    #[test]
    fn an_event_is_decided_at_a_threshold_that_it_did_not_choose() {
        let (mut samples, groups) = set(20, 1.0, 3);
        let folds = deal(&groups);
        let before = cross_fit(&samples, &folds, Policy::Eer, &PLAN).expect("two classes in each fold");
        // Whatever happens to the scores of one fold, its own threshold stays: scores far away on their side are decided as the class of that side.
        for sample in samples.iter_mut().filter(|sample| folds[sample.group as usize] == 2) {
            sample.score += if sample.truth.is_anomalous() { 100.0 } else { -100.0 };
        }
        let after = cross_fit(&samples, &folds, Policy::Eer, &PLAN).expect("two classes in each fold");
        for group in (0..groups.len()).filter(|group| folds[*group] == 2) {
            let right = after.decisions[group];
            assert_eq!((right.false_negative, right.false_positive), (0, 0));
        }
        let thresholds = |samples: &[LabelledScore]| {
            let mut sorted = samples.to_vec();
            sorted.sort_unstable_by(|a, b| a.score.total_cmp(&b.score));
            thresholds(&sorted, &folds, &vec![1; folds.len()], Policy::Eer).expect("chosen")
        };
        let (old, _) = set(20, 1.0, 3);
        assert_eq!(thresholds(&old)[2], thresholds(&samples)[2], "the fold itself has no say");
        let total = before.decisions.iter().map(Confusion::total).sum::<u64>();
        assert_eq!(total, samples.len() as u64, "every frame is decided once");
    }

    #[test]
    fn few_events_flatter_themselves_and_cross_fitting_does_not() {
        let (mut flattered, mut fitted, mut truth) = (0.0, 0.0, 0.0);
        const SETS: u64 = 200;
        for seed in 0..SETS {
            let (samples, groups) = set(10, 1.0, seed);
            let ranked = Ranked::new(&samples).expect("both classes");
            let threshold = Policy::Eer.pick(&ranked).expect("one").threshold;
            flattered += ranked.at(threshold).ebi().expect("both classes");
            let fit = cross_fit(&samples, &deal(&groups), Policy::Eer, &BootstrapPlan { resamples: 0, seed: 1 }).expect("enough events");
            fitted += fit.ebi.value;
            // What the threshold does to the whole world that the sets are drawn from.
            let (world, _) = set(2000, 1.0, 9999);
            truth += Ranked::new(&world).expect("both classes").at(threshold).ebi().expect("both classes");
        }
        let [flattered, fitted, truth] = [flattered, fitted, truth].map(|sum| 100.0 * sum / SETS as f64);
        println!("EBI on the set that chose the threshold {flattered:.1}, cross-fitted {fitted:.1}, in truth {truth:.1}");
        assert!(flattered > truth + 0.7, "{flattered} against {truth}");
        assert!(fitted < truth + 0.3, "{fitted} against {truth}: never better than it is");
        assert!(fitted > truth - 3.0, "{fitted} against {truth}: four fifths of ten events choose a little worse");
    }

    #[test]
    fn folds_keep_persons_together_and_spread_classes() {
        let groups: Vec<(u64, bool)> = (0..60).map(|group| (group / 3, group % 6 < 2)).collect();
        let folds = deal(&groups);
        assert!(groups.iter().zip(&folds).all(|((person, _), fold)| folds[3 * *person as usize] == *fold));
        let per_fold = |fold: usize| groups.iter().zip(&folds).filter(|((_, is_anomalous), of)| *is_anomalous && **of == fold).count();
        let counts: Vec<usize> = (0..FOLDS).map(per_fold).collect();
        assert!(counts.iter().all(|count| *count == 4), "{counts:?}");
        // All anomalies are one person's: no threshold of others can decide them.
        let (samples, mut groups) = set(10, 1.0, 1);
        groups.iter_mut().filter(|(_, is_anomalous)| *is_anomalous).for_each(|(person, _)| *person = 1);
        assert!(cross_fit(&samples, &deal(&groups), Policy::Eer, &PLAN).is_none());
    }

    #[test]
    fn intervals_choose_anew_in_each_resample() {
        let (samples, groups) = set(30, 1.0, 5);
        let fit = cross_fit(&samples, &deal(&groups), Policy::Eer, &PLAN).expect("enough");
        let interval = fit.ebi.interval.expect("an interval");
        assert!(interval.high - interval.low > 0.05 && (interval.low..=interval.high).contains(&fit.ebi.value), "{:?}", fit.ebi);
        let again = cross_fit(&samples, &deal(&groups), Policy::Eer, &PLAN).expect("enough");
        assert_eq!(again.ebi, fit.ebi, "the seed decides");
    }
}
