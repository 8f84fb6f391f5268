//! One round of a camera: a slice is closed, a candidate made, judged, and shipped or refused.

use crate::cycle::adapt::{WINDOWS_MIN, fine_tuned, flagged_by_source, head_for, training_windows};
use crate::cycle::cross_fit::CrossFit;
use crate::cycle::footage::DataPath;
use crate::cycle::judge::{Eer, Judged, judge, plan};
use crate::cycle::material::{Quota, Slice, Starts, Strata, Validation, bounded, joining, stretches};
use crate::cycle::pair::Pair;
use crate::cycle::settings::CycleSettings;
use crate::cycle::ship::{Papers, WHO, build_bundle, roll_out};
use crate::error::HostError;
use crate::metric::bootstrap::{Estimate, Interval};
use crate::metric::confusion::Confusion;
use crate::phase::gate::{LOSS_MAX, compare};
use crate::phase::methodology::{Methodology, ThresholdFrom, TrainingRule};
use crate::threshold::choice::{Choice, Refusal};
use alfred_bundle::format::{Bundle, SIGNATURE_BYTES, ThresholdPolicy, read};
use alfred_bundle::signature::SecretKey;
use alfred_store::Store;
use alfred_store::cycle::{CycleState, Phase};
use alfred_store::device::Device;
use alfred_store::evaluation::{Evaluation, Outcome, ValidationScore};
use alfred_synth::random::Random;
use std::fs;
use std::path::Path;

/// Share of what is judged in warm-up that joins the validation set; the rest waits for training.
const WARM_UP_SHARE: f64 = 0.6;
/// Name of the EER threshold's policy in the database.
pub const POLICY_EER: &str = "eer";
/// Name of a threshold that a person set.
pub const POLICY_GIVEN: &str = "given";

/// What a round needs besides the database.
pub struct Tools {
    /// The settings.
    pub settings: CycleSettings,
    /// The source pair.
    pub source: Pair,
    /// The host's key.
    pub key: SecretKey,
}

impl Tools {
    /// Reads source weights and key.
    ///
    /// # Errors
    /// [`HostError`] names the file and the mend.
    pub fn read(settings: CycleSettings) -> Result<Self, HostError> {
        let path = &settings.source_weights;
        let source = Pair::of_weights(fs::read(path).map_err(HostError::file(path))?, None, path)?;
        let key = crate::bundle_command::read_key(&settings.key)?;
        Ok(Self { settings, source, key })
    }
}

/// What a round did.
#[derive(Clone, Debug)]
pub struct Round {
    /// The line that was kept.
    pub evaluation: Evaluation,
    /// The camera's state afterwards.
    pub state: CycleState,
}

/// The camera as its devices run it.
struct Camera {
    /// Revision that is confirmed there; 0: the model file.
    confirmed: u64,
    in_force: Pair,
    path: DataPath,
}

fn store_fault(error: impl std::fmt::Display) -> HostError {
    HostError::argument("the database", error)
}

/// Whether a bundle is still on its way at a camera: nothing else is built for it until then. A revision that devices never took up
/// (none of them is there) does not count.
///
/// # Errors
/// [`HostError::Argument`] when the database fails.
pub fn is_shipping(store: &Store, camera: &str) -> Result<bool, HostError> {
    let wanted = store.cameras().map_err(store_fault)?.into_iter().find(|one| one.name == camera).and_then(|one| one.desired_revision);
    let Some(wanted) = wanted else { return Ok(false) };
    let deployments = store.deployments(Some(camera)).map_err(store_fault)?;
    let has_ended = |device: &Device| {
        let stage = deployments.iter().find(|one| one.device == device.name && one.revision == wanted).map(|one| one.stage.as_str());
        device.bundle_revision >= Some(wanted) || matches!(stage, Some("confirmed" | "refused" | "reverted"))
    };
    let devices = store.devices().map_err(store_fault)?;
    Ok(devices.iter().any(|device| device.camera == camera && !device.is_revoked && device.boot.is_some() && !has_ended(device)))
}

/// The pair in force: that of the bundle that the camera's devices have confirmed, or the source pair.
///
/// # Errors
/// [`HostError`] when the database lacks it.
pub fn pair_in_force(store: &Store, camera: &str, source: &Pair) -> Result<Pair, HostError> {
    let devices = store.devices().map_err(store_fault)?;
    let confirmed = devices.iter().filter(|device| device.camera == camera && !device.is_revoked);
    match confirmed.filter_map(|device| device.bundle_revision).max().unwrap_or(0) {
        0 => Ok(source.clone()),
        revision => pair_of(store, camera, revision, source),
    }
}

/// The pair of a bundle.
///
/// # Errors
/// [`HostError`] when the database lacks the bundle or its model.
pub fn pair_of(store: &Store, camera: &str, revision: u64, source: &Pair) -> Result<Pair, HostError> {
    let place = Path::new("the database");
    let (bytes, model) = store.bundle_whole(camera, revision).map_err(store_fault)?;
    let bundle: Bundle<'_> = read(&bytes[..bytes.len().saturating_sub(SIGNATURE_BYTES)])
        .map_err(|code| HostError::data(place, format!("bundle {revision} of {camera}"), code))?;
    let threshold = Some(bundle.decision.threshold().value());
    let mut pair = match model {
        Some(model) => Pair::of_weights(store.model_bytes(&model).map_err(store_fault)?, threshold, place)?,
        // Built elsewhere: what the device runs is known, what to fine-tune from is not.
        None => Pair { parameters: bundle.parameters, ..source.clone() },
    };
    pair.revision = revision;
    pair.threshold = bundle.decision.threshold().value();
    pair.head = bundle.head.to_vec();
    Ok(pair)
}

fn camera_now(store: &Store, camera: &str, tools: &Tools) -> Result<Camera, HostError> {
    let in_force = pair_in_force(store, camera, &tools.source)?;
    let path = DataPath::new(in_force.window_frames(), in_force.scale)?;
    let wanted = format!("{:016x}", path.fingerprint());
    let devices = store.devices().map_err(store_fault)?;
    for device in devices.iter().filter(|device| device.camera == camera && !device.is_revoked) {
        if device.fingerprint.as_ref().is_some_and(|found| *found != wanted) {
            let mend = "the host computes thresholds for the default [window] and [smoothing] of the weights' scale: remove what the device's configuration changes";
            return Err(HostError::argument(format!("device {}", device.name), mend));
        }
    }
    Ok(Camera { confirmed: in_force.revision, in_force, path })
}

/// A candidate pair under the validation set.
struct Candidate {
    pair: Pair,
    judged: Judged,
    choice: Result<Choice, Refusal>,
    /// What its threshold does to events that did not choose it.
    fit: Option<CrossFit>,
    what: &'static str,
}

impl Candidate {
    /// Its decisions, member by member, as honestly as the set allows: at a threshold of its own cross-fitted, at another one as they are.
    fn decisions(&self, has_own_threshold: bool) -> Result<Vec<Confusion>, String> {
        if !has_own_threshold {
            return Ok(self.judged.decisions(f64::from(self.pair.threshold)));
        }
        let fit = self.fit.as_ref().ok_or("too few events, or too few people, to judge a threshold by events that did not choose it")?;
        Ok(fit.decisions.clone())
    }
}

fn candidate(pair: Pair, what: &'static str, validation: &Validation, tools: &Tools, path: &mut DataPath) -> Result<Candidate, HostError> {
    let judged = judge(&validation.members(), &pair, path)?;
    let choice = judged.threshold(tools.settings.events_per_class_min, tools.settings.seed);
    let threshold = choice.as_ref().map_or(pair.threshold, |choice| choice.threshold as f32);
    let fit = choice.is_ok().then(|| judged.cross_fitted(tools.settings.seed)).flatten();
    Ok(Candidate { pair: Pair { threshold, ..pair }, judged, choice, fit, what })
}

/// Closes the slice of a camera: everything that came since the last one.
///
/// # Errors
/// [`HostError`] when the database, the weights or the training fail; then nothing has changed.
pub fn close_slice(store: &mut Store, camera: &str, tools: &Tools, why: &str, now_ms: i64) -> Result<Round, HostError> {
    let state = store.cycle_state(camera).map_err(store_fault)?;
    let mut now = camera_now(store, camera, tools)?;
    let number = state.slice + 1;
    let mut random = Random::new(tools.settings.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ hash_of(camera));
    let items = store.judged_items(camera, state.item_last).map_err(store_fault)?;
    let item_last = items.last().map_or(state.item_last, |judged| judged.item.id);
    let mut starts = Starts::default();
    let frames = now.in_force.window_frames();
    let mut validation = Validation::read(store, camera, &mut starts, frames)?;
    let stretches = stretches(store, &bounded(items, &mut random), &mut starts, frames);
    let strata = Strata::of(&stretches);
    let slice = Slice::cut(stretches, &now.in_force, &mut now.path)?;
    let share = if state.phase == Phase::WarmUp { WARM_UP_SHARE } else { tools.settings.validation_share };
    let quota = Quota { share, least: validation.lacks(tools.settings.events_per_class_min) };
    validation.grow(joining(&slice.stretches, &slice.owners, quota, &mut random), number);
    let labels = store.camera_labels(camera).map_err(store_fault)?;
    let methodology = tools.settings.methodology(camera);
    let outcome = decide(store, camera, tools, methodology, &mut now, &slice, &validation, state.phase, &mut random)?;
    let next = CycleState {
        // Warm-up ends with the validation set: what its weights lack, training may bring.
        phase: if validation.is_complete(tools.settings.events_per_class_min) { Phase::ActiveLearning } else { state.phase },
        slice: number,
        item_last,
        labels_seen: labels,
        changed_ms: now_ms,
        ..state
    };
    let evaluation = settle(store, camera, tools, &now, &validation, &outcome, (&next, labels, why, &strata), now_ms)?;
    store.set_validation_items(camera, &validation.rows(), now_ms).map_err(store_fault)?;
    store.set_cycle_state(&next, WHO).map_err(store_fault)?;
    Ok(Round { evaluation, state: next })
}

fn hash_of(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// The candidate that was judged, and whether it may go out.
struct Decided {
    chosen: Candidate,
    /// In words, and whether the gate is open.
    verdict: Result<String, String>,
    source_ebi: Option<f64>,
    notes: String,
    /// The validation set under the pair in force.
    in_force_scores: Vec<ValidationScore>,
}

#[expect(clippy::too_many_arguments, reason = "one round's parts, named at the only call")]
fn decide(
    store: &Store,
    camera: &str,
    tools: &Tools,
    methodology: &Methodology,
    now: &mut Camera,
    slice: &Slice,
    validation: &Validation,
    phase: Phase,
    random: &mut Random,
) -> Result<Decided, HostError> {
    let (recipe, seed) = (&methodology.recipe, random.bits());
    let members = validation.members();
    let in_force = judge(&members, &now.in_force, &mut now.path)?;
    let old = in_force.decisions(f64::from(now.in_force.threshold));
    let source = judge(&members, &tools.source, &mut now.path)?;
    let source_ebi = source.confusion(f64::from(tools.source.threshold)).ebi();
    let mut notes = String::new();
    // The same weights with the camera's threshold: what new weights must not fall behind.
    let mut best = candidate(now.in_force.clone(), "weights as they were, threshold anew", validation, tools, &mut now.path)?;
    let threshold = f64::from(now.in_force.threshold);
    // Nothing trains in warm-up: what it brings makes the validation set.
    if phase == Phase::ActiveLearning && recipe.training != TrainingRule::Nothing {
        let flagged = flagged_by_source(recipe, slice, &tools.source, &mut now.path)?;
        let (set, trained) = training_windows(recipe, slice, validation, threshold, &flagged);
        notes = format!("{} normal and {} anomalous windows trained, {} held back", trained.normal, trained.anomalous, trained.held_back);
        if set.len() >= WINDOWS_MIN {
            let tuned = fine_tuned(&now.in_force, &set, seed)?;
            let tuned = candidate(tuned, "fine-tuned weights, threshold anew", validation, tools, &mut now.path)?;
            best = better(best, tuned, &mut notes, tools.settings.seed);
        } else {
            notes += ": too few to train";
        }
    }
    if recipe.verdict_head {
        match head_for(&best.pair, store, camera, (slice, threshold), validation, &mut now.path, random) {
            Ok(head) => {
                let headed = Pair { head, ..best.pair.clone() };
                let headed = candidate(headed, "verdict head, threshold anew", validation, tools, &mut now.path)?;
                best = better(best, headed, &mut notes, tools.settings.seed);
            }
            Err(why) => notes += &format!("; no verdict head: {why}"),
        }
    }
    let has_own_threshold = recipe.threshold == ThresholdFrom::Target;
    if !has_own_threshold {
        best.pair.threshold = tools.source.threshold;
        best.fit = None;
    }
    let decisions = best.choice.as_ref().map_err(ToString::to_string).and_then(|_| best.decisions(has_own_threshold));
    let verdict = match decisions {
        Err(why) => Err(why),
        Ok(new) => {
            let gate = compare(&old, &new, LOSS_MAX, &plan(tools.settings.seed));
            let is_same = best.pair.weights == now.in_force.weights && best.pair.head == now.in_force.head;
            let told = format!("EBI {:+.1} points against the pair in force (at least {:+.1})", 100.0 * gate.gain, 100.0 * gate.gain_low);
            match gate.open {
                true if is_same && best.pair.threshold == now.in_force.threshold => Err("nothing has changed".to_owned()),
                true => Ok(told),
                false => Err(format!("worse than the pair in force: {told}")),
            }
        }
    };
    Ok(Decided { chosen: best, verdict, source_ebi, notes, in_force_scores: in_force.scores })
}

/// The newer candidate, unless the validation set speaks against it.
fn better(old: Candidate, new: Candidate, notes: &mut String, seed: u64) -> Candidate {
    let verdict = match (&old.choice, &new.choice) {
        (Err(_), _) => return new,
        (Ok(_), Err(refusal)) => Err(refusal.to_string()),
        (Ok(_), Ok(_)) => old.decisions(true).and_then(|before| {
            let gate = compare(&before, &new.decisions(true)?, LOSS_MAX, &plan(seed));
            if gate.open { Ok(gate.gain) } else { Err(format!("EBI {:+.1} points", 100.0 * gate.gain)) }
        }),
    };
    match verdict {
        Ok(gain) => {
            *notes += &format!("; {}: EBI {:+.1} points on top of the threshold", new.what, 100.0 * gain);
            new
        }
        Err(why) => {
            *notes += &format!("; {} dropped: {why}", new.what);
            old
        }
    }
}

/// Builds the bundle of a candidate that may go out, and keeps how it was judged.
#[expect(clippy::too_many_arguments, reason = "one round's parts, named at the only call")]
fn settle(
    store: &mut Store,
    camera: &str,
    tools: &Tools,
    now: &Camera,
    validation: &Validation,
    decided: &Decided,
    (next, labels, why, strata): (&CycleState, u64, &str, &Strata),
    now_ms: i64,
) -> Result<Evaluation, HostError> {
    let Decided { chosen, verdict, in_force_scores, .. } = decided;
    let hash = validation.hash();
    let eer = chosen.judged.eer(tools.settings.seed);
    let revision = match verdict {
        Ok(_) => {
            let papers = Papers {
                camera,
                fingerprint: now.path.fingerprint(),
                parent: now.confirmed,
                policy: ThresholdPolicy::EqualErrorRate,
                policy_name: POLICY_EER,
                eer,
                validation_sha256: hash,
                quantiles: chosen.judged.quantiles,
                who: WHO,
            };
            Some(build_bundle(store, &chosen.pair, &papers, &tools.key, now_ms)?)
        }
        Err(_) => None,
    };
    let outcome = match revision {
        None => Outcome::Refused,
        Some(_) if next.is_held => Outcome::Held,
        Some(_) => Outcome::Promoted,
    };
    let sealed = Sealed { revision, outcome, eer, hash };
    let mut evaluation = evaluation_of(camera, validation, decided, (next, labels, why, strata), &sealed, now_ms);
    evaluation.id = store.add_evaluation(&evaluation, WHO).map_err(store_fault)?;
    store.set_validation_scores(camera, now.confirmed, in_force_scores).map_err(store_fault)?;
    if let Some(revision) = revision {
        store.set_validation_scores(camera, revision, &chosen.judged.scores).map_err(store_fault)?;
        if outcome == Outcome::Promoted {
            roll_out(store, camera, revision, WHO, now_ms)?;
        }
    }
    Ok(evaluation)
}

/// What became of a candidate besides its figures.
struct Sealed {
    revision: Option<u64>,
    outcome: Outcome,
    eer: Option<Eer>,
    hash: [u8; 32],
}

/// FNR, FPR and EBI of a candidate: cross-fitted where its threshold is the set's; else, and where that cannot be, at its threshold as it is.
fn rates_of(chosen: &Candidate) -> [Option<Estimate>; 3] {
    if let Some(CrossFit { false_negative_rate, false_positive_rate, ebi, .. }) = chosen.fit {
        return [false_negative_rate, false_positive_rate, ebi].map(Some);
    }
    let counts = chosen.judged.confusion(f64::from(chosen.pair.threshold));
    [counts.false_negative_rate(), counts.false_positive_rate(), counts.ebi()].map(|rate| rate.map(Estimate::plain))
}

/// The line of a candidate, with its figures.
fn evaluation_of(
    camera: &str,
    validation: &Validation,
    decided: &Decided,
    (next, labels, why, strata): (&CycleState, u64, &str, &Strata),
    sealed: &Sealed,
    now_ms: i64,
) -> Evaluation {
    let Decided { chosen, verdict, source_ebi, notes, .. } = decided;
    let Sealed { revision, outcome, eer, hash } = *sealed;
    let told = match verdict {
        Ok(told) | Err(told) => told,
    };
    let choice = chosen.choice.as_ref().ok();
    let rates = rates_of(chosen);
    let of = |interval: Option<Interval>| (interval.map(|i| i.low), interval.map(|i| i.high));
    let eer_ends = of(eer.and_then(|eer| eer.interval));
    let ebi_ends = of(rates[2].and_then(|ebi| ebi.interval));
    let auc_ends = of(choice.and_then(|choice| choice.intervals.auc_roc));
    let members = &validation.members;
    let anomalies = members.iter().filter(|(member, _)| member.is_anomalous).count() as u64;
    let missed =
        if strata.samples_judged > 0 { format!("; {:.1} % of the audit anomalous", 100.0 * strata.missed_share) } else { String::new() };
    Evaluation {
        id: 0,
        camera: camera.to_owned(),
        revision,
        at_ms: now_ms,
        outcome,
        reason: format!(
            "{told} ({}{}{notes}{missed}; slice {} closed by {why})",
            chosen.what,
            if notes.is_empty() || notes.starts_with(';') { "" } else { "; " },
            next.slice
        ),
        policy: POLICY_EER.to_owned(),
        threshold: choice.map(|_| f64::from(chosen.pair.threshold)),
        eer: eer.map(|eer| eer.rate),
        eer_low: eer_ends.0,
        eer_high: eer_ends.1,
        ebi: rates[2].map(|rate| rate.value),
        ebi_low: ebi_ends.0,
        ebi_high: ebi_ends.1,
        auc: choice.map(|choice| choice.auc_roc),
        auc_low: auc_ends.0,
        auc_high: auc_ends.1,
        fnr: rates[0].map(|rate| rate.value),
        fpr: rates[1].map(|rate| rate.value),
        source_ebi: *source_ebi,
        validation_events: members.len() as u64,
        validation_normals: members.len() as u64 - anomalies,
        validation_anomalies: anomalies,
        validation_sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        labels_used: labels,
    }
}
