//! A whole `Pipeline::step` with 1, 8, 16 and `TRACKS_MAX` persons, every one of them scored in every frame.
//!
//! From a frame in memory to decisions, events and segments handed to a sink; decoding is in `stages`, threads and queues are in nobody's
//! bench but in the health figures of `alfred-edge run`.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use alfred_core::limits::TRACKS_MAX;
use alfred_models::stg_nf::scorer::Lane;
use alfred_synth::crowd::Crowd;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::contest::Contender;
use support::machine;
use support::stream::{Model, Stream};

fn frame_to_decision(criterion: &mut Criterion) {
    machine::pin();
    let crowd = Rc::new(Crowd::record());
    let mut group = criterion.benchmark_group("frame_to_decision");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    let cases = [(1, Lane::Fast), (8, Lane::Fast), (16, Lane::Fast), (TRACKS_MAX, Lane::Fast), (16, Lane::Exact)];
    for (persons, lane) in cases {
        let name = match lane {
            Lane::Fast => "fast",
            Lane::Exact => "exact",
        };
        let mut stream = Stream::steady(&crowd, persons, Model::Pretrained(lane));
        group.bench_function(BenchmarkId::new(name, persons), |bencher| {
            // Making the frame is somebody else's work.
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

criterion_group!(benches, frame_to_decision);
criterion_main!(benches);
