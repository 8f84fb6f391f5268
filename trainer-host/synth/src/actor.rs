//! A person with a plan: which behaviour when, where it stands, and where its joints are.

use crate::behaviour::{AnomalyClass, Behaviour};
use crate::body::{Build, Pose, key_points};
use crate::geometry::{Point, smooth_step};
use crate::motion::{Moment, Style, gait_rate, pose};
use crate::random::Random;
use alfred_core::limits::KEYPOINTS;
use libm::{cos, sin};
use std::collections::VecDeque;

/// One entry of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What to do.
    pub behaviour: Behaviour,
    /// For how long.
    pub seconds: f64,
    /// Speed along the heading, m/s; negative is backwards.
    pub speed: f64,
    /// Turning to the left, rad/s.
    pub turning: f64,
    /// Time over which the previous posture fades into this one.
    pub fade_seconds: f64,
    /// The event that it belongs to.
    pub event: Option<u64>,
}

impl Step {
    /// A step on the spot that belongs to no event.
    #[must_use]
    pub const fn still(behaviour: Behaviour, seconds: f64) -> Self {
        Self { behaviour, seconds, speed: 0.0, turning: 0.0, fade_seconds: 0.4, event: None }
    }

    /// A step with a speed that belongs to no event.
    #[must_use]
    pub const fn moving(behaviour: Behaviour, seconds: f64, speed: f64, turning: f64) -> Self {
        Self { behaviour, seconds, speed, turning, fade_seconds: 0.4, event: None }
    }

    /// The same step as a part of an event.
    #[must_use]
    pub const fn of(self, event: u64) -> Self {
        Self { event: Some(event), ..self }
    }
}

/// One synthetic person.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The scene's number of the person, never reused.
    pub number: u64,
    /// Bones.
    pub build: Build,
    /// Habits.
    pub style: Style,
    /// Where it stands.
    pub place: Point,
    /// Where it looks, radians from the x axis.
    pub heading: f64,
    /// Who it talks to or fights with, if anybody.
    pub partner: Option<u64>,
    plan: VecDeque<Step>,
    current: Step,
    seconds: f64,
    gait: f64,
    speed: f64,
    posture: Pose,
    fade_from: Pose,
}

impl Actor {
    /// A random person at a place, with a plan that should not be empty (an empty one stands).
    #[must_use]
    pub fn new(number: u64, place: Point, heading: f64, plan: Vec<Step>, random: &mut Random) -> Self {
        let mut plan = VecDeque::from(plan);
        let current = plan.pop_front().unwrap_or(Step::still(Behaviour::Stand, 1.0));
        let (build, style, gait) = (Build::random(random), Style::random(random), random.unit());
        let posture = pose(current.behaviour, &style, Moment { seconds: 0.0, gait, speed: current.speed });
        Self {
            number,
            build,
            style,
            place,
            heading,
            partner: None,
            plan,
            current,
            // It has been at it for a while.
            seconds: random.between(1.0, 3.0).min(0.5 * current.seconds),
            gait,
            speed: current.speed,
            posture,
            fade_from: posture,
        }
    }

    /// Lets time pass. Returns false when the plan has run out.
    pub fn advance(&mut self, seconds: f64) -> bool {
        self.seconds += seconds;
        if self.seconds >= self.current.seconds {
            let Some(next) = self.plan.pop_front() else {
                return false;
            };
            self.switch(next);
        }
        // Nobody starts or stops at once.
        let reach = 2.5 * seconds;
        self.speed += (self.current.speed - self.speed).clamp(-reach, reach);
        self.heading += self.current.turning * seconds;
        self.place = self.place + Point::new(cos(self.heading), sin(self.heading), 0.0) * (self.speed * seconds);
        self.gait += gait_rate(&self.build, self.speed) * seconds;
        let target = pose(self.current.behaviour, &self.style, Moment { seconds: self.seconds, gait: self.gait, speed: self.speed });
        let fade = smooth_step(self.seconds / self.current.fade_seconds.max(1e-3));
        self.posture = self.fade_from.blend(&target, fade);
        true
    }

    fn switch(&mut self, next: Step) {
        // A displaced pelvis stays where it is when the next posture has another displacement (a fallen person who walks on).
        self.fade_from = self.posture;
        self.current = next;
        self.seconds = 0.0;
    }

    /// Drops the plan and does `steps` at once, then what `afterwards` says.
    pub fn interrupt(&mut self, steps: Vec<Step>, keep_rest: bool) {
        if !keep_rest {
            self.plan.clear();
        }
        for step in steps.into_iter().rev() {
            self.plan.push_front(step);
        }
        if let Some(next) = self.plan.pop_front() {
            self.switch(next);
        }
    }

    /// What it does now.
    #[must_use]
    pub const fn behaviour(&self) -> Behaviour {
        self.current.behaviour
    }

    /// The event it takes part in now.
    #[must_use]
    pub const fn event(&self) -> Option<u64> {
        self.current.event
    }

    /// The anomaly class it shows now, whether or not that is an anomaly here.
    #[must_use]
    pub const fn class(&self) -> Option<AnomalyClass> {
        self.current.behaviour.class()
    }

    /// Whether an event may start with it: it takes part in none now or later.
    #[must_use]
    pub fn is_free(&self) -> bool {
        !self.has_event() && self.class().is_none() && self.plan.iter().all(|step| step.behaviour.class().is_none())
    }

    /// Whether it takes part in an event now or later.
    #[must_use]
    pub fn has_event(&self) -> bool {
        self.current.event.is_some() || self.plan.iter().any(|step| step.event.is_some())
    }

    /// Its key-points in metres, COCO order.
    #[must_use]
    pub fn key_points(&self) -> [Point; KEYPOINTS] {
        key_points(&self.build, &self.posture, self.place, self.heading)
    }
}
