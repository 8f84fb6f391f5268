//! The head as a stage: off changes nothing, on is finite and repeatable for whatever window comes, and no bytes make it panic.

mod common;

use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_core::pipeline::Sink;
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::units::AnomalyScore;
use alfred_core::verdict_head::{
    FEATURE_KINDS, Features, HEAD_BYTES, HEAD_DIRECTIONS, HEAD_FEATURES, HeadFault, HeadParts, HeadedScorer, QUANTITIES, VerdictHead,
    features,
};
use common::{FixedScorer, Kept, Memory, WINDOW, config, frame, person};
use proptest::prelude::*;

/// Parts of a plausible size, from a seed.
fn parts(seed: u32) -> HeadParts {
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut features = |middle: f32, spread: f32| -> Features { core::array::from_fn(|_| middle + spread * random()) };
    HeadParts {
        feature_means: features(0.2, 1.0),
        feature_deviations: features(0.3, 0.2),
        verdict_weights: features(0.0, 0.5),
        directions: core::array::from_fn(|_| features(0.0, 0.1)),
        direction_gains: core::array::from_fn(|index| -0.05 * index as f32),
        verdict_bias: -1.0,
        verdict_floor: -10.0,
        rest_gain: 2.0,
        distance_mean: 9.0,
        distance_deviation: 2.0,
        density_mean: 1.5,
        density_deviation: 0.3,
        verdict_share: 1.0,
        distance_share: 0.8,
        density_share: 0.6,
    }
}

fn head(seed: u32) -> VerdictHead {
    VerdictHead::from_parts(&parts(seed)).expect("plausible")
}

fn window(values: &[f32]) -> Window {
    let mut window = Window::EMPTY;
    window.set_frames(values.len() / (CHANNELS * JOINTS));
    window.values_mut().copy_from_slice(values);
    window
}

/// The formula of the head's documentation on its parts as they were before they were made small.
fn plain(parts: &HeadParts, features: &Features, density: f64) -> f64 {
    let z: Vec<f64> = (0..HEAD_FEATURES)
        .map(|at| (f64::from(features[at] - parts.feature_means[at]) / f64::from(parts.feature_deviations[at])).clamp(-8.0, 8.0))
        .collect();
    let dot = |other: &Features| z.iter().zip(other).map(|(z, other)| z * f64::from(*other)).sum::<f64>();
    let log_odds = (dot(&parts.verdict_weights) + f64::from(parts.verdict_bias)).max(f64::from(parts.verdict_floor));
    let mut squared = f64::from(parts.rest_gain) * z.iter().map(|z| z * z).sum::<f64>();
    for (direction, gain) in parts.directions.iter().zip(parts.direction_gains) {
        squared += f64::from(gain) * dot(direction).powi(2);
    }
    let distance = (squared.max(0.0).sqrt() - f64::from(parts.distance_mean)) / f64::from(parts.distance_deviation);
    let density = (density - f64::from(parts.density_mean)) / f64::from(parts.density_deviation);
    f64::from(parts.verdict_share) * log_odds + f64::from(parts.distance_share) * distance + f64::from(parts.density_share) * density
}

#[test]
fn a_head_is_small() {
    assert_eq!(HEAD_BYTES, 4 + 4 * (11 + 2 * FEATURE_KINDS + HEAD_DIRECTIONS) + HEAD_FEATURES * (5 + HEAD_DIRECTIONS / 2));
    const { assert!(HEAD_BYTES <= 1352) };
    assert!(size_of::<VerdictHead>() <= 1024, "{} bytes in memory", size_of::<VerdictHead>());
}

#[test]
fn the_small_form_computes_the_formula() {
    for seed in 1..20 {
        let (parts, head) = (parts(seed), head(seed));
        let values: Vec<f32> = (0..CHANNELS * JOINTS * 24).map(|at| ((at * seed as usize * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let window = window(&values);
        let density = AnomalyScore::new(1.9).expect("finite");
        let expected = plain(&parts, &features(&window), 1.9);
        let found = f64::from(head.combine(&window, density).value());
        assert!((found - expected).abs() < 0.05 * (1.0 + expected.abs()), "seed {seed}: {found} for {expected}");
    }
}

/// A window of a body that moves, and its mirror image: x negated, right and left joints exchanged.
fn moving_body(mirrored: bool) -> Window {
    const EXCHANGED: [usize; JOINTS] = [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16];
    let mut values = vec![0.0; CHANNELS * JOINTS * WINDOW];
    for joint in 0..JOINTS {
        let seen = if mirrored { EXCHANGED[joint] } else { joint };
        for time in 0..WINDOW {
            let phase = (seen * 7 + time * (seen % 5 + 1)) as f32;
            let x = 0.4 * (phase * 0.21).sin() + 0.1 * seen as f32;
            values[joint * WINDOW + time] = if mirrored { -x } else { x };
            values[(JOINTS + joint) * WINDOW + time] = 0.9 * (phase * 0.13).cos() - 0.05 * seen as f32;
        }
    }
    window(&values)
}

#[test]
fn a_mirror_image_has_the_same_features() {
    let (plain, mirrored) = (features(&moving_body(false)), features(&moving_body(true)));
    assert!(plain.iter().all(|value| value.is_finite() && *value != 0.0));
    for (place, (plain, mirrored)) in plain.iter().zip(&mirrored).enumerate() {
        assert!((plain - mirrored).abs() < 1e-5, "feature {place}: {plain} became {mirrored}");
    }
}

/// Wrists above the shoulders, limbs, speeds: by hand on a body of which only some joints are set.
#[test]
fn features_mean_what_they_say() {
    let mut values = vec![0.0; CHANNELS * JOINTS * 4];
    let mut set = |joint: usize, x: [f32; 4], y: [f32; 4]| {
        values[joint * 4..][..4].copy_from_slice(&x);
        values[(JOINTS + joint) * 4..][..4].copy_from_slice(&y);
    };
    // Right wrist goes from one above its shoulder (y grows downwards) to three above it, the left one stays one below.
    set(4, [0.0; 4], [-1.0, -1.0, -3.0, -3.0]);
    set(7, [0.5; 4], [1.0; 4]);
    // Both hips two below the neck: a torso of two.
    set(8, [0.0; 4], [2.0; 4]);
    set(11, [0.0; 4], [2.0; 4]);
    let features = features(&window(&values));
    let of = |quantity: usize| [0, 1, 2].map(|kind| features[kind * QUANTITIES + quantity]);
    assert_eq!(of(0), [2.0, 1.0, 3.0], "higher wrist above its shoulder");
    assert_eq!(of(1), [-1.0, 0.0, -1.0], "lower wrist");
    assert_eq!(of(2), [0.5, 0.0, 0.5], "farther wrist aside of the neck");
    assert_eq!(of(6)[2], 2.0, "fastest step of a wrist against the neck");
    assert_eq!(of(10), [2.0, 0.0, 2.0], "neck above hip");
    assert_eq!(of(13), [4.0, 1.0, 5.0], "height of the box");
    assert_eq!(of(17), [-0.5, 0.0, -0.5], "lower wrist in torsos");
}

/// Bits that were computed on x86-64 and must come out on every machine.
#[test]
fn the_bits_are_known() {
    let values: Vec<f32> = (0..CHANNELS * JOINTS * 24).map(|at| (at % 97) as f32 / 48.0 - 1.0).collect();
    let score = head(7).combine(&window(&values), AnomalyScore::new(1.7).expect("finite"));
    assert_eq!(score.value().to_bits(), KNOWN_BITS, "{score:?}");
}
const KNOWN_BITS: u32 = 1_091_979_011;

#[test]
fn absurd_parts_are_refused_by_name() {
    let refuse = |change: &dyn Fn(&mut HeadParts)| {
        let mut parts = parts(1);
        change(&mut parts);
        VerdictHead::from_parts(&parts).expect_err("absurd")
    };
    assert_eq!(refuse(&|parts| parts.feature_means[3] = f32::NAN), HeadFault::NotFinite("feature_means"));
    assert_eq!(refuse(&|parts| parts.feature_deviations[3] = 0.0), HeadFault::NotPositive("feature_deviations"));
    assert_eq!(refuse(&|parts| parts.feature_deviations[3] = 1e-42), HeadFault::NotFinite("feature_deviations"));
    assert_eq!(refuse(&|parts| parts.directions[2][5] = f32::INFINITY), HeadFault::NotFinite("directions"));
    assert_eq!(refuse(&|parts| parts.verdict_bias = f32::NAN), HeadFault::NotFinite("verdict_bias"));
    assert_eq!(refuse(&|parts| parts.density_deviation = 0.0), HeadFault::NotPositive("density_deviation"));
    assert_eq!(refuse(&|parts| parts.distance_share = -1.0), HeadFault::NotPositive("distance_share"));
    let silent = |parts: &mut HeadParts| (parts.verdict_share, parts.distance_share, parts.density_share) = (0.0, 0.0, 0.0);
    assert_eq!(refuse(&silent), HeadFault::NoOpinion);
}

#[test]
fn other_lengths_and_versions_are_refused() {
    let bytes = head(1).to_bytes();
    assert_eq!(VerdictHead::from_bytes(&bytes[1..]), Err(HeadFault::Length { found: HEAD_BYTES - 1 }));
    assert_eq!(VerdictHead::from_bytes(&[]), Err(HeadFault::Length { found: 0 }));
    let mut newer = bytes;
    newer[0] += 1;
    assert_eq!(VerdictHead::from_bytes(&newer), Err(HeadFault::Version { found: bytes[0] + 1 }));
}

/// Scores a window by one of its values, and fails now and then.
struct FirstValue;

impl Scorer for FirstValue {
    fn window_frames(&self) -> usize {
        WINDOW
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        for (window, score) in windows.iter().zip(scores) {
            let value = window.values()[0];
            *score = if value.to_bits() % 5 == 0 {
                Err(ScoreFault::Engine)
            } else {
                AnomalyScore::new(value).map_err(|_| ScoreFault::NotFinite)
            };
        }
    }
}

/// Everything that a pipeline tells about four walking persons.
fn told<S: Scorer>(mut scorer: S) -> (Kept, Vec<u64>) {
    let (mut memory, mut kept) = (Memory::full(), Kept::default());
    let mut pipeline = memory.pipeline(config());
    for number in 0..120 {
        let persons: Vec<_> =
            (1..5).map(|id| person(id, (number * u64::from(id)) as f32 % 31.0, (number * number) as f32 % 17.0)).collect();
        let mut moved = persons;
        moved.iter_mut().for_each(|person| person.keypoints[(number % 17) as usize].y += (number % 7) as f32);
        pipeline.step(&frame(number, &moved), &mut scorer, &mut kept);
    }
    pipeline.finish(&mut kept);
    let counters = pipeline.counters().values().to_vec();
    (kept, counters)
}

#[test]
fn without_a_head_every_bit_is_as_before() {
    let (bare, off) = (told(FirstValue), told(HeadedScorer::new(FirstValue, None)));
    assert!(!bare.0.windows.is_empty() && bare.1.iter().any(|count| *count > 0));
    let bits = |kept: &Kept| kept.windows.iter().map(|window| window.score.value().to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&bare.0), bits(&off.0));
    assert_eq!(bare, off);
}

#[test]
fn a_head_changes_scores_and_leaves_faults() {
    let (bare, on) = (told(FirstValue), told(HeadedScorer::new(FirstValue, Some(head(3)))));
    assert_eq!(bare.0.windows.len(), on.0.windows.len(), "a window that the model cannot score stays without a score");
    assert!(bare.0.windows.iter().zip(&on.0.windows).all(|(bare, on)| bare.score != on.score && bare.centre == on.centre));
}

#[test]
fn a_headed_scorer_goes_where_any_scorer_goes() {
    let mut scorer = HeadedScorer::new(FixedScorer::new(0.5), Some(head(1)));
    assert_eq!((scorer.window_frames(), scorer.head().is_some()), (WINDOW, true));
    let mut scores = [Err(ScoreFault::Engine); 3];
    let mut windows = [Window::EMPTY; 2];
    windows[1].values_mut()[5] = 1.0;
    scorer.score_batch(&windows, &mut scores);
    assert!(scores[0].is_ok() && scores[1].is_ok() && scores[0] != scores[1]);
    assert_eq!(scores[2], Err(ScoreFault::Engine), "there was no third window");
    let _: &mut dyn Scorer = &mut scorer;
    struct Nothing;
    impl Sink for Nothing {}
    let mut memory = Memory::full();
    memory.pipeline(config()).step(&frame(1, &[person(1, 5.0, 5.0)]), &mut scorer as &mut dyn Scorer, &mut Nothing);
}

proptest! {
    #[test]
    fn bytes_come_back_as_the_same_head(seed in any::<u32>()) {
        let head = head(seed);
        prop_assert_eq!(VerdictHead::from_bytes(&head.to_bytes()), Ok(head));
    }

    #[test]
    fn garbage_is_refused_or_scores_finitely(bytes in proptest::collection::vec(any::<u8>(), 0..2 * HEAD_BYTES), value in any::<f32>()) {
        let mut whole = head(1).to_bytes();
        // Garbage behind a good prefix, or no garbage would ever be read.
        for (out, byte) in whole[4..].iter_mut().zip(&bytes) {
            *out = *byte;
        }
        let _ = VerdictHead::from_bytes(&bytes);
        if let Ok(head) = VerdictHead::from_bytes(&whole) {
            prop_assert_eq!(head.to_bytes(), whole);
            let density = AnomalyScore::new(if value.is_finite() { value } else { 0.0 }).expect("finite");
            prop_assert!(head.combine(&window(&[value; CHANNELS * JOINTS * WINDOW]), density).value().is_finite());
        }
    }

    #[test]
    fn flipped_bits_are_refused_or_score_finitely(at in 0..8 * HEAD_BYTES, other in 0..8 * HEAD_BYTES, value in any::<f32>()) {
        let mut bytes = head(1).to_bytes();
        bytes[at / 8] ^= 1 << (at % 8);
        bytes[other / 8] ^= 1 << (other % 8);
        if let Ok(head) = VerdictHead::from_bytes(&bytes) {
            let density = AnomalyScore::new(-3e38).expect("finite");
            prop_assert!(head.combine(&window(&[value; CHANNELS * JOINTS * WINDOW]), density).value().is_finite());
        }
    }

    #[test]
    fn every_window_has_a_finite_score(seed in any::<u32>(), values in proptest::collection::vec(any::<f32>(), CHANNELS * JOINTS * 5)) {
        let (window, head) = (window(&values), head(seed));
        for density in [-f32::MAX, 0.0, f32::MAX] {
            let density = AnomalyScore::new(density).expect("finite");
            let score = head.combine(&window, density);
            prop_assert!(score.value().is_finite());
            prop_assert_eq!(score.value().to_bits(), head.combine(&window, density).value().to_bits());
        }
    }

    #[test]
    fn a_higher_density_never_lowers_the_score(seed in any::<u32>(), low in -9.0_f32..9.0, rise in 0.0_f32..9.0) {
        let (window, head) = (window(&[0.25; CHANNELS * JOINTS * 5]), head(seed));
        let score = |density| head.combine(&window, AnomalyScore::new(density).expect("finite"));
        prop_assert!(score(low + rise) >= score(low));
    }
}
