//! `benches/budgets.toml` is read strictly, and promises only what some bench measures.

use serde::Deserialize;
use std::collections::BTreeSet;

const BUDGETS: &str = include_str!("../benches/budgets.toml");
const STAGES: &str = include_str!("../benches/stages.rs");
const FRAME_TO_DECISION: &str = include_str!("../benches/frame_to_decision.rs");

const PENDING: &str = "pending a board";
const MEASURED: &str = "measured ";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Budgets {
    board: Vec<Board>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Board {
    name: String,
    processor: String,
    budget: Vec<Budget>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    stage: String,
    persons: Option<usize>,
    p99_us_max: f64,
    status: String,
}

#[test]
fn every_budget_is_measurable_and_says_whether_it_was_measured() {
    let budgets: Budgets = toml::from_str(BUDGETS).expect("known keys only");
    let mut names = BTreeSet::new();
    for board in &budgets.board {
        assert!(names.insert(&board.name), "{} is there twice", board.name);
        assert!(!board.processor.is_empty() && !board.budget.is_empty(), "{}: processor and budgets are needed", board.name);
        let mut stages = BTreeSet::new();
        for budget in &board.budget {
            let place = format!("{}, {}", board.name, budget.stage);
            assert!(stages.insert((&budget.stage, budget.persons)), "{place}: is there twice");
            let group = format!("benchmark_group(\"{}\")", budget.stage);
            assert!(STAGES.contains(&group) || FRAME_TO_DECISION.contains(&group), "{place}: no bench has this group");
            assert!(budget.p99_us_max.is_finite() && budget.p99_us_max > 0.0, "{place}: a time above 0 is needed");
            assert!(budget.persons.is_none_or(|persons| (1..=alfred_core::limits::TRACKS_MAX).contains(&persons)), "{place}: persons");
            let is_measured = budget.status.strip_prefix(MEASURED).is_some_and(|rest| rest.contains(" at ") && rest.ends_with(" us"));
            assert!(budget.status == PENDING || is_measured, "{place}: status {:?}", budget.status);
        }
    }
}

#[test]
fn more_persons_have_a_larger_budget() {
    let budgets: Budgets = toml::from_str(BUDGETS).expect("known keys only");
    for board in &budgets.board {
        let whole = board.budget.iter().filter(|budget| budget.stage == "frame_to_decision");
        let mut whole: Vec<(usize, f64)> = whole.map(|budget| (budget.persons.expect("a frame has persons"), budget.p99_us_max)).collect();
        whole.sort_by_key(|&(persons, _)| persons);
        assert!(!whole.is_empty(), "{}: the whole frame has no budget", board.name);
        assert!(whole.windows(2).all(|pair| pair[0].1 < pair[1].1), "{}", board.name);
    }
}
