//! Query strategies: which flagged units (windows or events) people are asked about when labels are scarce.

pub mod embedding;
pub mod k_center;
mod strategies;
#[cfg(test)]
mod tests;

pub use embedding::Embeddings;
pub use strategies::{Diversity, Margin, MarginDiversity, Pool, Random as RandomChoice, Strategy};

use alfred_synth::random::Random;

/// What is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// No preference: the reference that every other one must beat.
    Random,
    /// Scores nearest the threshold.
    Margin,
    /// Units that differ most from those chosen so far.
    Diversity,
    /// Among units near the threshold, those that differ most.
    MarginDiversity,
}

impl Preference {
    /// The strategy behind it.
    #[must_use]
    pub fn strategy(self) -> &'static dyn Strategy {
        match self {
            Self::Random => &RandomChoice,
            Self::Margin => &Margin,
            Self::Diversity => &Diversity,
            Self::MarginDiversity => &MarginDiversity,
        }
    }
}

/// Indices of at most `budget` units of the pool, most wanted first, none twice.
pub fn choose(preference: Preference, pool: &Pool<'_>, budget: usize, random: &mut Random) -> Vec<usize> {
    let mut chosen = preference.strategy().choose(pool, budget.min(pool.units.len()), random);
    chosen.truncate(budget);
    chosen
}
