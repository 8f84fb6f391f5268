//! The golden suite, written once over model x engine: every engine against what the published code computes.
//!
//! A new engine or model is one more row in [`rows`]. Needs the golden data beside the repository; says so loudly when it is not there.

use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer};
use alfred_models::arena::ArenaAllocator;
use alfred_models::onnx_manifest::Declaration;
use alfred_models::sparta;
use alfred_models::stg_nf::scorer::{Engine, Lane, StgNfScorer};
use alfred_models::stg_nf::weights_file;
use alfred_models::tract_engine::{Budget, ModelSource, TractEngine};
use alfred_testkit::golden::{GoldenFile, announce, golden_path};
use alfred_testkit::tolerance::{SPARTA_TOLERANCE, STG_NF_TOLERANCE_SHT, STG_NF_TOLERANCE_UB, Tolerance};

#[global_allocator]
static ALLOCATOR: ArenaAllocator = ArenaAllocator::new();

/// Arena of each ONNX model: roomy, since a row is about numbers; the engine's own tests are about bytes.
const ARENA_BYTES: usize = 8 << 20;

/// Windows and scores that an engine is compared with.
struct Vectors {
    file: &'static str,
    /// Tensor (N, C, T, 18) of normalised windows.
    windows: &'static str,
    /// Tensor (N) of anomaly scores.
    scores: &'static str,
    tolerance: Tolerance,
}

const SHT: Vectors = stg_nf("vectors/stgnf_shanghaitech.safetensors", STG_NF_TOLERANCE_SHT);
const UB_UNSUPERVISED: Vectors = stg_nf("vectors/stgnf_ubnormal_unsup.safetensors", STG_NF_TOLERANCE_UB);
const UB_SUPERVISED: Vectors = stg_nf("vectors/stgnf_ubnormal_sup.safetensors", STG_NF_TOLERANCE_UB);
const SPARTA: Vectors =
    Vectors { file: "vectors/sparta_ftd_sht.safetensors", windows: "normalized_f64", scores: "score_b1", tolerance: SPARTA_TOLERANCE };

const fn stg_nf(file: &'static str, tolerance: Tolerance) -> Vectors {
    Vectors { file, windows: "x", scores: "nll", tolerance }
}

/// A scorer, or `None` when its file or this processor's instructions are missing.
type MakeScorer = Box<dyn Fn() -> Option<Box<dyn Scorer>>>;

/// One pair of a model and an engine.
struct Row {
    model: &'static str,
    engine: String,
    vectors: &'static Vectors,
    scorer: MakeScorer,
}

fn rows() -> Vec<Row> {
    let native = [("stgnf_shanghaitech", &SHT), ("stgnf_ubnormal_unsup", &UB_UNSUPERVISED), ("stgnf_ubnormal_sup", &UB_SUPERVISED)];
    let onnx = [
        ("stgnf_shanghaitech_b1", &SHT),
        ("stgnf_shanghaitech_b8", &SHT),
        ("stgnf_shanghaitech_collapsed_b1", &SHT),
        ("stgnf_ubnormal_unsup_b1", &UB_UNSUPERVISED),
        ("sparta_ftd_sht_perwindow_b1", &SPARTA),
        ("sparta_ftd_sht_collapsed_b1", &SPARTA),
    ];
    let native = native.into_iter().flat_map(|(model, vectors)| {
        Engine::ALL.map(|engine| Row {
            model,
            engine: format!("native {}", engine.name()),
            vectors,
            scorer: Box::new(move || native_scorer(model, engine)),
        })
    });
    let onnx = onnx.into_iter().map(|(model, vectors)| Row {
        model,
        engine: "tract".into(),
        vectors,
        scorer: Box::new(move || tract_scorer(model)),
    });
    let sparta = sparta::scorer::Engine::ALL.map(|engine| Row {
        model: "sparta_ftd_sht",
        engine: format!("native {}", engine.name()),
        vectors: &SPARTA,
        scorer: Box::new(move || sparta_scorer("sparta_ftd_sht", engine)),
    });
    native.chain(sparta).chain(onnx).collect()
}

fn native_scorer(model: &str, engine: Engine) -> Option<Box<dyn Scorer>> {
    let path = golden_path(&format!("weights/{model}.safetensors"))?;
    let weights = weights_file::read_path(&path).unwrap_or_else(|fault| panic!("{model}: {fault}"));
    let scorer = StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), Lane::Exact);
    Some(Box::new(scorer.unwrap_or_else(|fault| panic!("{model}: {fault}")).with_engine(engine)?))
}

fn sparta_scorer(model: &str, engine: sparta::scorer::Engine) -> Option<Box<dyn Scorer>> {
    let path = golden_path(&format!("weights/{model}.safetensors"))?;
    let weights = sparta::weights_file::read_path(&path).unwrap_or_else(|fault| panic!("{model}: {fault}"));
    let scorer = sparta::scorer::SpartaScorer::new(&weights.parameters, sparta::scorer::Lane::Exact);
    Some(Box::new(scorer.unwrap_or_else(|fault| panic!("{model}: {fault}")).with_engine(engine)?))
}

fn tract_scorer(model: &str) -> Option<Box<dyn Scorer>> {
    let path = golden_path(&format!("onnx/{model}.onnx"))?;
    let engine = TractEngine::load(ModelSource::File(&path), Declaration::default(), Budget::Bounded { bytes: ARENA_BYTES });
    Some(Box::new(engine.unwrap_or_else(|error| panic!("{error}"))))
}

/// What a row found: a line of the table, and whether it holds.
struct Outcome {
    windows: usize,
    error_max: f64,
    failures: Vec<String>,
}

/// Scores all windows of a row; `None` when the row cannot run here.
fn compare(row: &Row) -> Option<Outcome> {
    let file = GoldenFile::find(row.vectors.file)?;
    let mut scorer = (row.scorer)()?;
    let windows = file.tensor(row.vectors.windows).windows();
    let expected = file.tensor(row.vectors.scores).values;
    assert_eq!(windows.len(), expected.len(), "{}", row.vectors.file);
    let mut scores: Vec<ScoreResult> = vec![Err(ScoreFault::Engine); windows.len()];
    scorer.score_batch(&windows, &mut scores);
    let mut outcome = Outcome { windows: windows.len(), error_max: 0.0, failures: Vec::new() };
    for (number, (score, expected)) in scores.into_iter().zip(expected).enumerate() {
        match score {
            Ok(score) => {
                let score = f64::from(score.value());
                outcome.error_max = outcome.error_max.max((score - expected).abs());
                if !row.vectors.tolerance.allows(score, expected) {
                    outcome.failures.push(format!("window {number}: {score} instead of {expected}"));
                }
            }
            // Where the published code has no finite score either.
            Err(ScoreFault::NotFinite) if !expected.is_finite() => {}
            Err(fault) => outcome.failures.push(format!("window {number}: {fault}, expected {expected}")),
        }
    }
    Some(outcome)
}

#[test]
fn every_engine_computes_the_published_scores() {
    let mut table = vec![format!("{:<34} {:<16} {:>7} {:>13}  tolerance", "model", "engine", "windows", "max abs error")];
    let mut failures = Vec::new();
    for row in rows() {
        let (model, engine) = (row.model, &row.engine);
        match compare(&row) {
            Some(outcome) => {
                let tolerance = row.vectors.tolerance.name;
                table.push(format!("{model:<34} {engine:<16} {:>7} {:>13.2e}  {tolerance}", outcome.windows, outcome.error_max));
                failures.extend(outcome.failures.into_iter().map(|failure| format!("{model}, {engine}: {failure}")));
            }
            None => table.push(format!("{model:<34} {engine:<16} {:>7} {:>13}  SKIPPED", "-", "-")),
        }
    }
    announce(&table.join("\n"));
    assert!(failures.is_empty(), "{} windows off:\n{}", failures.len(), failures.join("\n"));
}
