//! Golden bytes of every message, so that the link cannot drift in silence; any bytes are read or refused.

use super::*;
use crate::error_code::ErrorCode;
use proptest::prelude::*;
extern crate std;
use std::string::String;
use std::vec::Vec;

const ID: RecordId = RecordId { boot: 300, sequence: 5 };

fn hello() -> Hello {
    let name = |text| Name::new(text).expect("a name");
    Hello { device: name("edge-1"), camera: name("gate"), boot: 1 << 63, fingerprint: 2, bundle_revision: 3, now_ns: 4 }
}

fn state() -> BundleState {
    BundleState {
        revision: 7,
        stage: BundleStage::Reverted,
        reason: Some(ErrorCode::TrialFlagRate.number()),
        windows: 1,
        flagged: 2,
        live_flagged: 3,
        disagreements: 4,
        faults: 5,
        from_frame: 300,
    }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        now_ns: 1,
        uptime_s: 2,
        frames: 3,
        windows_scored: 4,
        events: 5,
        deadline_misses: 6,
        frames_shed: 7,
        messages_refused: 8,
        output_lost: 9,
        segments_lost: 10,
        score_faults: 11,
        journal_records: 12,
        journal_bytes: 13,
        journal_lost: [14, 15, 16],
        frame_to_decision_p99_us: 17,
        temperature_millicelsius: Some(-18),
        resident_bytes: None,
        bundle_revision: 19,
        is_paused: true,
    }
}

fn device_messages() -> [DeviceMessage<'static>; 6] {
    let body = Bytes::new(&[0xAA, 0xBB]).expect("two");
    [
        DeviceMessage::Hello(hello()),
        DeviceMessage::Heartbeat(heartbeat()),
        DeviceMessage::Record(JournalRecord { id: ID, priority: Priority::Event, body }),
        DeviceMessage::BundleState(state()),
        DeviceMessage::Refused(Refused { code: ErrorCode::BundleSignature.number(), record: None, revision: Some(7) }),
        DeviceMessage::BundleAsk(BundleAsk { revision: 7, offset: 300 }),
    ]
}

fn host_messages() -> [HostMessage<'static>; 8] {
    let offer = BundleOffer { camera: Name::new("gate").expect("a name"), revision: 7, bytes: 3000, fingerprint: 2, sha256: [0x30; 32] };
    let chunk = BundleChunk { revision: 7, offset: 300, bytes: Bytes::new(&[1, 2, 3]).expect("three") };
    [
        HostMessage::Welcome(Welcome { wall_unix_ms: 300, heartbeat_period_s: 10 }),
        HostMessage::Receipt(Receipt { id: ID }),
        HostMessage::BundleOffer(offer),
        HostMessage::BundleChunk(chunk),
        HostMessage::BundleWithdraw { revision: 7 },
        HostMessage::Configure(Configure { sample_bytes_per_hour: Some(300), heartbeat_period_s: None }),
        HostMessage::Pause { seconds: 60 },
        HostMessage::Refused(Refused { code: ErrorCode::LinkRecord.number(), record: Some(ID), revision: None }),
    ]
}

fn bytes(message: &impl Serialize) -> Vec<u8> {
    encode(message, &mut [0; 1024]).expect("fits").to_vec()
}

fn told(messages: &[impl Serialize]) -> Vec<String> {
    messages.iter().map(|message| std::format!("{}", bytes(message)[ENVELOPE_BYTES..].escape_ascii())).collect()
}

#[test]
fn bytes_of_every_message_are_the_golden_ones() {
    assert_eq!(told(&device_messages()), GOLDEN_DEVICE, "what devices say has drifted: that needs a new version");
    assert_eq!(told(&host_messages()), GOLDEN_HOST, "what hosts say has drifted: that needs a new version");
    assert_eq!(bytes(&HostMessage::Pause { seconds: 60 })[..ENVELOPE_BYTES], *b"AF\x01\0\x02\0\0\0");
}

#[test]
fn every_message_comes_back() {
    for message in device_messages() {
        let bytes = bytes(&message);
        let envelope = bytes.first_chunk().expect("long enough");
        assert_eq!(read_envelope(envelope, DEVICE_MESSAGE_BYTES_MAX), Ok(bytes.len() - ENVELOPE_BYTES));
        assert_eq!(decode::<DeviceMessage<'_>>(&bytes[ENVELOPE_BYTES..]), Ok(message));
        for end in ENVELOPE_BYTES..bytes.len() {
            assert_eq!(decode::<DeviceMessage<'_>>(&bytes[ENVELOPE_BYTES..end]), Err(LinkError::Malformed), "{message:?} cut");
        }
        let longer: Vec<u8> = bytes[ENVELOPE_BYTES..].iter().copied().chain([0]).collect();
        assert_eq!(decode::<DeviceMessage<'_>>(&longer), Err(LinkError::Malformed), "{message:?} and one byte");
    }
    for message in host_messages() {
        let bytes = bytes(&message);
        assert_eq!(decode::<HostMessage<'_>>(&bytes[ENVELOPE_BYTES..]), Ok(message));
    }
}

#[test]
fn an_envelope_is_judged_before_anything_else_is_read() {
    let judge = |envelope: &[u8; 8]| read_envelope(envelope, HOST_MESSAGE_BYTES_MAX);
    assert_eq!(judge(b"AG\x01\0\x02\0\0\0"), Err(LinkError::Magic));
    assert_eq!(judge(b"AF\x02\0\x02\0\0\0"), Err(LinkError::Version(2)));
    assert_eq!(judge(b"AF\x01\x01\x02\0\0\0"), Err(LinkError::Malformed));
    assert_eq!(judge(b"AF\x01\0\xFF\xFF\xFF\xFF"), Err(LinkError::TooLarge(0xFFFF_FFFF)));
    assert_eq!(encode(&HostMessage::Pause { seconds: 60 }, &mut [0; 9]), Err(LinkError::TooLarge(9)));
    assert_eq!(LinkError::Version(2).code(), ErrorCode::LinkVersion);
}

#[test]
fn maximum_sizes_are_the_documented_ones() {
    assert_eq!((DEVICE_MESSAGE_BYTES_MAX, HOST_MESSAGE_BYTES_MAX, RECORD_BYTES_MAX), GOLDEN_SIZES);
    let largest = std::vec![0xFF; RECORD_BYTES_MAX];
    let id = RecordId { boot: u64::MAX, sequence: u64::MAX };
    let body = Bytes::new(&largest).expect("the largest");
    let record = DeviceMessage::Record(JournalRecord { id, priority: Priority::Event, body });
    let mut buffer = std::vec![0; ENVELOPE_BYTES + DEVICE_MESSAGE_BYTES_MAX];
    assert_eq!(encode(&record, &mut buffer).map(<[u8]>::len), Ok(ENVELOPE_BYTES + DEVICE_MESSAGE_BYTES_MAX));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300), variant in 0_u8..9) {
        let mut body = body;
        if let Some(first) = body.first_mut() {
            *first = variant;
        }
        if let Ok(message) = decode::<DeviceMessage<'_>>(&body) {
            prop_assert!(bytes(&message).len() <= ENVELOPE_BYTES + body.len(), "a message has one shortest form");
        }
        if let Ok(message) = decode::<HostMessage<'_>>(&body) {
            let again = bytes(&message);
            prop_assert_eq!(decode::<HostMessage<'_>>(&again[ENVELOPE_BYTES..]), Ok(message));
        }
    }
}

const GOLDEN_DEVICE: [&str; 6] = [
    r"\x00\x06edge-1\x04gate\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x02\x03\x04",
    r"\x01\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x01#\x00\x13\x01",
    r"\x02\xac\x02\x05\x02\x02\xaa\xbb",
    r"\x03\x07\x07\x01\xcd\x01\x01\x02\x03\x04\x05\xac\x02",
    r"\x04g\x00\x01\x07",
    r"\x05\x07\xac\x02",
];
const GOLDEN_HOST: [&str; 8] = [
    r"\x00\xac\x02\n",
    r"\x01\xac\x02\x05",
    r"\x02\x04gate\x07\xb8\x17\x0200000000000000000000000000000000",
    r"\x03\x07\xac\x02\x03\x01\x02\x03",
    r"\x04\x07",
    r"\x05\x01\xac\x02\x00",
    r"\x06<",
    r"\x07\t\x01\xac\x02\x05\x00",
];
const GOLDEN_SIZES: (usize, usize, usize) = (57478, 4114, 57453);
