//! Active learning phase, one iteration per slice: what is asked, and what trains once the answers are there.

use crate::dataset::windows::Origin;
use crate::phase::al_light::{RollingMaxima, band};
use crate::phase::event_group::{GAP_FRAMES_MAX, QUESTION_WINDOWS_MAX, group, questions as event_questions};
use crate::phase::methodology::{Recipe, Review, TrainingRule};
use crate::phase::pseudo_label::{PseudoLabels, split};
use crate::phase::verdict::{Annotator, Verdict};
use crate::query::{self, Embeddings, Pool};
use alfred_synth::random::Random;

/// A slice as the current weights see it.
#[derive(Clone, Copy, Debug)]
pub struct ScoredSlice<'s> {
    /// Anomaly score of each window.
    pub scores: &'s [f64],
    /// Where each window came from; as long as `scores`.
    pub origins: &'s [Origin],
    /// Cheap embedding of each window, for strategies that look at diversity.
    pub embeddings: &'s Embeddings,
    /// The threshold in force.
    pub threshold: f64,
}

/// Why a window is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Reason {
    /// It was flagged.
    Flagged,
    /// It was not: a random sample of what people would never see.
    Audit,
}

/// Windows that are shown as one and get one verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Their numbers.
    pub windows: Vec<u32>,
    /// Why.
    pub reason: Reason,
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// `None`: skipped or unsure.
    pub verdict: Option<Verdict>,
}

/// What is asked about a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The questions, most wanted first.
    pub questions: Vec<Question>,
    /// Questions that full active learning would have asked: one per flagged window.
    pub full: usize,
    /// Windows below the threshold: what the audit sample was drawn from.
    pub unflagged: usize,
}

/// Chooses the questions of a slice. `rolling` is AL Light's memory and moves on with every slice.
pub fn ask(recipe: &Recipe, slice: &ScoredSlice<'_>, rolling: &mut RollingMaxima, random: &mut Random) -> Asked {
    let PseudoLabels { flagged, normal } = split(slice.scores, slice.threshold);
    let single = |window: u32| Question { windows: vec![window], reason: Reason::Flagged };
    let events = group(&flagged, slice.origins, GAP_FRAMES_MAX);
    // Moved on in every methodology, so that figures can show theta_med beside any of them.
    let in_band = band(&events, slice.scores, rolling);
    let mut questions: Vec<Question> = match recipe.review {
        Review::Nobody => Vec::new(),
        Review::AllFlagged => flagged.iter().copied().map(single).collect(),
        Review::Band => in_band.into_iter().map(single).collect(),
        Review::Budgeted { preference, budget_share, by_event } => {
            let units = if by_event {
                event_questions(&events, QUESTION_WINDOWS_MAX)
            } else {
                flagged.iter().map(|&window| vec![window]).collect()
            };
            let budget = (budget_share.clamp(0.0, 1.0) * units.len() as f64).ceil() as usize;
            let pool = Pool { units: &units, scores: slice.scores, embeddings: slice.embeddings, threshold: slice.threshold };
            let chosen = query::choose(preference, &pool, budget, random);
            chosen.into_iter().map(|unit| Question { windows: units[unit].clone(), reason: Reason::Flagged }).collect()
        }
    };
    if recipe.audit_share > 0.0 {
        questions.extend(audit(recipe.audit_share, questions.len(), &normal, random));
    }
    Asked { questions, full: flagged.len(), unflagged: normal.len() }
}

/// A random sample of single windows below the threshold, so many that they are `share` of all questions.
fn audit(share: f64, others: usize, normal: &[u32], random: &mut Random) -> Vec<Question> {
    let share = share.clamp(0.0, 0.99);
    let count = ((others as f64 * share / (1.0 - share)).ceil() as usize).min(normal.len());
    let mut shuffled = normal.to_vec();
    random.shuffle(&mut shuffled);
    shuffled.truncate(count);
    shuffled.into_iter().map(|window| Question { windows: vec![window], reason: Reason::Audit }).collect()
}

/// Puts every question to the annotator.
pub fn answer(asked: Asked, annotator: &mut dyn Annotator) -> Vec<Answer> {
    let answer = |question: Question| Answer { verdict: annotator.verdict(&question.windows), question };
    asked.questions.into_iter().map(answer).collect()
}

/// What trains, by window number; no window is in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainingSet {
    /// As normal.
    pub normal: Vec<u32>,
    /// As anomalous; empty unless the recipe is supervised.
    pub anomalous: Vec<u32>,
}

/// The training set of a slice. `source_flagged` are the windows that the K-1 weights flag; only pseudo-continual learning needs them.
#[must_use]
pub fn training_set(recipe: &Recipe, slice: &ScoredSlice<'_>, answers: &[Answer], source_flagged: &[u32]) -> TrainingSet {
    let mut role: Vec<Option<Verdict>> = match recipe.training {
        TrainingRule::Nothing => return TrainingSet::default(),
        TrainingRule::Everything => vec![Some(Verdict::Normal); slice.scores.len()],
        TrainingRule::PseudoNormalBySource => {
            let mut role = vec![Some(Verdict::Normal); slice.scores.len()];
            source_flagged.iter().for_each(|&window| role[window as usize] = None);
            role
        }
        TrainingRule::PseudoNormalAndConfirmed => {
            // Written so that a NaN is not normal.
            slice.scores.iter().map(|&score| if score < slice.threshold { Some(Verdict::Normal) } else { None }).collect()
        }
    };
    if recipe.training == TrainingRule::PseudoNormalAndConfirmed {
        for answer in answers {
            for &window in &answer.question.windows {
                // A skipped audit question leaves its window as it was; a skipped flagged one trains nothing anyway.
                if let (Some(verdict), Some(place)) = (answer.verdict, role.get_mut(window as usize)) {
                    *place = Some(verdict);
                }
            }
        }
    }
    let of = |wanted: Verdict| (0_u32..).zip(&role).filter(|(_, role)| **role == Some(wanted)).map(|(window, _)| window).collect();
    let anomalous: Vec<u32> = of(Verdict::Anomalous);
    TrainingSet { normal: of(Verdict::Normal), anomalous: if recipe.supervised { anomalous } else { Vec::new() } }
}
