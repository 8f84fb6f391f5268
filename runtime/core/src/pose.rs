//! What enters the data path: the tracked persons of one frame, COCO-17 key-points in pixels.

use crate::limits::{KEYPOINTS, PERSONS_MAX};
use crate::units::{FrameIndex, MonotonicNs, PersonId};
use heapless::Vec;

/// One key-point: pixels from the frame's top left corner, and the detector's confidence (0 to 1). `(0, 0, 0)` means undetected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct KeyPoint {
    /// Pixels to the right.
    pub x: f32,
    /// Pixels down.
    pub y: f32,
    /// Detector's confidence, 0 to 1.
    pub confidence: f32,
}

impl KeyPoint {
    /// A joint that the detector did not find.
    pub const UNDETECTED: Self = Self { x: 0.0, y: 0.0, confidence: 0.0 };

    /// Whether all three numbers are finite.
    #[must_use]
    pub const fn is_finite(&self) -> bool {
        self.x.is_finite() && self.y.is_finite() && self.confidence.is_finite()
    }
}

/// One tracked person in one frame. Key-points in COCO order: nose, eyes (left, right), ears, shoulders, elbows, wrists, hips, knees, ankles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PersonPose {
    /// The tracker's number.
    pub id: PersonId,
    /// The detector's score of the whole person; scale is the detector's own (AlphaPose: may exceed 1).
    pub score: f32,
    /// COCO-17 key-points in pixels.
    pub keypoints: [KeyPoint; KEYPOINTS],
}

impl PersonPose {
    /// A person of whom nothing was detected: what buffers start as.
    pub const EMPTY: Self = Self { id: PersonId(0), score: 0.0, keypoints: [KeyPoint::UNDETECTED; KEYPOINTS] };
}

/// All tracked persons of one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct PoseFrame {
    /// Number of the frame in its stream.
    pub frame: FrameIndex,
    /// When the frame was captured.
    pub captured: MonotonicNs,
    /// The persons, at most [`PERSONS_MAX`], in any order.
    pub persons: Vec<PersonPose, PERSONS_MAX>,
}

impl PoseFrame {
    /// A frame with nobody in it.
    #[must_use]
    pub const fn new(frame: FrameIndex, captured: MonotonicNs) -> Self {
        Self { frame, captured, persons: Vec::new() }
    }
}
