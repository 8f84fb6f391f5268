//! A person's window in pixels becomes a model's input, exactly as the published preprocessing does it.
//!
//! Source: STG-NF's loader. COCO-17 plus neck in OpenPose-18 order, cast to f32; then in f64 x and y are divided by the frame size, the means
//! of x and of y over all points of the window are subtracted, and both are divided by the population standard deviation of Y.
//! Undetected key-points take part as (0, 0). There is no epsilon: a window whose y are all equal has no score.

use crate::limits::{CHANNELS, JOINTS, KEYPOINTS, WINDOW_FRAMES_MAX};
use crate::scorer::Window;
use crate::track_window::Detection;
use heapless::Vec;

/// What x and y are divided by before the window's own statistics are removed.
///
/// Dividing both by the same length changes nothing in exact arithmetic, since the standard deviation divides both; different lengths
/// distort people by their ratio. Weights published with 856 x 480 need just these constants, whatever the camera's size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelScale {
    /// Divisor of x, pixels, above zero.
    pub x: f64,
    /// Divisor of y, pixels, above zero.
    pub y: f64,
}

impl PixelScale {
    /// The constants that the published STG-NF weights were trained with.
    pub const PUBLISHED_STG_NF: Self = Self { x: 856.0, y: 480.0 };
    /// The constants that the published SPARTA weights were trained with.
    pub const PUBLISHED_SPARTA: Self = Self { x: 1280.0, y: 720.0 };
    /// Square pixels: people keep their proportions on every camera. For weights of our own.
    pub const SQUARE: Self = Self { x: 1.0, y: 1.0 };

    /// Names of preprocessings, as model files say them in their metadata, and what each divides by.
    pub const PREPROCESSINGS: [(&'static str, Self); 3] = [
        ("openpose18-square-pixels", Self::SQUARE),
        ("openpose18-856x480", Self::PUBLISHED_STG_NF),
        ("openpose18-1280x720", Self::PUBLISHED_SPARTA),
    ];

    /// The scale of a named preprocessing; `None` for a name that is not in [`PixelScale::PREPROCESSINGS`].
    #[must_use]
    pub fn of_preprocessing(name: &str) -> Option<Self> {
        Self::PREPROCESSINGS.iter().find(|(known, _)| *known == name).map(|(_, scale)| *scale)
    }

    /// Whether both divisors are finite and above zero.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.x.is_finite() && self.y.is_finite() && self.x > 0.0 && self.y > 0.0
    }
}

/// All y of the window are equal, or some coordinate is no number: there is nothing to divide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DegenerateWindow;

/// Where each of the OpenPose-18 joints comes from; 17 is the neck, the middle of both shoulders.
/// Nose, neck, right shoulder, elbow, wrist, left shoulder, elbow, wrist, right hip, knee, ankle, left hip, knee, ankle,
/// right eye, left eye, right ear, left ear.
pub const OPENPOSE_FROM_COCO: [usize; JOINTS] = [0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3];

/// Where the neck is found behind the COCO key-points.
const NECK: usize = KEYPOINTS;
const LEFT_SHOULDER: usize = 5;
const RIGHT_SHOULDER: usize = 6;

/// Turns COCO-17 key-points (x, y) into OpenPose-18 joints; the neck is computed in f64 and cast to f32, like the published code.
#[must_use]
#[inline]
pub fn openpose_from_coco(keypoints: &[[f32; 2]; KEYPOINTS]) -> [[f32; 2]; JOINTS] {
    let middle = |axis: usize| (0.5 * (f64::from(keypoints[LEFT_SHOULDER][axis]) + f64::from(keypoints[RIGHT_SHOULDER][axis]))) as f32;
    // All sources in one table: a choice between key-point and neck for each joint took a third of a window's time.
    let mut sources = [[0.0; 2]; JOINTS];
    sources[..KEYPOINTS].copy_from_slice(keypoints);
    sources[NECK] = [middle(0), middle(1)];
    // Loops rather than `array::map` here and below: on arrays of this size it copies element by element (twice the time).
    let mut joints = [[0.0; 2]; JOINTS];
    for (joint, source) in joints.iter_mut().zip(OPENPOSE_FROM_COCO) {
        *joint = sources[source];
    }
    joints
}

/// A frame's values in f64: x of every joint, then y of every joint.
type Point = [f64; CHANNELS * JOINTS];

/// x and y over the frame size.
#[inline]
fn scaled(detection: &Detection, scale: &PixelScale) -> Point {
    let joints = openpose_from_coco(&detection.keypoints);
    let mut point = [0.0; CHANNELS * JOINTS];
    for joint in 0..JOINTS {
        point[joint] = f64::from(joints[joint][0]);
        point[JOINTS + joint] = f64::from(joints[joint][1]);
    }
    // A number over 1 is that number: square pixels need no division, and divisions are most of what a window still costs.
    if scale.x != 1.0 {
        point[..JOINTS].iter_mut().for_each(|x| *x /= scale.x);
    }
    if scale.y != 1.0 {
        point[JOINTS..].iter_mut().for_each(|y| *y /= scale.y);
    }
    point
}

/// Fills `window` from `frames` detections, oldest first. Sets the window's length to the number of detections.
///
/// # Errors
/// [`DegenerateWindow`] when the standard deviation of y is zero or not finite; the window's values are then meaningless.
pub fn normalise<'d>(
    detections: impl Iterator<Item = &'d Detection>,
    frames: usize,
    scale: &PixelScale,
    window: &mut Window,
) -> Result<(), DegenerateWindow> {
    let frames = frames.min(WINDOW_FRAMES_MAX);
    window.set_frames(frames);
    // A vector, since only what is filled is ever written; clearing the longest window's 14 kB for each one shows.
    let mut points = Vec::<Point, WINDOW_FRAMES_MAX>::new();
    // One sum per value: the order of the additions is fixed (the same bits everywhere), and they are independent of each other.
    let mut sums = [0.0; CHANNELS * JOINTS];
    for detection in detections.take(frames) {
        let point = scaled(detection, scale);
        sums.iter_mut().zip(&point).for_each(|(sum, value)| *sum += value);
        // There is room: `frames` is at most the capacity.
        let _ = points.push(point);
    }
    // Detections that are missing are points at (0, 0).
    let _ = points.resize(frames, [0.0; CHANNELS * JOINTS]);
    let count = (frames * JOINTS) as f64;
    let mean_x = sums[..JOINTS].iter().sum::<f64>() / count;
    let mean_y = sums[JOINTS..].iter().sum::<f64>() / count;
    let mut squares = [0.0; JOINTS];
    for point in &mut points {
        let (xs, ys) = point.split_at_mut(JOINTS);
        xs.iter_mut().for_each(|x| *x -= mean_x);
        for (y, square) in ys.iter_mut().zip(&mut squares) {
            *y -= mean_y;
            *square += *y * *y;
        }
    }
    let deviation = libm::sqrt(squares.iter().sum::<f64>() / count);
    // Equal y leave rounding dust of about 1e-16 rather than zero, so the test is against the smallest spread that means anything.
    if !(deviation.is_finite() && mean_x.is_finite() && deviation > DEVIATION_MIN * (1.0 + mean_y.abs())) {
        return Err(DegenerateWindow);
    }
    let values = window.values_mut();
    for (time, point) in points.iter_mut().enumerate() {
        // Divided as the published code does it; a product with the reciprocal would be faster and now and then another f32.
        point.iter_mut().for_each(|value| *value /= deviation);
        for (place, value) in point.iter().enumerate() {
            values[place * frames + time] = *value as f32;
        }
    }
    Ok(())
}

/// Relative spread of y below which a window is degenerate; f64 rounding leaves about 1e-16.
const DEVIATION_MIN: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pose::{KeyPoint, PersonPose};
    use crate::track_window::{TrackRing, WindowPolicy};
    use crate::units::FrameIndex;

    /// The rule, written down in the order of its words: what the loops above must equal bit by bit.
    fn plain(detections: &[&Detection], scale: &PixelScale) -> [[[f64; JOINTS]; WINDOW_FRAMES_MAX]; CHANNELS] {
        let mut values = [[[0.0; JOINTS]; WINDOW_FRAMES_MAX]; CHANNELS];
        let mut sums = [[0.0; JOINTS]; CHANNELS];
        for (time, detection) in detections.iter().enumerate() {
            for (joint, [x, y]) in openpose_from_coco(&detection.keypoints).into_iter().enumerate() {
                values[0][time][joint] = f64::from(x) / scale.x;
                values[1][time][joint] = f64::from(y) / scale.y;
                sums[0][joint] += values[0][time][joint];
                sums[1][joint] += values[1][time][joint];
            }
        }
        let count = (detections.len() * JOINTS) as f64;
        let means = sums.map(|sums| sums.iter().sum::<f64>() / count);
        let mut squares = [0.0; JOINTS];
        for ys in &values[1][..detections.len()] {
            ys.iter().zip(&mut squares).for_each(|(y, square)| *square += (y - means[1]) * (y - means[1]));
        }
        let deviation = (squares.iter().sum::<f64>() / count).sqrt();
        for (channel, mean) in values.iter_mut().zip(means) {
            channel.iter_mut().flatten().for_each(|value| *value = (*value - mean) / deviation);
        }
        values
    }

    #[test]
    fn every_bit_is_that_of_the_plain_rule() {
        let mut state = 7_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 14) as f32
        };
        for (frames, scale) in [(24, PixelScale::SQUARE), (16, PixelScale::PUBLISHED_STG_NF), (48, PixelScale::PUBLISHED_SPARTA)] {
            let mut ring = TrackRing::EMPTY;
            for frame in 0..60 {
                let mut pose = PersonPose::EMPTY;
                pose.keypoints.iter_mut().for_each(|keypoint| *keypoint = KeyPoint { x: random(), y: random(), confidence: 1.0 });
                ring.push(FrameIndex(frame), &pose);
            }
            let span = ring.due_window(&WindowPolicy::live(frames)).expect("full");
            let mut window = Window::EMPTY;
            normalise(ring.window(&span), frames, &scale, &mut window).expect("spread out");
            let detections: std::vec::Vec<&Detection> = ring.window(&span).collect();
            let expected = plain(&detections, &scale);
            for (place, value) in window.values().iter().enumerate() {
                let (channel, joint, time) = (place / (JOINTS * frames), place / frames % JOINTS, place % frames);
                assert_eq!(value.to_bits(), (expected[channel][time][joint] as f32).to_bits(), "{frames} frames, place {place}");
            }
        }
    }

    #[test]
    fn equal_heights_have_no_score_and_missing_detections_are_points_at_the_origin() {
        let (mut ring, mut window) = (TrackRing::EMPTY, Window::EMPTY);
        let mut pose = PersonPose { keypoints: [KeyPoint { x: 3.0, y: 5.0, confidence: 1.0 }; KEYPOINTS], ..PersonPose::EMPTY };
        (0..24).for_each(|frame| ring.push(FrameIndex(frame), &pose));
        let span = ring.due_window(&WindowPolicy::live(24)).expect("full");
        assert_eq!(normalise(ring.window(&span), 24, &PixelScale::SQUARE, &mut window), Err(DegenerateWindow));
        pose.keypoints[3].y = 9.0;
        ring.push(FrameIndex(24), &pose);
        window.values_mut().fill(f32::NAN);
        normalise(ring.window(&span).take(1), 24, &PixelScale::SQUARE, &mut window).expect("5 and 0 differ");
        assert!(window.values().iter().all(|value| value.is_finite()));
    }

    extern crate std;
}
