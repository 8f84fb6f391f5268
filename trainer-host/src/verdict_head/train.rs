//! A head is trained on all verdicts, and kept only if heads trained on a part of them beat the density score on the rest.

use super::fit::fit;
use super::sample::{HeadRecipe, HeadSample, NoHead};
use alfred_core::evaluation::auc_roc;
use alfred_core::verdict_head::VerdictHead;
use std::collections::{BTreeMap, BTreeSet};

/// A head and what its check found, AUC-ROC from 0 to 1 on windows of groups that the checked heads had not seen.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedHead {
    /// Trained on all samples.
    pub head: VerdictHead,
    /// Mean AUC-ROC of the checked heads over the folds.
    pub head_auc: f64,
    /// Mean AUC-ROC of the density score on the same windows.
    pub density_auc: f64,
}

/// Trains a camera's head. The same samples in the same order give the same bytes.
///
/// # Errors
/// [`NoHead`] says why the density score had better serve alone.
pub fn train(samples: &[HeadSample], recipe: &HeadRecipe) -> Result<VerdictHead, NoHead> {
    train_reported(samples, recipe).map(|trained| trained.head)
}

/// [`train`], with the figures of its check.
///
/// # Errors
/// As [`train`].
pub fn train_reported(samples: &[HeadSample], recipe: &HeadRecipe) -> Result<TrainedHead, NoHead> {
    check_recipe(recipe)?;
    if let Some(sample) = samples.iter().position(|sample| !sample.features.iter().all(|value| value.is_finite())) {
        return Err(NoHead::NotFinite { sample });
    }
    let anomalous: BTreeSet<u32> = samples.iter().filter(|sample| sample.is_anomalous).map(|sample| sample.group).collect();
    if anomalous.len() < recipe.anomalous_groups_min {
        return Err(NoHead::TooFewAnomalous { found: anomalous.len(), needed: recipe.anomalous_groups_min });
    }
    let normals = samples.iter().filter(|sample| !sample.is_anomalous).count();
    if normals < recipe.normal_windows_min {
        return Err(NoHead::TooFewNormal { found: normals, needed: recipe.normal_windows_min });
    }
    let (head_auc, density_auc) = unseen_auc(samples, &anomalous, recipe)?;
    if head_auc < density_auc + recipe.gain_min {
        return Err(NoHead::NoGain { head: head_auc, density: density_auc });
    }
    let head = fit(&samples.iter().collect::<Vec<_>>(), recipe)?;
    Ok(TrainedHead { head, head_auc, density_auc })
}

fn check_recipe(recipe: &HeadRecipe) -> Result<(), NoHead> {
    let sound = |name, sound: bool| if sound { Ok(()) } else { Err(NoHead::Recipe(name)) };
    sound("evidence", recipe.evidence.is_finite() && recipe.evidence > 0.0)?;
    sound("anomalous_groups_min", recipe.anomalous_groups_min >= 2)?;
    sound("normal_windows_min", recipe.normal_windows_min >= 2)?;
    sound("folds", recipe.folds >= 2)?;
    sound("gain_min", recipe.gain_min.is_finite())
}

/// Mean AUC-ROC of heads and of the density score over the folds that hold both classes.
fn unseen_auc(samples: &[HeadSample], anomalous: &BTreeSet<u32>, recipe: &HeadRecipe) -> Result<(f64, f64), NoHead> {
    let fold_of = folds(samples, anomalous, recipe.folds);
    let mut found = Vec::new();
    for fold in 0..recipe.folds {
        let (held_out, learned): (Vec<&HeadSample>, Vec<&HeadSample>) =
            samples.iter().partition(|sample| fold_of.get(&sample.group) == Some(&fold));
        let has = |samples: &[&HeadSample], anomalous: bool| samples.iter().any(|sample| sample.is_anomalous == anomalous);
        if [&held_out, &learned].iter().any(|part| !has(part, true) || !has(part, false)) {
            continue;
        }
        let head = fit(&learned, recipe)?;
        let auc = |score: &dyn Fn(&HeadSample) -> f32| {
            auc_roc(&mut held_out.iter().map(|sample| (f64::from(score(sample)), sample.is_anomalous)).collect::<Vec<_>>()).ok()
        };
        let by_head = auc(&|sample| head.combine_features(&sample.features, sample.density).value());
        found.extend(by_head.zip(auc(&|sample| sample.density.value())));
    }
    if found.is_empty() {
        return Err(NoHead::Unchecked);
    }
    let count = found.len() as f64;
    Ok((found.iter().map(|(head, _)| head).sum::<f64>() / count, found.iter().map(|(_, density)| density).sum::<f64>() / count))
}

/// The fold of each group: groups with anomalies are dealt out first, so that every fold gets its share of them.
fn folds(samples: &[HeadSample], anomalous: &BTreeSet<u32>, folds: usize) -> BTreeMap<u32, usize> {
    let all: BTreeSet<u32> = samples.iter().map(|sample| sample.group).collect();
    anomalous.iter().chain(all.difference(anomalous)).enumerate().map(|(place, group)| (*group, place % folds)).collect()
}
