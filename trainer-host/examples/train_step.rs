//! Our side of `benches/peers/train_step.py`: training steps and scores of given windows, in bursts that another program asks for.
//!
//! `prepare` makes a weight file. `train` and `score` print one line of JSON when they are ready; then each line on stdin is a number of
//! steps or calls, answered by one line of JSON when they are done, so that whoever asks can take turns with another contender and read
//! this process's CPU clock around each burst; a negative number of calls is that many without a clock around each. Windows are a safetensors file with `x` (N, 2, 18, T), `f32`, normalised, all of them normal
//! ones. Step k trains on windows `k * batch` and following, from the beginning again after the last whole batch.

use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_core::scorer::{ScoreFault, ScoreResult, Window};
use alfred_models::weights::{self, Weights};
use alfred_synth::random::Random;
use alfred_trainer_host::dataset::windows::{Batch, Item, Origin, WindowSet};
use alfred_trainer_host::error::HostError;
use alfred_trainer_host::evaluate::model::{FileModel, Lane, Model};
use alfred_trainer_host::train::architecture::{Architecture, Backend, TrainerOptions, architecture_of, trainer_of, write_weights};
use alfred_trainer_host::train::checkpoint::{Metadata, read, replace, to_bytes};
use alfred_trainer_host::train::trainer::Trainer;
use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Seed of weights and of GA-VAE's sampling.
const SEED: u64 = 1;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
    /// Windows (safetensors, `x`).
    #[arg(long, global = true, default_value = "windows.safetensors")]
    windows: PathBuf,
    /// Weight file, to be read or, by `prepare`, written.
    #[arg(long, global = true, default_value = "weights.safetensors")]
    weights: PathBuf,
    /// Windows per step or call.
    #[arg(long, global = true, default_value_t = 256)]
    batch: usize,
    /// Learning rate.
    #[arg(long, global = true, default_value_t = 5e-4)]
    lr: f64,
}

#[derive(Subcommand)]
enum Task {
    /// Trains a fresh model for some steps and writes its weights.
    Prepare {
        /// Architecture.
        #[arg(long, value_enum)]
        arch: Architecture,
        /// Steps.
        #[arg(long, default_value_t = 8)]
        steps: usize,
    },
    /// Training steps on demand.
    Train {
        /// What computes them.
        #[arg(long, value_enum, default_value = "hand")]
        backend: Backend,
        /// Where GA-VAE's random numbers of the first step go: `noise`, (channel, frame, window, joint) flat.
        #[arg(long)]
        noise_out: Option<PathBuf>,
        /// How many there are.
        #[arg(long, default_value_t = 0)]
        noise_values: usize,
        /// Threads of a hand-derived step.
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
    /// Scores on demand.
    Score {
        /// Which arithmetic.
        #[arg(long, value_enum)]
        lane: Lane,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("train_step: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), HostError> {
    match &arguments.task {
        Task::Prepare { arch, steps } => {
            let mut trainer = trainer_of(*arch, None, &TrainerOptions::default(), SEED)?;
            let mut steps_of = Steps::new(trainer.as_ref(), arguments)?;
            for _ in 0..*steps {
                steps_of.next(trainer.as_mut())?;
            }
            replace(&arguments.weights, &write_weights(trainer.as_ref(), &Metadata::new()))
        }
        Task::Train { backend, noise_out, noise_values, threads } => {
            if let Some(path) = noise_out {
                replace(path, &to_bytes(&[("noise".into(), vec![*noise_values], first_noise(*noise_values))], &Metadata::new()))?;
            }
            train_on_demand(arguments, TrainerOptions { backend: *backend, threads: *threads, ..TrainerOptions::default() })
        }
        Task::Score { lane } => score_on_demand(arguments, *lane),
    }
}

/// The normal numbers that a burn trainer of [`SEED`] draws in its first step.
fn first_noise(count: usize) -> Vec<f32> {
    // As BurnTrainer::noise: another stream per step. A change there shows as another loss than PyTorch's.
    let mut random = Random::new(SEED ^ 0xd134_2543_de82_ef95);
    (0..count).map(|_| random.normal() as f32).collect()
}

fn read_file(path: &Path) -> Result<Weights, HostError> {
    weights::read_path(path).map_err(|fault| HostError::data(path, "weights", fault))
}

/// The windows' values, `2 * 18 * frames` each.
fn windows(arguments: &Arguments, frames: usize) -> Result<Vec<Vec<f32>>, HostError> {
    let path = &arguments.windows;
    let values = read(path)?.1.remove("x").ok_or_else(|| HostError::data(path, "no tensor x", "give windows (N, 2, 18, T)"))?;
    let windows: Vec<_> = values.chunks_exact(CHANNELS * JOINTS * frames).map(<[f32]>::to_vec).collect();
    if arguments.batch == 0 || windows.len() < arguments.batch {
        return Err(HostError::data(path, format!("{} windows of {frames} frames", windows.len()), "give at least one whole batch"));
    }
    Ok(windows)
}

/// Training steps, batch after batch.
struct Steps {
    set: WindowSet,
    items: Vec<Item>,
    batch: usize,
    learning_rate: f64,
    done: usize,
}

impl Steps {
    fn new(trainer: &dyn Trainer, arguments: &Arguments) -> Result<Self, HostError> {
        let frames = trainer.window_frames();
        let mut set = WindowSet::new(frames);
        for window in windows(arguments, frames)? {
            set.push(&window, false, Origin { clip: 0, person: 0, centre: 0 });
        }
        let items = (0..set.len() as u32).map(|window| Item { window, mirrored: false }).collect();
        Ok(Self { set, items, batch: arguments.batch, learning_rate: arguments.lr, done: 0 })
    }

    /// One step; its loss.
    fn next(&mut self, trainer: &mut dyn Trainer) -> Result<f64, HostError> {
        let start = self.done % (self.items.len() / self.batch) * self.batch;
        let batch = Batch { items: &self.items[start..start + self.batch] };
        let step = trainer.train_batch(&self.set, batch, self.learning_rate);
        self.done += 1;
        Ok(step.map_err(|fault| HostError::argument(format!("step {}", self.done), fault))?.loss)
    }
}

fn train_on_demand(arguments: &Arguments, options: TrainerOptions) -> Result<(), HostError> {
    let weights = read_file(&arguments.weights)?;
    let mut trainer = trainer_of(architecture_of(&weights), Some(&weights), &options, SEED)?;
    let mut steps = Steps::new(trainer.as_ref(), arguments)?;
    answer(&json!({"parameters": trainer.parameter_count(), "windows": steps.set.len()}))?;
    on_demand(|count| {
        let start = Instant::now();
        let losses = (0..count.unsigned_abs()).map(|_| steps.next(trainer.as_mut())).collect::<Result<Vec<_>, _>>()?;
        Ok(json!({"seconds": start.elapsed().as_secs_f64(), "losses": losses}))
    })
}

fn score_on_demand(arguments: &Arguments, lane: Lane) -> Result<(), HostError> {
    let model = FileModel::of(read_file(&arguments.weights)?, &arguments.weights)?;
    let frames = model.window_frames();
    let mut scorer = model.scorer(lane)?;
    let to_window = |values: Vec<f32>| {
        let mut window = Window::EMPTY;
        window.set_frames(frames);
        window.values_mut().copy_from_slice(&values);
        window
    };
    let windows: Vec<Window> = windows(arguments, frames)?.into_iter().map(to_window).collect();
    let mut results: Vec<ScoreResult> = vec![Err(ScoreFault::Engine); windows.len()];
    scorer.score_batch(&windows, &mut results);
    let scores = results.iter().map(|result| result.map(|score| score.value()));
    let scores = scores.collect::<Result<Vec<_>, _>>().map_err(|fault| HostError::data(&arguments.windows, fault, "give other windows"))?;
    answer(&json!({"scores": scores}))?;
    let batches: Vec<_> = windows.chunks_exact(arguments.batch).collect();
    let results = &mut results[..arguments.batch];
    let mut done = 0;
    on_demand(|count| {
        let mut call = || {
            scorer.score_batch(batches[done % batches.len()], results);
            done += 1;
        };
        if count < 0 {
            (count..0).for_each(|_| call());
            return Ok(json!({}));
        }
        let (mut calls_us, mut undisturbed) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let before = interruptions();
            let clock = Instant::now();
            call();
            calls_us.push(clock.elapsed().as_secs_f64() * 1e6);
            undisturbed.push(interruptions() == before);
        }
        Ok(json!({"calls_us": calls_us, "undisturbed": undisturbed}))
    })
}

/// How often this process' main thread had to give its core to somebody else so far; always 0 where the system does not count it.
fn interruptions() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let count = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Answers each line of stdin, a number, until there are no more.
fn on_demand(mut burst: impl FnMut(i64) -> Result<Value, HostError>) -> Result<(), HostError> {
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| HostError::argument("stdin", error))?;
        let count = line.trim().parse().map_err(|error| HostError::argument(format!("stdin: {line}"), error))?;
        answer(&burst(count)?)?;
    }
    Ok(())
}

fn answer(value: &Value) -> Result<(), HostError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}").and_then(|()| out.flush()).map_err(|error| HostError::argument("stdout", error))
}
