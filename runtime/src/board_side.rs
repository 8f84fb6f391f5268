//! Sets up what a board adds to the live process: which board it is, its sensors, the degrade ladder, the watchdog, alarms, confinement.

use crate::config::Config;
use crate::error::Error;
use crate::live::alarm::{AlarmConfig, AlarmFeed};
use crate::live::care::Care;
use crate::live::health::BoardHealth;
use crate::live::output::BoardLine;
use crate::live::sandbox::Confinement;
use crate::live::supervisor::Supervisor;
use crate::live::watchdog::Judge;
use alfred_board::hal::{AlarmTarget, Board, SensorFault};
use alfred_board::root::Root;
use alfred_board::select::{AUTO, FALLBACK, select};
use alfred_board::sim::SimSettings;
use alfred_link::config::LinkConfig;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// `[board]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BoardConfig {
    /// A board's name, or `auto`: what the device tree says. `--board` comes first.
    pub name: String,
    /// What happens on the simulated board.
    pub sim: SimSettings,
}

impl Default for BoardConfig {
    fn default() -> Self {
        Self { name: AUTO.into(), sim: SimSettings::default() }
    }
}

/// `[sandbox]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxConfig {
    /// Confine the link's threads (landlock, seccomp) as far as the kernel can.
    pub confine_link: bool,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self { confine_link: true }
    }
}

/// Which of the sections about the board has a setting outside its range.
///
/// # Errors
/// Its name and its range.
pub fn check(config: &Config) -> Result<(), String> {
    config.board.sim.check().map_err(|what| format!("board.sim: {what}"))?;
    config.real_time.check()?;
    config.thermal.check()?;
    if config.alarm.line.is_some() && config.alarm.socket.is_some() {
        return Err("alarm: line and socket: give one of them".into());
    }
    Ok(())
}

/// Options of the command line about the board.
#[derive(Clone, Debug, clap::Args)]
pub struct BoardArguments {
    /// A board's name, or `auto`: what the device tree says; left out: `board.name` of the configuration.
    #[arg(long)]
    pub board: Option<String>,
    /// Where the system's own paths (/sys, /proc, /dev) start, for tests on a made-up tree.
    #[arg(long, hide = true)]
    pub board_root: Option<PathBuf>,
}

impl BoardArguments {
    /// The board that is meant.
    ///
    /// # Errors
    /// One line with the known names.
    pub fn select(&self, config: &BoardConfig) -> Result<Box<dyn Board>, Error> {
        let root = self.board_root.clone().map_or_else(Root::default, Root::at);
        let name = self.board.as_deref().unwrap_or(&config.name);
        select(name, root, &config.sim).map_err(|error| Error::input("--board", error))
    }
}

/// Puts together what `board` adds. What it does not have is told once; nothing here keeps the process from starting.
pub fn care(config: &Config, board: &dyn Board) -> Care {
    let health = Arc::new(BoardHealth::default());
    let facts = board.facts();
    let absent = |what: &str, fault: SensorFault| {
        if fault != SensorFault::Absent || facts.name != FALLBACK {
            eprintln!("board {}: {what}: {fault}", facts.name);
        }
    };
    let thermal = board.thermal().map_err(|fault| absent("thermometer", fault)).ok();
    let power = board.power().map_err(|fault| absent("power meter", fault)).ok();
    let watchdog = board.watchdog();
    let degrades = config.thermal.degrade.unwrap_or(facts.name != FALLBACK);
    let mut supervisor = (thermal.is_some() || power.is_some() || watchdog.is_some()).then(|| Supervisor {
        ladder: (degrades && thermal.is_some()).then(|| config.thermal.ladder(facts.thermal.rungs_milli_celsius)),
        thermal,
        power,
        watchdog,
        judge: Judge::new(&config.watchdog),
        period: Duration::from_millis(config.thermal.period_ms),
        clock: board.clock(),
        health: Arc::clone(&health),
    });
    // The first reading stands before the first frame.
    if let Some(supervisor) = &mut supervisor {
        supervisor.read_sensors();
    }
    let identity = board.identity();
    Care {
        real_time: Arc::new(config.real_time.clone()),
        alarms: alarms(&config.alarm, board, &health),
        health,
        supervisor,
        board: BoardLine { name: facts.name.clone(), model: identity.model, serial: identity.serial },
    }
}

fn alarms(config: &AlarmConfig, board: &dyn Board, health: &Arc<BoardHealth>) -> Option<AlarmFeed> {
    let target = match (&config.line, &config.socket) {
        (Some(path), _) => AlarmTarget::Line(path.clone()),
        (None, Some(path)) => AlarmTarget::Datagram(path.clone()),
        (None, None) => return None,
    };
    match board.alarm_output(&target) {
        Ok(output) => Some(AlarmFeed::new(output, Arc::clone(health))),
        Err(fault) => {
            health.miss(&format!("alarm output {target:?}"), &fault, "Alarms are in the output only");
            None
        }
    }
}

/// What the link's threads may touch: their own files and folders, and the host's port.
#[must_use]
pub fn confinement(link: &LinkConfig, inbox: Option<&Path>) -> Confinement {
    let folder = |path: &Path| path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
    // What the link would make itself must be there before: a rule is about what exists. Whatever fails here fails again, and is told, there.
    for made in [Some(link.spool.as_path()), inbox].into_iter().flatten() {
        let _ = std::fs::create_dir_all(made);
    }
    Confinement {
        read: [&link.authority, &link.certificate, &link.key].into_iter().flatten().cloned().collect(),
        write: [Some(folder(&link.journal)), Some(link.spool.clone()), inbox.map(Path::to_path_buf)].into_iter().flatten().collect(),
        connect: link.host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).into_iter().collect(),
    }
}
