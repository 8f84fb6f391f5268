//! What each stage of the data path costs by itself: one group per module, under the module's name.
//!
//! Stages run alone and warm here, so their sum is less than a frame's time: `frame_to_decision` measures that.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use alfred_core::event::EventState;
use alfred_core::limits::TRACKS_MAX;
use alfred_core::normalise::PixelScale;
use alfred_core::pose::PoseFrame;
use alfred_core::score_ring::ScoreRing;
use alfred_core::segment::SegmentPose;
use alfred_core::track_window::{Continuity, TrackRing, WindowPolicy};
use alfred_core::units::{AnomalyScore, FrameIndex, MonotonicNs, PersonId};
use alfred_models::stg_nf::scorer::{Engine, Lane};
use alfred_synth::crowd::Crowd;
use alfred_wire::pose_line;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::fmt::Write;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::contest::Contender;
use support::engines;
use support::machine;
use support::stage::{Decode, Normalise, frame_of};
use support::stream::{Model, Stream, device_settings};

/// Persons of a crowded street camera's frame.
const PERSONS: usize = 16;
const WINDOW_FRAMES: usize = 24;

fn bench_pose_message(criterion: &mut Criterion, crowd: &Crowd) {
    let mut group = criterion.benchmark_group("pose_message");
    let mut decode = Decode::new(crowd, PERSONS);
    group.bench_function(BenchmarkId::new("decode", PERSONS), |bencher| bencher.iter(|| decode.call()));
    group.finish();
}

/// A frame as a pose estimator writes it: two decimals.
fn line_of(frame: &PoseFrame) -> String {
    let mut line = format!("{{\"frame\":{},\"time_ns\":{},\"persons\":[", frame.frame.0, frame.captured.0);
    for (number, person) in frame.persons.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        write!(line, "{comma}{{\"id\":{},\"score\":{:.2},\"keypoints\":[", person.id.0, person.score).expect("a string grows");
        let numbers = person.keypoints.iter().flat_map(|keypoint| [keypoint.x, keypoint.y, keypoint.confidence]);
        let numbers: Vec<String> = numbers.map(|number| format!("{number:.2}")).collect();
        line += &numbers.join(",");
        line += "]}";
    }
    line + "]}"
}

fn bench_pose_line(criterion: &mut Criterion, crowd: &Crowd) {
    let mut group = criterion.benchmark_group("pose_line");
    let mut frame = frame_of(crowd, PERSONS);
    let line = line_of(&frame);
    group.bench_function(BenchmarkId::new("decode", PERSONS), |bencher| {
        bencher.iter(|| {
            pose_line::decode(black_box(line.as_bytes()), &mut frame).expect("our own line");
            black_box(&mut frame);
        });
    });
    group.finish();
}

fn bench_track_window(criterion: &mut Criterion, crowd: &Crowd) {
    let mut group = criterion.benchmark_group("track_window");
    let (mut ring, policy) = (TrackRing::EMPTY, WindowPolicy::live(WINDOW_FRAMES));
    let pose = frame_of(crowd, 1).persons[0];
    let mut number = 0;
    group.bench_function("continuity, push, due_window", |bencher| {
        bencher.iter(|| {
            number += 1;
            let continuity = ring.continuity(FrameIndex(number), black_box(&pose), &policy);
            assert_eq!(continuity, Continuity::Continued);
            ring.push(FrameIndex(number), black_box(&pose));
            black_box(ring.due_window(&policy))
        });
    });
    group.finish();
}

fn bench_normalise(criterion: &mut Criterion, crowd: &Crowd) {
    let mut group = criterion.benchmark_group("normalise");
    for frames in [WINDOW_FRAMES, 2 * WINDOW_FRAMES] {
        let mut stage = Normalise::new(crowd, frames);
        group.bench_function(BenchmarkId::from_parameter(frames), |bencher| {
            bencher.iter(|| {
                stage.prepare();
                stage.call();
            });
        });
    }
    group.finish();
}

fn bench_scorer(criterion: &mut Criterion, crowd: &Crowd) {
    let mut group = criterion.benchmark_group("scorer");
    let scorer = engines::scorer(&engines::pretrained(), Lane::Fast);
    let windows = crowd.windows(WINDOW_FRAMES, &PixelScale::SQUARE);
    for engine in Engine::ALL {
        let Some(scorer) = scorer.with_engine(engine) else { continue };
        let mut windows = windows.iter().cycle();
        group.bench_function(engine.name(), |bencher| {
            bencher.iter(|| scorer.score(black_box(windows.next().expect("the crowd has people"))));
        });
    }
    group.finish();
}

fn full_ring() -> ScoreRing {
    let mut ring = ScoreRing::EMPTY;
    for number in 0..200 {
        ring.advance_to(FrameIndex(number));
        ring.raise(FrameIndex(number), AnomalyScore::new((number as f32).sin()).expect("finite"));
    }
    ring
}

fn bench_smoothing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("smoothing");
    let (kernel, ring) = (device_settings().smoothing, full_ring());
    group.bench_function("smooth", |bencher| bencher.iter(|| kernel.smooth(black_box(&ring), FrameIndex(150))));
    group.finish();
}

/// Smoothing, decision and event of every track, as the data path does it once per frame.
fn bench_decision(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    let settings = device_settings();
    let rule = settings.decision.expect("our own weights have a threshold");
    let mut tracks = vec![(full_ring(), EventState::IDLE, false); TRACKS_MAX];
    let (mut frame, mut next_event) = (FrameIndex(0), Default::default());
    group.bench_function(BenchmarkId::new("smooth, decide, event", TRACKS_MAX), |bencher| {
        bencher.iter(|| {
            frame.0 += 1;
            for (person, (ring, event, is_anomalous)) in tracks.iter_mut().enumerate() {
                let smoothed = settings.smoothing.smooth(ring, FrameIndex(150));
                *is_anomalous = rule.decide(*is_anomalous, smoothed);
                let anomalous = smoothed.filter(|_| *is_anomalous);
                black_box(event.step(&settings.event, PersonId(person as u32), frame, anomalous, &mut next_event));
            }
        });
    });
    group.finish();
}

fn bench_segment(criterion: &mut Criterion, crowd: &Crowd) {
    let mut group = criterion.benchmark_group("segment");
    let pose = frame_of(crowd, 1).persons[0];
    group.bench_function("quantise", |bencher| {
        bencher.iter(|| SegmentPose::quantise(FrameIndex(1), MonotonicNs(1), black_box(&pose)));
    });
    group.finish();
}

/// Every stage in order, with a model that costs nothing.
fn bench_pipeline(criterion: &mut Criterion, crowd: &Rc<Crowd>) {
    let mut group = criterion.benchmark_group("pipeline");
    for persons in [PERSONS, TRACKS_MAX] {
        let mut stream = Stream::steady(crowd, persons, Model::None);
        group.bench_function(BenchmarkId::new("step without a model", persons), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    stream.prepare();
                    let start = Instant::now();
                    stream.call();
                    total += start.elapsed();
                }
                total
            });
        });
        stream.check();
    }
    group.finish();
}

fn stages(criterion: &mut Criterion) {
    machine::pin();
    let crowd = Rc::new(Crowd::record());
    bench_pose_message(criterion, &crowd);
    bench_pose_line(criterion, &crowd);
    bench_track_window(criterion, &crowd);
    bench_normalise(criterion, &crowd);
    bench_scorer(criterion, &crowd);
    bench_smoothing(criterion);
    bench_decision(criterion);
    bench_segment(criterion, &crowd);
    bench_pipeline(criterion, &crowd);
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = stages
}
criterion_main!(benches);
