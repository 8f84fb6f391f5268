//! `benches/budgets.toml`, read strictly: for the summary, and for `tests/budgets.rs`, which takes this file, too.

use serde::Deserialize;

/// The file's text.
pub const TEXT: &str = include_str!("../budgets.toml");

/// The status of what nobody has measured on the board itself.
pub const PENDING: &str = "pending a board";

/// All boards.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// In the file's order.
    pub board: Vec<Board>,
}

/// What is promised of one board.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// As in `board/boards`.
    pub name: String,
    /// What it has for a processor, for people.
    pub processor: String,
    /// Stage by stage.
    pub budget: Vec<Budget>,
}

/// What one stage may take.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// A module that `stages` measures, or `frame_to_decision`.
    pub stage: String,
    /// Persons in each frame; `None`: a stage of one person.
    pub persons: Option<usize>,
    /// 99th percentile in microseconds.
    pub p99_us_max: f64,
    /// Whether it was measured on the board.
    pub status: String,
}

impl Budgets {
    /// The file of this repository.
    pub fn read() -> Self {
        toml::from_str(TEXT).expect("benches/budgets.toml has known keys only")
    }
}
