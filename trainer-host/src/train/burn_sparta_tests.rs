//! SPARTA in burn against the f64 oracle and the device's scorer; its gradient against slopes; what training and resuming promise.

use super::gradient_tests::{items, random_set};
use crate::dataset::windows::{Batch, WindowSet};
use crate::evaluate::model::{FileModel, Lane, Model};
use crate::train::architecture::{Architecture, TrainerOptions, trainer_of, write_weights};
use crate::train::burn_sparta::{fresh, trainer};
use crate::train::burn_tensors::Samples;
use crate::train::checkpoint::{Metadata, Tensors};
use crate::train::run::scores;
use crate::train::trainer::Trainer;
use alfred_core::scorer::{ScoreFault, Window};
use alfred_models::sparta::parameters::Form;
use alfred_models::sparta::reference::forward;
use alfred_models::sparta::weights_file::HeapParameters;
use alfred_synth::random::Random;
use burn::tensor::DType;
use std::path::Path;

/// Scores of burn in f32 against the f64 oracle, relative.
const SCORE_TOLERANCE: f64 = 1e-5;
/// Relative L2 error of f32 gradients against f64.
const PRECISION_TOLERANCE: f64 = 5e-6;

fn set(form: Form, count: usize, seed: u64) -> WindowSet {
    random_set(form.window_frames(), count, &mut Random::new(seed))
}

/// Parameters with no zero among them.
fn parameters(seed: u64) -> HeapParameters {
    let mut random = Random::new(seed);
    let mut parameters = fresh(4, &mut random);
    parameters.values_mut().iter_mut().for_each(|value| *value += random.between(-0.05, 0.05) as f32);
    parameters
}

#[test]
fn scores_are_those_of_the_oracle_and_of_the_device() {
    for form in Form::ALL {
        let set = set(form, 9, 31);
        let parameters = parameters(5);
        let mut trainer = trainer(&parameters, form, 0.1, 1);
        let bytes = write_weights(&trainer, &Metadata::new());
        let weights = alfred_models::weights::read(&bytes).expect("what was written is read");
        let model = FileModel::of(weights, Path::new("memory")).expect("a model");
        let mut scorer = model.scorer(Lane::Exact).expect("a scorer");
        let (mut window, mut result) = ([Window::EMPTY], [Err(ScoreFault::NotFinite)]);
        window[0].set_frames(form.window_frames());
        for (index, ours) in scores(&mut trainer, &set, 4).into_iter().enumerate() {
            let truth = forward(&parameters, form, set.window(index as u32)).score;
            assert!((ours / truth - 1.0).abs() < SCORE_TOLERANCE, "{form:?} window {index}: {ours}, oracle {truth}");
            window[0].values_mut().copy_from_slice(set.window(index as u32));
            scorer.score_batch(&window, &mut result);
            let device = f64::from(result[0].expect("a score").value());
            assert!((ours / device - 1.0).abs() < 2.0 * SCORE_TOLERANCE, "{form:?} window {index}: {ours}, device {device}");
        }
    }
}

#[test]
fn gradients_are_slopes_and_precise() {
    for form in Form::ALL {
        let set = set(form, 12, 32);
        let samples = Samples::of(&set, Batch { items: &items(&set)[1..3] });
        let parameters = parameters(6);
        let trainer = trainer(&parameters, form, 0.0, 1);
        let (_, exact, _) = trainer.loss_and_gradient(&samples, DType::F64);
        let (_, single, _) = trainer.loss_and_gradient(&samples, DType::F32);
        let (distance, length) = exact.iter().zip(&single).fold((0.0, 0.0), |(distance, length), (exact, single)| {
            (distance + (exact - single) * (exact - single), length + exact * exact)
        });
        let error = f64::sqrt(distance / length);
        println!("{form:?}: f32 against f64 gradient, relative L2 {error:.2e}");
        assert!(error < PRECISION_TOLERANCE, "{form:?}: {error}: is burn built with simd and rayon?");
        // Slopes of the oracle along random directions: every parameter takes part in each.
        let mut random = Random::new(7);
        for direction in 0..4 {
            let slopes: Vec<f64> = (0..exact.len()).map(|_| random.normal()).collect();
            let step = 2e-6;
            let loss = |sign: f64| {
                let mut moved = parameters.clone();
                let mut taken = Vec::new();
                for (value, slope) in moved.values_mut().iter_mut().zip(&slopes) {
                    let before = f64::from(*value);
                    *value = (before + sign * step * slope) as f32;
                    taken.push(f64::from(*value) - before);
                }
                let scores = (0..2).map(|index| forward(&moved, form, samples.window(index)).score);
                (scores.sum::<f64>() / 2.0, taken)
            };
            let ((above, up), (below, down)) = (loss(1.0), loss(-1.0));
            // Rounding to f32 bends the direction a little: the slope is along what was really taken.
            let ours: f64 = exact.iter().zip(up.iter().zip(&down)).map(|(gradient, (up, down))| gradient * (up - down)).sum();
            let theirs = above - below;
            // A random direction's slope is about the gradient's length.
            assert!((ours - theirs).abs() < 5e-3 * length.sqrt() * 2.0 * step, "{form:?} direction {direction}: {ours}, oracle {theirs}");
        }
    }
}

#[test]
fn the_published_form_leaves_queries_and_keys_alone() {
    let set = set(Form::Published, 4, 33);
    let trainer = trainer(&parameters(8), Form::Published, 0.0, 1);
    let (_, gradient, _) = trainer.loss_and_gradient(&Samples::of(&set, Batch { items: &items(&set) }), DType::F32);
    let queries_and_keys = 2 * 72 * 72;
    assert!(gradient[..queries_and_keys].iter().all(|value| *value == 0.0));
    assert!(gradient[queries_and_keys..3 * 72 * 72].iter().any(|value| *value != 0.0));
}

#[test]
fn training_repeats_bit_by_bit_and_resumes_within_its_noise() {
    let set = set(Form::Tokens, 24, 34);
    let items = items(&set);
    let options = TrainerOptions { dropout: 0.1, ..TrainerOptions::default() };
    let fresh = || trainer_of(Architecture::Sparta, None, &options, 3).expect("a trainer");
    let step = |trainer: &mut dyn Trainer| trainer.train_batch(&set, Batch { items: &items }, 1e-3).expect("a finite step").loss;
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
}

/// The margin: a window labelled anomalous ends higher than the same training with it labelled normal, and the rest stays low.
#[test]
fn labels_push_anomalous_windows_up() {
    let plain = set(Form::Tokens, 30, 35);
    let ends = |labelled: bool| {
        let mut set = WindowSet::new(plain.frames());
        for index in 0..plain.len() as u32 {
            let factor = if index % 5 == 0 { 0.2 } else { 1.0 };
            let values: Vec<f32> = plain.window(index).iter().map(|value| value * factor).collect();
            set.push(&values, labelled && index % 5 == 0, plain.origin(index));
        }
        let mut trainer = trainer_of(Architecture::Sparta, None, &TrainerOptions::default(), 3).expect("a trainer");
        assert!(trainer.learns_from_anomalies());
        for _ in 0..40 {
            trainer.train_batch(&set, Batch { items: &items(&set) }, 2e-3).expect("a finite step");
        }
        let scores = scores(trainer.as_mut(), &set, 16);
        let mean = |wanted: bool| {
            let part: Vec<f64> =
                scores.iter().enumerate().filter(|(index, _)| (index % 5 == 0) == wanted).map(|(_, score)| *score).collect();
            part.iter().sum::<f64>() / part.len() as f64
        };
        mean(true) / mean(false)
    };
    let (with, without) = (ends(true), ends(false));
    println!("anomalous over normal score: {with:.2} with labels, {without:.2} without");
    assert!(with > 1.5 * without, "{with} with labels, {without} without");
}
