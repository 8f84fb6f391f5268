//! Exactly as many people as a measurement asks for, in every frame: stretches of synthetic persons, played to and fro for ever.
//!
//! A scene's own number of people rises and falls, which would make a measurement's work depend on its length. So each person of a crowd is
//! one unbroken stretch of one synthetic person, with the detector's noise and lost key-points, and time runs forwards, then backwards:
//! nobody leaps, no track starts anew, and every person has a window in every frame.

use crate::camera::CameraSpec;
use crate::director::Events;
use crate::scene::Scene;
use alfred_core::limits::TRACKS_MAX;
use alfred_core::normalise::{PixelScale, normalise};
use alfred_core::pose::{PersonPose, PoseFrame};
use alfred_core::scorer::Window;
use alfred_core::track_window::{Continuity, TrackRing, WindowPolicy};
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId};
use std::collections::BTreeMap;

/// Frames of one person's stretch: three seconds.
const STRETCH_FRAMES: usize = 90;
/// Frames recorded of each scene.
const SCENE_FRAMES: usize = 600;
/// Time between two frames at 30 frames per second.
const FRAME_PERIOD_NS: u64 = 33_333_333;

/// [`TRACKS_MAX`] people; a frame shows the first so many of them.
#[derive(Clone, Debug)]
pub struct Crowd {
    stretches: Vec<Vec<PersonPose>>,
}

impl Crowd {
    /// Records scene after scene, the same in every run, until there are enough people.
    #[must_use]
    pub fn record() -> Self {
        let mut stretches = Vec::new();
        for seed in 1.. {
            for camera in CameraSpec::source() {
                stretches.extend(unbroken_stretches(Scene::new(&camera, Events::Share(0.3), seed)));
            }
            if stretches.len() >= TRACKS_MAX {
                break;
            }
        }
        stretches.truncate(TRACKS_MAX);
        Self { stretches }
    }

    /// Writes frame `number` with the first `persons` people, at most [`TRACKS_MAX`]. Allocates nothing.
    ///
    /// # Panics
    /// Never: a frame has room for [`TRACKS_MAX`] people.
    pub fn write(&self, persons: usize, number: u64, frame: &mut PoseFrame) {
        frame.frame = FrameIndex(number);
        frame.captured = MonotonicNs(1 + number * FRAME_PERIOD_NS);
        frame.persons.clear();
        for (person, stretch) in self.stretches.iter().enumerate().take(persons) {
            // People do not turn round in the same frame.
            let pose = PersonPose { id: PersonId(person as u32), ..stretch[to_and_fro(number + 31 * person as u64)] };
            frame.persons.push(pose).expect("a crowd fits into a frame");
        }
    }

    /// One normalised window of `frames` detections per person.
    ///
    /// # Panics
    /// When no window is that long.
    #[must_use]
    pub fn windows(&self, frames: usize, scale: &PixelScale) -> Vec<Window> {
        let window_of = |ring: TrackRing| {
            let span = ring.due_window(&WindowPolicy::live(frames)).expect("the ring is full and has no gaps");
            let mut window = Window::EMPTY;
            normalise(ring.window(&span), frames, scale, &mut window).expect("people have a height");
            window
        };
        self.rings().into_iter().map(window_of).collect()
    }

    /// One full ring of detections per person.
    #[must_use]
    pub fn rings(&self) -> Vec<TrackRing> {
        let ring_of = |stretch: &Vec<PersonPose>| {
            let mut ring = TrackRing::EMPTY;
            stretch.iter().enumerate().for_each(|(number, pose)| ring.push(FrameIndex(number as u64), pose));
            ring
        };
        self.stretches.iter().map(ring_of).collect()
    }
}

/// Place in a stretch at a time that never ends: 0, 1, ... last, last - 1, ... 1, 0, 1 ...
fn to_and_fro(number: u64) -> usize {
    let last = STRETCH_FRAMES - 1;
    let place = (number % (2 * last as u64)) as usize;
    place.min(2 * last - place)
}

/// Cuts what the tracker reports of each person into stretches without a missing frame and without a leap.
fn unbroken_stretches(scene: Scene) -> Vec<Vec<PersonPose>> {
    let mut open: BTreeMap<PersonId, (FrameIndex, Vec<PersonPose>)> = BTreeMap::new();
    let mut complete = Vec::new();
    for frame in scene.take(SCENE_FRAMES) {
        let frame = frame.poses;
        for pose in &frame.persons {
            let (last, stretch) = open.entry(pose.id).or_insert((frame.frame, Vec::new()));
            if frame.frame.0 > last.0 + 1 {
                stretch.clear();
            }
            *last = frame.frame;
            stretch.push(*pose);
            if stretch.len() == STRETCH_FRAMES {
                complete.push(std::mem::take(stretch));
            }
        }
    }
    complete.retain(|stretch| is_continuous(stretch));
    complete
}

/// Whether the device's rule takes the whole stretch, to and fro, for one person.
fn is_continuous(stretch: &[PersonPose]) -> bool {
    let mut ring = TrackRing::EMPTY;
    let policy = WindowPolicy::live(STRETCH_FRAMES / 2);
    (0..2 * STRETCH_FRAMES as u64).all(|number| {
        let pose = &stretch[to_and_fro(number)];
        let goes_on = ring.continuity(FrameIndex(number), pose, &policy) == Continuity::Continued;
        ring.push(FrameIndex(number), pose);
        goes_on
    })
}
