//! Strips: ten skeletons over time as SVG, so that a person can look at a behaviour and believe it.

use crate::actor::{Actor, Step};
use crate::behaviour::Behaviour;
use crate::camera::CameraSpec;
use crate::detector::{Detector, Seen};
use crate::director::{fight_distance, fight_steps};
use crate::geometry::Point;
use crate::random::Random;
use alfred_core::limits::KEYPOINTS;
use core::f64::consts::PI;
use core::fmt::Write as _;
use libm::{cos, sin};

/// Skeletons in a strip.
const FRAMES: usize = 10;
/// Width and height of one skeleton's cell, SVG units.
const CELL: (f64, f64) = (110.0, 150.0);
/// Bones between COCO key-points.
const BONES: [(usize, usize); 16] = [
    (5, 7),
    (7, 9),
    (6, 8),
    (8, 10),
    (5, 6),
    (5, 11),
    (6, 12),
    (11, 12),
    (11, 13),
    (13, 15),
    (12, 14),
    (14, 16),
    (0, 1),
    (0, 2),
    (1, 3),
    (2, 4),
];

/// An SVG of `behaviour` by a random person: ten skeletons, 0.25 s apart (lying down and getting up: 0.4 s), three rows: from the
/// side, at an angle from the front, and that again as the detector sees it. Left limbs are blue, right limbs red, the partner is grey.
#[must_use]
pub fn svg(behaviour: Behaviour, seed: u64) -> String {
    let slow = matches!(behaviour, Behaviour::Act(crate::behaviour::AnomalyClass::LieDown) | Behaviour::GetUp(_) | Behaviour::Bend);
    let gap = if slow { 0.4 } else { 0.25 };
    let (width, height) = (CELL.0 * FRAMES as f64, CELL.1 * 3.0 + 20.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"4\" y=\"14\" font-size=\"13\">{}, seed {seed}, {gap} s apart</text>\n",
        behaviour.name()
    );
    for (row, (heading, noisy)) in [(0.5 * PI, false), (PI - 0.7, false), (PI - 0.7, true)].into_iter().enumerate() {
        let top = 20.0 + CELL.1 * row as f64;
        draw_row(&mut out, behaviour, seed, (heading, noisy, gap), top);
    }
    out.push_str("</svg>\n");
    out
}

fn draw_row(out: &mut String, behaviour: Behaviour, seed: u64, (heading, noisy, gap): (f64, bool, f64), top: f64) {
    let mut random = Random::new(seed);
    let camera = CameraSpec { mount: 1.8, tilt: 0.06, ..CameraSpec::catalogue().swap_remove(0) };
    let mut detector = Detector::new(random.fork());
    let (mut person, mut partner) = cast(behaviour, heading, &mut random);
    let steps = libm::rint(gap * 30.0) as usize;
    for index in 0..FRAMES {
        let mut people: Vec<(Seen, bool)> = Vec::new();
        for step in 0..steps {
            if index > 0 || step > 0 {
                person.advance(1.0 / 30.0);
                if let Some(partner) = &mut partner {
                    partner.advance(1.0 / 30.0);
                }
            }
            people = Seen::project(1, &person.key_points(), &camera).map(|seen| (seen, false)).into_iter().collect();
            people.extend(partner.as_ref().and_then(|partner| Some((Seen::project(2, &partner.key_points(), &camera)?, true))));
            if noisy {
                let seen: Vec<Seen> = people.iter().map(|(seen, _)| seen.clone()).collect();
                for (index, pose) in detector.observe(&seen, &camera, 1.0) {
                    people[index].0.pixels = pose.keypoints.map(|k| (f64::from(k.x), f64::from(k.y)));
                }
            }
        }
        // The cell follows the middle of the plan, so that displacements within a second stay visible.
        let Some((middle, ground)) = camera.project(Point { z: 0.0, ..person.place }) else { continue };
        let origin = (CELL.0 * (index as f64 + 0.5) - middle, top + CELL.1 - 12.0 - ground);
        for (seen, grey) in &people {
            draw(out, &seen.pixels, origin, (middle, ground), *grey);
        }
    }
}

/// The person who shows the behaviour, and the other side of a fight.
fn cast(behaviour: Behaviour, heading: f64, random: &mut Random) -> (Actor, Option<Actor>) {
    let place = Point::new(9.0, 0.0, 0.0);
    let speed = match behaviour {
        Behaviour::Walk | Behaviour::Carry => 1.3,
        Behaviour::Jog => 2.5,
        _ => 0.0,
    };
    let mut step = Step::moving(behaviour, 60.0, speed, 0.0);
    let mut other = None;
    if let Some(class) = behaviour.class().filter(|class| class.is_fight()) {
        let (active, passive) = fight_steps(class, 60.0);
        let suffers = matches!(behaviour, Behaviour::Suffer(_));
        step = if suffers { passive } else { active };
        other = Some((if suffers { active } else { passive }, fight_distance(class)));
    }
    let start = Step::still(Behaviour::Stand, 0.01);
    let mut person = Actor::new(1, place, heading, vec![start, Step { fade_seconds: 0.15, ..step }], random);
    person.style.left_handed = false;
    let partner = other.map(|(step, distance)| {
        let place = place + Point::new(cos(heading), sin(heading), 0.0) * distance;
        Actor::new(2, place, heading + PI, vec![start, step], random)
    });
    (person, partner)
}

fn draw(out: &mut String, pixels: &[(f64, f64); KEYPOINTS], origin: (f64, f64), centre: (f64, f64), grey: bool) {
    // Half size about the point on the ground.
    let at = |(x, y): (f64, f64)| (origin.0 + centre.0 + 0.62 * (x - centre.0), origin.1 + centre.1 + 0.62 * (y - centre.1));
    for (from, to) in BONES {
        let (a, b) = (at(pixels[from]), at(pixels[to]));
        let colour = match (grey, from % 2 == to % 2 && from > 4, from % 2) {
            (true, ..) => "#aaa",
            (_, true, 1) => "#1560bd",
            (_, true, _) => "#c8102e",
            _ => "#222",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"1.8\"/>",
            a.0, a.1, b.0, b.1
        );
    }
}
