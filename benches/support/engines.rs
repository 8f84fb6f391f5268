//! Every engine that can run one and the same STG-NF model: native ones always, tract where the golden ONNX files are.

use alfred_core::limits::BATCH_WINDOWS_MAX;
use alfred_core::normalise::PixelScale;
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_models::ga_vae::parameters::{HeapParameters as GaVaeParameters, ScoreRule};
use alfred_models::ga_vae::scorer::GaVaeScorer;
use alfred_models::ga_vae::shape::{GaVaeShape, PUBLISHED_WIDTH};
use alfred_models::onnx_manifest::Declaration;
use alfred_models::sparta::scorer::{Lane as WideLane, SpartaScorer};
use alfred_models::sparta::weights_file as sparta_file;
use alfred_models::stg_nf::scorer::{Engine, Lane, StgNfScorer};
use alfred_models::stg_nf::weights_file::{self, StgNfWeights};
use alfred_models::tract_engine::{Budget, LoadError, ModelSource, TractEngine};
use alfred_synth::crowd::Crowd;
use alfred_synth::random::Random;
use alfred_testkit::golden::{announce, golden_path};
use alfred_testkit::tolerance::STG_NF_TOLERANCE_SHT;
use std::path::Path;

/// Our own weights, part of the repository.
const PRETRAINED: &str = "models/pretrained/stg_nf_synthetic/weights.safetensors";
const GOLDEN_WEIGHTS: &str = "weights/stgnf_shanghaitech.safetensors";
const GOLDEN_EXPORTED: &str = "onnx/stgnf_shanghaitech_b1.onnx";
const GOLDEN_COLLAPSED: &str = "onnx/stgnf_shanghaitech_collapsed_b1.onnx";

/// Names of the two graphs that tract runs.
pub const TRACT_EXPORTED: &str = "tract, as exported";
/// See [`TRACT_EXPORTED`].
pub const TRACT_COLLAPSED: &str = "tract, collapsed";

/// An engine and what tables call it.
pub struct NamedScorer {
    /// "exact", "avx512", ..., or one of the names of tract's graphs.
    pub name: &'static str,
    /// The engine.
    pub scorer: Box<dyn Scorer>,
}

/// One model on every engine, and windows to score.
pub struct Field {
    /// Whose weights they are.
    pub weights: &'static str,
    /// Name of the engine that [`Lane::Fast`] means on this processor.
    pub fast: &'static str,
    /// The engines; native ones first.
    pub scorers: Vec<NamedScorer>,
    /// Normalised windows of different persons.
    pub windows: Vec<Window>,
}

/// Our own weights.
pub fn pretrained() -> StgNfWeights {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(PRETRAINED))
}

fn read(path: &Path) -> StgNfWeights {
    weights_file::read_path(path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// A scorer of these weights.
pub fn scorer(weights: &StgNfWeights, lane: Lane) -> StgNfScorer {
    StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), lane).expect("weight files are checked when they are read")
}

/// Every engine on the golden model if it is here, or else the native ones on our own; all of them agree about every window.
pub fn field(crowd: &Crowd) -> Field {
    let golden = (golden_path(GOLDEN_WEIGHTS), golden_path(GOLDEN_EXPORTED), golden_path(GOLDEN_COLLAPSED));
    let (weights, parameters, scale, tract) = match golden {
        (Some(weights), Some(exported), Some(collapsed)) => {
            let graphs = vec![(TRACT_EXPORTED, exported), (TRACT_COLLAPSED, collapsed)];
            ("published ShanghaiTech weights", read(&weights), PixelScale::PUBLISHED_STG_NF, graphs)
        }
        _ => {
            announce("SKIPPED: tract's rows, for want of the golden ONNX files; native engines run on our own weights");
            ("our own weights", pretrained(), PixelScale::SQUARE, Vec::new())
        }
    };
    let fast = scorer(&parameters, Lane::Fast);
    let windows = crowd.windows(fast.window_frames(), &scale);
    let native = Engine::ALL.into_iter().filter_map(|engine| fast.with_engine(engine));
    let native = native.map(|scorer| NamedScorer { name: scorer.lane_name(), scorer: Box::new(scorer) });
    let tract = tract.into_iter().map(|(name, path)| NamedScorer { name, scorer: Box::new(load_bounded(&path)) });
    let mut scorers: Vec<NamedScorer> = native.chain(tract).collect();
    check_agreement(&mut scorers, &windows);
    Field { weights, fast: fast.lane_name(), scorers, windows }
}

/// The other architectures, each with windows of its own length. Weights are made up: the time of a window does not depend on them.
pub fn other_models(crowd: &Crowd) -> Vec<(NamedScorer, Vec<Window>)> {
    let mut random = Random::new(5);
    let mut sparta = sparta_file::HeapParameters::zero();
    sparta.values_mut().iter_mut().for_each(|value| *value += 0.1 * random.normal() as f32);
    let mut ga_vae = |width| {
        let mut parameters = GaVaeParameters::zero(GaVaeShape::new(width).expect("a width"));
        parameters.visit_mut(|tensor| {
            let extent = 1.0 / (tensor.shape.dimensions().iter().skip(1).product::<usize>() as f64).sqrt();
            tensor.values.iter_mut().for_each(|value| *value += (extent * random.between(-0.5, 0.5)) as f32);
        });
        parameters
    };
    let (narrow, wide) = (ga_vae(4), ga_vae(PUBLISHED_WIDTH));
    let decoding = ga_vae(2).with_rule(ScoreRule::Reconstruction);
    let published = |lane| Box::new(SpartaScorer::new(&sparta, lane).expect("finite weights"));
    let tokens = |lane| Box::new(SpartaScorer::new_tokens(&sparta, lane).expect("finite weights"));
    let ga_vae = |parameters, lane| Box::new(GaVaeScorer::new(parameters, lane).expect("finite weights"));
    let scorers: [(&str, Box<dyn Scorer>); 8] = [
        ("SPARTA, published form, fast", published(WideLane::Fast)),
        ("SPARTA, published form, exact", published(WideLane::Exact)),
        ("SPARTA, tokens form, fast", tokens(WideLane::Fast)),
        ("SPARTA, tokens form, exact", tokens(WideLane::Exact)),
        ("GA-VAE, width 2 with its decoder, fast", ga_vae(&decoding, WideLane::Fast)),
        ("GA-VAE, width 4, fast", ga_vae(&narrow, WideLane::Fast)),
        ("GA-VAE, width 4, exact", ga_vae(&narrow, WideLane::Exact)),
        ("GA-VAE, width 10, fast", ga_vae(&wide, WideLane::Fast)),
    ];
    let with_windows = |(name, scorer): (&'static str, Box<dyn Scorer>)| {
        let windows = crowd.windows(scorer.window_frames(), &PixelScale::SQUARE);
        (NamedScorer { name, scorer }, windows)
    };
    scorers.into_iter().map(with_windows).collect()
}

/// Loads an ONNX model into the smallest arena in which it runs.
fn load_bounded(path: &Path) -> TractEngine {
    let load = |budget| TractEngine::load(ModelSource::File(path), Declaration::default(), budget);
    let bytes = load(Budget::Unbounded).and_then(|mut engine| engine.arena_bytes_needed());
    let engine: Result<TractEngine, LoadError> = bytes.and_then(|bytes| load(Budget::Bounded { bytes }));
    engine.unwrap_or_else(|error| panic!("{error}"))
}

/// What is compared must be the same: a fast engine that computes something else proves nothing.
fn check_agreement(scorers: &mut [NamedScorer], windows: &[Window]) {
    let Some((reference, others)) = scorers.split_first_mut() else { return };
    let expected = scores(reference, windows);
    for other in others {
        for (number, (score, &expected)) in scores(other, windows).into_iter().zip(&expected).enumerate() {
            let agrees = STG_NF_TOLERANCE_SHT.allows(score, expected);
            assert!(agrees, "window {number}: {} gives {score}, {} gives {expected}", other.name, reference.name);
        }
    }
}

fn scores(named: &mut NamedScorer, windows: &[Window]) -> Vec<f64> {
    let mut results: Vec<ScoreResult> = vec![Err(ScoreFault::Engine); windows.len()];
    // Not more windows at once than the data path gives.
    for (windows, results) in windows.chunks(BATCH_WINDOWS_MAX).zip(results.chunks_mut(BATCH_WINDOWS_MAX)) {
        named.scorer.score_batch(windows, results);
    }
    let value = |result: ScoreResult| f64::from(result.unwrap_or_else(|fault| panic!("{}: {fault}", named.name)).value());
    results.into_iter().map(value).collect()
}
