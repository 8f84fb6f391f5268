//! The training loop: epochs, shuffling, schedules, statistics, best and last checkpoint, time budget, progress.

use crate::dataset::windows::{Batch, Item, WindowSet};
use crate::error::HostError;
use crate::train::checkpoint::{self, Progress};
use crate::train::optimiser::Schedule;
use crate::train::trainer::Trainer;
use alfred_synth::random::Random;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How to train.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Passes over the data.
    pub epochs: u32,
    /// Samples per step.
    pub batch: usize,
    /// Full learning rate.
    pub learning_rate: f64,
    /// Its course.
    pub schedule: Schedule,
    /// Seed of the shuffling.
    pub seed: u64,
    /// Each window also mirrored.
    pub mirror: bool,
    /// Time after which training ends early; the result then depends on the machine's speed.
    pub time_max: Option<Duration>,
    /// Batches per re-estimation of running statistics.
    pub statistics_batches: usize,
    /// Where to write checkpoints; `None`: nowhere.
    pub checkpoint: Option<PathBuf>,
    /// Go on from the checkpoint if there is one.
    pub resume: bool,
    /// Show progress on stderr.
    pub progress: bool,
}

/// How training went.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainReport {
    /// Epochs done in all.
    pub epochs: u32,
    /// Steps done in this run.
    pub steps: u64,
    /// Samples seen in this run.
    pub samples: u64,
    /// Mean training loss of the last epoch.
    pub loss: f64,
    /// Mean validation score after the last epoch, if there was validation data.
    pub validation_loss: Option<f64>,
    /// Wall-clock seconds of this run.
    pub seconds: f64,
    /// Whether the time budget ended it.
    pub cut_short: bool,
}

/// Trains, and leaves the trainer with re-estimated running statistics.
///
/// With `validation` (normal windows), the epoch with the lowest mean score there is kept in `<checkpoint>.best.safetensors`.
///
/// # Errors
/// [`HostError`] when a step is not finite or a checkpoint cannot be used.
pub fn train(trainer: &mut dyn Trainer, set: &WindowSet, validation: Option<&WindowSet>, plan: &Plan) -> Result<TrainReport, HostError> {
    let started = Instant::now();
    let mut items = all_items(set, plan.mirror);
    let fingerprint = fingerprint(set, plan);
    let mut progress = Progress { epochs_done: 0, best_loss: f64::INFINITY, fingerprint };
    if let Some(path) = plan.checkpoint.as_deref().filter(|path| plan.resume && path.is_file()) {
        progress = checkpoint::resume(path, trainer, &progress.fingerprint)?;
    }
    let mut report = TrainReport {
        epochs: progress.epochs_done,
        steps: 0,
        samples: 0,
        loss: f64::NAN,
        validation_loss: None,
        seconds: 0.0,
        cut_short: false,
    };
    let bar = progress_bar(plan, &items, progress.epochs_done);
    for epoch in progress.epochs_done..plan.epochs {
        let rate = plan.schedule.rate(plan.learning_rate, epoch, plan.epochs);
        // The order depends on seed and epoch alone, so a resumed run sees the same batches.
        items.sort_unstable_by_key(|item| (item.window, item.mirrored));
        Random::new(plan.seed ^ (u64::from(epoch) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).shuffle(&mut items);
        let mut loss = 0.0;
        let mut seen = 0_usize;
        for batch in items.chunks(plan.batch.max(1)) {
            let step = trainer
                .train_batch(set, Batch { items: batch }, rate)
                .map_err(|fault| HostError::argument(format!("epoch {epoch}, step {}", report.steps), fault))?;
            loss += step.loss * batch.len() as f64;
            seen += batch.len();
            report.steps += 1;
            report.samples += batch.len() as u64;
            bar.inc(batch.len() as u64);
            report.cut_short = plan.time_max.is_some_and(|max| started.elapsed() >= max);
            if report.cut_short {
                break;
            }
        }
        report.loss = loss / seen.max(1) as f64;
        bar.set_message(format!("epoch {}/{}, loss {:.4}", epoch + 1, plan.epochs, report.loss));
        if report.cut_short {
            break;
        }
        report.epochs = epoch + 1;
        progress.epochs_done = epoch + 1;
        finish_epoch(trainer, set, validation, plan, &items, (&mut progress, &mut report))?;
    }
    // One order for the final statistics, whether the run was resumed or not.
    items.sort_unstable_by_key(|item| (item.window, item.mirrored));
    Random::new(plan.seed).shuffle(&mut items);
    estimate(trainer, set, &items, plan);
    bar.finish_and_clear();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Validation, best and last checkpoint.
fn finish_epoch(
    trainer: &mut dyn Trainer,
    set: &WindowSet,
    validation: Option<&WindowSet>,
    plan: &Plan,
    items: &[Item],
    (progress, report): (&mut Progress, &mut TrainReport),
) -> Result<(), HostError> {
    if let Some(validation) = validation.filter(|validation| !validation.is_empty()) {
        // Running statistics lag behind the weights; without new ones the validation loss jumps from epoch to epoch.
        estimate(trainer, set, items, plan);
        let scores = scores(trainer, validation, plan.batch);
        let loss = scores.iter().sum::<f64>() / scores.len() as f64;
        report.validation_loss = Some(loss);
        if loss < progress.best_loss {
            progress.best_loss = loss;
            if let Some(path) = &plan.checkpoint {
                checkpoint::save(&path.with_extension("best.safetensors"), trainer, progress)?;
            }
        }
    }
    match &plan.checkpoint {
        Some(path) => checkpoint::save(path, trainer, progress),
        None => Ok(()),
    }
}

/// Re-estimates running statistics: the plain mean over the batches, since momentum 1/k gives each the same weight.
fn estimate(trainer: &mut dyn Trainer, set: &WindowSet, items: &[Item], plan: &Plan) {
    for (index, batch) in items.chunks(plan.batch.max(1)).take(plan.statistics_batches).enumerate() {
        trainer.estimate_statistics(set, Batch { items: batch }, 1.0 / (index + 1) as f64);
    }
}

/// Anomaly scores of all windows of a set, in its order, as inference computes them.
pub fn scores(trainer: &mut dyn Trainer, set: &WindowSet, batch: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(set.len());
    for batch in all_items(set, false).chunks(batch.max(1)) {
        trainer.score_batch(set, Batch { items: batch }, &mut out);
    }
    out
}

fn all_items(set: &WindowSet, mirror: bool) -> Vec<Item> {
    let plain = (0..set.len() as u32).map(|window| Item { window, mirrored: false });
    let mirrored = (0..set.len() as u32).filter(|_| mirror).map(|window| Item { window, mirrored: true });
    plain.chain(mirrored).collect()
}

/// What must be the same for a resumed run to give the same result (FNV-1a of plan and data).
fn fingerprint(set: &WindowSet, plan: &Plan) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |value: u64| hash = (hash ^ value).wrapping_mul(0x0100_0000_01b3);
    for index in 0..set.len() as u32 {
        add(u64::from(set.label(index).to_bits()));
        set.window(index).iter().for_each(|value| add(u64::from(value.to_bits())));
    }
    format!(
        "{hash:016x} epochs {} batch {} rate {} {:?} seed {} mirror {}",
        plan.epochs, plan.batch, plan.learning_rate, plan.schedule, plan.seed, plan.mirror
    )
}

fn progress_bar(plan: &Plan, items: &[Item], epochs_done: u32) -> ProgressBar {
    let total = items.len() as u64 * u64::from(plan.epochs);
    let target = if plan.progress { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} samples, {per_sec}, {eta} left, {msg}") {
        bar.set_style(style);
    }
    bar.set_position(items.len() as u64 * u64::from(epochs_done));
    bar
}
