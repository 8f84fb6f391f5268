//! `alfred-edge self-test`: whether this build, on this machine, computes what it should.

use crate::replay::HeapMemory;
use alfred_board::counting_allocator::thread_allocations;
use alfred_core::decision::DecisionRule;
use alfred_core::event::{Event, EventKind, EventRule};
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{Pipeline, PipelineConfig, Sink};
use alfred_core::pose::{KeyPoint, PersonPose, PoseFrame};
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::segment::SegmentRule;
use alfred_core::smoothing::CausalKernel;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId, Threshold};
use alfred_models::ga_vae::parameters::{HeapParameters as GaVaeParameters, TensorRole as GaVaeRole};
use alfred_models::ga_vae::scorer::GaVaeScorer;
use alfred_models::ga_vae::shape::GaVaeShape;
use alfred_models::sparta::parameters::ParameterFault as SpartaFault;
use alfred_models::sparta::scorer::{Lane as WideLane, SpartaScorer};
use alfred_models::sparta::weights_file as sparta_file;
use alfred_models::stg_nf::adjacency::Adjacency;
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape, TensorRole};
use alfred_models::stg_nf::scorer::{Engine, Lane, StgNfScorer};

/// One check and its outcome.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// What came out.
    pub outcome: Result<String, String>,
}

/// Largest difference between the fast and the exact lane: absolute, and relative to the score (golden data's own tolerance).
const LANES_ABSOLUTE_MAX: f32 = 1e-4;
const LANES_RELATIVE_MAX: f32 = 1e-5;

/// Bits of the exact lane over the built-in model and windows, folded; the same on every machine.
pub const EXACT_LANE_BITS: u64 = 0x12a0_91a3_0530_9e4e;

/// Number of built-in windows.
const WINDOWS: usize = 32;

/// Runs every check, with the built-in model.
#[must_use]
pub fn run() -> Vec<Check> {
    let check = |name: &str, outcome| Check { name: name.into(), outcome };
    let (model, windows) = match built_in_model() {
        Ok(model) => (model, built_in_windows()),
        Err(what) => return vec![check("built-in model", Err(what))],
    };
    let mut checks = vec![check("exact lane's bits", exact_bits(&model, &windows))];
    for engine in Engine::ALL {
        let outcome = match model.with_engine(engine) {
            Some(other) => compare(&model, &other, &windows),
            None => Ok("not on this processor".into()),
        };
        checks.push(check(&format!("{} against exact", engine.name()), outcome));
    }
    checks.push(check("data path", data_path(&model)));
    checks.extend(other_models().map(|(name, outcome)| check(name, outcome)));
    checks
}

/// Exact bits of the other architectures, the same on every machine: SPARTA's published form, SPARTA over tokens, GA-VAE.
pub const OTHER_EXACT_BITS: [u64; 3] = [0xbe46_b547_863d_ff8b, 0x20b7_f58e_d629_401a, 0xb501_ccd3_6d7e_6e85];

/// SPARTA in both forms and GA-VAE: bits of the exact lane, the fast lane's distance from it, and that neither allocates.
fn other_models() -> [(&'static str, Result<String, String>); 3] {
    [
        ("sparta, published form", sparta(|parameters, lane| Ok(Box::new(SpartaScorer::new(parameters, lane)?)), OTHER_EXACT_BITS[0])),
        ("sparta, tokens form", sparta(|parameters, lane| Ok(Box::new(SpartaScorer::new_tokens(parameters, lane)?)), OTHER_EXACT_BITS[1])),
        ("ga-vae", ga_vae(OTHER_EXACT_BITS[2])),
    ]
}

type MadeScorer<F> = Result<Box<dyn Scorer>, F>;

fn sparta(make: impl Fn(&sparta_file::HeapParameters, WideLane) -> MadeScorer<SpartaFault>, expected: u64) -> Result<String, String> {
    let (mut parameters, mut numbers) = (sparta_file::HeapParameters::zero(), Numbers(4));
    parameters.values_mut().iter_mut().for_each(|value| *value += 0.15 * numbers.next());
    let scorer = |lane| make(&parameters, lane).map_err(|fault| fault.to_string());
    agree(scorer(WideLane::Exact)?, scorer(WideLane::Fast)?, expected)
}

fn ga_vae(expected: u64) -> Result<String, String> {
    let shape = GaVaeShape::new(2).map_err(|fault| fault.to_string())?;
    let (mut parameters, mut numbers) = (GaVaeParameters::zero(shape), Numbers(5));
    parameters.values_mut().iter_mut().for_each(|value| *value += 0.15 * numbers.next());
    // Zero minus a little is no variance.
    parameters.visit_mut(|tensor| {
        tensor.values.iter_mut().for_each(|value| *value = if tensor.role == GaVaeRole::RunningVariance { value.abs() } else { *value })
    });
    let scorer = |lane| GaVaeScorer::new(&parameters, lane).map(Box::new).map_err(|fault| fault.to_string());
    agree(scorer(WideLane::Exact)?, scorer(WideLane::Fast)?, expected)
}

/// Compares both lanes over some windows.
fn agree(mut exact: Box<dyn Scorer>, mut fast: Box<dyn Scorer>, expected: u64) -> Result<String, String> {
    const WINDOWS: usize = 4;
    let (mut numbers, frames) = (Numbers(6), exact.window_frames());
    let windows: Vec<Window> = (0..WINDOWS)
        .map(|_| {
            let values: Vec<f32> = (0..2 * frames * 18).map(|_| 1.5 * numbers.next()).collect();
            Window::from_time_major(&values).unwrap_or(Window::EMPTY)
        })
        .collect();
    let mut scores = [[Err(ScoreFault::Engine); WINDOWS]; 2];
    let before = thread_allocations();
    exact.score_batch(&windows, &mut scores[0]);
    fast.score_batch(&windows, &mut scores[1]);
    let allocations = thread_allocations() - before;
    let (mut folded, mut worst) = (0xCBF2_9CE4_8422_2325_u64, 0.0_f32);
    for (a, b) in scores[0].iter().zip(&scores[1]) {
        let (a, b) = (a.map_err(|fault| fault.to_string())?.value(), b.map_err(|fault| fault.to_string())?.value());
        folded = (folded ^ u64::from(a.to_bits())).wrapping_mul(0x0000_0100_0000_01B3);
        worst = worst.max((a - b).abs());
        if (a - b).abs() > LANES_ABSOLUTE_MAX + LANES_RELATIVE_MAX * a.abs() {
            return Err(format!("scores {a} and {b} differ by more than {LANES_ABSOLUTE_MAX} + {LANES_RELATIVE_MAX} * score"));
        }
    }
    if folded != expected {
        return Err(format!("{folded:016x} instead of {expected:016x}: this build does not compute what the others do"));
    }
    if allocations > 0 {
        return Err(format!("{allocations} allocations while scoring"));
    }
    Ok(format!("{folded:016x}, as on every machine; fast lane off by {worst:.1e}; 0 allocations"))
}

/// Smooth, seeded numbers without any transcendental function: the same on every machine.
struct Numbers(u64);

impl Numbers {
    /// From -1 to 1.
    fn next(&mut self) -> f32 {
        // Steele and Vigna's SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn built_in_windows() -> Vec<Window> {
    let mut numbers = Numbers(2);
    let window = |_| {
        let values: Vec<f32> = (0..2 * 24 * 18).map(|_| 1.5 * numbers.next()).collect();
        Window::from_time_major(&values).unwrap_or(Window::EMPTY)
    };
    (0..WINDOWS).map(window).collect()
}

fn built_in_model() -> Result<StgNfScorer, String> {
    StgNfScorer::new(&built_in_parameters()?, &Adjacency::published(), Lane::Exact).map_err(|fault| fault.to_string())
}

/// A model of ordinary magnitudes that learnt nothing: enough to tell one computation from another, and as dear as any other.
pub(crate) fn built_in_parameters() -> Result<StgNfParameters, String> {
    let shape = StgNfShape::new(24).map_err(|fault| fault.to_string())?;
    let (mut parameters, mut numbers) = (StgNfParameters::zero(shape), Numbers(1));
    parameters.visit_mut(|tensor| {
        for value in tensor.values.iter_mut() {
            let number = numbers.next();
            *value = if tensor.role == TensorRole::RunningVariance { 0.6 + 0.5 * number } else { 0.5 * number };
        }
    });
    Ok(parameters)
}

fn exact_bits(model: &StgNfScorer, windows: &[Window]) -> Result<String, String> {
    let mut folded = 0xCBF2_9CE4_8422_2325_u64;
    for window in windows {
        let score = model.score(window).map_err(|fault| fault.to_string())?;
        // FNV-1a over the bits.
        folded = (folded ^ u64::from(score.value().to_bits())).wrapping_mul(0x0000_0100_0000_01B3);
    }
    if folded == EXACT_LANE_BITS {
        Ok(format!("{folded:016x}, as on every machine"))
    } else {
        Err(format!("{folded:016x} instead of {EXACT_LANE_BITS:016x}: this build does not compute what the others do"))
    }
}

fn compare(exact: &StgNfScorer, other: &StgNfScorer, windows: &[Window]) -> Result<String, String> {
    let mut worst = 0.0_f32;
    for window in windows {
        let (a, b) =
            exact.score(window).and_then(|a| other.score(window).map(|b| (a.value(), b.value()))).map_err(|fault| fault.to_string())?;
        worst = worst.max((a - b).abs());
        if (a - b).abs() > LANES_ABSOLUTE_MAX + LANES_RELATIVE_MAX * a.abs() {
            return Err(format!("scores {a} and {b} differ by more than {LANES_ABSOLUTE_MAX} + {LANES_RELATIVE_MAX} * score"));
        }
    }
    Ok(format!("largest difference {worst:.1e} over {} windows", windows.len()))
}

/// A scorer that always finds the same, so that what the data path must do is known.
struct Anomalous(StgNfScorer);

impl Scorer for Anomalous {
    fn window_frames(&self) -> usize {
        self.0.window_frames()
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        self.0.score_batch(windows, scores);
        for score in scores {
            *score = score.and_then(|_| alfred_core::units::AnomalyScore::new(1.0).map_err(|_| ScoreFault::NotFinite));
        }
    }
}

#[derive(Default)]
struct Tally {
    frames: u64,
    begun: u64,
    ended: u64,
    segments: u64,
}

impl Sink for Tally {
    fn frame(&mut self, _: &alfred_core::pipeline::FrameDecision) {
        self.frames += 1;
    }
    fn event(&mut self, event: &Event) {
        match event.kind {
            EventKind::New => self.begun += 1,
            EventKind::Update => {}
            EventKind::End(_) => self.ended += 1,
        }
    }
    fn segment(&mut self, _: &alfred_core::segment::SegmentView<'_>) {
        self.segments += 1;
    }
}

/// Four people walk through 300 frames, all of them anomalous: four events, every frame decided, nothing allocated.
fn data_path(model: &StgNfScorer) -> Result<String, String> {
    let threshold = Threshold::new(0.5).map_err(|error| error.to_string())?;
    let config = PipelineConfig {
        window: WindowPolicy::live(model.window_frames()),
        scale: PixelScale::SQUARE,
        smoothing: CausalKernel::gaussian(3.0, 9, 3).map_err(|error| error.to_string())?,
        decision: DecisionRule::new(threshold, 0.0).ok(),
        event: EventRule { gap_merge_frames: 5, length_frames_min: 5, update_frames: 30 },
        segment: SegmentRule { pre_roll_frames: 30, post_roll_frames: 30 },
        idle_frames_max: Some(120),
    };
    let mut memory = HeapMemory::default();
    let mut pipeline = Pipeline::new(config, model.window_frames(), memory.lend()).map_err(|error| error.to_string())?;
    let (mut scorer, mut tally, mut numbers) = (Anomalous(model.clone()), Tally::default(), Numbers(3));
    let before = thread_allocations();
    for number in 0..300 {
        let mut frame = PoseFrame::new(FrameIndex(number), MonotonicNs(number * 33_333_333));
        for id in 0..4 {
            let _ = frame.persons.push(walker(id, number, &mut numbers));
        }
        pipeline.step(&frame, &mut scorer, &mut tally);
    }
    pipeline.finish(&mut tally);
    let allocations = thread_allocations() - before;
    let counters = pipeline.counters();
    let expected = (300, 4, 4, 4 * (300 - 23));
    let got = (tally.frames, tally.begun, tally.ended, counters.windows_scored);
    if got != expected || allocations != 0 || tally.segments < 4 {
        return Err(format!("(frames, events, ends, windows) {got:?} instead of {expected:?}, {allocations} allocations"));
    }
    Ok(format!("300 frames, {} windows, 4 events, {} segment parts, 0 allocations", counters.windows_scored, tally.segments))
}

fn walker(id: u32, frame: u64, numbers: &mut Numbers) -> PersonPose {
    let mut person = PersonPose { id: PersonId(id), score: 1.0, ..PersonPose::EMPTY };
    for (place, keypoint) in person.keypoints.iter_mut().enumerate() {
        let x = 150.0 * id as f32 + frame as f32 + 10.0 * numbers.next();
        *keypoint = KeyPoint { x: x + 5.0 * (place % 3) as f32, y: 100.0 + 10.0 * place as f32 + numbers.next(), confidence: 0.9 };
    }
    person
}
