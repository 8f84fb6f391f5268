//! Properties that hold for any scores: order, monotone maps, mirrored classes, and the bounds between figures.

use super::eer::{equal_error_rate, interpolated_rate};
use super::event::{intersection_over_union, match_events, runs};
use super::figures::figures;
use super::miss_rate::{miss_rate_at, ten_er};
use super::pr::auc_pr;
use super::quantile::quantile;
use super::roc::{auc_roc, roc};
use super::samples::Ranked;
use proptest::prelude::*;

/// Samples of both classes, few distinct scores so that ties are common.
fn pairs() -> impl Strategy<Value = Vec<(f64, bool)>> {
    let sample = (-6_i32..6, any::<bool>()).prop_map(|(score, is_anomalous)| (f64::from(score) / 4.0, is_anomalous));
    (prop::collection::vec(sample, 2..40))
        .prop_filter("both classes", |pairs| pairs.iter().any(|pair| pair.1) && pairs.iter().any(|pair| !pair.1))
}

fn ranked(pairs: &[(f64, bool)]) -> Ranked {
    Ranked::of_pairs(pairs.iter().copied()).expect("both classes, finite")
}

/// The most pairs one to one by trying everything.
fn most_pairs(truth: &[std::ops::Range<usize>], found: &[std::ops::Range<usize>], iou_min: f64) -> u64 {
    let Some((event, rest)) = truth.split_first() else { return 0 };
    let without = most_pairs(rest, found, iou_min);
    found.iter().enumerate().fold(without, |best, (index, candidate)| {
        let overlap = intersection_over_union(event, candidate);
        if overlap <= 0.0 || overlap < iou_min {
            return best;
        }
        let others = [&found[..index], &found[index + 1..]].concat();
        best.max(1 + most_pairs(rest, &others, iou_min))
    })
}

proptest! {
    #[test]
    fn the_order_of_samples_is_of_no_account(pairs in pairs(), seed in any::<u64>()) {
        let mut shuffled = pairs.clone();
        alfred_synth::random::Random::new(seed).shuffle(&mut shuffled);
        prop_assert_eq!(figures(&ranked(&pairs)), figures(&ranked(&shuffled)));
    }

    #[test]
    fn a_monotone_map_moves_thresholds_only(pairs in pairs()) {
        let mapped: Vec<(f64, bool)> = pairs.iter().map(|&(score, label)| (score.exp() * 3.0 - 10.0, label)).collect();
        let (plain, mapped) = (figures(&ranked(&pairs)), figures(&ranked(&mapped)));
        prop_assert_eq!((plain.auc_roc, plain.auc_pr, plain.eer, plain.ten_er), (mapped.auc_roc, mapped.auc_pr, mapped.eer, mapped.ten_er));
        prop_assert_eq!((plain.ebi, plain.f1, plain.h_prs), (mapped.ebi, mapped.f1, mapped.h_prs));
    }

    #[test]
    fn negated_scores_mirror_the_area(pairs in pairs()) {
        let negated: Vec<(f64, bool)> = pairs.iter().map(|&(score, label)| (-score, label)).collect();
        prop_assert!((auc_roc(&ranked(&pairs)) + auc_roc(&ranked(&negated)) - 1.0).abs() < 1e-12);
        let exchanged: Vec<(f64, bool)> = negated.iter().map(|&(score, label)| (score, !label)).collect();
        prop_assert!((interpolated_rate(&ranked(&pairs)) - interpolated_rate(&ranked(&exchanged))).abs() < 1e-12);
        // What is a miss here is a false alarm there.
        prop_assert!((ten_er(&ranked(&pairs)) - miss_rate_at(&ranked(&exchanged), 0.1)).abs() < 1e-12);
    }

    #[test]
    fn every_sample_twice_changes_nothing(pairs in pairs()) {
        let twice: Vec<(f64, bool)> = pairs.iter().chain(&pairs).copied().collect();
        let (once, twice) = (figures(&ranked(&pairs)), figures(&ranked(&twice)));
        prop_assert_eq!(once.eer_threshold, twice.eer_threshold);
        prop_assert!((once.auc_roc - twice.auc_roc).abs() + (once.auc_pr - twice.auc_pr).abs() + (once.ten_er - twice.ten_er).abs() < 1e-12);
    }

    #[test]
    fn the_area_is_the_share_of_pairs_won_and_that_under_the_curve(pairs in pairs()) {
        let of = |class: bool| pairs.iter().filter(move |pair| pair.1 == class).map(|pair| pair.0);
        let (mut won, mut all) = (0.0, 0.0);
        for anomalous in of(true) {
            for normal in of(false) {
                won += if anomalous > normal { 1.0 } else if anomalous == normal { 0.5 } else { 0.0 };
                all += 1.0;
            }
        }
        let ranked = ranked(&pairs);
        prop_assert!((auc_roc(&ranked) - won / all).abs() < 1e-12);
        let area: f64 = roc(&ranked)
            .windows(2)
            .map(|ends| (ends[1].false_positive_rate - ends[0].false_positive_rate) * 0.5 * (ends[0].true_positive_rate + ends[1].true_positive_rate))
            .sum();
        prop_assert!((auc_roc(&ranked) - area).abs() < 1e-12);
        prop_assert!((0.0..=1.0).contains(&auc_pr(&ranked)));
    }

    #[test]
    fn no_candidate_balances_the_errors_better_than_the_eer_threshold(pairs in pairs()) {
        let ranked = ranked(&pairs);
        let eer = equal_error_rate(&ranked);
        let counts = ranked.at(eer.threshold);
        prop_assert_eq!((counts.false_positive_rate(), counts.false_negative_rate()), (Some(eer.false_positive_rate), Some(eer.false_negative_rate)));
        let gap = (eer.false_positive_rate - eer.false_negative_rate).abs();
        for candidate in ranked.candidates() {
            let rates = candidate.confusion.false_positive_rate().zip(candidate.confusion.false_negative_rate()).expect("both classes");
            prop_assert!(gap <= (rates.0 - rates.1).abs());
        }
        let crossing = interpolated_rate(&ranked);
        prop_assert!((miss_rate_at(&ranked, crossing) - crossing).abs() < 1e-9 || miss_rate_at(&ranked, crossing) < crossing);
    }

    #[test]
    fn the_miss_rate_falls_with_the_false_positive_rate(pairs in pairs(), a in 0.0..1.0, b in 0.0..1.0) {
        let ranked = ranked(&pairs);
        prop_assert!(miss_rate_at(&ranked, f64::min(a, b)) >= miss_rate_at(&ranked, f64::max(a, b)) - 1e-12);
    }

    #[test]
    fn events_are_matched_as_often_as_possible(
        truth in prop::collection::vec(any::<bool>(), 24), found in prop::collection::vec(any::<bool>(), 24), iou_min in 0.0..0.8,
    ) {
        let (truth, found) = (runs(&truth), runs(&found));
        prop_assume!(truth.len() <= 6 && found.len() <= 6);
        prop_assert_eq!(match_events(&truth, &found, iou_min).matched, most_pairs(&truth, &found, iou_min));
    }

    #[test]
    fn quantiles_rise_and_stay_within(mut numbers in prop::collection::vec(-1e3..1e3, 1..30), a in 0.0..1.0, b in 0.0..1.0) {
        numbers.sort_unstable_by(f64::total_cmp);
        let at = |p| quantile(&numbers, p).expect("numbers");
        prop_assert!(at(f64::min(a, b)) <= at(f64::max(a, b)) + 1e-9);
        prop_assert!((numbers[0]..=numbers[numbers.len() - 1]).contains(&at(a)));
    }
}
