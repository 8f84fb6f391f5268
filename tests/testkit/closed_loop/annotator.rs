//! The simulated annotator: a reviewer who speaks the daemon's HTTP API as the review page does, and knows the truth.

use super::scene::KeptFrame;
use super::session::Session;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Anomalous frames below which an item looks normal, and the share of its frames from which on it looks anomalous; in between the annotator is
/// unsure: the item shows both.
const SEEN_FRAMES_MIN: u64 = 4;
const SEEN_SHARE_MIN: f64 = 0.5;
/// Samples from below the threshold that are judged per look: the audit of missed anomalies.
const AUDIT_PER_LOOK: u32 = 6;
/// Time between two looks into the queue.
const PAUSE: Duration = Duration::from_millis(300);

/// What is true before the cameras so far.
#[derive(Debug, Default)]
pub struct Truth(Mutex<BTreeMap<String, BTreeSet<(u32, u64)>>>);

impl Truth {
    /// Takes in a frame.
    pub fn add(&self, camera: &str, frame: &KeptFrame) {
        let mut truth = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let truth = truth.entry(camera.to_owned()).or_default();
        truth.extend(frame.persons.iter().filter(|(_, is_anomalous)| *is_anomalous).map(|(person, _)| (person.id.0, frame.frame)));
    }

    /// What a person says who looks at these frames of somebody; `None`: unsure.
    fn judged(&self, camera: &str, person: u32, first: u64, last: u64) -> Option<bool> {
        let truth = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = truth.get(camera).map_or(0, |truth| truth.range((person, first)..=(person, last)).count() as u64);
        let is_mostly = seen as f64 >= SEEN_SHARE_MIN * (last.saturating_sub(first) + 1) as f64;
        if seen < SEEN_FRAMES_MIN { Some(false) } else { is_mostly.then_some(true) }
    }
}

/// One annotator for all cameras.
#[derive(Debug)]
pub struct Annotator {
    /// Its login.
    pub session: Session,
    /// What it knows.
    pub truth: Arc<Truth>,
    /// Cameras still to be looked after, and how each is asked about.
    pub cameras: Vec<(String, &'static str, Arc<AtomicBool>)>,
    /// Verdicts given.
    pub labels: Arc<AtomicU64>,
}

impl Annotator {
    /// Judges what waits, camera by camera, until `stop`.
    ///
    /// # Errors
    /// What the daemon answered.
    pub fn run(mut self, stop: &AtomicBool) -> Result<(), String> {
        while !stop.load(Relaxed) {
            for place in 0..self.cameras.len() {
                let (camera, strategy, is_done) = self.cameras[place].clone();
                if is_done.load(Relaxed) {
                    continue;
                }
                self.judge(&camera, strategy, 100)?;
                self.judge(&camera, "audit", AUDIT_PER_LOOK)?;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn judge(&mut self, camera: &str, strategy: &str, items_max: u32) -> Result<(), String> {
        let kind = if strategy == "audit" { "sample" } else { "event" };
        let path = format!("/api/queue?camera={camera}&kind={kind}&strategy={strategy}&items_max={items_max}");
        let queue = self.session.get(&path)?;
        for item in queue.as_array().into_iter().flatten() {
            let number = |key: &str| item.get(key).and_then(Value::as_u64).ok_or_else(|| format!("an item without {key}"));
            let (person, first, last) = (number("person")? as u32, number("first_frame")?, number("last_frame")?);
            let id = item.get("id").and_then(Value::as_i64).ok_or("an item without its number")?;
            let verdict = match self.truth.judged(camera, person, first, last) {
                Some(true) => "anomalous",
                Some(false) => "normal",
                None => "unsure",
            };
            self.session.verdict(id, verdict, strategy)?;
            self.labels.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}
