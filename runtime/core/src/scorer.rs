//! What a model is to the data path: normalised windows in, finite anomaly scores out.

use crate::limits::{CHANNELS, JOINTS, WINDOW_FRAMES_MAX, WINDOW_FRAMES_MIN, WINDOW_VALUES_MAX};
use crate::units::AnomalyScore;
use core::fmt;

/// One normalised window of one person, `f32`, dense, in the order [channel][joint][time].
///
/// Channel 0 is x, channel 1 is y; joints are OpenPose-18; time runs oldest first and is the fastest axis, because then a mean over
/// joints is a sum of vectors and a convolution over time reads neighbours. The published models and ONNX files use [C][T][V]:
/// [`Window::copy_time_major`] and [`Window::from_time_major`] convert.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Window {
    values: [f32; WINDOW_VALUES_MAX],
    frames: usize,
}

impl Window {
    /// A window of the shortest length, all zero: what buffers start as.
    pub const EMPTY: Self = Self { values: [0.0; WINDOW_VALUES_MAX], frames: WINDOW_FRAMES_MIN };

    /// Sets the number of frames T, clamped to the limits; the values keep whatever was there.
    pub fn set_frames(&mut self, frames: usize) {
        self.frames = frames.clamp(WINDOW_FRAMES_MIN, WINDOW_FRAMES_MAX);
    }

    /// Number of frames T.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.frames
    }

    /// The `2 * 18 * T` values in the order [channel][joint][time].
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values[..CHANNELS * JOINTS * self.frames]
    }

    /// The values of [`Window::values`], to be written.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values[..CHANNELS * JOINTS * self.frames]
    }

    /// Writes the window in the published order [channel][time][joint] into `out`; copies as much as both sides hold.
    pub fn copy_time_major(&self, out: &mut [f32]) {
        let frames = self.frames;
        for (position, out) in out.iter_mut().enumerate().take(CHANNELS * JOINTS * frames) {
            let (channel, rest) = (position / (JOINTS * frames), position % (JOINTS * frames));
            let (time, joint) = (rest / JOINTS, rest % JOINTS);
            *out = self.values[(channel * JOINTS + joint) * frames + time];
        }
    }

    /// Builds a window from `2 * T * 18` values in the published order [channel][time][joint].
    /// Returns `None` when the length is not a whole number of frames within the limits.
    #[must_use]
    pub fn from_time_major(values: &[f32]) -> Option<Self> {
        let frames = values.len() / (CHANNELS * JOINTS);
        if frames * CHANNELS * JOINTS != values.len() || !(WINDOW_FRAMES_MIN..=WINDOW_FRAMES_MAX).contains(&frames) {
            return None;
        }
        let mut window = Self { frames, ..Self::EMPTY };
        for (position, &value) in values.iter().enumerate() {
            let (channel, rest) = (position / (JOINTS * frames), position % (JOINTS * frames));
            let (time, joint) = (rest / JOINTS, rest % JOINTS);
            window.values[(channel * JOINTS + joint) * frames + time] = value;
        }
        Some(window)
    }
}

/// Why a window has no score. Each is counted by the pipeline; the frame goes on without that person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreFault {
    /// The model's output was NaN or infinite.
    NotFinite,
    /// The window's length is not the model's.
    WrongWindow,
    /// The engine failed to run, or left its memory budget.
    Engine,
}

impl fmt::Display for ScoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFinite => "the model's output is NaN or infinite",
            Self::WrongWindow => "the window's length is not the model's",
            Self::Engine => "the engine failed or left its memory budget",
        })
    }
}

impl core::error::Error for ScoreFault {}

/// Outcome of scoring one window.
pub type ScoreResult = Result<AnomalyScore, ScoreFault>;

/// A model on the device. Higher = more anomalous. Scoring allocates nothing outside the engine's declared memory.
pub trait Scorer {
    /// Detections T that a window of this model holds.
    fn window_frames(&self) -> usize;

    /// Frame of a window, counted from its first one, that the score belongs to by the model's published rule: the middle unless the
    /// model says otherwise. Whoever builds the data path puts it into its window policy
    /// ([`crate::track_window::WindowPolicy::with_score_frame`]).
    fn score_frame_in_window(&self) -> usize {
        self.window_frames() / 2
    }

    /// Scores `windows[i]` into `scores[i]`, for the shorter of both slices. Windows are independent of each other: a window's score
    /// does not depend on its neighbours in the batch.
    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]);
}
