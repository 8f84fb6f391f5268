//! Who comes, and what happens: plans of passers-by, groups, sitters and fights.

use crate::actor::{Actor, Step};
use crate::behaviour::{AnomalyClass, Behaviour, Context};
use crate::camera::CameraSpec;
use crate::geometry::Point;
use crate::random::Random;
use core::f64::consts::PI;
use libm::{atan2, cos, sin};

/// How often anomalies happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Events {
    /// Never.
    Never,
    /// In about this share of the frames (0 to 0.9), one event after the other.
    Share(f64),
    /// So many per hour, at random.
    PerHour(f64),
}

/// Distance at which a fight takes place, metres.
#[must_use]
pub fn fight_distance(class: AnomalyClass) -> f64 {
    match class {
        AnomalyClass::Kick => 1.0,
        AnomalyClass::Punch | AnomalyClass::Hit => 0.75,
        AnomalyClass::Push => 0.70,
        AnomalyClass::Pull => 0.85,
        _ => 0.60,
    }
}

/// What comes at a place near or far: walking through, from the left or the right edge.
#[must_use]
pub fn entrance(camera: &CameraSpec, random: &mut Random) -> (Point, f64) {
    let x = random.between(camera.near, camera.far);
    let side = random.sign();
    let place = Point::new(x, side * (camera.half_width(x) + 0.3), 0.0);
    // Across the picture, give or take; who is near walks away rather than under the camera.
    let lean = random.between(-0.7, 0.7);
    (place, -side * (0.5 * PI) + lean)
}

/// A place well inside the picture and a heading.
#[must_use]
pub fn inside(camera: &CameraSpec, random: &mut Random) -> (Point, f64) {
    let x = random.between(camera.near + 1.0, camera.near + 0.75 * (camera.far - camera.near));
    (Point::new(x, random.between(-0.7, 0.7) * camera.half_width(x), 0.0), random.between(-PI, PI))
}

/// Walks until out of sight, with turns.
#[must_use]
pub fn walk_through(behaviour: Behaviour, random: &mut Random) -> Vec<Step> {
    let speed = match behaviour {
        Behaviour::Jog => random.between(2.0, 3.0),
        Behaviour::Carry => random.between(0.7, 1.3),
        Behaviour::Phone => random.between(0.3, 1.1),
        _ => (1.25 + 0.25 * random.normal()).clamp(0.5, 2.0),
    };
    let mut plan = Vec::new();
    for _ in 0..8 {
        plan.push(Step::moving(behaviour, random.between(2.0, 7.0), speed, random.between(-0.08, 0.08)));
        if random.chance(0.15) {
            plan.push(Step::moving(behaviour, random.between(0.8, 2.0), speed * 0.8, random.sign() * random.between(0.3, 0.9)));
        }
        if behaviour == Behaviour::Walk && random.chance(0.10) {
            plan.push(Step::still(Behaviour::Stand, random.between(1.5, 5.0)));
        }
    }
    plan
}

/// Stays about at one place for a while, then leaves.
#[must_use]
pub fn stay(kinds: &[Behaviour], random: &mut Random) -> Vec<Step> {
    let mut plan = Vec::new();
    for _ in 0..2 + random.below(4) {
        let kind = kinds[random.below(kinds.len()).min(kinds.len().saturating_sub(1))];
        let seconds = match kind {
            Behaviour::Bend => random.between(3.0, 4.5),
            Behaviour::Wave => random.between(2.0, 4.0),
            Behaviour::Sit => random.between(20.0, 60.0),
            _ => random.between(4.0, 12.0),
        };
        plan.push(Step { turning: random.between(-0.05, 0.05), fade_seconds: random.between(0.4, 0.9), ..Step::still(kind, seconds) });
    }
    plan.extend(walk_through(Behaviour::Walk, random));
    plan
}

/// New people of one kind of activity, drawn from the camera's mix. `entering` puts walkers at the edge. `next_number` counts up.
pub fn newcomers(camera: &CameraSpec, weights: &[f64; 7], entering: bool, next_number: &mut u64, random: &mut Random) -> Vec<Actor> {
    let mut number = || {
        *next_number += 1;
        *next_number
    };
    if camera.context == Context::Fighting && random.chance(0.6) {
        return sparring(camera, [number(), number()], random);
    }
    let kind = random.weighted(weights);
    let spot = if entering && kind <= 2 { entrance(camera, random) } else { inside(camera, random) };
    let single = |plan: Vec<Step>, random: &mut Random, number: u64| vec![Actor::new(number, spot.0, spot.1, plan, random)];
    match kind {
        0..=2 => {
            let behaviour = [Behaviour::Walk, Behaviour::Carry, Behaviour::Jog][kind];
            let plan = walk_through(behaviour, random);
            single(plan, random, number())
        }
        3 => {
            let count = 2 + usize::from(random.chance(0.3));
            group(spot.0, (0..count).map(|_| number()).collect(), random)
        }
        4 => {
            let mut plan = if random.chance(0.5) { stay(&[Behaviour::Phone], random) } else { Vec::new() };
            plan.extend(walk_through(Behaviour::Phone, random));
            single(plan, random, number())
        }
        5 => {
            let plan = stay(&[Behaviour::Sit], random);
            single(plan, random, number())
        }
        _ => {
            let plan = stay(&[Behaviour::Stand, Behaviour::Stand, Behaviour::Wave, Behaviour::Bend, Behaviour::Phone], random);
            single(plan, random, number())
        }
    }
}

/// People who stand in a circle and talk; the first two are partners.
fn group(centre: Point, numbers: Vec<u64>, random: &mut Random) -> Vec<Actor> {
    let (radius, start) = (random.between(0.55, 0.8), random.between(-PI, PI));
    let count = numbers.len();
    let mut actors: Vec<Actor> = Vec::new();
    for (index, &number) in numbers.iter().enumerate() {
        let angle = start + 2.0 * PI * index as f64 / count as f64;
        let place = centre + Point::new(cos(angle), sin(angle), 0.0) * radius;
        let mut steps = Vec::new();
        for _ in 0..3 + random.below(3) {
            let kind = if random.chance(0.7) { Behaviour::Talk } else { Behaviour::Stand };
            steps.push(Step { fade_seconds: 0.8, ..Step::still(kind, random.between(5.0, 12.0)) });
        }
        steps.extend(walk_through(Behaviour::Walk, random));
        actors.push(Actor::new(number, place, angle + PI, steps, random));
    }
    if let [first, second, ..] = actors.as_mut_slice() {
        (first.partner, second.partner) = (Some(second.number), Some(first.number));
    }
    actors
}

/// Two who train fighting with each other, as is normal in a dojo.
fn sparring(camera: &CameraSpec, numbers: [u64; 2], random: &mut Random) -> Vec<Actor> {
    let (place, heading) = inside(camera, random);
    let ahead = Point::new(cos(heading), sin(heading), 0.0);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let fights: Vec<AnomalyClass> = AnomalyClass::ALL.into_iter().filter(|class| class.is_fight()).collect();
    for _ in 0..4 + random.below(5) {
        let class = fights[random.below(fights.len())];
        let seconds = random.between(2.5, 6.0);
        let (active, passive) = fight_steps(class, seconds);
        let rest = Step::still(Behaviour::Stand, random.between(0.8, 3.0));
        if random.chance(0.5) {
            first.extend([active, rest]);
            second.extend([passive, rest]);
        } else {
            first.extend([passive, rest]);
            second.extend([active, rest]);
        }
    }
    first.extend(walk_through(Behaviour::Walk, random));
    second.extend(walk_through(Behaviour::Walk, random));
    let distance = random.between(0.7, 1.0);
    vec![
        Actor::new(numbers[0], place, heading, first, random),
        Actor::new(numbers[1], place + ahead * distance, heading + PI, second, random),
    ]
}

/// The aggressor's and the victim's step of a fight.
#[must_use]
pub fn fight_steps(class: AnomalyClass, seconds: f64) -> (Step, Step) {
    // The puller walks backwards and drags the victim along; the pushed one gives way and the pusher follows.
    let (active, passive) = match class {
        AnomalyClass::Pull => (-0.55, 0.55),
        AnomalyClass::Push => (0.30, -0.35),
        AnomalyClass::Punch | AnomalyClass::Hit | AnomalyClass::Kick => (0.12, -0.15),
        _ => (0.0, 0.0),
    };
    let step = |behaviour, speed| Step { fade_seconds: 0.25, ..Step::moving(behaviour, seconds, speed, 0.0) };
    (step(Behaviour::Act(class), active), step(Behaviour::Suffer(class), passive))
}

/// The steps of an event that one person makes alone.
#[must_use]
pub fn lonely_steps(class: AnomalyClass, event: u64, random: &mut Random) -> Vec<Step> {
    let act = |seconds: f64, speed: f64| Step { fade_seconds: 0.3, speed, ..Step::still(Behaviour::Act(class), seconds).of(event) };
    let rest = |behaviour: Behaviour, seconds: f64| Step { fade_seconds: 0.2, ..Step::still(behaviour, seconds).of(event) };
    match class {
        AnomalyClass::Fall => {
            vec![act(1.6, 0.4), rest(Behaviour::Lie(class), random.between(1.5, 5.0)), rest(Behaviour::GetUp(class), 3.6)]
        }
        AnomalyClass::LieDown => {
            vec![act(4.0, 0.0), rest(Behaviour::Lie(class), random.between(2.0, 6.0)), rest(Behaviour::GetUp(class), 3.6)]
        }
        AnomalyClass::Throw => vec![act(random.between(2.3, 5.0), 0.0)],
        _ => vec![act(random.between(2.5, 6.0), 0.0)],
    }
}

/// Turns two people to each other and lets the first one attack the second one; both leave afterwards.
pub fn stage_fight(aggressor: &mut Actor, victim: &mut Actor, class: AnomalyClass, event: u64, random: &mut Random) {
    let gap = victim.place - aggressor.place;
    let heading = atan2(gap.y, gap.x);
    (aggressor.heading, victim.heading) = (heading, heading + PI);
    let distance = libm::hypot(gap.x, gap.y);
    let approach = (distance - fight_distance(class)).max(0.0) / 0.9;
    let seconds = random.between(2.5, 6.5);
    let (active, passive) = fight_steps(class, seconds);
    let stand = Step::still(Behaviour::Stand, random.between(0.5, 2.0));
    let mut attack = vec![Step::moving(Behaviour::Walk, approach + 0.4, 0.9, 0.0), active.of(event), stand];
    attack.extend(walk_through(Behaviour::Walk, random));
    let mut defend = vec![Step::still(Behaviour::Stand, approach + 0.6), passive.of(event), stand];
    defend.extend(walk_through(Behaviour::Walk, random));
    aggressor.interrupt(attack, false);
    victim.interrupt(defend, false);
}
