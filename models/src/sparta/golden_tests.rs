//! The published checkpoint against what the published code computes with it. The files are not part of this repository; without
//! them these tests are skipped, loudly.

use super::parameters::{EMBEDDING, Form, PARAMETERS, TOKENS};
use super::reference::{self, Sequence};
use super::scorer::{Engine, Lane, SpartaScorer};
use super::tokens::{Half, positional_encoding, tokens};
use super::weights_file::{self, SpartaWeights};
use crate::test_kit::hash_bits;
use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_core::scorer::{ScoreFault, Scorer, Window};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

/// Largest relative difference of scores between correct `f32` implementations.
const TOLERANCE_SCORE: f64 = 1e-5;

/// FNV-1a over the bits of the exact engine's scores of the golden windows.
const EXACT_HASH: u64 = 0x96ff_1cb9_397c_b96e;

/// Largest difference of tokens: the published code subtracts the first frame in `f64`, the device in `f32`, relative to 1 + the value.
const TOLERANCE_TOKENS: f64 = 1e-6;

/// Largest difference of the oracle from the published code's `f32` intermediates, relative to 1 + the value.
const TOLERANCE_TRACE: f64 = 2e-5;

/// The folder of golden data beside the repository, if it is there.
fn golden_folder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no golden data beside the repository (shared/golden): agreement with published weights is NOT tested");
    None
}

fn weights(folder: &Path) -> SpartaWeights {
    weights_file::read_path(&folder.join("weights/sparta_ftd_sht.safetensors")).expect("published weights are read")
}

fn bytes(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(format!("vectors/{name}.safetensors"))).expect("golden vectors are read")
}

fn singles(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let view = file.tensor(name).expect("the golden tensor is there");
    view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// The golden windows, from f64 [window][channel][time][joint] with a third channel, the confidence.
fn windows(file: &SafeTensors<'_>) -> Vec<Window> {
    let view = file.tensor("normalized_f64").expect("the golden tensor is there");
    let values: Vec<f32> = view.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect();
    let channel = Form::Published.window_frames() * JOINTS;
    let window = |values: &[f32]| Window::from_time_major(&values[..CHANNELS * channel]).expect("a golden window");
    values.chunks_exact(3 * channel).map(window).collect()
}

/// A tensor's first 24 x 72 values.
fn sequence(values: &[f32]) -> Sequence {
    let mut sequence = [[0.0; EMBEDDING]; TOKENS];
    sequence.as_flattened_mut().iter_mut().zip(values).for_each(|(to, &from)| *to = f64::from(from));
    sequence
}

fn assert_sequences(found: &Sequence, expected: &Sequence, tolerance: f64, context: &str) {
    for (position, (found, expected)) in found.as_flattened().iter().zip(expected.as_flattened()).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= tolerance * (1.0 + expected.abs()), "{context} [{position}]: {found} instead of {expected}");
    }
}

#[test]
fn the_published_file_is_read_and_survives_a_round_trip() {
    let Some(folder) = golden_folder() else { return };
    let weights = weights(&folder);
    assert_eq!(weights.metadata.form, Form::Published);
    assert_eq!(weights.parameters.values().len(), PARAMETERS);
    assert_eq!(weights.metadata.other.get("license").map(String::as_str), Some("Apache-2.0"));
    let bytes = weights_file::write(&weights.parameters, &weights.metadata).expect("published weights are written");
    assert_eq!(weights_file::read(&bytes).expect("what was written is read"), weights);
}

#[test]
fn tokens_and_positions_are_the_published_ones() {
    let Some(folder) = golden_folder() else { return };
    let bytes = bytes(&folder, "sparta_ftd_sht");
    let file = SafeTensors::deserialize(&bytes).expect("golden vectors are a safetensors file");
    for (position, expected) in singles(&file, "positional_encoding").into_iter().enumerate() {
        let found = positional_encoding(position / EMBEDDING, position % EMBEDDING);
        assert!((found - expected).abs() <= 3e-7, "{position}: {found} instead of {expected}");
    }
    let (source, target) = (singles(&file, "src"), singles(&file, "tgt"));
    for (number, window) in windows(&file).iter().enumerate() {
        for (half, expected) in [(Half::Source, &source), (Half::Target, &target)] {
            let found = tokens(window.values(), half).map(|token| token.map(f64::from));
            let expected = sequence(&expected[number * TOKENS * EMBEDDING..]);
            assert_sequences(&found, &expected, TOLERANCE_TOKENS, &format!("window {number}, {half:?}"));
        }
    }
}

#[test]
fn every_engine_agrees_with_the_published_code() {
    let Some(folder) = golden_folder() else { return };
    let weights = weights(&folder);
    let bytes = bytes(&folder, "sparta_ftd_sht");
    let file = SafeTensors::deserialize(&bytes).expect("golden vectors are a safetensors file");
    let expected = singles(&file, "score_b1");
    let windows = windows(&file);
    assert_eq!((windows.len(), expected.len()), (64, 64));
    let scorer = SpartaScorer::new(&weights.parameters, Lane::Fast).expect("published weights fold");
    for mut engine in Engine::ALL.into_iter().filter_map(|engine| scorer.with_engine(engine)) {
        let mut scores = vec![Err(ScoreFault::Engine); windows.len()];
        engine.score_batch(&windows, &mut scores);
        let mut worst: f64 = 0.0;
        for (number, (score, &expected)) in scores.iter().zip(&expected).enumerate() {
            let (score, expected) = (f64::from(score.expect("golden windows are scored").value()), f64::from(expected));
            let difference = (score - expected).abs() / expected;
            assert!(difference <= TOLERANCE_SCORE, "{} {number}: {score} for {expected}", engine.lane_name());
            worst = worst.max(difference);
        }
        println!("{}: largest relative difference {worst:.1e}", engine.lane_name());
    }
}

#[test]
fn the_exact_engines_bits_on_golden_windows_are_the_same_on_every_target() {
    let Some(folder) = golden_folder() else { return };
    let weights = weights(&folder);
    let bytes = bytes(&folder, "sparta_ftd_sht");
    let file = SafeTensors::deserialize(&bytes).expect("golden vectors are a safetensors file");
    let scorer = SpartaScorer::new(&weights.parameters, Lane::Exact).expect("published weights fold");
    let windows = windows(&file);
    let scores: Vec<f32> = windows.iter().map(|window| scorer.score(window).expect("golden windows are scored").value()).collect();
    assert_eq!(scores.len(), 64);
    let hash = hash_bits(&scores);
    assert_eq!(hash, EXACT_HASH, "{hash:#018x}");
}

#[test]
fn the_oracle_agrees_with_the_published_predictions_and_scores() {
    let Some(folder) = golden_folder() else { return };
    let weights = weights(&folder);
    let bytes = bytes(&folder, "sparta_ftd_sht");
    let file = SafeTensors::deserialize(&bytes).expect("golden vectors are a safetensors file");
    let (predictions, scores) = (singles(&file, "pred_b1"), singles(&file, "score_b1"));
    let mut worst: f64 = 0.0;
    for (number, window) in windows(&file).iter().enumerate() {
        let outcome = reference::forward(&weights.parameters, Form::Published, window.values());
        let expected = sequence(&predictions[number * TOKENS * EMBEDDING..]);
        assert_sequences(&outcome.prediction, &expected, TOLERANCE_TRACE, &format!("window {number}"));
        let expected = f64::from(scores[number]);
        worst = worst.max((outcome.score - expected).abs() / expected);
    }
    println!("oracle: largest relative difference {worst:.1e}");
    assert!(worst <= TOLERANCE_SCORE, "{worst:e}");
}

#[test]
fn the_oracle_follows_the_published_trace_step_by_step() {
    let Some(folder) = golden_folder() else { return };
    let weights = weights(&folder);
    let bytes = bytes(&folder, "sparta_ftd_sht_trace");
    let file = SafeTensors::deserialize(&bytes).expect("the golden trace is a safetensors file");
    let (source, target) = (sequence(&singles(&file, "src")), sequence(&singles(&file, "tgt")));
    let mut steps = 0;
    reference::forward_observed(&weights.parameters, Form::Published, &source, &target, |part, values| {
        let name = format!("{}.layers.{}.{}", part.stack, part.layer, part.suffix);
        assert_sequences(values, &sequence(&singles(&file, &name)), TOLERANCE_TRACE, &name);
        steps += 1;
    });
    assert_eq!(steps, 4 * 4 + 4 * 6);
}
