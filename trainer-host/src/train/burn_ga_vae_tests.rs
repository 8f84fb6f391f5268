//! GA-VAE in burn against the f64 oracle and the device's scorer, and what training promises.

use super::gradient_tests::{items, random_set};
use crate::dataset::windows::{Batch, WindowSet};
use crate::evaluate::model::{FileModel, Lane, Model};
use crate::train::architecture::{Architecture, TrainerOptions, trainer_of, write_weights};
use crate::train::burn_ga_vae::{fresh, trainer};
use crate::train::burn_tensors::Samples;
use crate::train::checkpoint::{Metadata, Tensors};
use crate::train::run::scores;
use crate::train::trainer::Trainer;
use alfred_core::scorer::{ScoreFault, Window};
use alfred_models::ga_vae::parameters::{HeapParameters, ScoreRule, TensorRole};
use alfred_models::ga_vae::reference::score;
use alfred_models::ga_vae::shape::{GaVaeShape, WINDOW_FRAMES};
use alfred_synth::random::Random;
use burn::tensor::DType;
use std::path::Path;

/// Scores of burn in f32 against the f64 oracle, relative.
const SCORE_TOLERANCE: f64 = 1e-5;
/// Relative L2 error of f32 gradients against f64; a rectifier's kink may add to it.
const PRECISION_TOLERANCE: f64 = 1e-4;

fn set(count: usize, seed: u64) -> WindowSet {
    random_set(WINDOW_FRAMES, count, &mut Random::new(seed))
}

/// As [`set`], all normal: the margin of anomalous windows is a constant to the gradient and none to the loss.
fn normal_set(count: usize, seed: u64) -> WindowSet {
    let mixed = set(count, seed);
    let mut set = WindowSet::new(WINDOW_FRAMES);
    (0..mixed.len() as u32).for_each(|window| set.push(mixed.window(window), false, mixed.origin(window)));
    set
}

/// Parameters none of which is at its start.
fn parameters(seed: u64) -> HeapParameters {
    let mut random = Random::new(seed);
    let mut parameters = fresh(GaVaeShape::new(2).expect("a width"), &mut random);
    parameters.visit_mut(|tensor| {
        let range = if tensor.role == TensorRole::RunningVariance { 0.2 } else { 0.1 };
        tensor.values.iter_mut().for_each(|value| *value += random.between(-range, range) as f32);
    });
    parameters
}

#[test]
fn scores_are_those_of_the_oracle_and_of_the_device() {
    let set = set(5, 41);
    let parameters = parameters(5);
    let mut trainer = trainer(&parameters, 0.1, 1);
    let weights = alfred_models::weights::read(&write_weights(&trainer, &Metadata::new())).expect("what was written is read");
    let model = FileModel::of(weights, Path::new("memory")).expect("a model");
    let mut scorer = model.scorer(Lane::Exact).expect("a scorer");
    let (mut window, mut result) = ([Window::EMPTY], [Err(ScoreFault::NotFinite)]);
    window[0].set_frames(WINDOW_FRAMES);
    for (index, ours) in scores(&mut trainer, &set, 2).into_iter().enumerate() {
        let truth = score(&parameters, set.window(index as u32));
        assert!((ours / truth - 1.0).abs() < SCORE_TOLERANCE, "window {index}: {ours}, oracle {truth}");
        window[0].values_mut().copy_from_slice(set.window(index as u32));
        scorer.score_batch(&window, &mut result);
        let device = f64::from(result[0].expect("a score").value());
        assert!((ours / device - 1.0).abs() < 2.0 * SCORE_TOLERANCE, "window {index}: {ours}, device {device}");
    }
}

/// Of several batches the least disturbed one counts: kinks of rectifiers scatter the error over orders of magnitude, a fault of the
/// arithmetic would be in all of them.
#[test]
fn single_precision_gradients_are_near_double_precision() {
    let mut errors: Vec<f64> = (1..=6).map(precision_error).collect();
    errors.sort_unstable_by(f64::total_cmp);
    println!("f32 against f64 gradient of GA-VAE, relative L2: {errors:?}");
    assert!(errors[0] < PRECISION_TOLERANCE, "{errors:?}: is burn built with simd and rayon?");
}

fn precision_error(seed: u64) -> f64 {
    let set = set(2, 50 + seed);
    let samples = Samples::of(&set, Batch { items: &items(&set) });
    let trainer = trainer(&parameters(seed), 0.1, 1);
    let (_, exact, _) = trainer.loss_and_gradient(&samples, DType::F64);
    let (_, single, _) = trainer.loss_and_gradient(&samples, DType::F32);
    let (distance, length) = exact
        .iter()
        .zip(&single)
        .fold((0.0, 0.0), |(distance, length), (exact, single)| (distance + (exact - single) * (exact - single), length + exact * exact));
    f64::sqrt(distance / length)
}

/// Along random directions, in f64, so small a step that few rectifiers change sides within it: the loss itself is what the derivative is checked on, the forward pass has its oracle above.
#[test]
fn gradients_are_slopes() {
    let set = normal_set(6, 42);
    let samples = Samples::of(&set, Batch { items: &items(&set) });
    let base = parameters(6);
    let of = |parameters: &HeapParameters, precision: DType| trainer(parameters, 0.1, 1).loss_and_gradient(&samples, precision);
    let (_, exact, _) = of(&base, DType::F64);
    let length: f64 = exact.iter().map(|value| value * value).sum();
    let mut random = Random::new(7);
    for direction in 0..3 {
        let step = 1e-7;
        let slopes: Vec<f64> = (0..exact.len()).map(|_| random.normal()).collect();
        let moved = |sign: f64| {
            let mut parameters = base.clone();
            let (mut taken, mut slopes) = (Vec::new(), slopes.iter());
            parameters.visit_mut(|tensor| {
                if tensor.role == TensorRole::Trainable {
                    for (value, slope) in tensor.values.iter_mut().zip(&mut slopes) {
                        let before = f64::from(*value);
                        *value = (before + sign * step * slope) as f32;
                        taken.push(f64::from(*value) - before);
                    }
                }
            });
            (of(&parameters, DType::F64).0, taken)
        };
        let ((above, up), (below, down)) = (moved(1.0), moved(-1.0));
        let ours: f64 = exact.iter().zip(up.iter().zip(&down)).map(|(gradient, (up, down))| gradient * (up - down)).sum();
        let theirs = above - below;
        println!(
            "direction {direction}: {ours}, by differences {theirs}, error {:.1e} of the length",
            (ours - theirs).abs() / (length.sqrt() * 2.0 * step)
        );
        assert!((ours - theirs).abs() < 1e-2 * length.sqrt() * 2.0 * step, "direction {direction}: {ours}, by differences {theirs}");
    }
}

#[test]
fn training_repeats_bit_by_bit_resumes_within_its_noise_and_lowers_the_loss() {
    let set = set(16, 43);
    let items = items(&set);
    // The published rule: the reference mean matters to it.
    let options = TrainerOptions { score_rule: ScoreRule::Distance, ..TrainerOptions::default() };
    let fresh = || trainer_of(Architecture::GaVae, None, &options, 3).expect("a trainer");
    let step = |trainer: &mut dyn Trainer| trainer.train_batch(&set, Batch { items: &items }, 3e-3).expect("a finite step").loss;
    let mut whole = fresh();
    let losses: Vec<f64> = (0..6).map(|_| step(whole.as_mut())).collect();
    assert!(losses[5] < losses[0], "{losses:?}");
    let mut first = fresh();
    for _ in 0..3 {
        step(first.as_mut());
    }
    let (state, steps) = first.optimiser_state();
    let stored: Tensors = first.weights().into_iter().map(|(name, _, values)| (name, values)).chain(state).collect();
    let mut resumed = fresh();
    resumed.restore(&mut |name| stored.get(name).cloned(), steps).expect("its own state");
    let rest: Vec<f64> = (3..6).map(|_| step(resumed.as_mut())).collect();
    assert_eq!(rest, losses[3..]);
    assert_eq!(resumed.weights(), whole.weights());
    // The reference is fitted to what inference gives: distances from it are as small as they can be on average.
    whole.estimate_statistics(&set, Batch { items: &items }, 1.0);
    let (after, reference) = (mean_square(whole.as_mut(), &set), "score.reference_mean");
    let moved: Tensors = whole.weights().into_iter().map(|(name, _, values)| (name, values)).chain(whole.optimiser_state().0).collect();
    let shift = |name: &str, values: Vec<f32>| if name == reference { values.iter().map(|value| value + 0.05).collect() } else { values };
    resumed.restore(&mut |name| moved.get(name).cloned().map(|values| shift(name, values)), steps).expect("its own state");
    assert!(mean_square(resumed.as_mut(), &set) > after, "the reference mean is not the mean");
}

fn mean_square(trainer: &mut dyn Trainer, set: &WindowSet) -> f64 {
    // Labels do not matter to scores, but the reference is of the normal windows.
    let scores = scores(trainer, set, 8);
    let normal = scores.iter().enumerate().filter(|(index, _)| set.label(*index as u32) > 0.0);
    normal.map(|(_, score)| score * score).sum::<f64>()
}
