//! GA-VAE as the data path's scorer: picks the engine, checks windows, turns results into scores or faults.

use super::fast::Score;
use super::fold::{FoldedGaVae, Reading, Scratch, scratch_values};
#[cfg(feature = "std")]
use super::parameters::GaVaeParameters;
use super::parameters::{ParameterFault, ScoreRule};
use super::shape::{GaVaeShape, WINDOW_FRAMES};
#[cfg(target_arch = "aarch64")]
use crate::lane::Neon;
use crate::lane::Portable;
#[cfg(target_arch = "x86_64")]
use crate::lane::{Avx2, Avx512};
use crate::sparta::scorer::Engine;
pub use crate::sparta::scorer::Lane;
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::units::AnomalyScore;
#[cfg(feature = "std")]
use std::sync::Arc;

/// An engine with the proof that this processor can run it.
#[derive(Clone, Copy)]
enum Engaged {
    Exact,
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Engaged {
    fn of(engine: Engine) -> Option<Self> {
        match engine {
            Engine::Exact => Some(Self::Exact),
            Engine::Portable => Some(Self::Portable),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2 => Avx2::detect().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 => Avx512::detect().map(Self::Avx512),
            #[cfg(target_arch = "aarch64")]
            Engine::Neon => Some(Self::Neon),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }

    const fn engine(self) -> Engine {
        match self {
            Self::Exact => Engine::Exact,
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

/// Scores windows of 24 detections by the model's [`ScoreRule`]: the Euclidean distance between what a GA-VAE's encoder makes of them and the
/// mean of that over the training windows, or the mean squared error of what its decoder makes of them. At least 0, higher = more anomalous,
/// no unit.
///
/// V holds the folded model (an `Arc<[f32]>`, a `Box`, a `&'static [f32]`), S its scratch memory of [`scratch_values`] numbers. Scoring
/// allocates nothing and takes about 4 kB of stack.
#[derive(Clone)]
pub struct GaVaeScorer<V, S> {
    model: FoldedGaVae<V>,
    scratch: S,
    engaged: Engaged,
}

/// A scorer whose model and scratch memory are on the heap; clones share the model.
#[cfg(feature = "std")]
pub type HeapScorer = GaVaeScorer<Arc<[f32]>, Box<[f32]>>;

impl<V, S> core::fmt::Debug for GaVaeScorer<V, S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("GaVaeScorer").field("lane", &self.engaged.engine().name()).finish_non_exhaustive()
    }
}

#[cfg(feature = "std")]
impl HeapScorer {
    /// Folds a model onto the heap and builds its scorer.
    ///
    /// # Errors
    /// [`ParameterFault`] names what is wrong with the parameters.
    pub fn new<P: AsRef<[f32]>>(parameters: &GaVaeParameters<P>, lane: Lane) -> Result<Self, ParameterFault> {
        let scratch = vec![0.0; scratch_values(parameters.shape())].into_boxed_slice();
        Self::of_folded(FoldedGaVae::fold(parameters)?.shared(), scratch, lane)
    }
}

impl<V: AsRef<[f32]>, S: AsMut<[f32]>> GaVaeScorer<V, S> {
    /// The scorer of a folded model.
    ///
    /// # Errors
    /// [`ParameterFault::Length`] when the scratch memory has fewer numbers than [`scratch_values`].
    pub fn of_folded(model: FoldedGaVae<V>, mut scratch: S, lane: Lane) -> Result<Self, ParameterFault> {
        let (found, expected) = (scratch.as_mut().len(), scratch_values(model.shape()));
        if found < expected {
            return Err(ParameterFault::Length { width: model.shape().width(), expected, found });
        }
        let engaged = match lane {
            Lane::Exact => Engaged::Exact,
            Lane::Fast => [Engine::Avx512, Engine::Avx2, Engine::Neon].into_iter().find_map(Engaged::of).unwrap_or(Engaged::Portable),
        };
        Ok(Self { model, scratch, engaged })
    }

    /// The same model on another engine, for tests and benches; `None` if this processor lacks it.
    #[must_use]
    pub fn with_engine(&self, engine: Engine) -> Option<Self>
    where
        Self: Clone,
    {
        Some(Self { engaged: Engaged::of(engine)?, ..self.clone() })
    }

    /// The engine that runs.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.engaged.engine()
    }

    /// Its name in reports: "exact", "portable", "avx2", "avx512" or "neon".
    #[must_use]
    pub const fn lane_name(&self) -> &'static str {
        self.engine().name()
    }

    /// Bytes of the folded model and of the scratch memory that a model of this shape needs.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of::<f32>() * (self.model.storage_values() + scratch_values(self.model.shape()))
    }

    /// The score of one window.
    ///
    /// # Errors
    /// [`ScoreFault::WrongWindow`] when the window has not 24 detections, [`ScoreFault::NotFinite`] when a value on the way is NaN or
    /// beyond `f32` (a window with NaN, infinite or huge values).
    pub fn score(&mut self, window: &Window) -> ScoreResult {
        if window.frames() != WINDOW_FRAMES {
            return Err(ScoreFault::WrongWindow);
        }
        let (shape, rule, model, window) = (self.model.shape(), self.model.rule(), self.model.reading(), window.values());
        let scratch = Scratch::new(shape, self.scratch.as_mut()).ok_or(ScoreFault::Engine)?;
        AnomalyScore::new(run(self.engaged, (shape, rule), model, scratch, window) as f32).map_err(|_| ScoreFault::NotFinite)
    }
}

/// Runs the engine. Not generic, so that the kernels are compiled with this crate: a crate with debug assertions, which keep the compiler
/// from inlining them, would make them forty times slower.
fn run(engaged: Engaged, (shape, rule): (GaVaeShape, ScoreRule), model: Reading<'_>, scratch: Scratch<'_>, window: &[f32]) -> f64 {
    match engaged {
        // The portable lane keeps one order and rounds every operation: it is the exact engine.
        Engaged::Exact | Engaged::Portable => Portable.run(Score::<3, 1, 4> { shape, rule, model, scratch, window }),
        #[cfg(target_arch = "x86_64")]
        Engaged::Avx2(lane) => lane.run(Score::<6, 1, 2> { shape, rule, model, scratch, window }),
        #[cfg(target_arch = "x86_64")]
        Engaged::Avx512(lane) => lane.run(Score::<9, 2, 1> { shape, rule, model, scratch, window }),
        #[cfg(target_arch = "aarch64")]
        Engaged::Neon => Neon.run(Score::<6, 1, 4> { shape, rule, model, scratch, window }),
    }
}

impl<V: AsRef<[f32]>, S: AsMut<[f32]>> Scorer for GaVaeScorer<V, S> {
    fn window_frames(&self) -> usize {
        WINDOW_FRAMES
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        windows.iter().zip(scores).for_each(|(window, score)| *score = self.score(window));
    }
}
