//! alfred-host: makes data, trains, evaluates. Exit code 2: bad input; the reason is one line on stderr.

use alfred_trainer_host::bundle_command::{self, BundleArguments};
use alfred_trainer_host::cycle::command::{self as cycle_command, CycleArguments};
use alfred_trainer_host::daemon_command::{self, EnrollArguments, ServeArguments, UserArguments};
use alfred_trainer_host::error::HostError;
use alfred_trainer_host::evaluate::{self, EvaluateArguments};
use alfred_trainer_host::experiment::command::{self as experiment_command, ExperimentArguments};
use alfred_trainer_host::export::command::{self as export_command, ExportArguments};
use alfred_trainer_host::import::command::{self as import_command, ImportArguments};
use alfred_trainer_host::label_command::{self, LabelArguments};
use alfred_trainer_host::review_command::{self, ReviewArguments};
use alfred_trainer_host::status_command::{self, StatusArguments};
use alfred_trainer_host::synth_command::{self, SynthArguments};
use alfred_trainer_host::train_command::{self, TrainArguments};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// ALFred's host: trains and evaluates models for the devices.
#[derive(Parser)]
#[command(name = "alfred-host", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes a synthetic data set, or strips to look at.
    Synth(SynthArguments),
    /// Trains or fine-tunes a model.
    Train(TrainArguments),
    /// Evaluates weights on a test split.
    Evaluate(EvaluateArguments),
    /// Runs the paper's methodologies and ours on a data set with ground truth: tables, figures, a report.
    Experiment(ExperimentArguments),
    /// Turns a PyTorch checkpoint or a safetensors file into a weight file; executes nothing in it.
    Import(ImportArguments),
    /// Writes weights as ONNX or plain safetensors.
    Export(ExportArguments),
    /// Makes keys; builds, shows and verifies the signed bundles that devices take.
    Bundle(BundleArguments),
    /// Runs the daemon: takes what devices send, hands out bundles, serves the review API.
    Serve(ServeArguments),
    /// Serves what people asked of a camera's retraining, and closes its slice; the daemon runs this by itself.
    Cycle(CycleArguments),
    /// Makes a device's keys and certificates, and its place in the database.
    Enroll(EnrollArguments),
    /// Adds, renews or revokes reviewers.
    User(UserArguments),
    /// Shows cameras and devices as the daemon's database has them.
    Status(StatusArguments),
    /// Judges items in a terminal.
    Review(ReviewArguments),
    /// Writes verdicts into a file, or takes those of another host.
    Label(LabelArguments),
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alfred-host: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), HostError> {
    match &arguments.command {
        Command::Synth(arguments) => synth_command::run(arguments),
        Command::Train(arguments) => train_command::run(arguments),
        Command::Evaluate(arguments) => evaluate::run(arguments),
        Command::Experiment(arguments) => experiment_command::run(arguments),
        Command::Import(arguments) => import_command::run(arguments),
        Command::Export(arguments) => export_command::run(arguments),
        Command::Bundle(arguments) => bundle_command::run(arguments),
        Command::Serve(arguments) => daemon_command::serve(arguments),
        Command::Cycle(arguments) => cycle_command::run(arguments),
        Command::Enroll(arguments) => daemon_command::enroll(arguments),
        Command::User(arguments) => daemon_command::user(arguments),
        Command::Status(arguments) => status_command::run(arguments),
        Command::Review(arguments) => review_command::run(arguments),
        Command::Label(arguments) => label_command::run(arguments),
    }
}
