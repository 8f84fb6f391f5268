//! Connections that are cut anywhere: every record arrives once in effect, and bundles go on where they were.

use crate::world::{Device, DeviceSetup, Folder, Host, PATIENCE, Proxy, enrol, name, wait_for};
use alfred_link::enrol::{create_authority, device_credentials};
use alfred_link::fault::FaultKind;
use alfred_link::tcp::Acceptor;
use alfred_synth::random::Random;
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{BundleStage, BundleState};
use alfred_wire::name::Bytes;
use alfred_wire::record::{Content, Poses, Priority, Record, SampleRecord};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

const SEEDS: u64 = 6;

/// A record that only one `number` makes; most are small, some nearly as large as records get.
fn record<'a>(number: u64, random: &mut Random, bytes: &'a mut Vec<u8>) -> Record<'a> {
    let length = if random.chance(0.15) { 10_000 + random.below(40_000) } else { random.below(400) };
    bytes.clear();
    bytes.extend((0..length).map(|_| random.bits() as u8));
    let poses = Poses { first_frame: number, captured_ns: 0, count: 0, bytes: Bytes::new(bytes).expect("fits") };
    let content = Content::Sample(SampleRecord { person: 1, score: 0.0, stands_for: 1, poses });
    Record { written_ns: number, wall_unix_ms: None, bundle_revision: 0, content }
}

/// Gives records to the device until it has taken `numbers`; returns their bytes.
fn append(device: &Device, numbers: std::ops::Range<u64>, random: &mut Random) -> BTreeSet<Vec<u8>> {
    let recorder = device.handle.recorder();
    let mut expected = BTreeSet::new();
    let (mut poses, mut encoded) = (Vec::new(), vec![0; alfred_wire::record::RECORD_BYTES_MAX]);
    for number in numbers {
        let record = record(number, random, &mut poses);
        let priority = Priority::ALL[random.below(3)];
        // A full pool is this test's own haste.
        wait_for("room for a record", || recorder.append(priority, &record));
        expected.insert(record.encode(&mut encoded).expect("fits").to_vec());
    }
    let counters = device.handle.counters();
    wait_for("the journal", || counters.records_appended.load(Relaxed) == expected.len() as u64);
    expected
}

fn arrived(host: &Host) -> BTreeSet<Vec<u8>> {
    host.store.lock().expect("store").records.values().cloned().collect()
}

/// Cuts at random places, a restart of the device in the middle; returns how often records came again.
fn records_through_cuts(seed: u64, host: &Host, folder: &Folder, is_tls: bool) -> u64 {
    let mut random = Random::new(seed);
    let cuts = 25;
    let proxy = Proxy::start(host.address, seed, cuts, 60_000);
    let setup = |boot| {
        let credentials = is_tls.then(|| device_credentials(&folder.path("edge")));
        DeviceSetup { boot, ..DeviceSetup::new(folder, proxy.address, credentials) }
    };
    let device = setup(1).start();
    let mut expected = append(&device, 0..40, &mut random);
    wait_for("some receipts", || device.handle.counters().receipts.load(Relaxed) >= 10);
    let counters_before = Arc::clone(device.handle.counters());
    device.stop();

    let device = setup(2).start();
    expected.extend(append(&device, 40..80, &mut random));
    let has_all = || arrived(host).is_superset(&expected);
    wait_for(&format!("all records (seed {seed})"), has_all);
    assert_eq!(arrived(host), expected, "seed {seed}: a record that nobody wrote");
    assert_eq!(host.store.lock().expect("store").records.len(), expected.len(), "seed {seed}: one record under two names");
    let is_empty = || host.store.lock().expect("store").heartbeats.last().is_some_and(|heartbeat| heartbeat.journal_records == 0);
    wait_for(&format!("an empty journal (seed {seed})"), is_empty);
    let receipts = counters_before.receipts.load(Relaxed) + device.handle.counters().receipts.load(Relaxed);
    assert_eq!(receipts, expected.len() as u64, "seed {seed}: each record is freed once");
    assert_eq!(device.handle.counters().receipts_unexpected.load(Relaxed), 0, "seed {seed}");
    assert!(proxy.cuts_done.load(Relaxed) > 0, "seed {seed}: nothing was cut");
    // What found no buffer was this test's own haste, and was given again.
    let hasty = device.handle.counters().lost();
    device.stop();
    let store = host.store.lock().expect("store");
    assert_eq!(store.heartbeats.last().map(|heartbeat| heartbeat.journal_lost), Some(hasty), "seed {seed}: the journal lost something");
    assert_eq!(store.conflicts, 0, "seed {seed}: two records with one name");
    store.repeated
}

#[test]
fn records_arrive_once_in_effect_though_connections_are_cut_anywhere() {
    let mut repeated = 0;
    for seed in 1..=SEEDS {
        let folder = Folder::new();
        create_authority(&folder.path("host"), SystemTime::now()).expect("an authority");
        enrol(&folder, "edge 1", "edge", SystemTime::now());
        repeated += records_through_cuts(seed, &Host::tls(&folder, PATIENCE), &folder, true);
    }
    for seed in 100..=100 + SEEDS {
        repeated += records_through_cuts(seed, &Host::start(Acceptor::plain(PATIENCE), 16), &Folder::new(), false);
    }
    assert!(repeated > 0, "no record ever came again: the cuts were too kind to prove anything");
}

#[test]
fn a_bundle_goes_on_where_it_was_after_every_cut() {
    for seed in 1..=SEEDS {
        let folder = Folder::new();
        let host = Host::start(Acceptor::plain(PATIENCE), 16);
        let mut random = Random::new(seed);
        let bundle: Vec<u8> = (0..300_000).map(|_| random.bits() as u8 & 0x7F).collect();
        host.store.lock().expect("store").offer(9, bundle.clone());
        let proxy = Proxy::start(host.address, seed, 12, 60_000);
        let device = DeviceSetup::new(&folder, proxy.address, None).start();
        wait_for("the first cuts", || proxy.cuts_done.load(Relaxed) >= 4);
        // The process restarts, too: what it has is in the spool.
        let before = Arc::clone(device.handle.counters());
        device.stop();
        let device = DeviceSetup { boot: 2, ..DeviceSetup::new(&folder, proxy.address, None) }.start();
        wait_for(&format!("the bundle (seed {seed})"), || !device.seen.lock().expect("seen").bundles.is_empty());
        let is_told = || stages(&host).contains(&BundleStage::Written);
        // A cut may swallow this word: then the host offers again. It may not be silent for ever.
        wait_for("the host to know", is_told);
        let parts = before.bundle_parts.load(Relaxed) + device.handle.counters().bundle_parts.load(Relaxed);
        let connections = before.welcomes.load(Relaxed) + device.handle.counters().welcomes.load(Relaxed);
        let bundles = device.seen.lock().expect("seen").bundles.clone();
        assert!(bundles.iter().all(|came| *came == bundle), "seed {seed}: other bytes");
        let needed = bundle.len().div_ceil(4096) * bundles.len();
        assert!(parts <= needed as u64 + connections, "seed {seed}: {parts} parts of {needed} in {connections} connections: it began anew");
        device.stop();
    }
}

fn stages(host: &Host) -> Vec<BundleStage> {
    host.store.lock().expect("store").states.iter().map(|state: &BundleState| state.stage).collect()
}

#[test]
fn the_answer_to_a_bundle_goes_back_to_the_host() {
    let (folder, host) = (Folder::new(), Host::start(Acceptor::plain(PATIENCE), 4));
    host.store.lock().expect("store").offer(9, vec![0xEE; 5000]);
    let device = DeviceSetup::new(&folder, host.address, None).start();
    wait_for("the refusal", || stages(&host).len() == 3);
    assert_eq!(stages(&host), [BundleStage::Wanted, BundleStage::Written, BundleStage::Refused]);
    let reason = host.store.lock().expect("store").states[2].reason;
    assert_eq!(reason, Some(ErrorCode::BundleSignature.number()));
    assert_eq!(device.handle.counters().bundles_refused.load(Relaxed), 1);
    device.stop();
}

#[test]
fn offers_that_do_not_fit_are_refused_before_a_byte_is_fetched() {
    let cases = [
        (ErrorCode::BundleDowngrade, 3, 77, 10),
        (ErrorCode::BundleFingerprint, 9, 78, 10),
        (ErrorCode::BundleTooLarge, 9, 77, u32::MAX),
        (ErrorCode::BundleTruncated, 9, 77, 0),
    ];
    for (code, revision, fingerprint, bytes) in cases {
        let (folder, host) = (Folder::new(), Host::start(Acceptor::plain(PATIENCE), 4));
        {
            let mut store = host.store.lock().expect("store");
            store.offer(revision, vec![1; 10]);
            let offer = &mut store.offer.as_mut().expect("there").0;
            (offer.fingerprint, offer.bytes) = (fingerprint, bytes);
        }
        let device = DeviceSetup::new(&folder, host.address, None).start();
        wait_for("the refusal", || !stages(&host).is_empty());
        assert_eq!(host.store.lock().expect("store").states[0].reason, Some(code.number()));
        assert_eq!(device.handle.counters().bundle_parts.load(Relaxed), 0);
        device.stop();
    }
}

#[test]
fn a_record_that_the_host_cannot_read_is_kept_aside_and_not_sent_again() {
    let (folder, host) = (Folder::new(), Host::start(Acceptor::plain(PATIENCE), 4));
    let device = DeviceSetup::new(&folder, host.address, None).start();
    let mut random = Random::new(1);
    let (mut poses, mut encoded) = (Vec::new(), vec![0; 60_000]);
    let record = record(1, &mut random, &mut poses);
    host.store.lock().expect("store").unreadable_bytes = Some(record.encode(&mut encoded).expect("fits").len());
    assert!(device.handle.recorder().append(Priority::Event, &record));
    wait_for("the answer", || device.handle.counters().receipts.load(Relaxed) == 1);
    assert_eq!(device.handle.counters().records_unreadable.load(Relaxed), 1);
    assert_eq!(device.faults(), []);
    device.stop();
}

#[test]
fn samples_leave_room_for_events_and_every_loss_is_counted() {
    // Nobody listens there: the journal takes records all the same, one after another.
    let folder = Folder::new();
    let device = DeviceSetup::new(&folder, "127.0.0.1:1".parse().expect("an address"), None).start();
    let recorder = device.handle.recorder();
    let mut poses = Vec::new();
    let record = record(1, &mut Random::new(1), &mut poses);
    let (mut taken, mut lost) = (0, 0);
    // Faster than any journal that syncs.
    for _ in 0..2000 {
        if recorder.append(Priority::Sample, &record) { taken += 1 } else { lost += 1 }
    }
    assert!(recorder.append(Priority::Event, &record), "samples took the last buffer");
    assert!(lost > 0, "the pool never ran out: this proves nothing");
    let counters = Arc::clone(device.handle.counters());
    assert_eq!(device.wait_for_fault(), FaultKind::Connect);
    device.stop();
    assert_eq!(counters.lost(), [lost, 0, 0]);
    assert_eq!(counters.records_appended.load(Relaxed), taken + 1, "what was taken before the end is in the journal");
}

#[test]
fn a_cap_slows_records_and_not_heartbeats() {
    let (folder, host) = (Folder::new(), Host::start(Acceptor::plain(PATIENCE), 4));
    let device = DeviceSetup { bytes_per_second_max: 1, ..DeviceSetup::new(&folder, host.address, None) }.start();
    let mut random = Random::new(3);
    append(&device, 0..20, &mut random);
    wait_for("three heartbeats", || host.store.lock().expect("store").heartbeats.len() >= 3);
    assert!(device.handle.counters().records_sent.load(Relaxed) <= 1, "a byte per second is spent by the first message");
    assert_eq!(host.store.lock().expect("store").heartbeats[0].frames, 5);
    assert_eq!(host.store.lock().expect("store").records.keys().filter(|(device, _)| *device != name("edge 1")).count(), 0);
    device.stop();
}
