//! What the cycle keeps: evaluations, scores of the validation set, requests, where it stands; and how older files come to hold it.

mod support;

use alfred_store::cycle::{CycleState, Phase, ValidationItem};
use alfred_store::evaluation::{Evaluation, Outcome, ValidationScore};
use alfred_store::label::{NewLabel, Verdict};
use alfred_store::queue::Strategy;
use alfred_store::request::{RequestKind, WAITING_MAX};
use alfred_store::{Store, StoreError};
use serde_json::json;
use support::{CAMERA, NOW, sample, store, take, whole_event};

fn judged() -> Evaluation {
    Evaluation {
        id: 0,
        camera: CAMERA.to_owned(),
        revision: Some(3),
        at_ms: NOW,
        outcome: Outcome::Promoted,
        reason: "EBI 0.71, in force 0.52".to_owned(),
        policy: "eer".to_owned(),
        threshold: Some(1.25),
        eer: Some(0.2),
        eer_low: Some(0.1),
        eer_high: Some(0.3),
        ebi: Some(0.7),
        ebi_low: None,
        ebi_high: None,
        auc: None,
        auc_low: None,
        auc_high: None,
        fnr: Some(0.2),
        fpr: Some(0.2),
        source_ebi: Some(0.1),
        validation_events: 12,
        validation_normals: 6,
        validation_anomalies: 6,
        validation_sha256: "ab".repeat(32),
        labels_used: 30,
    }
}

#[test]
fn evaluations_come_back_as_they_were_given_and_are_audited() {
    let (_folder, mut store) = store();
    let first = store.add_evaluation(&judged(), "host").expect("kept");
    let refused = Evaluation { revision: None, outcome: Outcome::Refused, threshold: None, eer: None, ..judged() };
    let second = store.add_evaluation(&refused, "host").expect("kept");
    let found = store.evaluations(Some(CAMERA), 9).expect("found");
    assert_eq!(found, [Evaluation { id: second, ..refused }, Evaluation { id: first, ..judged() }]);
    assert_eq!(store.evaluations(None, 1).expect("found").len(), 1);
    assert!(store.evaluations(Some("elsewhere"), 9).expect("found").is_empty());
    let audited = store.audit(None, 9).expect("audit");
    assert!(audited.iter().any(|line| line.what == "candidate refused") && audited.iter().any(|line| line.what == "candidate promoted"));
    let nowhere = Evaluation { camera: "elsewhere".into(), ..judged() };
    assert!(matches!(store.add_evaluation(&nowhere, "host"), Err(StoreError::Unknown { .. })));
    let not_finite = Evaluation { threshold: Some(f64::NAN), ..judged() };
    assert!(matches!(store.add_evaluation(&not_finite, "host"), Err(StoreError::Range { .. })));
}

#[test]
fn scores_of_the_validation_set_are_replaced_and_old_revisions_forgotten() {
    let (_folder, mut store) = store();
    let scores = |shift: f64| {
        [
            ValidationScore { item: 1, is_anomalous: true, score: 2.0 + shift },
            ValidationScore { item: 2, is_anomalous: false, score: 1.0 + shift },
        ]
    };
    for revision in 0..=10 {
        store.set_validation_scores(CAMERA, revision, &scores(revision as f64)).expect("kept");
    }
    store.set_validation_scores(CAMERA, 10, &scores(0.5)).expect("replaced");
    let found = store.validation_scores(CAMERA, 10).expect("found");
    assert_eq!(found.iter().map(|one| (one.item, one.score)).collect::<Vec<_>>(), [(2, 1.5), (1, 2.5)]);
    assert_eq!(store.validation_scores(CAMERA, 0).expect("found").len(), 2);
    assert!(store.validation_scores(CAMERA, 2).expect("found").is_empty());
    assert_eq!(store.validation_scores(CAMERA, 3).expect("found").len(), 2);
    let bad = [ValidationScore { item: 1, is_anomalous: true, score: f64::INFINITY }];
    assert!(matches!(store.set_validation_scores(CAMERA, 10, &bad), Err(StoreError::Range { .. })));
    assert_eq!(store.validation_scores(CAMERA, 10).expect("found").len(), 2, "what is refused changes nothing");
}

#[test]
fn requests_wait_in_order_are_served_once_and_have_a_bound() {
    let (_folder, mut store) = store();
    let ask = |store: &mut Store, kind, argument| store.ask_cycle(CAMERA, kind, &argument, "ann", NOW);
    let first = ask(&mut store, RequestKind::Threshold, json!({"threshold": 1.25})).expect("kept");
    let second = ask(&mut store, RequestKind::FineTune, json!({})).expect("kept");
    for wrong in [json!({}), json!({"threshold": "1"}), json!({"threshold": 1e300}), json!([1.0])] {
        assert!(matches!(ask(&mut store, RequestKind::Threshold, wrong), Err(StoreError::Range { .. })));
    }
    assert!(matches!(store.ask_cycle("elsewhere", RequestKind::Hold, &json!({}), "ann", NOW), Err(StoreError::Unknown { .. })));
    let waiting: Vec<i64> = store.waiting_requests().expect("waiting").iter().map(|request| request.id).collect();
    assert_eq!(waiting, [first, second]);
    store.settle_request(first, "revision 4", NOW + 5).expect("served");
    store.settle_request(first, "something else", NOW + 9).expect("no harm");
    let served = store.request(first).expect("there");
    assert_eq!(
        (served.done_ms, served.outcome.as_deref(), &served.argument),
        (Some(NOW + 5), Some("revision 4"), &json!({"threshold": 1.25}))
    );
    assert_eq!(store.waiting_requests().expect("waiting").len(), 1);
    for _ in 1..WAITING_MAX {
        ask(&mut store, RequestKind::Hold, json!({})).expect("kept");
    }
    assert!(matches!(ask(&mut store, RequestKind::Hold, json!({})), Err(StoreError::Range { .. })));
    assert!(matches!(store.settle_request(999, "x", NOW), Err(StoreError::Unknown { .. })));
}

#[test]
fn items_are_judged_by_the_majority_and_slices_go_on_where_they_ended() {
    let (_folder, mut store) = store();
    let events: Vec<i64> = [1, 2, 3].map(|number| whole_event(&mut store, number, 2.0)).into();
    take(&mut store, 3, 1, &sample(9, 0.1));
    let say = |store: &mut Store, reviewer: &str, item, verdict| {
        let request = format!("{reviewer} {item} {verdict:?}");
        let label = NewLabel { item, reviewer, verdict, seconds: 1.0, strategy: Strategy::Newest, request: &request, with_similar: false };
        store.label(&label, NOW).expect("said");
    };
    say(&mut store, "ann", events[0], Verdict::Normal);
    say(&mut store, "bob", events[0], Verdict::Unsure);
    say(&mut store, "ann", events[1], Verdict::Normal);
    say(&mut store, "bob", events[1], Verdict::Anomalous);
    say(&mut store, "ann", events[2], Verdict::Normal);
    say(&mut store, "ann", events[2], Verdict::Anomalous);
    let found = store.judged_items(CAMERA, 0).expect("items");
    let said: Vec<Option<bool>> = found.iter().map(|judged| judged.is_anomalous).collect();
    assert_eq!(said, [Some(false), None, Some(true), None], "a later verdict of the same person counts in place of the earlier");
    assert_eq!(store.judged_items(CAMERA, events[1]).expect("items").len(), 2);
    let until: Vec<i64> = store.judged_items_until(CAMERA, events[1]).expect("items").iter().map(|judged| judged.item.id).collect();
    assert_eq!(until, [events[0]]);
    let state = store.cycle_state(CAMERA).expect("a state");
    assert_eq!((state.phase, state.slice, state.item_last), (Phase::WarmUp, 0, 0));
    let next = CycleState { phase: Phase::ActiveLearning, slice: 1, item_last: events[2], is_held: true, changed_ms: NOW, ..state };
    store.set_cycle_state(&next, "host").expect("kept");
    assert_eq!(store.cycle_state(CAMERA).expect("a state"), next);
    let audited: Vec<String> = store.audit(None, 2).expect("audit").into_iter().map(|line| line.what).collect();
    assert_eq!(audited, ["hold", "close slice"]);
}

#[test]
fn what_leaves_the_validation_set_is_remembered() {
    let (_folder, mut store) = store();
    let events: Vec<i64> = [1, 2, 3].map(|number| whole_event(&mut store, number, 2.0)).into();
    let one = |item, is_anomalous, has_left| ValidationItem { item, is_anomalous, weight: 2.5, slice: 3, has_left };
    store.set_validation_items(CAMERA, &[one(events[0], true, false), one(events[1], false, false)], NOW).expect("kept");
    store.set_validation_items(CAMERA, &[one(events[1], false, false), one(events[2], true, false)], NOW + 1).expect("kept");
    let expected = [one(events[0], true, true), one(events[1], false, false), one(events[2], true, false)];
    assert_eq!(store.validation_items(CAMERA).expect("a set"), expected);
    assert!(store.set_validation_items(CAMERA, &[one(999, true, false)], NOW).is_err());
    assert_eq!(store.validation_items(CAMERA).expect("a set"), expected, "what is refused changes nothing");
}

#[test]
fn a_file_of_the_first_version_gains_the_new_tables_and_keeps_its_rows() {
    let (folder, mut store) = store();
    let kept = whole_event(&mut store, 1, 2.0);
    let newest = store.schema_version().expect("a version");
    drop(store);
    let file = folder.path().join("host.sqlite");
    let connection = rusqlite::Connection::open(&file).expect("opens");
    // The third step's, then the second's.
    connection.execute_batch("DROP VIEW conflicts; DROP INDEX labels_by_follows; ALTER TABLE labels DROP COLUMN follows").expect("drops");
    connection.execute_batch("DROP INDEX labels_by_time; DROP INDEX items_by_event").expect("drops");
    let third = ["likenesses", "skips", "snoozes", "queue_policies"];
    let second = ["evaluations", "validation_scores", "cycle_requests", "cycle_states", "validation_items"];
    for table in third.into_iter().chain(second) {
        connection.execute_batch(&format!("DROP TABLE {table}")).expect("drops");
    }
    connection.execute_batch("PRAGMA user_version = 1").expect("writes");
    drop(connection);
    let mut store = Store::open(&file).expect("migrates");
    assert_eq!(store.schema_version().expect("a version"), newest);
    assert_eq!(store.item(kept).expect("there").id, kept);
    store.add_evaluation(&judged(), "host").expect("the new tables are there");
}
