//! Records are kept exactly once, whatever comes, in whatever order.

mod support;

use alfred_store::queue::{QueueFilter, Strategy};
use alfred_store::record::Stored;
use alfred_store::{Store, StoreError};
use alfred_wire::link::RecordId;
use alfred_wire::output::Kind;
use alfred_wire::record::Priority;
use support::{CAMERA, DEVICE, NOW, event, number, sample, segment, store, take};

const ALL: QueueFilter = QueueFilter {
    camera: None,
    kind: None,
    score_min: None,
    score_max: None,
    bundle_revision: None,
    since_ms: None,
    until_ms: None,
    strategy: Strategy::Oldest,
    seed: 0,
    second_opinions: false,
    is_grouped: false,
    is_snoozed: false,
    now_ms: 0,
    items_max: 100,
};

#[test]
fn a_repeated_record_is_known_and_changes_nothing() {
    let (folder, mut store) = store();
    let body = event(7, Kind::New, 2.0);
    assert_eq!(take(&mut store, u64::MAX, 1, &body), Stored::New);
    assert_eq!(take(&mut store, u64::MAX, 1, &body), Stored::Known);
    assert_eq!(take(&mut store, u64::MAX - 1, 1, &body), Stored::New, "another boot is another record");
    assert_eq!(take(&mut store, u64::MAX, 1, &event(8, Kind::New, 2.0)), Stored::Aside, "another content under the same id");
    let file = folder.path().join("host.sqlite");
    assert_eq!(number(&file, "SELECT count(*) FROM records"), 2);
    assert_eq!(number(&file, "SELECT count(*) FROM records_aside"), 1);
    assert_eq!(number(&file, "SELECT count(*) FROM items"), 2);
}

#[test]
fn what_cannot_be_read_is_kept_and_counted() {
    let (_folder, mut store) = store();
    assert_eq!(take(&mut store, 1, 1, b"\x01nonsense"), Stored::Unreadable);
    assert_eq!(take(&mut store, 1, 1, b"\x01nonsense"), Stored::Known);
    assert!(store.counts().expect("counts").iter().any(|count| count.kind == "unreadable" && count.count == 1));
}

#[test]
fn events_and_segments_make_one_item_in_any_order() {
    let messages = [
        (1, event(7, Kind::New, 1.5)),
        (2, event(7, Kind::Update, 3.0)),
        (3, segment(7, 0, false, 90..110)),
        (4, event(7, Kind::EndScoreFell, 3.0)),
        (5, segment(7, 1, true, 105..131)),
    ];
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1]] {
        let (_folder, mut store) = store();
        for at in order {
            take(&mut store, 1, messages[at].0, &messages[at].1);
        }
        let queue = store.queue("anna", &ALL).expect("a queue");
        assert_eq!(queue.len(), 1, "{order:?}");
        let item = &queue[0];
        assert_eq!((item.score, item.threshold, item.has_ended, item.parts, item.number), (3.0, Some(1.0), true, 2, 7), "{order:?}");
        assert_eq!((item.first_frame, item.last_frame, item.camera.as_str()), (100, 120, CAMERA), "{order:?}");
        let playback = store.playback(item.id).expect("plays");
        assert!(playback.has_last_part && !playback.is_incomplete);
        let frames: Vec<u64> = playback.frames.iter().map(|frame| frame.frame).collect();
        assert_eq!(frames, (90..131).collect::<Vec<_>>(), "overlapping parts show each frame once");
        assert!(playback.frames.iter().all(|frame| frame.persons.len() == 2 && frame.persons[0].keypoints.len() == 17));
        assert_eq!(playback.frames[1].at_ms, 40.0);
        assert_eq!(playback.frames[1].persons[0].keypoints[2], [93.0, 4.0, 1.0]);
    }
}

#[test]
fn an_event_waits_until_it_has_ended_or_its_device_started_anew() {
    let (_folder, mut store) = store();
    take(&mut store, 1, 1, &event(7, Kind::New, 1.5));
    take(&mut store, 1, 2, &segment(7, 0, false, 90..110));
    assert!(store.queue("anna", &ALL).expect("a queue").is_empty());
    let name = |text| alfred_wire::name::Name::new(text).expect("a name");
    let hello =
        alfred_wire::link::Hello { device: name(DEVICE), camera: name(CAMERA), boot: 2, fingerprint: 9, bundle_revision: 0, now_ns: 0 };
    store.hello(&hello, false, NOW).expect("welcome");
    assert_eq!(store.queue("anna", &ALL).expect("a queue").len(), 1);
    let wrong = alfred_wire::link::Hello { camera: name("yard"), ..hello };
    assert!(matches!(store.hello(&wrong, true, NOW), Err(StoreError::WrongCamera { .. })));
    store.enrol(DEVICE, CAMERA, true, "host", NOW).expect("enrols anew");
    assert!(matches!(store.hello(&hello, false, NOW), Err(StoreError::Unproved(_))));
    store.hello(&hello, true, NOW).expect("welcome");
    store.revoke_device(DEVICE, "host", NOW).expect("revokes");
    assert!(matches!(store.hello(&hello, true, NOW), Err(StoreError::Revoked(_))));
}

#[test]
fn unknown_devices_are_refused_whole() {
    let (folder, mut store) = store();
    let body = event(1, Kind::New, 1.5);
    let incoming = alfred_store::record::Incoming { id: RecordId { boot: 1, sequence: 1 }, priority: Priority::Event, body: &body };
    assert!(matches!(store.take_records("stranger", &[incoming], NOW), Err(StoreError::Unknown { .. })));
    assert_eq!(number(&folder.path().join("host.sqlite"), "SELECT count(*) FROM records"), 0);
}

#[test]
fn filters_and_strategies_choose_and_order() {
    let (_folder, mut store) = store();
    for (at, score) in [1.1, 5.0, 2.0, 1.4, 9.0].into_iter().enumerate() {
        support::whole_event(&mut store, at as u64 + 1, score);
    }
    for person in 0..20 {
        take(&mut store, 3, u64::from(person), &sample(person, 0.1));
    }
    let numbers = |filter: QueueFilter| store.queue("anna", &filter).expect("a queue").iter().map(|item| item.number).collect::<Vec<_>>();
    let events = QueueFilter { kind: Some(alfred_store::item::ItemKind::Event), ..ALL };
    assert_eq!(numbers(QueueFilter { strategy: Strategy::NearThreshold, ..events.clone() }), [1, 4, 3, 2, 5]);
    assert_eq!(numbers(QueueFilter { strategy: Strategy::HighestScore, items_max: 2, ..events.clone() }), [5, 2]);
    assert_eq!(numbers(QueueFilter { score_min: Some(2.0), score_max: Some(5.0), ..events.clone() }), [2, 3]);
    assert_eq!(numbers(QueueFilter { camera: Some("elsewhere".into()), ..ALL }), [0; 0]);
    assert_eq!(numbers(QueueFilter { bundle_revision: Some(3), ..ALL }), [0; 0]);
    assert_eq!(numbers(QueueFilter { until_ms: Some(NOW + 20), ..events.clone() }), [1]);
    // Median of the five peaks is 2.0.
    assert_eq!(numbers(QueueFilter { strategy: Strategy::AlLight, camera: Some(CAMERA.into()), ..ALL }), [1, 4, 3]);
    let no_camera = QueueFilter { strategy: Strategy::AlLight, ..ALL };
    assert!(matches!(store.queue("anna", &no_camera), Err(StoreError::Range { .. })));
    let audit = |seed| numbers(QueueFilter { strategy: Strategy::Audit, seed, ..ALL });
    assert_eq!(audit(1).len(), 20);
    assert_eq!(audit(1), audit(1), "the order is fixed");
    assert_ne!(audit(1), audit(2), "and depends on the seed");
    assert_ne!(audit(1), (0..20).collect::<Vec<u64>>());
}

#[test]
fn what_nobody_judged_is_forgotten_but_its_ids_are_not() {
    let (folder, mut store) = store();
    let kept = support::whole_event(&mut store, 1, 2.0);
    support::whole_event(&mut store, 2, 2.0);
    let label = alfred_store::label::NewLabel {
        item: kept,
        reviewer: "anna",
        verdict: alfred_store::label::Verdict::Normal,
        seconds: 1.0,
        strategy: Strategy::Newest,
        request: "r1",
        with_similar: false,
    };
    store.label(&label, NOW).expect("said");
    assert_eq!(store.forget_unjudged(NOW + 1_000_000).expect("forgets"), 1);
    let file = folder.path().join("host.sqlite");
    assert_eq!(number(&file, "SELECT count(*) FROM items"), 1);
    assert_eq!(number(&file, "SELECT count(*) FROM records"), 4);
    assert_eq!(take(&mut store, 1, 21, &segment(2, 0, true, 90..131)), Stored::Known);
    assert!(!store.playback(kept).expect("plays").frames.is_empty());
}

#[test]
fn files_of_others_and_of_newer_builds_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("other.sqlite");
    rusqlite::Connection::open(&file).expect("opens").execute_batch("CREATE TABLE theirs (a)").expect("writes");
    assert!(matches!(Store::open(&file), Err(StoreError::NotOurs(_))));
    std::fs::write(folder.path().join("text"), "no database at all, but long enough to be taken for a header").expect("writes");
    assert!(matches!(Store::open(&folder.path().join("text")), Err(StoreError::Open { .. })));
    assert!(matches!(Store::open(&folder.path().join("missing/host.sqlite")), Err(StoreError::Open { .. })));
    let ours = folder.path().join("ours.sqlite");
    let version = Store::open(&ours).expect("made").schema_version().expect("a version");
    assert_eq!(Store::open(&ours).expect("again").schema_version().expect("a version"), version);
    rusqlite::Connection::open(&ours).expect("opens").execute_batch("PRAGMA user_version = 99").expect("writes");
    assert!(matches!(Store::open(&ours), Err(StoreError::TooNew { found: 99, known, .. }) if known == version));
}
