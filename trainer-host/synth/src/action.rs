//! Anomalous motion: key poses of HuVAD's classes and the easing between them.

use crate::behaviour::{AnomalyClass, Behaviour};
use crate::body::{Arm, LEFT, Leg, Pose, RIGHT};
use crate::geometry::smooth_step;
use crate::motion::{Moment, Style, stand, walk};
use core::f64::consts::TAU;
use libm::{floor, sin};

/// A pose to be reached at a time.
struct Key {
    seconds: f64,
    pose: Pose,
}

const fn key(seconds: f64, pose: Pose) -> Key {
    Key { seconds, pose }
}

const fn arm(flex: f64, abduct: f64, across: f64, twist: f64, elbow: f64) -> Arm {
    Arm { flex, abduct, across, twist, elbow }
}

const fn leg(flex: f64, abduct: f64, knee: f64) -> Leg {
    Leg { flex, abduct, knee }
}

/// The pose of `keys` at `seconds`: eased between two keys, held after the last.
fn sample(keys: &[Key], seconds: f64) -> Pose {
    let mut before = match keys.first() {
        Some(first) => first,
        None => return Pose::default(),
    };
    for key in keys {
        if seconds < key.seconds {
            let fraction = (seconds - before.seconds) / (key.seconds - before.seconds).max(1e-6);
            return before.pose.blend(&key.pose, smooth_step(fraction));
        }
        before = key;
    }
    before.pose
}

/// `seconds` wrapped into `0..period`.
fn cycle(seconds: f64, period: f64) -> f64 {
    seconds - period * floor(seconds / period)
}

/// The joint angles of an anomalous behaviour (right-handed); normal behaviours stand.
#[must_use]
pub fn act(behaviour: Behaviour, style: &Style, moment: Moment) -> Pose {
    let clock = moment.seconds * style.tempo;
    let full = match behaviour {
        Behaviour::Act(class) => match class {
            AnomalyClass::Throw => throw(style, clock),
            AnomalyClass::HandsUp => hands_up(style, clock),
            AnomalyClass::Fall => return fall(style, moment),
            AnomalyClass::LieDown => return sample(&lying_down(style), clock),
            AnomalyClass::Punch => punch(style, clock),
            AnomalyClass::Kick => kick(style, clock),
            AnomalyClass::Push => push(style, clock),
            AnomalyClass::Pull => pull(style, moment),
            AnomalyClass::Hit => hit(style, clock),
            AnomalyClass::Strangle => strangle(style, clock),
        },
        Behaviour::Suffer(class) => suffer(class, style, moment),
        Behaviour::Lie(class) => return lie(class, style, moment.seconds),
        Behaviour::GetUp(class) => return get_up(class, style, clock),
        _ => return stand(style, moment.seconds),
    };
    stand(style, moment.seconds).blend(&full, style.amplitude)
}

fn throw(style: &Style, clock: f64) -> Pose {
    let rest = stand(style, clock);
    let wind_up = Pose {
        pitch: -0.18,
        twist: -0.85,
        arms: [arm(1.1, 0.3, 0.0, 0.2, 0.5), arm(0.0, 1.75, -0.6, -1.5, 1.5)],
        legs: [leg(0.55, 0.05, 0.5), leg(-0.15, 0.1, 0.35)],
        ..rest
    };
    let release = Pose {
        pitch: 0.12,
        spine: 0.20,
        twist: 0.45,
        forward: 0.30,
        arms: [arm(0.2, 0.6, 0.0, 0.2, 1.0), arm(2.1, 0.2, 0.0, 0.0, 0.35)],
        legs: [leg(0.42, 0.05, 0.25), leg(-0.40, 0.05, 0.25)],
        ..rest
    };
    let follow = Pose { spine: 0.50, twist: 0.80, arms: [arm(-0.3, 0.5, 0.0, 0.2, 0.8), arm(0.7, 0.0, 0.6, 0.2, 0.25)], ..release };
    sample(
        &[key(0.0, rest), key(0.55, wind_up), key(0.80, wind_up), key(1.0, release), key(1.25, follow), key(1.9, rest)],
        cycle(clock, 2.3),
    )
}

fn hands_up(style: &Style, clock: f64) -> Pose {
    let raised = |index: usize| {
        let sway = style.sway(index, clock, 0.4);
        arm(2.75 + 0.15 * sway, -0.25, 0.0, 0.0, 0.15 + 0.7 * style.variant + 0.1 * sway)
    };
    Pose { spine: -0.05, nod: -0.1, arms: [raised(1), raised(4)], ..stand(style, clock) }
}

/// Where a falling person ends: on the face, on the back or on a side.
fn fallen(style: &Style) -> Pose {
    if style.variant < 0.4 {
        Pose {
            pitch: 1.48,
            forward: 0.95,
            nod: -0.4,
            look: 0.7,
            arms: [arm(2.2, 0.5, 0.0, 0.3, 1.2), arm(0.9, 0.6, 0.0, 0.3, 1.4)],
            legs: [leg(0.25, 0.15, 0.5), leg(0.0, 0.12, 0.15)],
            ..Pose::default()
        }
    } else if style.variant < 0.7 {
        Pose {
            pitch: -1.45,
            forward: -0.75,
            nod: 0.3,
            arms: [arm(0.2, 1.1, 0.0, 0.3, 0.6), arm(0.0, 0.7, 0.0, 0.3, 1.0)],
            legs: [leg(0.75, 0.15, 1.1), leg(0.25, 0.15, 0.4)],
            ..Pose::default()
        }
    } else {
        Pose {
            roll: -1.42,
            left: -0.80,
            spine: 0.25,
            arms: [arm(0.8, 0.1, 0.3, 0.3, 1.1), arm(1.9, 0.3, 0.0, 0.2, 0.7)],
            legs: [leg(0.7, 0.1, 1.0), leg(0.35, 0.0, 0.6)],
            ..Pose::default()
        }
    }
}

fn fall(style: &Style, moment: Moment) -> Pose {
    let down = fallen(style);
    let clock = moment.seconds * style.tempo;
    let start = walk(style, moment);
    let stagger = Pose {
        spine: 0.15,
        arms: [arm(1.0, 1.0, 0.0, 0.0, 0.6), arm(0.6, 1.2, 0.0, 0.0, 0.5)],
        legs: [leg(0.35, 0.2, 0.5), leg(-0.1, 0.2, 0.3)],
        ..start.blend(&down, 0.12)
    };
    if clock < 0.45 {
        return start.blend(&stagger, smooth_step(clock / 0.45));
    }
    // A toppling body speeds up until it hits the ground.
    let fraction = ((clock - 0.45) / 0.75).clamp(0.0, 1.0);
    let mut pose = stagger.blend(&down, fraction * fraction);
    let buckle = 4.0 * fraction * (1.0 - fraction);
    for side in [LEFT, RIGHT] {
        pose.legs[side].knee += 0.9 * buckle;
        pose.legs[side].flex += 0.5 * buckle;
    }
    pose
}

fn squat() -> Pose {
    Pose {
        spine: 0.55,
        forward: -0.15,
        arms: [arm(0.9, 0.2, 0.0, 0.2, 0.6); 2],
        legs: [leg(1.75, 0.2, 2.2), leg(1.55, 0.2, 2.25)],
        ..Pose::default()
    }
}

fn sit_on_ground() -> Pose {
    Pose {
        pitch: -0.30,
        spine: 0.25,
        forward: -0.30,
        arms: [arm(-0.5, 0.4, 0.0, 0.0, 0.2); 2],
        legs: [leg(1.35, 0.15, 1.0), leg(1.25, 0.15, 0.8)],
        ..Pose::default()
    }
}

fn on_the_back(style: &Style) -> Pose {
    Pose {
        pitch: -1.50,
        forward: -0.55,
        nod: 0.2,
        arms: [arm(0.15, 0.3, 0.0, 0.5, 0.4 + style.variant), arm(0.3, 0.4, 0.0, 0.6, 1.3)],
        legs: [leg(0.10 + 0.7 * style.variant, 0.12, 0.1 + 1.2 * style.variant), leg(0.08, 0.12, 0.15)],
        ..Pose::default()
    }
}

fn lying_down(style: &Style) -> [Key; 5] {
    let rest = stand(style, 0.0);
    [key(0.0, rest), key(0.9, squat()), key(1.7, sit_on_ground()), key(2.0, sit_on_ground()), key(3.1, on_the_back(style))]
}

fn lie(class: AnomalyClass, style: &Style, seconds: f64) -> Pose {
    let mut pose = if class == AnomalyClass::Fall { fallen(style) } else { on_the_back(style) };
    pose.arms[RIGHT].elbow += 0.10 * style.sway(1, seconds, 0.15);
    pose.legs[LEFT].knee += 0.08 * style.sway(2, seconds, 0.1);
    pose.look += 0.25 * style.sway(3, seconds, 0.12);
    pose
}

fn get_up(class: AnomalyClass, style: &Style, clock: f64) -> Pose {
    let kneel = Pose {
        spine: 0.6,
        arms: [arm(0.9, 0.1, 0.0, 0.2, 0.3), arm(0.6, 0.1, 0.0, 0.2, 0.5)],
        legs: [leg(1.5, 0.1, 1.7), leg(0.1, 0.1, 1.9)],
        ..Pose::default()
    };
    let start = lie(class, style, 0.0);
    let middle = if start.pitch < -0.5 { sit_on_ground() } else { kneel };
    sample(&[key(0.0, start), key(1.2, middle), key(2.0, kneel), key(2.9, stand(style, 2.9))], clock)
}

/// Feet apart, fists up.
fn guard(style: &Style, clock: f64) -> Pose {
    let bounce = 0.04 * sin(TAU * 1.6 * clock);
    Pose {
        yaw: -0.35,
        spine: 0.18,
        arms: [arm(0.85, 0.15, 0.1, 0.35, 2.0), arm(0.65, 0.15, 0.1, 0.45, 2.15)],
        legs: [leg(0.42, 0.12, 0.35 + bounce), leg(-0.18, 0.12, 0.40 + bounce)],
        ..stand(style, clock)
    }
}

fn punch(style: &Style, clock: f64) -> Pose {
    let ready = guard(style, clock);
    let cross = Pose { twist: 0.75, forward: 0.14, arms: [arm(0.8, 0.2, 0.1, 0.35, 2.0), arm(1.50, 0.0, 0.15, 0.0, 0.12)], ..ready };
    let jab = Pose { twist: -0.15, forward: 0.10, arms: [arm(1.55, 0.0, 0.1, 0.0, 0.10), arm(0.65, 0.15, 0.1, 0.45, 2.15)], ..ready };
    let keys = [key(0.0, ready), key(0.18, jab), key(0.40, ready), key(0.55, ready), key(0.75, cross), key(1.05, ready), key(1.3, ready)];
    sample(&keys, cycle(clock, 1.3))
}

fn kick(style: &Style, clock: f64) -> Pose {
    let ready = guard(style, clock);
    let height = 1.0 + 0.6 * style.variant;
    let balance = [arm(0.7, 0.6, 0.0, 0.2, 1.2), arm(0.1, 0.7, 0.0, 0.2, 0.9)];
    let chamber = Pose { pitch: -0.10, arms: balance, legs: [leg(0.15, 0.08, 0.30), leg(height, 0.10, 1.75)], ..ready };
    let extend =
        Pose { pitch: -0.32, forward: 0.12, arms: balance, legs: [leg(0.05, 0.08, 0.20), leg(height + 0.45, 0.10, 0.12)], ..ready };
    let keys =
        [key(0.0, ready), key(0.32, chamber), key(0.52, extend), key(0.62, extend), key(0.85, chamber), key(1.15, ready), key(1.5, ready)];
    sample(&keys, cycle(clock, 1.5))
}

fn push(style: &Style, clock: f64) -> Pose {
    let rest = stand(style, clock);
    let load = Pose { pitch: -0.08, arms: [arm(0.35, 0.2, 0.0, 0.1, 2.0); 2], legs: [leg(0.3, 0.1, 0.4), leg(-0.1, 0.1, 0.3)], ..rest };
    let shove = Pose {
        pitch: 0.22,
        spine: 0.25,
        forward: 0.35,
        arms: [arm(1.45, 0.0, 0.05, 0.0, 0.15); 2],
        legs: [leg(0.55, 0.08, 0.65), leg(-0.45, 0.08, 0.15)],
        ..rest
    };
    sample(&[key(0.0, rest), key(0.35, load), key(0.60, shove), key(0.85, shove), key(1.4, rest)], cycle(clock, 1.5))
}

fn pull(style: &Style, moment: Moment) -> Pose {
    let tug = 0.5 + 0.5 * sin(TAU * 1.0 * style.tempo * moment.seconds);
    let mut pose = walk(style, moment);
    pose.pitch = -0.28 - 0.10 * tug;
    pose.arms = [arm(1.15, 0.0, 0.25, 0.1, 0.25 + 0.9 * tug), arm(1.05, 0.0, 0.15, 0.1, 0.35 + 0.9 * tug)];
    for side in [LEFT, RIGHT] {
        pose.legs[side].flex += 0.45;
        pose.legs[side].knee += 0.55;
    }
    pose
}

fn hit(style: &Style, clock: f64) -> Pose {
    let ready = guard(style, clock);
    let raised =
        Pose { pitch: -0.10, spine: -0.05, twist: -0.5, arms: [arm(0.7, 0.2, 0.0, 0.3, 1.2), arm(2.6, 0.25, 0.0, 0.0, 1.3)], ..ready };
    let struck =
        Pose { spine: 0.45, twist: 0.4, forward: 0.15, arms: [arm(0.3, 0.3, 0.0, 0.3, 1.0), arm(0.95, 0.0, 0.25, 0.0, 0.25)], ..ready };
    let keys = [key(0.0, ready), key(0.38, raised), key(0.48, raised), key(0.66, struck), key(0.82, struck), key(1.1, ready)];
    sample(&keys, cycle(clock, 1.15))
}

fn strangle(style: &Style, clock: f64) -> Pose {
    let shake = 0.10 * sin(TAU * 2.2 * clock) + 0.05 * style.sway(2, clock, 0.9);
    Pose {
        pitch: 0.14 + 0.5 * shake,
        spine: 0.12,
        arms: [arm(1.50 + shake, 0.0, 0.30, 0.1, 0.45 - shake), arm(1.48 + shake, 0.0, 0.30, 0.1, 0.50 - shake)],
        legs: [leg(0.45, 0.10, 0.40), leg(-0.25, 0.10, 0.20)],
        ..stand(style, clock)
    }
}

/// The victim's side of a fight; the phases follow the aggressor's keys.
fn suffer(class: AnomalyClass, style: &Style, moment: Moment) -> Pose {
    let clock = moment.seconds * style.tempo;
    let recoil = |period: f64, at: f64| {
        let since = cycle(clock - at, period);
        smooth_step(since / 0.12) * (1.0 - smooth_step((since - 0.12) / 0.6))
    };
    let base = walk(style, moment);
    match class {
        AnomalyClass::Push => {
            let thrown = recoil(1.5, 0.55);
            let back = Pose { pitch: -0.35, arms: [arm(1.2, 0.5, 0.0, 0.0, 0.5), arm(1.0, 0.7, 0.0, 0.0, 0.6)], nod: 0.3, ..base };
            base.blend(&back, 0.25 + 0.75 * thrown)
        }
        AnomalyClass::Pull => Pose {
            pitch: 0.22,
            twist: 0.3,
            arms: [arm(0.2, 0.8, 0.0, 0.0, 0.7), arm(1.35, 0.0, 0.1, 0.0, 0.15 + 0.2 * style.sway(1, clock, 0.8))],
            ..base
        },
        AnomalyClass::Kick => {
            let hurt = 0.4 + 0.6 * recoil(1.5, 0.5);
            let doubled = Pose { spine: 0.95, forward: -0.15, nod: 0.3, arms: [arm(0.35, 0.1, 0.0, 0.9, 1.7); 2], ..base };
            base.blend(&doubled, hurt)
        }
        AnomalyClass::Strangle => {
            let shake = 0.10 * sin(TAU * 2.2 * clock);
            Pose {
                pitch: -0.20 + 0.5 * shake,
                nod: -0.35,
                arms: [arm(1.0, 0.25, 0.1, 0.35, 2.1), arm(0.9, 0.30, 0.1, 0.40, 2.2)],
                legs: [leg(0.35, 0.12, 0.55), leg(0.05, 0.12, 0.45)],
                ..base
            }
        }
        _ => {
            let hurt = 0.55 + 0.45 * recoil(1.2, 0.3);
            let covered = Pose {
                pitch: -0.12,
                spine: 0.45,
                nod: 0.45,
                arms: [arm(1.55, 0.1, 0.1, 0.5, 2.2), arm(1.45, 0.1, 0.1, 0.5, 2.3)],
                legs: [leg(0.3, 0.1, 0.4), leg(0.0, 0.1, 0.4)],
                ..base
            };
            base.blend(&covered, hurt)
        }
    }
}
