//! GA-VAE's hand-derived step against automatic derivatives in f64, against the f64 oracle, and what threads change.

use super::gradient_tests::{items, random_set};
use crate::dataset::windows::{Batch, WindowSet};
use crate::train::architecture::{Architecture, TrainerOptions, trainer_of, write_weights};
use crate::train::burn_ga_vae::{BetaCourse, fresh, trainer};
use crate::train::burn_tensors::Samples;
use crate::train::checkpoint::Metadata;
use crate::train::ga_vae_trainer::GaVaeTrainer;
use crate::train::run::scores;
use crate::train::trainer::Trainer as _;
use alfred_models::ga_vae::parameters::{HeapParameters, ScoreRule, TensorRole};
use alfred_models::ga_vae::reference::score;
use alfred_models::ga_vae::shape::{GaVaeShape, WINDOW_FRAMES};
use alfred_models::ga_vae::weights_file::read;
use alfred_synth::random::Random;
use burn::tensor::DType;

/// Relative L2 error of the f32 gradient against f64, of the least disturbed batch.
const GRADIENT_TOLERANCE: f64 = 1e-4;

/// Parameters none of which is at its start.
fn parameters(width: usize, seed: u64) -> HeapParameters {
    let mut random = Random::new(seed);
    let mut parameters = fresh(GaVaeShape::new(width).expect("a width"), &mut random);
    parameters.visit_mut(|tensor| {
        let range = if tensor.role == TensorRole::RunningVariance { 0.2 } else { 0.1 };
        tensor.values.iter_mut().for_each(|value| *value += random.between(-range, range) as f32);
    });
    parameters
}

/// Every third window is anomalous, one of them wilder than the others.
fn labelled(count: usize, seed: u64) -> WindowSet {
    let plain = random_set(WINDOW_FRAMES, count, &mut Random::new(seed));
    let mut set = WindowSet::new(WINDOW_FRAMES);
    for index in 0..count as u32 {
        let factor = if index == 3 { 2.0 } else { 1.0 };
        let values: Vec<f32> = plain.window(index).iter().map(|value| value * factor).collect();
        set.push(&values, index % 3 == 0, plain.origin(index));
    }
    set
}

/// Distance and length of two vectors.
fn error(truth: &[f64], found: &[f32]) -> f64 {
    let (distance, length) = truth.iter().zip(found).fold((0.0, 0.0), |(distance, length), (truth, found)| {
        (distance + (truth - f64::from(*found)) * (truth - f64::from(*found)), length + truth * truth)
    });
    f64::sqrt(distance / length)
}

/// Nineteen windows, so the second group of sixteen is not full. Kinks of rectifiers and a sharp softmax scatter the error of single precision: the
/// other step's is the measure, and a fault of the arithmetic would be in all batches.
#[test]
fn gradients_and_statistics_are_those_of_automatic_derivatives_in_f64() {
    let (mut ratios, mut least) = (Vec::new(), f64::INFINITY);
    for (seed, count, width) in [(1, 19, 2), (2, 3, 2), (3, 5, 4), (4, 19, 2), (5, 7, 2), (6, 4, 2)] {
        let set = labelled(count, 60 + seed);
        let samples = Samples::of(&set, Batch { items: &items(&set) });
        let rule = ScoreRule::ALL[seed as usize % 2];
        let parameters = parameters(width, seed).with_rule(rule);
        let burn = trainer(&parameters, 0.1, seed);
        let (truth_loss, truth, statistics) = burn.loss_and_gradient(&samples, DType::F64);
        let single: Vec<f32> = burn.loss_and_gradient(&samples, DType::F32).1.into_iter().map(|value| value as f32).collect();
        for threads in [1, 2] {
            let ours = GaVaeTrainer::new(&parameters, 0.1, seed, threads).loss_and_gradient(&samples);
            assert!((ours.loss / truth_loss - 1.0).abs() < 1e-4, "seed {seed}: loss {}, not {truth_loss}", ours.loss);
            let (error, other) = (error(&truth, &ours.gradient), error(&truth, &single));
            println!(
                "seed {seed}, {count} windows, width {width}, {threads} threads: relative L2 error {error:.2e}, other step {other:.2e}"
            );
            ratios.push(error / other);
            least = least.min(error);
            compare_statistics(ours.statistics, statistics.clone());
        }
    }
    ratios.sort_unstable_by(f64::total_cmp);
    assert!(least < GRADIENT_TOLERANCE, "{least}");
    assert!(ratios[ratios.len() / 2] < 10.0, "{ratios:?}");
}

/// Every running statistic has its part, and nearly the same one.
fn compare_statistics(mut ours: Vec<(usize, Vec<f32>)>, mut theirs: Vec<(usize, Vec<f32>)>) {
    ours.sort_by_key(|entry| entry.0);
    theirs.sort_by_key(|entry| entry.0);
    assert_eq!(ours.len(), theirs.len());
    for ((_, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        let (distance, length) = ours.iter().zip(theirs).fold((0.0, 0.0), |(distance, length), (one, other)| {
            (distance + f64::from(one - other) * f64::from(one - other), length + f64::from(other * other))
        });
        assert!(ours.len() == theirs.len() && distance <= 1e-6 * length + 1e-9, "{ours:?}, not {theirs:?}");
    }
}

#[test]
fn scores_are_the_oracle_s() {
    for (width, count, rule) in [(2, 17, ScoreRule::Distance), (4, 2, ScoreRule::Reconstruction)] {
        let set = random_set(WINDOW_FRAMES, count, &mut Random::new(43));
        let parameters = parameters(width, 10).with_rule(rule);
        let mut trainer = GaVaeTrainer::new(&parameters, 0.1, 1, 1);
        for (index, ours) in scores(&mut trainer, &set, 32).into_iter().enumerate() {
            let truth = score(&parameters, set.window(index as u32));
            assert!((ours / truth - 1.0).abs() < 1e-4, "window {index}: {ours}, oracle {truth}");
        }
    }
}

#[test]
fn a_number_of_threads_repeats_bit_by_bit_and_another_differs_by_rounding_only() {
    let set = labelled(37, 44);
    let trained = |threads: usize| {
        let options = TrainerOptions { threads, ..TrainerOptions::default() };
        let mut trainer = trainer_of(Architecture::GaVae, None, &options, 3).expect("a trainer");
        let step = |_| trainer.train_batch(&set, Batch { items: &items(&set) }, 1e-3).expect("a finite step").loss;
        let losses: Vec<f64> = (0..4).map(step).collect();
        (losses, trainer.weights())
    };
    assert_eq!(trained(2), trained(2));
    assert_eq!(trained(1), trained(1));
    // Two free runs part, since Adam moves by the signs of gradients, some of which rounding decides: compared at each weight of one run.
    let samples = Samples::of(&set, Batch { items: &items(&set) });
    let mut leading = trainer_of(Architecture::GaVae, None, &TrainerOptions::default(), 3).expect("a trainer");
    for step in 0..4 {
        let parameters = read(&write_weights(leading.as_ref(), &Metadata::new())).expect("weights").parameters;
        let [one, two] = [1, 2].map(|threads| GaVaeTrainer::new(&parameters, 1.0, step, threads).loss_and_gradient(&samples).loss);
        assert!((one / two - 1.0).abs() < 1e-5, "step {step}: {one} on one thread, {two} on two");
        leading.train_batch(&set, Batch { items: &items(&set) }, 1e-3).expect("a finite step");
    }
}

/// The hand-derived step leads, and at each of its weights both steps must find the same loss.
#[test]
fn both_steps_learn_the_same() {
    let set = random_set(WINDOW_FRAMES, 16, &mut Random::new(45));
    let samples = Samples::of(&set, Batch { items: &items(&set) });
    let mut leading = trainer_of(Architecture::GaVae, None, &TrainerOptions::default(), 3).expect("a trainer");
    let mut losses = Vec::new();
    for seed in 0..6 {
        let parameters = read(&write_weights(leading.as_ref(), &Metadata::new())).expect("weights").parameters;
        let hand = GaVaeTrainer::new(&parameters, 1.0, seed, 1).loss_and_gradient(&samples).loss;
        let (burn, ..) = trainer(&parameters, 1.0, seed).loss_and_gradient(&samples, DType::F64);
        assert!((hand / burn - 1.0).abs() < 1e-4, "step {seed}: {hand} by hand, {burn} by automatic derivatives");
        losses.push(leading.train_batch(&set, Batch { items: &items(&set) }, 1e-4).expect("a finite step").loss);
    }
    assert!(losses[5] < 0.9 * losses[0], "{losses:?}");
}

/// The weight of the divergence rises from its first share, is whole from six tenths of a run on, and both steps take it from the run.
#[test]
fn the_divergence_s_weight_rises_over_a_run() {
    let course = BetaCourse { full: 0.5, first_share: 0.01 };
    assert!((course.at(0.0) - 0.005).abs() < 1e-12 && (course.at(0.3) - 0.05).abs() < 1e-12);
    assert!((course.at(0.6) - 0.5).abs() < 1e-12 && (course.at(1.0) - 0.5).abs() < 1e-12);
    assert!((BetaCourse::from(0.7).at(0.0) - 0.7).abs() < 1e-12);
    let set = random_set(WINDOW_FRAMES, 8, &mut Random::new(46));
    let samples = Samples::of(&set, Batch { items: &items(&set) });
    let parameters = parameters(2, 11);
    let (mut hand, mut burn) = (GaVaeTrainer::new(&parameters, course, 1, 1), trainer(&parameters, course, 1));
    let mut last = 0.0;
    for done in [0.0, 0.3, 0.6] {
        hand.set_done_share(done);
        burn.set_done_share(done);
        let (by_hand, by_burn) = (hand.loss_and_gradient(&samples).loss, burn.loss_and_gradient(&samples, DType::F64).0);
        assert!((by_hand / by_burn - 1.0).abs() < 1e-4 && by_hand > last, "at {done}: {by_hand} by hand, {by_burn} by burn, {last} before");
        last = by_hand;
    }
}
