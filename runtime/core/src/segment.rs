//! What a person will review: the skeletons around an event, with pre- and post-roll. No pixels: there is no type for them.
//!
//! All persons of the latest frames are kept in one ring, on a grid of a quarter pixel. A segment is a view into it, handed out once its
//! post-roll is complete. Long events are cut into parts. Whatever is overwritten too early is counted, and the segment says so.

use crate::event::EventId;
use crate::limits::{KEYPOINTS, SEGMENT_PART_FRAMES_MAX, SEGMENT_ROLL_FRAMES_MAX, SEGMENT_UNITS_PER_PIXEL, SEGMENTS_PENDING_MAX};
use crate::pose::{KeyPoint, PersonPose};
use crate::units::{FrameIndex, MonotonicNs, PersonId};
use heapless::Vec;

/// Frames around an event that its segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRule {
    /// Frames before the first anomalous one; at most [`SEGMENT_ROLL_FRAMES_MAX`].
    pub pre_roll_frames: u32,
    /// Frames after the last anomalous one; at most [`SEGMENT_ROLL_FRAMES_MAX`].
    pub post_roll_frames: u32,
}

impl SegmentRule {
    /// Whether both rolls are within the limits.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.pre_roll_frames <= SEGMENT_ROLL_FRAMES_MAX && self.post_roll_frames <= SEGMENT_ROLL_FRAMES_MAX
    }
}

/// One person in one frame as segments store it: a quarter pixel of resolution (error at most 1/8 pixel within ±8,191 pixels),
/// confidence in steps of 1/255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPose {
    /// Number of the frame.
    pub frame: FrameIndex,
    /// When the frame was captured.
    pub captured: MonotonicNs,
    /// The person.
    pub person: PersonId,
    coordinates: [[i16; 2]; KEYPOINTS],
    confidences: [u8; KEYPOINTS],
}

impl SegmentPose {
    /// What rings start as.
    pub const EMPTY: Self = Self {
        frame: FrameIndex(0),
        captured: MonotonicNs(0),
        person: PersonId(0),
        coordinates: [[0; 2]; KEYPOINTS],
        confidences: [0; KEYPOINTS],
    };

    /// Puts a pose on the grid; returns it with the number of coordinates that had to be clamped.
    #[must_use]
    pub fn quantise(frame: FrameIndex, captured: MonotonicNs, pose: &PersonPose) -> (Self, u64) {
        let mut stored = Self { frame, captured, person: pose.id, ..Self::EMPTY };
        let mut clamped = 0;
        for (place, keypoint) in pose.keypoints.iter().enumerate() {
            for (axis, value) in [keypoint.x, keypoint.y].into_iter().enumerate() {
                let units = libm::roundf(value * SEGMENT_UNITS_PER_PIXEL);
                clamped += u64::from(units < f32::from(i16::MIN) || units > f32::from(i16::MAX));
                // `as` saturates, and NaN (excluded before) would become 0.
                stored.coordinates[place][axis] = units as i16;
            }
            stored.confidences[place] = libm::roundf(keypoint.confidence.clamp(0.0, 1.0) * 255.0) as u8;
        }
        (stored, clamped)
    }

    /// A pose from its numbers on the grid: what [`SegmentPose::grid`] returned, on another machine.
    #[must_use]
    pub const fn from_grid(
        frame: FrameIndex,
        captured: MonotonicNs,
        person: PersonId,
        coordinates: [[i16; 2]; KEYPOINTS],
        confidences: [u8; KEYPOINTS],
    ) -> Self {
        Self { frame, captured, person, coordinates, confidences }
    }

    /// The numbers on the grid: x and y in quarter pixels, confidence in 1/255.
    #[must_use]
    pub const fn grid(&self) -> (&[[i16; 2]; KEYPOINTS], &[u8; KEYPOINTS]) {
        (&self.coordinates, &self.confidences)
    }

    /// The key-points in pixels, COCO-17.
    #[must_use]
    pub fn keypoints(&self) -> [KeyPoint; KEYPOINTS] {
        core::array::from_fn(|place| KeyPoint {
            x: f32::from(self.coordinates[place][0]) / SEGMENT_UNITS_PER_PIXEL,
            y: f32::from(self.coordinates[place][1]) / SEGMENT_UNITS_PER_PIXEL,
            confidence: f32::from(self.confidences[place]) / 255.0,
        })
    }
}

/// One part of an event's segment that waits for its post-roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPart {
    /// The event.
    pub event: EventId,
    /// Number of the part, from 0.
    pub part: u16,
    /// Whether it is the event's last part.
    pub is_last: bool,
    /// The person whom the event is about.
    pub person: PersonId,
    /// First frame, pre-roll included.
    pub from: FrameIndex,
    /// Last frame, post-roll included.
    pub to: FrameIndex,
}

/// A segment part and the poses that belong to it.
#[derive(Clone, Copy, Debug)]
pub struct SegmentView<'r> {
    /// Which part this is.
    pub part: SegmentPart,
    /// Whether poses of its first frames had been overwritten already.
    pub is_incomplete: bool,
    /// Whether it was handed out before all frames of its post-roll had come.
    pub is_cut_short: bool,
    older: &'r [SegmentPose],
    newer: &'r [SegmentPose],
}

impl<'r> SegmentView<'r> {
    /// The poses of all persons, oldest frame first.
    pub fn poses(&self) -> impl Iterator<Item = &'r SegmentPose> + Clone + use<'r> {
        let (from, to) = (self.part.from, self.part.to);
        self.older.iter().chain(self.newer).filter(move |pose| (from..=to).contains(&pose.frame))
    }
}

/// Ring of the latest poses, and the parts that wait.
#[derive(Debug)]
pub struct SegmentStore<'m> {
    poses: &'m mut [SegmentPose],
    next: usize,
    held: usize,
    waiting: Vec<SegmentPart, SEGMENTS_PENDING_MAX>,
}

impl<'m> SegmentStore<'m> {
    /// A store over memory of the caller's; its length is the store's capacity in person-poses.
    #[must_use]
    pub fn new(poses: &'m mut [SegmentPose]) -> Self {
        Self { poses, next: 0, held: 0, waiting: Vec::new() }
    }

    /// Appends a pose; the oldest one goes when the ring is full. Poses come in the order of their frames.
    pub fn push(&mut self, pose: SegmentPose) {
        let capacity = self.poses.len();
        if let Some(place) = self.poses.get_mut(self.next) {
            *place = pose;
            self.next = (self.next + 1) % capacity;
            self.held = (self.held + 1).min(capacity);
        }
    }

    /// Lets a part wait until its last frame has come. When too many wait, the oldest one comes back, to be handed out early.
    pub fn wait(&mut self, part: SegmentPart) -> Option<SegmentPart> {
        let early = if self.waiting.is_full() { Some(self.waiting.remove(0)) } else { None };
        // There is room: a full list has just lost one.
        let _ = self.waiting.push(part);
        early
    }

    /// Takes out one part whose last frame is at or below `newest`.
    pub fn take_complete(&mut self, newest: FrameIndex) -> Option<SegmentPart> {
        let place = self.waiting.iter().position(|part| part.to <= newest)?;
        Some(self.waiting.remove(place))
    }

    /// Takes out the oldest waiting part, complete or not.
    pub fn take_any(&mut self) -> Option<SegmentPart> {
        if self.waiting.is_empty() { None } else { Some(self.waiting.remove(0)) }
    }

    /// The poses of `part`, as far as they are still here and, up to `newest`, have come.
    #[must_use]
    pub fn view(&self, part: SegmentPart, newest: FrameIndex) -> SegmentView<'_> {
        let wrapped = self.held == self.poses.len() && self.held > 0;
        let (older, newer) = if wrapped {
            let (newer, older) = self.poses.split_at(self.next);
            (older, newer)
        } else {
            (&self.poses[..self.held], &self.poses[..0])
        };
        // Once the ring has wrapped, the oldest pose's frame may itself have lost persons.
        let is_incomplete = wrapped && older.iter().chain(newer).next().is_some_and(|oldest| oldest.frame >= part.from);
        SegmentView { part, is_incomplete, is_cut_short: part.to > newest, older, newer }
    }

    /// Forgets all poses and all waiting parts.
    pub fn restart(&mut self) {
        self.next = 0;
        self.held = 0;
        self.waiting.clear();
    }
}

/// Cuts one track's event into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartCutter {
    part: u16,
    from: FrameIndex,
}

impl PartCutter {
    /// Starts with an event's first anomalous frame.
    #[must_use]
    pub fn start(first: FrameIndex, rule: &SegmentRule) -> Self {
        Self { part: 0, from: FrameIndex(first.0.saturating_sub(u64::from(rule.pre_roll_frames))) }
    }

    /// Cuts a part off when the event, at `frame`, has grown beyond one.
    pub fn cut(&mut self, event: EventId, person: PersonId, frame: FrameIndex) -> Option<SegmentPart> {
        let length = u64::from(SEGMENT_PART_FRAMES_MAX);
        if frame.0 < self.from.0 + length {
            return None;
        }
        let part =
            SegmentPart { event, part: self.part, is_last: false, person, from: self.from, to: FrameIndex(self.from.0 + length - 1) };
        // After 65,535 parts (90 hours at 30 fps) the number stays: the event's id and frames still tell the parts apart.
        self.part = self.part.saturating_add(1);
        self.from.0 += length;
        Some(part)
    }

    /// The last part, with its post-roll.
    #[must_use]
    pub fn finish(&self, event: EventId, person: PersonId, last: FrameIndex, rule: &SegmentRule) -> SegmentPart {
        let to = FrameIndex(last.0.max(self.from.0) + u64::from(rule.post_roll_frames));
        SegmentPart { event, part: self.part, is_last: true, person, from: self.from, to }
    }
}
