//! STG-NF as the data path's scorer: picks the engine, checks windows, and turns what it computes into scores or faults.

use super::adjacency::Adjacency;
use super::dense::{self, DenseAdjacency};
use super::exact;
use super::fast::NegativeLogLikelihood;
use super::fold::FoldedStgNf;
use super::parameters::{ParameterFault, StgNfParameters};
#[cfg(target_arch = "aarch64")]
use crate::lane::Neon;
use crate::lane::Portable;
#[cfg(target_arch = "x86_64")]
use crate::lane::{Avx2, Avx512, Lane as _};
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::units::AnomalyScore;

/// What the caller wants of the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The same bits on every target; about fifteen times slower than [`Lane::Fast`].
    Exact,
    /// The fastest engine of this processor; within the declared tolerance of the exact one.
    Fast,
}

/// One implementation of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Scalar arithmetic in a fixed order.
    Exact,
    /// Any adjacency; scalar arithmetic in a fixed order.
    Dense,
    /// The fast kernel without special instructions.
    Portable,
    /// The fast kernel on AVX2 and FMA.
    Avx2,
    /// The fast kernel on AVX-512.
    Avx512,
    /// The fast kernel on NEON.
    Neon,
}

impl Engine {
    /// All engines, whether this processor has them or not.
    pub const ALL: [Self; 6] = [Self::Exact, Self::Dense, Self::Portable, Self::Avx2, Self::Avx512, Self::Neon];

    /// Name in reports: "exact", "dense", "portable", "avx2", "avx512" or "neon".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Dense => "dense",
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }
}

/// An engine with the proof that this processor can run it.
#[derive(Clone, Copy)]
enum Kernel {
    Exact,
    Dense,
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Kernel {
    /// The kernel of an engine, if this processor and this window length allow it.
    fn of(engine: Engine, frames: usize) -> Option<Self> {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = frames;
        match engine {
            Engine::Exact => Some(Self::Exact),
            Engine::Dense => Some(Self::Dense),
            Engine::Portable => Some(Self::Portable),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2 => Avx2::detect().filter(|_| super::fast::fits(frames, Avx2::WIDTH)).map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 => Avx512::detect().filter(|_| super::fast::fits(frames, Avx512::WIDTH)).map(Self::Avx512),
            #[cfg(target_arch = "aarch64")]
            Engine::Neon => Some(Self::Neon),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }

    /// The engine that this is.
    const fn engine(self) -> Engine {
        match self {
            Self::Exact => Engine::Exact,
            Self::Dense => Engine::Dense,
            Self::Portable => Engine::Portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Engine::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Engine::Avx512,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Engine::Neon,
        }
    }
}

/// Scores windows by the negative log-likelihood of STG-NF in bits per dimension: higher = more anomalous. Holds no pointers (about
/// 6 kB) and allocates nothing; a window takes about 10 kB of stack.
#[derive(Clone)]
pub struct StgNfScorer {
    model: FoldedStgNf,
    adjacency: DenseAdjacency,
    /// Whether the graph convolution is a plain mean: only then may engines other than the dense one run.
    is_mean: bool,
    kernel: Kernel,
}

impl core::fmt::Debug for StgNfScorer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("StgNfScorer").field("frames", &self.window_frames()).field("lane", &self.lane_name()).finish_non_exhaustive()
    }
}

impl StgNfScorer {
    /// Builds the scorer of a model. An adjacency that is no plain mean runs on the dense engine, whatever the lane; that engine gives
    /// the same bits everywhere.
    ///
    /// # Errors
    /// [`ParameterFault`] names what is wrong with the parameters.
    pub fn new(parameters: &StgNfParameters, adjacency: &Adjacency, lane: Lane) -> Result<Self, ParameterFault> {
        let model = FoldedStgNf::fold(parameters)?;
        let is_mean = adjacency.is_mean();
        let frames = model.shape().frames();
        let kernel = match lane {
            _ if !is_mean => Kernel::Dense,
            Lane::Exact => Kernel::Exact,
            Lane::Fast => [Engine::Avx512, Engine::Avx2, Engine::Neon]
                .into_iter()
                .find_map(|engine| Kernel::of(engine, frames))
                .unwrap_or(Kernel::Portable),
        };
        Ok(Self { model, adjacency: DenseAdjacency::new(adjacency), is_mean, kernel })
    }

    /// The same model on another engine, for tests and benches. `None` if this processor lacks the engine, or it cannot run the model:
    /// only the dense one runs an adjacency that is no plain mean, and AVX-512 needs T to be a multiple of 8.
    #[must_use]
    pub fn with_engine(&self, engine: Engine) -> Option<Self> {
        if !self.is_mean && engine != Engine::Dense {
            return None;
        }
        let kernel = Kernel::of(engine, self.window_frames())?;
        Some(Self { kernel, ..self.clone() })
    }

    /// The engine that runs.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.kernel.engine()
    }

    /// Its name in reports: "exact", "avx2", "avx512", "neon", "portable" or "dense".
    #[must_use]
    pub const fn lane_name(&self) -> &'static str {
        self.engine().name()
    }

    /// The score of one window, in bits per dimension.
    ///
    /// # Errors
    /// [`ScoreFault::WrongWindow`] when the window's length is not the model's, [`ScoreFault::NotFinite`] when the score is NaN or
    /// beyond `f32` (a window with NaN, infinite or huge values).
    pub fn score(&self, window: &Window) -> ScoreResult {
        if window.frames() != self.window_frames() {
            return Err(ScoreFault::WrongWindow);
        }
        AnomalyScore::new(self.negative_log_likelihood(window.values()) as f32).map_err(|_| ScoreFault::NotFinite)
    }

    fn negative_log_likelihood(&self, window: &[f32]) -> f64 {
        let fast = NegativeLogLikelihood { model: &self.model, window };
        match self.kernel {
            Kernel::Exact => exact::negative_log_likelihood(&self.model, window),
            Kernel::Dense => dense::negative_log_likelihood(&self.model, &self.adjacency, window),
            Kernel::Portable => Portable.run(fast),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(lane) => lane.run(fast),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(lane) => lane.run(fast),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => Neon.run(fast),
        }
    }
}

impl Scorer for StgNfScorer {
    fn window_frames(&self) -> usize {
        self.model.shape().frames()
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        for (window, score) in windows.iter().zip(scores) {
            *score = self.score(window);
        }
    }
}
