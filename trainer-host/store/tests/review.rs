//! Incidents, verdicts about several items, snooze rules, queue policies, second looks and the meter.

mod support;

use alfred_store::item::ItemKind;
use alfred_store::label::{NewLabel, Verdict};
use alfred_store::policy::{DAY_MS, QueuePolicy};
use alfred_store::queue::{Page, QueueFilter, Strategy};
use alfred_store::snooze::NewSnooze;
use alfred_store::{Store, StoreError};
use support::{CAMERA, NOW, event_from, lone_event, number, sample, store, take};

fn say(store: &mut Store, reviewer: &str, item: i64, verdict: Verdict, with_similar: bool) -> u32 {
    let request = format!("{reviewer} {item} {}", verdict.as_str());
    let new = NewLabel { item, reviewer, verdict, seconds: 2.0, strategy: Strategy::Al, request: &request, with_similar };
    store.label(&new, NOW).expect("said").labelled
}

fn filter(strategy: Strategy) -> QueueFilter {
    QueueFilter { camera: Some(CAMERA.to_owned()), strategy, now_ms: NOW, items_max: 100, ..QueueFilter::default() }
}

fn page(store: &Store, reviewer: &str, filter: &QueueFilter) -> Page {
    store.queue_page(reviewer, filter, None).expect("a queue")
}

fn ids(page: &Page) -> Vec<i64> {
    page.items.iter().map(|waiting| waiting.item.id).collect()
}

#[test]
fn events_of_one_happening_are_one_incident_and_one_verdict_can_be_about_all() {
    let (folder, mut store) = store();
    // The same person with short breaks, then 3,000 frames later.
    let near: Vec<i64> = (1..=3).map(|at| event_from(&mut store, at, 1.0 + at as f32, 100 + 100 * at)).collect();
    let far = event_from(&mut store, 4, 9.0, 10_000);
    let grouped = page(&store, "anna", &QueueFilter { is_grouped: true, ..filter(Strategy::HighestScore) });
    assert_eq!((ids(&grouped), grouped.waiting), (vec![far, near[2]], 2));
    assert_eq!((grouped.items[0].similar, grouped.items[1].similar), (0, 2));
    assert_eq!(page(&store, "anna", &filter(Strategy::HighestScore)).waiting, 4);
    let similar: Vec<i64> = store.similar(near[0]).expect("there").iter().map(|item| item.id).collect();
    assert_eq!(similar, near[1..]);
    assert!(store.similar(far).expect("there").is_empty());
    assert_eq!(say(&mut store, "anna", near[2], Verdict::Normal, true), 3);
    assert_eq!(page(&store, "anna", &filter(Strategy::Newest)).waiting, 1);
    let again = NewLabel {
        item: near[2],
        reviewer: "anna",
        verdict: Verdict::Normal,
        seconds: 2.0,
        strategy: Strategy::Al,
        request: &format!("anna {} normal", near[2]),
        with_similar: true,
    };
    let again = store.label(&again, NOW).expect("the same request");
    assert!(!again.is_new && again.labelled == 3);
    let undone = store.undo("anna", None, "back", NOW).expect("taken back");
    assert_eq!((undone.item, undone.labelled), (near[2], 3));
    assert!(!store.undo("anna", None, "back", NOW).expect("the same request").is_new);
    assert_eq!(page(&store, "anna", &filter(Strategy::Newest)).waiting, 4, "one undo takes all of them back");
    assert!(matches!(store.undo("anna", None, "more", NOW), Err(StoreError::NothingToUndo(_))));
    assert_eq!(number(&folder.path().join("host.sqlite"), "SELECT count(*) FROM labels"), 6);
    say(&mut store, "anna", near[0], Verdict::Anomalous, false);
    let grouped = page(&store, "anna", &QueueFilter { is_grouped: true, ..filter(Strategy::Newest) });
    assert_eq!(ids(&grouped), [far], "one verdict answers for its incident");
    let figures = store.playback(far).expect("there").event.expect("an event");
    assert_eq!((figures.peak_frame, figures.peak_score, figures.anomalous_frames), (10_010, 9.0, 20));
}

#[test]
fn a_snooze_rule_hides_its_place_until_it_ends_and_no_higher_score() {
    let (_folder, mut store) = store();
    // One place: the poses of the test's person walk a pixel a frame, so a frame number is a place.
    let first = event_from(&mut store, 1, 2.0, 1000);
    let same = event_from(&mut store, 2, 1.5, 1005);
    let higher = event_from(&mut store, 3, 2.5, 1002);
    let elsewhere = event_from(&mut store, 4, 1.5, 9000);
    let new = NewSnooze { item: first, hours: 2, radius_px: Some(20.0), score_max: None, reason: "a mannequin" };
    let rule = store.snooze(&new, "anna", NOW).expect("made");
    assert!(rule.is_live && rule.hides == 2 && rule.made_by == "anna" && rule.expires_ms == NOW + 7_200_000, "{rule:?}");
    let mut shown = ids(&page(&store, "anna", &filter(Strategy::Newest)));
    shown.sort_unstable();
    assert_eq!(shown, [higher, elsewhere]);
    let mut hidden = ids(&page(&store, "anna", &QueueFilter { is_snoozed: true, ..filter(Strategy::Newest) }));
    hidden.sort_unstable();
    assert_eq!(hidden, [first, same]);
    assert_eq!(page(&store, "anna", &QueueFilter { now_ms: rule.expires_ms, ..filter(Strategy::Newest) }).waiting, 4, "it expires");
    let meter = store.meter(Some(CAMERA), 0, NOW).expect("measured");
    assert_eq!((meter.full_al.flagged, meter.full_al.by_snooze), (4, 2));
    let ended = store.end_snooze(rule.id, "ben", NOW + 5).expect("ended");
    assert_eq!((ended.ended_by.as_deref(), ended.is_live), (Some("ben"), false));
    assert_eq!(store.end_snooze(rule.id, "carl", NOW + 9).expect("over already").ended_by.as_deref(), Some("ben"));
    assert_eq!(page(&store, "anna", &filter(Strategy::Newest)).waiting, 4);
    assert_eq!(store.snoozes(NOW).expect("listed").len(), 1, "what is over stays visible");
    let log = store.audit(None, 10).expect("a log");
    assert!(log.iter().any(|line| line.what == "snooze" && line.who == "anna") && log.iter().any(|line| line.what == "end snooze"));
    let refused = |store: &mut Store, new: NewSnooze<'_>| store.snooze(&new, "anna", NOW).expect_err("refused");
    for bad in [
        NewSnooze { hours: 0, ..new },
        NewSnooze { hours: 169, ..new },
        NewSnooze { radius_px: Some(f64::NAN), ..new },
        NewSnooze { radius_px: Some(0.0), ..new },
        NewSnooze { score_max: Some(f64::INFINITY), ..new },
        NewSnooze { reason: "", ..new },
    ] {
        assert!(matches!(refused(&mut store, bad), StoreError::Range { .. }), "{bad:?}");
    }
    assert!(matches!(refused(&mut store, NewSnooze { item: 999, ..new }), StoreError::Unknown { .. }));
    take(&mut store, 1, 900, &sample(7, 0.1));
    let samples = page(&store, "anna", &QueueFilter { kind: Some(ItemKind::Sample), ..filter(Strategy::Newest) });
    let refused = refused(&mut store, NewSnooze { item: samples.items[0].item.id, ..new });
    assert!(matches!(refused, StoreError::Range { .. }), "samples are never snoozed");
}

#[test]
fn a_policy_mixes_its_shares_and_keeps_its_budget() {
    let (_folder, mut store) = store();
    for at in 1..=20 {
        lone_event(&mut store, at, 1.0 + at as f32 / 10.0);
        take(&mut store, 1, 5000 + at, &sample(7, 0.1));
    }
    let policy =
        QueuePolicy { strategy: Strategy::Al, labels_per_day: Some(10), audit_share: 0.2, repeat_share: 0.0, groups_similar: true };
    store.set_queue_policy(CAMERA, &policy, "ole", NOW).expect("set");
    assert_eq!(store.queue_policy(CAMERA).expect("there"), policy);
    let asked = store.queue_by_policy("anna", &filter(Strategy::Newest), None).expect("a queue");
    let kinds: Vec<ItemKind> = asked.page.items.iter().map(|waiting| waiting.item.kind).collect();
    assert_eq!((kinds.len(), kinds.iter().filter(|kind| **kind == ItemKind::Sample).count()), (10, 2), "{kinds:?}");
    assert_eq!((asked.page.waiting, asked.budget.left_today), (20, Some(10)));
    assert!(asked.page.items.iter().all(|waiting| (waiting.strategy == Strategy::Audit) == (waiting.item.kind == ItemKind::Sample)));
    let order = ids(&asked.page);
    // A verdict at a time, as the page asks: the same items in the same order, and then nothing till midnight.
    for (at, item) in order.iter().enumerate() {
        let asked = store.queue_by_policy("anna", &filter(Strategy::Newest), None).expect("a queue");
        assert_eq!((ids(&asked.page)[0], asked.budget.left_today), (*item, Some(10 - at as u32)));
        say(&mut store, "anna", *item, Verdict::Normal, false);
    }
    let spent = store.queue_by_policy("anna", &filter(Strategy::Newest), None).expect("a queue");
    assert_eq!((spent.page.items.len(), spent.budget.left_today), (0, Some(0)));
    let tomorrow = QueueFilter { now_ms: NOW + DAY_MS, ..filter(Strategy::Newest) };
    assert_eq!(store.queue_by_policy("anna", &tomorrow, None).expect("a queue").page.items.len(), 10);
    let mut refused = |policy: QueuePolicy| store.set_queue_policy(CAMERA, &policy, "ole", NOW).expect_err("refused");
    for bad in [
        QueuePolicy { strategy: Strategy::Audit, ..policy },
        QueuePolicy { audit_share: 0.6, ..policy },
        QueuePolicy { repeat_share: f64::NAN, ..policy },
        QueuePolicy { labels_per_day: Some(u32::MAX), ..policy },
    ] {
        assert!(matches!(refused(bad), StoreError::Range { .. }), "{bad:?}");
    }
    assert!(matches!(store.queue_policy("nowhere"), Err(StoreError::Unknown { .. })));
}

#[test]
fn strategies_choose_what_they_say() {
    let (_folder, mut store) = store();
    let items: Vec<i64> = (1..=6).map(|at| lone_event(&mut store, at, 1.0 + at as f32)).collect();
    assert_eq!(ids(&page(&store, "anna", &filter(Strategy::Al))), items);
    assert_eq!(ids(&page(&store, "anna", &filter(Strategy::NearThreshold))), items);
    let light = ids(&page(&store, "anna", &filter(Strategy::AlLight)));
    assert_eq!(light, items[..3], "up to the median score, 4.5");
    let random = |seed| ids(&page(&store, "anna", &QueueFilter { seed, ..filter(Strategy::Random) }));
    assert_eq!(random(1), random(1));
    assert!((0..20).any(|seed| random(seed) != random(1)));
    let spread = |features: &[Vec<f32>], count: usize| (0..features.len()).rev().take(count).collect();
    let chosen = store.queue_page("anna", &QueueFilter { items_max: 2, ..filter(Strategy::MarginDiversity) }, Some(&spread));
    let chosen = chosen.expect("a queue");
    assert_eq!((ids(&chosen), chosen.waiting), (vec![items[5], items[4]], 6), "among three times two near the threshold");
}

#[test]
fn conflicts_go_to_a_second_look_until_somebody_yields_or_a_third_decides() {
    let (_folder, mut store) = store();
    let items: Vec<i64> = (1..=2).map(|at| lone_event(&mut store, at, 2.0)).collect();
    for item in &items {
        say(&mut store, "anna", *item, Verdict::Anomalous, false);
        say(&mut store, "ben", *item, Verdict::Normal, false);
    }
    let second = |store: &Store, reviewer: &str| ids(&page(store, reviewer, &filter(Strategy::SecondLook)));
    assert_eq!((second(&store, "anna"), second(&store, "ben"), second(&store, "carl")), (items.clone(), vec![], items.clone()));
    let conflicts = store.conflicts(Some(CAMERA), 10).expect("listed");
    assert_eq!((conflicts.len(), conflicts[0].anomalous, conflicts[0].normal, conflicts[0].item.verdicts.len()), (2, 1, 1, 2));
    say(&mut store, "anna", items[0], Verdict::Normal, false);
    say(&mut store, "carl", items[1], Verdict::Anomalous, false);
    assert!(second(&store, "anna").is_empty() && second(&store, "dora").is_empty());
    assert!(store.conflicts(None, 10).expect("listed").is_empty());
}

#[test]
fn skipped_items_come_back() {
    let (_folder, mut store) = store();
    let item = lone_event(&mut store, 1, 2.0);
    store.skip(item, "anna", NOW + 1000).expect("skipped");
    assert_eq!((page(&store, "anna", &filter(Strategy::Newest)).waiting, page(&store, "ben", &filter(Strategy::Newest)).waiting), (0, 1));
    assert_eq!(page(&store, "anna", &QueueFilter { now_ms: NOW + 1000, ..filter(Strategy::Newest) }).waiting, 1);
    store.skip(item, "anna", 0).expect("wanted again");
    assert_eq!(page(&store, "anna", &filter(Strategy::Newest)).waiting, 1);
    assert!(matches!(store.skip(99, "anna", NOW), Err(StoreError::Unknown { .. })));
}

#[test]
fn the_meter_counts_work_and_what_full_active_learning_would_have_asked() {
    let (_folder, mut store) = store();
    // Ten incidents of two events each, scores 2 to 11.
    for at in 1..=10_u64 {
        event_from(&mut store, 2 * at, 1.0 + at as f32, 100_000 * at);
        event_from(&mut store, 2 * at + 1, 1.0 + at as f32, 100_000 * at + 50);
    }
    let policy = QueuePolicy { audit_share: 0.0, repeat_share: 0.0, ..QueuePolicy::default() };
    store.set_queue_policy(CAMERA, &policy, "ole", NOW).expect("set");
    let full = store.meter(Some(CAMERA), 0, NOW).expect("measured").full_al;
    assert_eq!((full.flagged, full.asked, full.by_threshold_band, full.by_group, full.by_snooze), (20, 5, 10, 5, 0));
    assert_eq!(full.saved_share, Some(0.75));
    let first = page(&store, "anna", &QueueFilter { is_grouped: true, ..filter(Strategy::AlLight) }).items[0].item.id;
    say(&mut store, "anna", first, Verdict::Normal, true);
    let meter = store.meter(None, 0, NOW).expect("measured");
    assert_eq!((meter.full_al.flagged, meter.full_al.asked), (20, 5), "a verdict moves no event from one pile to another");
    assert_eq!((meter.verdicts, meter.seconds_per_verdict, meter.verdicts_per_hour), (1, Some(2.0), Some(1800.0)));
    assert_eq!((meter.budgets[0].used_today, meter.budgets[0].left_today), (1, None));
    assert!(matches!(store.meter(Some("nowhere"), 0, NOW), Err(StoreError::Unknown { .. })));
}
