//! The loop learns, as processes: a device on the simulated board, a daemon with a cycle, a reviewer over HTTP, until a round of active learning
//! has trained, and a bundle that the cycle made decides on the device.

use alfred_store::Store;
use alfred_store::cycle::Phase;
use alfred_store::evaluation::{Evaluation, Outcome};
use alfred_testkit::closed_loop::annotator::{Annotator, Truth};
use alfred_testkit::closed_loop::daemon::{HostFolder, build_programs};
use alfred_testkit::closed_loop::device::{BoardPlan, Device, DeviceSettings, write_config};
use alfred_testkit::closed_loop::scene::Camera;
use alfred_testkit::closed_loop::session::Session;
use alfred_testkit::golden::announce;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

const CAMERA: &str = "hall";
const SEED: u64 = 7;
const EVENT_SHARE: f64 = 0.4;
/// Generous: the machine may be busy. A quiet one needs half a minute.
const PATIENCE: Duration = Duration::from_secs(600);
/// Frames by which the truth is ahead of the device's decisions.
const TRUTH_AHEAD_FRAMES: u64 = 600;

fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/stg_nf_synthetic/weights.safetensors")
}

/// The rounds so far, oldest first, once the active learning phase has closed a slice and a bundle of the cycle is confirmed on the device.
fn learned(store: &Store) -> Option<Vec<Evaluation>> {
    let state = store.cycle_state(CAMERA).expect("a state");
    let mut rounds = store.evaluations(Some(CAMERA), 100).expect("evaluations");
    rounds.reverse();
    let confirmed = store.devices().expect("devices").iter().filter_map(|device| device.bundle_revision).max().unwrap_or(0);
    let has_trained = rounds.iter().any(|round| round.reason.contains("windows trained"));
    (state.phase == Phase::ActiveLearning && has_trained && confirmed > 0).then_some(rounds)
}

/// Reads what the device says, keeps the truth ahead of it, and looks into the database; the rounds, and frames decided.
fn watch(device: &Device, truth: &Truth, store: &Store) -> (Vec<Evaluation>, u64) {
    let mut camera = Camera::new(CAMERA, EVENT_SHARE, SEED).expect("a camera");
    let (end, mut decided, mut known, mut looked) = (Instant::now() + PATIENCE, 0, 0, Instant::now());
    loop {
        assert!(Instant::now() < end, "the loop did not learn: {:?}", store.evaluations(Some(CAMERA), 100));
        match device.output.recv_timeout(Duration::from_millis(100)) {
            Ok((_, line)) => {
                decided = line.get("frame").and_then(|frame| frame["frame"].as_u64()).map_or(decided, |frame| frame + 1);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("alfred-edge ended by itself"),
        }
        while known < decided + TRUTH_AHEAD_FRAMES {
            truth.add(CAMERA, &camera.next().expect("it never ends"));
            known += 1;
        }
        if looked.elapsed() > Duration::from_millis(200) {
            looked = Instant::now();
            if let Some(rounds) = learned(store) {
                return (rounds, decided);
            }
        }
    }
}

#[test]
fn a_device_a_daemon_and_a_reviewer_close_the_loop() {
    let programs = build_programs(&["alfred-edge", "alfred-host"]).expect("programs");
    let folder = std::env::temp_dir().join(format!("alfred-learning-{}", std::process::id()));
    let host = HostFolder::new(&programs.join("alfred-host"), &folder).expect("a host");
    let key = host.make_key().expect("a key");
    let device_folder = host.enrol(CAMERA).expect("enrolled");
    let config = write_config(&DeviceSettings {
        name: CAMERA,
        folder: &device_folder,
        port: host.port,
        weights: &weights(),
        key: &key,
        board: BoardPlan { seed: SEED, event_share: EVENT_SHARE, speed: 10.0, frames: 1 << 40, faults: "duplicate = 0.01\n" },
        trial: (100, 300),
        journal_bytes: 32 << 20,
        sample_bytes_per_hour: 40 << 20,
    })
    .expect("a configuration");
    let token = host.add_user("ann", "reviewer").expect("a reviewer");
    let source = weights().display().to_string();
    let cycle = format!(
        "[cycle]\nsource_weights = {source:?}\nkey = \"bundle.key\"\nlabels_min = 80\nperiod_hours = 0.0\nlook_ms = 200\nniceness = 0\nseed = {SEED}\n"
    );
    let daemon = host.serve(&cycle).expect("serves");
    let store = Store::open(&host.database()).expect("opens");
    let (truth, labels, stop) = (Arc::new(Truth::default()), Arc::new(AtomicU64::new(0)), AtomicBool::new(false));
    let annotator = Annotator {
        session: Session::log_in(&daemon.http, "ann", &token).expect("logged in"),
        truth: Arc::clone(&truth),
        cameras: vec![(CAMERA.to_owned(), "newest", Arc::default())],
        labels: Arc::clone(&labels),
    };
    let mut device = Device::start(&programs.join("alfred-edge"), &config).expect("starts");
    let (rounds, decided) = std::thread::scope(|scope| {
        // However the watch ends, the annotator must end with it.
        let annotator = scope.spawn(|| annotator.run(&stop));
        let watched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| watch(&device, &truth, &store)));
        stop.store(true, Relaxed);
        annotator.join().expect("no panic").expect("the daemon answers");
        watched.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let told = device.end(Duration::from_secs(120)).expect("ends well");
    let stats = told.iter().rev().find_map(|(_, line)| line.get("stats")).expect("figures");
    assert_eq!(stats["counters"]["frames_missing"], 0, "no frame was dropped while bundles were swapped: {stats}");

    for round in &rounds {
        println!("{:?}, revision {:?}: {}", round.outcome, round.revision, round.reason);
    }
    let promoted = rounds.iter().find(|round| round.outcome == Outcome::Promoted).expect("a bundle went out");
    let [low, ebi, high] = [promoted.ebi_low, promoted.ebi, promoted.ebi_high].map(|figure| figure.expect("judged by both classes"));
    assert!(low < high && (0.0..=1.0).contains(&ebi), "{low} {ebi} {high}");
    assert!(promoted.labels_used > 0 && promoted.labels_used <= labels.load(Relaxed));
    let bundles = store.bundles(Some(CAMERA)).expect("bundles");
    assert!(bundles.iter().all(|bundle| bundle.bytes <= 4096 && bundle.added_by == "cycle"));
    let audit = store.audit(None, 1000).expect("audit");
    assert!(audit.iter().any(|line| line.who == "cycle"), "what the cycle did is in the log");
    announce(&format!("{} rounds over {decided} frames and {} verdicts, {} bundles", rounds.len(), labels.load(Relaxed), bundles.len()));
    drop(daemon);
    let _ = std::fs::remove_dir_all(&folder);
}
