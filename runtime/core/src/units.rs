//! Quantities with a unit, as types: a frame number is not a time, and a score knows which way is anomalous.

use core::fmt;

/// Number of a frame in its camera's stream; rises by one per frame, gaps are missing frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameIndex(pub u64);

/// Nanoseconds of a monotonic clock (never of a wall clock); the origin is the board's boot or the start of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicNs(pub u64);

/// A person's number as the tracker gives it. Trackers reuse numbers; see `track_window`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonId(pub u32);

/// Why a number is no [`AnomalyScore`] or [`Threshold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite;

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number is NaN or infinite")
    }
}

impl core::error::Error for NotFinite {}

/// A finite anomaly score: higher = more anomalous. Its scale is the model's own (STG-NF: bits per dimension).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct AnomalyScore(f32);

impl AnomalyScore {
    /// Takes a finite number.
    ///
    /// # Errors
    /// [`NotFinite`] for NaN and infinities.
    pub const fn new(value: f32) -> Result<Self, NotFinite> {
        if value.is_finite() { Ok(Self(value)) } else { Err(NotFinite) }
    }

    /// The number; finite.
    #[must_use]
    pub const fn value(self) -> f32 {
        self.0
    }

    /// The more anomalous of two scores.
    #[must_use]
    pub const fn worst(self, other: Self) -> Self {
        if other.0 > self.0 { other } else { self }
    }
}

/// The anomaly score from which on something is anomalous (`score >= threshold`). Finite.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Threshold(f32);

impl Threshold {
    /// Takes a finite number on the model's score scale.
    ///
    /// # Errors
    /// [`NotFinite`] for NaN and infinities.
    pub const fn new(value: f32) -> Result<Self, NotFinite> {
        if value.is_finite() { Ok(Self(value)) } else { Err(NotFinite) }
    }

    /// The number; finite.
    #[must_use]
    pub const fn value(self) -> f32 {
        self.0
    }
}
