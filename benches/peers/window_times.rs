//! Our side and tract's of `benches/peers/windows.py`: scores of given windows, in bursts that the script asks for.
//!
//! `window_times ENGINE MODEL WINDOWS`: ENGINE is `fast`, `exact` or `tract`; MODEL a weight file or an ONNX file; WINDOWS a safetensors
//! file with `x` (N, 2, T, 18), `f32`, normalised. One line of JSON with all scores when it is ready; then each line "BATCH CALLS" on stdin
//! is answered by one line of JSON: microseconds of each call, and processor time and allocations of all of
//! them together.

use alfred_board::counting_allocator::{CountingAllocator, process_allocations};
use alfred_board::generic_linux::ProcessMemory;
use alfred_board::hal::Memory;
use alfred_core::limits::BATCH_WINDOWS_MAX;
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_models::arena::ArenaAllocator;
use alfred_models::onnx_manifest::Declaration;
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_models::stg_nf::weights_file;
use alfred_models::tract_engine::{Budget, ModelSource, TractEngine};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use safetensors::SafeTensors;
use serde_json::json;
use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

/// As in `alfred-edge`: tract runs in its arena, and every allocation is counted, whoever serves it.
#[global_allocator]
static ALLOCATOR: CountingAllocator<ArenaAllocator> = CountingAllocator(ArenaAllocator::new());

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, model, windows] = &arguments[..] else { return Err("usage: window_times fast|exact|tract MODEL WINDOWS".into()) };
    let mut scorer = scorer(engine, Path::new(model))?;
    let windows = read_windows(Path::new(windows), scorer.window_frames())?;
    let mut scores: Vec<ScoreResult> = vec![Err(ScoreFault::Engine); windows.len()];
    score(&mut *scorer, &windows, &mut scores);
    let values: Result<Vec<f32>, ScoreFault> = scores.iter().map(|score| score.map(|score| score.value())).collect();
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", json!({ "scores": values.map_err(|fault| fault.to_string())? }))?;
    stdout.flush()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (batch, calls) = line.split_once(' ').ok_or("a batch and a number of calls are needed")?;
        let (batch, calls): (usize, usize) = (batch.parse()?, calls.parse()?);
        let mut times_us = Vec::with_capacity(calls);
        let (before, cpu_before_us) = (process_allocations(), cpu_us()?);
        for call in 0..calls {
            let first = call * batch % (windows.len() + 1 - batch);
            let start = Instant::now();
            score(&mut *scorer, &windows[first..first + batch], &mut scores[..batch]);
            times_us.push(start.elapsed().as_secs_f64() * 1e6);
            black_box(&mut scores);
        }
        let (allocations, cpu_us) = (process_allocations() - before, cpu_us()? - cpu_before_us);
        let resident_bytes = ProcessMemory::open().resident_bytes();
        writeln!(
            stdout,
            "{}",
            json!({ "calls_us": times_us, "cpu_us": cpu_us, "allocations": allocations, "resident_bytes": resident_bytes })
        )?;
        stdout.flush()?;
    }
    Ok(())
}

/// Processor time of this process so far, in microseconds.
fn cpu_us() -> Result<i64, nix::Error> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(usage.user_time().num_microseconds() + usage.system_time().num_microseconds())
}

/// As the data path does it: not more windows at once than a scorer must take.
fn score(scorer: &mut dyn Scorer, windows: &[Window], scores: &mut [ScoreResult]) {
    for (windows, scores) in windows.chunks(BATCH_WINDOWS_MAX).zip(scores.chunks_mut(BATCH_WINDOWS_MAX)) {
        scorer.score_batch(windows, scores);
    }
}

fn scorer(engine: &str, model: &Path) -> Result<Box<dyn Scorer>, Box<dyn Error>> {
    let lane = match engine {
        "fast" => Lane::Fast,
        "exact" => Lane::Exact,
        "tract" => {
            let load = |budget| TractEngine::load(ModelSource::File(model), Declaration::default(), budget);
            let bytes = load(Budget::Unbounded)?.arena_bytes_needed()?;
            return Ok(Box::new(load(Budget::Bounded { bytes })?));
        }
        _ => return Err(format!("there is no engine {engine}").into()),
    };
    let weights = weights_file::read_path(model)?;
    Ok(Box::new(StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), lane)?))
}

fn read_windows(path: &Path, frames: usize) -> Result<Vec<Window>, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let values: Vec<f32> = file.tensor("x")?.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let windows = values.chunks_exact(2 * 18 * frames).map(Window::from_time_major);
    windows.map(|window| window.ok_or_else(|| "a window has the wrong length".into())).collect()
}
