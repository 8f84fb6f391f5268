//! Messages of the link and records of the journal: read or refused; what is read has one form, within the maximum sizes.
//!
//! First byte, modulo 5: 0 and 1: the rest is a stream with envelopes (to the host, to the device); 2 and 3: one message without
//! envelope; 4: a record.

use alfred_wire::link::{
    DEVICE_MESSAGE_BYTES_MAX, DeviceMessage, ENVELOPE_BYTES, HOST_MESSAGE_BYTES_MAX, HostMessage, decode, encode, read_envelope,
};
use alfred_wire::pose_codec::Detail;
use alfred_wire::record::{Content, RECORD_BYTES_MAX, Record};

/// Runs the target.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    match mode % 5 {
        0 => stream(rest, DEVICE_MESSAGE_BYTES_MAX, to_host),
        1 => stream(rest, HOST_MESSAGE_BYTES_MAX, to_device),
        2 => to_host(rest),
        3 => to_device(rest),
        _ => record(rest),
    }
}

fn stream(mut rest: &[u8], bytes_max: usize, judge: fn(&[u8])) {
    while let Some((envelope, after)) = rest.split_first_chunk::<ENVELOPE_BYTES>() {
        let Ok(length) = read_envelope(envelope, bytes_max) else { return };
        assert!(length <= bytes_max);
        let Some((body, after)) = after.split_at_checked(length) else { return };
        judge(body);
        rest = after;
    }
}

fn to_host(body: &[u8]) {
    let Ok(message) = decode::<DeviceMessage<'_>>(body) else { return };
    let mut buffer = vec![0; ENVELOPE_BYTES + DEVICE_MESSAGE_BYTES_MAX];
    let bytes = encode(&message, &mut buffer).expect("the maximum size is enough");
    assert!(bytes.len() <= ENVELOPE_BYTES + body.len(), "what is written is the shortest form");
    assert_eq!(decode::<DeviceMessage<'_>>(&bytes[ENVELOPE_BYTES..]), Ok(message));
    if let DeviceMessage::Record(journal_record) = message {
        record(journal_record.body.get());
    }
}

fn to_device(body: &[u8]) {
    let Ok(message) = decode::<HostMessage<'_>>(body) else { return };
    let mut buffer = vec![0; ENVELOPE_BYTES + HOST_MESSAGE_BYTES_MAX];
    let bytes = encode(&message, &mut buffer).expect("the maximum size is enough");
    assert_eq!(decode::<HostMessage<'_>>(&bytes[ENVELOPE_BYTES..]), Ok(message));
}

fn record(bytes: &[u8]) {
    let Ok(record) = Record::decode(bytes) else { return };
    let mut buffer = vec![0; RECORD_BYTES_MAX];
    let again = record.encode(&mut buffer).expect("the maximum size is enough");
    assert_eq!(Record::decode(again), Ok(record));
    if let Content::Segment(segment) = record.content {
        for pose in segment.poses.read(Detail::Full).map_while(Result::ok) {
            assert!(pose.keypoints().iter().all(|keypoint| keypoint.is_finite()));
        }
    }
    if let Content::Sample(sample) = record.content {
        assert!(sample.poses.read(Detail::Sample).count() <= usize::from(sample.poses.count) + 1);
    }
}
