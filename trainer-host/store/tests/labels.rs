//! Verdicts: a log that only grows, taken back by another line, counted once per request, the same after export and import.

mod support;

use alfred_store::exchange::{Imported, LabelFormat};
use alfred_store::label::{NewLabel, Verdict};
use alfred_store::queue::{QueueFilter, Strategy};
use alfred_store::{Store, StoreError};
use support::{NOW, store, whole_event};

fn say(store: &mut Store, reviewer: &str, item: i64, verdict: Verdict, request: &str) -> i64 {
    let new = NewLabel { item, reviewer, verdict, seconds: 1.5, strategy: Strategy::Newest, request, with_similar: false };
    let outcome = store.label(&new, NOW).expect("said");
    assert!(outcome.is_new);
    outcome.label
}

fn waiting(store: &Store, reviewer: &str, strategy: Strategy, second_opinions: bool) -> usize {
    let filter = QueueFilter { strategy, second_opinions, items_max: 100, ..QueueFilter::default() };
    store.queue(reviewer, &filter).expect("a queue").len()
}

#[test]
fn a_verdict_counts_once_and_is_taken_back_by_another_line() {
    let (folder, mut store) = store();
    let item = whole_event(&mut store, 1, 2.0);
    let new = NewLabel {
        item,
        reviewer: "anna",
        verdict: Verdict::Normal,
        seconds: 99_999.0,
        strategy: Strategy::Newest,
        request: "r1",
        with_similar: false,
    };
    let first = store.label(&new, NOW).expect("said");
    let again = store.label(&new, NOW + 5).expect("said again");
    assert!(first.is_new && !again.is_new && first.label == again.label);
    let other = NewLabel { verdict: Verdict::Anomalous, ..new };
    assert!(matches!(store.label(&other, NOW), Err(StoreError::RequestReused(_))));
    assert!(matches!(store.label(&NewLabel { item: 999, request: "r9", ..new }, NOW), Err(StoreError::Unknown { .. })));
    assert!(matches!(store.label(&NewLabel { seconds: f64::NAN, request: "r9", ..new }, NOW), Err(StoreError::Range { .. })));
    assert_eq!(store.item(item).expect("there").verdicts.len(), 1);
    assert_eq!((waiting(&store, "anna", Strategy::Newest, false), waiting(&store, "ben", Strategy::Newest, true)), (0, 1));
    let undone = store.undo("anna", None, "r2", NOW).expect("taken back");
    assert!(undone.is_new && undone.item == item);
    assert!(!store.undo("anna", None, "r2", NOW).expect("the same request").is_new);
    assert!(matches!(store.undo("anna", None, "r3", NOW), Err(StoreError::NothingToUndo(_))));
    assert!(matches!(store.undo("anna", Some(first.label), "r3", NOW), Err(StoreError::NothingToUndo(_))));
    assert!(store.item(item).expect("there").verdicts.is_empty());
    assert_eq!(waiting(&store, "anna", Strategy::Newest, false), 1);
    let file = folder.path().join("host.sqlite");
    assert_eq!(support::number(&file, "SELECT count(*) FROM labels"), 2, "nothing is removed from the log");
    let connection = rusqlite::Connection::open(&file).expect("opens");
    assert!(connection.execute("DELETE FROM labels", []).is_err() && connection.execute("UPDATE labels SET seconds = 0", []).is_err());
    assert!(connection.execute("DELETE FROM audit", []).is_err());
    let kept: f64 = connection.query_row("SELECT max(seconds) FROM labels", [], |row| row.get(0)).expect("a number");
    assert_eq!(kept, 3600.0, "the longest time that is believed");
    let work = store.workload(0).expect("work");
    assert_eq!((work[0].verdicts, work[0].undone), (0, 1));
}

#[test]
fn reviewers_agree_as_cohen_counts_and_with_themselves_on_repeated_items() {
    let (_folder, mut store) = store();
    let items: Vec<i64> = (1..=4).map(|number| whole_event(&mut store, number, 2.0)).collect();
    use Verdict::{Anomalous, Normal};
    for (at, (anna, ben)) in [(Anomalous, Anomalous), (Normal, Normal), (Anomalous, Normal), (Normal, Normal)].into_iter().enumerate() {
        say(&mut store, "anna", items[at], anna, &format!("a{at}"));
        say(&mut store, "ben", items[at], ben, &format!("b{at}"));
    }
    assert_eq!(waiting(&store, "anna", Strategy::Repeat, false), 4);
    say(&mut store, "anna", items[0], Normal, "again");
    assert_eq!(waiting(&store, "anna", Strategy::Repeat, false), 3);
    let found = store.agreements().expect("agreements");
    let pair = |first: &str, second: &str| found.iter().find(|one| one.first == first && one.second == second).expect("there");
    // p_o = 3/4, p_e = 1/2 * 1/4 + 1/2 * 3/4 = 1/2.
    assert_eq!((pair("anna", "ben").items, pair("anna", "ben").alike, pair("anna", "ben").kappa), (4, 3, Some(0.5)));
    assert_eq!((pair("anna", "anna").items, pair("anna", "anna").alike), (1, 0));
    assert_eq!(found.len(), 2);
}

#[test]
fn what_is_exported_is_imported_line_by_line_in_both_forms() {
    for format in [LabelFormat::Csv, LabelFormat::Json] {
        let ((_a, mut from), (_b, mut to)) = (store(), store());
        let item = whole_event(&mut from, 1, 2.0);
        let elsewhere = whole_event(&mut from, 2, 0.1 + 2.0);
        whole_event(&mut to, 1, 2.0);
        say(&mut from, "anna", item, Verdict::Anomalous, "r \"1\", =2+3");
        from.undo("anna", None, "r2", NOW).expect("taken back");
        say(&mut from, "ben", item, Verdict::Unsure, "r3");
        say(&mut from, "ben", elsewhere, Verdict::Normal, "r4");
        let mut text = Vec::new();
        assert_eq!(from.export_labels(format, &mut text).expect("writes"), 4);
        let imported = to.import_labels(format, &mut text.as_slice(), "host", NOW).expect("reads");
        assert_eq!(imported, Imported { added: 3, known: 0, without_item: 1 });
        let again = to.import_labels(format, &mut text.as_slice(), "host", NOW).expect("reads");
        assert_eq!(again, Imported { added: 0, known: 3, without_item: 1 });
        let mut back = Vec::new();
        to.export_labels(format, &mut back).expect("writes");
        let (text, back) = (String::from_utf8(text).expect("text"), String::from_utf8(back).expect("text"));
        let common: Vec<&str> = text.lines().filter(|line| !line.contains("r4")).collect();
        assert_eq!(common, back.lines().collect::<Vec<_>>());
    }
}

#[test]
fn a_bad_line_is_named_and_nothing_of_its_file_stays() {
    let (_folder, mut store) = store();
    let item = whole_event(&mut store, 1, 2.0);
    say(&mut store, "anna", item, Verdict::Normal, "r1");
    let mut good = Vec::new();
    store.export_labels(LabelFormat::Json, &mut good).expect("writes");
    let good = String::from_utf8(good).expect("text");
    for (from, to) in
        [("\"normal\"", "\"fine\""), ("\"r1\"", "\"\""), ("1.5", "1e999"), ("\"boot\":\"", "\"boot\":\"x"), ("anna", "an\\u0000na")]
    {
        let second = good.replace(from, to);
        assert_ne!(second, good);
        let file = format!("{}{second}", good.replace("\"r1\"", "\"r2\""));
        let error = store.import_labels(LabelFormat::Json, &mut file.as_bytes(), "host", NOW).expect_err("refused");
        assert!(matches!(error, StoreError::Import { line: 2, .. }), "{to}: {error}");
    }
    let undo = good.replace("\"normal\"", "null").replace("\"undoes\":null", "\"undoes\":\"nothing\"").replace("\"r1\"", "\"r5\"");
    let error = store.import_labels(LabelFormat::Json, &mut undo.as_bytes(), "host", NOW).expect_err("refused");
    assert!(error.to_string().contains("nothing"), "{error}");
    assert_eq!(store.workload(0).expect("work")[0].verdicts, 1);
}
