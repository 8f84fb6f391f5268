//! The training loop: epochs, shuffling, schedules, statistics, best and last checkpoint, time budget, progress.

use crate::dataset::windows::{Batch, Item, WindowSet};
use crate::error::HostError;
use crate::progress::ProgressLines;
use crate::train::checkpoint::{self, Progress, Tensors};
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
    /// Ends training once so many epochs in a row brought no better validation score; `None`: never. Needs validation data.
    pub patience_epochs: Option<u32>,
    /// Where to write checkpoints, after each epoch and within one; `None`: nowhere.
    pub checkpoint: Option<PathBuf>,
    /// Time between two checkpoints within an epoch.
    pub checkpoint_period: Duration,
    /// Go on from the checkpoint if there is one.
    pub resume: bool,
    /// Show progress on stderr.
    pub progress: bool,
}

/// How training went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainReport {
    /// Epochs done in all.
    pub epochs: u32,
    /// Steps done in this run.
    pub steps: u64,
    /// Samples seen in this run.
    pub samples: u64,
    /// Mean training loss of the last epoch; 0 when no step was done.
    pub loss: f64,
    /// Mean validation score after the last epoch, if there was validation data.
    pub validation_loss: Option<f64>,
    /// Wall-clock seconds of this run.
    pub seconds: f64,
    /// Whether the time budget ended it.
    pub cut_short: bool,
    /// Whether the validation rule ended it.
    pub stopped_early: bool,
}

/// Trains, and leaves the trainer with re-estimated running statistics.
///
/// With `validation` (normal windows), the epoch with the lowest mean score there is kept in `<checkpoint>.best.safetensors`; with a
/// patience, training ends once that many epochs in a row were not better, and the weights are those of the best one.
///
/// # Errors
/// [`HostError`] when a step is not finite or a checkpoint cannot be used.
pub fn train(trainer: &mut dyn Trainer, set: &WindowSet, validation: Option<&WindowSet>, plan: &Plan) -> Result<TrainReport, HostError> {
    let started = Instant::now();
    let items = all_items(set, plan.mirror);
    let mut progress = Progress::new(fingerprint(set, plan));
    if let Some(path) = plan.checkpoint.as_deref().filter(|path| plan.resume && path.is_file()) {
        progress = checkpoint::resume(path, trainer, &progress.fingerprint)?;
    }
    let mut run = Run {
        best: None,
        saved: started,
        started,
        bar: progress_bar(plan, &items, &progress),
        lines: ProgressLines::new(plan.progress),
        report: TrainReport { epochs: progress.epochs_done, ..TrainReport::default() },
        trainer,
        set,
        validation: validation.filter(|validation| !validation.is_empty()),
        plan,
        items,
        progress,
    };
    while run.progress.epochs_done < plan.epochs && !run.out_of_patience() {
        run.epoch()?;
        if run.report.cut_short {
            break;
        }
    }
    run.finish()
}

/// A training run between its steps.
struct Run<'r> {
    trainer: &'r mut dyn Trainer,
    set: &'r WindowSet,
    validation: Option<&'r WindowSet>,
    plan: &'r Plan,
    items: Vec<Item>,
    progress: Progress,
    report: TrainReport,
    /// Tensors of the best epoch, where they are asked for.
    best: Option<Tensors>,
    started: Instant,
    /// When the latest checkpoint was written.
    saved: Instant,
    bar: ProgressBar,
    lines: ProgressLines,
}

impl Run<'_> {
    /// One pass over the data, or the rest of one that was interrupted.
    fn epoch(&mut self) -> Result<(), HostError> {
        let (plan, epoch) = (self.plan, self.progress.epochs_done);
        let rate = plan.schedule.rate(plan.learning_rate, epoch, plan.epochs);
        // The order depends on seed and epoch alone, so a resumed run sees the same batches.
        self.items.sort_unstable_by_key(|item| (item.window, item.mirrored));
        Random::new(plan.seed ^ (u64::from(epoch) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).shuffle(&mut self.items);
        let batch = plan.batch.max(1);
        for start in (0..self.items.len()).step_by(batch).skip(self.progress.epoch_steps as usize) {
            let items = &self.items[start..(start + batch).min(self.items.len())];
            self.trainer.set_done_share((f64::from(epoch) + start as f64 / self.items.len() as f64) / f64::from(plan.epochs));
            let step = self
                .trainer
                .train_batch(self.set, Batch { items }, rate)
                .map_err(|fault| HostError::argument(format!("epoch {epoch}, step {}", self.progress.epoch_steps), fault))?;
            self.progress.epoch_steps += 1;
            self.progress.epoch_loss += step.loss * items.len() as f64;
            self.report.steps += 1;
            self.report.samples += items.len() as u64;
            self.bar.inc(items.len() as u64);
            self.lines.tell(&self.bar, || format!("epoch {}/{}, loss {:.4}", epoch + 1, plan.epochs, step.loss));
            self.report.cut_short = plan.time_max.is_some_and(|max| self.started.elapsed() >= max);
            if self.report.cut_short {
                break;
            }
            self.save_between_steps()?;
        }
        let seen = (self.progress.epoch_steps as usize * batch).min(self.items.len());
        self.report.loss = self.progress.epoch_loss / seen.max(1) as f64;
        self.bar.set_message(format!("epoch {}/{}, loss {:.4}", epoch + 1, plan.epochs, self.report.loss));
        if self.report.cut_short {
            return Ok(());
        }
        self.progress.epochs_done += 1;
        (self.progress.epoch_steps, self.progress.epoch_loss) = (0, 0.0);
        self.report.epochs = self.progress.epochs_done;
        self.validate()?;
        self.save()
    }

    /// Long epochs leave checkpoints on the way; how often changes nothing in the result.
    fn save_between_steps(&mut self) -> Result<(), HostError> {
        if self.saved.elapsed() < self.plan.checkpoint_period {
            return Ok(());
        }
        self.save()
    }

    fn save(&mut self) -> Result<(), HostError> {
        self.saved = Instant::now();
        match &self.plan.checkpoint {
            Some(path) => checkpoint::save(path, self.trainer, &self.progress),
            None => Ok(()),
        }
    }

    /// Mean score of the validation windows; keeps the best epoch.
    fn validate(&mut self) -> Result<(), HostError> {
        let Some(validation) = self.validation else { return Ok(()) };
        // Running statistics lag behind the weights; without new ones the validation loss jumps from epoch to epoch.
        estimate(self.trainer, self.set, &self.items, self.plan);
        let scores = scores(self.trainer, validation, self.plan.batch);
        let loss = scores.iter().sum::<f64>() / scores.len() as f64;
        self.report.validation_loss = Some(loss);
        if loss < self.progress.best_loss {
            self.progress.best_loss = loss;
            self.progress.epochs_since_best = 0;
            if self.plan.patience_epochs.is_some() {
                self.best = Some(tensors_of(self.trainer));
            }
            if let Some(path) = &self.plan.checkpoint {
                checkpoint::save(&checkpoint::best_path(path), self.trainer, &self.progress)?;
            }
        } else {
            self.progress.epochs_since_best += 1;
        }
        Ok(())
    }

    fn out_of_patience(&self) -> bool {
        self.plan.patience_epochs.is_some_and(|patience| self.progress.epochs_since_best >= patience)
    }

    /// Final weights and statistics.
    fn finish(mut self) -> Result<TrainReport, HostError> {
        self.report.stopped_early = self.out_of_patience();
        if self.plan.patience_epochs.is_some() && self.progress.best_loss.is_finite() && !self.report.cut_short {
            self.take_best()?;
        }
        // One order for the final statistics, whether the run was resumed or not.
        self.items.sort_unstable_by_key(|item| (item.window, item.mirrored));
        Random::new(self.plan.seed).shuffle(&mut self.items);
        estimate(self.trainer, self.set, &self.items, self.plan);
        self.bar.finish_and_clear();
        self.report.seconds = self.started.elapsed().as_secs_f64();
        Ok(self.report)
    }

    /// Goes back to the best epoch: from memory, or, in a run that was resumed after it, from its file.
    fn take_best(&mut self) -> Result<(), HostError> {
        let best = match (self.best.take(), &self.plan.checkpoint) {
            (Some(best), _) => best,
            (None, Some(path)) => checkpoint::read(&checkpoint::best_path(path))?.1,
            (None, None) => return Ok(()),
        };
        let (_, steps) = self.trainer.optimiser_state();
        self.trainer
            .restore(&mut |name| best.get(name).cloned(), steps)
            .map_err(|name| HostError::argument("the best epoch's checkpoint", format!("tensor {name} is missing: start without --resume")))
    }
}

/// Weights and optimiser state by name.
fn tensors_of(trainer: &dyn Trainer) -> Tensors {
    let weights = trainer.weights().into_iter().map(|(name, _, values)| (name, values));
    weights.chain(trainer.optimiser_state().0).collect()
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
        "{hash:016x} epochs {} batch {} rate {} {:?} seed {} mirror {} patience {:?}",
        plan.epochs, plan.batch, plan.learning_rate, plan.schedule, plan.seed, plan.mirror, plan.patience_epochs
    )
}

fn progress_bar(plan: &Plan, items: &[Item], progress: &Progress) -> ProgressBar {
    let total = items.len() as u64 * u64::from(plan.epochs);
    let target = if plan.progress { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} samples, {per_sec}, {eta} left, {msg}") {
        bar.set_style(style);
    }
    bar.set_position(items.len() as u64 * u64::from(progress.epochs_done) + progress.epoch_steps * plan.batch as u64);
    bar
}
