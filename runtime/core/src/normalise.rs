//! A person's window in pixels becomes a model's input, exactly as the published preprocessing does it.
//!
//! Source: STG-NF's loader. COCO-17 plus neck in OpenPose-18 order, cast to f32; then in f64 x and y are divided by the frame size, the means
//! of x and of y over all points of the window are subtracted, and both are divided by the population standard deviation of Y.
//! Undetected key-points take part as (0, 0). There is no epsilon: a window whose y are all equal has no score.

use crate::limits::{JOINTS, KEYPOINTS, WINDOW_FRAMES_MAX};
use crate::scorer::Window;
use crate::track_window::Detection;

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

const LEFT_SHOULDER: usize = 5;
const RIGHT_SHOULDER: usize = 6;

/// Turns COCO-17 key-points (x, y) into OpenPose-18 joints; the neck is computed in f64 and cast to f32, like the published code.
#[must_use]
pub fn openpose_from_coco(keypoints: &[[f32; 2]; KEYPOINTS]) -> [[f32; 2]; JOINTS] {
    let middle = |axis: usize| (0.5 * (f64::from(keypoints[LEFT_SHOULDER][axis]) + f64::from(keypoints[RIGHT_SHOULDER][axis]))) as f32;
    let neck = [middle(0), middle(1)];
    OPENPOSE_FROM_COCO.map(|source| keypoints.get(source).copied().unwrap_or(neck))
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
    let mut points = [[[0.0_f64; JOINTS]; 2]; WINDOW_FRAMES_MAX];
    // One sum per joint: the order of the additions is fixed (the same bits everywhere), and they are independent of each other.
    let mut sums = [[0.0_f64; JOINTS]; 2];
    for (point, detection) in points.iter_mut().zip(detections).take(frames) {
        let joints = openpose_from_coco(&detection.keypoints);
        for joint in 0..JOINTS {
            point[0][joint] = f64::from(joints[joint][0]) / scale.x;
            point[1][joint] = f64::from(joints[joint][1]) / scale.y;
            sums[0][joint] += point[0][joint];
            sums[1][joint] += point[1][joint];
        }
    }
    let count = (frames * JOINTS) as f64;
    let mean_x = sums[0].iter().sum::<f64>() / count;
    let mean_y = sums[1].iter().sum::<f64>() / count;
    let mut squares = [0.0_f64; JOINTS];
    for point in &mut points[..frames] {
        for joint in 0..JOINTS {
            point[0][joint] -= mean_x;
            point[1][joint] -= mean_y;
            squares[joint] += point[1][joint] * point[1][joint];
        }
    }
    let deviation = libm::sqrt(squares.iter().sum::<f64>() / count);
    // Equal y leave rounding dust of about 1e-16 rather than zero, so the test is against the smallest spread that means anything.
    if !(deviation.is_finite() && mean_x.is_finite() && deviation > DEVIATION_MIN * (1.0 + mean_y.abs())) {
        return Err(DegenerateWindow);
    }
    let values = window.values_mut();
    for (time, point) in points[..frames].iter().enumerate() {
        for joint in 0..JOINTS {
            values[joint * frames + time] = (point[0][joint] / deviation) as f32;
            values[(JOINTS + joint) * frames + time] = (point[1][joint] / deviation) as f32;
        }
    }
    Ok(())
}

/// Relative spread of y below which a window is degenerate; f64 rounding leaves about 1e-16.
const DEVIATION_MIN: f64 = 1e-12;
