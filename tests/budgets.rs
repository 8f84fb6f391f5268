//! `benches/budgets.toml` is read strictly, has every board, and promises only what some bench measures.

#[path = "../benches/support/budgets.rs"]
mod file;

use alfred_board::facts::{Facts, Tier};
use file::Budgets;
use std::collections::BTreeSet;

const STAGES: &str = include_str!("../benches/stages.rs");
const FRAME_TO_DECISION: &str = include_str!("../benches/frame_to_decision.rs");

#[test]
fn every_board_but_the_simulated_has_budgets() {
    let boards = Facts::all();
    let known: BTreeSet<&str> = boards.iter().filter(|facts| facts.tier != Tier::Simulated).map(|facts| facts.name.as_str()).collect();
    let budgets = Budgets::read();
    assert_eq!(budgets.board.iter().map(|board| board.name.as_str()).collect::<BTreeSet<_>>(), known, "as in board/boards");
    for board in &budgets.board {
        let facts = Facts::named(&board.name).expect("compared above");
        let sixteen = board.budget.iter().find(|budget| budget.stage == "frame_to_decision" && budget.persons == Some(16));
        let promised = sixteen.map(|budget| budget.p99_us_max);
        assert_eq!(promised, Some(facts.budget.frame_to_decision_us_max as f64), "{}: the board's own file says so", board.name);
    }
}

#[test]
fn every_budget_is_measurable_and_so_is_every_figure() {
    let budgets = Budgets::read();
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
        }
    }
    let mut measured = BTreeSet::new();
    for measurement in &budgets.measurement {
        let board = budgets.board.iter().find(|board| board.name == measurement.board);
        let board = board.unwrap_or_else(|| panic!("{}: no such board", measurement.board));
        assert!(measured.insert(&measurement.board), "{}: one measurement is on record at a time", measurement.board);
        assert!(!measurement.machine.is_empty() && measurement.command.starts_with("cargo bench"), "{}: machine, command", board.name);
        assert!(measurement.date.len() == "2026-01-31".len(), "{}: date", board.name);
        assert!(board.budget.iter().all(|budget| budgets.figure(&board.name, budget).is_some()), "{}: a budget has no figure", board.name);
        assert_eq!(measurement.figure.len(), board.budget.len(), "{}: a figure has no budget", board.name);
        for figure in &measurement.figure {
            let place = format!("{}, {}, {:?}", board.name, figure.stage, figure.persons);
            assert!(figure.median_us > 0.0 && figure.p99_us.is_finite() && figure.median_us <= figure.p99_us, "{place}");
        }
    }
}

#[test]
fn more_persons_have_a_larger_budget() {
    let budgets = Budgets::read();
    for board in &budgets.board {
        let whole = board.budget.iter().filter(|budget| budget.stage == "frame_to_decision");
        let mut whole: Vec<(usize, f64)> = whole.map(|budget| (budget.persons.expect("a frame has persons"), budget.p99_us_max)).collect();
        whole.sort_by_key(|&(persons, _)| persons);
        assert!(!whole.is_empty(), "{}: the whole frame has no budget", board.name);
        assert!(whole.windows(2).all(|pair| pair[0].1 < pair[1].1), "{}", board.name);
    }
}
