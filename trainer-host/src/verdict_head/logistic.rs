//! Logistic regression by Newton's method: log-odds of "anomalous", class-balanced, drawn towards zero by a Gaussian prior.
//!
//! Minimised: ½|w|² + evidence · (mean loss of the anomalous + mean loss of the normal samples) / 2. The bias is free.

use super::linear::solve_positive_definite;
use alfred_core::verdict_head::HEAD_FEATURES;

const UNKNOWNS: usize = HEAD_FEATURES + 1;
const STEPS_MAX: usize = 25;
/// Largest change of a weight at which the method stops.
const CHANGE_MAX: f64 = 1e-7;
/// Keeps the bias' equation solvable when every sample is certain.
const RIDGE: f64 = 1e-9;

/// One sample: standardised features, and whether it is anomalous.
#[derive(Clone, Debug)]
pub(super) struct Example {
    pub features: [f64; HEAD_FEATURES],
    pub is_anomalous: bool,
}

/// Weights and bias. `None` when a class is empty or the equations have no solution.
pub(super) fn fit(examples: &[Example], evidence: f64) -> Option<([f64; HEAD_FEATURES], f64)> {
    let total = |anomalous: bool| examples.iter().filter(|example| example.is_anomalous == anomalous).count() as f64;
    let shares = [0.5 * evidence / total(false), 0.5 * evidence / total(true)];
    if !shares.iter().all(|share| share.is_finite()) {
        return None;
    }
    let mut unknowns = [0.0; UNKNOWNS];
    let mut objective = loss(examples, &shares, &unknowns);
    for _ in 0..STEPS_MAX {
        let mut step = newton_step(examples, &shares, &unknowns)?;
        // Full Newton steps overshoot now and then: halved until the loss falls.
        let mut change;
        loop {
            change = step.iter().fold(0.0_f64, |change, value| change.max(value.abs()));
            let mut next = unknowns;
            next.iter_mut().zip(&step).for_each(|(unknown, step)| *unknown -= step);
            let after = loss(examples, &shares, &next);
            if after <= objective {
                (unknowns, objective) = (next, after);
                break;
            }
            if change < CHANGE_MAX {
                break;
            }
            step.iter_mut().for_each(|step| *step *= 0.5);
        }
        if change < CHANGE_MAX {
            break;
        }
    }
    let mut weights = [0.0; HEAD_FEATURES];
    weights.copy_from_slice(&unknowns[..HEAD_FEATURES]);
    Some((weights, unknowns[HEAD_FEATURES]))
}

fn log_odds(example: &Example, unknowns: &[f64; UNKNOWNS]) -> f64 {
    example.features.iter().zip(unknowns).map(|(feature, weight)| feature * weight).sum::<f64>() + unknowns[HEAD_FEATURES]
}

fn loss(examples: &[Example], shares: &[f64; 2], unknowns: &[f64; UNKNOWNS]) -> f64 {
    let prior: f64 = unknowns[..HEAD_FEATURES].iter().map(|weight| 0.5 * weight * weight).sum();
    let of = |example: &Example| {
        let wrong = log_odds(example, unknowns) * if example.is_anomalous { -1.0 } else { 1.0 };
        // ln(1 + e^x) without overflow.
        let loss = wrong.max(0.0) + libm::log1p(libm::exp(-wrong.abs()));
        shares[usize::from(example.is_anomalous)] * loss
    };
    prior + examples.iter().map(of).sum::<f64>()
}

/// Solves Hessian · step = gradient.
fn newton_step(examples: &[Example], shares: &[f64; 2], unknowns: &[f64; UNKNOWNS]) -> Option<[f64; UNKNOWNS]> {
    let mut hessian = vec![0.0; UNKNOWNS * UNKNOWNS];
    let mut gradient = *unknowns;
    gradient[HEAD_FEATURES] = 0.0;
    let mut row = [1.0; UNKNOWNS];
    for example in examples {
        row[..HEAD_FEATURES].copy_from_slice(&example.features);
        let probability = 1.0 / (1.0 + libm::exp(-log_odds(example, unknowns)));
        let share = shares[usize::from(example.is_anomalous)];
        let error = share * (probability - f64::from(u8::from(example.is_anomalous)));
        let curvature = share * probability * (1.0 - probability);
        gradient.iter_mut().zip(&row).for_each(|(gradient, value)| *gradient += error * value);
        for (place, value) in row.iter().enumerate() {
            let factor = curvature * value;
            hessian[place * UNKNOWNS..][..=place].iter_mut().zip(&row).for_each(|(out, value)| *out += factor * value);
        }
    }
    for place in 0..UNKNOWNS {
        hessian[place * UNKNOWNS + place] += if place < HEAD_FEATURES { 1.0 } else { RIDGE };
    }
    solve_positive_definite(&mut hessian, &mut gradient).then_some(gradient)
}
