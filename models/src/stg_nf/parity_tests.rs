//! Every engine against the oracle, on seeded models and windows; the exact engine's bits; faults.

use super::adjacency::Adjacency;
use super::parameters::StgNfParameters;
use super::reference;
use super::scorer::{Engine, Lane, StgNfScorer};
use super::test_kit::{seeded_parameters, seeded_window};
use crate::test_kit::{hash_bits, hash_more_bits};
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use proptest::prelude::*;

/// Part of the tolerance that does not depend on the score.
const TOLERANCE_BITS: f64 = 1e-4;

/// Part of the tolerance that grows with the score.
const TOLERANCE_RELATIVE: f64 = 1e-5;

/// Window lengths under test: the published two, the limits, and one that AVX-512 cannot run.
const FRAMES: [usize; 8] = [4, 8, 12, 16, 24, 32, 44, 48];

fn scorer(parameters: &StgNfParameters) -> StgNfScorer {
    StgNfScorer::new(parameters, &Adjacency::published(), Lane::Fast).expect("seeded parameters are valid")
}

/// Every engine that this processor has, on the same model.
fn engines(scorer: &StgNfScorer) -> impl Iterator<Item = StgNfScorer> {
    Engine::ALL.into_iter().filter_map(|engine| scorer.with_engine(engine))
}

fn assert_close(score: ScoreResult, expected: f64, context: &str) {
    let score = f64::from(score.unwrap_or_else(|fault| panic!("{context}: {fault}, expected {expected}")).value());
    let tolerance = TOLERANCE_BITS + TOLERANCE_RELATIVE * expected.abs();
    assert!((score - expected).abs() <= tolerance, "{context}: {score} instead of {expected}");
}

#[test]
fn every_engine_agrees_with_the_oracle() {
    for frames in FRAMES {
        for seed in 0..6 {
            let parameters = seeded_parameters(frames, seed);
            let scorer = scorer(&parameters);
            for (number, extent) in [0.0, 0.5, 2.0, 6.0].into_iter().enumerate() {
                let window = seeded_window(frames, seed * 31 + number as u64, extent);
                let expected = reference::forward(&parameters, &Adjacency::published(), window.values()).negative_log_likelihood;
                for engine in engines(&scorer) {
                    let context = format!("T = {frames}, seed {seed}, extent {extent}, {}", engine.lane_name());
                    assert_close(engine.score(&window), expected, &context);
                }
            }
        }
    }
}

#[test]
fn the_dense_engine_agrees_with_the_oracle_at_every_hop_limit() {
    for max_hop in 0..8 {
        let adjacency = Adjacency::uniform(max_hop);
        let parameters = seeded_parameters(24, max_hop as u64);
        for lane in [Lane::Exact, Lane::Fast] {
            let scorer = StgNfScorer::new(&parameters, &adjacency, lane).expect("seeded parameters are valid");
            assert_eq!(scorer.lane_name(), "dense");
            assert!(scorer.with_engine(Engine::Exact).is_none());
            let window = seeded_window(24, 7, 2.0);
            let expected = reference::forward(&parameters, &adjacency, window.values()).negative_log_likelihood;
            assert_close(scorer.score(&window), expected, &format!("{max_hop} hops"));
        }
    }
}

#[test]
fn an_adjacency_whose_columns_do_not_sum_to_one_is_scored_as_given() {
    let mut entries = *Adjacency::uniform(2).entries();
    entries.iter_mut().enumerate().for_each(|(from, row)| row.iter_mut().for_each(|entry| *entry *= 0.5 + from as f64 / 20.0));
    let adjacency = Adjacency::from_entries(entries).expect("the entries are finite");
    let parameters = seeded_parameters(16, 5);
    let scorer = StgNfScorer::new(&parameters, &adjacency, Lane::Fast).expect("seeded parameters are valid");
    let window = seeded_window(16, 8, 2.0);
    let expected = reference::forward(&parameters, &adjacency, window.values()).negative_log_likelihood;
    assert_close(scorer.score(&window), expected, "columns not normalised");
}

/// Scores of fifty seeded windows.
fn seeded_scores(scorer: &StgNfScorer, frames: usize) -> Vec<f32> {
    let window = |seed: u64| seeded_window(frames, 1000 + seed, 0.25 + seed as f32 / 8.0);
    (0..50).map(|seed| scorer.score(&window(seed)).expect("seeded windows are scored").value()).collect()
}

#[test]
fn exact_portable_and_dense_engines_give_the_same_bits_on_every_target() {
    // A change here means that boards and trainers of different versions no longer agree to the bit: say so in the change log.
    let pinned =
        [(Engine::Exact, 0xa1c5_70a1_72e9_1415), (Engine::Portable, 0x3c11_3d90_8ed1_712a), (Engine::Dense, 0x89a1_9647_63ab_d16e)];
    let found = pinned.map(|(engine, _)| {
        let mut hash = hash_bits(&[]);
        for frames in FRAMES {
            let scorer = scorer(&seeded_parameters(frames, 42)).with_engine(engine).expect("every target has these");
            hash = hash_more_bits(hash, &seeded_scores(&scorer, frames));
        }
        println!("{}: {hash:#018x}", engine.name());
        (engine, hash)
    });
    assert_eq!(found, pinned);
}

#[test]
fn windows_that_are_not_finite_are_faults() {
    let scorer = scorer(&seeded_parameters(24, 1));
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN] {
        for at in [0, 23, 24, 431, 432, 500, 863] {
            let mut window = seeded_window(24, 2, 2.0);
            window.values_mut()[at] = poison;
            for engine in engines(&scorer) {
                assert_eq!(engine.score(&window), Err(ScoreFault::NotFinite), "{poison} at {at}, {}", engine.lane_name());
            }
        }
    }
}

#[test]
fn a_window_of_another_length_is_a_fault_and_neighbours_do_not_matter() {
    for mut engine in engines(&scorer(&seeded_parameters(24, 3))) {
        let good = seeded_window(24, 4, 2.0);
        let mut poisoned = good;
        poisoned.values_mut().fill(f32::NAN);
        let windows = vec![poisoned, good, seeded_window(16, 4, 2.0), good];
        let mut scores = [Err(ScoreFault::Engine); 5];
        engine.score_batch(&windows, &mut scores);
        let alone = engine.score(&good);
        assert!(alone.is_ok());
        let expected = [Err(ScoreFault::NotFinite), alone, Err(ScoreFault::WrongWindow), alone, Err(ScoreFault::Engine)];
        assert_eq!(scores, expected, "{}", engine.lane_name());
    }
}

#[test]
fn saturated_scales_stay_within_the_tolerance() {
    // Raw scales far beyond the clamp, and exactly 0: the ends of the polynomial.
    for residual_bias in [-1e4, 0.0, 20.0, 1e4] {
        let mut parameters = seeded_parameters(24, 11);
        parameters.flows[1..].iter_mut().for_each(|flow| flow.residual_bias = [0.1, residual_bias]);
        let window = seeded_window(24, 12, 2.0);
        let expected = reference::forward(&parameters, &Adjacency::published(), window.values()).negative_log_likelihood;
        for engine in engines(&scorer(&parameters)) {
            assert_close(engine.score(&window), expected, &format!("bias {residual_bias}, {}", engine.lane_name()));
        }
    }
}

#[test]
fn the_longest_window_at_the_smallest_scale_does_not_overflow_the_products() {
    let shape = super::parameters::StgNfShape::new(48).expect("the limit");
    let parameters = StgNfParameters::zero(shape);
    let window = seeded_window(48, 1, 1.0);
    let expected = reference::forward(&parameters, &Adjacency::published(), window.values()).negative_log_likelihood;
    for engine in engines(&scorer(&parameters)) {
        assert_close(engine.score(&window), expected, engine.lane_name());
    }
}

#[test]
fn the_scorer_is_small() {
    assert!(size_of::<StgNfScorer>() <= 6 * 1024, "{} bytes", size_of::<StgNfScorer>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any finite window up to a thousand standard deviations: engines agree with the oracle, or all refuse.
    #[test]
    fn engines_agree_on_any_window(seed in any::<u64>(), extent in 0.0_f32..1000.0, frames in prop::sample::select(&FRAMES[..])) {
        let parameters = seeded_parameters(frames, seed);
        let window = seeded_window(frames, seed ^ 1, extent);
        let expected = reference::forward(&parameters, &Adjacency::published(), window.values()).negative_log_likelihood;
        for engine in engines(&scorer(&parameters)) {
            assert_close(engine.score(&window), expected, engine.lane_name());
        }
    }

    /// Any bits at all as a window: a finite score or a fault, never a panic.
    #[test]
    fn any_bits_are_scored_or_refused(bits in prop::collection::vec(any::<u32>(), 2 * 18 * 24)) {
        let mut window = Window::EMPTY;
        window.set_frames(24);
        window.values_mut().iter_mut().zip(bits).for_each(|(value, bits)| *value = f32::from_bits(bits));
        for engine in engines(&scorer(&seeded_parameters(24, 9))) {
            if let Ok(score) = engine.score(&window) {
                prop_assert!(score.value().is_finite());
            }
        }
    }
}

/// `cargo test --release -p alfred-models --no-default-features --features std nanoseconds -- --ignored --nocapture`
#[test]
#[ignore = "prints timings; asserts nothing"]
fn nanoseconds_per_window() {
    for frames in [24, 16] {
        let scorer = scorer(&seeded_parameters(frames, 1));
        let windows: Vec<Window> = (0..16).map(|number| seeded_window(frames, number, 2.0)).collect();
        for engine in engines(&scorer) {
            let mut best = f64::INFINITY;
            for _ in 0..30 {
                let start = std::time::Instant::now();
                for _ in 0..20 {
                    for window in &windows {
                        std::hint::black_box(engine.score(std::hint::black_box(window))).ok();
                    }
                }
                best = best.min(start.elapsed().as_nanos() as f64 / 320.0);
            }
            println!("T = {frames} {:9} {best:8.0} ns per window", engine.lane_name());
        }
    }
}
