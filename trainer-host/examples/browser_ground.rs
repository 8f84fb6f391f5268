//! The ground under the browser tests: `browser_ground fill FOLDER WEIGHTS BUNDLE` makes a database of real records of made-up people and prints
//! the tokens; `browser_ground labels DATABASE` prints the log of verdicts as JSON, from behind the daemon's back.
//!
//! Skeletons, tracks and what is anomalous come from the seeded generator; the scores are those of the weights on the device's data path. Only the
//! history of earlier candidates on the camera page is invented: figures to draw, of which nothing is claimed.

use alfred_bundle::format::{self, BUNDLE_BYTES_MAX, Bundle, QUANTILES, SIGNATURE_BYTES};
use alfred_bundle::signature::{KEY_BYTES, SecretKey};
use alfred_bundle::verify::build;
use alfred_core::segment::SegmentPose;
use alfred_core::units::MonotonicNs;
use alfred_server::expert::{Expert, FrameScore};
use alfred_server::user;
use alfred_store::Store;
use alfred_store::bundle::NewBundle;
use alfred_store::evaluation::{Evaluation, Outcome as Judged, ValidationScore};
use alfred_store::item::{Item, ItemKind};
use alfred_store::label::{NewLabel, Verdict};
use alfred_store::playback::{Playback, PlaybackFrame, PlaybackPerson};
use alfred_store::queue::{QueueFilter, Strategy};
use alfred_store::record::Incoming;
use alfred_store::request::RequestKind;
use alfred_store::rollout::Target;
use alfred_store::user::Role;
use alfred_synth::camera::CameraSpec;
use alfred_synth::clip::Clip;
use alfred_synth::director::Events;
use alfred_synth::random::Random;
use alfred_synth::scene::{Scene, SceneFrame};
use alfred_trainer_host::expert::HostExpert;
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{BundleStage, BundleState, Heartbeat, RecordId};
use alfred_wire::output::{EventMessage, Kind, SegmentHeader};
use alfred_wire::pose_codec::Detail;
use alfred_wire::record::{Content, Poses, Priority, RECORD_BYTES_MAX, RECORD_POSES_BYTES_MAX, Record, SampleRecord, SegmentRecord};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seed of everything random; the same database but for tokens and times.
const SEED: u64 = 20_261_128;
/// Events of each camera that wait for a verdict.
const EVENTS: [usize; 4] = [174, 172, 172, 8];
/// Events of the first camera that somebody has judged already.
const JUDGED: usize = 60;
/// Samples of each camera; of the first one enough to compare them with its bundle's.
const SAMPLES: [usize; 4] = [120, 24, 24, 24];
/// Frames of each camera's scene, from which events are cut.
const SCENE_FRAMES: usize = 2400;
/// Frames before and after an event.
const ROLL_FRAMES: usize = 40;
/// Frames of the shortest event, of the gaps that are closed in one, and of the longest.
const EVENT_FRAMES_MIN: u64 = 8;
const GAP_FRAMES_MAX: u64 = 6;
const EVENT_FRAMES_MAX: u64 = 150;
/// Frames of a sample.
const SAMPLE_FRAMES: usize = 60;
/// Time between two events, milliseconds.
const EVENT_PERIOD_MS: i64 = 110_000;
/// Threshold of all cameras: that of the weights' card, rounded.
const THRESHOLD: f64 = 1.4;
/// Who filled the database.
const WHO: &str = "browser_ground";
/// Cameras by name, the scene before each, and its device. The last one's names are hostile: they must show as text.
const CAMERAS: [(&str, &str, &str); 4] = [
    ("gate", "gate", "edge-1"),
    ("hall", "hall", "edge-2"),
    ("alley", "alley", "edge-3"),
    ("<img src=x onerror=alert(1)>", "roof", "<b>edge-4</b>"),
];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&Path> = arguments.iter().map(Path::new).collect();
    let answer = match (arguments.first().map(String::as_str), &words[..]) {
        (Some("fill"), [_, folder, weights, bundle]) => fill(folder, &HostExpert::new(Some(weights))?, &fs::read(bundle)?)?,
        (Some("labels"), [_, database]) => labels(database)?,
        _ => return Err("say fill FOLDER WEIGHTS BUNDLE, or labels DATABASE".into()),
    };
    println!("{answer}");
    Ok(())
}

/// Makes the database and says who may log in.
fn fill(folder: &Path, expert: &HostExpert, bundle: &[u8]) -> Outcome<Value> {
    fs::create_dir_all(folder)?;
    let file = folder.join("host.sqlite");
    let mut store = Store::open(&file)?;
    let mut random = Random::new(SEED);
    let now = now_ms()?;
    let mut tokens = BTreeMap::new();
    for (name, role) in
        [("anna", Role::Reviewer), ("ben", Role::Reviewer), ("ole", Role::Operator), ("<script>alert(2)</script>", Role::Operator)]
    {
        tokens.insert(name, user::add(&mut store, name, role)?);
    }
    let start = now - EVENT_PERIOD_MS * i64::try_from(3 * (EVENTS[0] + JUDGED))?;
    for (number, (camera, scene, device)) in CAMERAS.into_iter().enumerate() {
        store.enrol(device, camera, false, WHO, start)?;
        let ground = Ground::new(scene, SEED + number as u64, expert)?;
        let mut feed = Feed { store: &mut store, device, boot: 7 + number as u64, sequence: 0, random: random.fork() };
        let earlier = if number == 0 { JUDGED } else { 0 };
        let mut truths = Vec::new();
        for event in 0..EVENTS[number] + earlier {
            let late = i64::try_from((event + JUDGED - earlier) * 3 + number)?;
            truths.push(feed.event(&ground, event, start + EVENT_PERIOD_MS * late)?);
        }
        for _ in 0..SAMPLES[number] {
            feed.sample(&ground, now - 3_600_000)?;
        }
        bundles(&mut store, camera, device, &with_quantiles(bundle, &ground)?, now)?;
        store.heartbeat(device, &health(number as u64), now - 4_000 - 80_000 * i64::from(number == 2))?;
        if number == 0 {
            history(&mut store, camera, &truths[..JUDGED], now)?;
        }
    }
    Ok(json!({ "database": file, "tokens": tokens, "cameras": CAMERAS.map(|(camera, ..)| camera), "events": EVENTS.iter().sum::<usize>(),
        "judged": JUDGED, "threshold": THRESHOLD }))
}

fn now_ms() -> Outcome<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// A stretch of one person.
struct Run {
    person: u32,
    first: u64,
    last: u64,
    peak: FrameScore,
    mean: f64,
    is_anomalous: bool,
}

/// A scene, and where in it the weights flag somebody.
struct Ground {
    clip: Clip,
    rate: f64,
    /// Above the threshold.
    flagged: Vec<Run>,
    /// Below it, long enough for a sample.
    normal: Vec<Run>,
}

impl Ground {
    fn new(scene: &str, seed: u64, expert: &HostExpert) -> Outcome<Self> {
        let spec = CameraSpec::named(scene).ok_or("no such scene")?;
        let clip = Clip::record(&mut Scene::new(&spec, Events::Share(0.4), seed), SCENE_FRAMES);
        let mut persons: Vec<u32> = clip.frames.iter().flat_map(|frame| frame.truth.iter().map(|truth| truth.id.0)).collect();
        persons.sort_unstable();
        persons.dedup();
        let mut ground = Self { clip, rate: spec.rate, flagged: Vec::new(), normal: Vec::new() };
        for person in persons {
            // Somebody who was seen for less than a window has no score.
            let Ok(scores) = expert.scores(&playback(&ground.clip, person), None) else { continue };
            ground.cut(person, &scores);
        }
        Ok(ground)
    }

    /// Cuts a person's scores into stretches above and below the threshold.
    fn cut(&mut self, person: u32, scores: &[FrameScore]) {
        let is_flagged = |score: &FrameScore| score.score >= THRESHOLD;
        let last = self.clip.frames.len() as u64 - 1;
        let (mut flagged, mut below): (Vec<&[FrameScore]>, Vec<&[FrameScore]>) = (Vec::new(), Vec::new());
        for run in scores.chunk_by(|one, next| is_flagged(one) == is_flagged(next) && next.frame - one.frame <= GAP_FRAMES_MAX) {
            if is_flagged(&run[0]) { flagged.push(run) } else { below.push(run) }
        }
        for run in flagged {
            let length = run[run.len() - 1].frame - run[0].frame + 1;
            if (EVENT_FRAMES_MIN..=EVENT_FRAMES_MAX).contains(&length) {
                let run = self.run(person, run);
                self.flagged.push(run);
            }
        }
        for run in below.into_iter().filter(|run| run.len() > SAMPLE_FRAMES && run[run.len() - 1].frame <= last) {
            let run = self.run(person, &run[..SAMPLE_FRAMES]);
            self.normal.push(run);
        }
    }

    fn run(&self, person: u32, scores: &[FrameScore]) -> Run {
        let (first, last) = (scores[0].frame, scores[scores.len() - 1].frame);
        let peak = *scores.iter().max_by(|one, other| one.score.total_cmp(&other.score)).unwrap_or(&scores[0]);
        let mean = scores.iter().map(|score| score.score).sum::<f64>() / scores.len() as f64;
        let frames = &self.clip.frames[first as usize..=last as usize];
        let is_anomalous = frames.iter().any(|frame| frame.truth.iter().any(|truth| truth.id.0 == person && truth.anomalous));
        Run { person, first, last, peak, mean, is_anomalous }
    }
}

/// All that is seen of a person, as the host would play it.
fn playback(clip: &Clip, person: u32) -> Playback {
    let pose = |frame: &SceneFrame| {
        let found = frame.poses.persons.iter().find(|pose| pose.id.0 == person)?;
        let keypoints = found.keypoints.iter().map(|point| [point.x, point.y, point.confidence]).collect();
        Some(PlaybackFrame { frame: frame.poses.frame.0, at_ms: 0.0, persons: vec![PlaybackPerson { person, keypoints }] })
    };
    let item = Item {
        id: 0,
        device: String::new(),
        camera: String::new(),
        boot: String::new(),
        kind: ItemKind::Event,
        number: 0,
        person,
        first_frame: 0,
        last_frame: 0,
        score: 0.0,
        threshold: None,
        bundle_revision: 0,
        has_ended: true,
        parts: 1,
        received_ms: 0,
        wall_unix_ms: None,
        verdicts: Vec::new(),
    };
    let frames = clip.frames.iter().filter_map(pose).collect();
    Playback { item, frames, is_incomplete: false, has_last_part: true, event: None }
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
    fn take(&mut self, contents: &[(Content<'_>, Priority)], at_ms: i64) -> Outcome<()> {
        let mut bodies = Vec::new();
        for (content, priority) in contents {
            let mut buffer = vec![0; RECORD_BYTES_MAX];
            let record =
                Record { written_ns: self.sequence, wall_unix_ms: Some(u64::try_from(at_ms)?), bundle_revision: 2, content: *content };
            let body = record.encode(&mut buffer)?.to_vec();
            self.sequence += 1;
            bodies.push((RecordId { boot: self.boot, sequence: self.sequence }, *priority, body));
        }
        let incoming: Vec<Incoming<'_>> =
            bodies.iter().map(|(id, priority, body)| Incoming { id: *id, priority: *priority, body }).collect();
        self.store.take_records(self.device, &incoming, at_ms)?;
        Ok(())
    }

    /// One event: its announcement, its segment, its end. Returns whether it is a true one.
    fn event(&mut self, ground: &Ground, number: usize, at_ms: i64) -> Outcome<bool> {
        // A scene has fewer events than are wanted: they come again, as other events.
        let run = &ground.flagged[number % ground.flagged.len()];
        let id = number as u64 + 1;
        let message = |kind| EventMessage {
            id,
            kind,
            person: run.person,
            first_frame: run.first,
            last_frame: run.last,
            anomalous_frames: run.last - run.first + 1,
            peak_score: run.peak.score as f32,
            peak_frame: run.peak.frame,
            mean_score: run.mean as f32,
            threshold: THRESHOLD as f32,
        };
        let (from, to) = ((run.first as usize).saturating_sub(ROLL_FRAMES), (run.last as usize + ROLL_FRAMES).min(SCENE_FRAMES - 1));
        let poses = poses_of(&ground.clip.frames[from..=to], ground.rate, None);
        let mut buffer = vec![0; RECORD_POSES_BYTES_MAX];
        let (poses, left_out) = Poses::write(poses.iter(), Detail::Full, &mut buffer);
        let header = SegmentHeader {
            event: id,
            part: 0,
            is_last: true,
            person: run.person,
            from_frame: from as u64,
            to_frame: to as u64,
            is_incomplete: false,
            is_cut_short: false,
            poses_left_out: left_out,
        };
        let segment = Content::Segment(SegmentRecord { header, threshold: THRESHOLD as f32, poses });
        let contents = [Content::Event(message(Kind::New)), segment, Content::Event(message(Kind::EndScoreFell))];
        self.take(&contents.map(|content| (content, Priority::Event)), at_ms)?;
        Ok(run.is_anomalous)
    }

    /// One stretch of somebody below the threshold.
    fn sample(&mut self, ground: &Ground, at_ms: i64) -> Outcome<()> {
        let run = &ground.normal[self.random.below(ground.normal.len())];
        let poses = poses_of(&ground.clip.frames[run.first as usize..=run.last as usize], ground.rate, Some(run.person));
        let mut buffer = vec![0; RECORD_POSES_BYTES_MAX];
        let (poses, _) = Poses::write(poses.iter(), Detail::Sample, &mut buffer);
        let sample = SampleRecord { person: run.person, score: run.mean as f32, stands_for: 40, poses };
        self.take(&[(Content::Sample(sample), Priority::Sample)], at_ms)
    }
}

/// The poses of some frames, of everybody or of one person.
fn poses_of(frames: &[SceneFrame], rate: f64, person: Option<u32>) -> Vec<SegmentPose> {
    let mut poses = Vec::new();
    for frame in frames.iter().map(|frame| &frame.poses) {
        let captured = MonotonicNs((frame.frame.0 as f64 * 1e9 / rate) as u64);
        for pose in frame.persons.iter().filter(|pose| person.is_none_or(|person| pose.id.0 == person)) {
            poses.push(SegmentPose::quantise(frame.frame, captured, pose).0);
        }
    }
    poses
}

/// The same bundle with the quantiles of a scene's normal stretches, signed anew: no device is offered it.
fn with_quantiles(bytes: &[u8], ground: &Ground) -> Outcome<Vec<u8>> {
    let signed = bytes.len().checked_sub(SIGNATURE_BYTES).and_then(|end| bytes.get(..end)).ok_or("no bundle")?;
    let bundle = format::read(signed).map_err(|code| code.to_string())?;
    let mut scores: Vec<f32> = ground.normal.iter().map(|run| run.mean as f32).collect();
    scores.sort_by(f32::total_cmp);
    let quantiles = QUANTILES.map(|level| scores[(level * (scores.len() - 1) as f32) as usize]);
    let mut buffer = [0; BUNDLE_BYTES_MAX];
    let key = SecretKey::from_bytes(&[7; KEY_BYTES]);
    let bundle = Bundle { quantiles: Some(quantiles), ..bundle };
    let length = build(&bundle, &key, &mut buffer).map_err(|code| code.to_string())?;
    Ok(buffer[..length].to_vec())
}

/// Three bundles: one that was refused, one in force, one on its way.
fn bundles(store: &mut Store, camera: &str, device: &str, bytes: &[u8], now: i64) -> Outcome<()> {
    for revision in 1..=3 {
        let (parent_revision, policy) = (revision - 1, "eer");
        let new = NewBundle { camera, revision, parent_revision, fingerprint: 9, threshold: THRESHOLD, policy, model: None, bytes };
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

/// Verdicts of an earlier reviewer that agree with the truth, the validation set that came of them, and candidates.
fn history(store: &mut Store, camera: &str, truths: &[bool], now: i64) -> Outcome<()> {
    let filter = QueueFilter { camera: Some(camera.to_owned()), strategy: Strategy::Oldest, items_max: 200, ..QueueFilter::default() };
    let items = store.queue("cleo", &filter)?;
    let mut scores = Vec::new();
    for (item, &is_anomalous) in items.iter().filter(|item| item.kind == ItemKind::Event).zip(truths) {
        let verdict = if is_anomalous { Verdict::Anomalous } else { Verdict::Normal };
        let request = format!("earlier {}", item.id);
        let label = NewLabel {
            item: item.id,
            reviewer: "cleo",
            verdict,
            seconds: 3.5,
            strategy: Strategy::AlLight,
            request: &request,
            with_similar: false,
        };
        store.label(&label, item.received_ms + 600_000)?;
        scores.push(ValidationScore { item: item.id, is_anomalous, score: item.score });
    }
    for item in items.iter().filter(|item| item.kind == ItemKind::Sample) {
        scores.push(ValidationScore { item: item.id, is_anomalous: false, score: item.score });
    }
    store.set_validation_scores(camera, 2, &scores)?;
    let anomalies = scores.iter().filter(|score| score.is_anomalous).count() as u64;
    for round in 0..6 {
        store.add_evaluation(&candidate(camera, round, scores.len() as u64, anomalies, now), WHO)?;
    }
    let request = store.ask_cycle(camera, RequestKind::FineTune, &json!({}), "ole", now - 7_200_000)?;
    store.settle_request(request, "the candidate was refused: its AUC interval reaches below 0.5", now - 7_000_000)?;
    Ok(())
}

/// An invented candidate; rounds 0, 2, 3 come into force as revisions 1, 2, 3.
fn candidate(camera: &str, round: u32, items: u64, anomalies: u64, now: i64) -> Evaluation {
    let revision = [Some(1), None, Some(2), Some(3), None, None][round as usize % 6];
    let gain = 0.015 * f64::from(round);
    let around = |value: f64, half: f64| [Some(value), Some(value - half), Some(value + half)];
    let ([eer, eer_low, eer_high], [ebi, ebi_low, ebi_high], [auc, auc_low, auc_high]) =
        (around(0.36 - gain, 0.08), around(0.63 + gain, 0.07), around(0.68 + gain, 0.09));
    let reason = match (revision, round) {
        (Some(_), _) => "not worse than the pair in force, and its AUC interval lies above 0.5",
        (None, 1) => "refused: 7 anomalous items in the validation set, 10 are needed",
        (None, _) => "refused: worse than the pair in force beyond what chance explains",
    };
    Evaluation {
        id: 0,
        camera: camera.to_owned(),
        revision,
        at_ms: now - 86_400_000 * i64::from(6 - round),
        outcome: if revision.is_some() { Judged::Promoted } else { Judged::Refused },
        reason: reason.to_owned(),
        policy: "eer".to_owned(),
        threshold: Some(THRESHOLD),
        eer,
        eer_low,
        eer_high,
        ebi,
        ebi_low,
        ebi_high,
        auc,
        auc_low,
        auc_high,
        fnr: Some(0.35 - gain),
        fpr: Some(0.37 - gain),
        source_ebi: Some(0.61),
        validation_events: items,
        validation_normals: items - anomalies,
        validation_anomalies: anomalies,
        validation_sha256: "5e".repeat(32),
        labels_used: 60 + 20 * u64::from(round),
    }
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
    let mut select =
        connection.prepare("SELECT id, item, reviewer, verdict, undoes, seconds, strategy, request FROM labels ORDER BY id")?;
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
