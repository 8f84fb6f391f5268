//! Methodologies: the paper's five, its two baselines without training, and ours. Each is a recipe of parts that can be switched.

use crate::query::Preference;

/// Which windows of a slice train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainingRule {
    /// None: the weights stay as they were.
    Nothing,
    /// Everything that arrives, as normal.
    Everything,
    /// Those that the K-1 weights pseudo-label normal.
    PseudoNormalBySource,
    /// Those that the current weights pseudo-label normal, and those that people call normal.
    PseudoNormalAndConfirmed,
}

/// Which windows people are asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Review {
    /// None.
    Nobody,
    /// Every flagged window.
    AllFlagged,
    /// The band of AL Light.
    Band,
    /// At most a share of what [`Review::AllFlagged`] would ask, chosen by preference.
    Budgeted {
        /// What is asked first.
        preference: Preference,
        /// Questions per question of `AllFlagged`, 0 to 1.
        budget_share: f64,
        /// One question, and one verdict, for a run of windows of one event (two seconds at most).
        by_event: bool,
    },
}

/// Which threshold goes with the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdFrom {
    /// The source domain's EER threshold, for good.
    Source,
    /// The camera's validation set: the EER threshold, anew for each set of weights.
    Target,
}

/// A methodology's parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// What trains.
    pub training: TrainingRule,
    /// What is asked.
    pub review: Review,
    /// Share of the questions that goes to windows BELOW the threshold, drawn at random: the audit of missed anomalies.
    pub audit_share: f64,
    /// Where the threshold comes from.
    pub threshold: ThresholdFrom,
    /// All slices at once, without steps.
    pub all_at_once: bool,
    /// A candidate is kept only if the validation set allows it.
    pub gated: bool,
    /// A bounded memory of earlier normals trains along.
    pub replay: bool,
    /// Confirmed anomalies train too, as anomalies.
    pub supervised: bool,
    /// Between validations the threshold follows the recent scores.
    pub tracking_threshold: bool,
    /// A per-camera head learns from all verdicts so far.
    pub verdict_head: bool,
    /// Pseudo-normals close to a confirmed anomaly do not train.
    pub poison_guard: bool,
}

impl Recipe {
    const SOURCE: Self = Self {
        training: TrainingRule::Nothing,
        review: Review::Nobody,
        audit_share: 0.0,
        threshold: ThresholdFrom::Source,
        all_at_once: false,
        gated: false,
        replay: false,
        supervised: false,
        tracking_threshold: false,
        verdict_head: false,
        poison_guard: false,
    };
    const TARGET: Self = Self { threshold: ThresholdFrom::Target, ..Self::SOURCE };
    const ACTIVE: Self = Self { training: TrainingRule::PseudoNormalAndConfirmed, review: Review::AllFlagged, ..Self::TARGET };

    const fn budgeted(preference: Preference, budget_share: f64, by_event: bool) -> Self {
        Self { review: Review::Budgeted { preference, budget_share, by_event }, ..Self::ACTIVE }
    }
}

/// A named recipe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Methodology {
    /// Name in tables and on the command line.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Whether it is in the paper.
    pub published: bool,
    /// Its parts.
    pub recipe: Recipe,
}

/// Questions of a budgeted strategy per question of full active learning.
pub const BUDGET_SHARE: f64 = 0.25;

const fn of(name: &'static str, summary: &'static str, published: bool, recipe: Recipe) -> Methodology {
    Methodology { name, summary, published, recipe }
}

/// Every methodology, in the order of tables.
pub const METHODOLOGIES: &[Methodology] = &[
    of("source", "K-1 weights with the source's EER threshold", true, Recipe::SOURCE),
    of("threshold_only", "K-1 weights with the camera's EER threshold", false, Recipe::TARGET),
    of("offline", "all slices at once", true, Recipe { training: TrainingRule::Everything, all_at_once: true, ..Recipe::TARGET }),
    of("continual", "everything that arrives trains", true, Recipe { training: TrainingRule::Everything, ..Recipe::TARGET }),
    of(
        "pseudo_continual",
        "what the K-1 weights call normal trains",
        true,
        Recipe { training: TrainingRule::PseudoNormalBySource, ..Recipe::TARGET },
    ),
    of("active_learning", "pseudo-normals and confirmed false positives train", true, Recipe::ACTIVE),
    of("al_light", "as active learning, only a score band reviewed", true, Recipe { review: Review::Band, ..Recipe::ACTIVE }),
    of("gated", "active learning; a candidate must pass the validation set", false, Recipe { gated: true, ..Recipe::ACTIVE }),
    of("replay", "active learning with a memory of earlier normals", false, Recipe { replay: true, ..Recipe::ACTIVE }),
    of(
        "supervised",
        "active learning; confirmed anomalies train as such",
        false,
        Recipe { supervised: true, poison_guard: true, ..Recipe::ACTIVE },
    ),
    of(
        "tracking_threshold",
        "active learning; the threshold follows recent scores",
        false,
        Recipe { tracking_threshold: true, ..Recipe::ACTIVE },
    ),
    of(
        "verdict_head",
        "active learning and a per-camera head on all verdicts",
        false,
        Recipe { verdict_head: true, poison_guard: true, ..Recipe::ACTIVE },
    ),
    of("al_random", "a quarter of the labels, at random", false, Recipe::budgeted(Preference::Random, BUDGET_SHARE, false)),
    of("al_margin", "a quarter of the labels, nearest the threshold", false, Recipe::budgeted(Preference::Margin, BUDGET_SHARE, false)),
    of("al_diversity", "a quarter of the labels, spread out", false, Recipe::budgeted(Preference::Diversity, BUDGET_SHARE, false)),
    of(
        "al_margin_diversity",
        "a quarter of the labels, near the threshold and spread out",
        false,
        Recipe::budgeted(Preference::MarginDiversity, BUDGET_SHARE, false),
    ),
    of("al_event", "one verdict for two seconds of an event", false, Recipe::budgeted(Preference::Margin, 1.0, true)),
    of(
        "head_budget",
        "verdict head; a quarter of the labels, near the threshold and spread out",
        false,
        Recipe { verdict_head: true, poison_guard: true, ..Recipe::budgeted(Preference::MarginDiversity, BUDGET_SHARE, false) },
    ),
    of(
        "head_event",
        "verdict head; one verdict for two seconds of an event, a tenth of them below the threshold",
        false,
        Recipe { verdict_head: true, poison_guard: true, audit_share: 0.1, ..Recipe::budgeted(Preference::MarginDiversity, 1.0, true) },
    ),
];

/// The methodology of a name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Methodology> {
    METHODOLOGIES.iter().find(|methodology| methodology.name == name)
}
