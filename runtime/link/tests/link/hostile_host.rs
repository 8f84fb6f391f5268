//! Broken and hostile hosts: the device frees nothing that the host does not have, keeps to its memory, and tries again.

use crate::world::{Device, DeviceSetup, Folder, PATIENCE, wait_for};
use alfred_link::fault::FaultKind;
use alfred_link::limits::{Patience, TRANSFERS_FAILED_MAX};
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{
    BundleChunk, BundleOffer, BundleStage, CHUNK_BYTES_MAX, DeviceMessage, ENVELOPE_BYTES, HOST_MESSAGE_BYTES_MAX, HostMessage, Receipt,
    RecordId, Refused, Welcome, decode, encode,
};
use alfred_wire::name::{Bytes, Name};
use alfred_wire::record::{Content, Priority, Record};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const IMPATIENCE: Patience = Patience { message: Duration::from_millis(300), receipt: Duration::from_millis(300), ..PATIENCE };

/// A host whose every word the test decides.
struct Script {
    socket: TcpStream,
}

impl Script {
    fn accept(listener: &TcpListener) -> Self {
        Self { socket: listener.accept().expect("a device").0 }
    }

    /// A host that has read Hello and said Welcome.
    fn welcome(listener: &TcpListener) -> Self {
        let mut script = Self::accept(listener);
        assert!(script.hear(|message| matches!(message, DeviceMessage::Hello(_)).then_some(())).is_some());
        script.say(&HostMessage::Welcome(Welcome { wall_unix_ms: 0, heartbeat_period_s: 3600 }));
        script
    }

    fn say(&mut self, message: &HostMessage<'_>) {
        let mut buffer = [0; ENVELOPE_BYTES + HOST_MESSAGE_BYTES_MAX];
        let _ = self.socket.write_all(encode(message, &mut buffer).expect("fits"));
    }

    /// Reads until a message is the one; `None` when the device hung up.
    fn hear<T>(&mut self, pick: impl Fn(DeviceMessage<'_>) -> Option<T>) -> Option<T> {
        loop {
            let mut envelope = [0; ENVELOPE_BYTES];
            self.socket.read_exact(&mut envelope).ok()?;
            let length = u32::from_le_bytes([envelope[4], envelope[5], envelope[6], envelope[7]]);
            let mut body = vec![0; length as usize];
            self.socket.read_exact(&mut body).ok()?;
            if let Some(picked) = pick(decode(&body).expect("a message")) {
                return Some(picked);
            }
        }
    }

    fn hear_record(&mut self) -> Option<RecordId> {
        self.hear(|message| match message {
            DeviceMessage::Record(record) => Some(record.id),
            _ => None,
        })
    }
}

/// Says Welcome to connections until a record comes on one: an impatient device may have left those that waited here.
fn until_record(listener: &TcpListener) -> Script {
    loop {
        let mut host = Script::accept(listener);
        host.say(&HostMessage::Welcome(Welcome { wall_unix_ms: 0, heartbeat_period_s: 3600 }));
        if host.hear_record().is_some() {
            return host;
        }
    }
}

fn setup(patience: Patience) -> (TcpListener, Folder, Device) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let folder = Folder::new();
    let device = DeviceSetup { patience, ..DeviceSetup::new(&folder, listener.local_addr().expect("an address"), None) }.start();
    (listener, folder, device)
}

fn append(device: &Device, count: u64) {
    let content = Content::Health(Default::default());
    for number in 0..count {
        let record = Record { written_ns: number, wall_unix_ms: None, bundle_revision: 0, content };
        wait_for("room", || device.handle.recorder().append(Priority::Event, &record));
    }
}

#[test]
fn nothing_is_freed_for_receipts_that_were_replayed_or_made_up() {
    let (listener, _folder, device) = setup(PATIENCE);
    append(&device, 3);
    let mut host = Script::welcome(&listener);
    let ids: Vec<RecordId> = (0..3).map(|_| host.hear_record().expect("a record")).collect();
    for _ in 0..5 {
        host.say(&HostMessage::Receipt(Receipt { id: ids[0] }));
    }
    for sequence in 1000..1005 {
        host.say(&HostMessage::Receipt(Receipt { id: RecordId { boot: 1, sequence } }));
    }
    let counters = device.handle.counters();
    wait_for("the receipts", || counters.receipts.load(Relaxed) == 1 && counters.receipts_unexpected.load(Relaxed) == 9);
    drop(host);
    // A receipt that was heard on an earlier connection, before the record was sent on this one.
    let mut host = Script::welcome(&listener);
    let again: Vec<RecordId> = (0..2).map(|_| host.hear_record().expect("a record")).collect();
    assert_eq!(again, ids[1..]);
    device.stop();
}

#[test]
fn wrong_frames_of_a_host_are_told_apart() {
    let cases: [(&[u8], FaultKind); 5] = [
        (b"HTTP/1.1 400 Bad Request\r\n", FaultKind::Magic),
        (b"AF\x09\0\x01\0\0\0", FaultKind::Version),
        (b"AF\x01\0\xFF\xFF\0\0", FaultKind::TooLarge),
        (b"AF\x01\0\x02\0\0\0\x63\x63", FaultKind::Malformed),
        (b"AF\x01\0\x02\0\0\0\x06\x01", FaultKind::Unexpected),
    ];
    for (bytes, kind) in cases {
        let (listener, _folder, device) = setup(PATIENCE);
        Script::accept(&listener).socket.write_all(bytes).expect("says");
        assert_eq!(device.wait_for_fault(), kind, "{}", bytes.escape_ascii());
        device.stop();
    }
}

#[test]
fn a_host_that_says_nothing_or_sends_no_receipts_is_left() {
    let (listener, _folder, device) = setup(IMPATIENCE);
    let silent = Script::accept(&listener);
    assert_eq!(device.wait_for_fault(), FaultKind::Slow);
    drop(silent);
    append(&device, 1);
    let _host = until_record(&listener);
    wait_for("impatience", || device.faults().contains(&FaultKind::NoReceipt));
    // It is there again for the next connection.
    let _host = until_record(&listener);
    device.stop();
}

#[test]
fn a_refusal_is_kept_in_mind_and_a_full_host_loses_nothing() {
    let (listener, _folder, device) = setup(PATIENCE);
    append(&device, 1);
    let mut host = Script::welcome(&listener);
    let id = host.hear_record().expect("a record");
    host.say(&HostMessage::Refused(Refused { code: ErrorCode::HostStorage.number(), record: Some(id), revision: None }));
    assert_eq!(device.wait_for_fault(), FaultKind::Refused);
    let mut host = Script::welcome(&listener);
    assert_eq!(host.hear_record(), Some(id));
    assert_eq!(device.handle.counters().receipts.load(Relaxed), 0);
    device.stop();
}

#[test]
fn a_paused_device_sends_no_records() {
    let (listener, _folder, device) = setup(PATIENCE);
    let mut host = Script::welcome(&listener);
    host.say(&HostMessage::Pause { seconds: 3600 });
    // Pause is heard before anything that is appended later: a heartbeat period is the sign.
    host.say(&HostMessage::Configure(alfred_wire::link::Configure { sample_bytes_per_hour: Some(5), heartbeat_period_s: Some(1) }));
    wait_for("the settings", || !device.seen.lock().expect("seen").settings.is_empty());
    append(&device, 1);
    wait_for("the journal", || device.handle.counters().records_appended.load(Relaxed) == 1);
    // The welcome's period of an hour holds until the next heartbeat; a new connection has the new one, and the pause goes on.
    drop(host);
    let mut host = Script::welcome(&listener);
    let is_paused = host.hear(|message| match message {
        DeviceMessage::Heartbeat(heartbeat) => Some(heartbeat.is_paused),
        DeviceMessage::Record(_) => Some(false),
        _ => None,
    });
    assert_eq!(is_paused, Some(true));
    host.say(&HostMessage::Pause { seconds: 0 });
    host.hear_record().expect("the record, at once");
    device.stop();
}

fn offer(bytes: u32) -> BundleOffer {
    BundleOffer { camera: Name::new("gate").expect("a name"), revision: 9, bytes, fingerprint: 77, sha256: [1; 32] }
}

#[test]
fn parts_that_were_not_asked_for_are_ignored_or_end_the_connection() {
    let (listener, folder, device) = setup(PATIENCE);
    let mut host = Script::welcome(&listener);
    let part = [0; CHUNK_BYTES_MAX];
    let chunk = |revision, offset| BundleChunk { revision, offset, bytes: Bytes::new(&part).expect("fits") };
    for _ in 0..100 {
        host.say(&HostMessage::BundleChunk(chunk(9, 0)));
    }
    host.say(&HostMessage::BundleOffer(offer(100_000)));
    let ask = |message: DeviceMessage<'_>| match message {
        DeviceMessage::BundleAsk(ask) => Some(ask.offset),
        _ => None,
    };
    assert_eq!(host.hear(ask), Some(0));
    host.say(&HostMessage::BundleChunk(chunk(8, 0)));
    host.say(&HostMessage::BundleChunk(chunk(9, 0)));
    assert_eq!(host.hear(ask), Some(4096));
    host.say(&HostMessage::BundleChunk(chunk(9, 0)));
    assert_eq!(device.wait_for_fault(), FaultKind::Refusing, "an old part where a new one was asked for");
    assert_eq!(std::fs::metadata(folder.path("spool").join("bundle.part")).expect("there").len(), 4096, "nothing but what was asked for");
    device.stop();
}

#[test]
fn bytes_that_are_not_the_offered_ones_are_refused_and_not_for_ever() {
    let (listener, _folder, device) = setup(PATIENCE);
    let mut host = Script::welcome(&listener);
    for round in 1..=TRANSFERS_FAILED_MAX {
        host.say(&HostMessage::BundleOffer(offer(5)));
        host.hear(|message| matches!(message, DeviceMessage::BundleAsk(_)).then_some(())).expect("asks");
        let part = [round as u8; 5];
        let bytes = Bytes::new(&part).expect("fits");
        host.say(&HostMessage::BundleChunk(BundleChunk { revision: 9, offset: 0, bytes }));
        if round < TRANSFERS_FAILED_MAX {
            let reason = host.hear(|message| match message {
                DeviceMessage::BundleState(state) if state.stage == BundleStage::Refused => Some(state.reason),
                _ => None,
            });
            assert_eq!(reason, Some(Some(ErrorCode::BundleHash.number())));
        }
    }
    assert_eq!(device.wait_for_fault(), FaultKind::Refusing);
    assert!(device.seen.lock().expect("seen").bundles.is_empty(), "wrong bytes were handed on");
    device.stop();
}
