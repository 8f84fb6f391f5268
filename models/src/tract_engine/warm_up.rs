//! The runs before the engine is sealed: they measure what runs need and prove that the score is a function of the window.
//!
//! tract initialises some memory per process and some per thread at the first run. So the first run here is outside the arena, and
//! the measured ones are on a thread of their own: they include what a scoring thread will need when it meets the model.

use super::{Budget, EngineReport, Runner};
use crate::arena::{ARENA_BYTES_MAX, ARENA_BYTES_MIN, Arena, ArenaCounters, ArenaError};
use alfred_core::scorer::Window;

/// Runs in the arena before sealing: the first on its thread, a second, and one to compare with.
const MEASURED_RUNS: usize = 3;

/// Difference of a window's scores beside different neighbours that passes for rounding, relative and absolute.
const SCORE_TOLERANCE: f32 = 1e-4;

/// First arena that [`bytes_needed`] tries, bytes.
const MEASURE_BYTES_START: usize = 64 << 10;

pub(super) enum WarmUpError {
    Run(String),
    Arena(ArenaError),
    DoesNotFit { needed_bytes: usize, given_bytes: usize },
    Grows { bytes: usize },
    Coupled,
    NotFinite,
}

/// Warms up within the budget; returns the arena and what was found out.
pub(super) fn run(runner: &mut Runner, budget: Budget) -> Result<(Option<Arena>, EngineReport), WarmUpError> {
    let mut report = EngineReport {
        operators: runner.graph.operators(),
        batch_windows: runner.manifest.batch_windows,
        arena_bytes: 0,
        peak_bytes: 0,
        extent_bytes: 0,
        allocations_per_run: 0,
        lock: None,
    };
    check_scores(runner)?;
    let Budget::Bounded { bytes: given_bytes } = budget else { return Ok((None, report)) };
    let mut arena = Arena::new(given_bytes).map_err(WarmUpError::Arena)?;
    let runs = measure(runner, &mut arena)?;
    let last = runs[MEASURED_RUNS - 1];
    if last.overflows > 0 {
        return Err(WarmUpError::DoesNotFit { needed_bytes: bytes_needed(runner)?, given_bytes });
    }
    let before = runs[MEASURED_RUNS - 2];
    if last.in_use_bytes > before.in_use_bytes {
        return Err(WarmUpError::Grows { bytes: last.in_use_bytes - before.in_use_bytes });
    }
    report.arena_bytes = arena.bytes();
    report.peak_bytes = last.peak_bytes;
    report.extent_bytes = last.extent_bytes;
    report.allocations_per_run = last.allocations - before.allocations;
    report.lock = Some(arena.lock_status());
    Ok((Some(arena), report))
}

/// The smallest arena, on a grid of one sixteenth, in which the measured runs fit.
pub(super) fn bytes_needed(runner: &mut Runner) -> Result<usize, WarmUpError> {
    // Doubling first, rather than one measurement in the largest region: the device may not have that much to spare.
    let mut large_bytes = MEASURE_BYTES_START;
    let extent_bytes = loop {
        let last = try_arena(runner, large_bytes)?;
        if last.overflows == 0 {
            break last.extent_bytes;
        }
        if large_bytes == ARENA_BYTES_MAX {
            return Err(WarmUpError::Run(format!("a run needs more than {ARENA_BYTES_MAX} bytes: export a smaller model or batch")));
        }
        large_bytes = (2 * large_bytes).min(ARENA_BYTES_MAX);
    };
    // In a smaller pool free blocks lie differently; what the extent promises is tried before it is said.
    let mut bytes = extent_bytes.next_multiple_of(1 << 10).max(ARENA_BYTES_MIN);
    while bytes < large_bytes && try_arena(runner, bytes)?.overflows > 0 {
        bytes = (bytes + bytes / 16).next_multiple_of(1 << 10);
    }
    Ok(bytes.min(large_bytes))
}

/// The counters after the measured runs in an arena of this size.
fn try_arena(runner: &mut Runner, bytes: usize) -> Result<ArenaCounters, WarmUpError> {
    let mut arena = Arena::new(bytes).map_err(WarmUpError::Arena)?;
    Ok(measure(runner, &mut arena)?[MEASURED_RUNS - 1])
}

/// Runs on a fresh thread, inside the arena; the counters after each run. Afterwards that thread's memory is back.
fn measure(runner: &mut Runner, arena: &mut Arena) -> Result<[ArenaCounters; MEASURED_RUNS], WarmUpError> {
    runner.graph.drop_state();
    let measured = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let window = plain_window(runner.manifest.window_frames, 0);
            let mut counters = [ArenaCounters::default(); MEASURED_RUNS];
            for after in &mut counters {
                runner.run(&[&window], Some(arena))?;
                *after = arena.counters();
            }
            runner.graph.drop_state();
            Ok(counters)
        });
        thread.join().unwrap_or_else(|_| Err("the warm-up panicked".into()))
    });
    // Takes back what the thread's end freed.
    arena.reset_peak();
    measured.map_err(WarmUpError::Run)
}

/// A plain window has a finite score, the same in every run and beside any neighbour.
fn check_scores(runner: &mut Runner) -> Result<(), WarmUpError> {
    let frames = runner.manifest.window_frames;
    let [first, other] = [plain_window(frames, 0), plain_window(frames, 1)];
    let mut score = |windows: &[&Window]| -> Result<f32, WarmUpError> {
        runner.run(windows, None).map_err(WarmUpError::Run)?;
        let score = runner.scores[0];
        if score.is_finite() { Ok(score) } else { Err(WarmUpError::NotFinite) }
    };
    let alone = score(&[&first])?;
    // Missing windows of a batch are copies of the first one, so from two windows on the neighbours differ.
    let beside = score(&[&first, &other])?;
    let tolerance = SCORE_TOLERANCE * (1.0 + alone.abs());
    if (alone - beside).abs() > tolerance { Err(WarmUpError::Coupled) } else { Ok(()) }
}

/// A moving, skeleton-sized pattern: zero mean, spread about one.
fn plain_window(frames: usize, phase: usize) -> Window {
    let mut window = Window::EMPTY;
    window.set_frames(frames);
    for (position, value) in window.values_mut().iter_mut().enumerate() {
        *value = ((position + 7 * phase) as f32 * 0.618 + phase as f32).sin() * (1.0 + phase as f32);
    }
    window
}
