//! One person's latest detections, and the rule that says when they make a window.
//!
//! The published rule (STG-NF's loader; also SPARTA's): a window is `window_frames` consecutive DETECTIONS of a person, started every
//! `stride` detections; it counts only if at least `window_frames - 2` of its frame numbers lie in
//! `first..first + window_frames`. Gaps are closed up, nothing is interpolated. [`WindowPolicy::published`] keeps to it in every
//! detail; [`WindowPolicy::live`] differs in three points, each of which says why.

use crate::limits::{DETECTIONS_PER_TRACK, KEYPOINTS, WINDOW_FRAMES_MAX, WINDOW_FRAMES_MIN, WINDOW_MISSING_FRAMES_MAX};
use crate::pose::PersonPose;
use crate::units::FrameIndex;

/// When a person's detections become windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowPolicy {
    /// Detections T per window, 4 to 48; the model's.
    pub window_frames: usize,
    /// Frame of the window, counted from its first one, that gets the score; below `window_frames`. Published: the middle for STG-NF,
    /// the middle of the predicted half for SPARTA. A model says it ([`crate::scorer::Scorer::score_frame_in_window`]).
    pub score_frame: usize,
    /// Detections from one window's start to the next, at least 1.
    pub stride: u32,
    /// Missing frames after which the person's window starts anew; `None`: never (published).
    pub gap_frames_max: Option<u32>,
    /// Movement per frame, in body heights, beyond which the same number is another person; `None`: never (published).
    pub jump_heights_max: Option<f32>,
    /// Whether a window waits for its successor, so that the last window of a track is never scored (published).
    pub skip_last_window: bool,
    /// A window counts only if the mean of its detections' scores is above this; 0 switches the filter off (published default).
    pub confidence_min: f32,
}

impl WindowPolicy {
    /// The published rule to the letter, for offline evaluation and parity.
    #[must_use]
    pub const fn published(window_frames: usize) -> Self {
        Self {
            window_frames,
            score_frame: window_frames / 2,
            stride: 1,
            gap_frames_max: None,
            jump_heights_max: None,
            skip_last_window: true,
            confidence_min: 0.0,
        }
    }

    /// What a device runs. (1) A gap of more than two frames starts anew: the published rule accepts, right after a gap of any
    /// length, two windows that join both sides of it. (2) A leap of more than a body height per frame is id reuse. (3) The newest
    /// window is scored at once: waiting for its successor would cost a frame of latency.
    #[must_use]
    pub const fn live(window_frames: usize) -> Self {
        Self {
            window_frames,
            score_frame: window_frames / 2,
            stride: 1,
            gap_frames_max: Some(WINDOW_MISSING_FRAMES_MAX as u32),
            jump_heights_max: Some(1.0),
            skip_last_window: false,
            confidence_min: 0.0,
        }
    }

    /// The same policy for a model whose scores belong to another frame than the window's middle.
    #[must_use]
    pub const fn with_score_frame(self, score_frame: usize) -> Self {
        Self { score_frame, ..self }
    }

    /// Whether the lengths are within the limits.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (WINDOW_FRAMES_MIN..=WINDOW_FRAMES_MAX).contains(&self.window_frames)
            && self.score_frame < self.window_frames
            && self.stride >= 1
            && self.confidence_min.is_finite()
            && self.jump_heights_max.is_none_or(|jump| jump.is_finite() && jump > 0.0)
    }

    /// Frames from the one that gets a window's score to the newest frame when the window is scored, with as many missing frames as are
    /// usual.
    #[must_use]
    pub const fn centre_lag_frames(&self) -> usize {
        let last = if self.skip_last_window { 1 } else { 0 };
        (self.window_frames - 1).saturating_sub(self.score_frame) + WINDOW_MISSING_FRAMES_MAX + last
    }
}

/// One detection as windows need it.
#[derive(Clone, Copy, Debug)]
pub struct Detection {
    /// Number of its frame.
    pub frame: FrameIndex,
    /// The detector's score of the whole person.
    pub score: f32,
    /// COCO-17 key-points, (x, y) in pixels; (0, 0) means undetected.
    pub keypoints: [[f32; 2]; KEYPOINTS],
}

impl Detection {
    const EMPTY: Self = Self { frame: FrameIndex(0), score: 0.0, keypoints: [[0.0; 2]; KEYPOINTS] };
}

/// What became of a detection that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// The person goes on.
    Continued,
    /// The person was missing for too long: the window starts anew.
    RestartedAfterGap,
    /// The same number turned up elsewhere: the window starts anew, for another person.
    RestartedAfterJump,
}

/// A window that is due: which detections it holds and which frame its score belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpan {
    /// Frame of the oldest detection.
    pub first: FrameIndex,
    /// Frame of the newest detection.
    pub last: FrameIndex,
    /// Frame that gets the score: `first + score_frame` of the policy, by default the window's middle (published attribution).
    pub centre: FrameIndex,
    skip: usize,
    frames: usize,
}

/// Why no window is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWindow {
    /// Too few detections so far, or the stride skips this one.
    NotYet,
    /// More than two of the frames are missing.
    TooManyMissing,
    /// The detector's mean score is too low.
    LowConfidence,
}

/// Ring of one person's latest detections.
#[derive(Clone, Debug)]
pub struct TrackRing {
    detections: [Detection; DETECTIONS_PER_TRACK],
    /// Where the next detection goes.
    next: usize,
    /// Detections since the ring was started; only the latest [`DETECTIONS_PER_TRACK`] are kept.
    seen: u64,
    /// Centre (x, y) and height of the newest detection in pixels; `None` if too little of it was detected.
    body: Option<Body>,
}

#[derive(Clone, Copy, Debug)]
struct Body {
    x: f32,
    y: f32,
    height: f32,
}

/// Key-points that must be detected before a body's place is trusted.
const BODY_KEYPOINTS_MIN: u32 = 5;

impl TrackRing {
    /// A ring without detections.
    pub const EMPTY: Self = Self { detections: [Detection::EMPTY; DETECTIONS_PER_TRACK], next: 0, seen: 0, body: None };

    /// Forgets every detection.
    pub fn restart(&mut self) {
        self.next = 0;
        self.seen = 0;
        self.body = None;
    }

    /// Detections since the ring was started.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// The newest detection.
    #[must_use]
    pub fn newest(&self) -> Option<&Detection> {
        if self.seen == 0 { None } else { self.detections.get((self.next + DETECTIONS_PER_TRACK - 1) % DETECTIONS_PER_TRACK) }
    }

    /// Says whether `pose` continues this person or starts anew. The ring is not changed.
    #[must_use]
    pub fn continuity(&self, frame: FrameIndex, pose: &PersonPose, policy: &WindowPolicy) -> Continuity {
        let Some(newest) = self.newest() else { return Continuity::Continued };
        let elapsed = frame.0.saturating_sub(newest.frame.0).max(1);
        if policy.gap_frames_max.is_some_and(|gap| elapsed - 1 > u64::from(gap)) {
            return Continuity::RestartedAfterGap;
        }
        if let (Some(jump), Some(before), Some(now)) = (policy.jump_heights_max, self.body, body_of(&keypoints_xy(pose))) {
            let (dx, dy) = (now.x - before.x, now.y - before.y);
            let reach = jump * before.height.max(now.height) * elapsed as f32;
            if dx * dx + dy * dy > reach * reach {
                return Continuity::RestartedAfterJump;
            }
        }
        Continuity::Continued
    }

    /// Appends a detection; the oldest one goes when the ring is full. `frame` must lie above the newest one's.
    pub fn push(&mut self, frame: FrameIndex, pose: &PersonPose) {
        let keypoints = keypoints_xy(pose);
        self.body = body_of(&keypoints);
        let score = if pose.score.is_finite() { pose.score } else { 0.0 };
        if let Some(place) = self.detections.get_mut(self.next) {
            *place = Detection { frame, score, keypoints };
        }
        self.next = (self.next + 1) % DETECTIONS_PER_TRACK;
        self.seen += 1;
    }

    /// Says whether the detection pushed last completes a window.
    ///
    /// # Errors
    /// [`NoWindow`] says why there is none.
    pub fn due_window(&self, policy: &WindowPolicy) -> Result<WindowSpan, NoWindow> {
        let skip = usize::from(policy.skip_last_window);
        let start = self.seen.checked_sub((policy.window_frames + skip) as u64).ok_or(NoWindow::NotYet)?;
        if !start.is_multiple_of(u64::from(policy.stride.max(1))) {
            return Err(NoWindow::NotYet);
        }
        let frames = policy.window_frames;
        let mut detections = self.latest(frames, skip);
        let first = detections.next().ok_or(NoWindow::NotYet)?.frame;
        let end = first.0 + frames as u64;
        let (mut within, mut last, mut score_sum) = (0_usize, first, 0.0_f64);
        for detection in self.latest(frames, skip) {
            within += usize::from(detection.frame.0 < end);
            last = detection.frame;
            score_sum += f64::from(detection.score);
        }
        if within + WINDOW_MISSING_FRAMES_MAX < frames {
            return Err(NoWindow::TooManyMissing);
        }
        if policy.confidence_min > 0.0 && score_sum / frames as f64 <= f64::from(policy.confidence_min) {
            return Err(NoWindow::LowConfidence);
        }
        Ok(WindowSpan { first, last, centre: FrameIndex(first.0 + policy.score_frame as u64), skip, frames })
    }

    /// The detections of a window that [`TrackRing::due_window`] named, oldest first.
    pub fn window(&self, span: &WindowSpan) -> impl Iterator<Item = &Detection> + Clone {
        self.latest(span.frames, span.skip)
    }

    /// The latest `frames` detections without the newest `skip`, oldest first.
    fn latest(&self, frames: usize, skip: usize) -> impl Iterator<Item = &Detection> + Clone {
        let back = (frames + skip).min(DETECTIONS_PER_TRACK);
        let start = (self.next + DETECTIONS_PER_TRACK - back) % DETECTIONS_PER_TRACK;
        // Two runs instead of a remainder per element: the ring wraps at most once.
        let (tail, head) = (&self.detections[start..], &self.detections[..start]);
        tail.iter().chain(head.iter()).take(frames)
    }
}

fn keypoints_xy(pose: &PersonPose) -> [[f32; 2]; KEYPOINTS] {
    pose.keypoints.map(|keypoint| [keypoint.x, keypoint.y])
}

/// Middle and height of the detected key-points' bounding box; `None` below [`BODY_KEYPOINTS_MIN`] of them.
fn body_of(keypoints: &[[f32; 2]; KEYPOINTS]) -> Option<Body> {
    let (mut low, mut high, mut count) = ([f32::MAX; 2], [f32::MIN; 2], 0_u32);
    for &[x, y] in keypoints {
        if x != 0.0 || y != 0.0 {
            low = [low[0].min(x), low[1].min(y)];
            high = [high[0].max(x), high[1].max(y)];
            count += 1;
        }
    }
    (count >= BODY_KEYPOINTS_MIN).then(|| {
        // The longer side: a lying person is as long as a standing one is tall.
        let height = (high[1] - low[1]).max(high[0] - low[0]);
        Body { x: 0.5 * (low[0] + high[0]), y: 0.5 * (low[1] + high[1]), height }
    })
}
