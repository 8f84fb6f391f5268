//! The questions that the experiment is there to answer, each with figures and intervals.
//!
//! Differences are paired: both methodologies are judged on the same clips, and a bootstrap resamples clips, camera by camera, for both alike.
//! Decisions are summed over the seeds first, so an interval speaks of the clips, not of the seeds.

use crate::experiment::cells::saving;
use crate::experiment::head_tables::{LOSS_MAX, PAPER_SAVING, unseen_cells, unseen_summary};
use crate::experiment::record::{Cell, sum};
use crate::experiment::schedule::{Results, model_name};
use crate::experiment::settings::Settings;
use crate::experiment::tables::{Table, held_out_ebi, mean, settings_line, tenth};
use crate::metric::confusion::Confusion;
use crate::metric::quantile::quantile;
use alfred_synth::random::Random;

/// Held-out EBI points that the verdict head is to bring over active learning.
const HEAD_GAIN_AIM: f64 = 12.0;
/// AUC points that it is to bring on classes that nobody judged.
const UNSEEN_GAIN_AIM: f64 = 10.0;
/// Resamples of the paired bootstrap.
const RESAMPLES: usize = 500;
/// Its seed.
const SEED: u64 = 5;

/// A difference in EBI, as a share, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// On all clips.
    pub value: f64,
    /// 2.5 % quantile.
    pub low: f64,
    /// 97.5 % quantile.
    pub high: f64,
}

impl Gain {
    fn text(gain: Option<Self>) -> String {
        gain.map_or_else(|| "-".into(), |g| format!("{:+.1} [{:+.1}, {:+.1}]", 100.0 * g.value, 100.0 * g.low, 100.0 * g.high))
    }
}

/// Which decisions are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Train slices, cumulative, by the pair in force.
    Train,
    /// Held-out validation videos after the last slice.
    HeldOut,
}

/// Decisions by clip of the cells, summed over seeds; one list per camera.
fn by_camera(settings: &Settings, results: &Results, model: &str, methodology: &str, judged: Judged) -> Vec<Vec<Confusion>> {
    let of_cell = |cell: &Cell| match judged {
        Judged::HeldOut => cell.held_out_by_clip().to_vec(),
        Judged::Train => cell.steps.iter().flat_map(|step| step.train_by_clip.iter().copied()).collect(),
    };
    let camera = |camera: &String| {
        let mut clips: Vec<Confusion> = Vec::new();
        for cell in results.of(model, methodology, Some(camera)) {
            let own = of_cell(cell);
            clips.resize(clips.len().max(own.len()), Confusion::default());
            clips.iter_mut().zip(&own).for_each(|(all, own)| all.merge(own));
        }
        clips
    };
    settings.cameras.iter().map(camera).collect()
}

/// Mean over cameras of the difference in EBI, `new` less `old`; the lists are by camera and clip, in the same order. Clips on which only one
/// of them decided anything are left out.
#[must_use]
pub fn gain(old: &[Vec<Confusion>], new: &[Vec<Confusion>]) -> Option<Gain> {
    if old.is_empty() || old.len() != new.len() || old.iter().zip(new).any(|(old, new)| old.is_empty() || old.len() != new.len()) {
        return None;
    }
    let both = |old: &[Confusion], new: &[Confusion]| -> Vec<usize> {
        (0..old.len()).filter(|&clip| old[clip].total() > 0 && new[clip].total() > 0).collect()
    };
    let shared: Vec<Vec<usize>> = old.iter().zip(new).map(|(old, new)| both(old, new)).collect();
    if shared.iter().any(Vec::is_empty) {
        return None;
    }
    let difference = |pick: &mut dyn FnMut(usize) -> Vec<usize>| {
        mean(old.iter().zip(new).zip(&shared).map(|((old, new), shared)| {
            let chosen = pick(shared.len());
            let ebi = |clips: &[Confusion]| sum(&chosen.iter().map(|&place| clips[shared[place]]).collect::<Vec<_>>()).ebi();
            Some(ebi(new)? - ebi(old)?)
        }))
    };
    let value = difference(&mut |clips| (0..clips).collect())?;
    let mut random = Random::new(SEED);
    let mut drawn: Vec<f64> =
        (0..RESAMPLES).filter_map(|_| difference(&mut |clips| (0..clips).map(|_| random.below(clips)).collect())).collect();
    drawn.sort_unstable_by(f64::total_cmp);
    Some(Gain { value, low: quantile(&drawn, 0.025)?, high: quantile(&drawn, 0.975)? })
}

fn compare(settings: &Settings, results: &Results, model: &str, old: &str, new: &str, judged: Judged) -> Vec<Option<Gain>> {
    let (old, new) = (by_camera(settings, results, model, old, judged), by_camera(settings, results, model, new, judged));
    let each = (0..settings.cameras.len()).map(|camera| gain(&old[camera..=camera], &new[camera..=camera]));
    each.chain([gain(&old, &new)]).collect()
}

/// The comparisons that are asked about: title, old, new.
const QUESTIONS: [(&str, &str, &str); 12] = [
    ("threshold: source pair to camera's threshold", "source", "threshold_only"),
    ("weights: active learning, on top of the threshold", "threshold_only", "active_learning"),
    ("both: source pair to active learning", "source", "active_learning"),
    ("active learning less continual", "continual", "active_learning"),
    ("active learning less pseudo-continual", "pseudo_continual", "active_learning"),
    ("AL Light less pseudo-continual", "pseudo_continual", "al_light"),
    ("AL Light less active learning", "active_learning", "al_light"),
    ("AL, one verdict for two seconds of an event, less active learning", "active_learning", "al_event"),
    ("gated less active learning, on the clips that the gate has not seen", "active_learning", "gated"),
    ("verdict head less active learning", "active_learning", "verdict_head"),
    ("verdict head on a quarter of the labels less active learning", "active_learning", "head_budget"),
    ("verdict head on events less active learning", "active_learning", "head_event"),
];

/// Gains of a model, one row per question.
#[must_use]
pub fn gains(settings: &Settings, results: &Results, model: &str, judged: Judged) -> Table {
    let row = |&(title, old, new): &(&str, &str, &str)| {
        let all = compare(settings, results, model, old, new, judged);
        std::iter::once(title.to_owned()).chain(all.into_iter().map(Gain::text)).collect::<Vec<String>>()
    };
    let (name, what) = match judged {
        Judged::HeldOut => ("gains_held_out", "held-out EBI"),
        Judged::Train => ("gains_train", "cumulative EBI on the train slices"),
    };
    Table {
        name,
        title: format!("{model}: gains in {what}, points, with 95 % intervals over clips"),
        head: std::iter::once("question".to_owned()).chain(settings.cameras.iter().cloned()).chain(["mean".into()]).collect(),
        rows: QUESTIONS.iter().map(row).filter(|row| row.iter().skip(1).any(|cell| cell != "-")).collect(),
    }
}

/// How the aims stand.
fn aims(settings: &Settings, results: &Results, model: &str) -> String {
    let mut lines = Vec::new();
    let cameras = |old: &str, new: &str, judged: Judged| {
        let gains = compare(settings, results, model, old, new, judged);
        let known: Vec<Gain> = gains.iter().take(settings.cameras.len()).copied().flatten().collect();
        (known.len() == settings.cameras.len()).then(|| known.iter().filter(|gain| gain.value > 0.0).count())
    };
    for (what, judged) in [("held-out EBI", Judged::HeldOut), ("cumulative EBI", Judged::Train)] {
        if let Some(count) = cameras("source", "active_learning", judged) {
            lines.push(format!(
                "- {model}: adapted pair (active learning) above the source pair in {what} on {count} of {} cameras.",
                settings.cameras.len()
            ));
        }
    }
    let score = |methodology: &str| held_out_ebi(results.of(model, methodology, None));
    if let Some(reference) = score("active_learning") {
        let others = settings.methodologies.iter().filter(|methodology| methodology.name != "active_learning");
        let best = others.filter_map(|methodology| Some((methodology.name, score(methodology.name)?))).max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((name, value)) = best {
            let points = 100.0 * (value - reference);
            lines.push(format!(
                "- {model}: best methodology by held-out EBI: {name}, {} % ({points:+.1} points against active learning).",
                tenth(Some(value))
            ));
        }
        let labels = |methodology: &str| mean(results.of(model, methodology, None).map(|cell| Some(cell.labels().0 as f64)));
        let full = labels("active_learning").unwrap_or(f64::NAN);
        let cheap = settings.methodologies.iter().filter_map(|methodology| {
            let (asked, value) = (labels(methodology.name)?, score(methodology.name)?);
            (asked > 0.0 && asked <= 0.5 * full && value >= reference).then_some((methodology.name, asked, value))
        });
        for (name, asked, value) in cheap {
            lines.push(format!(
                "- {model}: {name} reaches active learning's held-out EBI ({} against {} %) with {:.1} % of its labels.",
                tenth(Some(value)),
                tenth(Some(reference)),
                100.0 * asked / full
            ));
        }
    }
    lines.extend(head_aims(settings, results, model));
    lines.join("\n")
}

/// The aims about the verdict head, in points with their intervals.
fn head_aims(settings: &Settings, results: &Results, model: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let said = |met: bool| if met { "met" } else { "NOT met" };
    let all = compare(settings, results, model, "active_learning", "verdict_head", Judged::HeldOut);
    if let Some(gain) = all.last().copied().flatten() {
        lines.push(format!(
            "- {model}: verdict head less active learning, held-out EBI, mean over cameras: {} points; aim of {HEAD_GAIN_AIM:+.0}: {}.",
            Gain::text(Some(gain)),
            said(100.0 * gain.value >= HEAD_GAIN_AIM)
        ));
    }
    if let Some(summary) = unseen_summary(&unseen_cells(results, model, "verdict_head")) {
        let [gain, low, high] = summary.gain.map(|gain| 100.0 * gain);
        let list = |pairs: &[(String, f64)]| {
            let named: Vec<String> = pairs.iter().map(|(name, gain)| format!("{name} {:+.1}", 100.0 * gain)).collect();
            if named.is_empty() { "none".to_owned() } else { named.join(", ") }
        };
        let worst = summary.by_class.first().map_or(f64::NAN, |(_, gain)| *gain);
        lines.push(format!(
            "- {model}: classes left out of the verdicts, AUC-ROC of the head less that of the density score, mean of {} cells (camera x class): \
             {gain:+.1} [{low:+.1}, {high:+.1}] points; aim of {UNSEEN_GAIN_AIM:+.0}: {}.",
            summary.cells,
            said(gain >= UNSEEN_GAIN_AIM)
        ));
        lines.push(format!(
            "- {model}: by class, mean over its cameras: {}; no class more than {:.0} below: {}.",
            list(&summary.by_class),
            100.0 * LOSS_MAX,
            said(worst >= -LOSS_MAX)
        ));
        lines.push(format!(
            "- {model}: single cells more than {:.0} below ({} of {}): {}.",
            100.0 * LOSS_MAX,
            summary.worse.len(),
            summary.cells,
            list(&summary.worse)
        ));
    }
    let steps: Vec<f64> =
        results.of(model, "al_light", None).flat_map(|cell| &cell.steps).filter_map(|step| saving(step.labels, step.labels_full)).collect();
    if let Some(least) = steps.iter().copied().min_by(f64::total_cmp) {
        let at_paper = steps.iter().filter(|saved| **saved >= PAPER_SAVING).count();
        lines.push(format!(
            "- {model}: AL Light saves at least the paper's {:.2} % of labels in {at_paper} of {} steps; least {:.1} %, mean {:.1} %.",
            100.0 * PAPER_SAVING,
            steps.len(),
            100.0 * least,
            100.0 * steps.iter().sum::<f64>() / steps.len() as f64
        ));
    }
    lines
}

/// The answers as markdown.
#[must_use]
pub fn markdown(settings: &Settings, results: &Results) -> String {
    let mut text = format!("## Answers\n\n{}.\n\n", settings_line(settings));
    for &model in &settings.models {
        let model = model_name(model);
        text.push_str(&gains(settings, results, &model, Judged::HeldOut).markdown());
        text.push_str(&gains(settings, results, &model, Judged::Train).markdown());
        text.push_str(&aims(settings, results, &model));
        text.push_str("\n\n");
    }
    text
}
