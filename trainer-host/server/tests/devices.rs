//! The devices' door over real sockets: records exactly once across cut connections, bundles that go on after a cut, strangers refused.

mod support;

use alfred_link::credentials::Credentials;
use alfred_link::enrol::{self, Enrolment};
use alfred_link::limits::Patience;
use alfred_link::session::{Link, Session};
use alfred_link::tcp::{TcpLink, TcpSession};
use alfred_store::bundle::NewBundle;
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{
    BundleAsk, BundleOffer, BundleStage, BundleState, DeviceMessage, Heartbeat, Hello, HostMessage, JournalRecord, RecordId, Refused,
};
use alfred_wire::name::{Bytes, Name};
use alfred_wire::output::Kind;
use alfred_wire::record::Priority;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};
use support::records::{CAMERA, DEVICE, event, segment};
use support::{Ground, Host, number};

const PATIENT: Duration = Duration::from_secs(60);

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn hello(device: &str, camera: &str) -> DeviceMessage<'static> {
    DeviceMessage::Hello(Hello { device: name(device), camera: name(camera), boot: 1, fingerprint: 9, bundle_revision: 0, now_ns: 0 })
}

/// Connects and introduces itself as the device that the database knows.
fn connect(address: SocketAddr) -> TcpSession {
    let mut session = TcpLink::new(address.to_string(), None, Patience::USUAL).expect("a link").connect().expect("connects");
    session.send(&hello(DEVICE, CAMERA)).expect("sent");
    assert!(matches!(session.receive(PATIENT), Ok(Some(HostMessage::Welcome(_)))));
    session
}

fn send(session: &mut TcpSession, sequence: u64, body: &[u8]) {
    let body = Bytes::new(body).expect("fits");
    let record = JournalRecord { id: RecordId { boot: 1, sequence }, priority: Priority::Event, body };
    session.send(&DeviceMessage::Record(record)).expect("sent");
}

fn receipt(session: &mut TcpSession) -> RecordId {
    match session.receive(PATIENT) {
        Ok(Some(HostMessage::Receipt(receipt))) => receipt.id,
        other => panic!("a receipt, not {other:?}"),
    }
}

fn state(revision: u64, stage: BundleStage, reason: Option<ErrorCode>) -> DeviceMessage<'static> {
    let reason = reason.map(ErrorCode::number);
    let (windows, flagged, live_flagged, disagreements, faults, from_frame) = (1, 2, 3, 4, 5, 6);
    DeviceMessage::BundleState(BundleState { revision, stage, reason, windows, flagged, live_flagged, disagreements, faults, from_frame })
}

fn offer(session: &mut TcpSession) -> BundleOffer {
    match session.receive(PATIENT) {
        Ok(Some(HostMessage::BundleOffer(offer))) => offer,
        other => panic!("an offer, not {other:?}"),
    }
}

/// Asks for a part until its last byte; returns at most `parts_max` parts.
fn fetch(session: &mut TcpSession, offer: &BundleOffer, bytes: &mut Vec<u8>, parts_max: usize) {
    for _ in 0..parts_max {
        session.send(&DeviceMessage::BundleAsk(BundleAsk { revision: offer.revision, offset: bytes.len() as u32 })).expect("sent");
        match session.receive(PATIENT) {
            Ok(Some(HostMessage::BundleChunk(chunk))) => {
                assert_eq!(chunk.offset as usize, bytes.len());
                bytes.extend(chunk.bytes.get());
            }
            other => panic!("a part, not {other:?}"),
        }
    }
}

#[test]
fn records_come_exactly_once_across_cut_connections() {
    let ground = Ground::new(&[], 0);
    let host = Host::start(&ground.config());
    let mut waiting: BTreeSet<u64> = (1..=60).collect();
    let mut cuts = 0;
    while !waiting.is_empty() {
        let mut session = connect(host.devices);
        let batch: Vec<u64> = waiting.iter().copied().take(20).collect();
        for sequence in &batch {
            // Two messages of an event each: what is counted below are its records.
            let body = if sequence % 2 == 0 {
                segment(*sequence / 2, 0, true, 90..100)
            } else {
                event(*sequence / 2 + 1, Kind::EndScoreFell, 2.0)
            };
            send(&mut session, *sequence, &body);
        }
        // The connection is cut after some receipts: the other records have come, but the device cannot know.
        let heard = if cuts < 6 { 1 + cuts * 3 } else { batch.len() };
        for _ in 0..heard.min(batch.len()) {
            assert!(waiting.remove(&receipt(&mut session).sequence), "a receipt for what was not sent");
        }
        drop(session);
        cuts += 1;
    }
    assert!(cuts > 4);
    assert_eq!(number(&ground.file(), "SELECT count(*) FROM records"), 60);
    assert_eq!(number(&ground.file(), "SELECT count(DISTINCT sequence) FROM records WHERE sequence BETWEEN 1 AND 60"), 60);
    assert_eq!(number(&ground.file(), "SELECT count(*) FROM segments"), 30, "a repeated segment adds no part");
    assert_eq!(number(&ground.file(), "SELECT count(*) FROM records_aside"), 0);
}

#[test]
fn a_record_that_cannot_be_read_is_kept_and_not_asked_for_again() {
    let ground = Ground::new(&[], 0);
    let host = Host::start(&ground.config());
    let mut session = connect(host.devices);
    send(&mut session, 5, b"\x01nonsense");
    let refused = match session.receive(PATIENT) {
        Ok(Some(HostMessage::Refused(refused))) => refused,
        other => panic!("a refusal, not {other:?}"),
    };
    let record = Some(RecordId { boot: 1, sequence: 5 });
    assert_eq!(refused, Refused { code: ErrorCode::LinkRecord.number(), record, revision: None });
    assert_eq!(number(&ground.file(), "SELECT count(*) FROM records WHERE kind = 'unreadable'"), 1);
    session.send(&DeviceMessage::Heartbeat(Heartbeat { frames: 77, ..Heartbeat::default() })).expect("sent");
    send(&mut session, 6, &event(1, Kind::New, 2.0));
    assert_eq!(receipt(&mut session).sequence, 6);
    let (_, devices) = host.client(&ground, "ole").get("/api/devices");
    assert_eq!((&devices[0]["health"]["frames"], &devices[0]["name"]), (&json!(77), &json!(DEVICE)));
    let figures = host.client(&ground, "ole").get_text("/metrics").1;
    assert!(figures.contains("alfred_device_frames{device=\"device 1\",camera=\"gate\"} 77"), "{figures}");
}

fn refusal(address: SocketAddr, credentials: Option<&Credentials>, first: &DeviceMessage<'_>) -> Option<ErrorCode> {
    let mut session = TcpLink::new(address.to_string(), credentials, Patience::USUAL).expect("a link").connect().expect("connects");
    session.send(first).expect("sent");
    match session.receive(PATIENT) {
        Ok(Some(HostMessage::Refused(refused))) => refused.code.known(),
        Ok(Some(HostMessage::Welcome(_))) => None,
        other => panic!("an answer, not {other:?}"),
    }
}

#[test]
fn strangers_are_refused_with_their_own_codes() {
    let ground = Ground::new(&[], 0);
    let host = Host::start(&ground.config());
    assert_eq!(refusal(host.devices, None, &hello(DEVICE, CAMERA)), None);
    assert_eq!(refusal(host.devices, None, &hello("stranger", CAMERA)), Some(ErrorCode::LinkUnknownDevice));
    assert_eq!(refusal(host.devices, None, &hello("'; DROP TABLE devices; --", CAMERA)), Some(ErrorCode::LinkUnknownDevice));
    assert_eq!(refusal(host.devices, None, &hello(DEVICE, "yard")), Some(ErrorCode::LinkWrongCamera));
    assert_eq!(refusal(host.devices, None, &state(1, BundleStage::Wanted, None)), Some(ErrorCode::LinkUnexpected));
    ground.store().enrol(DEVICE, CAMERA, true, "host", 1).expect("enrols");
    assert_eq!(refusal(host.devices, None, &hello(DEVICE, CAMERA)), Some(ErrorCode::LinkWrongDevice), "it must prove its name now");
    ground.store().revoke_device(DEVICE, "host", 1).expect("revokes");
    assert_eq!(refusal(host.devices, None, &hello(DEVICE, CAMERA)), Some(ErrorCode::LinkUnknownDevice));
}

fn enrol_one(ground: &Ground, device: &str, out: &Path) -> Credentials {
    let host_folder = ground.folder.path().join("host");
    let enrolment =
        Enrolment { host_folder: &host_folder, device: name(device), host_address: "gate.example:7443", out, now: SystemTime::now() };
    enrol::enrol(&enrolment).expect("enrolled");
    enrol::device_credentials(out)
}

#[test]
fn with_certificates_each_device_speaks_for_itself_only() {
    let ground = Ground::new(&[], 0);
    let first = enrol_one(&ground, DEVICE, &ground.folder.path().join("first"));
    let second = enrol_one(&ground, "device 2", &ground.folder.path().join("second"));
    for device in [DEVICE, "device 2"] {
        ground.store().enrol(device, CAMERA, true, "host", 1).expect("enrols");
    }
    let host = Host::start(&alfred_server::ServerConfig { credentials: Some(ground.folder.path().join("host")), ..ground.config() });
    assert_eq!(refusal(host.devices, Some(&first), &hello(DEVICE, CAMERA)), None);
    assert_eq!(refusal(host.devices, Some(&second), &hello("device 2", CAMERA)), None);
    assert_eq!(refusal(host.devices, Some(&second), &hello(DEVICE, CAMERA)), Some(ErrorCode::LinkWrongDevice));
    let elsewhere = Ground::new(&[], 0);
    let foreign = enrol_one(&elsewhere, DEVICE, &elsewhere.folder.path().join("first"));
    let knock = TcpLink::new(host.devices.to_string(), Some(&foreign), Patience::USUAL).expect("a link").connect();
    let is_let_in = knock.is_ok_and(|mut session| {
        session.send(&hello(DEVICE, CAMERA)).is_ok() && matches!(session.receive(PATIENT), Ok(Some(HostMessage::Welcome(_))))
    });
    assert!(!is_let_in, "a certificate of another authority");
    let mut plain = TcpLink::new(host.devices.to_string(), None, Patience::USUAL).expect("a link").connect().expect("connects");
    let _ = plain.send(&hello(DEVICE, CAMERA));
    assert!(!matches!(plain.receive(PATIENT), Ok(Some(HostMessage::Welcome(_)))), "no certificate at all");
}

#[test]
fn a_bundle_goes_on_after_a_cut_and_its_states_are_shown() {
    let ground = Ground::new(&[], 0);
    let bytes: Vec<u8> = (0..10_000_u32).map(|at| (at * 7 % 251) as u8).collect();
    let bundle = NewBundle {
        camera: CAMERA,
        revision: 3,
        parent_revision: 0,
        fingerprint: 9,
        threshold: 1.5,
        policy: "eer",
        model: None,
        bytes: &bytes,
    };
    ground.store().add_bundle(&bundle, "ole", 1).expect("added");
    let host = Host::start(&ground.config());
    let mut ole = host.client(&ground, "ole");
    let mut session = connect(host.devices);
    let (status, started) = ole.post("/api/rollouts", &json!({ "newest_everywhere": true }));
    assert_eq!(status, 200, "{started}");
    let first = offer(&mut session);
    assert_eq!((first.revision, first.bytes, first.fingerprint, first.camera), (3, 10_000, 9, name(CAMERA)));
    session.send(&state(3, BundleStage::Wanted, None)).expect("sent");
    let mut fetched = Vec::new();
    fetch(&mut session, &first, &mut fetched, 1);
    drop(session);
    let mut session = connect(host.devices);
    let second = offer(&mut session);
    assert_eq!(second, first, "the same bundle is offered again");
    fetch(&mut session, &second, &mut fetched, 2);
    assert_eq!(fetched, bytes);
    for stage in [BundleStage::Written, BundleStage::Verified, BundleStage::Shadow] {
        session.send(&state(3, stage, None)).expect("sent");
    }
    let rollout = started["rollout"].as_i64().expect("a number");
    // A receipt comes after everything before it was taken in.
    send(&mut session, 1, &event(1, Kind::New, 2.0));
    assert_eq!(receipt(&mut session).sequence, 1);
    assert_eq!(ole.get("/api/deployments").1[0]["stage"], "shadow");
    assert_eq!(ole.post(&format!("/api/rollouts/{rollout}/rollback"), &json!({})).0, 200);
    assert!(matches!(session.receive(PATIENT), Ok(Some(HostMessage::BundleWithdraw { revision: 3 }))));
    session.send(&state(3, BundleStage::Refused, Some(ErrorCode::Withdrawn))).expect("sent");
    send(&mut session, 2, &event(2, Kind::New, 2.0));
    assert_eq!(receipt(&mut session).sequence, 2);
    let (_, shown) = ole.get(&format!("/api/deployments?camera={CAMERA}"));
    assert_eq!((&shown[0]["stage"], &shown[0]["reason_name"]), (&json!("refused"), &json!("Withdrawn")));
    assert!(shown[0]["mend"].is_string());
    assert_eq!(ole.get("/api/reports").1.as_array().expect("reports").len(), 5);
    assert_eq!(ole.get("/api/rollouts").1[0]["state"], "rolled_back");
}
