//! Made-up cameras: what a head must learn from verdicts, keep of the density score, and refuse.

use super::{HeadRecipe, HeadSample, NoHead, train, train_reported};
use alfred_core::evaluation::auc_roc;
use alfred_core::units::AnomalyScore;
use alfred_core::verdict_head::{HEAD_FEATURES, VerdictHead};
use alfred_synth::random::Random;

/// A kind of window: features that are raised, by how many deviations, and the density score's rise.
struct Kind {
    raised: std::ops::Range<usize>,
    by: f64,
    density: f64,
}

const NORMAL: Kind = Kind { raised: 0..0, by: 0.0, density: 0.0 };
/// The model does not see it, but people have judged it.
const JUDGED: Kind = Kind { raised: 3..9, by: 1.5, density: 0.0 };
/// The model sees it a little, nobody has judged it, and it moves unlike anything on this camera.
const UNJUDGED: Kind = Kind { raised: 36..62, by: 1.5, density: 1.0 };

fn normal_number(random: &mut Random) -> f64 {
    // Twelve uniform numbers: close enough, and the same everywhere.
    (0..12).map(|_| random.below(1 << 20) as f64 / f64::from(1 << 20)).sum::<f64>() - 6.0
}

fn samples(random: &mut Random, kind: &Kind, is_anomalous: bool, groups: std::ops::Range<u32>, per_group: usize) -> Vec<HeadSample> {
    let mut out = Vec::new();
    for group in groups {
        for _ in 0..per_group {
            let mut features = [0.0; HEAD_FEATURES];
            for (place, feature) in features.iter_mut().enumerate() {
                let raise = if kind.raised.contains(&place) { kind.by } else { 0.0 };
                let spread = if place < 22 { 0.3 } else { 0.05 };
                *feature = (0.5 + spread * (normal_number(random) + raise)) as f32;
            }
            let density = AnomalyScore::new((2.0 + 0.4 * (normal_number(random) + kind.density)) as f32).expect("finite");
            out.push(HeadSample { features, density, is_anomalous, group });
        }
    }
    out
}

fn camera(seed: u64) -> Vec<HeadSample> {
    let mut random = Random::new(seed);
    let mut all = samples(&mut random, &NORMAL, false, 0..20, 40);
    all.extend(samples(&mut random, &JUDGED, true, 0..12, 20));
    all
}

fn auc(head: Option<&VerdictHead>, normal: &[HeadSample], anomalous: &[HeadSample]) -> f64 {
    let score = |sample: &HeadSample| head.map_or(sample.density, |head| head.combine_features(&sample.features, sample.density));
    let mut scored: Vec<(f64, bool)> =
        normal.iter().chain(anomalous).map(|sample| (f64::from(score(sample).value()), sample.is_anomalous)).collect();
    auc_roc(&mut scored).expect("both classes")
}

#[test]
fn judged_kinds_are_found_and_unjudged_ones_are_not_lost() {
    let trained = train_reported(&camera(1), &HeadRecipe::default()).expect("enough verdicts");
    assert!(trained.head_auc > trained.density_auc + 0.2, "{} against {}", trained.head_auc, trained.density_auc);
    let mut random = Random::new(2);
    let normal = samples(&mut random, &NORMAL, false, 0..10, 40);
    for (name, kind, gain_min) in [("judged", JUDGED, 0.3), ("unjudged", UNJUDGED, -0.02)] {
        let anomalous = samples(&mut random, &kind, true, 0..10, 10);
        let (before, after) = (auc(None, &normal, &anomalous), auc(Some(&trained.head), &normal, &anomalous));
        assert!(after > before + gain_min, "{name}: {before:.3} became {after:.3}");
    }
}

#[test]
fn the_same_verdicts_give_the_same_bytes() {
    let train = |seed| train(&camera(seed), &HeadRecipe::default()).expect("enough verdicts").to_bytes();
    assert_eq!(train(3), train(3));
    assert_ne!(train(3), train(4));
}

#[test]
fn too_little_is_refused_with_its_reason() {
    let (all, recipe) = (camera(5), HeadRecipe::default());
    let few: Vec<HeadSample> = all.iter().filter(|sample| !sample.is_anomalous || sample.group < 2).cloned().collect();
    assert_eq!(train(&few, &recipe), Err(NoHead::TooFewAnomalous { found: 2, needed: 3 }));
    let anomalous: Vec<HeadSample> = all.iter().filter(|sample| sample.is_anomalous).cloned().collect();
    assert_eq!(train(&anomalous, &recipe), Err(NoHead::TooFewNormal { found: 0, needed: 200 }));
    assert_eq!(train(&[], &recipe), Err(NoHead::TooFewAnomalous { found: 0, needed: 3 }));
    let mut broken = all.clone();
    broken[7].features[2] = f32::NAN;
    assert_eq!(train(&broken, &recipe), Err(NoHead::NotFinite { sample: 7 }));
    assert_eq!(train(&all, &HeadRecipe { folds: 1, ..recipe }), Err(NoHead::Recipe("folds")));
    assert_eq!(train(&all, &HeadRecipe { evidence: 0.0, ..recipe }), Err(NoHead::Recipe("evidence")));
    let shares = HeadRecipe { verdict_share: 0.0, distance_share: 0.0, density_share: 0.0, ..recipe };
    assert!(matches!(train(&all, &shares), Err(NoHead::Refused(_))));
}

#[test]
fn verdicts_that_say_nothing_give_no_head() {
    // The model is right and the verdicts' windows look like all others: on unseen groups the head can only be worse.
    let mut random = Random::new(6);
    let mut all = samples(&mut random, &NORMAL, false, 0..20, 40);
    all.extend(samples(&mut random, &Kind { density: 2.5, ..NORMAL }, true, 0..6, 2));
    let refused = train(&all, &HeadRecipe { density_share: 0.1, ..HeadRecipe::default() });
    assert!(matches!(refused, Err(NoHead::NoGain { head, density }) if head < density), "{refused:?}");
}

#[test]
fn constant_features_are_no_obstacle() {
    let mut all = camera(7);
    all.iter_mut().for_each(|sample| sample.features[40..60].fill(0.0));
    assert!(train(&all, &HeadRecipe::default()).is_ok());
}
