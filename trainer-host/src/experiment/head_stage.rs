//! The verdict head within a chain: which verdicts it learns from, and where its scores come in.

use crate::dataset::camera::Part;
use crate::dataset::windows::WindowSet;
use crate::phase::active_learning::{Answer, ScoredSlice};
use crate::phase::event_group::GAP_FRAMES_MAX;
use crate::phase::verdict::Verdict;
use crate::query::Embeddings;
use crate::verdict_head::{HeadRecipe, HeadSample, train};
use alfred_core::scorer::Window;
use alfred_core::units::AnomalyScore;
use alfred_core::verdict_head::{Features, VerdictHead, features};
use alfred_synth::random::Random;
use std::collections::BTreeSet;

/// Pseudo-normal windows that a head learns from at most. Confirmed false positives are sure to be normal, while pseudo-normals hide the missed
/// anomalies. Chosen as [`HeadRecipe`]'s default was, on the source's test split and the train slices: from 300 to 1,500 there is no difference, without
/// any the loss is 3 points of AUC, with 4,000 it is 2.
const PSEUDO_NORMALS_MAX: usize = 600;
/// More clips than any slice has, so that groups of different slices differ.
const CLIPS_PER_SLICE_MAX: u32 = 1 << 16;

/// A verdict on one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WindowVerdict {
    /// Slice.
    pub slice: u32,
    /// Window.
    pub window: u32,
    /// What the person said.
    pub verdict: Verdict,
    /// Number of the event that the window belongs to, unique within the chain.
    pub event: u32,
}

/// All verdicts of a chain so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VerdictMemory {
    verdicts: Vec<WindowVerdict>,
    events: u32,
}

impl VerdictMemory {
    /// Adds a slice's answers. Windows of one person without a long break make one event, whatever the questions were.
    pub fn remember(&mut self, number: u32, answers: &[Answer], slice: &ScoredSlice<'_>) {
        let mut answered: Vec<(u32, Verdict)> = answers
            .iter()
            .filter_map(|answer| answer.verdict.map(|verdict| answer.question.windows.iter().map(move |&window| (window, verdict))))
            .flatten()
            .collect();
        answered.sort_unstable_by_key(|(window, _)| *window);
        let windows: Vec<u32> = answered.iter().map(|(window, _)| *window).collect();
        for event in crate::phase::event_group::group(&windows, slice.origins, GAP_FRAMES_MAX) {
            for window in event {
                if let Ok(place) = windows.binary_search(&window) {
                    self.verdicts.push(WindowVerdict { slice: number, window, verdict: answered[place].1, event: self.events });
                }
            }
            self.events += 1;
        }
    }

    /// Embeddings of the confirmed anomalies, and their events.
    #[must_use]
    pub fn confirmed(&self, embeddings: &[Embeddings]) -> (Embeddings, Vec<u32>) {
        let mut points = Embeddings::default();
        let mut events = Vec::new();
        for verdict in self.verdicts.iter().filter(|verdict| verdict.verdict.is_anomalous()) {
            points.push(embeddings[verdict.slice as usize].get(verdict.window));
            events.push(verdict.event);
        }
        (points, events)
    }

    /// The verdicts, oldest first.
    #[must_use]
    pub fn verdicts(&self) -> &[WindowVerdict] {
        &self.verdicts
    }
}

/// A head that may be off.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HeadStage {
    /// The head as a bundle carries it.
    bytes: Option<Vec<u8>>,
    /// Pseudo-normal windows that it learns from, besides those with a verdict: (slice, window).
    normals: Vec<(u32, u32)>,
}

/// What a head learns from, and the class of its event, which no head is told: to leave a class out of the verdicts.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassedSample {
    /// Features, score, verdict.
    pub sample: HeadSample,
    /// Class by truth, an index into [`crate::dataset::camera::Camera::classes`].
    pub class: Option<u16>,
}

/// What the head sees of each window of a part, computed once per camera.
pub type PartFeatures = Vec<Features>;

/// Gives the scores of windows, named by slice and number.
pub type ScoreOf<'s> = &'s mut dyn FnMut(&[(u32, u32)]) -> Vec<f64>;

/// The features of a part's windows.
#[must_use]
pub fn features_of(windows: &WindowSet) -> PartFeatures {
    let mut window = Window::EMPTY;
    window.set_frames(windows.frames());
    let one = |index: u32| {
        window.values_mut().copy_from_slice(windows.window(index));
        features(&window)
    };
    (0..windows.len() as u32).map(one).collect()
}

impl HeadStage {
    /// Whether there is a head.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.bytes.is_some()
    }

    /// Scores of windows: the model's own, or the head's, as the device computes them from the bundle's bytes.
    #[must_use]
    pub fn apply(&self, features: &[Features], density: &[f64]) -> Vec<f64> {
        let Some(head) = self.bytes.as_deref().and_then(|bytes| VerdictHead::from_bytes(bytes).ok()) else { return density.to_vec() };
        let one = |(features, density): (&Features, &f64)| match AnomalyScore::new(*density as f32) {
            Ok(score) => f64::from(head.combine_features(features, score).value()),
            Err(_) => *density,
        };
        features.iter().zip(density).map(one).collect()
    }

    /// Trains the head anew on all verdicts so far and a bounded sample of pseudo-normals. `normal` are those of the slice at hand; `density` gives
    /// the scores of (slice, window) by the weights that the head goes with. Without enough verdicts the head stays off. Returns what it
    /// learned from.
    pub fn learn(
        &mut self,
        slices: &[Part],
        features: &[PartFeatures],
        verdicts: &VerdictMemory,
        (number, normal): (u32, &[u32]),
        density: ScoreOf<'_>,
        random: &mut Random,
    ) -> Vec<ClassedSample> {
        let answered: BTreeSet<(u32, u32)> = verdicts.verdicts.iter().map(|verdict| (verdict.slice, verdict.window)).collect();
        self.normals.extend(normal.iter().map(|&window| (number, window)).filter(|place| !answered.contains(place)));
        random.shuffle(&mut self.normals);
        self.normals.truncate(PSEUDO_NORMALS_MAX);
        self.normals.sort_unstable();
        let places: Vec<(u32, u32)> = answered.iter().chain(&self.normals).copied().collect();
        let scores = density(&places);
        let anomalous: BTreeSet<(u32, u32)> = verdicts
            .verdicts
            .iter()
            .filter(|verdict| verdict.verdict.is_anomalous())
            .map(|verdict| (verdict.slice, verdict.window))
            .collect();
        let sample = |(&(slice, window), score): (&(u32, u32), &f64)| {
            let part = slices.get(slice as usize)?;
            let clip = part.windows.origin(window).clip;
            let sample = HeadSample {
                features: *features.get(slice as usize)?.get(window as usize)?,
                density: AnomalyScore::new(*score as f32).ok()?,
                is_anomalous: anomalous.contains(&(slice, window)),
                group: slice * CLIPS_PER_SLICE_MAX + clip,
            };
            Some(ClassedSample { sample, class: part.class.get(window as usize).copied().flatten() })
        };
        let samples: Vec<ClassedSample> = places.iter().zip(&scores).filter_map(sample).collect();
        *self = Self { normals: std::mem::take(&mut self.normals), ..Self::of(samples.iter()) };
        samples
    }

    /// A head from samples; off where there is none.
    #[must_use]
    pub fn of<'s>(samples: impl Iterator<Item = &'s ClassedSample>) -> Self {
        let samples: Vec<HeadSample> = samples.map(|classed| classed.sample.clone()).collect();
        Self { bytes: train(&samples, &HeadRecipe::default()).ok().map(|head| head.to_bytes().to_vec()), normals: Vec::new() }
    }
}
