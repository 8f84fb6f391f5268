//! The active-learning validation set: balanced 50:50, grown in warm-up, kept apart from training by event, renewed as the scene drifts.

use crate::dataset::windows::Origin;
use alfred_synth::random::Random;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// One event of the set: a person's run of windows with one label.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Candidate {
    /// Clip that it is from.
    pub clip: u32,
    /// Person in that clip.
    pub person: u32,
    /// Frame of its first window's centre.
    pub first: u32,
    /// Frame of its last window's centre.
    pub last: u32,
    /// Its label.
    pub is_anomalous: bool,
    /// Windows it holds, by number.
    pub windows: Vec<u32>,
    /// Slice in which it came.
    pub slice: u32,
}

impl Candidate {
    /// From a non-empty event.
    #[must_use]
    pub fn of_event(event: &[u32], origins: &[Origin], is_anomalous: bool, slice: u32) -> Self {
        let of = |window: Option<&u32>| window.and_then(|&window| origins.get(window as usize)).copied();
        let nowhere = Origin { clip: u32::MAX, person: u32::MAX, centre: 0 };
        let (first, last) = (of(event.first()).unwrap_or(nowhere), of(event.last()).unwrap_or(nowhere));
        Self {
            clip: first.clip,
            person: first.person,
            first: first.centre,
            last: last.centre,
            is_anomalous,
            windows: event.to_vec(),
            slice,
        }
    }
}

/// How the set lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifeRule {
    /// Events of each class at most; the oldest go first.
    pub events_per_class_max: usize,
    /// Events older than so many slices go, as long as their class keeps `events_per_class_min`.
    pub age_slices_max: u32,
    /// Events of a class that ageing never takes: an old anomaly is better than none.
    pub events_per_class_min: usize,
}

impl Default for LifeRule {
    fn default() -> Self {
        Self { events_per_class_max: 200, age_slices_max: 9, events_per_class_min: 20 }
    }
}

/// The validation set of one camera.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ValidationSet {
    events: Vec<Candidate>,
}

/// What a renewal took out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Events that were too old.
    pub aged: usize,
    /// Events beyond the capacity.
    pub crowded_out: usize,
}

impl ValidationSet {
    /// The events, oldest first.
    #[must_use]
    pub fn events(&self) -> &[Candidate] {
        &self.events
    }

    /// Adds an event; one without windows is left out.
    pub fn add(&mut self, event: Candidate) {
        if !event.windows.is_empty() {
            self.events.push(event);
        }
    }

    /// Whether a training window would overlap an event of the set: same clip and person, and centres nearer than a window's length.
    #[must_use]
    pub fn overlaps(&self, origin: &Origin, window_frames: u32) -> bool {
        self.events.iter().any(|event| {
            (event.clip, event.person) == (origin.clip, origin.person)
                && origin.centre.saturating_add(window_frames) > event.first
                && origin.centre < event.last.saturating_add(window_frames)
        })
    }

    /// Takes out what is too old or too much.
    pub fn renew(&mut self, now_slice: u32, rule: &LifeRule) -> Renewal {
        let mut renewal = Renewal::default();
        for is_anomalous in [false, true] {
            let mut count = self.events.iter().filter(|event| event.is_anomalous == is_anomalous).count();
            self.events.retain(|event| {
                if event.is_anomalous != is_anomalous {
                    return true;
                }
                let old = now_slice.saturating_sub(event.slice) > rule.age_slices_max && count > rule.events_per_class_min;
                let crowded = count > rule.events_per_class_max;
                renewal.aged += usize::from(old);
                renewal.crowded_out += usize::from(crowded && !old);
                count -= usize::from(old || crowded);
                !(old || crowded)
            });
        }
        renewal
    }

    /// Window numbers, 50:50 by window: the larger class is thinned out at random.
    #[must_use]
    pub fn balanced(&self, seed: u64) -> Vec<u32> {
        let labelled: Vec<(u32, bool)> =
            self.events.iter().flat_map(|event| event.windows.iter().map(|&window| (window, event.is_anomalous))).collect();
        let chosen = balance(&labelled.iter().map(|(_, label)| *label).collect::<Vec<_>>(), seed);
        chosen.into_iter().map(|index| labelled[index as usize].0).collect()
    }

    /// SHA-256 of what the set holds, for the bundle: which events, with which labels.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for event in &self.events {
            for number in
                [event.clip, event.person, event.first, event.last, u32::from(event.is_anomalous), event.slice, event.windows.len() as u32]
            {
                hash.update(number.to_le_bytes());
            }
        }
        hash.finalize().into()
    }
}

/// Indices (rising) of a 50:50 choice: all of the smaller class, as many of the larger one, drawn at random.
#[must_use]
pub fn balance(is_anomalous: &[bool], seed: u64) -> Vec<u32> {
    let of = |wanted: bool| (0_u32..).zip(is_anomalous).filter(|(_, label)| **label == wanted).map(|(index, _)| index).collect();
    let (mut normal, mut anomalous): (Vec<u32>, Vec<u32>) = (of(false), of(true));
    let count = normal.len().min(anomalous.len());
    let mut random = Random::new(seed);
    for class in [&mut normal, &mut anomalous] {
        if class.len() > count {
            random.shuffle(class);
            class.truncate(count);
        }
    }
    let chosen: BTreeSet<u32> = normal.into_iter().chain(anomalous).collect();
    chosen.into_iter().collect()
}
