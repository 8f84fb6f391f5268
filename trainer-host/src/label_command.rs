//! `alfred-host label export | import`: verdicts as a file, for other programs and other hosts.

use crate::daemon_command::{WHO, now_ms, open};
use crate::error::HostError;
use alfred_store::exchange::LabelFormat;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::PathBuf;

/// Arguments of `alfred-host label`.
#[derive(Clone, Debug, clap::Args)]
pub struct LabelArguments {
    /// What to do.
    #[command(subcommand)]
    pub action: LabelAction,
}

/// What `alfred-host label` does.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum LabelAction {
    /// Writes the whole log of verdicts.
    Export {
        /// The daemon's database.
        #[arg(long)]
        database: PathBuf,
        /// How.
        #[arg(long, value_enum, default_value = "csv")]
        format: FormatName,
        /// Where to; left out: standard output.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Takes a log that `export` wrote; all of it or nothing. Lines that are here already change nothing.
    Import {
        /// The file.
        file: PathBuf,
        /// The daemon's database.
        #[arg(long)]
        database: PathBuf,
        /// How it is written.
        #[arg(long, value_enum, default_value = "csv")]
        format: FormatName,
    },
}

/// Formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FormatName {
    /// A table with a heading.
    Csv,
    /// An object per line.
    Json,
}

impl From<FormatName> for LabelFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Csv => Self::Csv,
            FormatName::Json => Self::Json,
        }
    }
}

/// Exports or imports.
///
/// # Errors
/// [`HostError`] names the file, and the line that is wrong.
pub fn run(arguments: &LabelArguments) -> Result<(), HostError> {
    match &arguments.action {
        LabelAction::Export { database, format, out } => {
            let store = open(database)?;
            let mut to: Box<dyn Write> = match out {
                None => Box::new(io::stdout().lock()),
                // Not over an export of yesterday.
                Some(path) => Box::new(BufWriter::new(File::create_new(path).map_err(HostError::file(path))?)),
            };
            let fault = |error: &dyn std::fmt::Display| HostError::argument("label export", error);
            let lines = store.export_labels((*format).into(), &mut to).map_err(|error| fault(&error))?;
            to.flush().map_err(|error| fault(&error))?;
            eprintln!("{lines} lines written");
        }
        LabelAction::Import { file, database, format } => {
            let mut from = BufReader::new(File::open(file).map_err(HostError::file(file))?);
            let imported = open(database)?.import_labels((*format).into(), &mut from, WHO, now_ms());
            let imported = imported.map_err(|error| HostError::data(file, error, "nothing was taken"))?;
            println!("{} added, {} known, {} about items that are not here", imported.added, imported.known, imported.without_item);
        }
    }
    Ok(())
}
