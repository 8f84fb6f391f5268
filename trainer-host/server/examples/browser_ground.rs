//! The ground under the browser tests: `browser_ground fill FOLDER` makes a database of real records of made-up people, prints the tokens;
//! `browser_ground labels DATABASE` prints the log of verdicts, as JSON, from behind the daemon's back.
//!
//! Skeletons, tracks and what is anomalous come from the seeded generator; the scores are drawn, no model has judged these people.

use alfred_core::segment::SegmentPose;
use alfred_server::user;
use alfred_store::Store;
use alfred_store::bundle::NewBundle;
use alfred_store::record::Incoming;
use alfred_store::rollout::Target;
use alfred_store::user::Role;
use alfred_synth::camera::CameraSpec;
use alfred_synth::clip::Clip;
use alfred_synth::director::Events;
use alfred_synth::random::Random;
use alfred_synth::scene::{Scene, SceneFrame};
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{BundleStage, BundleState, Heartbeat, RecordId};
use alfred_wire::output::{EventMessage, Kind, SegmentHeader};
use alfred_wire::pose_codec::Detail;
use alfred_wire::record::{Content, Poses, Priority, RECORD_BYTES_MAX, RECORD_POSES_BYTES_MAX, Record, SampleRecord, SegmentRecord};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seed of everything random; the same database but for tokens and times.
const SEED: u64 = 20_261_128;
/// Events over all cameras.
const EVENTS: usize = 520;
/// Samples of each camera.
const SAMPLES: usize = 24;
/// Frames of each camera's scene, from which events are cut.
const SCENE_FRAMES: usize = 2400;
/// Frames before and after an event.
const ROLL_FRAMES: usize = 20;
/// Time between two events, milliseconds.
const EVENT_PERIOD_MS: i64 = 110_000;
/// Threshold of all cameras.
const THRESHOLD: f64 = 1.5;
/// Who filled the database.
const WHO: &str = "browser_ground";
/// Cameras by name, and the scene before each. The last one's name is hostile: it must show as text.
const CAMERAS: [(&str, &str, &str); 4] =
    [("gate", "gate", "edge-1"), ("hall", "hall", "edge-2"), ("alley", "alley", "edge-3"), ("<img src=x onerror=alert(1)>", "roof", "<b>edge-4</b>")];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match words[..] {
        ["fill", folder] => fill(Path::new(folder))?,
        ["labels", database] => labels(Path::new(database))?,
        _ => return Err("say fill FOLDER or labels DATABASE".into()),
    };
    println!("{answer}");
    Ok(())
}

/// Makes the database and says who may log in.
fn fill(folder: &Path) -> Outcome<Value> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join("host.sqlite");
    let mut store = Store::open(&file)?;
    let mut random = Random::new(SEED);
    let now = now_ms()?;
    let mut tokens = BTreeMap::new();
    for (name, role) in [("anna", Role::Reviewer), ("ben", Role::Reviewer), ("ole", Role::Operator), ("<script>alert(2)</script>", Role::Operator)] {
        tokens.insert(name, user::add(&mut store, name, role)?);
    }
    let start = now - EVENT_PERIOD_MS * i64::try_from(EVENTS)?;
    for (number, (camera, scene, device)) in CAMERAS.into_iter().enumerate() {
        store.enrol(device, camera, false, WHO, start)?;
        let spec = CameraSpec::named(scene).ok_or("no such scene")?;
        let clip = Clip::record(&mut Scene::new(&spec, Events::Share(0.4), SEED + number as u64), SCENE_FRAMES);
        let mut feed = Feed { store: &mut store, device, boot: 7 + number as u64, sequence: 0, random: random.fork() };
        // The camera with the hostile name has few.
        let events = if number == 3 { 8 } else { (EVENTS - 8) / 3 + usize::from(number == 0) };
        for event in 0..events {
            let at = start + EVENT_PERIOD_MS * i64::try_from(event * 3 + number)?;
            feed.event(&clip, spec.rate, event as u64 + 1, at)?;
        }
        for _ in 0..SAMPLES {
            feed.sample(&clip, spec.rate, now - 3_600_000)?;
        }
        bundles(&mut store, camera, device, now)?;
        store.heartbeat(device, &health(number as u64), now - 4_000 - 80_000 * i64::from(number == 2))?;
    }
    Ok(json!({ "database": file, "tokens": tokens, "cameras": CAMERAS.map(|(camera, ..)| camera), "events": EVENTS, "threshold": THRESHOLD }))
}

fn now_ms() -> Outcome<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// A device that hands records over.
struct Feed<'a> {
    store: &'a mut Store,
    device: &'a str,
    boot: u64,
    sequence: u64,
    random: Random,
}

impl Feed<'_> {
    fn take(&mut self, content: Content<'_>, priority: Priority, at_ms: i64) -> Outcome<()> {
        let mut buffer = vec![0; RECORD_BYTES_MAX];
        let record = Record { written_ns: self.sequence, wall_unix_ms: Some(u64::try_from(at_ms)?), bundle_revision: 2, content };
        let body = record.encode(&mut buffer)?;
        self.sequence += 1;
        let incoming = Incoming { id: RecordId { boot: self.boot, sequence: self.sequence }, priority, body };
        self.store.take_records(self.device, &[incoming], at_ms)?;
        Ok(())
    }

    /// One event somewhere in the scene: its announcement, its segment, its end.
    fn event(&mut self, clip: &Clip, rate: f64, id: u64, at_ms: i64) -> Outcome<()> {
        let length = 24 + self.random.below(50);
        let (first, person, is_anomalous) = self.somebody(clip, length);
        let last = first + length - 1;
        let surplus = if is_anomalous { self.random.between(0.4, 2.6) } else { self.random.exponential(0.35) };
        let peak = (THRESHOLD + surplus) as f32;
        let message = |kind| EventMessage {
            id,
            kind,
            person,
            first_frame: first as u64,
            last_frame: last as u64,
            anomalous_frames: length as u64,
            peak_score: peak,
            peak_frame: (first + length / 3) as u64,
            mean_score: (THRESHOLD + 0.6 * surplus) as f32,
            threshold: THRESHOLD as f32,
        };
        self.take(Content::Event(message(Kind::New)), Priority::Event, at_ms)?;
        let (from, to) = (first.saturating_sub(ROLL_FRAMES), (last + ROLL_FRAMES).min(clip.frames.len() - 1));
        let poses = poses_of(&clip.frames[from..=to], rate, None);
        let mut buffer = vec![0; RECORD_POSES_BYTES_MAX];
        let (poses, left_out) = Poses::write(poses.iter(), Detail::Full, &mut buffer);
        let header = SegmentHeader {
            event: id,
            part: 0,
            is_last: true,
            person,
            from_frame: from as u64,
            to_frame: to as u64,
            is_incomplete: false,
            is_cut_short: false,
            poses_left_out: left_out,
        };
        self.take(Content::Segment(SegmentRecord { header, threshold: THRESHOLD as f32, poses }), Priority::Event, at_ms)?;
        self.take(Content::Event(message(Kind::EndScoreFell)), Priority::Event, at_ms)
    }

    /// One window of somebody below the threshold.
    fn sample(&mut self, clip: &Clip, rate: f64, at_ms: i64) -> Outcome<()> {
        let (first, person, _) = self.somebody(clip, 24);
        let poses = poses_of(&clip.frames[first..first + 24], rate, Some(person));
        let mut buffer = vec![0; RECORD_POSES_BYTES_MAX];
        let (poses, _) = Poses::write(poses.iter(), Detail::Sample, &mut buffer);
        let score = (THRESHOLD - self.random.between(0.2, 3.0)) as f32;
        self.take(Content::Sample(SampleRecord { person, score, poses }), Priority::Sample, at_ms)
    }

    /// A place where somebody stays in the picture for `length` frames; half of the time, if there is one, somebody anomalous.
    fn somebody(&mut self, clip: &Clip, length: usize) -> (usize, u32, bool) {
        let wants_anomaly = self.random.chance(0.5);
        let mut found = (0, 0, false);
        for _ in 0..200 {
            let first = ROLL_FRAMES + self.random.below(clip.frames.len() - length - 2 * ROLL_FRAMES);
            let truth = &clip.frames[first].truth;
            if truth.is_empty() {
                continue;
            }
            let one = truth[self.random.below(truth.len())];
            let stays = clip.frames[first..first + length].iter().filter(|frame| frame.truth.iter().any(|other| other.id == one.id)).count();
            if stays * 10 < length * 9 {
                continue;
            }
            found = (first, one.id.0, one.anomalous);
            if one.anomalous == wants_anomaly {
                break;
            }
        }
        found
    }
}

/// The poses of some frames, of everybody or of one person.
fn poses_of(frames: &[SceneFrame], rate: f64, person: Option<u32>) -> Vec<SegmentPose> {
    let mut poses = Vec::new();
    for frame in frames.iter().map(|frame| &frame.poses) {
        let captured = alfred_core::units::MonotonicNs((frame.frame.0 as f64 * 1e9 / rate) as u64);
        for pose in frame.persons.iter().filter(|pose| person.is_none_or(|person| pose.id.0 == person)) {
            poses.push(SegmentPose::quantise(frame.frame, captured, pose).0);
        }
    }
    poses
}

/// Two bundles, one in force and one on its way; the bytes are no real bundle, no device will ask for them.
fn bundles(store: &mut Store, camera: &str, device: &str, now: i64) -> Outcome<()> {
    for revision in 1..=3 {
        let new = NewBundle {
            camera,
            revision,
            parent_revision: revision - 1,
            fingerprint: 9,
            threshold: THRESHOLD,
            policy: "eer",
            model: None,
            bytes: b"not a bundle: of these only the list is shown",
        };
        store.add_bundle(&new, WHO, now - 86_400_000 * (4 - i64::try_from(revision)?))?;
    }
    store.roll_out(&[Target { camera: camera.to_owned(), revision: 2 }], WHO, now - 86_400_000)?;
    let state = |revision, stage, reason: Option<ErrorCode>| BundleState {
        revision,
        stage,
        reason: reason.map(ErrorCode::number),
        windows: 4_200,
        flagged: 61,
        live_flagged: 83,
        disagreements: 40,
        faults: 0,
        from_frame: 1_000,
    };
    store.report_bundle(device, &state(1, BundleStage::Refused, Some(ErrorCode::BundleSelfTest)), now - 172_800_000)?;
    store.report_bundle(device, &state(2, BundleStage::Confirmed, None), now - 80_000_000)?;
    store.report_bundle(device, &state(3, BundleStage::Shadow, None), now - 600_000)?;
    Ok(())
}

fn health(number: u64) -> Heartbeat {
    Heartbeat {
        uptime_s: 86_400 * (3 + number),
        frames: 7_000_000,
        windows_scored: 9_000_000,
        events: 180,
        frames_shed: 12 * number,
        journal_records: 40 * u32::try_from(number).unwrap_or(0),
        journal_bytes: 400_000 * number,
        journal_lost: [3 * number, 0, 0],
        frame_to_decision_p99_us: 710,
        temperature_millicelsius: Some(52_000),
        resident_bytes: Some(24 << 20),
        bundle_revision: 2,
        ..Heartbeat::default()
    }
}

/// Every line of the log of verdicts.
fn labels(database: &Path) -> Outcome<Value> {
    let connection = rusqlite::Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut select = connection.prepare("SELECT id, item, reviewer, verdict, undoes, seconds, strategy, request FROM labels ORDER BY id")?;
    let lines = select.query_map([], |row| {
        Ok(json!({
            "id": row.get::<_, i64>(0)?,
            "item": row.get::<_, i64>(1)?,
            "reviewer": row.get::<_, String>(2)?,
            "verdict": row.get::<_, Option<String>>(3)?,
            "undoes": row.get::<_, Option<i64>>(4)?,
            "seconds": row.get::<_, f64>(5)?,
            "strategy": row.get::<_, String>(6)?,
            "request": row.get::<_, String>(7)?,
        }))
    })?;
    Ok(Value::Array(lines.collect::<Result<_, _>>()?))
}
