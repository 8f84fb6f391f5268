//! What the page's screens are made of, over real sockets: queue by policy, incidents, snooze rules, conflicts, meter, camera page,
//! threshold preview and request, fleet, import.

mod support;

use alfred_server::expert::{Expert, FrameScore, Quantiles};
use alfred_store::evaluation::{Evaluation, Outcome, ValidationScore};
use alfred_store::playback::Playback;
use serde_json::{Value, json};
use std::sync::Arc;
use support::{Client, Ground, Host, number, records};

/// Stands in for models, which this crate does not know: scores are frame numbers.
#[derive(Debug)]
struct Counting;

impl Expert for Counting {
    fn scores(&self, playback: &Playback, bundle: Option<&[u8]>) -> Result<Vec<FrameScore>, String> {
        if bundle.is_some_and(|bundle| bundle.is_empty()) {
            return Err("the bundle that scored this is not on this host".to_owned());
        }
        Ok(playback.frames.iter().map(|frame| FrameScore { frame: frame.frame, score: frame.frame as f64 }).collect())
    }

    fn quantiles(&self, _: Option<&[u8]>, scores: &[f64]) -> Quantiles {
        let recent = scores.first().map(|first| vec![*first, scores[scores.len() / 2], scores[scores.len() - 1]]);
        Quantiles { levels: vec![0.0, 0.5, 1.0], bundle: Some(vec![0.0, 1.0, 2.0]), recent }
    }

    fn spread(&self, features: &[Vec<f32>], count: usize) -> Vec<usize> {
        (0..features.len()).rev().take(count).collect()
    }
}

/// A daemon with reviewers anna and ben, and so many lone events with scores 2, 3, ...
fn with_events(events: u64) -> (Ground, Host) {
    let ground = Ground::new(&["anna", "ben"], 0);
    let mut store = ground.store();
    for at in 1..=events {
        records::lone_event(&mut store, at, 1.0 + at as f32);
    }
    let host = Host::start_with(&ground.config(), Some(Arc::new(Counting)));
    (ground, host)
}

fn say(client: &mut Client, item: i64, verdict: &str) -> Value {
    let body = json!({ "verdict": verdict, "seconds": 2.0, "strategy": "al", "request": format!("{item} {verdict}") });
    let (status, answer) = client.put(&format!("/api/items/{item}/verdict"), &body);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn length(value: &Value) -> usize {
    value.as_array().expect("an array").len()
}

#[test]
fn the_queue_follows_the_cameras_policy_and_says_how_much_waits() {
    let (ground, host) = with_events(8);
    let (mut anna, mut ole) = (host.client(&ground, "anna"), host.client(&ground, "ole"));
    let policy =
        json!({ "strategy": "margin_diversity", "labels_per_day": 3, "audit_share": 0.0, "repeat_share": 0.0, "groups_similar": true });
    assert_eq!(ole.put("/api/cameras/gate/policy", &policy), (200, policy.clone()));
    assert_eq!(anna.get("/api/cameras/gate/policy"), (200, policy));
    let (headers, page) = anna.get_with_headers("/api/queue?camera=gate&by_policy=true");
    assert_eq!((headers["x-alfred-waiting"].as_str(), headers["x-alfred-budget"].as_str(), length(&page)), ("8", "3", 3));
    assert_eq!((&page[0]["strategy"], &page[0]["similar"], &page[0]["is_snoozed"]), (&json!("margin_diversity"), &json!(0), &json!(false)));
    let item = page[0]["id"].as_i64().expect("a number");
    say(&mut anna, item, "normal");
    assert_eq!(anna.get_with_headers("/api/queue?camera=gate&by_policy=true").0["x-alfred-budget"], "2");
    let meter = anna.get("/api/meter?since_ms=0&camera=gate").1;
    assert_eq!((&meter["verdicts"], &meter["seconds_per_verdict"], &meter["full_al"]["flagged"]), (&json!(1), &json!(2.0), &json!(8)));
    assert_eq!((&meter["budgets"][0]["used_today"], &meter["budgets"][0]["left_today"]), (&json!(1), &json!(2)));
    assert_eq!(anna.put(&format!("/api/items/{item}/skip"), &json!({ "is_skipped": true })).0, 200);
    let other = page[1]["id"].as_i64().expect("a number");
    assert_eq!(anna.put(&format!("/api/items/{other}/skip"), &json!({ "is_skipped": true })).0, 200);
    assert_eq!(length(&anna.get("/api/queue").1), 6);
    assert_eq!(anna.put(&format!("/api/items/{other}/skip"), &json!({ "is_skipped": false })).0, 200);
    assert_eq!(length(&anna.get("/api/queue").1), 7);
    assert_eq!(anna.get("/api/queue?by_policy=true").0, 422, "a policy is a camera's");
}

#[test]
fn incidents_are_judged_at_once_and_snooze_rules_are_seen_by_all() {
    let ground = Ground::new(&["anna", "ben"], 0);
    let mut store = ground.store();
    for at in 1..=3 {
        records::event_from(&mut store, at, 2.0, 1000 + 100 * at);
    }
    let host = Host::start(&ground.config());
    let (mut anna, mut ben) = (host.client(&ground, "anna"), host.client(&ground, "ben"));
    let grouped = anna.get("/api/queue?grouped=true&camera=gate&strategy=al_light").1;
    assert_eq!((length(&grouped), &grouped[0]["similar"]), (1, &json!(2)));
    let item = grouped[0]["id"].as_i64().expect("a number");
    assert_eq!(length(&anna.get(&format!("/api/items/{item}/similar")).1), 2);
    let made = anna.post("/api/snoozes", &json!({ "item": item, "hours": 1, "radius_px": 1000, "reason": "a <b>mannequin</b>" }));
    assert_eq!((made.0, &made.1["hides"], &made.1["made_by"], &made.1["is_live"]), (200, &json!(3), &json!("anna"), &json!(true)));
    assert_eq!((length(&ben.get("/api/queue").1), length(&ben.get("/api/queue?snoozed=true").1)), (0, 3));
    assert_eq!(ben.get("/api/snoozes").1[0]["reason"], "a <b>mannequin</b>", "kept as it is; the page shows texts as texts");
    let end = format!("/api/snoozes/{}/end", made.1["id"]);
    assert_eq!(ben.post(&end, &json!({})).1["ended_by"], "ben");
    let body = json!({ "verdict": "normal", "seconds": 1, "strategy": "al_light", "request": "all", "with_similar": true });
    let path = format!("/api/items/{item}/verdict");
    assert_eq!(anna.put(&path, &body).1["labelled"], 3);
    let again = anna.put(&path, &body).1;
    assert_eq!((&again["labelled"], &again["is_new"]), (&json!(3), &json!(false)));
    assert_eq!(length(&anna.get("/api/queue").1), 0);
    assert_eq!(anna.post("/api/undo", &json!({ "request": "back" })).1["labelled"], 3);
    assert_eq!((length(&anna.get("/api/queue").1), number(&ground.file(), "SELECT count(*) FROM labels")), (3, 6));
    let refused = anna.get("/api/queue?camera=gate&strategy=diversity");
    assert_eq!(refused.0, 422, "without models nobody knows what differs: {}", refused.1);
}

#[test]
fn conflicts_show_others_verdicts_to_operators_only() {
    let (ground, host) = with_events(2);
    let (mut anna, mut ben) = (host.client(&ground, "anna"), host.client(&ground, "ben"));
    say(&mut anna, 1, "anomalous");
    say(&mut ben, 1, "normal");
    let seen = anna.get("/api/conflicts?camera=gate").1;
    assert_eq!((length(&seen), length(&seen[0]["item"]["verdicts"]), &seen[0]["anomalous"]), (1, 1, &json!(1)));
    assert_eq!(length(&host.client(&ground, "ole").get("/api/conflicts").1[0]["item"]["verdicts"]), 2);
    assert_eq!(anna.get("/api/queue?strategy=second_look").1[0]["id"], 1);
    assert_eq!(length(&ben.get("/api/queue?strategy=second_look").1), 0, "who spoke last waits");
}

#[test]
fn the_score_curve_comes_with_threshold_band_and_reason() {
    let (ground, host) = with_events(1);
    let anna = host.client(&ground, "anna");
    let playback = anna.get("/api/items/1/playback").1;
    assert_eq!((&playback["item"]["person"], &playback["event"]["anomalous_frames"]), (&json!(3), &json!(20)));
    assert_eq!((&playback["curve"]["threshold"], &playback["curve"]["band"]), (&json!(1.0), &json!([1.0, 2.0])));
    assert_eq!(
        (length(&playback["curve"]["scores"]), &playback["curve"]["reason"]),
        (0, &json!("the bundle that scored this is not on this host"))
    );
    let bundle = alfred_store::bundle::NewBundle {
        camera: records::CAMERA,
        revision: 2,
        parent_revision: 1,
        fingerprint: 7,
        threshold: 1.0,
        policy: "given",
        model: None,
        bytes: b"bundle",
    };
    ground.store().add_bundle(&bundle, "test", records::NOW).expect("added");
    let curve = &anna.get("/api/items/1/playback").1["curve"];
    assert_eq!((length(&curve["scores"]), &curve["scores"][0]["score"], &curve["reason"]), (41, &json!(99_990.0), &Value::Null));
}

fn evaluation(outcome: Outcome, revision: Option<u64>) -> Evaluation {
    Evaluation {
        id: 0,
        camera: records::CAMERA.to_owned(),
        revision,
        at_ms: records::NOW,
        outcome,
        reason: "the AUC-ROC's interval begins at 48.0 %".to_owned(),
        policy: "eer".to_owned(),
        threshold: Some(1.25),
        eer: Some(0.2),
        eer_low: Some(0.1),
        eer_high: Some(0.3),
        ebi: Some(0.8),
        ebi_low: Some(0.7),
        ebi_high: Some(0.9),
        auc: None,
        auc_low: None,
        auc_high: None,
        fnr: Some(0.2),
        fpr: Some(0.2),
        source_ebi: Some(0.6),
        validation_events: 40,
        validation_normals: 20,
        validation_anomalies: 20,
        validation_sha256: "ab".repeat(32),
        labels_used: 77,
    }
}

#[test]
fn the_camera_page_shows_figures_with_intervals_and_a_threshold_is_asked_for() {
    let (ground, host) = with_events(12);
    let mut store = ground.store();
    store.add_evaluation(&evaluation(Outcome::Refused, None), "cycle").expect("kept");
    let scores: Vec<ValidationScore> = (0..40)
        .map(|at| ValidationScore {
            item: 1 + at % 12,
            is_anomalous: at % 2 == 0,
            score: if at % 2 == 0 { 1.5 } else { 0.5 } + f64::from(at as i32 / 10) / 10.0,
        })
        .collect();
    let scores: Vec<ValidationScore> = scores.into_iter().enumerate().map(|(at, one)| ValidationScore { item: at as i64, ..one }).collect();
    store.set_validation_scores(records::CAMERA, 0, &scores).expect("kept");
    let (anna, mut ole) = (host.client(&ground, "anna"), host.client(&ground, "ole"));
    let page = anna.get("/api/cameras/gate").1;
    assert_eq!((&page["camera"]["name"], &page["validation"]["normals"], &page["is_held"]), (&json!("gate"), &json!(20), &json!(false)));
    let first = &page["evaluations"][0];
    assert_eq!((&first["ebi_low"], &first["auc"], &first["outcome"]), (&json!(0.7), &Value::Null, &json!("refused")));
    assert_eq!((&page["refusals"][0]["what"], &page["drift"]["samples"]), (&json!("evaluation"), &json!(0)));
    let preview = anna.get("/api/cameras/gate/threshold-preview?threshold=1.0").1;
    assert_eq!((&preview["fnr"], &preview["fpr"], &preview["normals"]), (&json!(0.0), &json!(0.0), &json!(20)));
    assert!(preview["fpr_high"].as_f64().is_some_and(|high| (high - 0.168_43).abs() < 1e-4), "Clopper-Pearson of 0 in 20: {preview}");
    assert!(preview["reason"].is_string(), "what is not known says why: {preview}");
    assert_eq!(anna.get("/api/cameras/gate/threshold-preview").1["threshold"], 1.0, "the one in force");
    let curve = anna.get("/api/cameras/gate/threshold-curve?points=20").1;
    assert!((20..=21).contains(&length(&curve["points"])) && curve["live_threshold"] == 1.0);
    assert_eq!(anna.get("/api/cameras/gate/threshold-preview?threshold=NaN").0, 422);
    assert_eq!(anna.get("/api/cameras/nowhere").0, 404);
    let asked = ole.post("/api/cameras/gate/threshold", &json!({ "threshold": 1.25 }));
    assert_eq!(
        (asked.0, &asked.1["kind"], &asked.1["reviewer"], &asked.1["done_ms"]),
        (200, &json!("threshold"), &json!("ole"), &Value::Null)
    );
    assert_eq!(ole.post("/api/cameras/gate/cycle", &json!({ "kind": "hold" })).0, 200);
    assert_eq!(ole.post("/api/cameras/gate/cycle", &json!({ "kind": "explode" })).0, 422);
    assert_eq!(length(&anna.get("/api/requests?camera=gate").1), 2);
    assert_eq!(ole.post("/api/cameras/gate/rollback", &json!({})).0, 422, "nothing is rolled out here");
    let fleet = anna.get("/api/fleet").1;
    assert_eq!((&fleet["devices"][0]["name"], &fleet["devices"][0]["is_late"]), (&json!("device 1"), &json!(true)));
    assert_eq!((&fleet["host"]["requests_waiting"], &fleet["host"]["mqtt"]), (&json!(2), &Value::Null));
}

#[test]
fn what_is_exported_here_is_imported_there_and_oversize_is_refused() {
    let (ground, host) = with_events(3);
    let mut anna = host.client(&ground, "anna");
    for item in 1..=3 {
        say(&mut anna, item, "normal");
    }
    let mut ole = host.client(&ground, "ole");
    for (format, kind) in [("csv", "text/csv"), ("json", "application/jsonl")] {
        let (_, text) = ole.get_text(&format!("/api/labels?format={format}"));
        let (other_ground, other) = with_events(3);
        let mut chief = other.client(&other_ground, "ole");
        let path = format!("/api/labels/import?format={format}");
        let first = chief.send_as("POST", &path, &text, kind).expect("an answer");
        assert_eq!(first, (200, json!({ "added": 3, "known": 0, "without_item": 0 })), "{format}");
        assert_eq!(chief.send_as("POST", &path, &text, kind).expect("an answer").1["known"], 3);
        assert_eq!(chief.send_as("POST", &path, &text, "text/plain").expect("an answer").0, 415);
        let broken = text.replacen("normal", "perhaps", 1);
        let refused = chief.send_as("POST", &path, &broken, kind).expect("an answer");
        assert!(refused.0 == 422 && refused.1["error"].as_str().is_some_and(|error| error.contains("line ")), "{refused:?}");
        assert_eq!(number(&other_ground.file(), "SELECT count(*) FROM labels"), 3);
    }
    // The answer may come while the body is still on its way.
    if let Ok((status, _)) = ole.send_as("POST", "/api/labels/import", &"x".repeat(5 << 20), "text/csv") {
        assert_eq!(status, 413);
    }
    assert_eq!(number(&ground.file(), "SELECT count(*) FROM labels"), 3);
}
