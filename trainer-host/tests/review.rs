//! Review in a terminal, status and label files: as somebody at a keyboard and as somebody with a shell meets them.

#[path = "../store/tests/support/mod.rs"]
mod records;

use alfred_server::expert::Expert;
use alfred_server::user;
use alfred_store::Store;
use alfred_store::label::Verdict;
use alfred_store::queue::QueueFilter;
use alfred_store::user::Role;
use alfred_trainer_host::expert::HostExpert;
use alfred_trainer_host::review_command::screen::draw;
use alfred_trainer_host::review_command::session::{Key, Review, Step};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use records::{NOW, lone_event, number};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pretrained/stg_nf_synthetic/weights.safetensors")
}

fn host(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_alfred-host")).args(arguments).output().expect("alfred-host starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A database with so many events and the reviewer `anna`.
fn ground(events: u64) -> (tempfile::TempDir, Store, PathBuf) {
    let (folder, mut store) = records::store();
    user::add(&mut store, "anna", Role::Reviewer).expect("added");
    for at in 1..=events {
        lone_event(&mut store, at, 1.0 + at as f32);
    }
    let file = folder.path().join("host.sqlite");
    (folder, store, file)
}

fn picture(review: &Review) -> String {
    let mut terminal = Terminal::new(TestBackend::new(100, 40)).expect("a terminal");
    terminal.draw(|frame| draw(review, frame)).expect("drawn");
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(100).map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

fn braille(picture: &str) -> usize {
    picture.chars().filter(|one| ('\u{2801}'..='\u{28ff}').contains(one)).count()
}

#[test]
fn keys_judge_skip_and_take_back_and_the_skeleton_is_drawn() {
    let (_folder, store, file) = ground(4);
    let filter = QueueFilter { camera: Some(records::CAMERA.to_owned()), ..QueueFilter::default() };
    let expert = HostExpert::new(Some(&weights())).expect("weights");
    let mut review = Review::new(store, "anna", filter, false, expert, NOW).expect("begins");
    let first = review.shown().expect("an item").waiting.item.id;
    assert_eq!(review.waiting(), 4);
    let shown = picture(&review);
    eprintln!("{shown}");
    assert!(shown.contains("gate item") && shown.contains("pre-roll") && shown.contains("4 wait"), "{shown}");
    assert!(braille(&shown) > 40, "a skeleton is drawn:\n{shown}");
    review.tick(NOW + 400);
    assert_eq!(review.shown().expect("an item").place, 10, "ten frames of 40 ms later");
    assert_ne!(picture(&review), shown, "it moves");
    let mut press = |key, request: &str, now| review.press(key, request, now).expect("pressed");
    assert_eq!(press(Key::Forward, "-", NOW + 500), Step::Go);
    press(Key::Anomalous, "r1", NOW + 3000);
    press(Key::Normal, "r2", NOW + 4500);
    press(Key::Undo, "r3", NOW + 5000);
    press(Key::Unsure, "r4", NOW + 6000);
    press(Key::Skip, "r5", NOW + 7000);
    assert_eq!(press(Key::Quit, "-", NOW + 8000), Step::Quit);
    assert_eq!((review.verdicts(), review.waiting()), (2, 1));
    assert!(review.message().contains("skipped"));
    let store = Store::open(&file).expect("opens");
    let said: Vec<_> = (1..=4).flat_map(|item| store.item(item).expect("there").verdicts).map(|one| one.verdict).collect();
    assert_eq!(said.len(), 2);
    assert!(said.contains(&Verdict::Anomalous) && said.contains(&Verdict::Unsure), "{said:?}");
    assert_eq!(store.item(first).expect("there").verdicts[0].verdict, Verdict::Anomalous);
    assert_eq!(number(&file, "SELECT count(*) FROM labels"), 4, "three verdicts and one taken back");
    let seconds: i64 = number(&file, "SELECT cast(1000 * seconds AS INTEGER) FROM labels WHERE request = 'r1'");
    assert_eq!(seconds, 3000);
}

#[test]
fn an_empty_queue_says_so_and_new_items_appear_by_themselves() {
    let (_folder, store, file) = ground(0);
    let filter = QueueFilter::default();
    let mut review = Review::new(store, "anna", filter, false, HostExpert::default(), NOW).expect("begins");
    assert!(picture(&review).contains("nothing waits"));
    assert_eq!(review.press(Key::Anomalous, "r1", NOW).expect("pressed"), Step::Go);
    lone_event(&mut Store::open(&file).expect("opens"), 1, 2.0);
    review.tick(NOW + 5000);
    assert!(review.shown().is_some());
    assert!(picture(&review).contains("no curve"), "without a model there is a picture and no curve");
}

#[test]
fn the_expert_scores_what_the_device_scored() {
    let (_folder, store, _file) = ground(1);
    let playback = store.playback(1).expect("there");
    let expert = HostExpert::new(Some(&weights())).expect("weights");
    let curve = expert.scores(&playback, None).expect("scores");
    let frames: Vec<u64> = playback.frames.iter().map(|frame| frame.frame).collect();
    assert!(!curve.is_empty() && curve.iter().all(|point| frames.contains(&point.frame) && point.score.is_finite()));
    assert!(curve.windows(2).all(|pair| pair[0].frame < pair[1].frame));
    assert!(expert.scores(&playback, Some(b"no bundle")).expect_err("refused").contains("not on this host"));
    assert!(HostExpert::default().scores(&playback, None).expect_err("no model").contains("source_weights"));
    let quantiles = expert.quantiles(None, &[1.0, 2.0, 3.0]);
    assert_eq!((quantiles.bundle, quantiles.recent.expect("scores")[4], quantiles.levels.len()), (None, 2.0, 9));
    let feature = |value: f32| vec![value; alfred_store::likeness::FEATURE_WIDTH];
    let spread = expert.spread(&[feature(0.0), feature(0.1), feature(5.0), vec![1.0]], 2);
    assert_eq!(spread, [0, 2], "those that differ most; features of another width are left out");
}

#[test]
fn the_command_works_in_a_real_terminal() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("SKIPPED: script (bsdutils) is not here, which makes terminals");
        return;
    }
    let (_folder, store, file) = ground(3);
    drop(store);
    let command =
        format!("stty rows 40 cols 100 && exec {} review --database {} --reviewer anna", env!("CARGO_BIN_EXE_alfred-host"), file.display());
    let mut child = Command::new("script")
        .args(["-qfec", &command, "/dev/null"])
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script starts");
    let mut keys = child.stdin.take().expect("piped");
    let labels = || number(&file, "SELECT count(*) FROM labels");
    let deadline = Instant::now() + Duration::from_secs(60);
    // Each key once the one before is on the disk; the first ones may come before the program listens.
    keys.write_all(b"n").expect("typed");
    keys.flush().expect("typed");
    while labels() < 1 {
        assert!(Instant::now() < deadline, "no verdict after a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    keys.write_all(b"aq").expect("typed");
    keys.flush().expect("typed");
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert_eq!((labels(), number(&file, "SELECT count(*) FROM labels WHERE verdict = 'anomalous'")), (2, 1));
    let screen = text(&output.stdout);
    assert!(screen.contains("2 verdicts") && braille(&screen) > 40, "{screen}");
}

#[test]
fn without_a_terminal_or_a_reviewer_the_command_says_what_to_do() {
    let (_folder, store, file) = ground(1);
    drop(store);
    let file = file.display().to_string();
    let cases: [(&[&str], &str); 4] = [
        (&["review", "--database", &file, "--reviewer", "anna"], "needs a terminal"),
        (&["review", "--database", &file, "--reviewer", "nobody"], "user add"),
        (&["review", "--database", &file, "--reviewer", "anna", "--strategy", "guess"], "margin_diversity"),
        (&["status", "--database", "nothing.sqlite"], "nothing.sqlite"),
    ];
    for (arguments, mend) in cases {
        let refused = host(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(text(&refused.stderr).contains(mend), "{arguments:?}: {}", text(&refused.stderr));
    }
    assert!(!Path::new("nothing.sqlite").exists(), "status makes no database");
}

#[test]
fn status_shows_cameras_and_devices_and_labels_travel_as_files() {
    let (folder, mut store, file) = ground(2);
    let new = alfred_store::label::NewLabel {
        item: 1,
        reviewer: "anna",
        verdict: Verdict::Normal,
        seconds: 1.0,
        strategy: alfred_store::queue::Strategy::Al,
        request: "r1",
        with_similar: false,
    };
    store.label(&new, NOW).expect("said");
    let database = file.display().to_string();
    let table = text(&host(&["status", "--database", &database]).stdout);
    assert!(table.contains("CAMERA") && table.contains("gate") && table.contains("device 1") && table.contains("al_light"), "{table}");
    let json: serde_json::Value = serde_json::from_slice(&host(&["status", "--database", &database, "--json"]).stdout).expect("JSON");
    assert_eq!((&json["cameras"][0]["waiting"], &json["devices"][0]["camera"]), (&1.into(), &"gate".into()));
    for (format, name) in [("csv", "labels.csv"), ("json", "labels.jsonl")] {
        let out = folder.path().join(name).display().to_string();
        let exported = host(&["label", "export", "--database", &database, "--format", format, "--out", &out]);
        assert!(exported.status.success(), "{}", text(&exported.stderr));
        let (_other, other_store, other) = ground(2);
        drop(other_store);
        let other = other.display().to_string();
        let import = ["label", "import", &out, "--database", &other, "--format", format];
        assert!(text(&host(&import).stdout).starts_with("1 added, 0 known"));
        assert!(text(&host(&import).stdout).starts_with("0 added, 1 known"), "a second time changes nothing");
        assert_eq!(host(&["label", "export", "--database", &database, "--out", &out]).status.code(), Some(2), "nothing is overwritten");
    }
    let bad = folder.path().join("bad.csv");
    std::fs::write(&bad, "device,boot\nx,y\n").expect("written");
    let refused = host(&["label", "import", &bad.display().to_string(), "--database", &database]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("bad.csv") && text(&refused.stderr).contains("line 2"), "{}", text(&refused.stderr));
}
