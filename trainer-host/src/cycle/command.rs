//! `alfred-host cycle`: serves a camera's requests and closes its slice; what the daemon starts, and what an operator may run by hand.

use crate::cycle::request::serve;
use crate::cycle::round::{Tools, close_slice};
use crate::cycle::settings::CycleSettings;
use crate::error::HostError;
use alfred_server::config::ServerConfig;
use alfred_store::Store;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Largest settings file, bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Arguments of `alfred-host cycle`.
#[derive(Clone, Debug, clap::Args)]
pub struct CycleArguments {
    /// The daemon's settings.
    #[arg(long)]
    pub config: PathBuf,
    /// The camera.
    #[arg(long)]
    pub camera: String,
    /// Close the slice now, and why; left out: only serve what people asked for.
    #[arg(long, value_name = "WHY")]
    pub close: Option<String>,
    /// Process of the daemon that started this one: it ends with it.
    #[arg(long, hide = true)]
    pub daemon: Option<i32>,
}

/// The daemon's settings file.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Database and doors.
    pub server: ServerConfig,
    /// Retraining, if there is any.
    pub cycle: Option<CycleSettings>,
}

impl HostSettings {
    /// Reads and judges the file.
    ///
    /// # Errors
    /// [`HostError`] names the file, the setting and the mend.
    pub fn read(path: &Path) -> Result<Self, HostError> {
        let length = fs::metadata(path).map_err(HostError::file(path))?.len();
        if length > CONFIG_BYTES_MAX {
            return Err(HostError::data(path, format!("{length} bytes"), format!("settings have at most {CONFIG_BYTES_MAX}")));
        }
        let text = fs::read_to_string(path).map_err(HostError::file(path))?;
        let fault = |error: toml::de::Error, mend| HostError::data(path, error.to_string().trim_end(), mend);
        let mut table: toml::Table = toml::from_str(&text).map_err(|error| fault(error, "mend the line"))?;
        let cycle = table.remove("cycle");
        let server = toml::Value::Table(table).try_into().map_err(|error| fault(error, "see ServerConfig"))?;
        let cycle = cycle.map(|cycle| cycle.try_into::<CycleSettings>()).transpose().map_err(|error| fault(error, "see [cycle]"))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let cycle = cycle.map(|cycle| cycle.settle(folder, path)).transpose()?;
        Ok(Self { server, cycle })
    }
}

/// Runs the command.
///
/// # Errors
/// [`HostError`] when there is no `[cycle]`, or the database, the weights or the training fail.
pub fn run(arguments: &CycleArguments) -> Result<(), HostError> {
    if let Some(daemon) = arguments.daemon {
        end_with(daemon)?;
    }
    let settings = HostSettings::read(&arguments.config)?;
    let cycle = settings.cycle.ok_or_else(|| HostError::data(&arguments.config, "no [cycle]", "name source_weights and key there"))?;
    let tools = Tools::read(cycle)?;
    let database = &settings.server.database;
    let mut store = Store::open(database).map_err(|error| HostError::argument(database.display(), error))?;
    let waiting = store.waiting_requests().map_err(|error| HostError::argument(database.display(), error))?;
    for request in waiting.iter().filter(|request| request.camera == arguments.camera) {
        let outcome = serve(&mut store, request, &tools, now_ms())?;
        println!("request {}: {outcome}", request.id);
    }
    if let Some(why) = &arguments.close {
        let round = close_slice(&mut store, &arguments.camera, &tools, why, now_ms())?;
        println!("{}: {:?}: {}", arguments.camera, round.evaluation.outcome, round.evaluation.reason);
    }
    Ok(())
}

/// Ends this process as soon as its parent has ended, however that ended: its work is done anew after the daemon's next start.
fn end_with(daemon: i32) -> Result<(), HostError> {
    set_pdeathsig(Signal::SIGKILL).map_err(|error| HostError::argument("--daemon", error))?;
    // It may have ended before that was asked for.
    if getppid().as_raw() == daemon { Ok(()) } else { Err(HostError::argument(format!("--daemon {daemon}"), "it has ended")) }
}

/// Now, milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}
