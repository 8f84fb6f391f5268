//! Frames of a made-up camera: as lines for a device, and kept for whoever judges afterwards.

use alfred_core::pose::{PersonPose, PoseFrame};
use alfred_core::units::{FrameIndex, MonotonicNs};
use alfred_synth::camera::CameraSpec;
use alfred_synth::director::Events;
use alfred_synth::scene::{Scene, SceneFrame};
use std::fmt::Write;

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
pub struct Camera {
    scene: Scene,
    /// Frames per second.
    pub rate: f64,
}

impl Camera {
    /// A camera of the catalogue; `anomalous_share` of the time somebody does something anomalous.
    ///
    /// # Errors
    /// That there is no such camera.
    pub fn new(name: &str, anomalous_share: f64, seed: u64) -> Result<Self, String> {
        let spec = CameraSpec::named(name).ok_or_else(|| format!("there is no camera {name}"))?;
        Ok(Self { rate: spec.rate, scene: Scene::new(&spec, Events::Share(anomalous_share), seed) })
    }
}

impl Iterator for Camera {
    type Item = KeptFrame;

    fn next(&mut self) -> Option<KeptFrame> {
        let SceneFrame { poses, truth, .. } = self.scene.next()?;
        let persons = poses.persons.iter().copied().zip(truth.iter().map(|truth| truth.anomalous)).collect();
        Some(KeptFrame { frame: poses.frame.0, captured_ns: poses.captured.0, persons })
    }
}

impl KeptFrame {
    /// The line that `alfred-edge` reads.
    pub fn write_line(&self, line: &mut String) {
        line.clear();
        let _ = write!(line, "{{\"frame\":{},\"time_ns\":{},\"persons\":[", self.frame, self.captured_ns);
        for (place, (person, _)) in self.persons.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let _ = write!(line, "{comma}{{\"id\":{},\"score\":{},\"keypoints\":[", person.id.0, person.score);
            for (place, point) in person.keypoints.iter().enumerate() {
                let comma = if place > 0 { "," } else { "" };
                let _ = write!(line, "{comma}{},{},{}", point.x, point.y, point.confidence);
            }
            line.push_str("]}");
        }
        line.push_str("]}\n");
    }

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
