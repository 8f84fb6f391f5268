//! A scene that never ends: people come and go before one camera, and every frame comes with the truth about it.

use crate::actor::{Actor, Step};
use crate::behaviour::{AnomalyClass, Behaviour};
use crate::camera::{CameraSpec, Mix};
use crate::detector::{Detector, Seen};
use crate::director::{Events, inside, lonely_steps, newcomers, stage_fight, walk_through};
use crate::geometry::Point;
use crate::random::Random;
use alfred_core::limits::PERSONS_MAX;
use alfred_core::pose::PoseFrame;
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId};
use core::f64::consts::{PI, TAU};
use libm::{cos, exp, sin};

/// The truth about one detected person of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PersonTruth {
    /// The number under which the tracker reports it.
    pub id: PersonId,
    /// The person's own number, which no tracker breaks.
    pub actor: u64,
    /// What it does.
    pub behaviour: Behaviour,
    /// The event it takes part in.
    pub event: Option<u64>,
    /// Whether that is anomalous before this camera.
    pub anomalous: bool,
}

/// One frame: what the detector reports, and what is true.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneFrame {
    /// The detections.
    pub poses: PoseFrame,
    /// The truth about `poses.persons`, in the same order.
    pub truth: Vec<PersonTruth>,
    /// Whether somebody in the picture does something anomalous, detected or not.
    pub anomalous: bool,
}

/// What changes with the time of day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// Factor on the detector's noise: it sees worse at night.
    pub noise: f64,
    /// Factor on the number of people.
    pub density: f64,
    /// Factors on the behaviour mix.
    pub mix: Mix,
}

impl Drift {
    /// The drift at an hour of the day (0 to 24, wraps).
    #[must_use]
    pub fn at_hour(hour: f64) -> Self {
        let bump = |centre: f64, width: f64| {
            let distance = libm::fabs(libm::remainder(hour - centre, 24.0)) / width;
            exp(-0.5 * distance * distance)
        };
        let night = 0.5 - 0.5 * cos(TAU * (hour - 13.0) / 24.0);
        let rush = bump(8.5, 1.2) + bump(17.5, 1.5);
        let noon = bump(12.7, 1.2);
        let evening = bump(20.5, 2.0);
        Self {
            noise: 1.0 + 0.45 * night,
            density: 0.45 + 0.75 * rush + 0.5 * noon + 0.35 * evening,
            mix: Mix {
                walk: 1.0 + rush,
                carry: 1.0 + 0.5 * rush,
                jog: 1.0 + 2.0 * bump(6.8, 1.0) + 2.0 * evening,
                talk: 1.0 + noon + 1.5 * evening,
                phone: 1.0 + 0.5 * rush,
                sit: 1.0 + 2.0 * noon + evening,
                loiter: 1.0 + evening,
            },
        }
    }
}

/// An endless, seeded scene before one camera. As an iterator it gives frame after frame and never ends.
#[derive(Clone, Debug)]
pub struct Scene {
    camera: CameraSpec,
    events: Events,
    classes: Vec<AnomalyClass>,
    actors: Vec<Actor>,
    detector: Detector,
    random: Random,
    frame: u64,
    hour_at_start: f64,
    next_number: u64,
    next_event: u64,
    event_due: f64,
    event_running: bool,
}

impl Scene {
    /// A scene that starts at noon, with people already there and everything that is anomalous before this camera possible.
    #[must_use]
    pub fn new(camera: &CameraSpec, events: Events, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let detector = Detector::new(random.fork());
        let classes = AnomalyClass::ALL.into_iter().filter(|&class| camera.context.is_anomalous(class)).collect();
        let mut scene = Self {
            camera: camera.clone(),
            events,
            classes,
            actors: Vec::new(),
            detector,
            random,
            frame: 0,
            hour_at_start: 12.0,
            next_number: 0,
            next_event: 0,
            event_due: 0.0,
            event_running: false,
        };
        scene.event_due = scene.pause(2.0);
        scene.populate();
        scene
    }

    /// The same scene with another hour of the day at its start; the people who are there are drawn anew.
    #[must_use]
    pub fn at_hour(mut self, hour: f64) -> Self {
        self.hour_at_start = hour;
        self.actors.clear();
        self.populate();
        self
    }

    /// The same scene with these anomaly classes only.
    #[must_use]
    pub fn with_classes(mut self, classes: &[AnomalyClass]) -> Self {
        self.classes = classes.to_vec();
        self
    }

    /// The camera.
    #[must_use]
    pub const fn camera(&self) -> &CameraSpec {
        &self.camera
    }

    /// The next frame.
    pub fn step(&mut self) -> SceneFrame {
        let seconds = 1.0 / self.camera.rate;
        let drift = Drift::at_hour(self.hour_at_start + self.frame as f64 * seconds / 3600.0);
        self.actors.retain_mut(|actor| actor.advance(seconds));
        self.actors.retain(|actor| in_sight(&self.camera, actor.place));
        self.welcome(&drift, seconds);
        self.direct(seconds);
        let camera = &self.camera;
        let joints: Vec<_> = self.actors.iter().map(Actor::key_points).collect();
        let seen: Vec<(usize, Seen)> = self
            .actors
            .iter()
            .zip(&joints)
            .enumerate()
            .filter_map(|(index, (actor, joints))| Some((index, Seen::project(actor.number, joints, camera)?)))
            .collect();
        let context = camera.context;
        let is_anomalous = |actor: &Actor| actor.class().is_some_and(|class| context.is_anomalous(class));
        let anomalous = seen.iter().any(|(index, _)| is_anomalous(&self.actors[*index]));
        let people: Vec<Seen> = seen.iter().map(|(_, seen)| seen.clone()).collect();
        let found = self.detector.observe(&people, &self.camera, self.camera.noise * drift.noise);
        let captured = MonotonicNs((self.frame as f64 * seconds * 1e9) as u64);
        let mut out = SceneFrame { poses: PoseFrame::new(FrameIndex(self.frame), captured), truth: Vec::new(), anomalous };
        for (index, pose) in found.into_iter().take(PERSONS_MAX) {
            let actor = &self.actors[seen[index].0];
            if out.poses.persons.push(pose).is_ok() {
                out.truth.push(PersonTruth {
                    id: pose.id,
                    actor: actor.number,
                    behaviour: actor.behaviour(),
                    event: actor.event(),
                    anomalous: is_anomalous(actor),
                });
            }
        }
        self.frame += 1;
        out
    }

    fn people_wanted(&self, drift: &Drift) -> f64 {
        self.camera.density * drift.density
    }

    fn weights(&self, drift: &Drift) -> [f64; 7] {
        let (camera, hour) = (self.camera.mix.weights(), drift.mix.weights());
        core::array::from_fn(|index| camera[index] * hour[index])
    }

    fn populate(&mut self) {
        let drift = Drift::at_hour(self.hour_at_start);
        let weights = self.weights(&drift);
        let wanted = (self.people_wanted(&drift) * self.random.between(0.7, 1.3)).max(1.0);
        while (self.actors.len() as f64) < wanted {
            let new = newcomers(&self.camera, &weights, false, &mut self.next_number, &mut self.random);
            self.actors.extend(new);
        }
    }

    fn welcome(&mut self, drift: &Drift, seconds: f64) {
        let missing = self.people_wanted(drift) - self.actors.len() as f64;
        if self.actors.len() < PERSONS_MAX && self.random.chance(missing.max(0.05) * seconds / 2.0) {
            let weights = self.weights(drift);
            let new = newcomers(&self.camera, &weights, true, &mut self.next_number, &mut self.random);
            self.actors.extend(new);
        }
    }

    /// Seconds until the next event after one of `seconds`.
    fn pause(&mut self, seconds: f64) -> f64 {
        match self.events {
            Events::Never => f64::INFINITY,
            Events::Share(share) => 0.8 + self.random.exponential((seconds * (1.0 / share.clamp(0.01, 0.9) - 1.0) - 0.8).max(0.1)),
            Events::PerHour(count) => self.random.exponential(3600.0 / count.max(1e-6)),
        }
    }

    /// Starts an event when its time has come.
    fn direct(&mut self, seconds: f64) {
        let running = self.actors.iter().any(Actor::has_event);
        if self.event_running && !running {
            // Mean length of an event.
            self.event_due = self.pause(5.5);
        }
        self.event_running = running;
        if running || self.classes.is_empty() {
            return;
        }
        self.event_due -= seconds;
        if self.event_due > 0.0 {
            return;
        }
        let class = self.classes[self.random.below(self.classes.len())];
        self.next_event += 1;
        if class.is_fight() {
            self.start_fight(class)
        } else {
            self.start_alone(class)
        }
        self.event_running = true;
    }

    /// The index of a free person well inside the picture.
    fn free_actor(&mut self, with_partner: bool) -> Option<usize> {
        let camera = &self.camera;
        let usable = |actor: &Actor| {
            let y_max = 0.75 * camera.half_width(actor.place.x);
            let x_fits = actor.place.x > camera.near && actor.place.x < camera.near + 0.8 * (camera.far - camera.near);
            let partner_fits = !with_partner || actor.partner.is_some();
            actor.is_free() && actor.behaviour() != Behaviour::Sit && x_fits && actor.place.y.abs() < y_max && partner_fits
        };
        let free: Vec<usize> = (0..self.actors.len()).filter(|&index| usable(&self.actors[index])).collect();
        (!free.is_empty()).then(|| free[self.random.below(free.len())])
    }

    fn start_alone(&mut self, class: AnomalyClass) {
        let steps = lonely_steps(class, self.next_event, &mut self.random);
        if let Some(index) = self.free_actor(false) {
            self.actors[index].interrupt(steps, true);
            return;
        }
        let (place, heading) = inside(&self.camera, &mut self.random);
        self.next_number += 1;
        let mut plan = vec![Step::still(Behaviour::Stand, 1.5)];
        plan.extend(steps);
        plan.extend(walk_through(Behaviour::Walk, &mut self.random));
        self.actors.push(Actor::new(self.next_number, place, heading, plan, &mut self.random));
    }

    fn start_fight(&mut self, class: AnomalyClass) {
        let pair = self.free_actor(true).and_then(|first| {
            let partner = self.actors[first].partner?;
            let second = self.actors.iter().position(|actor| actor.number == partner && actor.is_free())?;
            let gap = self.actors[first].place - self.actors[second].place;
            (gap.dot(gap) < 4.0).then_some((first, second))
        });
        let (first, second) = match pair {
            Some(pair) => pair,
            None => self.bring_pair(),
        };
        let (mut aggressor, mut victim) = (self.actors[first].clone(), self.actors[second].clone());
        stage_fight(&mut aggressor, &mut victim, class, self.next_event, &mut self.random);
        (self.actors[first], self.actors[second]) = (aggressor, victim);
    }

    /// Two people who stand opposite each other.
    fn bring_pair(&mut self) -> (usize, usize) {
        let (place, heading) = inside(&self.camera, &mut self.random);
        let distance = self.random.between(1.2, 2.2);
        let other = place + Point::new(cos(heading), sin(heading), 0.0) * distance;
        for (place, heading) in [(place, heading), (other, heading + PI)] {
            self.next_number += 1;
            let plan = vec![Step::still(Behaviour::Talk, 3.0)];
            self.actors.push(Actor::new(self.next_number, place, heading, plan, &mut self.random));
        }
        (self.actors.len() - 2, self.actors.len() - 1)
    }
}

/// Whether a place can still come into the picture.
fn in_sight(camera: &CameraSpec, place: Point) -> bool {
    place.x > 0.5 * camera.near && place.x < camera.far + 4.0 && place.y.abs() < camera.half_width(place.x) + 1.2
}

impl Iterator for Scene {
    type Item = SceneFrame;

    fn next(&mut self) -> Option<SceneFrame> {
        Some(self.step())
    }
}
