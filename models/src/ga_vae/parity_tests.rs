//! Every engine against the oracle, on seeded models and windows; the exact engine's bits; faults.

use super::parameters::ParameterFault;
use super::parameters::{Place, ScoreRule};
use super::reference;
use super::scorer::{GaVaeScorer, HeapScorer, Lane};
use super::shape::WINDOW_FRAMES;
use super::test_kit::{seeded_parameters, seeded_window};
use crate::sparta::scorer::Engine;
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use proptest::prelude::*;

/// Part of the tolerance that does not depend on the score.
const TOLERANCE_ABSOLUTE: f64 = 1e-5;

/// Part of the tolerance that grows with the score.
const TOLERANCE_RELATIVE: f64 = 1e-5;

/// The same through the decoder, whose attention sharpens once more. Observed: 3e-5.
const TOLERANCE_RELATIVE_DECODED: f64 = 1e-4;

/// The same for windows far beyond what people do: the softmax, which the architecture does not scale, gets sharp and amplifies the
/// rounding of its scores. Observed: 5e-5.
const TOLERANCE_RELATIVE_SHARP: f64 = 1e-3;

fn scorer(width: usize, seed: u64) -> HeapScorer {
    GaVaeScorer::new(&seeded_parameters(width, seed), Lane::Fast).expect("seeded parameters are valid")
}

/// Every engine that this processor has, on the same model.
fn engines(scorer: &HeapScorer) -> impl Iterator<Item = HeapScorer> {
    Engine::ALL.into_iter().filter_map(|engine| scorer.with_engine(engine))
}

fn assert_close(score: ScoreResult, expected: f64, context: &str) {
    assert_within(score, expected, TOLERANCE_RELATIVE, context);
}

fn assert_within(score: ScoreResult, expected: f64, relative: f64, context: &str) {
    let score = f64::from(score.unwrap_or_else(|fault| panic!("{context}: {fault}, expected {expected}")).value());
    let tolerance = TOLERANCE_ABSOLUTE + relative * expected.abs();
    assert!((score - expected).abs() <= tolerance, "{context}: {score} instead of {expected}");
}

#[test]
fn every_engine_agrees_with_the_oracle_at_every_width() {
    // Widths whose channels fill whole panels, and others.
    for (width, seed) in [(2, 0), (4, 1), (6, 2), (10, 3)] {
        for rule in ScoreRule::ALL {
            let parameters = seeded_parameters(width, seed).with_rule(rule);
            let scorer = GaVaeScorer::new(&parameters, Lane::Fast).expect("seeded parameters are valid");
            for (number, extent) in [0.0, 0.5, 2.0].into_iter().enumerate() {
                let window = seeded_window(seed * 31 + number as u64, extent);
                let expected = reference::score(&parameters, window.values());
                assert!(expected > 0.05, "{expected}");
                for mut engine in engines(&scorer) {
                    let relative = if rule == ScoreRule::Distance { TOLERANCE_RELATIVE } else { TOLERANCE_RELATIVE_DECODED };
                    let context = format!("width {width}, extent {extent}, {rule:?}, {}", engine.lane_name());
                    assert_within(engine.score(&window), expected, relative, &context);
                }
            }
        }
    }
}

#[test]
fn a_learnt_and_a_computed_adjacency_both_reach_the_score() {
    let parameters = seeded_parameters(4, 5);
    let window = seeded_window(1, 1.5);
    let base = reference::score(&parameters, window.values());
    for suffix in ["gcn.learnt", "gcn.key.weight", "gcn.key.bias"] {
        let mut changed = parameters.clone();
        changed.visit_mut(|tensor| {
            if tensor.name.place == Place::Encoder(3) && tensor.name.suffix == suffix {
                tensor.values.iter_mut().for_each(|value| *value += 0.25);
            }
        });
        let expected = reference::score(&changed, window.values());
        assert!((expected - base).abs() > 1e-3, "{suffix} does not matter");
        let scorer = GaVaeScorer::new(&changed, Lane::Fast).expect("valid");
        for mut engine in engines(&scorer) {
            assert_close(engine.score(&window), expected, &format!("{suffix}, {}", engine.lane_name()));
        }
    }
}

#[test]
fn a_batch_gives_the_bits_of_single_windows_whatever_came_before() {
    for mut engine in engines(&scorer(2, 5)) {
        let windows: Vec<Window> = (0..4).map(|seed| seeded_window(seed, 1.0 + seed as f32)).collect();
        let alone: Vec<ScoreResult> = windows.iter().rev().map(|window| engine.score(window)).collect();
        let mut scores = vec![Err(ScoreFault::Engine); 4];
        engine.score_batch(&windows, &mut scores);
        scores.reverse();
        assert_eq!(scores, alone, "{}", engine.lane_name());
        assert!(scores.iter().all(Result::is_ok));
    }
}

/// FNV-1a over the bits of scores.
fn hash_scores(scorer: &mut HeapScorer) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for seed in 0..12 {
        let window = seeded_window(1000 + seed, 0.25 + seed as f32 / 8.0);
        let bits = scorer.score(&window).expect("seeded windows are scored").value().to_bits();
        for byte in bits.to_le_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[test]
fn the_exact_engine_gives_the_same_bits_on_every_target() {
    // A change here means that boards and trainers of different versions no longer agree to the bit: say so in the change log.
    for engine in [Engine::Exact, Engine::Portable] {
        let mut scorer = scorer(4, 42).with_engine(engine).expect("every target has these");
        let hash = hash_scores(&mut scorer);
        assert_eq!(hash, 0x56c3_afc9_409a_03b4, "{}: {hash:#018x}", engine.name());
    }
}

#[test]
fn windows_that_are_not_finite_are_faults() {
    let scorer = scorer(2, 1);
    for at in [0, 23, 24, 431, 432, 700, 863] {
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN] {
            let mut window = seeded_window(2, 2.0);
            window.values_mut()[at] = poison;
            for mut engine in engines(&scorer) {
                assert_eq!(engine.score(&window), Err(ScoreFault::NotFinite), "{poison} at {at}, {}", engine.lane_name());
                // Nothing of it stays in the scratch memory.
                let mut fresh = scorer.with_engine(engine.engine()).expect("it is there");
                let good = seeded_window(3, 2.0);
                assert_eq!(engine.score(&good), fresh.score(&good), "{}", engine.lane_name());
            }
        }
    }
}

#[test]
fn a_window_of_another_length_is_a_fault_and_short_scratch_memory_is_refused() {
    let mut scorer = scorer(2, 3);
    assert_eq!(scorer.window_frames(), WINDOW_FRAMES);
    let mut window = seeded_window(4, 2.0);
    window.set_frames(48);
    assert_eq!(scorer.score(&window), Err(ScoreFault::WrongWindow));
    let folded = super::fold::FoldedGaVae::fold(&seeded_parameters(2, 3)).expect("valid");
    let short = vec![0.0; super::fold::scratch_values(folded.shape()) - 1];
    assert!(matches!(GaVaeScorer::of_folded(folded, short, Lane::Fast), Err(ParameterFault::Length { .. })));
}

#[test]
fn parameters_that_overflow_when_folded_are_refused() {
    let mut parameters = seeded_parameters(2, 1);
    parameters.visit_mut(|tensor| match tensor.name.to_string().as_str() {
        "encoder.4.tcn_norm.weight" => tensor.values.fill(f32::MAX),
        "encoder.4.tcn.weight" => tensor.values.fill(10.0),
        _ => {}
    });
    assert_eq!(GaVaeScorer::new(&parameters, Lane::Fast).err(), Some(ParameterFault::NotFoldable(Place::Encoder(4))));
}

/// `cargo test -p alfred-models --lib ga_vae::parity_tests::time -- --ignored --nocapture`
#[test]
#[ignore = "a measurement; needs a quiet machine"]
fn time_per_window() {
    let window = seeded_window(1, 2.0);
    for width in [4, 10] {
        for mut engine in engines(&scorer(width, 1)) {
            let mut times: Vec<f64> = (0..40)
                .map(|_| {
                    let start = std::time::Instant::now();
                    engine.score(&window).expect("scores");
                    start.elapsed().as_secs_f64() * 1e6
                })
                .collect();
            times.sort_by(f64::total_cmp);
            println!("width {width:>2} {:>8}: median {:8.0} us, best {:8.0} us", engine.lane_name(), times[20], times[0]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Any finite window up to thirty standard deviations.
    #[test]
    fn engines_agree_on_any_window(seed in any::<u64>(), extent in 0.0_f32..30.0) {
        let parameters = seeded_parameters(2, seed);
        let window = seeded_window(seed ^ 1, extent);
        let expected = reference::score(&parameters, window.values());
        for mut engine in engines(&GaVaeScorer::new(&parameters, Lane::Fast).expect("seeded parameters are valid")) {
            assert_within(engine.score(&window), expected, TOLERANCE_RELATIVE_SHARP, engine.lane_name());
        }
    }
}
