//! Kinds of anomaly that nobody has judged: what a head whose verdicts lack a class makes of that class.
//!
//! For each class of the camera a head is trained on the chain's own samples without the windows that people called anomalous and that are of the
//! class by truth; windows of the class that were missed stay among the pseudo-normals, as they would. It is judged on the validation part's windows
//! of the class against all normal ones there, by AUC-ROC: no threshold is involved, and no validation window trained anything.

use crate::dataset::camera::Camera;
use crate::experiment::head_stage::{ClassedSample, HeadStage, PartFeatures};
use crate::metric::roc::auc_roc;
use crate::metric::samples::Ranked;

/// One class. AUC-ROC from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct UnseenClass {
    /// Its name.
    pub class: String,
    /// Its windows in the validation part.
    pub windows: u64,
    /// By the density score alone.
    pub density_auc: f64,
    /// By a head whose verdicts lack the class.
    pub unseen_auc: f64,
    /// By the head whose verdicts hold it, if people met it.
    pub judged_auc: f64,
    /// Whether that smaller set of verdicts made a head at all; else the density score serves.
    pub has_head: bool,
}

/// The classes that the validation part holds. `density` are the scores of its windows, `head` is the one in force.
#[must_use]
pub fn classes(camera: &Camera, features: &PartFeatures, density: &[f64], samples: &[ClassedSample], head: &HeadStage) -> Vec<UnseenClass> {
    let part = &camera.validation;
    let judged = head.apply(features, density);
    let one = |(index, class): (usize, &String)| {
        let of_class = Some(index as u16);
        let windows = part.class.iter().filter(|class| **class == of_class).count() as u64;
        let auc = |scores: &[f64]| {
            let pairs = scores.iter().zip(&part.is_anomalous).zip(&part.class);
            let kept = pairs.filter(|((_, anomalous), class)| !**anomalous || **class == of_class);
            Ranked::of_pairs(kept.map(|((score, anomalous), _)| (*score, *anomalous))).ok().map(|ranked| auc_roc(&ranked))
        };
        let without = HeadStage::of(samples.iter().filter(|classed| !classed.sample.is_anomalous || classed.class != of_class));
        Some(UnseenClass {
            class: class.clone(),
            windows,
            density_auc: auc(density)?,
            unseen_auc: auc(&without.apply(features, density))?,
            judged_auc: auc(&judged)?,
            has_head: without.is_on(),
        })
    };
    camera.classes.iter().enumerate().filter_map(one).collect()
}
