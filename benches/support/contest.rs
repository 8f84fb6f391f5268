//! Fair comparison on a machine that is not quiet: contenders take turns in short bursts, so that whatever slows the machine slows all,
//! and calls during which another process got the core are told apart.

use super::machine;
use std::time::Instant;

/// What is timed. Only [`Contender::call`] is inside the clock.
pub trait Contender {
    /// Makes the next call's input.
    fn prepare(&mut self) {}

    /// The work.
    fn call(&mut self);
}

/// How long a contest lasts.
#[derive(Clone, Copy)]
pub struct Length {
    /// Turns of each contender.
    pub rounds: usize,
    /// Calls of a turn that are timed and counted.
    pub calls: usize,
    /// Calls at the beginning of a turn that are not: caches and branch predictors still remember somebody else.
    pub warm_up_calls: usize,
}

/// One contender's times, in microseconds.
#[derive(Clone, Default)]
pub struct Times {
    /// Every counted call, sorted.
    calls_us: Vec<f64>,
    /// Those during which no other process got the core, sorted.
    undisturbed_us: Vec<f64>,
    /// The median of each turn.
    turns_us: Vec<f64>,
}

impl Times {
    /// The time below which this share of the calls lies.
    pub fn quantile_us(&self, share: f64) -> f64 {
        quantile(&self.calls_us, share)
    }

    /// The median call.
    pub fn median_us(&self) -> f64 {
        self.quantile_us(0.5)
    }

    /// The same of the calls during which no other process got the core.
    pub fn undisturbed_quantile_us(&self, share: f64) -> f64 {
        quantile(&self.undisturbed_us, share)
    }

    /// Calls during which another process got the core.
    pub fn disturbed_calls(&self) -> usize {
        self.calls_us.len() - self.undisturbed_us.len()
    }

    /// The slowest of all calls.
    pub fn max_us(&self) -> f64 {
        self.quantile_us(1.0)
    }

    /// How many times slower than `other`: the median over the rounds, and what nine rounds of ten lie between.
    pub fn ratio_to(&self, other: &Self) -> Ratio {
        let mut ratios: Vec<f64> = self.turns_us.iter().zip(&other.turns_us).map(|(own, other)| own / other).collect();
        ratios.sort_by(f64::total_cmp);
        Ratio { median: quantile(&ratios, 0.5), low: quantile(&ratios, 0.05), high: quantile(&ratios, 0.95) }
    }
}

/// A ratio of times, round by round.
#[derive(Clone, Copy)]
pub struct Ratio {
    /// Half of the rounds lie above.
    pub median: f64,
    /// One round in twenty lies below.
    pub low: f64,
    /// One round in twenty lies above.
    pub high: f64,
}

/// Lets all contenders take turns and returns their times in the same order.
pub fn hold(contenders: &mut [&mut dyn Contender], length: Length) -> Vec<Times> {
    let mut times = vec![Times::default(); contenders.len()];
    let mut turn = Vec::with_capacity(length.calls);
    for _ in 0..length.rounds {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            for _ in 0..length.warm_up_calls {
                contender.prepare();
                contender.call();
            }
            turn.clear();
            for _ in 0..length.calls {
                contender.prepare();
                let interruptions = machine::interruptions();
                let start = Instant::now();
                contender.call();
                let time_us = start.elapsed().as_secs_f64() * 1e6;
                if machine::interruptions() == interruptions {
                    times.undisturbed_us.push(time_us);
                }
                turn.push(time_us);
            }
            times.calls_us.extend_from_slice(&turn);
            turn.sort_by(f64::total_cmp);
            times.turns_us.push(quantile(&turn, 0.5));
        }
    }
    for times in &mut times {
        times.calls_us.sort_by(f64::total_cmp);
        times.undisturbed_us.sort_by(f64::total_cmp);
    }
    times
}

/// What the clock itself adds to each call: a contender that does nothing.
pub struct Nothing;

impl Contender for Nothing {
    fn call(&mut self) {}
}

/// The nearest rank; NaN for no values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}
