//! Bootstrap intervals that resample whole groups (events or clips): the frames of one event say little more than one of them.

use super::quantile::quantile;
use super::samples::{LabelledScore, NoMetric, Ranked, Truth};
use alfred_synth::random::Random;
use std::collections::BTreeMap;
use std::panic::resume_unwind;

/// Probability below and above the interval.
const TAIL: f64 = 0.025;
/// Share of the resamples that must have a value for there to be an interval.
const VALID_SHARE_MIN: f64 = 0.5;
/// Threads at most.
const THREADS_MAX: usize = 8;

/// How often to resample, and by which random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootstrapPlan {
    /// Resamples; 0 gives no intervals.
    pub resamples: usize,
    /// The same seed gives the same intervals, on any number of threads.
    pub seed: u64,
}

impl Default for BootstrapPlan {
    fn default() -> Self {
        Self { resamples: 300, seed: 20 }
    }
}

/// A 95 % interval: the 2.5 % and 97.5 % quantiles of the resampled values.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A figure with its interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// On all samples.
    pub value: f64,
    /// `None` when there are fewer than two groups, or when less than half of the resamples had a value.
    pub interval: Option<Interval>,
    /// Resamples without a value: they held one class only.
    pub resamples_skipped: usize,
}

impl Estimate {
    /// A figure without interval.
    #[must_use]
    pub const fn plain(value: f64) -> Self {
        Self { value, interval: None, resamples_skipped: 0 }
    }

    fn of(value: f64, mut resampled: Vec<f64>, resamples: usize) -> Self {
        let resamples_skipped = resamples - resampled.len().min(resamples);
        resampled.sort_unstable_by(f64::total_cmp);
        let is_enough = resampled.len() as f64 >= VALID_SHARE_MIN * resamples as f64;
        let interval = quantile(&resampled, TAIL).zip(quantile(&resampled, 1.0 - TAIL)).filter(|_| is_enough);
        Self { value, interval: interval.map(|(low, high)| Interval { low, high }), resamples_skipped }
    }
}

impl std::fmt::Display for Estimate {
    /// As shares are read: `64.2 % (95 %: 60.1 to 68.0)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} %", 100.0 * self.value)?;
        match self.interval {
            Some(interval) => write!(f, " (95 %: {:.1} to {:.1})", 100.0 * interval.low, 100.0 * interval.high),
            None => f.write_str(" (no interval: too few groups)"),
        }
    }
}

/// A figure and its interval. `figure` is asked once about all samples and once per resample.
///
/// # Errors
/// [`NoMetric`] when the samples cannot be ranked, or `figure` has no value on all of them.
pub fn bootstrap(
    samples: &[LabelledScore],
    plan: &BootstrapPlan,
    figure: impl Fn(&Ranked) -> Option<f64> + Sync,
) -> Result<Estimate, NoMetric> {
    let [estimate] = bootstrap_all(samples, plan, |ranked| [figure(ranked)])?;
    Ok(estimate)
}

/// Several figures at once, from the same resamples.
///
/// # Errors
/// As [`bootstrap`].
pub fn bootstrap_all<const N: usize>(
    samples: &[LabelledScore],
    plan: &BootstrapPlan,
    figures: impl Fn(&Ranked) -> [Option<f64>; N] + Sync,
) -> Result<[Estimate; N], NoMetric> {
    let values = figures(&Ranked::new(samples)?);
    let mut places: BTreeMap<u32, usize> = samples.iter().map(|sample| (sample.group, 0)).collect();
    places.values_mut().enumerate().for_each(|(place, slot)| *slot = place);
    // Sorted once: a resample only changes how often each sample counts.
    let mut sorted: Vec<(f64, Truth, usize)> =
        samples.iter().map(|sample| (sample.score, sample.truth, places.get(&sample.group).copied().unwrap_or(0))).collect();
    sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let resampled = resample(places.len(), plan, |counts| {
        let weighted = sorted.iter().map(|&(score, truth, place)| (score, truth, counts[place]));
        Ranked::of_sorted(weighted).map_or([None; N], |ranked| figures(&ranked))
    });
    estimates(values, resampled, plan).ok_or(NoMetric::Undefined)
}

/// Figures of anything that comes in groups: `figures` is asked with how often each of the `groups` groups counts, once each for the value. `None`
/// when a figure has no value on everything.
pub fn bootstrap_groups<const N: usize>(
    groups: usize,
    plan: &BootstrapPlan,
    figures: impl Fn(&[u64]) -> [Option<f64>; N] + Sync,
) -> Option<[Estimate; N]> {
    let values = figures(&vec![1; groups]);
    estimates(values, resample(groups, plan, figures), plan)
}

/// The estimates of figures from their values on everything and on each resample; `None` when one has no value on everything.
fn estimates<const N: usize>(values: [Option<f64>; N], resampled: Vec<[Option<f64>; N]>, plan: &BootstrapPlan) -> Option<[Estimate; N]> {
    let mut estimates = [Estimate::plain(0.0); N];
    for (index, (estimate, value)) in estimates.iter_mut().zip(values).enumerate() {
        *estimate = Estimate::of(value?, resampled.iter().filter_map(|row| row[index]).collect(), plan.resamples);
    }
    Some(estimates)
}

/// Draws `groups` of the groups with replacement, `plan.resamples` times, and asks `figures` with how often each group was drawn.
/// No resamples when there are fewer than two groups.
fn resample<const N: usize>(
    groups: usize,
    plan: &BootstrapPlan,
    figures: impl Fn(&[u64]) -> [Option<f64>; N] + Sync,
) -> Vec<[Option<f64>; N]> {
    if groups < 2 {
        return Vec::new();
    }
    // Each resample has a seed of its own, so that the number of threads changes nothing.
    let mut random = Random::new(plan.seed);
    let seeds: Vec<u64> = (0..plan.resamples).map(|_| random.bits()).collect();
    let run = |seeds: &[u64]| -> Vec<[Option<f64>; N]> {
        let mut counts = vec![0_u64; groups];
        let one = |seed: &u64| {
            let mut random = Random::new(*seed);
            counts.fill(0);
            (0..groups).for_each(|_| counts[random.below(groups)] += 1);
            figures(&counts)
        };
        seeds.iter().map(one).collect()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let per_thread = seeds.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = seeds.chunks(per_thread).map(|part| scope.spawn(|| run(part))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::roc::auc_roc;

    /// `per_group` copies of the same ten values in each of `groups` groups.
    fn samples(groups: u32, per_group: usize) -> Vec<LabelledScore> {
        let mut random = Random::new(4);
        (0..groups)
            .flat_map(|group| {
                let truth = Truth::of(group % 2 == 0);
                let score = random.normal() + if truth.is_anomalous() { 1.0 } else { 0.0 };
                vec![LabelledScore { score, truth, group: 7 * group }; per_group]
            })
            .collect()
    }

    fn width(estimate: Estimate) -> f64 {
        estimate.interval.map(|interval| interval.high - interval.low).expect("an interval")
    }

    #[test]
    fn groups_count_and_copies_within_them_do_not() {
        let plan = BootstrapPlan { resamples: 400, seed: 1 };
        let auc = |samples: &[LabelledScore]| bootstrap(samples, &plan, |ranked| Some(auc_roc(ranked))).expect("both classes");
        let (few, copies, many) = (auc(&samples(40, 1)), auc(&samples(40, 25)), auc(&samples(640, 1)));
        assert_eq!(few, copies, "25 copies of each sample carry no more than one");
        // Sixteen times the groups: about a quarter of the width.
        let ratio = width(few) / width(many);
        assert!((2.5..6.5).contains(&ratio), "{ratio}");
        let interval = few.interval.expect("an interval");
        assert!(interval.low < few.value && few.value < interval.high);
    }

    #[test]
    fn the_seed_decides_and_one_class_resamples_are_counted() {
        let auc = |seed, samples: &[LabelledScore]| {
            bootstrap(samples, &BootstrapPlan { resamples: 200, seed }, |ranked| Some(auc_roc(ranked))).expect("both classes")
        };
        let mixed = samples(12, 2);
        assert_eq!(auc(1, &mixed), auc(1, &mixed));
        assert_ne!(auc(1, &mixed).interval, auc(2, &mixed).interval);
        // Two groups of one class each: half of the resamples draw one of them twice.
        let two = auc(3, &samples(2, 5));
        assert!((60..140).contains(&two.resamples_skipped), "{two:?}");
        let one_group: Vec<LabelledScore> = mixed.iter().map(|sample| LabelledScore { group: 9, ..*sample }).collect();
        assert_eq!((auc(1, &one_group).interval, auc(1, &one_group).resamples_skipped), (None, 200));
        let none = bootstrap(&mixed, &BootstrapPlan { resamples: 0, seed: 1 }, |ranked| Some(auc_roc(ranked))).expect("both classes");
        assert_eq!((none.interval, none.resamples_skipped), (None, 0));
        assert_eq!(bootstrap(&mixed, &BootstrapPlan::default(), |_| None), Err(NoMetric::Undefined));
    }
}
