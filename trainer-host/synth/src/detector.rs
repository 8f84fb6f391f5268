//! A model of a pose detector and tracker: jitter, drop-outs, occlusion, lost tracks, broken identities, lost frames.
//!
//! The model is invented, not fitted: jitter grows with the person's size and speed and is the sum of white noise and an AR(1) process;
//! hidden joints stay in the output with low confidence and large jitter, as AlphaPose does it.

use crate::camera::CameraSpec;
use crate::geometry::Point;
use crate::random::Random;
use alfred_core::limits::KEYPOINTS;
use alfred_core::pose::{KeyPoint, PersonPose};
use alfred_core::units::PersonId;
use std::collections::BTreeMap;

/// Correlation of the slow jitter from frame to frame, at 30 frames per second.
const JITTER_CORRELATION: f64 = 0.85;
/// A person of whom fewer joints lie in the picture is not detected.
const JOINTS_IN_PICTURE_MIN: usize = 9;
/// A track lost for more frames comes back under a new number.
const LOST_FRAMES_SAME_ID_MAX: u32 = 12;
/// Jitter of each joint against the average one.
const JOINT_JITTER: [f64; KEYPOINTS] = [0.6, 0.6, 0.6, 0.7, 0.7, 0.9, 0.9, 1.0, 1.0, 1.25, 1.25, 1.15, 1.15, 1.1, 1.1, 1.2, 1.2];
/// COCO's left-right pairs of the limbs.
const LIMB_PAIRS: [(usize, usize); 6] = [(5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)];

/// What the detector remembers about one person.
#[derive(Clone, Debug)]
struct Track {
    id: PersonId,
    slow: [[f64; 2]; KEYPOINTS],
    slow_confidence: f64,
    previous: Option<[(f64, f64); KEYPOINTS]>,
    dropped: [(u32, f64, f64); KEYPOINTS],
    swapped_frames: u32,
    swap_arms: bool,
    lost_frames: u32,
    missed_frames: u32,
    new_id_when_back: bool,
}

/// A person as the camera would see it without noise.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The actor's number.
    pub number: u64,
    /// Key-points in pixels.
    pub pixels: [(f64, f64); KEYPOINTS],
    /// Distance from the camera, metres.
    distance: f64,
    /// Whether the head looks at the camera (1), aside (0) or away (-1).
    facing: f64,
    /// Joints behind the person's own trunk.
    behind_trunk: [bool; KEYPOINTS],
}

impl Seen {
    /// Projects a person; `None` when a joint is not before the camera or too few lie in the picture.
    #[must_use]
    pub fn project(number: u64, joints: &[Point; KEYPOINTS], camera: &CameraSpec) -> Option<Self> {
        let mut pixels = [(0.0, 0.0); KEYPOINTS];
        for (pixel, &joint) in pixels.iter_mut().zip(joints) {
            *pixel = camera.project(joint)?;
        }
        let inside = |&&(x, y): &&(f64, f64)| x >= 0.0 && y >= 0.0 && x < f64::from(camera.width) && y < f64::from(camera.height);
        if pixels.iter().filter(inside).count() < JOINTS_IN_PICTURE_MIN {
            return None;
        }
        let eye = Point::new(0.0, 0.0, camera.mount);
        let distance = |point: Point| libm::sqrt((point - eye).dot(point - eye));
        let ears = (joints[3] + joints[4]) * 0.5;
        let (look, to_camera) = (joints[0] - ears, eye - ears);
        let facing = look.dot(to_camera) / libm::sqrt(look.dot(look) * to_camera.dot(to_camera)).max(1e-9);
        let trunk = Box::around(&[pixels[5], pixels[6], pixels[11], pixels[12]]);
        let trunk_distance = distance((joints[5] + joints[6] + joints[11] + joints[12]) * 0.25);
        let behind_trunk =
            core::array::from_fn(|k| (7..=10).contains(&k) && trunk.holds(pixels[k]) && distance(joints[k]) > trunk_distance + 0.05);
        Some(Self { number, pixels, distance: trunk_distance, facing, behind_trunk })
    }

    /// The longer side of the person's box, pixels.
    #[must_use]
    pub fn size(&self) -> f64 {
        let around = Box::around(&self.pixels);
        (around.right - around.left).max(around.bottom - around.top)
    }
}

/// A box in pixels.
#[derive(Clone, Copy, Debug)]
struct Box {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Box {
    fn around(points: &[(f64, f64)]) -> Self {
        let mut out = Self { left: f64::MAX, top: f64::MAX, right: f64::MIN, bottom: f64::MIN };
        for &(x, y) in points {
            out = Self { left: out.left.min(x), top: out.top.min(y), right: out.right.max(x), bottom: out.bottom.max(y) };
        }
        out
    }

    fn holds(&self, (x, y): (f64, f64)) -> bool {
        x >= self.left && x <= self.right && y >= self.top && y <= self.bottom
    }
}

/// The detector and tracker of one camera.
#[derive(Clone, Debug)]
pub struct Detector {
    random: Random,
    tracks: BTreeMap<u64, Track>,
    next_id: u32,
}

impl Detector {
    /// A detector that has seen nobody yet.
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self { random, tracks: BTreeMap::new(), next_id: 1 }
    }

    /// Detects the people of one frame: `(index into seen, pose)` for everybody who is found. `noise` is the factor of this hour.
    pub fn observe(&mut self, seen: &[Seen], camera: &CameraSpec, noise: f64) -> Vec<(usize, PersonPose)> {
        self.tracks.retain(|number, _| seen.iter().any(|seen| seen.number == *number));
        let whole_frame_lost = self.random.chance(0.0008 * noise);
        let mut found = Vec::with_capacity(seen.len());
        for (index, person) in seen.iter().enumerate() {
            let hidden = hidden_joints(person, seen, camera);
            // Tracks go on inside the tracker even when the frame is lost.
            if let Some(pose) = self.observe_person(person, &hidden, camera, noise)
                && !whole_frame_lost
            {
                found.push((index, pose));
            }
        }
        found
    }

    fn new_track(&mut self) -> Track {
        let mut track = Track {
            id: PersonId(self.next_id),
            slow: [[0.0; 2]; KEYPOINTS],
            slow_confidence: self.random.normal(),
            previous: None,
            dropped: [(0, 0.0, 0.0); KEYPOINTS],
            swapped_frames: 0,
            swap_arms: false,
            lost_frames: 0,
            missed_frames: 0,
            new_id_when_back: false,
        };
        for slow in track.slow.iter_mut().flatten() {
            *slow = self.random.normal();
        }
        self.next_id += 1;
        track
    }

    fn observe_person(&mut self, person: &Seen, hidden: &[bool; KEYPOINTS], camera: &CameraSpec, noise: f64) -> Option<PersonPose> {
        let mut track = match self.tracks.remove(&person.number) {
            Some(track) => track,
            None => self.new_track(),
        };
        let detected = self.is_detected(&mut track, hidden, noise);
        let pose = self.jitter(&mut track, person, hidden, camera, noise);
        self.tracks.insert(person.number, track);
        detected.then_some(pose)
    }

    /// Whether the person is found in this frame; breaks identities.
    fn is_detected(&mut self, track: &mut Track, hidden: &[bool; KEYPOINTS], noise: f64) -> bool {
        if track.lost_frames > 0 {
            track.lost_frames -= 1;
            track.missed_frames += 1;
            return false;
        }
        if self.random.chance(0.0010 * noise) {
            track.lost_frames = 2 + self.random.below(24) as u32;
            track.new_id_when_back = self.random.chance(0.4);
        }
        let hidden_share = hidden.iter().filter(|&&hidden| hidden).count() as f64 / KEYPOINTS as f64;
        if hidden_share > 0.55 && self.random.chance(0.7) {
            track.missed_frames += 1;
            return false;
        }
        if track.missed_frames > LOST_FRAMES_SAME_ID_MAX
            || (track.missed_frames > 0 && track.new_id_when_back)
            || self.random.chance(0.0004 * noise)
        {
            track.id = PersonId(self.next_id);
            self.next_id += 1;
        }
        track.missed_frames = 0;
        track.new_id_when_back = false;
        true
    }

    fn jitter(&mut self, track: &mut Track, person: &Seen, hidden: &[bool; KEYPOINTS], camera: &CameraSpec, noise: f64) -> PersonPose {
        let size = person.size();
        let previous = track.previous.unwrap_or(person.pixels);
        // At low frame rates noise correlates less from frame to frame.
        let correlation = if camera.rate < 20.0 { JITTER_CORRELATION * JITTER_CORRELATION } else { JITTER_CORRELATION };
        let renew = libm::sqrt(1.0 - correlation * correlation);
        track.slow_confidence = 0.95 * track.slow_confidence + 0.312 * self.random.normal();
        let mut keypoints = [KeyPoint::UNDETECTED; KEYPOINTS];
        for (k, out) in keypoints.iter_mut().enumerate() {
            let (x, y) = person.pixels[k];
            let speed = libm::hypot(x - previous[k].0, y - previous[k].1);
            let vague = if hidden[k] {
                3.5
            } else if person.behind_trunk[k] {
                2.0
            } else {
                1.0
            };
            let sigma = noise * JOINT_JITTER[k] * vague * (0.35 + 0.0075 * size + 0.07 * speed);
            let slow = &mut track.slow[k];
            let (mut dx, mut dy) = (0.0, 0.0);
            for (axis, delta) in [&mut dx, &mut dy].into_iter().enumerate() {
                slow[axis] = correlation * slow[axis] + renew * self.random.normal();
                *delta = sigma * (0.85 * slow[axis] + 0.40 * self.random.normal());
            }
            let mut confidence = 0.94 - 0.03 * noise - 0.004 * speed.min(30.0) + 0.02 * track.slow_confidence + 0.03 * self.random.normal();
            confidence -= if size < 90.0 { 0.10 } else { 0.0 };
            confidence -= 0.45 * f64::from(u8::from(hidden[k])) + 0.25 * f64::from(u8::from(person.behind_trunk[k]));
            confidence -= face_hidden(k, person.facing);
            self.drop_joint(&mut track.dropped[k], size, noise);
            if track.dropped[k].0 > 0 {
                (dx, dy) = (dx + track.dropped[k].1, dy + track.dropped[k].2);
                confidence = confidence.min(0.30) * self.random.between(0.3, 1.0);
            }
            let outside = x < 0.0 || y < 0.0 || x >= f64::from(camera.width) || y >= f64::from(camera.height);
            confidence -= if outside { 0.5 } else { 0.0 };
            *out = KeyPoint {
                x: tenths((x + dx).clamp(0.0, f64::from(camera.width) - 1.0)),
                y: tenths((y + dy).clamp(0.0, f64::from(camera.height) - 1.0)),
                confidence: hundredths(confidence.clamp(0.02, 0.99)),
            };
        }
        track.previous = Some(person.pixels);
        self.swap_sides(track, person, &mut keypoints, noise);
        let score = keypoints.iter().map(|k| f64::from(k.confidence)).sum::<f64>() * 3.0 / KEYPOINTS as f64;
        PersonPose { id: track.id, score: hundredths(score), keypoints }
    }

    /// Now and then a joint jumps somewhere else for a few frames.
    fn drop_joint(&mut self, dropped: &mut (u32, f64, f64), size: f64, noise: f64) {
        if dropped.0 > 0 {
            dropped.0 -= 1;
        } else if self.random.chance(0.0012 * noise) {
            let reach = 0.16 * size;
            *dropped = (1 + self.random.below(7) as u32, reach * self.random.normal(), reach * self.random.normal());
        }
    }

    /// People seen from the side or from behind have their arms or legs exchanged now and then.
    fn swap_sides(&mut self, track: &mut Track, person: &Seen, keypoints: &mut [KeyPoint; KEYPOINTS], noise: f64) {
        if track.swapped_frames == 0 {
            if person.facing < 0.3 && self.random.chance(0.0020 * noise) {
                track.swapped_frames = 1 + self.random.below(5) as u32;
                track.swap_arms = self.random.chance(0.4);
            }
            return;
        }
        track.swapped_frames -= 1;
        for (left, right) in LIMB_PAIRS {
            if (left < 11) == track.swap_arms {
                keypoints.swap(left, right);
            }
        }
    }
}

/// How much less sure the detector is of a face point of a head that looks away.
fn face_hidden(k: usize, facing: f64) -> f64 {
    match k {
        0..=2 => 0.45 * (0.1 - facing).clamp(0.0, 1.0),
        3 | 4 => 0.25 * (facing.abs() - 0.8).clamp(0.0, 0.2) / 0.2,
        _ => 0.0,
    }
}

/// The joints that an occluder or a nearer person hides.
fn hidden_joints(person: &Seen, all: &[Seen], camera: &CameraSpec) -> [bool; KEYPOINTS] {
    let feet = Box::around(&person.pixels).bottom;
    let mut boxes: Vec<Box> = camera
        .occluders
        .iter()
        .filter(|occluder| feet < occluder.bottom)
        .map(|occluder| Box { left: occluder.left, top: occluder.top, right: occluder.right, bottom: occluder.bottom })
        .collect();
    for other in all.iter().filter(|other| other.number != person.number && other.distance + 0.2 < person.distance) {
        // Head, trunk and thighs hide; arms and shanks hardly do.
        let p = &other.pixels;
        boxes.push(Box::around(&[p[3], p[4], p[5], p[6], p[11], p[12], p[13], p[14]]));
    }
    core::array::from_fn(|k| boxes.iter().any(|hiding| hiding.holds(person.pixels[k])))
}

fn tenths(value: f64) -> f32 {
    (libm::rint(value * 10.0) / 10.0) as f32
}

fn hundredths(value: f64) -> f32 {
    (libm::rint(value * 100.0) / 100.0) as f32
}
