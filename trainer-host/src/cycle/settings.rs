//! `[cycle]` of the daemon's settings.

use crate::error::HostError;
use crate::phase::methodology::{Methodology, Recipe, Review, TrainingRule, by_name};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `[cycle]`: retraining. Left out: nothing is retrained. Relative paths start at the settings' file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CycleSettings {
    /// K-1 weights (STG-NF) with their source threshold: what devices run before their first bundle.
    pub source_weights: PathBuf,
    /// The host's secret key, as `alfred-host bundle keygen` wrote it; devices trust its public half.
    pub key: PathBuf,
    /// How cameras learn: a methodology's name, see `alfred-host experiment`; left out: `verdict_head`.
    #[serde(default = "default_methodology")]
    pub methodology: String,
    /// A slice is closed after so many new verdicts...
    #[serde(default = "default_labels_min")]
    pub labels_min: u64,
    /// ...or after so many hours, if there was any; 0: not by time.
    #[serde(default = "default_period_hours")]
    pub period_hours: f64,
    /// Events that each class of the validation set must have before a threshold may come from it, at least 2.
    #[serde(default = "default_events_per_class_min")]
    pub events_per_class_min: usize,
    /// Share of the reviewed items that join the validation set instead of training, in the active learning phase; above 0, below 1.
    #[serde(default = "default_validation_share")]
    pub validation_share: f64,
    /// Seed of shuffling, queries and intervals.
    #[serde(default)]
    pub seed: u64,
    /// Milliseconds between two looks at what is due.
    #[serde(default = "default_look_ms")]
    pub look_ms: u64,
    /// How much nicer than the daemon the worker is, 0 to 19 as `nice` takes it. Each step is about a tenth less of a busy processor; 0 where a round
    /// must not starve beside other work.
    #[serde(default = "default_niceness")]
    pub niceness: u8,
    /// Cameras that differ.
    #[serde(default)]
    pub cameras: BTreeMap<String, CameraSettings>,
}

/// `[cycle.cameras.NAME]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraSettings {
    /// How this camera learns.
    #[serde(default)]
    pub methodology: Option<String>,
    /// Leave this camera alone; requests are served.
    #[serde(default)]
    pub is_off: bool,
}

/// Active learning with a head on all verdicts: what gained most in the experiment.
fn default_methodology() -> String {
    "verdict_head".into()
}

const fn default_labels_min() -> u64 {
    200
}

const fn default_period_hours() -> f64 {
    24.0
}

const fn default_events_per_class_min() -> usize {
    10
}

const fn default_validation_share() -> f64 {
    0.3
}

const fn default_look_ms() -> u64 {
    2000
}

/// Devices' records and people's clicks come first; a round takes seconds, and a third of a busy processor is left to it.
const fn default_niceness() -> u8 {
    5
}

/// Largest niceness there is.
const NICENESS_MAX: u8 = 19;

/// Whether the daemon can carry a recipe out.
const fn is_live(recipe: &Recipe) -> bool {
    !recipe.all_at_once && !recipe.replay && !recipe.tracking_threshold
}

impl CycleSettings {
    /// Lets relative paths start at `folder`, and judges the settings; `place` is the settings' file.
    ///
    /// # Errors
    /// [`HostError::Data`] names the setting and the mend.
    pub fn settle(mut self, folder: &Path, place: &Path) -> Result<Self, HostError> {
        let refuse = |what: &str, mend: String| Err(HostError::data(place, format!("[cycle] {what}"), mend));
        self.source_weights = folder.join(&self.source_weights);
        self.key = folder.join(&self.key);
        for name in std::iter::once(&self.methodology).chain(self.cameras.values().filter_map(|camera| camera.methodology.as_ref())) {
            match by_name(name) {
                None => return refuse("methodology", format!("there is none called {name:?}; `alfred-host experiment --help` lists them")),
                Some(known) if !is_live(&known.recipe) => {
                    return refuse(
                        "methodology",
                        format!("{name:?} works in experiments only; name active_learning, al_light or verdict_head"),
                    );
                }
                Some(_) => {}
            }
        }
        if self.labels_min == 0 || !(self.period_hours.is_finite() && self.period_hours >= 0.0) {
            return refuse("labels_min, period_hours", "at least 1, and a finite number of at least 0".into());
        }
        if self.events_per_class_min < 2 || !(self.validation_share > 0.0 && self.validation_share < 1.0) {
            return refuse("events_per_class_min, validation_share", "at least 2, and a share above 0 and below 1".into());
        }
        if !(50..=3_600_000).contains(&self.look_ms) {
            return refuse("look_ms", "50 to 3,600,000".into());
        }
        if self.niceness > NICENESS_MAX {
            return refuse("niceness", format!("0 to {NICENESS_MAX}"));
        }
        Ok(self)
    }

    /// How a camera learns. Settings that were settled name a methodology that is known.
    #[must_use]
    pub fn methodology(&self, camera: &str) -> &'static Methodology {
        let own = self.cameras.get(camera).and_then(|camera| camera.methodology.as_deref());
        const FALLBACK: Methodology = Methodology {
            name: "threshold_only",
            summary: "",
            published: false,
            recipe: Recipe { training: TrainingRule::Nothing, review: Review::Nobody, ..RECIPE },
        };
        by_name(own.unwrap_or(&self.methodology)).unwrap_or(&FALLBACK)
    }

    /// Whether a camera is left alone.
    #[must_use]
    pub fn is_off(&self, camera: &str) -> bool {
        self.cameras.get(camera).is_some_and(|camera| camera.is_off)
    }
}

const RECIPE: Recipe = crate::phase::methodology::METHODOLOGIES[1].recipe;
