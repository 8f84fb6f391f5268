//! One window on each engine of each architecture.

use crate::Case;
use crate::people;
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_models::ga_vae::parameters::HeapParameters as GaVaeParameters;
use alfred_models::ga_vae::scorer::GaVaeScorer;
use alfred_models::ga_vae::shape::GaVaeShape;
use alfred_models::sparta::scorer::{Engine as WideEngine, Lane as WideLane, SpartaScorer};
use alfred_models::sparta::weights_file::HeapParameters;
use alfred_models::stg_nf::adjacency::Adjacency;
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape, TensorRole};
use alfred_models::stg_nf::scorer::{Engine, Lane, StgNfScorer};
use alfred_synth::random::Random;
use std::hint::black_box;

/// What "fast" means here. Named instead of detected, so that counts do not depend on the machine: callgrind knows no AVX-512.
#[cfg(target_arch = "x86_64")]
const FAST: (Engine, WideEngine) = (Engine::Avx2, WideEngine::Avx2);
#[cfg(target_arch = "aarch64")]
const FAST: (Engine, WideEngine) = (Engine::Neon, WideEngine::Neon);

const NEEDS_AVX2: &str = "this processor (or the tool that plays it) has the instructions that are counted: AVX2 on x86-64";

/// The model on the engine that is counted as fast.
pub fn stg_nf_fast() -> StgNfScorer {
    stg_nf(Engine::Portable).with_engine(FAST.0).expect(NEEDS_AVX2)
}

/// Made-up weights, like those of the other models. Not read from a file: its reader's hash maps are seeded anew in each process, which
/// moves everything on the heap, and a copy's length in instructions depends on where its ends lie.
fn stg_nf(engine: Engine) -> StgNfScorer {
    let (mut parameters, mut random) = (StgNfParameters::zero(StgNfShape::new(24).expect("a length that exists")), Random::new(1));
    parameters.visit_mut(|tensor| {
        let (low, high) = if tensor.role == TensorRole::RunningVariance { (0.1, 1.1) } else { (-0.5, 0.5) };
        tensor.values.iter_mut().for_each(|value| *value = random.between(low, high) as f32);
    });
    let scorer = StgNfScorer::new(&parameters, &Adjacency::published(), Lane::Exact).expect("the weights fold");
    scorer.with_engine(engine).expect("every target has these engines")
}

/// What a window costs does not depend on the weights, which are made up.
pub fn cases() -> Vec<Case> {
    let mut random = Random::new(5);
    let mut sparta = HeapParameters::zero();
    sparta.values_mut().iter_mut().for_each(|value| *value += 0.1 * random.normal() as f32);
    let published = SpartaScorer::new(&sparta, WideLane::Exact).expect("finite weights");
    let tokens = SpartaScorer::new_tokens(&sparta, WideLane::Exact).expect("finite weights");
    // Narrow: the published width is dozens of times dearer, which is a minute of callgrind, and has the same code.
    let ga_vae = GaVaeScorer::new(&ga_vae(2, &mut random), WideLane::Exact).expect("finite weights");
    vec![
        window("stg-nf fast", stg_nf_fast()),
        window("stg-nf portable", stg_nf(Engine::Portable)),
        window("stg-nf exact", stg_nf(Engine::Exact)),
        window("stg-nf dense", stg_nf(Engine::Dense)),
        window("sparta published fast", published.with_engine(FAST.1).expect(NEEDS_AVX2)),
        window("sparta published exact", published),
        window("sparta tokens fast", tokens.with_engine(FAST.1).expect(NEEDS_AVX2)),
        window("sparta tokens exact", tokens),
        window("ga-vae width 2 fast", ga_vae.with_engine(FAST.1).expect(NEEDS_AVX2)),
        window("ga-vae width 2 exact", ga_vae),
    ]
}

fn ga_vae(width: usize, random: &mut Random) -> GaVaeParameters {
    let mut parameters = GaVaeParameters::zero(GaVaeShape::new(width).expect("a width"));
    parameters.visit_mut(|tensor| {
        let extent = 1.0 / (tensor.shape.dimensions().iter().skip(1).product::<usize>() as f64).sqrt();
        tensor.values.iter_mut().for_each(|value| *value += (extent * random.between(-0.5, 0.5)) as f32);
    });
    parameters
}

fn window(name: &str, mut scorer: impl Scorer + 'static) -> Case {
    let windows: [Window; 1] = [people::window(scorer.window_frames())];
    let mut score: [ScoreResult; 1] = [Err(ScoreFault::Engine)];
    Case::new(name, move || {
        scorer.score_batch(black_box(&windows), &mut score);
        assert!(score[0].is_ok(), "a window without a score is no work to count");
        black_box(&mut score);
    })
}
