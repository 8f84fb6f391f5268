//! The strategies behind one trait.

use super::Embeddings;
use super::k_center::k_center;
use alfred_synth::random::Random as Stream;

/// Units among which a strategy chooses.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'p> {
    /// Windows of each unit; none is empty.
    pub units: &'p [Vec<u32>],
    /// Anomaly score of every window of the slice.
    pub scores: &'p [f64],
    /// Embedding of every window of the slice.
    pub embeddings: &'p Embeddings,
    /// The threshold in force.
    pub threshold: f64,
}

impl Pool<'_> {
    /// Highest score of a unit; infinite when a score is NaN, so that it is asked about late by margin and never forgotten.
    fn peak(&self, unit: usize) -> f64 {
        let score = |window: &u32| self.scores.get(*window as usize).copied().filter(|score| !score.is_nan()).unwrap_or(f64::INFINITY);
        self.units[unit].iter().map(score).fold(f64::NEG_INFINITY, f64::max)
    }

    /// The window that stands for a unit: the one with the highest score.
    fn representative(&self, unit: usize) -> u32 {
        let score = |window: u32| self.scores.get(window as usize).copied().unwrap_or(f64::NEG_INFINITY);
        self.units[unit].iter().copied().max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap_or(0)
    }

    /// Units by rising distance from the threshold.
    fn by_margin(&self) -> Vec<usize> {
        let mut order: Vec<(f64, usize)> = (0..self.units.len()).map(|unit| ((self.peak(unit) - self.threshold).abs(), unit)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        order.into_iter().map(|(_, unit)| unit).collect()
    }

    /// The `budget` most spread-out of the given units.
    fn spread(&self, units: &[usize], budget: usize) -> Vec<usize> {
        let mut points = Embeddings::default();
        units.iter().for_each(|&unit| points.push(self.embeddings.get(self.representative(unit))));
        let pool: Vec<u32> = (0..units.len() as u32).collect();
        k_center(&points, &pool, &[], budget).into_iter().map(|index| units[index as usize]).collect()
    }
}

/// A way to spend a label budget.
pub trait Strategy: Sync {
    /// At most `budget` units, most wanted first, none twice.
    fn choose(&self, pool: &Pool<'_>, budget: usize, random: &mut Stream) -> Vec<usize>;
}

/// Uniformly at random.
#[derive(Clone, Copy, Debug)]
pub struct Random;

impl Strategy for Random {
    fn choose(&self, pool: &Pool<'_>, budget: usize, random: &mut Stream) -> Vec<usize> {
        let mut order: Vec<usize> = (0..pool.units.len()).collect();
        random.shuffle(&mut order);
        order.truncate(budget);
        order
    }
}

/// Nearest the threshold first.
#[derive(Clone, Copy, Debug)]
pub struct Margin;

impl Strategy for Margin {
    fn choose(&self, pool: &Pool<'_>, budget: usize, _: &mut Stream) -> Vec<usize> {
        let mut order = pool.by_margin();
        order.truncate(budget);
        order
    }
}

/// Greedy k-centre over all units.
#[derive(Clone, Copy, Debug)]
pub struct Diversity;

impl Strategy for Diversity {
    fn choose(&self, pool: &Pool<'_>, budget: usize, _: &mut Stream) -> Vec<usize> {
        pool.spread(&(0..pool.units.len()).collect::<Vec<_>>(), budget)
    }
}

/// Greedy k-centre over the units nearest the threshold, three for each place in the budget.
#[derive(Clone, Copy, Debug)]
pub struct MarginDiversity;

/// Units near the threshold per place in the budget.
const NEAR_PER_PLACE: usize = 3;

impl Strategy for MarginDiversity {
    fn choose(&self, pool: &Pool<'_>, budget: usize, _: &mut Stream) -> Vec<usize> {
        let mut near = pool.by_margin();
        near.truncate(budget.saturating_mul(NEAR_PER_PLACE));
        pool.spread(&near, budget)
    }
}
