//! What is true before a simulated board's camera: the same people once more, from the same seed, kept for whoever judges.

use alfred_core::pose::{PersonPose, PoseFrame};
use alfred_core::units::{FrameIndex, MonotonicNs};
use alfred_synth::camera::CameraSpec;
use alfred_synth::director::Events;
use alfred_synth::scene::{Scene, SceneFrame};

/// One frame with its truth.
#[derive(Clone, Debug)]
pub struct KeptFrame {
    /// Its number.
    pub frame: u64,
    /// Capture time, nanoseconds.
    pub captured_ns: u64,
    /// Persons, and whether each does something anomalous before this camera.
    pub persons: Vec<(PersonPose, bool)>,
}

/// A camera that never ends.
#[derive(Debug)]
pub struct Camera(Scene);

impl Camera {
    /// A camera of the catalogue, as the board simulates it with this seed; `anomalous_share` of the time somebody does something anomalous.
    ///
    /// # Errors
    /// That there is no such camera.
    pub fn new(name: &str, anomalous_share: f64, seed: u64) -> Result<Self, String> {
        let spec = CameraSpec::named(name).ok_or_else(|| format!("there is no camera {name}"))?;
        Ok(Self(Scene::new(&spec, Events::Share(anomalous_share), seed)))
    }
}

impl Iterator for Camera {
    type Item = KeptFrame;

    fn next(&mut self) -> Option<KeptFrame> {
        let SceneFrame { poses, truth, .. } = self.0.next()?;
        let persons = poses.persons.iter().copied().zip(truth.iter().map(|truth| truth.anomalous)).collect();
        Some(KeptFrame { frame: poses.frame.0, captured_ns: poses.captured.0, persons })
    }
}

impl KeptFrame {
    /// The frame as the data path takes it.
    pub fn write_poses(&self, frame: &mut PoseFrame) {
        (frame.frame, frame.captured) = (FrameIndex(self.frame), MonotonicNs(self.captured_ns));
        frame.persons.clear();
        for (person, _) in &self.persons {
            // A scene has no more persons than a frame holds.
            let _ = frame.persons.push(*person);
        }
    }
}
