//! `benches/budgets.toml`, read strictly: for the summary, and for `tests/budgets.rs`, which takes this file, too.

use serde::Deserialize;

/// The file's text.
pub const TEXT: &str = include_str!("../budgets.toml");

/// All boards, and what was measured on them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// In the file's order.
    pub board: Vec<Board>,
    /// What machines gave.
    #[serde(default)]
    pub measurement: Vec<Measurement>,
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
}

/// What one machine gave.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Which board it is, by the name that `--board auto` finds.
    pub board: String,
    /// Which machine, and what else it did meanwhile.
    pub machine: String,
    /// What printed the figures.
    pub command: String,
    /// Year, month, day.
    pub date: String,
    /// Stage by stage.
    pub figure: Vec<Figure>,
}

/// What one stage took.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// As in the budget.
    pub stage: String,
    /// As in the budget.
    pub persons: Option<usize>,
    /// Median in microseconds.
    pub median_us: f64,
    /// 99th percentile in microseconds.
    pub p99_us: f64,
}

impl Budgets {
    /// The file of this repository.
    pub fn read() -> Self {
        toml::from_str(TEXT).expect("benches/budgets.toml has known keys only")
    }

    /// What was measured for a budget; `None`: pending.
    pub fn figure(&self, board: &str, budget: &Budget) -> Option<&Figure> {
        let figures = self.measurement.iter().filter(|measurement| measurement.board == board).flat_map(|measurement| &measurement.figure);
        figures.into_iter().find(|figure| figure.stage == budget.stage && figure.persons == budget.persons)
    }
}
