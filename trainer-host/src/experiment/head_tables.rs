//! Tables of ours beside the paper's: kinds of anomaly that nobody judged, labels saved step by step, and the audit of missed anomalies.

use crate::error::HostError;
use crate::experiment::cells::{percent, saving};
use crate::experiment::record::Cell;
use crate::experiment::schedule::{Results, model_name};
use crate::experiment::settings::Settings;
use crate::experiment::tables::{Table, mean, tenth};
use crate::metric::quantile::quantile;
use crate::train::checkpoint::replace;
use alfred_synth::random::Random;
use std::collections::BTreeMap;
use std::path::Path;

/// AUC-ROC, as a share, that a class may lose against the density score before it counts as worse.
pub const LOSS_MAX: f64 = 0.02;
/// Resamples of the interval of a mean over camera and class.
const RESAMPLES: usize = 1000;
/// Their seed.
const SEED: u64 = 6;

/// A class of a camera, means over seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct UnseenCell {
    /// Camera.
    pub camera: String,
    /// Class.
    pub class: String,
    /// AUC-ROC of the density score, 0 to 1.
    pub density: f64,
    /// That of heads whose verdicts lack the class.
    pub unseen: f64,
    /// That of heads whose verdicts hold it.
    pub judged: f64,
}

/// Every camera and class of a model's cells of one methodology.
#[must_use]
pub fn unseen_cells(results: &Results, model: &str, methodology: &str) -> Vec<UnseenCell> {
    let mut by_place: BTreeMap<(&str, &str), Vec<[f64; 3]>> = BTreeMap::new();
    for cell in results.of(model, methodology, None) {
        for class in cell.steps.last().into_iter().flat_map(|step| &step.unseen) {
            by_place.entry((&cell.camera, &class.class)).or_default().push([class.density_auc, class.unseen_auc, class.judged_auc]);
        }
    }
    let of = |((camera, class), figures): ((&str, &str), Vec<[f64; 3]>)| {
        let [density, unseen, judged] = [0, 1, 2].map(|place| figures.iter().map(|all| all[place]).sum::<f64>() / figures.len() as f64);
        UnseenCell { camera: camera.into(), class: class.into(), density, unseen, judged }
    };
    by_place.into_iter().map(of).collect()
}

/// What leaving classes out of the verdicts comes to, AUC-ROC as shares.
#[derive(Clone, Debug, PartialEq)]
pub struct UnseenSummary {
    /// Mean gain over camera and class, and the ends of its 95 % interval, cells resampled.
    pub gain: [f64; 3],
    /// (class, gain in the mean over its cameras), worst first.
    pub by_class: Vec<(String, f64)>,
    /// Camera and class that lose more than [`LOSS_MAX`], worst first.
    pub worse: Vec<(String, f64)>,
    /// Number of cells.
    pub cells: usize,
}

/// The summary of some cells; `None` of nothing.
#[must_use]
pub fn unseen_summary(cells: &[UnseenCell]) -> Option<UnseenSummary> {
    if cells.is_empty() {
        return None;
    }
    let gains: Vec<f64> = cells.iter().map(|cell| cell.unseen - cell.density).collect();
    let of = |pick: &mut dyn FnMut(usize) -> usize| (0..gains.len()).map(|place| gains[pick(place)]).sum::<f64>() / gains.len() as f64;
    let mut random = Random::new(SEED);
    let mut drawn: Vec<f64> = (0..RESAMPLES).map(|_| of(&mut |_| random.below(gains.len()))).collect();
    drawn.sort_unstable_by(f64::total_cmp);
    let mut classes: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    cells.iter().zip(&gains).for_each(|(cell, gain)| classes.entry(&cell.class).or_default().push(*gain));
    let mut by_class: Vec<(String, f64)> =
        classes.into_iter().map(|(class, gains)| (class.to_owned(), gains.iter().sum::<f64>() / gains.len() as f64)).collect();
    by_class.sort_by(|a, b| a.1.total_cmp(&b.1));
    let lost = cells.iter().zip(&gains).filter(|(_, gain)| **gain < -LOSS_MAX);
    let mut worse: Vec<(String, f64)> = lost.map(|(cell, gain)| (format!("{} {}", cell.camera, cell.class), *gain)).collect();
    worse.sort_by(|a, b| a.1.total_cmp(&b.1));
    Some(UnseenSummary {
        gain: [of(&mut |place| place), quantile(&drawn, 0.025)?, quantile(&drawn, 0.975)?],
        by_class,
        worse,
        cells: cells.len(),
    })
}

/// A row per class, a column per camera: AUC of density, of a head that never saw the class, of one that did.
fn unseen(settings: &Settings, results: &Results) -> Table {
    let mut rows = Vec::new();
    for &model in &settings.models {
        let model = model_name(model);
        let cells = unseen_cells(results, &model, "verdict_head");
        let classes: std::collections::BTreeSet<&str> = cells.iter().map(|cell| cell.class.as_str()).collect();
        let text = |cells: &[&UnseenCell]| {
            let of = |figure: fn(&UnseenCell) -> f64| tenth(mean(cells.iter().map(|cell| Some(figure(cell)))));
            if cells.is_empty() {
                return "-".to_owned();
            }
            format!("{} / {} / {}", of(|cell| cell.density), of(|cell| cell.unseen), of(|cell| cell.judged))
        };
        for class in classes {
            let of_class: Vec<&UnseenCell> = cells.iter().filter(|cell| cell.class == class).collect();
            let camera = |camera: &String| text(&of_class.iter().copied().filter(|cell| cell.camera == *camera).collect::<Vec<_>>());
            let by_camera = settings.cameras.iter().map(camera);
            rows.push([format!("{model} {class}")].into_iter().chain(by_camera).chain([text(&of_class)]).collect());
        }
        if !cells.is_empty() {
            let camera = |camera: &String| text(&cells.iter().filter(|cell| cell.camera == *camera).collect::<Vec<_>>());
            let all = text(&cells.iter().collect::<Vec<_>>());
            rows.push([format!("{model} mean")].into_iter().chain(settings.cameras.iter().map(camera)).chain([all]).collect());
        }
    }
    Table {
        name: "unseen_classes",
        title: "Classes left out of the verdicts: AUC-ROC of density score / head without the class / head with it, validation windows, %"
            .into(),
        head: ["model, class".to_owned()].into_iter().chain(settings.cameras.iter().cloned()).chain(["mean".into()]).collect(),
        rows,
    }
}

/// Labels that a methodology did not ask for, step by step, mean over cameras and seeds.
fn label_saving(settings: &Settings, results: &Results) -> Table {
    let mut rows = Vec::new();
    for &model in &settings.models {
        let model = model_name(model);
        for methodology in &settings.methodologies {
            let cells: Vec<&Cell> = results.of(&model, methodology.name, None).filter(|cell| cell.labels().0 < cell.labels().1).collect();
            if cells.iter().all(|cell| cell.labels().0 == 0) {
                continue;
            }
            let step = |number: usize| {
                let of = |cell: &&Cell| cell.steps.get(number).and_then(|step| saving(step.labels, step.labels_full));
                let known: Vec<f64> = cells.iter().filter_map(of).collect();
                (mean(known.iter().map(|saved| Some(*saved))), known)
            };
            let steps: Vec<(Option<f64>, Vec<f64>)> = (0..settings.slices).map(step).collect();
            let all: Vec<f64> = steps.iter().flat_map(|(_, known)| known).copied().collect();
            let above = all.iter().filter(|saved| **saved >= PAPER_SAVING).count() as f64 / all.len().max(1) as f64;
            let row = [format!("{model} {}", methodology.name)].into_iter().chain(steps.iter().map(|(saved, _)| tenth(*saved)));
            rows.push(row.chain([tenth(all.iter().copied().min_by(f64::total_cmp)), tenth(Some(above))]).collect());
        }
    }
    let steps = (0..settings.slices).map(|number| format!("slice {number}"));
    Table {
        name: "label_saving",
        title: "Labels saved against reviewing every flagged window, by step, mean over cameras and seeds, %".into(),
        head: ["model, methodology".to_owned()]
            .into_iter()
            .chain(steps)
            .chain(["least of any camera's step".into(), "steps at the paper's 24.35 or more".into()])
            .collect(),
        rows,
    }
}

/// What the paper says AL Light saves at every step (TSGAD, camera C0).
pub const PAPER_SAVING: f64 = 0.2435;

/// The audit's estimate of the FNR beside the truth, of the first seed.
fn audit(settings: &Settings, results: &Results) -> Table {
    let mut rows = Vec::new();
    for &model in &settings.models {
        let model = model_name(model);
        for methodology in &settings.methodologies {
            let text = |camera: &String| {
                let cell = results.of(&model, methodology.name, Some(camera)).next()?;
                let audit = cell.steps.last()?.audit?;
                let (rate, truth) = (audit.miss_rate()?, cell.cumulative()?.false_negative_rate()?);
                Some(format!(
                    "{:.0} [{:.0}, {:.0}] / {:.0} ({} asked)",
                    100.0 * rate.fnr,
                    100.0 * rate.low,
                    100.0 * rate.high,
                    100.0 * truth,
                    audit.sampled
                ))
            };
            let row: Vec<Option<String>> = settings.cameras.iter().map(text).collect();
            if row.iter().any(Option::is_some) {
                let cells = row.into_iter().map(|cell| cell.unwrap_or_else(|| "-".into()));
                rows.push([format!("{model} {}", methodology.name)].into_iter().chain(cells).collect());
            }
        }
    }
    Table {
        name: "audit",
        title: "Audit of missed anomalies: FNR estimated from a random sample below the threshold [95 % interval] / true FNR, cumulative, seed 0, %".into(),
        head: ["model, methodology".to_owned()].into_iter().chain(settings.cameras.iter().cloned()).collect(),
        rows,
    }
}

/// Tables with something in them.
#[must_use]
pub fn all(settings: &Settings, results: &Results) -> Vec<Table> {
    let tables = [unseen(settings, results), label_saving(settings, results), audit(settings, results)];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

/// Writes `unseen_cells.csv`: every camera, model, methodology, seed and class.
///
/// # Errors
/// [`HostError`] when it cannot be written.
pub fn write_unseen(path: &Path, results: &Results) -> Result<(), HostError> {
    let fault = |error: &dyn std::fmt::Display| HostError::data(path, error, "please report this");
    let mut writer = csv::Writer::from_writer(Vec::new());
    let columns = ["density_auc_percent", "unseen_auc_percent", "judged_auc_percent"];
    let head = ["camera", "model", "methodology", "seed", "class", "windows", "has_head"].into_iter().chain(columns);
    writer.write_record(head).map_err(|error| fault(&error))?;
    for cell in &results.cells {
        for class in cell.steps.last().into_iter().flat_map(|step| &step.unseen) {
            let names = [&cell.camera, &cell.model, &cell.methodology, &cell.seed.to_string(), &class.class].map(Clone::clone);
            let counts = [class.windows.to_string(), class.has_head.to_string()];
            let figures = [class.density_auc, class.unseen_auc, class.judged_auc].map(|auc| percent(Some(auc)));
            writer.write_record(names.into_iter().chain(counts).chain(figures)).map_err(|error| fault(&error))?;
        }
    }
    replace(path, &writer.into_inner().map_err(|error| fault(&error))?)
}
