//! One STG-NF model on every engine, on the same windows and the same core: native at batch 1, 8 and 16, tract's two graphs at batch 1.
//!
//! Criterion measures one after the other; ratios for citing come from `summary`, where they take turns.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use alfred_core::limits::BATCH_WINDOWS_MAX;
use alfred_core::scorer::{ScoreFault, ScoreResult};
use alfred_models::arena::ArenaAllocator;
use alfred_synth::crowd::Crowd;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use support::engines::{TRACT_COLLAPSED, TRACT_EXPORTED, field};
use support::machine;

/// tract runs in its arena, as on a device.
#[global_allocator]
static ALLOCATOR: ArenaAllocator = ArenaAllocator::new();

fn engines(criterion: &mut Criterion) {
    machine::pin();
    let mut field = field(&Crowd::record());
    let mut group = criterion.benchmark_group("engines");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for named in &mut field.scorers {
        let is_tract = [TRACT_EXPORTED, TRACT_COLLAPSED].contains(&named.name);
        let batches: &[usize] = if is_tract { &[1] } else { &[1, 8, BATCH_WINDOWS_MAX] };
        for &batch in batches {
            let mut scores: [ScoreResult; BATCH_WINDOWS_MAX] = [Err(ScoreFault::Engine); BATCH_WINDOWS_MAX];
            let mut batches = field.windows.chunks_exact(batch).cycle();
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(BenchmarkId::new(named.name, batch), |bencher| {
                bencher.iter(|| {
                    let windows = batches.next().expect("there are more windows than a batch holds");
                    named.scorer.score_batch(black_box(windows), &mut scores[..batch]);
                    black_box(&mut scores);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, engines);
criterion_main!(benches);
