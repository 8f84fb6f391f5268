//! Texts of strangers are stored as they are or refused; they are never read as SQL.

mod support;

use alfred_store::label::{NewLabel, Verdict};
use alfred_store::queue::{QueueFilter, Strategy};
use alfred_store::rollout::Target;
use alfred_store::user::Role;
use alfred_store::{Store, StoreError};
use proptest::prelude::*;
use support::{NOW, store, whole_event};

const KNOWN_ATTACKS: [&str; 10] = [
    "'; DROP TABLE labels; --",
    "\" OR \"\"=\"",
    "' UNION SELECT token_sha256 FROM reviewers --",
    "anna'--",
    "?1",
    ":reviewer",
    "%' OR 1=1",
    "<script>alert(1)</script>",
    "\u{202e}desrever",
    "NULL",
];

/// Puts a text everywhere where a text goes, and checks that it came out as it went in.
fn put_everywhere(store: &mut Store, item: i64, text: &str, key: &str) {
    let is_name = alfred_wire::name::Name::new(text).is_ok();
    let enrolled = store.enrol(text, text, false, text, NOW);
    assert_eq!(enrolled.is_ok(), is_name, "{text:?}");
    assert_eq!(store.devices().expect("devices").iter().any(|device| device.name == text && device.camera == text), is_name);
    let added = store.add_reviewer(text, Role::Reviewer, &key_hash(key), NOW);
    assert!(added.is_ok() == is_name || matches!(added, Err(StoreError::Exists { .. })), "{text:?}");
    let new = NewLabel {
        item,
        reviewer: text,
        verdict: Verdict::Normal,
        seconds: 1.0,
        strategy: Strategy::Newest,
        request: text,
        with_similar: false,
    };
    let is_said = store.label(&new, NOW).is_ok();
    assert_eq!(is_said, is_name, "{text:?}: at most 64 bytes, as names");
    let opinions = store.item(item).expect("there").verdicts;
    assert_eq!(opinions.iter().any(|opinion| opinion.reviewer == text), is_name);
    let filter = QueueFilter { camera: Some(text.to_owned()), items_max: 10, ..QueueFilter::default() };
    assert!(store.queue(text, &filter).expect("a queue").is_empty());
    assert!(store.deployments(Some(text)).expect("deployments").is_empty());
    assert!(store.bundles(Some(text)).expect("bundles").is_empty());
    assert!(store.token_of(&format!("{text}x")).expect("asked").is_none());
    let target = Target { camera: text.to_owned(), revision: 1 };
    assert!(matches!(store.roll_out(&[target], text, NOW), Err(StoreError::Unknown { .. })));
    assert!(store.undo(text, None, &format!("undo {key}"), NOW).is_ok() == is_name);
}

fn key_hash(key: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut().zip(key.bytes()).for_each(|(to, from)| *to = from);
    hash
}

#[test]
fn known_attacks_are_plain_texts() {
    let (folder, mut store) = store();
    let item = whole_event(&mut store, 1, 2.0);
    for (at, text) in KNOWN_ATTACKS.into_iter().enumerate() {
        put_everywhere(&mut store, item, text, &format!("key {at}"));
    }
    let labels = support::number(&folder.path().join("host.sqlite"), "SELECT count(*) FROM labels");
    assert_eq!(labels, 2 * KNOWN_ATTACKS.len() as i64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_text_is_stored_as_it_is_or_refused(texts in proptest::collection::vec("[\\PC\0\n'\";%_-]{0,70}|\\PC{1,30}", 1..4)) {
        let (folder, mut store) = store();
        let item = whole_event(&mut store, 1, 2.0);
        let mut texts = texts;
        texts.sort();
        texts.dedup();
        for (at, text) in texts.iter().enumerate() {
            put_everywhere(&mut store, item, text, &format!("key {at}"));
        }
        let tables = support::number(&folder.path().join("host.sqlite"), "SELECT count(*) FROM sqlite_schema WHERE type = 'table'");
        prop_assert!(tables >= 15);
    }
}
