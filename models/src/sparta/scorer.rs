//! SPARTA as the data path's scorer, in either form: picks the engine, checks windows, turns results into scores or faults.

use super::exact;
use super::fast::{Scores, WINDOWS_MAX};
use super::fast_tokens::TokenScore;
use super::fold::FoldedSparta;
use super::fold_tokens::FoldedTokens;
use super::parameters::Form;
#[cfg(feature = "std")]
use super::parameters::{ParameterFault, SpartaParameters};
#[cfg(target_arch = "aarch64")]
use crate::lane::Neon;
use crate::lane::Portable;
#[cfg(target_arch = "x86_64")]
use crate::lane::{Avx2, Avx512};
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::units::AnomalyScore;
use core::ops::Deref;
#[cfg(feature = "std")]
use std::sync::Arc;

/// What the caller wants of the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The same bits on every target.
    Exact,
    /// The fastest engine of this processor; within the declared tolerance of the exact one.
    Fast,
}

/// One implementation of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Scalar arithmetic in a fixed order.
    Exact,
    /// The fast kernel without special instructions; the same bits as [`Engine::Exact`].
    Portable,
    /// The fast kernel on AVX2 and FMA.
    Avx2,
    /// The fast kernel on AVX-512; two windows at a time where a batch has them.
    Avx512,
    /// The fast kernel on NEON.
    Neon,
}

impl Engine {
    /// All engines, whether this processor has them or not.
    pub const ALL: [Self; 5] = [Self::Exact, Self::Portable, Self::Avx2, Self::Avx512, Self::Neon];

    /// Name in reports: "exact", "portable", "avx2", "avx512" or "neon".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }
}

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

    fn of_lane(lane: Lane) -> Self {
        match lane {
            Lane::Exact => Self::Exact,
            Lane::Fast => [Engine::Avx512, Engine::Avx2, Engine::Neon].into_iter().find_map(Self::of).unwrap_or(Self::Portable),
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

/// A folded model, in the form whose arithmetic it knows.
trait Folded {
    const FORM: Form;
    /// Windows that an engine takes in one pass.
    fn windows_per_pass(engine: Engine) -> usize;
    /// Scores of as many windows, or of fewer.
    fn scores(&self, engaged: Engaged, windows: &[&[f32]]) -> [f64; WINDOWS_MAX];
}

impl Folded for FoldedSparta {
    const FORM: Form = Form::Published;

    fn windows_per_pass(engine: Engine) -> usize {
        if engine == Engine::Avx512 { WINDOWS_MAX } else { 1 }
    }

    fn scores(&self, engaged: Engaged, windows: &[&[f32]]) -> [f64; WINDOWS_MAX] {
        let model = self;
        match (engaged, windows) {
            (_, []) => [0.0; WINDOWS_MAX],
            (Engaged::Exact, &[window, ..]) => [exact::score(model, window), 0.0],
            (Engaged::Portable, _) => Portable.run(Scores::<3, 2, 1> { model, windows }),
            #[cfg(target_arch = "x86_64")]
            (Engaged::Avx2(lane), _) => lane.run(Scores::<3, 1, 1> { model, windows }),
            // A window on its own leaves a quarter of its vectors' columns empty.
            #[cfg(target_arch = "x86_64")]
            (Engaged::Avx512(lane), [_]) => lane.run(Scores::<2, 1, 2> { model, windows }),
            #[cfg(target_arch = "x86_64")]
            (Engaged::Avx512(lane), _) => lane.run(Scores::<3, 1, 2> { model, windows }),
            #[cfg(target_arch = "aarch64")]
            (Engaged::Neon, _) => Neon.run(Scores::<6, 1, 1> { model, windows }),
        }
    }
}

impl Folded for FoldedTokens {
    const FORM: Form = Form::Tokens;

    fn windows_per_pass(_engine: Engine) -> usize {
        1
    }

    fn scores(&self, engaged: Engaged, windows: &[&[f32]]) -> [f64; WINDOWS_MAX] {
        let (model, Some(&window)) = (self, windows.first()) else { return [0.0; WINDOWS_MAX] };
        let score = match engaged {
            // The portable lane keeps one order and rounds every operation: it is the exact engine.
            Engaged::Exact | Engaged::Portable => Portable.run(TokenScore::<3, 2, 1> { model, window }),
            #[cfg(target_arch = "x86_64")]
            Engaged::Avx2(lane) => lane.run(TokenScore::<3, 1, 1> { model, window }),
            #[cfg(target_arch = "x86_64")]
            Engaged::Avx512(lane) => lane.run(TokenScore::<2, 1, 2> { model, window }),
            #[cfg(target_arch = "aarch64")]
            Engaged::Neon => Neon.run(TokenScore::<6, 1, 1> { model, window }),
        };
        [score, 0.0]
    }
}

/// Scores windows of [`Form::window_frames`] detections by SPARTA's error between the target's tokens and their prediction (FTD branch, each
/// window on its own): at least 0, higher = more anomalous. The published form takes the mean squared error, the tokens form the mean absolute
/// one; both are in normalised coordinates.
///
/// M points to the folded model, [`FoldedSparta`] or [`FoldedTokens`]: an `Arc` (see [`SpartaScorer::new`] and
/// [`SpartaScorer::new_tokens`]), a `Box`, or a `&'static` reference where there is no heap. Scoring allocates nothing and takes at most
/// about 90 kB of stack.
#[derive(Clone)]
pub struct SpartaScorer<M> {
    model: M,
    engaged: Engaged,
}

impl<M> core::fmt::Debug for SpartaScorer<M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SpartaScorer").field("lane", &self.engaged.engine().name()).finish_non_exhaustive()
    }
}

#[cfg(feature = "std")]
impl SpartaScorer<Arc<FoldedSparta>> {
    /// Folds a model of the `published` form onto the heap (560 kB, shared by the scorer's clones) and builds its scorer.
    ///
    /// # Errors
    /// [`ParameterFault`] names what is wrong with the parameters.
    pub fn new<V: AsRef<[f32]>>(parameters: &SpartaParameters<V>, lane: Lane) -> Result<Self, ParameterFault> {
        Ok(Self::of_folded(FoldedSparta::fold(parameters)?.into(), lane))
    }
}

#[cfg(feature = "std")]
impl SpartaScorer<Arc<FoldedTokens>> {
    /// Folds a model of the `tokens` form onto the heap (1.3 MB, shared by the scorer's clones) and builds its scorer.
    ///
    /// # Errors
    /// [`ParameterFault`] names what is wrong with the parameters.
    pub fn new_tokens<V: AsRef<[f32]>>(parameters: &SpartaParameters<V>, lane: Lane) -> Result<Self, ParameterFault> {
        Ok(Self::of_folded(FoldedTokens::fold(parameters)?.into(), lane))
    }
}

#[allow(private_bounds)]
impl<M: Deref<Target: Folded>> SpartaScorer<M> {
    /// The scorer of a folded model.
    pub fn of_folded(model: M, lane: Lane) -> Self {
        Self { model, engaged: Engaged::of_lane(lane) }
    }

    /// The same model on another engine, for tests and benches; `None` if this processor lacks it.
    #[must_use]
    pub fn with_engine(&self, engine: Engine) -> Option<Self>
    where
        M: Clone,
    {
        Some(Self { model: self.model.clone(), engaged: Engaged::of(engine)? })
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

    /// The score of one window.
    ///
    /// # Errors
    /// [`ScoreFault::WrongWindow`] when the window has not the form's number of detections, [`ScoreFault::NotFinite`] when the score is NaN or beyond
    /// `f32`, or a variance on the way was (a window with NaN, infinite or huge values).
    pub fn score(&self, window: &Window) -> ScoreResult {
        if window.frames() != self.window_frames() {
            return Err(ScoreFault::WrongWindow);
        }
        to_score(self.model.scores(self.engaged, &[window.values()])[0])
    }
}

fn to_score(error: f64) -> ScoreResult {
    AnomalyScore::new(error as f32).map_err(|_| ScoreFault::NotFinite)
}

#[allow(private_bounds)]
impl<M: Deref<Target: Folded>> Scorer for SpartaScorer<M> {
    fn window_frames(&self) -> usize {
        M::Target::FORM.window_frames()
    }

    fn score_frame_in_window(&self) -> usize {
        M::Target::FORM.score_frame()
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        let (count, frames) = (M::Target::windows_per_pass(self.engine()), self.window_frames());
        for (windows, scores) in windows.chunks(count).zip(scores.chunks_mut(count)) {
            match (windows, scores) {
                ([one, other], [score, other_score]) if one.frames() == frames && other.frames() == frames => {
                    let errors = self.model.scores(self.engaged, &[one.values(), other.values()]);
                    (*score, *other_score) = (to_score(errors[0]), to_score(errors[1]));
                }
                (windows, scores) => windows.iter().zip(scores).for_each(|(window, score)| *score = self.score(window)),
            }
        }
    }
}
