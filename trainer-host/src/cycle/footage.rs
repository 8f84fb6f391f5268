//! Items as the device saw them: their poses go through the device's own data path, one person at a time.
//!
//! The pre-roll of an event and the frames before a sample's window are long enough that the smoothed scores of the frames that count are
//! those that the device decided by, up to the rounding of stored poses (1/8 pixel).

use crate::error::HostError;
use crate::one_person::OnePerson;
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{FrameDecision, Sink, WindowScore};
use alfred_core::pose::PersonPose;
use alfred_core::scorer::{ScoreResult, Scorer, Window};
use alfred_core::smoothing::LIVE_AHEAD_FRAMES;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::PersonId;
use alfred_store::cycle::{Footage, JudgedItem};
use alfred_store::item::ItemKind;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Frames between two of the training windows of a stretch: neighbours are nearly copies of each other.
pub const TRAINING_STRIDE: u64 = 6;

/// One item of the stream.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// The item.
    pub item: i64,
    /// Which start of which device: frames count anew with each.
    pub start: u32,
    /// The person.
    pub person: u32,
    /// Whether the device flagged it.
    pub is_event: bool,
    /// What people say; `None`: nothing, or not one thing.
    pub said: Option<bool>,
    /// Frames that the item is about: anomalous ones of an event, those of a sample whose smoothed score is the device's.
    pub frames: RangeInclusive<u64>,
    /// Windows that a sample stands for; of an event 0.
    pub stands_for: u32,
    poses: BTreeMap<u64, PersonPose>,
}

impl Stretch {
    /// From an item and its poses; `None` where there are none.
    #[must_use]
    pub fn new(judged: &JudgedItem, footage: &Footage, start: u32, window_frames: u64) -> Option<Self> {
        let item = &judged.item;
        let pose = |(&frame, keypoints): (&u64, &_)| (frame, PersonPose { id: PersonId(item.person), score: 1.0, keypoints: *keypoints });
        let poses: BTreeMap<u64, PersonPose> = footage.poses.iter().map(pose).collect();
        let (first, last) = (*poses.keys().next()?, *poses.keys().next_back()?);
        let is_event = item.kind == ItemKind::Event;
        let frames = if is_event {
            item.first_frame.max(first)..=item.last_frame.min(last)
        } else {
            // The last frame that every score of its smoothing can reach; a short sample begins with its person, as on the device.
            let decided = last.saturating_sub(window_frames / 2 + LIVE_AHEAD_FRAMES as u64).max(first);
            decided..=decided
        };
        Some(Self {
            item: item.id,
            start,
            person: item.person,
            is_event,
            said: judged.is_anomalous,
            frames,
            stands_for: footage.stands_for,
            poses,
        })
    }

    /// Frames that it stands for: each flagged one for itself.
    #[must_use]
    pub fn frames_stood_for(&self) -> f64 {
        if self.is_event { (self.frames.end().saturating_sub(*self.frames.start()) + 1) as f64 } else { f64::from(self.stands_for) }
    }
}

/// A window that the data path cut.
#[derive(Clone, Debug)]
pub struct CutWindow {
    /// Frame that its score belongs to.
    pub centre: u64,
    /// The model's score.
    pub score: f64,
    /// Its values, [channel][joint][time].
    pub values: Vec<f32>,
}

/// What the data path made of a stretch.
#[derive(Clone, Debug, Default)]
pub struct Scored {
    /// Windows in order.
    pub windows: Vec<CutWindow>,
    /// Smoothed scores of the frames that the item is about; frames without one are missing.
    pub smoothed: Vec<f64>,
}

impl Scored {
    /// The item's score: its highest smoothed one.
    #[must_use]
    pub fn peak(&self) -> Option<f64> {
        self.smoothed.iter().copied().reduce(f64::max)
    }
}

/// The device's data path with default windows and smoothing.
pub struct DataPath(OnePerson);

impl DataPath {
    /// For a model with windows of `window_frames`.
    ///
    /// # Errors
    /// [`HostError::Argument`] when no device has such windows.
    pub fn new(window_frames: usize, scale: PixelScale) -> Result<Self, HostError> {
        OnePerson::new(WindowPolicy::live(window_frames), scale).map(Self)
    }

    /// What a bundle for such a device must be made for.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.0.fingerprint()
    }

    /// Scores a stretch.
    ///
    /// # Errors
    /// [`HostError::Argument`] when the model's windows are of another length.
    pub fn score(&mut self, stretch: &Stretch, scorer: &mut dyn Scorer) -> Result<Scored, HostError> {
        let mut watched = Watched { inner: scorer, values: Vec::new() };
        let mut sink = Kept { frames: stretch.frames.clone(), scored: Scored::default(), spans: Vec::new() };
        self.0.run(stretch.poses.iter().map(|(frame, pose)| (*frame, *pose)), &mut watched, &mut sink)?;
        let Kept { mut scored, spans, .. } = sink;
        let cut = |((centre, score), values): ((u64, f64), Vec<f32>)| CutWindow { centre, score, values };
        scored.windows = spans.into_iter().zip(watched.values).map(cut).collect();
        Ok(scored)
    }
}

/// Keeps a copy of every window that got a score.
struct Watched<'s> {
    inner: &'s mut dyn Scorer,
    values: Vec<Vec<f32>>,
}

impl Scorer for Watched<'_> {
    fn window_frames(&self) -> usize {
        self.inner.window_frames()
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        self.inner.score_batch(windows, scores);
        let scored = windows.iter().zip(scores.iter()).filter(|(_, score)| score.is_ok());
        self.values.extend(scored.map(|(window, _)| window.values().to_vec()));
    }
}

struct Kept {
    frames: RangeInclusive<u64>,
    scored: Scored,
    spans: Vec<(u64, f64)>,
}

impl Sink for Kept {
    fn window(&mut self, window: &WindowScore) {
        self.spans.push((window.centre.0, f64::from(window.score.value())));
    }

    fn frame(&mut self, decision: &FrameDecision) {
        if let Some(smoothed) = decision.smoothed.filter(|_| self.frames.contains(&decision.frame.0)) {
            self.scored.smoothed.push(f64::from(smoothed.value()));
        }
    }
}
