//! Exported graphs against the native engine they were exported from: the same scores through tract, batch by batch.

use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_models::ga_vae::parameters::{HeapParameters as GaVaeParameters, ScoreRule};
use alfred_models::ga_vae::shape::GaVaeShape;
use alfred_models::ga_vae::weights_file::{GaVaeMetadata, GaVaeWeights};
use alfred_models::onnx_manifest::Declaration;
use alfred_models::sparta::parameters::Form;
use alfred_models::sparta::weights_file::{self as sparta_file, SpartaMetadata, SpartaWeights};
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape, TensorRole};
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_models::stg_nf::weights_file::{self, StgNfMetadata, StgNfWeights};
use alfred_models::tract_engine::{Budget, ModelSource, TractEngine};
use alfred_models::weights::Weights;
use alfred_synth::random::Random;
use alfred_testkit::golden::{GoldenFile, golden_path};
use alfred_testkit::tolerance::{SPARTA_TOLERANCE, STG_NF_TOLERANCE_SHT, STG_NF_TOLERANCE_UB, Tolerance};
use alfred_trainer_host::evaluate::model::{FileModel, Lane as ModelLane, Model};
use alfred_trainer_host::export::check_windows::check_windows;
use alfred_trainer_host::export::command::{ExportArguments, ExportFormat, run, to_onnx as any_to_onnx};
use alfred_trainer_host::export::stg_nf::to_onnx;
use safetensors::SafeTensors;
use std::path::Path;

/// Graph and native engine differ by rounding only.
const EXPORT_TOLERANCE: Tolerance = Tolerance { name: "1e-4 + 1e-6 rel", absolute: 1e-4, relative: 1e-6 };

fn engine(weights: &StgNfWeights, batch: usize) -> TractEngine {
    let bytes = to_onnx(weights, batch);
    let source = ModelSource::Bytes { name: "exported.onnx", bytes: &bytes };
    TractEngine::load(source, Declaration::default(), Budget::Unbounded).expect("our own engine takes what we export")
}

fn scores(scorer: &mut dyn Scorer, windows: &[Window]) -> Vec<f64> {
    let mut scores: Vec<ScoreResult> = vec![Err(ScoreFault::Engine); windows.len()];
    scorer.score_batch(windows, &mut scores);
    scores.into_iter().map(|score| score.map_or(f64::NAN, |score| f64::from(score.value()))).collect()
}

/// The windows that `alfred-host export --check-windows` writes, and their native scores.
fn windows(weights: &StgNfWeights) -> (Vec<Window>, Vec<f64>) {
    let mut scorer = StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), Lane::Exact).expect("a scorer");
    let bytes = check_windows(&mut scorer).expect("scores");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let floats = |name: &str| -> Vec<f32> {
        let view = file.tensor(name).expect("in the file");
        view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    };
    let values = weights.parameters.shape.dimensions();
    let windows = floats("x").chunks_exact(values).map(|window| Window::from_time_major(window).expect("a window")).collect();
    (windows, floats("score").into_iter().map(f64::from).collect())
}

fn check(what: &str, weights: &StgNfWeights) {
    let (windows, expected) = windows(weights);
    let mut native = StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), Lane::Exact).expect("a scorer");
    assert_eq!(scores(&mut native, &windows), expected, "{what}: the file holds the native scores");
    for batch in [1, 5, 16] {
        let mut exported = engine(weights, batch);
        for (number, (score, expected)) in scores(&mut exported, &windows).into_iter().zip(&expected).enumerate() {
            assert!(EXPORT_TOLERANCE.allows(score, *expected), "{what}, batch {batch}, window {number}: {score} instead of {expected}");
        }
    }
}

fn pretrained() -> StgNfWeights {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/stg_nf_synthetic/weights.safetensors");
    weights_file::read_path(&path).expect("our own weights")
}

/// A model that was never trained, with values of every sign and size that training reaches.
fn random_weights(frames: usize, seed: u64, max_hop: usize) -> StgNfWeights {
    let mut random = Random::new(seed);
    let mut parameters = StgNfParameters::zero(StgNfShape::new(frames).expect("a length"));
    parameters.visit_mut(|tensor| {
        for value in tensor.values {
            *value = match tensor.role {
                TensorRole::RunningVariance => random.between(0.05, 2.0),
                TensorRole::RunningMean => random.normal() * 0.3,
                TensorRole::Trainable => random.normal() * 0.4,
            } as f32;
        }
    });
    parameters.prior_mean = 10.0;
    StgNfWeights { parameters, metadata: StgNfMetadata { max_hop, ..StgNfMetadata::default() } }
}

#[test]
fn exported_graphs_score_like_the_native_engine() {
    check("pretrained, T = 24", &pretrained());
    for (frames, seed) in [(24, 1), (16, 2), (16, 3), (4, 4), (48, 5)] {
        check(&format!("random weights {seed}, T = {frames}"), &random_weights(frames, seed, 8));
    }
}

#[test]
fn an_adjacency_that_is_no_mean_is_exported_as_a_matrix() {
    for max_hop in [0, 2] {
        check(&format!("{max_hop} hops"), &random_weights(16, 6, max_hop));
    }
}

#[test]
fn an_exported_graph_says_what_it_is() {
    let mut weights = random_weights(16, 7, 8);
    weights.metadata.other.insert("license".into(), "MIT OR Apache-2.0".into());
    let engine = engine(&weights, 3);
    let manifest = engine.manifest();
    assert_eq!((manifest.architecture.as_str(), manifest.preprocessing.as_str()), ("stg_nf", "openpose18-856x480"));
    assert_eq!((manifest.window_frames, manifest.batch_windows), (16, 3));
    assert_eq!(manifest.score_rule.to_string(), "higher_is_anomalous(nll)");
    assert_eq!(manifest.input_layout.to_string(), "time_major");
    let bytes = to_onnx(&weights, 3);
    assert_eq!(bytes, to_onnx(&weights, 3), "the same weights give the same bytes");
    assert!(bytes.windows(17).any(|part| part == b"MIT OR Apache-2.0"), "a licence is not lost");
}

/// SPARTA in both forms and GA-VAE with values of ordinary sizes, never trained.
fn other_weights() -> Vec<(&'static str, Weights)> {
    let mut random = Random::new(21);
    let mut sparta = |form| {
        let mut parameters = sparta_file::HeapParameters::zero();
        parameters.values_mut().iter_mut().for_each(|value| *value += 0.15 * random.normal() as f32);
        let metadata = SpartaMetadata { form, threshold: Some(0.5), ..SpartaMetadata::default() };
        Weights::Sparta(SpartaWeights { parameters, metadata })
    };
    let [published, tokens] = [sparta(Form::Published), sparta(Form::Tokens)];
    let mut parameters = GaVaeParameters::zero(GaVaeShape::new(2).expect("a width"));
    parameters.visit_mut(|tensor| {
        let extent = 1.0 / (tensor.shape.dimensions().iter().skip(1).product::<usize>() as f64).sqrt();
        tensor.values.iter_mut().for_each(|value| *value += (extent * random.between(-0.5, 0.5)) as f32);
    });
    let metadata = GaVaeMetadata { threshold: Some(2.5), ..GaVaeMetadata::default() };
    let ga_vae = |rule| Weights::GaVae(GaVaeWeights { parameters: parameters.clone().with_rule(rule), metadata: metadata.clone() });
    let (distance, reconstruction) = (ga_vae(ScoreRule::Distance), ga_vae(ScoreRule::Reconstruction));
    vec![
        ("sparta, published form", published),
        ("sparta, tokens form", tokens),
        ("ga-vae, distance", distance),
        ("ga-vae, reconstruction", reconstruction),
    ]
}

#[test]
fn every_architecture_is_exported_and_says_what_it_is() {
    for (what, weights) in other_weights() {
        let model = FileModel::of(weights.clone(), Path::new(what)).expect("a model");
        let mut native = model.scorer(ModelLane::Exact).expect("a scorer");
        let frames = native.window_frames();
        let mut random = Random::new(22);
        let windows: Vec<Window> = (0..6)
            .map(|_| {
                let values: Vec<f32> = (0..2 * 18 * frames).map(|_| random.normal() as f32).collect();
                Window::from_time_major(&values).expect("a window")
            })
            .collect();
        let expected = scores(native.as_mut(), &windows);
        assert!(expected.iter().all(|score| *score > 0.05), "{what}: {expected:?}");
        for batch in [1, 4] {
            let bytes = any_to_onnx(&weights, batch);
            let source = ModelSource::Bytes { name: what, bytes: &bytes };
            let mut exported = TractEngine::load(source, Declaration::default(), Budget::Unbounded).expect("our engine takes it");
            for (number, (score, expected)) in scores(&mut exported, &windows).into_iter().zip(&expected).enumerate() {
                let agrees = (score - expected).abs() <= 1e-4 * (1.0 + expected.abs());
                assert!(agrees, "{what}, batch {batch}, window {number}: {score} instead of {expected}");
            }
            let manifest = exported.manifest();
            assert_eq!((manifest.window_frames, manifest.score_frame), (frames, native.score_frame_in_window()), "{what}");
            assert_eq!((manifest.threshold, manifest.batch_windows), (weights.threshold(), batch), "{what}");
        }
    }
}

#[test]
fn exported_published_sparta_weights_compute_the_published_scores() {
    let Some(path) = golden_path("weights/sparta_ftd_sht.safetensors") else { return };
    let Some(vectors) = GoldenFile::find("vectors/sparta_ftd_sht.safetensors") else { return };
    let bytes = any_to_onnx(&alfred_models::weights::read_path(&path).expect("golden weights"), 1);
    let source = ModelSource::Bytes { name: "sparta", bytes: &bytes };
    let mut exported = TractEngine::load(source, Declaration::default(), Budget::Unbounded).expect("our engine takes it");
    let found = scores(&mut exported, &vectors.tensor("normalized_f64").windows());
    for (number, (score, expected)) in found.into_iter().zip(vectors.tensor("score_b1").values).enumerate() {
        assert!(SPARTA_TOLERANCE.allows(score, expected), "window {number}: {score} instead of {expected}");
    }
}

#[test]
fn exported_published_weights_compute_the_published_scores() {
    for (model, tolerance) in [
        ("stgnf_shanghaitech", STG_NF_TOLERANCE_SHT),
        ("stgnf_ubnormal_unsup", STG_NF_TOLERANCE_UB),
        ("stgnf_ubnormal_sup", STG_NF_TOLERANCE_UB),
    ] {
        let Some(path) = golden_path(&format!("weights/{model}.safetensors")) else { return };
        let Some(vectors) = GoldenFile::find(&format!("vectors/{model}.safetensors")) else { return };
        let mut exported = engine(&weights_file::read_path(&path).expect("golden weights"), 8);
        let found = scores(&mut exported, &vectors.tensor("x").windows());
        for (number, (score, expected)) in found.into_iter().zip(vectors.tensor("nll").values).enumerate() {
            let agrees = tolerance.allows(score, expected) || !(score.is_finite() || expected.is_finite());
            assert!(agrees, "{model}, window {number}: {score} instead of {expected}");
        }
    }
}

#[test]
fn the_command_writes_what_it_says_or_names_what_is_wrong() {
    let folder = std::env::temp_dir().join(format!("alfred-export-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let weights = folder.join("weights.safetensors");
    let content = random_weights(16, 8, 8);
    let bytes = weights_file::write(&content.parameters, &content.metadata).expect("writes");
    std::fs::write(&weights, &bytes).expect("writes");
    let arguments = |to, batch| ExportArguments {
        weights: weights.clone(),
        to,
        out: folder.join("out"),
        batch,
        check_windows: Some(folder.join("windows")),
        json: false,
    };
    let read = |name: &str| std::fs::read(folder.join(name)).expect("written");
    run(&arguments(ExportFormat::Onnx, 2)).expect("exports");
    let mut scorer = StgNfScorer::new(&content.parameters, &content.metadata.adjacency(), Lane::Exact).expect("a scorer");
    assert_eq!((read("out"), read("windows")), (to_onnx(&content, 2), check_windows(&mut scorer).expect("scores")));
    run(&arguments(ExportFormat::Safetensors, 1)).expect("exports");
    assert_eq!(read("out"), bytes);
    for batch in [0, 17] {
        let message = run(&arguments(ExportFormat::Onnx, batch)).expect_err("refused").to_string();
        assert!(message.starts_with(&format!("--batch {batch}: ")), "{message}");
    }
    std::fs::write(&weights, &bytes[..bytes.len() - 1]).expect("writes");
    let message = run(&arguments(ExportFormat::Onnx, 1)).expect_err("refused").to_string();
    assert!(message.contains("weights.safetensors") && !message.contains('\n'), "{message}");
    std::fs::remove_dir_all(&folder).expect("removes");
}
