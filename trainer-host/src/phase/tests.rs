//! The phases on made-up scores: who is asked, what trains, what the threshold and the validation set become.

use crate::dataset::windows::Origin;
use crate::metric::bootstrap::BootstrapPlan;
use crate::metric::confusion::Confusion;
use crate::phase::active_learning::{Question, Reason, ScoredSlice, answer, ask, training_set};
use crate::phase::al_light::{RollingMaxima, band};
use crate::phase::audit::Audit;
use crate::phase::event_group::group;
use crate::phase::gate::{LOSS_MAX, compare};
use crate::phase::methodology::{METHODOLOGIES, Recipe, by_name};
use crate::phase::poison_guard::hold_back;
use crate::phase::pseudo_label::split;
use crate::phase::slices::cut;
use crate::phase::tracking_threshold::{RECENT_SCORES_MAX, TrackingThreshold};
use crate::phase::validation_set::{Candidate, LifeRule, ValidationSet, balance};
use crate::phase::verdict::{Annotator, SimulatedAnnotator, Verdict};
use crate::phase::warm_up::{BALANCED, Stream, warm_up};
use crate::query::Embeddings;
use crate::query::embedding::WIDTH;
use alfred_synth::random::Random;
use proptest::prelude::{any, prop, proptest};

/// One person, a window every six frames.
fn origins(count: usize) -> Vec<Origin> {
    (0..count as u32).map(|index| Origin { clip: 0, person: 1, centre: 12 + 6 * index }).collect()
}

fn embeddings(count: usize) -> Embeddings {
    let mut out = Embeddings::default();
    (0..count).for_each(|index| out.push(&[index as f32; WIDTH]));
    out
}

fn recipe(name: &str) -> &'static Recipe {
    &by_name(name).expect("a methodology").recipe
}

#[test]
fn slices_cover_the_stream_once() {
    assert_eq!(cut(10, 3), vec![0..4, 4..7, 7..10]);
    assert_eq!(cut(2, 3).iter().map(ExactSizeIterator::len).sum::<usize>(), 2);
    assert!(cut(5, 0).is_empty());
}

#[test]
fn the_threshold_itself_is_flagged_and_so_is_what_has_no_score() {
    let labels = split(&[0.9, 1.0, f64::NAN, 2.0], 1.0);
    assert_eq!((labels.normal, labels.flagged), (vec![0], vec![1, 2, 3]));
}

#[test]
fn events_end_at_breaks_persons_and_clips() {
    let at = |clip, person, centre| Origin { clip, person, centre };
    let origins = [at(0, 1, 0), at(0, 1, 6), at(0, 1, 60), at(0, 2, 66), at(1, 1, 72)];
    assert_eq!(group(&[0, 1, 2, 3, 4], &origins, 18), vec![vec![0, 1], vec![2], vec![3], vec![4]]);
}

#[test]
fn al_light_leaves_out_what_lies_above_the_rolling_median() {
    let scores = [1.0, 5.0, 2.0, 9.0, 3.0];
    let mut rolling = RollingMaxima::new(3);
    // Maxima 5, then 9, then 3: medians 5, 7, 5.
    let events = vec![vec![0, 1], vec![2, 3], vec![4]];
    assert_eq!(band(&events, &scores, &mut rolling), vec![0, 1, 2, 4]);
    assert_eq!(rolling.theta_med(), Some(5.0));
    rolling.push(f64::NAN);
    rolling.push(100.0);
    // The oldest maximum has gone.
    assert_eq!(rolling.theta_med(), Some(9.0));
}

#[test]
fn each_methodology_trains_what_its_row_in_the_paper_says() {
    let (scores, origins, embeddings) = ([0.1, 0.2, 1.5, 1.6, 3.0, 0.3], origins(6), embeddings(6));
    let slice = ScoredSlice { scores: &scores, origins: &origins, embeddings: &embeddings, threshold: 1.0 };
    // Window 3 is anomalous and flagged; window 5 is anomalous and missed.
    let truth = vec![false, false, false, true, true, true];
    let trained = |name: &str| {
        let mut annotator = SimulatedAnnotator::new(&truth, 0.0, 1);
        let asked = ask(recipe(name), &slice, &mut RollingMaxima::new(10), &mut Random::new(1));
        let answers = answer(asked, &mut annotator);
        (answers.len(), training_set(recipe(name), &slice, &answers, &[0, 3]))
    };
    assert_eq!(trained("threshold_only").1.normal, Vec::<u32>::new());
    assert_eq!(trained("continual").1.normal, vec![0, 1, 2, 3, 4, 5]);
    assert_eq!(trained("pseudo_continual").1.normal, vec![1, 2, 4, 5]);
    let (labels, set) = trained("active_learning");
    // The missed anomaly stays in as noise; the false positive comes in; confirmed anomalies do not train.
    assert_eq!((labels, set.normal, set.anomalous), (3, vec![0, 1, 2, 5], vec![]));
    let (labels, set) = trained("supervised");
    assert_eq!((labels, set.anomalous), (3, vec![3, 4]));
    // One event: its maximum 3.0 is the median of maxima, so all of it is in the band.
    assert_eq!(trained("al_light").0, 3);
    let (labels, set) = trained("al_event");
    // One verdict for the whole event: it holds an anomaly, so nothing of it trains as normal.
    assert_eq!((labels, set.normal), (1, vec![0, 1, 5]));
}

#[test]
fn budgets_are_kept_and_the_audit_looks_below_the_threshold() {
    let scores: Vec<f64> = (0..100).map(f64::from).collect();
    let (origins, embeddings) = (origins(100), embeddings(100));
    let slice = ScoredSlice { scores: &scores, origins: &origins, embeddings: &embeddings, threshold: 60.0 };
    for methodology in METHODOLOGIES {
        let asked = ask(&methodology.recipe, &slice, &mut RollingMaxima::new(10), &mut Random::new(3));
        let flagged = asked.questions.iter().filter(|question| question.reason == Reason::Flagged);
        assert!(flagged.clone().all(|question| question.windows.iter().all(|&window| scores[window as usize] >= 60.0)));
        assert!(asked.questions.len() <= asked.full, "{}", methodology.name);
        if methodology.name.starts_with("al_m") || methodology.name == "al_random" || methodology.name == "al_diversity" {
            assert_eq!(flagged.count(), 10, "{}: a quarter of 40", methodology.name);
        }
        let audit: Vec<&Question> = asked.questions.iter().filter(|question| question.reason == Reason::Audit).collect();
        assert!(audit.iter().all(|question| scores[question.windows[0] as usize] < 60.0));
        assert_eq!(audit.is_empty(), methodology.recipe.audit_share == 0.0, "{}", methodology.name);
    }
}

#[test]
fn the_simulated_annotator_errs_as_often_as_it_is_told() {
    let truth = vec![true; 2000];
    let mut annotator = SimulatedAnnotator::new(&truth, 0.1, 5);
    let wrong = (0..2000).filter(|&window| annotator.verdict(&[window]) == Some(Verdict::Normal)).count();
    assert!((150..250).contains(&wrong), "{wrong}");
}

#[test]
fn warm_up_makes_a_balanced_set_apart_from_training() {
    let origins: Vec<Origin> = (0..40).map(|index| Origin { clip: index / 10, person: 1, centre: 12 + 6 * (index % 10) }).collect();
    let scores: Vec<f64> = (0..40).map(|index| if (10..20).contains(&index) { 5.0 } else { 0.0 }).collect();
    let truth: Vec<bool> = (0..40).map(|index| (10..20).contains(&index)).collect();
    let mut validation = ValidationSet::default();
    let mut annotator = SimulatedAnnotator::new(&truth, 0.0, 1);
    let stream = Stream { scores: &scores, origins: &origins, threshold: 1.0, number: 0 };
    let report = warm_up(&stream, BALANCED, &mut annotator, &mut validation);
    assert_eq!((report.labels, report.anomalous, report.pseudo_normal), (1, 10, 10));
    let chosen = validation.balanced(1);
    assert_eq!((chosen.len(), chosen.iter().filter(|&&window| truth[window as usize]).count()), (20, 10));
    assert!(validation.overlaps(&origins[12], 24) && validation.overlaps(&origins[3], 24) && !validation.overlaps(&origins[25], 24));
}

/// Keeps every other clip for training, and knows of one audit below the threshold.
struct Audited(SimulatedAnnotator<'static>);

impl Annotator for Audited {
    fn verdict(&mut self, windows: &[u32]) -> Option<Verdict> {
        self.0.verdict(windows)
    }
    fn audited(&mut self, windows: &[u32]) -> Option<Verdict> {
        windows.contains(&0).then_some(Verdict::Anomalous)
    }
    fn may_validate(&mut self, windows: &[u32]) -> bool {
        windows.iter().all(|window| window / 10 % 2 == 0)
    }
}

#[test]
fn warm_up_takes_an_audits_word_and_leaves_what_is_kept_for_training() {
    let origins: Vec<Origin> = (0..80).map(|index| Origin { clip: index / 10, person: 1, centre: 12 + 6 * (index % 10) }).collect();
    // Clip 2 and clip 3 are flagged; clip 3 is kept for training, and clip 0 was missed.
    let scores: Vec<f64> = (0..80).map(|index| if (20..40).contains(&index) { 5.0 } else { 0.0 }).collect();
    static TRUTH: std::sync::LazyLock<Vec<bool>> = std::sync::LazyLock::new(|| (0..80).map(|index| (20..40).contains(&index)).collect());
    let (mut annotator, mut validation) = (Audited(SimulatedAnnotator::new(&*TRUTH, 0.0, 1)), ValidationSet::default());
    let stream = Stream { scores: &scores, origins: &origins, threshold: 1.0, number: 4 };
    let report = warm_up(&stream, 0.6, &mut annotator, &mut validation);
    assert_eq!((report.labels, report.anomalous, report.missed, report.corrected, report.pseudo_normal), (1, 10, 10, 0, 20));
    let clips: Vec<(u32, bool, u32)> = validation.events().iter().map(|event| (event.clip, event.is_anomalous, event.slice)).collect();
    assert_eq!(clips, [(2, true, 4), (0, true, 4), (4, false, 4), (6, false, 4)]);
}

#[test]
fn the_validation_set_ages_but_keeps_its_last_anomalies() {
    let mut set = ValidationSet::default();
    let event = |slice, is_anomalous| Candidate { clip: slice, person: 0, first: 0, last: 6, is_anomalous, windows: vec![slice], slice };
    for slice in 0..10 {
        set.add(event(slice, false));
        set.add(event(slice, true));
    }
    let before = set.hash();
    let rule = LifeRule { events_per_class_max: 8, age_slices_max: 3, events_per_class_min: 5 };
    let renewal = set.renew(9, &rule);
    // Slices 0 to 5 are too old, but five events of each class stay.
    assert_eq!((renewal.aged, set.events().len()), (10, 10));
    assert!(set.events().iter().all(|event| event.slice >= 5));
    assert_ne!(before, set.hash());
    assert_eq!(set.renew(9, &LifeRule { events_per_class_max: 2, ..rule }).crowded_out, 6);
}

#[test]
fn the_gate_opens_for_gains_and_stays_shut_for_losses() {
    let clip = |found: u64, missed: u64| Confusion { true_positive: found, false_negative: missed, true_negative: 8, false_positive: 2 };
    let (good, bad) = (vec![clip(8, 2); 10], vec![clip(4, 6); 10]);
    let plan = BootstrapPlan { resamples: 100, seed: 1 };
    assert!(compare(&bad, &good, LOSS_MAX, &plan).open);
    let shut = compare(&good, &bad, LOSS_MAX, &plan);
    assert!(!shut.open && shut.gain < -0.1, "{shut:?}");
    assert!(compare(&good, &good, LOSS_MAX, &plan).open, "no loss is allowed");
    assert!(!compare(&[], &[], LOSS_MAX, &plan).open, "nothing to judge by");
    assert!(!compare(&good, &[Confusion::default()], LOSS_MAX, &plan).open, "one class only");
}

#[test]
fn the_tracking_threshold_follows_the_scores_within_bounds() {
    let around = |middle: f64| -> Vec<f64> { (0..400).map(|index| middle + f64::from(index % 20) / 10.0).collect() };
    let mut tracking = TrackingThreshold::anchored(3.0, &around(0.0));
    assert_eq!(tracking.current(), 3.0, "nothing recent yet");
    tracking.observe(&around(0.5));
    assert!((tracking.current() - 3.5).abs() < 1e-9, "{}", tracking.current());
    for _ in 0..RECENT_SCORES_MAX / 400 + 1 {
        tracking.observe(&around(50.0));
    }
    // One spread (interquartile range, 0.95 by interpolation) at most.
    assert!((tracking.current() - 3.95).abs() < 0.1, "{}", tracking.current());
    let fixed = TrackingThreshold::anchored(3.0, &[1.0; 10]);
    assert_eq!(fixed.current(), 3.0);
}

#[test]
fn the_poisoning_guard_holds_back_what_lies_beside_a_confirmed_anomaly() {
    let mut windows = embeddings(100);
    windows.push(&[1000.0; WIDTH]);
    let mut confirmed = Embeddings::default();
    confirmed.push(&[1000.5; WIDTH]);
    confirmed.push(&[1010.0; WIDTH]);
    let normal: Vec<u32> = (0..101).collect();
    let (kept, held) = hold_back(&normal, &windows, &confirmed, &[1, 2]);
    assert_eq!((kept.len(), held), (100, 1));
    assert!(!kept.contains(&100));
    // One event says nothing about how far anomalies lie apart.
    assert_eq!(hold_back(&normal, &windows, &confirmed, &[1, 1]).1, 0);
}

#[test]
fn the_audit_estimates_what_was_missed() {
    let audit = Audit { unflagged: 10_000, sampled: 200, missed_in_sample: 1, confirmed: 150 };
    let rate = audit.miss_rate().expect("a sample");
    // 10,000 * 1 / 200 = 50 missed, 150 found.
    assert!((rate.fnr - 0.25).abs() < 1e-12);
    // Clopper-Pearson of 1 in 200: 0.000127 to 0.027537 (checked with scipy.stats.binomtest(1, 200).proportion_ci()).
    assert!((rate.low - 1.2658 / 151.2658).abs() < 1e-3 && (rate.high - 275.37 / 425.37).abs() < 1e-3, "{rate:?}");
    assert!(Audit { sampled: 0, ..audit }.miss_rate().is_none());
    assert!(Audit { missed_in_sample: 0, confirmed: 0, ..audit }.miss_rate().is_none());
    let all = Audit { unflagged: 5, sampled: 5, missed_in_sample: 5, confirmed: 0 }.miss_rate().expect("a sample");
    assert_eq!((all.fnr, all.high), (1.0, 1.0));
}

proptest! {
    #[test]
    fn a_balanced_choice_is_balanced(labels in prop::collection::vec(any::<bool>(), 0..200), seed in any::<u64>()) {
        let chosen = balance(&labels, seed);
        let anomalous = chosen.iter().filter(|&&index| labels[index as usize]).count();
        let smaller = labels.iter().filter(|label| **label).count().min(labels.iter().filter(|label| !**label).count());
        assert_eq!((anomalous, chosen.len()), (smaller, 2 * smaller));
        assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn no_window_trains_as_both(scores in prop::collection::vec(-2.0..2.0_f64, 1..60), truth in prop::collection::vec(any::<bool>(), 60), seed in any::<u64>()) {
        let (origins, embeddings) = (origins(scores.len()), embeddings(scores.len()));
        let slice = ScoredSlice { scores: &scores, origins: &origins, embeddings: &embeddings, threshold: 0.3 };
        for methodology in METHODOLOGIES {
            let asked = ask(&methodology.recipe, &slice, &mut RollingMaxima::new(10), &mut Random::new(seed));
            let answers = answer(asked, &mut SimulatedAnnotator::new(&truth, 0.0, 1));
            let set = training_set(&methodology.recipe, &slice, &answers, &[]);
            assert!(set.normal.iter().all(|window| !set.anomalous.contains(window)));
            assert!(set.anomalous.is_empty() || methodology.recipe.supervised);
            assert!(set.normal.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
