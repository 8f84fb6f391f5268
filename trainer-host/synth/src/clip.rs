//! A clip: a stretch of a scene with its frame mask and its events by person.

use crate::behaviour::AnomalyClass;
use crate::scene::{Scene, SceneFrame};
use alfred_core::units::PersonId;
use std::collections::BTreeMap;

/// A stretch of a scene.
#[derive(Clone, Debug)]
pub struct Clip {
    /// The frames; frame numbers start at 0.
    pub frames: Vec<SceneFrame>,
}

/// One person's part in an anomalous event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersonEvent {
    /// The tracker's number.
    pub id: PersonId,
    /// First frame, from 0.
    pub first: u64,
    /// Last frame.
    pub last: u64,
    /// What happens.
    pub class: AnomalyClass,
}

impl Clip {
    /// Takes the next `frames` frames of a scene and numbers them from 0.
    #[must_use]
    pub fn record(scene: &mut Scene, frames: usize) -> Self {
        let mut frames: Vec<SceneFrame> = scene.by_ref().take(frames).collect();
        for (number, frame) in frames.iter_mut().enumerate() {
            frame.poses.frame.0 = number as u64;
        }
        Self { frames }
    }

    /// One number per frame: 1 when somebody in the picture does something anomalous.
    #[must_use]
    pub fn mask(&self) -> Vec<u8> {
        self.frames.iter().map(|frame| u8::from(frame.anomalous)).collect()
    }

    /// Every person's anomalous stretches, by tracker number and frame; gaps of up to a second belong to the stretch.
    #[must_use]
    pub fn events(&self) -> Vec<PersonEvent> {
        const GAP_FRAMES_MAX: u64 = 30;
        let mut open: BTreeMap<(PersonId, AnomalyClass), (u64, u64)> = BTreeMap::new();
        let mut out = Vec::new();
        for frame in &self.frames {
            let number = frame.poses.frame.0;
            for truth in frame.truth.iter().filter(|truth| truth.anomalous) {
                let Some(class) = truth.behaviour.class() else { continue };
                let entry = open.entry((truth.id, class)).or_insert((number, number));
                if number > entry.1 + GAP_FRAMES_MAX {
                    out.push(PersonEvent { id: truth.id, first: entry.0, last: entry.1, class });
                    entry.0 = number;
                }
                entry.1 = number;
            }
        }
        out.extend(open.into_iter().map(|((id, class), (first, last))| PersonEvent { id, first, last, class }));
        out.sort_by_key(|event| (event.id, event.first, event.class));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::Clip;
    use crate::behaviour::AnomalyClass;
    use crate::camera::CameraSpec;
    use crate::director::Events;
    use crate::scene::Scene;

    fn clip(name: &str, events: Events, seed: u64, frames: usize) -> Clip {
        let camera = CameraSpec::named(name).expect("in the catalogue");
        Clip::record(&mut Scene::new(&camera, events, seed), frames)
    }

    #[test]
    fn same_seed_same_bits_and_other_seed_other_bits() {
        let (first, again) = (clip("source0", Events::Share(0.5), 3, 300), clip("source0", Events::Share(0.5), 3, 300));
        assert_eq!(first.frames, again.frames);
        assert_ne!(first.frames, clip("source0", Events::Share(0.5), 4, 300).frames);
    }

    /// The bytes must be the same on every platform: this number was computed on x86-64.
    #[test]
    fn the_stream_is_the_same_on_every_platform() {
        let clip = clip("gate", Events::Share(0.5), 11, 200);
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for person in clip.frames.iter().flat_map(|frame| &frame.poses.persons) {
            for value in person.keypoints.iter().flat_map(|k| [k.x, k.y, k.confidence]) {
                hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3);
            }
        }
        assert_eq!(hash, STREAM_HASH, "the generator changed: {hash:#x}");
    }
    const STREAM_HASH: u64 = 0xafcf_f101_c4da_fe1d;

    #[test]
    fn normal_scenes_are_normal_and_events_are_as_frequent_as_asked() {
        let normal = clip("source0", Events::Never, 1, 1500);
        assert!(normal.mask().iter().all(|&flag| flag == 0));
        assert!(normal.events().is_empty());
        let persons: usize = normal.frames.iter().map(|frame| frame.poses.persons.len()).sum();
        assert!((1500..30_000).contains(&persons), "{persons} person-frames");
        let mut anomalous = 0;
        for seed in 0..8 {
            let clip = clip("source0", Events::Share(0.5), seed, 1500);
            anomalous += clip.mask().iter().filter(|&&flag| flag == 1).count();
        }
        assert!((4200..7800).contains(&anomalous), "{anomalous} of 12,000 frames");
    }

    #[test]
    fn fights_are_normal_in_the_dojo() {
        let normal = clip("dojo", Events::Never, 5, 1500);
        assert!(
            normal.frames.iter().flat_map(|frame| &frame.truth).any(|truth| truth.behaviour.class().is_some_and(AnomalyClass::is_fight))
        );
        assert!(normal.mask().iter().all(|&flag| flag == 0));
        let test = clip("dojo", Events::Share(0.5), 5, 3000);
        assert!(!test.events().is_empty() && test.events().iter().all(|event| !event.class.is_fight()));
    }
}
