//! Normal motion: joint angles over time of standing, walking, talking, carrying, sitting and the like.
//!
//! The gait follows the shape of textbook joint-angle curves (Winter, "Biomechanics and Motor Control of Human Movement"): the hip is near a
//! cosine, the knee has a small bend when it takes the load and a large one in the swing.

use crate::action::act;
use crate::behaviour::Behaviour;
use crate::body::{Arm, Build, LEFT, Leg, Pose, RIGHT};
use crate::geometry::smooth_step;
use crate::random::Random;
use core::f64::consts::TAU;
use libm::{cos, exp, floor, sin};

/// Personal habits: what makes two walkers differ.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Size of gestures and actions, around 1.
    pub amplitude: f64,
    /// Speed of gestures and actions, around 1.
    pub tempo: f64,
    /// Swing of the arms while walking, around 1.
    pub arm_swing: f64,
    /// Trunk's constant bend, radians.
    pub stoop: f64,
    /// Constant bend of the elbows, radians.
    pub elbow: f64,
    /// Which variant of an action (direction of a fall, height of a kick), 0 to 1.
    pub variant: f64,
    /// Left-handed.
    pub left_handed: bool,
    /// Phases of the slow sways, radians.
    pub phases: [f64; 8],
}

impl Style {
    /// The most average habits.
    #[must_use]
    pub fn average() -> Self {
        Self {
            amplitude: 1.0,
            tempo: 1.0,
            arm_swing: 1.0,
            stoop: 0.04,
            elbow: 0.25,
            variant: 0.5,
            left_handed: false,
            phases: [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5],
        }
    }

    /// Random habits.
    #[must_use]
    pub fn random(random: &mut Random) -> Self {
        Self {
            amplitude: random.between(0.8, 1.15),
            tempo: random.between(0.8, 1.25),
            arm_swing: random.between(0.4, 1.4),
            stoop: random.between(-0.02, 0.16),
            elbow: random.between(0.1, 0.5),
            variant: random.unit(),
            left_handed: random.chance(0.15),
            phases: core::array::from_fn(|_| random.between(0.0, TAU)),
        }
    }

    /// A smooth, never quite repeating sway between -1 and 1 of about `hertz`; `index` picks one of several independent ones.
    #[must_use]
    pub fn sway(&self, index: usize, seconds: f64, hertz: f64) -> f64 {
        let phase = |offset: usize| self.phases[(index + offset) % self.phases.len()];
        0.6 * sin(TAU * hertz * seconds + phase(0)) + 0.4 * sin(TAU * 1.618 * hertz * seconds + phase(3))
    }
}

/// What a pose depends on besides the behaviour.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Seconds since the behaviour began.
    pub seconds: f64,
    /// Position in the gait cycle, in cycles.
    pub gait: f64,
    /// Speed along the heading, m/s; negative is backwards.
    pub speed: f64,
}

/// The joint angles of a behaviour at a moment.
#[must_use]
pub fn pose(behaviour: Behaviour, style: &Style, moment: Moment) -> Pose {
    let pose = match behaviour {
        Behaviour::Stand => stand(style, moment.seconds),
        Behaviour::Walk => walk(style, moment),
        Behaviour::Jog => jog(style, moment),
        Behaviour::Talk => talk(style, moment.seconds),
        Behaviour::Phone => phone(style, moment),
        Behaviour::Wave => wave(style, moment.seconds),
        Behaviour::Carry => carry(style, moment),
        Behaviour::Sit => sit(style, moment.seconds),
        Behaviour::Bend => bend(style, moment.seconds),
        Behaviour::Act(_) | Behaviour::Suffer(_) | Behaviour::Lie(_) | Behaviour::GetUp(_) => act(behaviour, style, moment),
    };
    if style.left_handed { pose.mirrored() } else { pose }
}

/// Half the swing of the thighs at a walking speed, radians.
fn gait_swing(speed: f64) -> f64 {
    let speed = speed.abs();
    (0.14 + 0.17 * speed).min(0.62) * smooth_step(speed / 0.3)
}

/// Gait cycles per second at a speed, such that the standing foot stays where it is.
#[must_use]
pub fn gait_rate(build: &Build, speed: f64) -> f64 {
    // The pelvis' rotation and the ankle lengthen a step beyond what the thighs' swing gives.
    let cycle = 1.15 * 4.0 * build.leg() * sin(gait_swing(speed).max(0.12));
    speed / cycle
}

/// Bends of hip and knee of one leg at a position of its gait cycle (0 = the heel strikes).
fn gait_leg(swing: f64, cycle: f64) -> Leg {
    let cycle = cycle - floor(cycle);
    let bump = |centre: f64, width: f64| {
        let distance = (cycle - centre).abs();
        let distance = distance.min(1.0 - distance) / width;
        exp(-0.5 * distance * distance)
    };
    let strength = swing / 0.36;
    Leg {
        flex: 0.30 * swing + swing * cos(TAU * (cycle - 0.95)),
        abduct: 0.02,
        knee: 0.08 + strength * (0.20 * bump(0.14, 0.07) + 0.95 * bump(0.72, 0.10)),
    }
}

/// Stands and sways.
#[must_use]
pub fn stand(style: &Style, seconds: f64) -> Pose {
    let sway = |index: usize, hertz: f64| style.sway(index, seconds, hertz);
    let shift = 0.5 + 0.5 * sway(0, 0.05);
    let arm = |index: usize| Arm {
        flex: 0.05 + 0.06 * sway(index, 0.11),
        abduct: 0.10 + 0.03 * sway(index + 1, 0.07),
        twist: 0.3,
        elbow: style.elbow + 0.08 * sway(index + 2, 0.09),
        ..Arm::default()
    };
    let leg = |load: f64| Leg { flex: 0.03 + 0.10 * (1.0 - load), abduct: 0.07, knee: 0.05 + 0.20 * (1.0 - load) };
    Pose {
        pitch: 0.02 * sway(3, 0.23),
        roll: 0.05 * (shift - 0.5) + 0.01 * sway(4, 0.31),
        yaw: 0.10 * sway(5, 0.06),
        spine: style.stoop,
        twist: 0.08 * sway(6, 0.08),
        look: 0.5 * sway(7, 0.12),
        nod: 0.10 + 0.08 * sway(2, 0.15),
        arms: [arm(1), arm(4)],
        legs: [leg(shift.min(0.9)), leg((1.0 - shift).min(0.9))],
        ..Pose::default()
    }
}

/// Walks; at speed 0 stands.
#[must_use]
pub fn walk(style: &Style, moment: Moment) -> Pose {
    let swing = gait_swing(moment.speed);
    let strength = (swing / 0.36).min(1.0);
    let turn = TAU * moment.gait;
    let arm = |sign: f64, index: usize| Arm {
        flex: -sign * style.arm_swing * 1.05 * swing * cos(turn - 0.3),
        abduct: 0.10,
        twist: 0.25,
        elbow: style.elbow
            + 0.12 * style.arm_swing * strength * (1.0 - sign * cos(turn - 0.3))
            + 0.03 * style.sway(index, moment.seconds, 0.2),
        ..Arm::default()
    };
    let walking = Pose {
        pitch: 0.025 * moment.speed,
        roll: 0.025 * strength * sin(turn + 0.6),
        yaw: -0.10 * strength * cos(turn - 0.3),
        spine: style.stoop + 0.02 * strength * cos(2.0 * turn),
        twist: 0.22 * strength * cos(turn - 0.3),
        look: 0.25 * style.sway(7, moment.seconds, 0.1),
        nod: 0.08 + 0.05 * style.sway(2, moment.seconds, 0.13),
        arms: [arm(1.0, 1), arm(-1.0, 4)],
        legs: [gait_leg(swing, moment.gait), gait_leg(swing, moment.gait + 0.5)],
        ..Pose::default()
    };
    stand(style, moment.seconds).blend(&walking, smooth_step(moment.speed.abs() / 0.3))
}

fn jog(style: &Style, moment: Moment) -> Pose {
    let turn = TAU * moment.gait;
    let mut pose = walk(style, moment);
    pose.pitch += 0.08;
    pose.lift = 0.05 * (0.5 + 0.5 * cos(2.0 * turn + 1.0));
    for (side, sign) in [(LEFT, 1.0), (RIGHT, -1.0)] {
        pose.legs[side].knee = 0.25 + 1.25 * pose.legs[side].knee;
        pose.arms[side].elbow = 1.45 + 0.2 * sign * sin(turn);
        pose.arms[side].flex = -0.1 - sign * style.arm_swing * 0.55 * cos(turn - 0.3);
        pose.arms[side].twist = 0.5;
    }
    pose
}

fn talk(style: &Style, seconds: f64) -> Pose {
    let mut pose = stand(style, seconds);
    let clock = seconds * style.tempo;
    for (side, index) in [(LEFT, 2), (RIGHT, 5)] {
        // Each hand gestures now and then; the other one hangs.
        let active = smooth_step(0.5 + 1.2 * style.sway(index, clock, 0.09)) * style.amplitude;
        let gesture = Arm {
            flex: 0.45 + 0.30 * style.sway(index + 1, clock, 0.7),
            abduct: 0.20 + 0.15 * style.sway(index + 2, clock, 0.5),
            across: 0.0,
            twist: 0.45 + 0.45 * style.sway(index + 3, clock, 0.6),
            elbow: 1.30 + 0.45 * style.sway(index, clock, 0.8),
        };
        let hanging = Pose { arms: [pose.arms[side], gesture], ..Pose::default() };
        let moving = Pose { arms: [gesture, gesture], ..Pose::default() };
        pose.arms[side] = hanging.blend(&moving, active).arms[LEFT];
    }
    pose.nod += 0.10 * style.sway(1, clock, 0.6);
    pose.spine += 0.04 * style.sway(6, clock, 0.3);
    pose
}

fn phone(style: &Style, moment: Moment) -> Pose {
    let mut pose = walk(style, moment);
    let sway = style.sway(3, moment.seconds, 0.15);
    pose.arms[RIGHT] = Arm { flex: 1.35 + 0.06 * sway, abduct: 0.30, across: 0.0, twist: 0.20, elbow: 2.45 + 0.05 * sway };
    pose.nod += 0.12;
    pose
}

fn wave(style: &Style, seconds: f64) -> Pose {
    let mut pose = stand(style, seconds);
    let swing = sin(TAU * 1.3 * style.tempo * seconds);
    pose.arms[RIGHT] =
        Arm { flex: 1.9 + 0.4 * style.amplitude, abduct: 0.25 + 0.2 * swing, across: 0.0, twist: 0.35 * swing, elbow: 0.9 - 0.3 * swing };
    pose
}

fn carry(style: &Style, moment: Moment) -> Pose {
    let mut pose = walk(style, moment);
    pose.spine -= 0.10;
    pose.twist *= 0.4;
    for side in [LEFT, RIGHT] {
        pose.arms[side] = Arm {
            flex: 0.35 + 0.03 * style.sway(side, moment.seconds, 0.3),
            abduct: 0.12,
            across: 0.0,
            twist: 0.35,
            elbow: 1.30 + 0.04 * cos(2.0 * TAU * moment.gait),
        };
    }
    pose
}

fn sit(style: &Style, seconds: f64) -> Pose {
    let sway = |index: usize, hertz: f64| style.sway(index, seconds, hertz);
    let arm = |index: usize| Arm {
        flex: 0.40 + 0.08 * sway(index, 0.1),
        abduct: 0.10,
        across: 0.0,
        twist: 0.35,
        elbow: 0.95 + 0.25 * sway(index + 1, 0.08),
    };
    let leg = |index: usize| Leg { flex: 1.48 + 0.05 * sway(index, 0.04), abduct: 0.16, knee: 1.45 + 0.18 * sway(index + 2, 0.05) };
    Pose {
        forward: -0.25,
        spine: style.stoop + 0.02 + 0.10 * sway(6, 0.07),
        twist: 0.08 * sway(5, 0.06),
        look: 0.5 * sway(7, 0.09),
        nod: 0.12 + 0.12 * sway(2, 0.11),
        arms: [arm(1), arm(4)],
        legs: [leg(3), leg(0)],
        ..Pose::default()
    }
}

fn bend(style: &Style, seconds: f64) -> Pose {
    // Down within a second, a moment below, and up again.
    let clock = seconds * style.tempo;
    let depth = smooth_step(clock / 1.0) * (1.0 - smooth_step((clock - 1.6) / 1.0));
    let reach = Arm { flex: 1.15, abduct: 0.10, across: 0.0, twist: 0.2, elbow: 0.25 };
    let knees = 0.4 + 0.9 * style.variant;
    let low = Pose {
        spine: 1.25 - 0.25 * style.variant,
        forward: -0.10,
        nod: -0.2,
        arms: [Arm { flex: 0.9, ..reach }, reach],
        legs: [Leg { flex: 0.75 * knees, abduct: 0.12, knee: 1.25 * knees }, Leg { flex: 0.55 * knees, abduct: 0.12, knee: 1.30 * knees }],
        ..Pose::default()
    };
    stand(style, seconds).blend(&low, depth * style.amplitude.min(1.0))
}
