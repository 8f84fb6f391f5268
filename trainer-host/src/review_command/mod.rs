//! `alfred-host review`: the review page's verdicts in a terminal, with the same keys, for whoever has no browser at hand.
//!
//! It works on the daemon's database itself, beside the daemon: each verdict is on the disk before the next item is shown.

pub mod session;

pub mod screen;

use crate::daemon_command::{now_ms, open};
use crate::error::HostError;
use crate::expert::HostExpert;
use alfred_server::secret::new_secret;
use alfred_store::Store;
use alfred_store::queue::{QueueFilter, Strategy};
use ratatui::Terminal;
use ratatui_crossterm::CrosstermBackend;
use ratatui_crossterm::crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use ratatui_crossterm::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui_crossterm::crossterm::{cursor, execute};
use session::{Key, Review, Step};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

/// How often the picture moves on.
const FRAME_PERIOD: Duration = Duration::from_millis(40);

/// Arguments of `alfred-host review`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReviewArguments {
    /// The daemon's database.
    #[arg(long)]
    pub database: PathBuf,
    /// Who judges; made by `alfred-host user add`.
    #[arg(long)]
    pub reviewer: String,
    /// One camera, by its queue policy unless a strategy is named; left out: all cameras.
    #[arg(long)]
    pub camera: Option<String>,
    /// In which order; left out: by the camera's policy, or the newest first.
    #[arg(long)]
    pub strategy: Option<String>,
    /// The devices' model file, for score curves before the first bundle.
    #[arg(long)]
    pub weights: Option<PathBuf>,
}

/// Puts the terminal back as it was, however the review ends.
struct Raw;

impl Raw {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        let raw = Self;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(raw)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing is left to be done about a terminal that does not listen.
        let _ = execute!(io::stdout(), cursor::Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

fn key_of(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    Some(match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char('a') => Key::Anomalous,
        KeyCode::Char('n') => Key::Normal,
        KeyCode::Char('u') => Key::Unsure,
        KeyCode::Char('s') => Key::Skip,
        KeyCode::Char('z') => Key::Undo,
        KeyCode::Char(' ') => Key::Pause,
        KeyCode::Left => Key::Back,
        KeyCode::Right => Key::Forward,
        KeyCode::Up => Key::Faster,
        KeyCode::Down => Key::Slower,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        _ => return None,
    })
}

/// What is asked for.
///
/// # Errors
/// [`HostError`] for a strategy that there is not.
fn filter_of(arguments: &ReviewArguments) -> Result<(QueueFilter, bool), HostError> {
    let strategy = match &arguments.strategy {
        None => None,
        Some(name) => Some(Strategy::from_text(name).ok_or_else(|| {
            let known: Vec<&str> = Strategy::ALL.into_iter().map(Strategy::as_str).collect();
            HostError::argument(format!("--strategy {name}"), format!("there is no such strategy; there are {}", known.join(", ")))
        })?),
    };
    let by_policy = strategy.is_none() && arguments.camera.is_some();
    let filter = QueueFilter { camera: arguments.camera.clone(), strategy: strategy.unwrap_or_default(), ..QueueFilter::default() };
    Ok((filter, by_policy))
}

/// Whether somebody may judge.
fn need_reviewer(store: &Store, reviewer: &str) -> Result<(), HostError> {
    let known = store.reviewers().map_err(|error| HostError::argument("review", error))?;
    if known.iter().any(|known| known.name == reviewer) {
        return Ok(());
    }
    Err(HostError::argument(format!("--reviewer {reviewer}"), "there is no such reviewer; alfred-host user add makes one"))
}

/// Shows item after item until nobody wants more.
///
/// # Errors
/// [`HostError`] without a terminal, for an unknown reviewer, and for faults of the database.
pub fn run(arguments: &ReviewArguments) -> Result<(), HostError> {
    let (filter, by_policy) = filter_of(arguments)?;
    std::fs::metadata(&arguments.database).map_err(HostError::file(&arguments.database))?;
    let store = open(&arguments.database)?;
    need_reviewer(&store, &arguments.reviewer)?;
    let expert = HostExpert::new(arguments.weights.as_deref())?;
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(HostError::argument("review", "this needs a terminal; `alfred-host label import` takes verdicts from a file"));
    }
    let fault = |error: io::Error| HostError::argument("terminal", error);
    let mut review = Review::new(store, &arguments.reviewer, filter, by_policy, expert, now_ms())?;
    let raw = Raw::enter().map_err(fault)?;
    let mut terminal = Terminal::new(CrosstermBackend::new(io::stdout())).map_err(fault)?;
    loop {
        review.tick(now_ms());
        terminal.draw(|frame| screen::draw(&review, frame)).map_err(fault)?;
        if !poll(FRAME_PERIOD).map_err(fault)? {
            continue;
        }
        let Event::Key(event) = read().map_err(fault)? else { continue };
        let Some(key) = key_of(event.code, event.modifiers).filter(|_| event.kind == KeyEventKind::Press) else { continue };
        let request = new_secret().map_err(|error| HostError::argument("review", error))?;
        if review.press(key, &request, now_ms())? == Step::Quit {
            break;
        }
    }
    drop(raw);
    println!("{} verdicts", review.verdicts());
    Ok(())
}
