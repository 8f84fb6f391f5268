//! What ONNX models cost in the generic engine: `cargo run --release --workspace --example onnx_cost -- MODEL.onnx ...`
//!
//! Per model: operators, allocations of one run, bytes of arena to configure (`model.arena_bytes`), and the time of one window: the
//! median of runs of one batch, on one thread, divided by the windows of the batch.

use alfred_core::limits::BATCH_WINDOWS_MAX;
use alfred_core::scorer::{ScoreFault, Scorer, Window};
use alfred_models::arena::ArenaAllocator;
use alfred_models::onnx_manifest::Declaration;
use alfred_models::tract_engine::{Budget, LoadError, ModelSource, TractEngine};
use std::path::Path;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: ArenaAllocator = ArenaAllocator::new();

const RUNS: usize = 1_000;

fn cost(path: &Path) -> Result<String, LoadError> {
    let load = |budget| TractEngine::load(ModelSource::File(path), Declaration::default(), budget);
    let bytes = load(Budget::Unbounded)?.arena_bytes_needed()?;
    let mut engine = load(Budget::Bounded { bytes })?;
    let mut window = Window::EMPTY;
    window.set_frames(engine.window_frames());
    window.values_mut().iter_mut().enumerate().for_each(|(position, value)| *value = (position as f32).sin());
    let batch = engine.report().batch_windows;
    let (windows, mut scores) = (vec![window; batch], [Err(ScoreFault::Engine); BATCH_WINDOWS_MAX]);
    let mut times_us: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            engine.score_batch(&windows, &mut scores);
            start.elapsed().as_secs_f64() * 1e6 / batch as f64
        })
        .collect();
    times_us.sort_by(f64::total_cmp);
    let report = engine.report();
    Ok(format!(
        "{}: {} operators, {} allocations per run, peak {} B, model.arena_bytes = {bytes}, {:.1} us per window (p99 {:.1}), overflows {}",
        path.display(),
        report.operators,
        report.allocations_per_run,
        report.peak_bytes,
        times_us[RUNS / 2],
        times_us[RUNS * 99 / 100],
        engine.counters().arena_overflows,
    ))
}

fn main() {
    for path in std::env::args_os().skip(1) {
        match cost(Path::new(&path)) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("{error}"),
        }
    }
}
