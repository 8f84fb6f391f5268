//! A person's body: bone lengths, joint angles, and where the 17 key-points then are.
//!
//! Bone lengths are fractions of the body height after Drillis and Contini's anthropometry as cited by Winter, "Biomechanics and
//! Motor Control of Human Movement", varied per person.

use crate::geometry::{Point, Rotation, blend};
use crate::random::Random;
use alfred_core::limits::KEYPOINTS;

/// Left and right, as indices of [`Pose::arms`] and [`Pose::legs`].
pub const LEFT: usize = 0;
/// See [`LEFT`].
pub const RIGHT: usize = 1;

/// Bone lengths of one person, in metres.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Body height.
    pub height: f64,
    /// Hip to knee.
    pub thigh: f64,
    /// Knee to ankle.
    pub shank: f64,
    /// Hip line to shoulder line.
    pub torso: f64,
    /// Shoulder to elbow.
    pub upper_arm: f64,
    /// Elbow to wrist.
    pub forearm: f64,
    /// Half the distance of the shoulders.
    pub shoulder_half: f64,
    /// Half the distance of the hips.
    pub hip_half: f64,
}

impl Build {
    /// The build of a person 1.72 m tall with average proportions.
    #[must_use]
    pub fn average() -> Self {
        Self::with([1.72, 1.0, 1.0, 1.0, 1.0])
    }

    /// A random adult or teenager.
    #[must_use]
    pub fn random(random: &mut Random) -> Self {
        let height = (1.71 + 0.10 * random.normal()).clamp(1.42, 1.98);
        let factor = |random: &mut Random, spread: f64| 1.0 + spread * random.normal().clamp(-2.0, 2.0);
        Self::with([height, factor(random, 0.03), factor(random, 0.03), factor(random, 0.03), factor(random, 0.07)])
    }

    fn with([height, legs, torso, arms, width]: [f64; 5]) -> Self {
        Self {
            height,
            thigh: 0.245 * height * legs,
            shank: 0.246 * height * legs,
            torso: 0.288 * height * torso,
            upper_arm: 0.172 * height * arms,
            forearm: 0.150 * height * arms,
            shoulder_half: 0.112 * height * width,
            hip_half: 0.060 * height * width,
        }
    }

    /// Hip to ankle.
    #[must_use]
    pub fn leg(&self) -> f64 {
        self.thigh + self.shank
    }
}

/// Angles of one arm, radians; all 0 = hanging straight down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Arm {
    /// Raised to the front; half a turn points up.
    pub flex: f64,
    /// Raised to the side.
    pub abduct: f64,
    /// Swung across the chest (about the vertical).
    pub across: f64,
    /// Turned about its own axis, so that a bent forearm points inwards.
    pub twist: f64,
    /// Bend of the elbow.
    pub elbow: f64,
}

/// Angles of one leg, radians; all 0 = straight down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Leg {
    /// Raised to the front.
    pub flex: f64,
    /// Spread to the side.
    pub abduct: f64,
    /// Bend of the knee.
    pub knee: f64,
}

/// Joint angles of a whole body, in radians, and its displacement, in leg lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pose {
    /// The whole body leans forward (negative: backward); a quarter turn lies on the face.
    pub pitch: f64,
    /// The whole body leans to the left.
    pub roll: f64,
    /// The whole body is turned to the left, against its heading.
    pub yaw: f64,
    /// The trunk bends forward against the pelvis.
    pub spine: f64,
    /// The trunk bends to the left.
    pub side: f64,
    /// The shoulders are turned to the left against the pelvis.
    pub twist: f64,
    /// The head nods forward.
    pub nod: f64,
    /// The head turns to the left.
    pub look: f64,
    /// The pelvis is displaced forward, in leg lengths.
    pub forward: f64,
    /// The pelvis is displaced to the left, in leg lengths.
    pub left: f64,
    /// The lowest point hangs above the ground, in leg lengths (jumps).
    pub lift: f64,
    /// Left and right arm.
    pub arms: [Arm; 2],
    /// Left and right leg.
    pub legs: [Leg; 2],
}

impl Pose {
    /// The pose between `self` (fraction 0) and `to` (fraction 1).
    #[must_use]
    pub fn blend(&self, to: &Self, fraction: f64) -> Self {
        let mix = |a: f64, b: f64| blend(a, b, fraction);
        let arm = |a: Arm, b: Arm| Arm {
            flex: mix(a.flex, b.flex),
            abduct: mix(a.abduct, b.abduct),
            across: mix(a.across, b.across),
            twist: mix(a.twist, b.twist),
            elbow: mix(a.elbow, b.elbow),
        };
        let leg = |a: Leg, b: Leg| Leg { flex: mix(a.flex, b.flex), abduct: mix(a.abduct, b.abduct), knee: mix(a.knee, b.knee) };
        Self {
            pitch: mix(self.pitch, to.pitch),
            roll: mix(self.roll, to.roll),
            yaw: mix(self.yaw, to.yaw),
            spine: mix(self.spine, to.spine),
            side: mix(self.side, to.side),
            twist: mix(self.twist, to.twist),
            nod: mix(self.nod, to.nod),
            look: mix(self.look, to.look),
            forward: mix(self.forward, to.forward),
            left: mix(self.left, to.left),
            lift: mix(self.lift, to.lift),
            arms: [arm(self.arms[LEFT], to.arms[LEFT]), arm(self.arms[RIGHT], to.arms[RIGHT])],
            legs: [leg(self.legs[LEFT], to.legs[LEFT]), leg(self.legs[RIGHT], to.legs[RIGHT])],
        }
    }

    /// Left and right exchanged.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        Self {
            roll: -self.roll,
            yaw: -self.yaw,
            side: -self.side,
            twist: -self.twist,
            look: -self.look,
            left: -self.left,
            arms: [self.arms[RIGHT], self.arms[LEFT]],
            legs: [self.legs[RIGHT], self.legs[LEFT]],
            ..*self
        }
    }
}

/// The 17 key-points (COCO order) in metres of a body that stands at `place` (its z is ignored) and looks along `heading` (radians from
/// the x axis). The lowest point of the body touches the ground, z = 0.
#[must_use]
pub fn key_points(build: &Build, pose: &Pose, place: Point, heading: f64) -> [Point; KEYPOINTS] {
    let root = Rotation::yaw(heading + pose.yaw).then(Rotation::pitch(pose.pitch)).then(Rotation::roll(pose.roll));
    let chest = root.then(Rotation::yaw(pose.twist)).then(Rotation::pitch(pose.spine)).then(Rotation::roll(pose.side));
    let head = chest.then(Rotation::yaw(pose.look)).then(Rotation::pitch(pose.nod));
    let mut points = [Point::default(); KEYPOINTS];
    let neck = chest.turn(Point::new(0.0, 0.0, build.torso));
    let face = |x: f64, y: f64, z: f64| neck + head.turn(Point::new(x, y, z) * build.height);
    points[0] = face(0.065, 0.0, 0.105);
    (points[1], points[2]) = (face(0.052, 0.019, 0.122), face(0.052, -0.019, 0.122));
    (points[3], points[4]) = (face(0.0, 0.042, 0.115), face(0.0, -0.042, 0.115));
    for (side, sign) in [(LEFT, 1.0), (RIGHT, -1.0)] {
        let arm = pose.arms[side];
        let shoulder = neck + chest.turn(Point::new(0.0, sign * build.shoulder_half, 0.0));
        let upper = chest
            .then(Rotation::yaw(-sign * arm.across))
            .then(Rotation::roll(-sign * arm.abduct))
            .then(Rotation::pitch(-arm.flex))
            .then(Rotation::yaw(-sign * arm.twist));
        let elbow = shoulder + upper.turn(Point::new(0.0, 0.0, -build.upper_arm));
        let wrist = elbow + upper.then(Rotation::pitch(-arm.elbow)).turn(Point::new(0.0, 0.0, -build.forearm));
        (points[5 + side], points[7 + side], points[9 + side]) = (shoulder, elbow, wrist);
        let leg = pose.legs[side];
        let hip = root.turn(Point::new(0.0, sign * build.hip_half, 0.0));
        let thigh = root.then(Rotation::roll(-sign * leg.abduct)).then(Rotation::pitch(-leg.flex));
        let knee = hip + thigh.turn(Point::new(0.0, 0.0, -build.thigh));
        let ankle = knee + thigh.then(Rotation::pitch(leg.knee)).turn(Point::new(0.0, 0.0, -build.shank));
        (points[11 + side], points[13 + side], points[15 + side]) = (hip, knee, ankle);
    }
    let forward = Rotation::yaw(heading).turn(Point::new(pose.forward, pose.left, 0.0) * build.leg());
    let lift = ground_lift(build, &points) + pose.lift * build.leg();
    points.map(|point| Point::new(point.x + place.x + forward.x, point.y + place.y + forward.y, point.z + lift))
}

/// How far the body must be raised so that no point's flesh is below the ground.
fn ground_lift(build: &Build, points: &[Point; KEYPOINTS]) -> f64 {
    // Flesh around the key-points, as fractions of the body height.
    const FLESH: [f64; KEYPOINTS] =
        [0.05, 0.06, 0.06, 0.06, 0.06, 0.05, 0.05, 0.03, 0.03, 0.02, 0.02, 0.065, 0.065, 0.035, 0.035, 0.042, 0.042];
    points.iter().zip(FLESH).map(|(point, flesh)| flesh * build.height - point.z).fold(f64::MIN, f64::max)
}

#[cfg(test)]
mod tests {
    use super::{Build, Pose, key_points};
    use crate::geometry::Point;

    #[test]
    fn a_standing_person_is_as_tall_as_it_should_be() {
        let build = Build::average();
        let points = key_points(&build, &Pose::default(), Point::default(), 0.0);
        assert!((points[0].z / build.height - 0.93).abs() < 0.02, "nose at {}", points[0].z);
        assert!(points[15].z > 0.0 && points[15].z < 0.1);
        assert!(points[5].y > 0.0 && points[6].y < 0.0, "left shoulder on the left");
    }

    #[test]
    fn lying_is_low_and_mirroring_twice_is_nothing() {
        let build = Build::average();
        let pose = Pose { pitch: -1.5, roll: 0.2, twist: 0.1, ..Pose::default() };
        let points = key_points(&build, &pose, Point::default(), 1.0);
        assert!(points.iter().all(|point| point.z < 0.6 && point.z >= 0.0));
        assert_eq!(pose.mirrored().mirrored(), pose);
    }
}
