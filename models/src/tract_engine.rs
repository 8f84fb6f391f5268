//! Any ONNX model as a scorer: loaded, checked and measured before the first frame, in a fixed region of memory while it runs.
//!
//! Glossary. *Budget*: the bytes that runs may use. *Warm-up*: the runs at loading that measure the need. *Sealed*: from the end of the
//! warm-up on; a run that leaves the region is a fault of its windows and counted. *Quiesce*: to drop what the engine keeps per thread.
//!
//! Loading and optimising need far more memory than running, and time: do both off the frame thread, then move the engine there.
//! The plan of a fixed-shape graph makes the same allocations in every run, so what the warm-up measured holds. Only the file
//! `tract_engine/graph.rs` names tract.

mod graph;
mod load;
mod warm_up;

use crate::arena::{Arena, ArenaCounters, LockStatus};
use crate::onnx_manifest::Manifest;
use crate::score_rule::{ScoreRule, score_from_error, score_from_output};
use alfred_core::limits::BATCH_WINDOWS_MAX;
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::units::AnomalyScore;
use graph::Graph;

pub use load::{LoadError, ModelSource, ONNX_FILE_BYTES_MAX};

/// Memory that the engine's runs may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// A region of so many bytes, mapped and locked at loading; refused if the warm-up does not fit.
    /// Needs [`crate::arena::ArenaAllocator`] as the program's global allocator.
    Bounded {
        /// `model.arena_bytes`.
        bytes: usize,
    },
    /// The program's heap, uncounted: for tools on the host, not for a device.
    Unbounded,
}

/// What the warm-up found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineReport {
    /// Operators that a run evaluates.
    pub operators: usize,
    /// Windows of one run.
    pub batch_windows: usize,
    /// Bytes of the arena; 0 if unbounded.
    pub arena_bytes: usize,
    /// Most bytes in use at once in a run, as requested; 0 if unbounded.
    pub peak_bytes: usize,
    /// How far runs reach into the arena, headers and gaps included; 0 if unbounded.
    pub extent_bytes: usize,
    /// Allocations of one run (one batch); 0 if unbounded.
    pub allocations_per_run: u64,
    /// Whether the arena is locked into memory; `None` if unbounded.
    pub lock: Option<LockStatus>,
}

/// What happened since the engine was sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounters {
    /// Runs, one per batch.
    pub runs: u64,
    /// Runs that left the arena; their windows have no score.
    pub arena_overflows: u64,
    /// Runs that failed; their windows have no score.
    pub run_failures: u64,
    /// Windows whose output was NaN or infinite.
    pub not_finite: u64,
}

/// An ONNX model that runs in a fixed amount of memory.
pub struct TractEngine {
    /// Before the arena: its memory is freed first.
    runner: Runner,
    arena: Option<Arena>,
    manifest: Manifest,
    report: EngineReport,
    counters: EngineCounters,
    overflows_seen: u64,
}

impl std::fmt::Debug for TractEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { runner: _, arena, manifest, report, counters, overflows_seen: _ } = self;
        f.debug_struct("TractEngine")
            .field("manifest", manifest)
            .field("report", report)
            .field("counters", counters)
            .field("arena", arena)
            .finish()
    }
}

impl TractEngine {
    /// What the model says about itself, checked.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What the warm-up found out.
    #[must_use]
    pub fn report(&self) -> &EngineReport {
        &self.report
    }

    /// What happened since the warm-up.
    #[must_use]
    pub fn counters(&self) -> &EngineCounters {
        &self.counters
    }

    /// The arena's own counters; `None` if unbounded.
    #[must_use]
    pub fn arena_counters(&self) -> Option<ArenaCounters> {
        self.arena.as_ref().map(Arena::counters)
    }

    /// Drops what tract keeps per thread for this engine (some kB). Call it on the scoring thread before the engine is moved to another
    /// thread or dropped there; otherwise that memory, and with it the arena, stays until the scoring thread ends.
    /// The next score makes it anew, outside the arena.
    pub fn quiesce(&mut self) {
        self.runner.graph.drop_state();
        if let Some(arena) = &mut self.arena {
            arena.reset_peak();
        }
    }

    /// Runs `work` inside the engine's arena, if it has one: a test's way to use the memory up.
    #[doc(hidden)]
    pub fn enter_arena<R>(&mut self, work: impl FnOnce() -> R) -> R {
        match &mut self.arena {
            Some(arena) => arena.enter(work),
            None => work(),
        }
    }

    /// Scores at most one batch of windows, all of the model's length.
    fn score_group(&mut self, windows: &[&Window]) -> Result<(), ScoreFault> {
        self.counters.runs += 1;
        let ran = self.runner.run(windows, self.arena.as_mut());
        if let Some(arena) = &self.arena {
            let overflows = arena.counters().overflows;
            if overflows != self.overflows_seen {
                self.overflows_seen = overflows;
                self.counters.arena_overflows += 1;
                return Err(ScoreFault::Engine);
            }
        }
        ran.map_err(|_| {
            self.counters.run_failures += 1;
            ScoreFault::Engine
        })
    }
}

impl Scorer for TractEngine {
    fn window_frames(&self) -> usize {
        self.manifest.window_frames
    }

    fn score_frame_in_window(&self) -> usize {
        self.manifest.score_frame
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        let count = windows.len().min(scores.len());
        let mut next = 0;
        while next < count {
            // The next batch of windows that have the model's length; the others are answered at once.
            let mut group = [(0, &Window::EMPTY); BATCH_WINDOWS_MAX];
            let mut length = 0;
            while next < count && length < self.manifest.batch_windows {
                if windows[next].frames() == self.manifest.window_frames {
                    group[length] = (next, &windows[next]);
                    length += 1;
                } else {
                    scores[next] = Err(ScoreFault::WrongWindow);
                }
                next += 1;
            }
            if length == 0 {
                continue;
            }
            let outcome = self.score_group(&group.map(|(_, window)| window)[..length]);
            for (position, &(index, _)) in group[..length].iter().enumerate() {
                scores[index] = outcome.and_then(|()| AnomalyScore::new(self.runner.scores[position]).map_err(|_| ScoreFault::NotFinite));
                self.counters.not_finite += u64::from(scores[index] == Err(ScoreFault::NotFinite));
            }
        }
    }
}

/// The graph with the buffers at its edges, allocated once.
struct Runner {
    graph: Graph,
    manifest: Manifest,
    /// Values of each input, all windows of the batch.
    inputs: Vec<Vec<f32>>,
    /// Raw scores of the last run, one per window of the batch.
    scores: Vec<f32>,
}

impl Runner {
    /// Runs up to one batch, inside `arena` if there is one; what is missing in the batch is filled with the first window.
    fn run(&mut self, windows: &[&Window], arena: Option<&mut Arena>) -> Result<(), String> {
        let Self { graph, manifest, inputs, scores } = self;
        let batch = manifest.batch_windows;
        for (number, values) in inputs.iter_mut().enumerate() {
            let part = values.len() / batch;
            for (index, values) in values.chunks_exact_mut(part.max(1)).enumerate() {
                if let Some(window) = windows.get(index).or(windows.first()) {
                    manifest.input_layout.fill(window, number, values);
                }
            }
        }
        graph.ensure_state()?;
        let (rule, target) = (manifest.score_rule, manifest.target_index.and_then(|index| inputs.get(index)));
        // What a failed run did not write must not pass for a score.
        scores.fill(f32::NAN);
        let mut run = || {
            graph.run(inputs, |output| match (rule, target) {
                (ScoreRule::Output { sign, .. }, _) => score_from_output(output, sign, scores),
                (ScoreRule::MeanSquaredError { .. }, Some(target)) => score_from_error(output, target, scores),
                (ScoreRule::MeanSquaredError { .. }, None) => {}
            })
        };
        let ran = match arena {
            // The error text of a failed run must not stay in the arena: it is cloned outside.
            Some(arena) => arena.enter(run).map_err(|reason| reason.as_str().to_owned()),
            None => run(),
        };
        if ran.is_err() {
            // A state that stopped half way may hold anything.
            graph.drop_state();
        }
        ran
    }
}

impl Drop for TractEngine {
    fn drop(&mut self) {
        self.runner.graph.drop_state();
    }
}
