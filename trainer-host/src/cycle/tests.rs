//! The cycle without devices: settings, what members of the validation set stand for, rounds over a database, requests.

use super::footage::Stretch;
use super::material::{Quota, Strata, joining};
use super::request::serve;
use super::round::{Tools, close_slice, pair_in_force};
use super::schedule::due;
use super::settings::CycleSettings;
use alfred_core::pose::KeyPoint;
use alfred_store::Store;
use alfred_store::cycle::{Footage, JudgedItem, Phase};
use alfred_store::evaluation::Outcome;
use alfred_store::item::{Item, ItemKind};
use alfred_store::request::RequestKind;
use alfred_synth::random::Random;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

fn settings(more: &str) -> Result<CycleSettings, String> {
    let text = format!("source_weights = \"w\"\nkey = \"k\"\n{more}\n");
    let settings: CycleSettings = toml::from_str(&text).map_err(|error| error.to_string())?;
    settings.settle(Path::new("here"), Path::new("host.toml")).map_err(|error| error.to_string())
}

#[test]
fn settings_of_the_cycle_are_judged_and_name_the_mend() {
    let good = settings("[cameras.gate]\nmethodology = \"al_light\"\nis_off = true").expect("complete");
    assert_eq!((good.methodology("gate").name, good.methodology("yard").name), ("al_light", "verdict_head"));
    assert!(good.is_off("gate") && !good.is_off("yard") && good.key == Path::new("here").join("k"));
    for (text, part) in [
        ("methodology = \"magic\"", "none called \"magic\""),
        ("methodology = \"offline\"", "experiments only"),
        ("labels_min = 0", "labels_min"),
        ("validation_share = 1.0", "validation_share"),
        ("look_ms = 1", "look_ms"),
        ("labels = 3", "labels"),
    ] {
        let error = settings(text).expect_err("refused");
        assert!(error.contains(part), "{error}");
    }
}

fn stretch(item: i64, is_event: bool, said: Option<bool>, frames: u64, stands_for: u32) -> Stretch {
    let kind = if is_event { ItemKind::Event } else { ItemKind::Sample };
    let item = Item {
        id: item,
        device: "d".into(),
        camera: "gate".into(),
        boot: "1".into(),
        kind,
        number: 1,
        person: 1,
        first_frame: 100,
        last_frame: 99 + frames,
        score: 1.0,
        threshold: None,
        bundle_revision: 0,
        has_ended: true,
        parts: 1,
        received_ms: 0,
        wall_unix_ms: None,
        verdicts: Vec::new(),
    };
    let pose = [KeyPoint { x: 1.0, y: 2.0, confidence: 1.0 }; 17];
    let footage = Footage { poses: (50..300).map(|frame| (frame, pose)).collect(), stands_for };
    Stretch::new(&JudgedItem { item, is_anomalous: said }, &footage, 0, 24).expect("poses")
}

#[test]
fn members_stand_for_the_whole_stream_whatever_was_sampled_of_it() {
    let mut stretches = Vec::new();
    // Flagged: 20 frames of anomalies, 40 of false alarms, 60 that nobody has judged. Below: 4 samples for 1,000 windows each, one of two judged ones anomalous.
    stretches.extend((0..2).map(|item| stretch(item, true, Some(true), 10, 0)));
    stretches.extend((2..6).map(|item| stretch(item, true, Some(false), 10, 0)));
    stretches.push(stretch(6, true, None, 60, 0));
    stretches.push(stretch(7, false, Some(true), 64, 1000));
    stretches.push(stretch(8, false, Some(false), 64, 1000));
    stretches.extend((9..11).map(|item| stretch(item, false, None, 64, 1000)));
    let strata = Strata::of(&stretches);
    assert_eq!((strata.flagged, strata.flagged_judged, strata.below, strata.missed_share), (120.0, 60.0, 4000.0, 0.5));
    // A window each.
    let owners: Vec<u32> = (0..stretches.len() as u32).collect();
    let members = joining(&stretches, &owners, Quota { share: 1.0, least: 0 }, &mut Random::new(1));
    assert_eq!(members.len(), 10, "what nobody judged is no member, unless it is a sample");
    let frames = |is_event: bool, is_anomalous: bool| -> f64 {
        let of = members.iter().filter(|one| one.stretch.is_event == is_event && one.is_anomalous == is_anomalous);
        of.map(|member| member.weight * if is_event { member.stretch.frames_stood_for() } else { 1.0 }).sum()
    };
    let all = [frames(true, true), frames(true, false), frames(false, true), frames(false, false)];
    assert!(all.iter().zip([40.0, 80.0, 2000.0, 2000.0]).all(|(found, expected)| (found - expected).abs() < 1e-9), "{all:?}");
}

#[test]
fn a_share_of_each_class_joins_and_what_a_set_lacks_in_any_case() {
    let mut stretches: Vec<Stretch> = (0..9).map(|item| stretch(item, true, Some(true), 10, 0)).collect();
    stretches.extend((9..29).map(|item| stretch(item, true, Some(false), 10, 0)));
    stretches.extend((29..59).map(|item| stretch(item, false, None, 64, 100)));
    let owners: Vec<u32> = (0..stretches.len() as u32).collect();
    let count = |quota| {
        let members = joining(&stretches, &owners, quota, &mut Random::new(3));
        let of = |is_event: bool, is_anomalous: bool| {
            members.iter().filter(|one| (one.stretch.is_event, one.is_anomalous) == (is_event, is_anomalous)).count()
        };
        [of(true, true), of(true, false), of(false, false)]
    };
    assert_eq!(count(Quota { share: 0.6, least: 0 }), [6, 12, 18]);
    assert_eq!(count(Quota { share: 0.6, least: 10 }), [9, 12, 18], "a set that lacks anomalies gets all nine");
    // A window each: at most eight normal ones for an anomalous one.
    assert_eq!(count(Quota { share: 0.1, least: 0 }), [1, 2, 3]);
}

/// A database with one camera, source weights and a key.
fn world(name: &str) -> (PathBuf, Store, Tools) {
    let folder = std::env::temp_dir().join(format!("alfred-cycle-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pretrained/stg_nf_synthetic/weights.safetensors");
    fs::write(folder.join("k"), "07".repeat(32)).expect("a key");
    let text = format!("source_weights = {weights:?}\nkey = \"k\"\nlabels_min = 1\nperiod_hours = 1.0\n");
    let settings: CycleSettings = toml::from_str(&text).expect("settings");
    let tools = Tools::read(settings.settle(&folder, &folder.join("host.toml")).expect("settings")).expect("weights and key");
    let mut store = Store::open(&folder.join("host.sqlite")).expect("opens");
    store.enrol("device", "gate", false, "test", 1).expect("enrols");
    (folder, store, tools)
}

#[test]
fn a_slice_without_verdicts_is_refused_with_its_reason_and_nothing_goes_out() {
    let (folder, mut store, tools) = world("empty");
    assert!(due(&store, &tools.settings, 10_000_000).expect("asked").is_empty(), "nobody has said anything");
    let round = close_slice(&mut store, "gate", &tools, "a test", 5).expect("closed");
    assert_eq!((round.evaluation.outcome, round.evaluation.revision, round.state.slice), (Outcome::Refused, None, 1));
    assert!(round.evaluation.reason.contains("no basis"), "{}", round.evaluation.reason);
    assert_eq!(round.state.phase, Phase::WarmUp);
    assert!(store.bundles(None).expect("bundles").is_empty());
    assert!(store.audit(None, 9).expect("audit").iter().any(|line| line.what == "candidate refused" && line.who == "cycle"));
    assert!(close_slice(&mut store, "elsewhere", &tools, "a test", 5).is_err(), "an unknown camera changes nothing");
    fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn requests_for_a_threshold_hold_and_promote_are_served_signed_and_audited() {
    let (folder, mut store, tools) = world("requests");
    let ask = |store: &mut Store, kind, argument| {
        let id = store.ask_cycle("gate", kind, &argument, "ann", 5).expect("asked");
        assert_eq!(due(store, &tools.settings, 6).expect("asked").len(), 1);
        let request = store.request(id).expect("there");
        serve(store, &request, &tools, 7).expect("served")
    };
    assert!(ask(&mut store, RequestKind::Promote, json!({})).contains("no bundle"));
    let told = ask(&mut store, RequestKind::Threshold, json!({"threshold": 1.25}));
    assert!(told.starts_with("revision 1: threshold"), "{told}");
    let bundle = &store.bundles(Some("gate")).expect("bundles")[0];
    assert_eq!((bundle.revision, bundle.threshold, bundle.policy.as_str(), bundle.added_by.as_str()), (1, 1.25, "given", "ann"));
    assert!(bundle.bytes <= 4096);
    assert_eq!(store.cameras().expect("cameras")[0].desired_revision, Some(1));
    assert!(ask(&mut store, RequestKind::Hold, json!({})).contains("wait"));
    assert!(store.cycle_state("gate").expect("a state").is_held);
    assert!(ask(&mut store, RequestKind::Promote, json!({"revision": 9})).contains("no revision 9"));
    assert!(ask(&mut store, RequestKind::Promote, json!({})).contains("revision 1"));
    assert!(!store.cycle_state("gate").expect("a state").is_held);
    let same = pair_in_force(&store, "gate", &tools.source).expect("a pair");
    assert_eq!((same.revision, same.parameters), (0, tools.source.parameters), "in force is what a device has confirmed");
    assert!(store.requests(None, 9).expect("requests").iter().all(|request| request.outcome.is_some()));
    fs::remove_dir_all(folder).expect("removed");
}
