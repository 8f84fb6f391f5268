//! Records as devices make them, and a store in a folder of its own.
#![allow(dead_code, reason = "each test binary uses a part")]

use alfred_core::pose::PersonPose;
use alfred_core::segment::SegmentPose;
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId};
use alfred_store::Store;
use alfred_store::record::{Incoming, Stored};
use alfred_wire::link::RecordId;
use alfred_wire::output::{EventMessage, Kind, SegmentHeader};
use alfred_wire::pose_codec::Detail;
use alfred_wire::record::{Content, Poses, Priority, RECORD_BYTES_MAX, Record, SampleRecord, SegmentRecord};
use tempfile::TempDir;

pub const DEVICE: &str = "device 1";
pub const CAMERA: &str = "gate";
pub const NOW: i64 = 1_700_000_000_000;

/// A store with one device, and the folder that keeps it.
pub fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(&folder.path().join("host.sqlite")).expect("opens");
    store.enrol(DEVICE, CAMERA, false, "host", NOW).expect("enrols");
    (folder, store)
}

pub fn record(content: Content<'_>) -> Vec<u8> {
    let mut buffer = vec![0; RECORD_BYTES_MAX];
    let record = Record { written_ns: 5, wall_unix_ms: Some(7), bundle_revision: 2, content };
    record.encode(&mut buffer).expect("fits").to_vec()
}

pub fn event(number: u64, kind: Kind, peak_score: f32) -> Vec<u8> {
    event_at(number, kind, peak_score, 100)
}

/// An event of 20 frames from a frame on.
pub fn event_at(number: u64, kind: Kind, peak_score: f32, first_frame: u64) -> Vec<u8> {
    record(Content::Event(EventMessage {
        id: number,
        kind,
        person: 3,
        first_frame,
        last_frame: first_frame + 20,
        anomalous_frames: 20,
        peak_score,
        peak_frame: first_frame + 10,
        mean_score: peak_score - 0.5,
        threshold: 1.0,
    }))
}

fn pose(frame: u64, person: u32) -> SegmentPose {
    let mut pose = PersonPose { id: PersonId(person), score: 1.0, ..PersonPose::EMPTY };
    for (at, point) in pose.keypoints.iter_mut().enumerate() {
        (point.x, point.y, point.confidence) = (at as f32 + frame as f32, 2.0 * at as f32, 1.0);
    }
    SegmentPose::quantise(FrameIndex(frame), MonotonicNs(frame * 40_000_000), &pose).0
}

pub fn segment(number: u64, part: u16, is_last: bool, frames: std::ops::Range<u64>) -> Vec<u8> {
    let poses: Vec<SegmentPose> = frames.clone().flat_map(|frame| [pose(frame, 3), pose(frame, 4)]).collect();
    let mut buffer = vec![0; 40_000];
    let (poses, left_out) = Poses::write(poses.iter(), Detail::Full, &mut buffer);
    let header = SegmentHeader {
        event: number,
        part,
        is_last,
        person: 3,
        from_frame: frames.start,
        to_frame: frames.end - 1,
        is_incomplete: false,
        is_cut_short: false,
        poses_left_out: left_out,
    };
    record(Content::Segment(SegmentRecord { header, threshold: 1.0, poses }))
}

pub fn sample(person: u32, score: f32) -> Vec<u8> {
    let poses: Vec<SegmentPose> = (50..74).map(|frame| pose(frame, person)).collect();
    let mut buffer = vec![0; 20_000];
    let (poses, _) = Poses::write(poses.iter(), Detail::Sample, &mut buffer);
    record(Content::Sample(SampleRecord { person, score, stands_for: 100, poses }))
}

/// Hands one record over.
pub fn take(store: &mut Store, boot: u64, sequence: u64, body: &[u8]) -> Stored {
    let incoming = Incoming { id: RecordId { boot, sequence }, priority: Priority::Event, body };
    store.take_records(DEVICE, &[incoming], NOW + sequence as i64).expect("taken")[0]
}

/// An ended event with one segment; returns its item.
pub fn whole_event(store: &mut Store, number: u64, peak_score: f32) -> i64 {
    take(store, 1, 10 * number, &event(number, Kind::EndScoreFell, peak_score));
    take(store, 1, 10 * number + 1, &segment(number, 0, true, 90..131));
    let filter = alfred_store::queue::QueueFilter { items_max: 200, ..Default::default() };
    let found = store.queue("nobody", &filter).expect("a queue");
    found.iter().find(|item| item.number == number).expect("it waits").id
}

/// As [`whole_event`], far from every other one in time and place, so that it is an incident of its own.
pub fn lone_event(store: &mut Store, number: u64, peak_score: f32) -> i64 {
    event_from(store, number, peak_score, 100_000 * number)
}

/// As [`lone_event`], without looking for its item: for many of them.
pub fn whole_lone_event(store: &mut Store, number: u64, peak_score: f32) {
    take_event(store, number, peak_score, 100_000 * number);
}

/// An ended event with one segment, from a frame on.
pub fn take_event(store: &mut Store, number: u64, peak_score: f32, first_frame: u64) {
    take(store, 1, 10 * number, &event_at(number, Kind::EndScoreFell, peak_score, first_frame));
    take(store, 1, 10 * number + 1, &segment(number, 0, true, first_frame.saturating_sub(10)..first_frame + 31));
}

/// As [`whole_event`], from a frame on.
pub fn event_from(store: &mut Store, number: u64, peak_score: f32, first_frame: u64) -> i64 {
    take_event(store, number, peak_score, first_frame);
    let filter = alfred_store::queue::QueueFilter { items_max: 200, ..Default::default() };
    let found = store.queue("nobody", &filter).expect("a queue");
    found.iter().find(|item| item.number == number).expect("it waits").id
}

/// A number of the database that the library does not show.
pub fn number(store_file: &std::path::Path, sql: &str) -> i64 {
    let connection = rusqlite::Connection::open(store_file).expect("opens");
    connection.query_row(sql, [], |row| row.get(0)).expect("a number")
}
