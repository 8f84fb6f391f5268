//! SPARTA's hand-derived step against automatic derivatives in f64 and against the device's scorer, and what threads change.

use super::gradient_tests::{items, random_set};
use crate::dataset::windows::{Batch, WindowSet};
use crate::train::architecture::{Architecture, Backend, TrainerOptions, trainer_of};
use crate::train::burn_sparta::{fresh, trainer};
use crate::train::burn_tensors::Samples;
use crate::train::run::scores;
use crate::train::sparta_trainer::SpartaTrainer;
use alfred_models::sparta::parameters::Form;
use alfred_models::sparta::reference::forward;
use alfred_models::sparta::weights_file::HeapParameters;
use alfred_synth::random::Random;
use burn::tensor::DType;

/// Detections of a window.
const WINDOW_FRAMES: usize = Form::Tokens.window_frames();

/// Relative L2 error of the f32 gradient against f64.
const GRADIENT_TOLERANCE: f64 = 5e-6;

fn parameters(seed: u64) -> HeapParameters {
    let mut random = Random::new(seed);
    let mut parameters = fresh(4, &mut random);
    parameters.values_mut().iter_mut().for_each(|value| *value += random.between(-0.05, 0.05) as f32);
    parameters
}

fn relative_error(truth: &[f64], found: &[f32]) -> f64 {
    let (distance, length) = truth.iter().zip(found).fold((0.0, 0.0), |(distance, length), (truth, found)| {
        (distance + (truth - f64::from(*found)) * (truth - f64::from(*found)), length + truth * truth)
    });
    f64::sqrt(distance / length)
}

/// Eleven windows, so the last chunk is not full; every third is anomalous, and some of those beyond the margin.
fn labelled(count: usize) -> WindowSet {
    let plain = random_set(WINDOW_FRAMES, count, &mut Random::new(41));
    let mut set = WindowSet::new(WINDOW_FRAMES);
    for index in 0..count as u32 {
        let factor = if index == 3 { 12.0 } else { 1.0 };
        let values: Vec<f32> = plain.window(index).iter().map(|value| value * factor).collect();
        set.push(&values, index % 3 == 0, plain.origin(index));
    }
    set
}

#[test]
fn gradients_are_those_of_automatic_derivatives_in_f64() {
    for (set, name) in [(labelled(11), "with anomalies"), (random_set(WINDOW_FRAMES, 2, &mut Random::new(42)), "first two")] {
        let samples = Samples::of(&set, Batch { items: &items(&set) });
        let parameters = parameters(9);
        let (truth_loss, truth, _) = trainer(&parameters, Form::Tokens, 0.0, 1).loss_and_gradient(&samples, DType::F64);
        for threads in [1, 2] {
            let ours = SpartaTrainer::new(&parameters, threads).loss_and_gradient(&samples);
            assert!((ours.loss / truth_loss - 1.0).abs() < 1e-5, "{name}: loss {}, not {truth_loss}", ours.loss);
            let error = relative_error(&truth, &ours.gradient);
            println!("{name}, {threads} threads: relative L2 error {error:.2e}");
            assert!(error < GRADIENT_TOLERANCE, "{name}, {threads} threads: {error}");
        }
    }
}

#[test]
fn scores_are_the_oracle_s() {
    let set = random_set(WINDOW_FRAMES, 7, &mut Random::new(43));
    let parameters = parameters(10);
    let mut trainer = SpartaTrainer::new(&parameters, 1);
    for (index, ours) in scores(&mut trainer, &set, 5).into_iter().enumerate() {
        let truth = forward(&parameters, Form::Tokens, set.window(index as u32)).score;
        assert!((ours / truth - 1.0).abs() < 1e-5, "window {index}: {ours}, oracle {truth}");
    }
}

#[test]
fn a_number_of_threads_repeats_bit_by_bit_and_another_differs_by_rounding_only() {
    let set = random_set(WINDOW_FRAMES, 13, &mut Random::new(44));
    let trained = |threads: usize| {
        let options = TrainerOptions { threads, ..TrainerOptions::default() };
        let mut trainer = trainer_of(Architecture::Sparta, None, &options, 3).expect("a trainer");
        let mut losses = Vec::new();
        for _ in 0..5 {
            losses.push(trainer.train_batch(&set, Batch { items: &items(&set) }, 1e-3).expect("a finite step").loss);
        }
        (losses, trainer.weights())
    };
    let (one, two) = (trained(1), trained(2));
    assert_eq!(two, trained(2));
    assert_eq!(one, trained(1));
    for (one, two) in one.0.iter().zip(&two.0) {
        assert!((one / two - 1.0).abs() < 1e-4, "{one} on one thread, {two} on two");
    }
}

#[test]
fn both_steps_learn_the_same() {
    let set = random_set(WINDOW_FRAMES, 16, &mut Random::new(45));
    let trained = |backend: Backend| {
        let options = TrainerOptions { backend, ..TrainerOptions::default() };
        let mut trainer = trainer_of(Architecture::Sparta, None, &options, 3).expect("a trainer");
        let mut loss = 0.0;
        for _ in 0..12 {
            loss = trainer.train_batch(&set, Batch { items: &items(&set) }, 1e-3).expect("a finite step").loss;
        }
        loss
    };
    let (hand, burn) = (trained(Backend::Hand), trained(Backend::Burn));
    assert!((hand / burn - 1.0).abs() < 1e-2, "{hand} by hand, {burn} by automatic derivatives");
}

#[test]
fn silent_layers_stay_so_and_cost_nothing_but_their_place() {
    let set = random_set(WINDOW_FRAMES, 6, &mut Random::new(47));
    for backend in [Backend::Hand, Backend::Burn] {
        let options = TrainerOptions { backend, depth: 1, ..TrainerOptions::default() };
        let mut trainer = trainer_of(Architecture::Sparta, None, &options, 3).expect("a trainer");
        let before = trainer.weights();
        trainer.train_batch(&set, Batch { items: &items(&set) }, 1e-3).expect("a finite step");
        for ((name, _, before), (_, _, after)) in before.iter().zip(trainer.weights()) {
            let is_first = name.contains("layers.0.");
            // A key's bias has no gradient but rounding; all else of the first layers moves.
            assert!(is_first || *before == after, "{name} moved");
            assert!(!is_first || *before != after, "{name} stood still");
        }
    }
    let refused = trainer_of(Architecture::Sparta, None, &TrainerOptions { depth: 5, ..TrainerOptions::default() }, 3).err();
    assert!(refused.is_some_and(|fault| fault.to_string().contains("--depth")));
}
