//! `alfred-host train`: from a data set to a weight file.

use crate::dataset::layout::{ClipFiles, Split, clips, read_events};
use crate::dataset::sound::sound_clips;
use crate::dataset::windows::read_clips;
use crate::error::HostError;
use crate::evaluate::{Evaluation, FileModel, Lane, Model, PREPROCESSING_SQUARE, Settings, evaluate_model, to_json};
use crate::train::architecture::{Architecture, Backend, DEPTH, TrainerOptions, trainer_of, write_weights};
use crate::train::checkpoint::{Metadata, replace};
use crate::train::optimiser::Schedule;
use crate::train::run::{Plan, TrainReport, train};
use crate::train::trainer::Trainer;
use alfred_core::normalise::PixelScale;
use alfred_core::track_window::WindowPolicy;
use alfred_models::ga_vae::parameters::ScoreRule;
use alfred_models::sparta::parameters::{Form, LAYERS};
use alfred_models::weights;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// Courses of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ScheduleName {
    /// Always the same.
    Constant,
    /// Times 0.99 per epoch, as published.
    Exponential,
    /// Half a cosine down to a hundredth.
    Cosine,
    /// Triangles between half the rate and twice it, of falling height.
    Cyclic,
}

/// Over what SPARTA's attention runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FormName {
    /// As the released weights: one key per token.
    Published,
    /// Over the tokens of a window.
    Tokens,
}

/// GA-VAE's score rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ScoreRuleName {
    /// As published: the distance of the latent description from its mean over the training windows.
    Distance,
    /// The mean squared error of the decoder's output.
    Reconstruction,
}

/// Arguments of `alfred-host train`.
#[derive(Clone, Debug, clap::Args)]
pub struct TrainArguments {
    /// Architecture.
    #[arg(long, value_enum)]
    pub arch: Architecture,
    /// Data set; its train split is used.
    #[arg(long)]
    pub data: PathBuf,
    /// Weight file to write.
    #[arg(long)]
    pub out: PathBuf,
    /// Seed of initial weights and shuffling.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Passes over the data; by default what suits the architecture, as for the next two.
    #[arg(long)]
    pub epochs: Option<u32>,
    /// Learning rate.
    #[arg(long)]
    pub lr: Option<f64>,
    /// Its course.
    #[arg(long, value_enum, default_value = "cosine")]
    pub schedule: ScheduleName,
    /// Samples per step.
    #[arg(long)]
    pub batch: Option<usize>,
    /// Detections from one window's start to the next.
    #[arg(long)]
    pub stride: Option<u32>,
    /// Each window as it is only, not mirrored as well.
    #[arg(long)]
    pub no_mirror: bool,
    /// Detections per window (T).
    #[arg(long, default_value_t = 24)]
    pub frames: usize,
    /// Mean R of the prior.
    #[arg(long, default_value_t = 3.0)]
    pub prior_mean: f32,
    /// Over what SPARTA's attention runs; fine-tuned weights keep theirs.
    #[arg(long, value_enum, default_value = "tokens")]
    pub form: FormName,
    /// Share of values that training drops (SPARTA).
    #[arg(long, default_value_t = 0.0)]
    pub dropout: f64,
    /// Layers of SPARTA's encoder and of its decoder, 1 to 4; by default 1, and 4 in the published form.
    #[arg(long)]
    pub depth: Option<usize>,
    /// Threads of a hand-derived step; the weights depend on their number, and repeat for the same one.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Width of GA-VAE: even, 2 to 16.
    #[arg(long, default_value_t = 2)]
    pub width: usize,
    /// Weight of the divergence from the prior in GA-VAE's loss.
    #[arg(long, default_value_t = 1.0)]
    pub beta: f64,
    /// The share of it that a training starts with, from which it rises over the first six tenths; by default 0.003, and 1 for given weights.
    #[arg(long)]
    pub beta_from: Option<f64>,
    /// How a window becomes its score (GA-VAE); fine-tuned weights keep their rule.
    #[arg(long, value_enum, default_value = "reconstruction")]
    pub score_rule: ScoreRuleName,
    /// What computes the training step.
    #[arg(long, value_enum, default_value = "hand")]
    pub backend: Backend,
    /// Fine-tune these weights instead of starting anew.
    #[arg(long, alias = "from")]
    pub weights: Option<PathBuf>,
    /// End after so many minutes at the latest; the result then depends on the machine's speed.
    #[arg(long)]
    pub max_minutes: Option<f64>,
    /// Every n-th training clip is held out to choose the best epoch; 0 holds out none.
    #[arg(long, default_value_t = 0)]
    pub hold_out: usize,
    /// End once so many epochs in a row were not better on the clips held out, and keep the best epoch; needs --hold-out.
    #[arg(long, requires = "hold_out")]
    pub patience: Option<u32>,
    /// Seconds between two checkpoints within an epoch; each epoch ends with one as well.
    #[arg(long, default_value_t = 60.0)]
    pub checkpoint_seconds: f64,
    /// Go on from the checkpoint of an interrupted run.
    #[arg(long)]
    pub resume: bool,
    /// Stop at the first clip that cannot be read, in place of leaving it out.
    #[arg(long)]
    pub strict: bool,
    /// End with one line of JSON on stdout.
    #[arg(long)]
    pub json: bool,
}

/// What an architecture is trained with unless something else is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Recipe {
    epochs: u32,
    learning_rate: f64,
    batch: usize,
    stride: u32,
}

impl Recipe {
    const fn of(architecture: Architecture) -> Self {
        match architecture {
            // On a source domain of 15,000 windows: 80.3 / 78.5 % window / frame AUC-ROC, mean of three seeds.
            Architecture::StgNf => Self { epochs: 60, learning_rate: 5e-3, batch: 256, stride: 6 },
            // One layer each; 15 CPU-seconds an epoch on 100,000 poses of real motion: 87 / 83 % window / frame AUC-ROC after eight.
            Architecture::Sparta => Self { epochs: 8, learning_rate: 2e-3, batch: 32, stride: 12 },
            // Small batches: the decoder needs many steps. On the same poses 86.9 / 80.0 %, mean of two seeds.
            Architecture::GaVae => Self { epochs: 10, learning_rate: 3e-3, batch: 32, stride: 24 },
        }
    }
}

/// Arithmetic by which new weights are judged: the same everywhere, but for GA-VAE, of which the exact lane scores some dozen windows a second.
const fn lane_of(architecture: Architecture) -> Lane {
    match architecture {
        Architecture::StgNf | Architecture::Sparta => Lane::Exact,
        Architecture::GaVae => Lane::Fast,
    }
}

/// Runs the command. Besides `--out` it writes `<out stem>.checkpoint.safetensors` after every epoch. When the data set has a test split with masks, the EER
/// threshold found there becomes the weight file's `threshold`.
///
/// # Errors
/// [`HostError`] when an argument, the data or a weight file cannot be used.
pub fn run(arguments: &TrainArguments) -> Result<(), HostError> {
    check(arguments)?;
    let (mut trainer, scale, preprocessing) = start(arguments)?;
    let trainer = trainer.as_mut();
    let recipe = Recipe::of(arguments.arch);
    let policy = WindowPolicy { stride: arguments.stride.unwrap_or(recipe.stride), ..WindowPolicy::published(trainer.window_frames()) };
    // A window's label is that of the frame which its score belongs to.
    let policy = policy.with_score_frame(arguments.arch.score_frame_in_window(trainer.window_frames()));
    let files = sound_clips(clips(&arguments.data, Split::Train)?, arguments.strict)?.clips;
    let held_out = |index: &usize| arguments.hold_out > 0 && index % arguments.hold_out == arguments.hold_out - 1;
    let part = |held: bool| files.iter().enumerate().filter(|(index, _)| held_out(index) == held).map(|(_, file)| file.clone()).collect();
    let (training, validation): (Vec<_>, Vec<_>) = (part(false), part(true));
    let events = read_events(&arguments.data)?;
    let read = |clips: &[ClipFiles]| Ok::<_, HostError>(read_clips(clips, events.as_ref(), &policy, &scale)?.0);
    let set = read(&training)?;
    let validation = if validation.is_empty() { None } else { Some(read(&validation)?) };
    let plan = plan(arguments, &recipe);
    let report = train(trainer, &set, validation.as_ref(), &plan)?;
    let mut metadata = Metadata::from([("preprocessing".to_owned(), preprocessing)]);
    // Written before they are judged: judging may take longer than training did, and whoever interrupts it keeps the weights.
    replace(&arguments.out, &write_weights(trainer, &metadata))?;
    let weights = weights::read(&write_weights(trainer, &metadata)).map_err(|fault| HostError::data(&arguments.out, "weights", fault))?;
    let model = FileModel::of(weights, &arguments.out)?;
    let settings = Settings { strict: arguments.strict, lane: lane_of(arguments.arch), ..Settings::default() };
    let evaluation = match evaluate_model(&model, &arguments.data, &settings) {
        Ok(evaluation) => Some(evaluation),
        Err(reason) => {
            eprintln!("alfred-host: the weights get no threshold: {reason}");
            None
        }
    };
    if let Some(device) = evaluation.as_ref().and_then(|evaluation| evaluation.device.as_ref()) {
        metadata.insert("threshold".into(), format!("{:?}", device.figures.eer_threshold.value as f32));
        metadata.insert(
            "threshold_rule".into(),
            "EER on the frame scores of the data set's test split as a device decides them: live windows, default causal smoothing".into(),
        );
    }
    replace(&arguments.out, &write_weights(trainer, &metadata))?;
    // What was written must be readable by the devices' own reader.
    FileModel::read(&arguments.out)?;
    if arguments.json {
        let evaluation = evaluation.as_ref().map(to_json);
        println!("{}", json!({"windows": set.len(), "training": report_json(&report), "test": evaluation}));
    } else {
        print(&report, set.len(), evaluation.as_ref());
    }
    Ok(())
}

fn check(arguments: &TrainArguments) -> Result<(), HostError> {
    let positive = |name: &str, good: bool| if good { Ok(()) } else { Err(HostError::argument(name, "give a number above 0")) };
    positive("--lr", arguments.lr.is_none_or(|lr| lr.is_finite() && lr > 0.0))?;
    positive("--batch", arguments.batch.is_none_or(|batch| (2..=1 << 16).contains(&batch)))?;
    positive("--stride", arguments.stride != Some(0))?;
    positive("--beta", arguments.beta.is_finite() && arguments.beta > 0.0)?;
    positive("--beta-from", arguments.beta_from.is_none_or(|share| share.is_finite() && share > 0.0))?;
    positive("--dropout", (0.0..=0.9).contains(&arguments.dropout))?;
    positive("--threads", (1..=64).contains(&arguments.threads))?;
    let seconds = arguments.checkpoint_seconds;
    if !(0.0..=1e6).contains(&seconds) {
        return Err(HostError::argument("--checkpoint-seconds", "give a number from 0 to 1000000"));
    }
    positive("--max-minutes", arguments.max_minutes.is_none_or(|minutes| minutes.is_finite() && minutes > 0.0))
}

fn start(arguments: &TrainArguments) -> Result<(Box<dyn Trainer>, PixelScale, String), HostError> {
    let model = arguments.weights.as_deref().map(FileModel::read).transpose()?;
    let options = TrainerOptions {
        frames: arguments.frames,
        prior_mean: arguments.prior_mean,
        form: match arguments.form {
            FormName::Published => Form::Published,
            FormName::Tokens => Form::Tokens,
        },
        dropout: arguments.dropout,
        depth: arguments.depth.unwrap_or(if arguments.form == FormName::Published { LAYERS } else { DEPTH }),
        threads: arguments.threads,
        width: arguments.width,
        beta: arguments.beta,
        beta_from: arguments.beta_from,
        score_rule: match arguments.score_rule {
            ScoreRuleName::Distance => ScoreRule::Distance,
            ScoreRuleName::Reconstruction => ScoreRule::Reconstruction,
        },
        backend: arguments.backend,
    };
    let trainer = trainer_of(arguments.arch, model.as_ref().map(FileModel::weights), &options, arguments.seed)?;
    // What is fine-tuned keeps its preprocessing.
    let scale = model.as_ref().map_or(PixelScale::SQUARE, Model::pixel_scale);
    let name = PixelScale::PREPROCESSINGS.iter().find(|(_, known)| *known == scale).map_or(PREPROCESSING_SQUARE, |(name, _)| name);
    Ok((trainer, scale, name.to_owned()))
}

fn plan(arguments: &TrainArguments, recipe: &Recipe) -> Plan {
    Plan {
        epochs: arguments.epochs.unwrap_or(recipe.epochs),
        batch: arguments.batch.unwrap_or(recipe.batch),
        learning_rate: arguments.lr.unwrap_or(recipe.learning_rate),
        schedule: match arguments.schedule {
            ScheduleName::Constant => Schedule::Constant,
            ScheduleName::Exponential => Schedule::Exponential { base: 0.99 },
            ScheduleName::Cosine => Schedule::Cosine,
            ScheduleName::Cyclic => Schedule::Cyclic,
        },
        seed: arguments.seed,
        mirror: !arguments.no_mirror,
        time_max: arguments.max_minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
        statistics_batches: 64,
        patience_epochs: arguments.patience,
        checkpoint: Some(arguments.out.with_extension("checkpoint.safetensors")),
        checkpoint_period: Duration::from_secs_f64(arguments.checkpoint_seconds),
        resume: arguments.resume,
        progress: true,
    }
}

fn report_json(report: &TrainReport) -> serde_json::Value {
    json!({
        "epochs": report.epochs, "steps": report.steps, "samples": report.samples, "loss": report.loss, "seconds": report.seconds,
        "validation_loss": report.validation_loss, "cut_short": report.cut_short, "stopped_early": report.stopped_early, "samples_per_second": report.samples as f64 / report.seconds,
    })
}

fn print(report: &TrainReport, windows: usize, evaluation: Option<&Evaluation>) {
    let speed = report.samples as f64 / report.seconds;
    println!("{windows} windows, {} epochs, {} steps, loss {:.4}, {speed:.0} samples/s", report.epochs, report.steps, report.loss);
    if let Some(evaluation) = evaluation {
        println!("test split: window AUC-ROC {}", evaluation.window.auc_roc);
        if let Some(paper) = &evaluation.paper {
            println!("test split: frame AUC-ROC {}", paper.figures.auc_roc);
        }
    }
}
