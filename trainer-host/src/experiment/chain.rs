//! One cell's chain of iterations: score a slice, ask, train, set the threshold anew, judge.

use crate::dataset::camera::{Camera, Part};
use crate::dataset::windows::{Origin, WindowSet};
use crate::error::HostError;
use crate::experiment::head_stage::{HeadStage, PartFeatures, VerdictMemory, features_of};
use crate::experiment::judgement::decisions;
use crate::experiment::record::{QUANTILES, StepRecord};
use crate::experiment::settings::{Settings, training_recipe};
use crate::experiment::source::{Source, weights_of};
use crate::experiment::unseen;
use crate::metric::bootstrap::BootstrapPlan;
use crate::metric::quantile::quantile;
use crate::phase::active_learning::{Answer, Reason, ScoredSlice, TrainingSet, answer, ask, training_set};
use crate::phase::al_light::{MAXIMA_MAX, RollingMaxima};
use crate::phase::audit::Audit;
use crate::phase::gate::{self, LOSS_MAX};
use crate::phase::methodology::{Methodology, Recipe, TrainingRule};
use crate::phase::poison_guard::hold_back;
use crate::phase::pseudo_label::split;
use crate::phase::replay::{self, WINDOWS_MAX};
use crate::phase::tracking_threshold::TrackingThreshold;
use crate::phase::verdict::SimulatedAnnotator;
use crate::query::Embeddings;
use crate::train::architecture::{Architecture, TrainerOptions, trainer_of, write_weights};
use crate::train::checkpoint::Metadata;
use crate::train::run::{scores, train};
use crate::train::trainer::Trainer;
use alfred_synth::random::Random;
use std::path::Path;
use std::time::Instant;

/// Resamples by which the gate judges.
const GATE_RESAMPLES: usize = 200;

/// Cheap looks at a camera's windows, taken once for all its cells.
#[derive(Debug)]
pub struct Looks {
    /// Embeddings of each slice's windows.
    pub embeddings: Vec<Embeddings>,
    /// The verdict head's features of each slice's windows.
    pub features: Vec<PartFeatures>,
    /// Those of the validation part.
    pub validation_features: PartFeatures,
}

impl Looks {
    /// Looks at every window.
    #[must_use]
    pub fn at(camera: &Camera) -> Self {
        Self {
            embeddings: camera.slices.iter().map(|slice| Embeddings::of(&slice.windows)).collect(),
            features: camera.slices.iter().map(|slice| features_of(&slice.windows)).collect(),
            validation_features: features_of(&camera.validation.windows),
        }
    }
}

/// What a cell needs and does not change.
#[derive(Debug)]
pub struct Chain<'c> {
    /// The camera.
    pub camera: &'c Camera,
    /// What cheap looks at its windows give.
    pub looks: &'c Looks,
    /// The model.
    pub model: Architecture,
    /// K-1 weights.
    pub source: &'c Source,
    /// The methodology.
    pub methodology: &'c Methodology,
    /// Seed of shuffling, queries and the annotator's errors.
    pub seed: u64,
    /// Share of wrong answers.
    pub annotator_error_share: f64,
}

/// What a chain carries from slice to slice, besides weights.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ChainState {
    /// Iterations done.
    pub steps: Vec<StepRecord>,
    threshold: f64,
    rolling: RollingMaxima,
    /// Verdicts so far.
    verdicts: VerdictMemory,
    /// Replay memory: (slice, window).
    memory: Vec<(u32, u32)>,
    tracking: Option<TrackingThreshold>,
    audit: Audit,
    head: HeadStage,
}

impl<'c> Chain<'c> {
    /// A chain for a cell.
    #[must_use]
    pub fn new(
        settings: &Settings,
        camera: &'c Camera,
        looks: &'c Looks,
        model: Architecture,
        source: &'c Source,
        methodology: &'c Methodology,
        seed: u64,
    ) -> Self {
        Self { camera, looks, model, source, methodology, seed, annotator_error_share: settings.annotator_error_share }
    }

    /// Iterations that it takes.
    #[must_use]
    pub fn length(&self) -> usize {
        if self.recipe().all_at_once { 1 } else { self.camera.slices.len() }
    }

    pub(super) const fn recipe(&self) -> &Recipe {
        &self.methodology.recipe
    }

    fn trainer(&self, bytes: &[u8]) -> Result<Box<dyn Trainer>, HostError> {
        let weights = weights_of(bytes, Path::new("the chain's weights"))?;
        trainer_of(self.model, Some(&weights), &TrainerOptions::default(), self.seed)
    }

    pub(super) fn density(&self, trainer: &mut dyn Trainer, windows: &WindowSet) -> Vec<f64> {
        scores(trainer, windows, training_recipe(self.model).batch)
    }

    /// The state before the first slice: K-1 weights, and the threshold that warm-up set on the validation set, or the source's.
    ///
    /// # Errors
    /// [`HostError`] when the weights or the validation part cannot be used.
    pub fn start(&self) -> Result<ChainState, HostError> {
        let mut trainer = self.trainer(&self.source.bytes)?;
        let judgement = self.judge(trainer.as_mut(), &HeadStage::default())?;
        Ok(ChainState {
            steps: Vec::new(),
            threshold: judgement.threshold,
            rolling: RollingMaxima::new(MAXIMA_MAX),
            verdicts: VerdictMemory::default(),
            memory: Vec::new(),
            tracking: None,
            audit: Audit::default(),
            head: HeadStage::default(),
        })
    }

    /// One iteration, or for a methodology without slices the only one. Returns the weight file to go on with.
    ///
    /// # Errors
    /// [`HostError`] when a training step is not finite or the validation part sets no threshold.
    pub fn step(&self, state: &mut ChainState, weights: Vec<u8>) -> Result<Vec<u8>, HostError> {
        if self.recipe().all_at_once { self.step_offline(state, &weights) } else { self.step_slice(state, weights) }
    }

    fn step_offline(&self, state: &mut ChainState, weights: &[u8]) -> Result<Vec<u8>, HostError> {
        let started = Instant::now();
        let mut set = WindowSet::new(self.camera.validation.windows.frames());
        for slice in &self.camera.slices {
            (0..slice.windows.len() as u32).for_each(|window| copy(&slice.windows, window, false, &mut set));
        }
        let mut trainer = self.trainer(weights)?;
        train(trainer.as_mut(), &set, None, &training_recipe(self.model).slice_plan(self.seed))?;
        let judgement = self.judge(trainer.as_mut(), &HeadStage::default())?;
        let wrong = self.camera.slices.iter().flat_map(|slice| &slice.is_anomalous).filter(|truth| **truth).count();
        state.steps.push(StepRecord {
            slice: self.camera.slices.len().saturating_sub(1) as u32,
            held_out_by_clip: judgement.held_out_by_clip,
            auc_roc: judgement.auc_roc,
            auc_pr: judgement.auc_pr,
            threshold: judgement.threshold,
            trained_normal: set.len() as u64,
            trained_wrong: wrong as u64,
            theta_eer: state.threshold,
            seconds: started.elapsed().as_secs_f64(),
            ..StepRecord::default()
        });
        Ok(write_weights(trainer.as_ref(), &Metadata::new()))
    }

    fn step_slice(&self, state: &mut ChainState, weights: Vec<u8>) -> Result<Vec<u8>, HostError> {
        let started = Instant::now();
        let number = state.steps.len();
        let part = &self.camera.slices[number];
        let mut trainer = self.trainer(&weights)?;
        let density = self.density(trainer.as_mut(), &part.windows);
        let plain = state.head.apply(&self.looks.features[number], &density);
        let scores = self.anchored(state, part, &plain);
        let origins: Vec<Origin> = (0..part.windows.len() as u32).map(|window| part.windows.origin(window)).collect();
        let slice =
            ScoredSlice { scores: &scores, origins: &origins, embeddings: &self.looks.embeddings[number], threshold: state.threshold };
        let mut random = Random::new(self.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let asked = ask(self.recipe(), &slice, &mut state.rolling, &mut random);
        let (labels, labels_full, unflagged) = (asked.questions.len() as u64, asked.full as u64, asked.unflagged as u64);
        let mut annotator = SimulatedAnnotator::new(&part.is_anomalous, self.annotator_error_share, random.bits());
        let answers = answer(asked, &mut annotator);
        let mut record = StepRecord {
            slice: number as u32,
            train_by_clip: decisions(part, &scores, state.threshold),
            labels,
            labels_full,
            flagged_scores: flagged_quantiles(&scores, state.threshold),
            theta_eer: state.threshold,
            theta_med: state.rolling.theta_med(),
            audit: self.audited(state, &answers, unflagged),
            ..StepRecord::default()
        };
        state.verdicts.remember(number as u32, &answers, &slice);
        let weights = self.adapt(state, weights, trainer, &slice, &answers, &mut record, &mut random)?;
        record.seconds = started.elapsed().as_secs_f64();
        state.steps.push(record);
        Ok(weights)
    }

    /// Trains on the slice, judges the candidate, and puts it in force unless a gate forbids it.
    #[expect(clippy::too_many_arguments, reason = "one iteration's parts, named at the only call")]
    fn adapt(
        &self,
        state: &mut ChainState,
        weights: Vec<u8>,
        mut trainer: Box<dyn Trainer>,
        slice: &ScoredSlice<'_>,
        answers: &[Answer],
        record: &mut StepRecord,
        random: &mut Random,
    ) -> Result<Vec<u8>, HostError> {
        let recipe = self.recipe();
        let before = if recipe.gated { Some(self.judge(trainer.as_mut(), &state.head)?) } else { None };
        let set = self.training_windows(state, slice, answers, record, random)?;
        if !set.is_empty() {
            train(trainer.as_mut(), &set, None, &training_recipe(self.model).slice_plan(random.bits()))?;
        }
        let mut head = state.head.clone();
        if recipe.verdict_head {
            let normal = split(slice.scores, slice.threshold).normal;
            let mut density = |places: &[(u32, u32)]| {
                let mut set = WindowSet::new(self.camera.validation.windows.frames());
                places.iter().for_each(|&(slice, window)| copy(&self.camera.slices[slice as usize].windows, window, false, &mut set));
                self.density(trainer.as_mut(), &set)
            };
            let samples =
                head.learn(&self.camera.slices, &self.looks.features, &state.verdicts, (record.slice, &normal), &mut density, random);
            record.head = Some(head.is_on());
            if record.slice as usize + 1 == self.camera.slices.len() {
                let density = self.density(trainer.as_mut(), &self.camera.validation.windows);
                record.unseen = unseen::classes(self.camera, &self.looks.validation_features, &density, &samples, &head);
            }
        }
        let mut judgement = self.judge(trainer.as_mut(), &head)?;
        let plan = BootstrapPlan { resamples: GATE_RESAMPLES, seed: self.seed };
        let refused = match before {
            Some(before) => {
                let verdict = gate::compare(&before.validation_by_clip, &judgement.validation_by_clip, LOSS_MAX, &plan);
                record.gate_open = Some(verdict.open);
                if verdict.open {
                    false
                } else {
                    judgement = before;
                    true
                }
            }
            None => false,
        };
        state.threshold = judgement.threshold;
        let kept = refused || set.is_empty();
        if !refused {
            state.head = head;
        }
        if recipe.tracking_threshold {
            let part = &self.camera.slices[record.slice as usize];
            let density = self.density(trainer.as_mut(), &part.windows);
            state.tracking = Some(TrackingThreshold::anchored(
                state.threshold,
                &state.head.apply(&self.looks.features[record.slice as usize], &density),
            ));
        }
        record.held_out_by_clip = judgement.held_out_by_clip;
        (record.auc_roc, record.auc_pr, record.threshold) = (judgement.auc_roc, judgement.auc_pr, judgement.threshold);
        Ok(if kept { weights } else { write_weights(trainer.as_ref(), &Metadata::new()) })
    }

    /// The windows that train, labelled.
    fn training_windows(
        &self,
        state: &mut ChainState,
        slice: &ScoredSlice<'_>,
        answers: &[Answer],
        record: &mut StepRecord,
        random: &mut Random,
    ) -> Result<WindowSet, HostError> {
        let (recipe, number) = (self.recipe(), record.slice as usize);
        let part = &self.camera.slices[number];
        let source_flagged = if recipe.training == TrainingRule::PseudoNormalBySource { self.flagged_by_source(part)? } else { Vec::new() };
        let TrainingSet { mut normal, anomalous } = training_set(recipe, slice, answers, &source_flagged);
        if recipe.poison_guard {
            let (confirmed, events) = state.verdicts.confirmed(&self.looks.embeddings);
            (normal, record.held_back) = {
                let (normal, held) = hold_back(&normal, slice.embeddings, &confirmed, &events);
                (normal, held as u64)
            };
        }
        let mut set = WindowSet::new(part.windows.frames());
        normal.iter().for_each(|&window| copy(&part.windows, window, false, &mut set));
        if recipe.replay {
            for &(slice, window) in &state.memory {
                copy(&self.camera.slices[slice as usize].windows, window, false, &mut set);
            }
            self.renew_memory(state, number, &normal, random);
        }
        anomalous.iter().for_each(|&window| copy(&part.windows, window, true, &mut set));
        record.trained_normal = normal.len() as u64;
        record.trained_anomalous = anomalous.len() as u64;
        record.trained_wrong = normal.iter().filter(|window| part.is_anomalous[**window as usize]).count() as u64;
        Ok(set)
    }

    fn renew_memory(&self, state: &mut ChainState, number: usize, normal: &[u32], random: &mut Random) {
        let candidates: Vec<(u32, u32)> =
            state.memory.iter().copied().chain(normal.iter().map(|&window| (number as u32, window))).collect();
        let mut points = Embeddings::default();
        candidates.iter().for_each(|&(slice, window)| points.push(self.looks.embeddings[slice as usize].get(window)));
        state.memory = replay::retain(&points, WINDOWS_MAX, random).into_iter().map(|index| candidates[index as usize]).collect();
    }

    /// What the K-1 weights flag at the camera's first threshold.
    fn flagged_by_source(&self, part: &Part) -> Result<Vec<u32>, HostError> {
        let mut trainer = self.trainer(&self.source.bytes)?;
        let threshold = self.judge(trainer.as_mut(), &HeadStage::default())?.threshold;
        let scores = self.density(trainer.as_mut(), &part.windows);
        Ok(split(&scores, threshold).flagged)
    }

    /// Scores as they stand to the threshold in force: with a tracking threshold, shifted by how far it has moved when each clip begins.
    fn anchored(&self, state: &mut ChainState, part: &Part, scores: &[f64]) -> Vec<f64> {
        let Some(tracking) = &mut state.tracking else { return scores.to_vec() };
        let mut out = Vec::with_capacity(scores.len());
        let clip = |index: usize| part.windows.origin(index as u32).clip;
        let mut start = 0;
        while start < scores.len() {
            let end = (start..scores.len()).find(|&index| clip(index) != clip(start)).unwrap_or(scores.len());
            let shift = tracking.current() - state.threshold;
            out.extend(scores[start..end].iter().map(|score| score - shift));
            tracking.observe(&scores[start..end]);
            start = end;
        }
        out
    }

    fn audited(&self, state: &mut ChainState, answers: &[Answer], unflagged: u64) -> Option<Audit> {
        if self.recipe().audit_share <= 0.0 {
            return None;
        }
        state.audit.unflagged += unflagged;
        for answer in answers {
            let Some(verdict) = answer.verdict else { continue };
            match answer.question.reason {
                Reason::Flagged => state.audit.confirmed += if verdict.is_anomalous() { answer.question.windows.len() as u64 } else { 0 },
                Reason::Audit => {
                    state.audit.sampled += 1;
                    state.audit.missed_in_sample += u64::from(verdict.is_anomalous());
                }
            }
        }
        Some(state.audit)
    }
}

fn flagged_quantiles(scores: &[f64], threshold: f64) -> Option<[f64; QUANTILES.len()]> {
    let mut flagged: Vec<f64> = scores.iter().copied().filter(|score| *score >= threshold).collect();
    flagged.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| quantile(&flagged, share).unwrap_or(f64::NAN);
    (!flagged.is_empty()).then(|| QUANTILES.map(at))
}

fn copy(from: &WindowSet, window: u32, anomalous: bool, to: &mut WindowSet) {
    to.push(from.window(window), anomalous, from.origin(window));
}
