//! The closed loop under kill -9: either process ends at random moments, twenty times, while events flow up and bundles down.

use alfred_board::file_storage::FileStorage;
use alfred_bundle::format::{Bundle, SIGNATURE_BYTES, read};
use alfred_journal::journal::{Journal, Settings};
use alfred_store::Store;
use alfred_store::bundle::NewBundle;
use alfred_store::rollout::Target;
use alfred_synth::random::Random;
use alfred_testkit::closed_loop::daemon::{Daemon, HostFolder, build_programs, text};
use alfred_testkit::closed_loop::device::{BoardPlan, Device, DeviceSettings, write_config};
use alfred_testkit::golden::announce;
use alfred_wire::link::RecordId;
use alfred_wire::name::Name;
use alfred_wire::record::{Priority, RECORD_BYTES_MAX};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const KILLS: u32 = 20;
const CAMERA: &str = "hall";
const JOURNAL_BYTES: u64 = 32 << 20;
/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// Boards run so many times faster than real time.
const SPEED: f64 = 300.0;
/// More windows than any life of a device here has: a trial that only the host can end.
const NEVER: u64 = 1 << 40;

fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/stg_nf_synthetic/weights.safetensors")
}

/// Events and their segments that lie in a journal that nobody has open, by name.
fn journalled(journal: &Path, scratch: &Path) -> BTreeMap<RecordId, Vec<u8>> {
    fs::copy(journal, scratch).expect("a copy of the journal");
    let storage = FileStorage::open(scratch, JOURNAL_BYTES).expect("opens");
    let (mut journal, _) = Journal::open(storage, Settings::new(Name::new(CAMERA).expect("a name"), 1)).expect("opens after any kill");
    let (mut found, mut buffer) = (BTreeMap::new(), vec![0; RECORD_BYTES_MAX]);
    while let Some(record) = journal.next_unsent(&mut buffer).expect("reads") {
        if record.priority == Priority::Event {
            found.insert(record.id, record.body.to_vec());
        }
    }
    found
}

/// Builds a bundle as an operator does, and lets the camera have it.
fn roll_out(host: &HostFolder, store: &mut Store, revision: u64, threshold: f32) -> i64 {
    let out = host.folder.join(format!("{revision}.bundle"));
    let (weights, key) = (text(&weights()), text(&host.folder.join("bundle.key")));
    let (number, threshold) = (revision.to_string(), threshold.to_string());
    let arguments = [
        "bundle",
        "build",
        "--weights",
        &weights,
        "--key",
        &key,
        "--camera",
        CAMERA,
        "--revision",
        &number,
        "--threshold",
        &threshold,
        "--out",
        &text(&out),
    ];
    host.command(&arguments).expect("a bundle");
    let bytes = fs::read(&out).expect("reads");
    let bundle: Bundle<'_> = read(&bytes[..bytes.len() - SIGNATURE_BYTES]).expect("ours");
    let new = NewBundle {
        camera: CAMERA,
        revision,
        parent_revision: 0,
        fingerprint: bundle.fingerprint,
        threshold: f64::from(bundle.decision.threshold().value()),
        policy: "given",
        model: None,
        bytes: &bytes,
    };
    store.add_bundle(&new, "test", 1).expect("added");
    store.roll_out(&[Target { camera: CAMERA.to_owned(), revision }], "test", 1).expect("rolled out")
}

/// Stage and revision that the device tells first after a start; `None` when it runs its model file, as `frames_max` decided frames without
/// a word of a bundle say.
fn first_bundle(device: &Device, frames_max: u64) -> Option<(String, u64)> {
    let (end, mut frames) = (Instant::now() + PATIENCE, 0);
    while Instant::now() < end {
        let (_, line) = device.output.recv_timeout(Duration::from_secs(60)).expect("the device speaks");
        if let Some(bundle) = line.get("bundle") {
            return Some((bundle["stage"].as_str().expect("a stage").to_owned(), bundle["revision"].as_u64().expect("a revision")));
        }
        frames += u64::from(line.get("frame").is_some());
        if frames > frames_max {
            return None;
        }
    }
    panic!("the device decides no frame");
}

/// A bundle that the host takes back while it is tried ends there, and the confirmed one goes on.
fn withdraw(host: &HostFolder, store: &mut Store, device: &Device, revision: u64) {
    let rollout = roll_out(host, store, revision, 3.0);
    let (mut is_back, end) = (false, Instant::now() + PATIENCE);
    loop {
        assert!(Instant::now() < end, "revision {revision} was never withdrawn: {:?}", store.deployments(Some(CAMERA)));
        let deployments = store.deployments(Some(CAMERA)).expect("deployments");
        let state = deployments.iter().find(|one| one.revision == revision).map(|one| (one.stage.clone(), one.reason));
        match state {
            Some((stage, reason)) if stage == "refused" || stage == "reverted" => {
                assert_eq!(reason, Some(208), "{stage}");
                return;
            }
            Some((stage, _)) if !is_back && (stage == "shadow" || stage == "trial") => {
                store.roll_back(rollout, "test", 1).expect("rolled back");
                is_back = true;
            }
            _ => {}
        }
        device.output.try_iter().for_each(drop);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One camera's loop, ready to be broken.
struct World {
    host: HostFolder,
    daemon: Daemon,
    store: Store,
    edge: PathBuf,
    key: String,
    /// The device's folder.
    folder: PathBuf,
    device: Option<Device>,
    seed: u64,
    /// Starts of the device: other people are before its camera each time.
    lives: u64,
    /// Everything that was ever found in the journal of a killed device.
    seen: BTreeMap<RecordId, Vec<u8>>,
    revision: u64,
    /// Devices and hosts killed.
    killed: [u32; 2],
}

impl World {
    fn new(folder: &Path, seed: u64) -> Self {
        let programs = build_programs(&["alfred-edge", "alfred-host"]).expect("programs");
        let host = HostFolder::new(&programs.join("alfred-host"), folder).expect("a host");
        let key = host.make_key().expect("a key");
        let folder = host.enrol(CAMERA).expect("enrolled");
        let mut world = Self {
            daemon: host.serve("").expect("serves"),
            store: Store::open(&host.database()).expect("opens"),
            edge: programs.join("alfred-edge"),
            device: None,
            host,
            key,
            folder,
            seed,
            lives: 0,
            seen: BTreeMap::new(),
            revision: 0,
            killed: [0; 2],
        };
        world.start_device(SPEED, (100, 300));
        world
    }

    /// The device's next life.
    fn start_device(&mut self, speed: f64, trial: (u64, u64)) {
        self.lives += 1;
        // Storage refuses a write now and then, sensors fail, frames come twice: what lies in the journal all the same must arrive.
        let faults = "duplicate = 0.02\nsensor_fault = 0.1\nstorage_fault_every = 400\nwatchdog_ms = 5000\n";
        let seed = self.seed + self.lives;
        let settings = DeviceSettings {
            name: CAMERA,
            folder: &self.folder,
            port: self.host.port,
            weights: &weights(),
            key: &self.key,
            board: BoardPlan { seed, event_share: 0.4, speed, frames: 1 << 40, faults },
            trial,
            journal_bytes: JOURNAL_BYTES,
            sample_bytes_per_hour: 0,
        };
        let config = write_config(&settings).expect("a configuration");
        self.device = Some(Device::start(&self.edge, &config).expect("starts"));
    }

    fn device(&mut self) -> &mut Device {
        self.device.as_mut().expect("it was started")
    }

    fn look_into_the_journal(&mut self) {
        let scratch = self.host.folder.join("journal.copy");
        self.seen.extend(journalled(&self.folder.join("journal.alfred"), &scratch));
    }

    fn roll_out_next(&mut self) {
        self.revision += 1;
        roll_out(&self.host, &mut self.store, self.revision, 0.5 + 0.2 * self.revision as f32);
    }

    fn kill_device(&mut self) {
        self.killed[0] += 1;
        self.device().kill();
        self.look_into_the_journal();
        self.start_device(SPEED, (100, 300));
        // On the model file while nothing was confirmed, else on a confirmed slot, or on trial with one in reserve.
        if let Some((stage, _)) = first_bundle(self.device(), 30) {
            assert!(["confirmed", "trial", "shadow", "verified", "reverted", "refused"].contains(&stage.as_str()), "{stage}");
        }
    }

    fn kill_host(&mut self) {
        self.killed[1] += 1;
        self.daemon.kill();
        self.daemon = self.host.serve("").expect("serves again");
    }

    /// Frames go on until the newest bundle is confirmed, or has its reason why not; the confirmed revisions.
    fn settle(&mut self) -> Vec<u64> {
        let end = Instant::now() + PATIENCE;
        loop {
            let deployments = self.store.deployments(Some(CAMERA)).expect("deployments");
            let is_over = |stage: &str| ["confirmed", "refused", "reverted"].contains(&stage);
            if deployments.iter().any(|one| one.revision == self.revision && is_over(&one.stage)) {
                return deployments.iter().filter(|one| one.stage == "confirmed").map(|one| one.revision).collect();
            }
            assert!(Instant::now() < end, "the newest bundle never ended its way: {deployments:?}");
            self.device().output.try_iter().for_each(drop);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the host has every record that was ever seen, each with the bytes that were written.
    fn check_records(&self) {
        let end = Instant::now() + PATIENCE;
        for (id, body) in &self.seen {
            loop {
                match self.store.record_body(CAMERA, id.boot, id.sequence).expect("asked") {
                    Some(found) => break assert_eq!(&found, body, "{id:?} as it was written"),
                    None => assert!(Instant::now() < end, "{id:?} of {} journalled records never came", self.seen.len()),
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let counts = self.store.counts().expect("counts");
        let aside = counts.into_iter().find(|count| count.what == "records_aside").map_or(0, |count| count.count);
        assert_eq!(aside, 0, "no id came with two contents: each record is there exactly once, its id is the table's key");
    }
}

#[test]
fn twenty_kills_lose_and_double_nothing_and_leave_a_confirmed_slot() {
    let seed = std::env::var("ALFRED_KILL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_128);
    announce(&format!("kill -9 of either process: seed {seed} (repeat with ALFRED_KILL_SEED={seed})"));
    let mut random = Random::new(seed);
    let folder = std::env::temp_dir().join(format!("alfred-kill-{}", std::process::id()));
    let mut world = World::new(&folder, seed);
    for kill in 0..KILLS {
        if kill.is_multiple_of(4) {
            world.roll_out_next();
        }
        let until = Instant::now() + Duration::from_millis(random.below(900) as u64 + 100);
        while Instant::now() < until {
            world.device().output.try_iter().for_each(drop);
            std::thread::sleep(Duration::from_millis(5));
        }
        if random.chance(0.5) { world.kill_device() } else { world.kill_host() }
    }
    assert!(world.killed.iter().all(|count| *count > 0), "both were killed: {:?}", world.killed);
    let confirmed = world.settle();
    assert!(!confirmed.is_empty(), "bundles were confirmed between the kills");
    world.device().end(PATIENCE).expect("ends well");
    world.look_into_the_journal();
    // The next life finds a confirmed slot, and brings the host what it does not have yet.
    world.start_device(1.0, (100, NEVER));
    let first = first_bundle(world.device(), u64::MAX).expect("a bundle decides");
    assert_eq!((first.0.as_str(), Some(&first.1)), ("confirmed", confirmed.iter().max()));
    world.check_records();
    withdraw(&world.host, &mut world.store, world.device.as_ref().expect("it was started"), world.revision + 1);
    world.device().end(PATIENCE).expect("ends well");
    announce(&format!(
        "{KILLS} kills ({} devices, {} hosts): {} journalled events, segments and reports found exactly once; revisions {confirmed:?} confirmed",
        world.killed[0],
        world.killed[1],
        world.seen.len()
    ));
    drop(world);
    let _ = fs::remove_dir_all(&folder);
}
