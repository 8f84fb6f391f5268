//! The training loop: the same bits again, checkpoints, patience.

use super::gradient_tests::random_set;
use crate::dataset::windows::{Batch, WindowSet};
use crate::train::checkpoint::Metadata;
use crate::train::optimiser::Schedule;
use crate::train::run::{Plan, scores, train};
use crate::train::stg_nf_trainer::{StgNfTrainer, trainable};
use crate::train::trainer::{StepReport, TrainFault, Trainer};
use alfred_models::stg_nf::parameters::StgNfShape;
use alfred_synth::random::Random;
use std::time::Duration;

fn plan(epochs: u32) -> Plan {
    Plan {
        epochs,
        batch: 32,
        learning_rate: 5e-3,
        schedule: Schedule::Cosine,
        seed: 9,
        mirror: true,
        time_max: None,
        statistics_batches: 8,
        patience_epochs: None,
        checkpoint: None,
        checkpoint_period: Duration::ZERO,
        resume: false,
        progress: false,
    }
}

fn fresh() -> StgNfTrainer {
    StgNfTrainer::new(StgNfShape::new(8).expect("a shape"), 3.0, &mut Random::new(1))
}

#[test]
fn training_lowers_the_loss_and_repeats_bit_by_bit() {
    let set = random_set(8, 200, &mut Random::new(3));
    let (mut first, mut second) = (fresh(), fresh());
    let short = train(&mut first, &set, None, &plan(1)).expect("trains");
    let report = train(&mut second, &set, None, &plan(6)).expect("trains");
    assert!(report.loss < short.loss, "{} after 6 epochs, {} after 1", report.loss, short.loss);
    let mut again = fresh();
    train(&mut again, &set, None, &plan(6)).expect("trains");
    assert_eq!(second.parameters(), again.parameters());
    assert_ne!(trainable(first.parameters()), trainable(second.parameters()));
    // Inference with running statistics is near the training loss, and does not depend on the batch.
    let (all, ones) = (scores(&mut second, &set, 64), scores(&mut second, &set, 1));
    assert_eq!(all, ones);
}

#[test]
fn a_run_killed_within_an_epoch_resumes_to_the_same_weights() {
    let set = random_set(8, 150, &mut Random::new(4));
    let folder = std::env::temp_dir().join(format!("alfred-resume-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("run.safetensors");
    let with = |resume: bool| Plan { checkpoint: Some(path.clone()), resume, ..plan(5) };
    let mut whole = fresh();
    let undisturbed = train(&mut whole, &set, None, &with(false)).expect("trains");
    std::fs::remove_file(&path).expect("the checkpoint");
    // Before the first step, between two epochs, and within one.
    let per_epoch = (2 * set.len()).div_ceil(plan(5).batch) as u32;
    for steps in [0, 2, 2 * per_epoch, 2 * per_epoch + 3] {
        let mut killed = Killed { inner: fresh(), steps_left: steps };
        assert!(train(&mut killed, &set, None, &with(false)).is_err());
        let mut resumed = fresh();
        let report = train(&mut resumed, &set, None, &with(true)).expect("resumes");
        assert_eq!(whole.parameters(), resumed.parameters(), "killed after {steps} steps");
        assert_eq!((report.epochs, report.loss), (5, undisturbed.loss));
        assert_eq!(report.steps, u64::from(5 * per_epoch - steps), "no step is done twice");
        std::fs::remove_file(&path).expect("the checkpoint");
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn training_ends_when_patience_does_and_keeps_the_best_epoch() {
    let (set, validation) = (random_set(8, 100, &mut Random::new(6)), random_set(8, 60, &mut Random::new(7)));
    // A rate that leaves the best point soon.
    let patient = |patience_epochs| Plan { learning_rate: 0.2, schedule: Schedule::Constant, patience_epochs, ..plan(60) };
    let mut stopped = fresh();
    let report = train(&mut stopped, &set, Some(&validation), &patient(Some(3))).expect("trains");
    assert!(report.stopped_early && report.epochs < 60, "{report:?}");
    // The same run, ended at its best epoch by hand.
    let mut best = fresh();
    let plan = Plan { epochs: report.epochs - 3, patience_epochs: None, ..patient(None) };
    let short = train(&mut best, &set, Some(&validation), &plan).expect("trains");
    assert_eq!(stopped.parameters(), best.parameters());
    assert!(short.validation_loss < report.validation_loss);
}

/// The label decides: what is trained as anomalous ends with higher scores than when it is trained as normal.
#[test]
fn labels_teach_what_is_anomalous() {
    let normal = random_set(8, 90, &mut Random::new(11));
    let frames = normal.frames();
    let relabelled = |anomalous: &dyn Fn(u32) -> bool| {
        let mut set = WindowSet::new(frames);
        for index in 0..normal.len() as u32 {
            // Every third window moves twice as much.
            let factor = if index % 3 == 0 { 2.0 } else { 1.0 };
            let values: Vec<f32> = normal.window(index).iter().map(|value| value * factor).collect();
            set.push(&values, anomalous(index), normal.origin(index));
        }
        set
    };
    let gap = |labelled: bool| {
        let set = relabelled(&|index| labelled && index % 3 == 0);
        let mut trainer = fresh();
        assert!(trainer.learns_from_anomalies());
        train(&mut trainer, &set, None, &plan(20)).expect("trains");
        let scores = scores(&mut trainer, &set, 64);
        let mean = |wanted: bool| {
            let part: Vec<f64> =
                scores.iter().enumerate().filter(|(index, _)| (index % 3 == 0) == wanted).map(|(_, score)| *score).collect();
            part.iter().sum::<f64>() / part.len() as f64
        };
        mean(true) - mean(false)
    };
    let (with, without) = (gap(true), gap(false));
    println!("anomalous above normal by {with:.2} bits per dimension with labels, {without:.2} without");
    assert!(with > without + 0.4, "{with} with labels, {without} without");
}

/// A trainer that fails after so many steps, like a killed process.
struct Killed {
    inner: StgNfTrainer,
    steps_left: u32,
}

impl Trainer for Killed {
    fn window_frames(&self) -> usize {
        self.inner.window_frames()
    }
    fn parameter_count(&self) -> usize {
        self.inner.parameter_count()
    }
    fn learns_from_anomalies(&self) -> bool {
        self.inner.learns_from_anomalies()
    }
    fn train_batch(&mut self, set: &WindowSet, batch: Batch<'_>, learning_rate: f64) -> Result<StepReport, TrainFault> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or(TrainFault::NotFinite)?;
        self.inner.train_batch(set, batch, learning_rate)
    }
    fn estimate_statistics(&mut self, set: &WindowSet, batch: Batch<'_>, momentum: f64) {
        self.inner.estimate_statistics(set, batch, momentum);
    }
    fn score_batch(&mut self, set: &WindowSet, batch: Batch<'_>, scores: &mut Vec<f64>) {
        self.inner.score_batch(set, batch, scores);
    }
    fn weights(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        self.inner.weights()
    }
    fn metadata(&self) -> Metadata {
        self.inner.metadata()
    }
    fn optimiser_state(&self) -> (Vec<(String, Vec<f32>)>, u64) {
        self.inner.optimiser_state()
    }
    fn restore(&mut self, lookup: &mut dyn FnMut(&str) -> Option<Vec<f32>>, steps: u64) -> Result<(), String> {
        self.inner.restore(lookup, steps)
    }
}
