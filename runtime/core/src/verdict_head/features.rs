//! What a head sees of a window: twenty-two quantities of a body, each by its mean, spread and largest value over the window.
//!
//! Coordinates of joints say little about acts that were judged a dozen times: these quantities are the same for a person and for their mirror image,
//! and most of them move little with the camera's angle. Which ones, was chosen on motion that neither sets a threshold nor is reported on.

use crate::limits::JOINTS;
use crate::scorer::Window;

/// Numbers per quantity: mean, standard deviation, largest.
pub const FEATURE_KINDS: usize = 3;

/// Quantities per frame, see [`Body::quantities`].
pub const QUANTITIES: usize = 22;

/// Numbers per window.
pub const HEAD_FEATURES: usize = FEATURE_KINDS * QUANTITIES;

/// A window in the order [kind][quantity]: means over time, then population standard deviations, then largest values. Lengths are those of a
/// normalised window (standard deviations of its y), y grows downwards, and speeds are per detection.
pub type Features = [f32; HEAD_FEATURES];

const NOSE: usize = 0;
const NECK: usize = 1;
const RIGHT_HIP: usize = 8;
const LEFT_HIP: usize = 11;
/// Shoulder, elbow, wrist: right and left.
const ARMS: [[usize; 3]; 2] = [[2, 3, 4], [5, 6, 7]];
/// Hip, knee, ankle: right and left.
const LEGS: [[usize; 3]; 2] = [[8, 9, 10], [11, 12, 13]];
/// Shortest torso that lengths are divided by: one that points at the camera says nothing about size.
const TORSO_MIN: f64 = 0.2;
/// Keeps the ratio of width to height of a body from infinity.
const BOX_MARGIN: f64 = 0.1;
/// Keeps the cosine at a joint whose neighbours lie on it from being no number.
const LIMB_PRODUCT_MIN: f64 = 1e-6;

type Point = [f64; 2];

/// The features of a window. Sums run in f64 and in the order of time: the same bits on every machine. Not finite where the window is not.
#[must_use]
pub fn features(window: &Window) -> Features {
    let frames = window.frames();
    let torso = (0..frames).map(|time| Body::of(window, time).torso()).sum::<f64>() / frames as f64;
    let ruler = torso.max(TORSO_MIN);
    let (mut means, mut squares, mut largest) = ([0.0; QUANTITIES], [0.0; QUANTITIES], [f64::NEG_INFINITY; QUANTITIES]);
    for time in 0..frames {
        // The first detection has no step behind it: it takes the next one's.
        let (before, after) = (time.saturating_sub(1), time.max(1));
        let steps = Body::of(window, after).steps_from(&Body::of(window, before));
        let quantities = Body::of(window, time).quantities(&steps, ruler);
        for (place, value) in quantities.into_iter().enumerate() {
            // Welford's running mean and sum of squares.
            let off = value - means[place];
            means[place] += off / (time + 1) as f64;
            squares[place] += off * (value - means[place]);
            // A NaN stays.
            if value > largest[place] || value.is_nan() {
                largest[place] = value;
            }
        }
    }
    let mut features = [0.0; HEAD_FEATURES];
    for place in 0..QUANTITIES {
        features[place] = means[place] as f32;
        features[QUANTITIES + place] = libm::sqrt(squares[place] / frames as f64) as f32;
        features[2 * QUANTITIES + place] = largest[place] as f32;
    }
    features
}

const _: () = assert!(crate::limits::WINDOW_FRAMES_MIN >= 2, "a step needs two detections");

/// One person at one detection.
struct Body {
    joints: [Point; JOINTS],
    hip: Point,
}

/// How far parts of a body moved since the detection before.
struct Steps {
    /// Faster wrist against the neck.
    wrist: f64,
    /// Faster ankle against the hip.
    ankle: f64,
    /// Hip, to either side.
    hip_aside: f64,
}

impl Body {
    fn of(window: &Window, time: usize) -> Self {
        let (values, frames) = (window.values(), window.frames());
        let at = |row: usize| values.get(row * frames + time).copied().map_or(0.0, f64::from);
        let joints = core::array::from_fn(|joint| [at(joint), at(JOINTS + joint)]);
        Self { hip: middle(joints[RIGHT_HIP], joints[LEFT_HIP]), joints }
    }

    fn torso(&self) -> f64 {
        length(between(self.hip, self.joints[NECK]))
    }

    fn steps_from(&self, before: &Self) -> Steps {
        let moved = |joint: usize, anchor: Point, anchor_before: Point| {
            length(between(between(anchor_before, before.joints[joint]), between(anchor, self.joints[joint])))
        };
        let wrist = ARMS.map(|[_, _, wrist]| moved(wrist, self.joints[NECK], before.joints[NECK]));
        let ankle = LEGS.map(|[_, _, ankle]| moved(ankle, self.hip, before.hip));
        Steps { wrist: higher(wrist), ankle: higher(ankle), hip_aside: (self.hip[0] - before.hip[0]).abs() }
    }

    /// The quantities, in the order of the features. Of a pair "higher" is the greater value, "lower" the smaller one.
    fn quantities(&self, steps: &Steps, ruler: f64) -> [f64; QUANTITIES] {
        let (joints, hip) = (&self.joints, self.hip);
        let neck = joints[NECK];
        let [right_wrist, left_wrist] = ARMS.map(|[_, _, wrist]| joints[wrist]);
        let [right_ankle, left_ankle] = LEGS.map(|[_, _, ankle]| joints[ankle]);
        let raised = ARMS.map(|[shoulder, _, wrist]| joints[shoulder][1] - joints[wrist][1]);
        let knees = LEGS.map(|[_, knee, _]| hip[1] - joints[knee][1]);
        let (width, height) = self.size();
        let shoulders = joints[ARMS[0][0]][0] - joints[ARMS[1][0]][0];
        let wrists = right_wrist[0] - left_wrist[0];
        [
            // Wrists above their shoulders: higher, lower; farther wrist aside of the neck; the more bent elbow.
            higher(raised),
            lower(raised),
            higher([right_wrist, left_wrist].map(|wrist| (wrist[0] - neck[0]).abs())),
            lower(ARMS.map(|limb| self.cosine(limb))),
            // Higher ankle above the hip; the more stretched knee is -1, so the higher cosine is the more bent one.
            higher([right_ankle, left_ankle].map(|ankle| hip[1] - ankle[1])),
            higher(LEGS.map(|limb| self.cosine(limb))),
            steps.wrist,
            steps.ankle,
            higher(knees),
            lower(knees),
            // Neck above hip, nose above neck, hip within the window, height of the body.
            hip[1] - neck[1],
            neck[1] - joints[NOSE][1],
            hip[1],
            height,
            length(between(left_wrist, right_wrist)),
            length(between(left_ankle, right_ankle)),
            libm::log((width + BOX_MARGIN) / (height + BOX_MARGIN)),
            // Lower wrist above its shoulder, in torsos.
            lower(raised) / ruler,
            // Both feet aside of the hip; lower foot within the window; speed aside.
            ((right_ankle[0] - hip[0]) + (left_ankle[0] - hip[0])).abs(),
            right_ankle[1].max(left_ankle[1]),
            steps.hip_aside,
            // Wrists apart as the shoulders are, or crossed.
            if shoulders < 0.0 { -wrists } else { wrists },
        ]
    }

    /// Width and height of the box around all joints.
    fn size(&self) -> (f64, f64) {
        let extent = |axis: usize| {
            let ends = self
                .joints
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), joint| (low.min(joint[axis]), high.max(joint[axis])));
            ends.1 - ends.0
        };
        (extent(0), extent(1))
    }

    /// Cosine of the angle at the middle one of three joints: -1 stretched, 1 folded.
    fn cosine(&self, [first, bend, last]: [usize; 3]) -> f64 {
        let (one, other) = (between(self.joints[bend], self.joints[first]), between(self.joints[bend], self.joints[last]));
        (one[0] * other[0] + one[1] * other[1]) / (length(one) * length(other) + LIMB_PRODUCT_MIN)
    }
}

fn middle(a: Point, b: Point) -> Point {
    [0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1])]
}

fn between(from: Point, to: Point) -> Point {
    [to[0] - from[0], to[1] - from[1]]
}

fn length(vector: Point) -> f64 {
    libm::sqrt(vector[0] * vector[0] + vector[1] * vector[1])
}

/// The greater one, which a NaN is.
fn higher(pair: [f64; 2]) -> f64 {
    if pair[0] >= pair[1] || pair[0].is_nan() { pair[0] } else { pair[1] }
}

/// The smaller one, which a NaN is.
fn lower(pair: [f64; 2]) -> f64 {
    -higher(pair.map(|value| -value))
}
