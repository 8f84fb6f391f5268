//! `alfred-host serve | enroll | user`: the daemon, and what it needs before it can be of use.

use crate::cycle::command::HostSettings;
use crate::cycle::schedule::Scheduler;
use crate::error::HostError;
use crate::expert::HostExpert;
use alfred_link::enrol::{Enrolment, enrol};
use alfred_server::serve::Server;
use alfred_server::user;
use alfred_store::Store;
use alfred_store::user::Role;
use alfred_wire::name::Name;
use nix::sys::signal::{SigSet, Signal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Who does what the command line does, in the audit log.
pub(crate) const WHO: &str = "command line";

/// Arguments of `alfred-host serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArguments {
    /// Settings, TOML: `database = "host.sqlite"`; for devices, `devices = "0.0.0.0:7443"` and `credentials = "DIR"`; for retraining, `[cycle]`
    /// with `source_weights` and `key`.
    #[arg(long)]
    pub config: PathBuf,
}

/// Arguments of `alfred-host enroll`.
#[derive(Clone, Debug, clap::Args)]
pub struct EnrollArguments {
    /// Name of the device.
    pub device: String,
    /// Camera that it watches; default: the device's name.
    #[arg(long)]
    pub camera: Option<String>,
    /// Where the device finds the host, NAME:PORT.
    #[arg(long)]
    pub host: String,
    /// The host's folder of keys and certificates; an authority is made there if there is none.
    #[arg(long)]
    pub host_folder: PathBuf,
    /// The device's folder, to be carried to it: key, certificates, configuration.
    #[arg(long)]
    pub out: PathBuf,
    /// The daemon's database.
    #[arg(long)]
    pub database: PathBuf,
}

/// Arguments of `alfred-host user`.
#[derive(Clone, Debug, clap::Args)]
pub struct UserArguments {
    /// What to do.
    #[command(subcommand)]
    pub action: UserAction,
}

/// What `alfred-host user` does.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum UserAction {
    /// Adds somebody and prints the token to log in with, once.
    Add {
        /// Name.
        name: String,
        /// What they may do.
        #[arg(long, value_enum, default_value = "reviewer")]
        role: RoleName,
        /// The daemon's database.
        #[arg(long)]
        database: PathBuf,
    },
    /// Gives somebody a new token; the old one ends.
    Renew {
        /// Name.
        name: String,
        /// The daemon's database.
        #[arg(long)]
        database: PathBuf,
    },
    /// Ends somebody's access; what was said stays.
    Revoke {
        /// Name.
        name: String,
        /// The daemon's database.
        #[arg(long)]
        database: PathBuf,
    },
}

/// Roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RoleName {
    /// Judges items.
    Reviewer,
    /// Judges items, rolls out and rolls back.
    Operator,
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// [`HostError`] names what keeps it from starting.
pub fn serve(arguments: &ServeArguments) -> Result<(), HostError> {
    let path = &arguments.config;
    let HostSettings { server: config, cycle } = HostSettings::read(path)?;
    let expert = HostExpert::new(cycle.as_ref().map(|cycle| cycle.source_weights.as_path()))?;
    let scheduler = cycle.map(|cycle| Scheduler::new(cycle, &config.database, path)).transpose()?;
    // Blocked before the first thread starts, so that none of them takes the signal.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().map_err(|error| HostError::argument("signals", error))?;
    let server = Server::bind(&config).map_err(|error| HostError::argument("serve", error))?.with_expert(Arc::new(expert));
    let http = server.http_address().map_err(|error| HostError::argument("serve", error))?;
    println!("review page and API: http://{http}/");
    match server.device_address() {
        Some(address) => println!("devices: {address}"),
        None => println!("devices: none can connect (set devices in {})", path.display()),
    }
    static STOP: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(move || {
        // An error here is no signal; the daemon then runs on.
        if signals.wait().is_ok() {
            STOP.store(true, Ordering::Relaxed);
        }
    });
    let scheduler = scheduler.map(|scheduler| std::thread::spawn(move || scheduler.run(&STOP)));
    let served = server.run(&STOP).map_err(|error| HostError::argument("serve", error));
    STOP.store(true, Ordering::Relaxed);
    let ended = scheduler.map_or(Ok(()), |scheduler| scheduler.join().map_err(|_| HostError::argument("cycle", "its thread panicked")));
    served.and(ended)
}

/// Enrols a device: its folder of keys, and its place in the database.
///
/// # Errors
/// [`HostError`] when a name or folder cannot be used; nothing is overwritten.
pub fn enroll(arguments: &EnrollArguments) -> Result<(), HostError> {
    let device = Name::new(&arguments.device).map_err(|error| HostError::argument(&arguments.device, error))?;
    let camera = arguments.camera.as_deref().unwrap_or(&arguments.device);
    Name::new(camera).map_err(|error| HostError::argument(format!("--camera {camera}"), error))?;
    let mut store = open(&arguments.database)?;
    let enrolment = Enrolment {
        host_folder: &arguments.host_folder,
        device,
        host_address: &arguments.host,
        out: &arguments.out,
        now: SystemTime::now(),
    };
    let enrolled = enrol(&enrolment).map_err(|error| HostError::argument("enroll", error))?;
    store.enrol(&arguments.device, camera, true, WHO, now_ms()).map_err(|error| HostError::argument("enroll", error))?;
    if enrolled.is_new_authority {
        println!("made an authority in {}: authority.key may be kept offline between enrolments", arguments.host_folder.display());
    }
    println!("enrolled {} at camera {camera}: carry {} to the device, it holds a private key", arguments.device, arguments.out.display());
    Ok(())
}

/// Adds, renews or revokes somebody's access.
///
/// # Errors
/// [`HostError`] for an unknown or taken name, or a database that cannot be opened.
pub fn user(arguments: &UserArguments) -> Result<(), HostError> {
    let fault = |error: &dyn std::fmt::Display| HostError::argument("user", error);
    let token = match &arguments.action {
        UserAction::Add { name, role, database } => {
            let role = match role {
                RoleName::Reviewer => Role::Reviewer,
                RoleName::Operator => Role::Operator,
            };
            user::add(&mut open(database)?, name, role).map_err(|error| fault(&error))?
        }
        UserAction::Renew { name, database } => user::renew(&mut open(database)?, name).map_err(|error| fault(&error))?,
        UserAction::Revoke { name, database } => {
            return user::revoke(&mut open(database)?, name).map_err(|error| fault(&error));
        }
    };
    println!("{token}");
    Ok(())
}

/// Opens the daemon's database.
pub(crate) fn open(database: &Path) -> Result<Store, HostError> {
    Store::open(database).map_err(|error| HostError::argument(database.display(), error))
}

/// Now, milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}
