//! Fine-tuning: what of a slice trains, by the camera's methodology, and what comes of it.

use crate::cycle::footage::DataPath;
use crate::cycle::material::{Slice, Starts, Validation, stretches};
use crate::cycle::pair::Pair;
use crate::dataset::windows::WindowSet;
use crate::error::HostError;
use crate::experiment::settings::training_recipe;
use crate::phase::active_learning::{Answer, Question, Reason, ScoredSlice, TrainingSet, training_set};
use crate::phase::methodology::{Recipe, TrainingRule};
use crate::phase::poison_guard::hold_back;
use crate::phase::pseudo_label::split;
use crate::phase::verdict::Verdict;
use crate::query::Embeddings;
use crate::train::architecture::{Architecture, TrainerOptions, trainer_of, write_weights};
use crate::train::checkpoint::Metadata;
use crate::train::run::train;
use crate::verdict_head::{HeadRecipe, HeadSample, train as train_head};
use alfred_core::scorer::Window;
use alfred_core::units::AnomalyScore;
use alfred_models::weights;
use alfred_store::Store;
use alfred_synth::random::Random;
use std::path::Path;

/// Windows below which fine-tuning would only add noise.
pub const WINDOWS_MIN: usize = 64;
/// Pseudo-normal windows that a head learns from at most; see the experiment's head stage.
const HEAD_NORMALS_MAX: usize = 600;

/// What trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trained {
    /// Windows as normal.
    pub normal: usize,
    /// Windows as anomalous.
    pub anomalous: usize,
    /// Pseudo-normals that the poisoning guard held back.
    pub held_back: usize,
}

/// People's verdicts on a slice as the phases know them.
#[must_use]
pub fn answers(slice: &Slice) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (place, stretch) in slice.stretches.iter().enumerate() {
        let Some(said) = stretch.said else { continue };
        let reason = if stretch.is_event { Reason::Flagged } else { Reason::Audit };
        let question = Question { windows: slice.windows_of(place), reason };
        answers.push(Answer { question, verdict: Some(Verdict::of(said)) });
    }
    answers
}

/// The windows of a slice that train, labelled, by the recipe; none of the validation set's, and none beside them.
#[must_use]
pub fn training_windows(
    recipe: &Recipe,
    slice: &Slice,
    validation: &Validation,
    threshold: f64,
    source_flagged: &[u32],
) -> (WindowSet, Trained) {
    let embeddings = Embeddings::of(&slice.windows);
    let scored = ScoredSlice { scores: &slice.scores, origins: &slice.origins, embeddings: &embeddings, threshold };
    let answers = answers(slice);
    let TrainingSet { mut normal, anomalous } = training_set(recipe, &scored, &answers, source_flagged);
    let mut trained = Trained::default();
    if recipe.poison_guard {
        let (mut confirmed, mut events) = (Embeddings::default(), Vec::new());
        for (event, answer) in answers.iter().enumerate().filter(|(_, answer)| answer.verdict == Some(Verdict::Anomalous)) {
            for &window in &answer.question.windows {
                confirmed.push(embeddings.get(window));
                events.push(event as u32);
            }
        }
        (normal, trained.held_back) = hold_back(&normal, &embeddings, &confirmed, &events);
    }
    let frames = slice.windows.frames() as u32;
    let may_train = |window: &u32| {
        let owner = &slice.stretches[slice.owners[*window as usize] as usize];
        !validation.holds(owner.item) && !validation.overlaps(&slice.origins[*window as usize], frames)
    };
    let mut set = WindowSet::new(slice.windows.frames());
    for (windows, is_anomalous) in [(&normal, false), (&anomalous, true)] {
        for &window in windows.iter().filter(|window| may_train(window)) {
            set.push(slice.windows.window(window), is_anomalous, slice.origins[window as usize]);
            *(if is_anomalous { &mut trained.anomalous } else { &mut trained.normal }) += 1;
        }
    }
    (set, trained)
}

/// Windows of a slice that the source pair flags; only pseudo-continual learning asks.
///
/// # Errors
/// [`HostError`] when the source pair makes no scorer.
pub fn flagged_by_source(recipe: &Recipe, slice: &Slice, source: &Pair, path: &mut DataPath) -> Result<Vec<u32>, HostError> {
    if recipe.training != TrainingRule::PseudoNormalBySource {
        return Ok(Vec::new());
    }
    let judged = Slice::cut(slice.stretches.clone(), source, path)?;
    Ok(split(&judged.scores, f64::from(source.threshold)).flagged)
}

/// Fine-tunes a pair's weights; batch-norm statistics are re-estimated at the end. The threshold stays for now, the head goes.
///
/// # Errors
/// [`HostError`] when a step is not finite.
pub fn fine_tuned(pair: &Pair, set: &WindowSet, seed: u64) -> Result<Pair, HostError> {
    let place = Path::new("the weights in force");
    let read = weights::read(&pair.weights).map_err(|fault| HostError::data(place, "weights", fault))?;
    let mut trainer = trainer_of(Architecture::StgNf, Some(&read), &TrainerOptions::default(), seed)?;
    train(trainer.as_mut(), set, None, &training_recipe(Architecture::StgNf).slice_plan(seed))?;
    let mut metadata = Metadata::new();
    if let Some(preprocessing) = read.preprocessing() {
        metadata.insert("preprocessing".into(), preprocessing.into());
    }
    Pair::of_weights(write_weights(trainer.as_ref(), &metadata), Some(pair.threshold), place)
}

/// Trains a verdict head for a pair on every verdict so far, but for those of the validation set, and on some pseudo-normals of the slice.
///
/// # Errors
/// Why there is none, in words; or the pair makes no scorer.
pub fn head_for(
    pair: &Pair,
    store: &Store,
    camera: &str,
    (slice, threshold): (&Slice, f64),
    validation: &Validation,
    path: &mut DataPath,
    random: &mut Random,
) -> Result<Vec<u8>, String> {
    let judged = store.judged_items_until(camera, i64::MAX).map_err(|error| error.to_string())?;
    let judged: Vec<_> = judged.into_iter().filter(|judged| !validation.holds(judged.item.id)).collect();
    let judged = stretches(store, &judged, &mut Starts::default(), pair.window_frames());
    let mut pseudo: Vec<usize> = (0..slice.stretches.len())
        .filter(|&place| {
            let stretch = &slice.stretches[place];
            !stretch.is_event && stretch.said.is_none() && !validation.holds(stretch.item)
        })
        .collect();
    random.shuffle(&mut pseudo);
    let plain = Pair { head: Vec::new(), threshold: threshold as f32, ..pair.clone() };
    let all: Vec<_> = judged.iter().chain(pseudo.iter().map(|&place| &slice.stretches[place])).cloned().collect();
    let cut = Slice::cut(all, &plain, path).map_err(|error| error.to_string())?;
    let mut scorer = plain.scorer().map_err(|error| error.to_string())?;
    let (mut samples, mut normals) = (Vec::new(), 0);
    let mut window = Window::EMPTY;
    window.set_frames(pair.window_frames());
    for place in 0..cut.owners.len() as u32 {
        let owner = cut.owners[place as usize];
        let stretch = &cut.stretches[owner as usize];
        if stretch.said.is_none() {
            normals += 1;
            if normals > HEAD_NORMALS_MAX {
                break;
            }
        }
        window.values_mut().copy_from_slice(cut.windows.window(place));
        let Some(density) = density(&mut scorer, &window) else { continue };
        samples.push(HeadSample::new(&window, density, stretch.said == Some(true), owner));
    }
    train_head(&samples, &HeadRecipe::default()).map(|head| head.to_bytes().to_vec()).map_err(|why| why.to_string())
}

fn density(scorer: &mut impl alfred_core::scorer::Scorer, window: &Window) -> Option<AnomalyScore> {
    let mut scores = [Err(alfred_core::scorer::ScoreFault::Engine)];
    scorer.score_batch(std::slice::from_ref(window), &mut scores);
    scores[0].ok()
}
