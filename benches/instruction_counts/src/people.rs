//! People who walk, from nothing but arithmetic: the same on every machine, and made in no time, which under callgrind is two hundred times more.

use alfred_core::limits::WINDOW_FRAMES_MAX;
use alfred_core::normalise::{PixelScale, normalise};
use alfred_core::pose::{KeyPoint, PersonPose, PoseFrame};
use alfred_core::scorer::Window;
use alfred_core::track_window::{TrackRing, WindowPolicy};
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId};
use alfred_synth::random::Random;

const FRAME_PERIOD_NS: u64 = 33_333_333;
/// Frames from one end of a person's way to the other, at two pixels a frame.
const WAY_FRAMES: u64 = 300;
/// Pixels of the detector's noise.
const NOISE_PIXELS: f64 = 1.5;
/// One key-point in so many is not detected.
const LOST_SHARE: f64 = 0.02;

/// Where the key-points of somebody who stands are: x and y in pixels.
fn standing(place: usize) -> (f64, f64) {
    (8.0 * (place % 3) as f64, 9.0 * place as f64)
}

/// A triangle wave between 0 and `height`.
fn to_and_fro(time: u64, height: u64) -> f64 {
    let place = time % (2 * height);
    place.min(2 * height - place) as f64
}

/// One person at one time.
pub fn pose(person: u32, number: u64) -> PersonPose {
    let mut random = Random::new(1 + number * 64 + u64::from(person));
    let way = 2.0 * to_and_fro(number + 77 * u64::from(person), WAY_FRAMES);
    let mut pose = PersonPose { id: PersonId(person), score: 0.9, ..PersonPose::EMPTY };
    for (place, keypoint) in pose.keypoints.iter_mut().enumerate() {
        if random.between(0.0, 1.0) < LOST_SHARE {
            *keypoint = KeyPoint { x: 0.0, y: 0.0, confidence: 0.0 };
            continue;
        }
        let (x, y) = standing(place);
        // Arms and legs swing, each a little later than the one before.
        let swing = to_and_fro(number + 3 * place as u64, 12) - 6.0;
        let mut noise = || random.between(-NOISE_PIXELS, NOISE_PIXELS);
        let x = 100.0 + 20.0 * f64::from(person) + way + x + swing + noise();
        *keypoint = KeyPoint { x: x as f32, y: (200.0 + y + 0.5 * swing + noise()) as f32, confidence: 0.8 };
    }
    pose
}

/// Frame `number` with the first `persons` people.
pub fn frame(persons: usize, number: u64) -> Box<PoseFrame> {
    let mut frame = Box::new(PoseFrame::new(FrameIndex(number), MonotonicNs(1 + number * FRAME_PERIOD_NS)));
    for person in 0..persons {
        frame.persons.push(pose(person as u32, number)).expect("so many fit into a frame");
    }
    frame
}

/// The first person's normalised window of `frames` detections.
pub fn window(frames: usize) -> Window {
    let mut ring = TrackRing::EMPTY;
    (0..=WINDOW_FRAMES_MAX as u64).for_each(|number| ring.push(FrameIndex(number), &pose(0, number)));
    let span = ring.due_window(&WindowPolicy::live(frames)).expect("the ring is full and has no gaps");
    let mut window = Window::EMPTY;
    normalise(ring.window(&span), frames, &PixelScale::SQUARE, &mut window).expect("people have a height");
    window
}
