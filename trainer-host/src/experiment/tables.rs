//! The paper's Tables 2 to 7 on this data set, and ours: held-out EBI, labels, what trained, and those of [`head_tables`].

use crate::error::HostError;
use crate::experiment::cells::{percent, saving};
use crate::experiment::head_tables;
use crate::experiment::record::{Cell, sum};
use crate::experiment::schedule::{Results, model_name};
use crate::experiment::settings::Settings;
use crate::metric::confusion::Confusion;
use crate::train::checkpoint::replace;
use std::fmt::Write;
use std::path::Path;

/// A table: a title, a head and rows of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Name of its csv file.
    pub name: &'static str,
    /// What it shows, with units.
    pub title: String,
    /// Column heads.
    pub head: Vec<String>,
    /// Rows, as wide as the head.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// As markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: Vec<String> = (0..self.head.len()).map(|column| if column == 0 { "---".into() } else { "---:".into() }).collect();
        format!("### {}\n\n{}{}{}\n", self.title, line(&self.head), line(&rule), self.rows.iter().map(|row| line(row)).collect::<String>())
    }
}

/// One decimal of a share as per cent; "-" where there is none.
#[must_use]
pub fn tenth(share: Option<f64>) -> String {
    share.filter(|share| share.is_finite()).map_or_else(|| "-".into(), |share| format!("{:.1}", 100.0 * share))
}

/// The mean; `None` of nothing or of something undefined.
#[must_use]
pub fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Option<Vec<f64>> = values.collect();
    values.filter(|values| !values.is_empty()).map(|values| values.iter().sum::<f64>() / values.len() as f64)
}

impl Results {
    /// The cells of a model and methodology, of one camera or of all.
    pub fn of<'r>(&'r self, model: &'r str, methodology: &'r str, camera: Option<&'r str>) -> impl Iterator<Item = &'r Cell> {
        self.cells
            .iter()
            .filter(move |cell| cell.model == model && cell.methodology == methodology && camera.is_none_or(|camera| cell.camera == camera))
    }
}

/// Every table.
#[must_use]
pub fn all(settings: &Settings, results: &Results) -> Vec<Table> {
    let split = settings.cameras.len().min(4);
    let (first, rest) = settings.cameras.split_at(split);
    let mut tables = vec![
        source_table(settings, results),
        pooled(settings, results),
        auc(settings, results, "table4", "Table 4: AUC-ROC on the balanced validation set, best step, %", |cell| cell.best_auc().0),
        auc(settings, results, "table5", "Table 5: AUC-PR on the balanced validation set, best step, %", |cell| cell.best_auc().1),
        per_camera(settings, results, "table6", "Table 6: FNR / FPR / EBI by camera, cumulative over the train slices, %", first),
    ];
    if !rest.is_empty() {
        tables.push(per_camera(
            settings,
            results,
            "table7",
            "Table 7: FNR / FPR / EBI by camera, cumulative over the train slices, %",
            rest,
        ));
    }
    tables.extend([held_out(settings, results), labels(settings, results), cost(settings, results)]);
    tables.extend(head_tables::all(settings, results));
    tables
}

/// All tables as markdown.
#[must_use]
pub fn markdown(settings: &Settings, results: &Results) -> String {
    let mut text = String::from(
        "## Tables\n\nMeans over the seeds. Rates are by window; no figure compares with the paper's, whose data is another.\n\n",
    );
    all(settings, results).iter().for_each(|table| text.push_str(&table.markdown()));
    text
}

/// One csv file a table.
///
/// # Errors
/// [`HostError`] when a file cannot be written.
pub fn write_csv(out: &Path, settings: &Settings, results: &Results) -> Result<(), HostError> {
    for table in all(settings, results) {
        let path = out.join(format!("{}.csv", table.name));
        let fault = |error: &dyn std::fmt::Display| HostError::data(&path, error, "please report this");
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&table.head).map_err(|error| fault(&error))?;
        for row in &table.rows {
            writer.write_record(row).map_err(|error| fault(&error))?;
        }
        replace(&path, &writer.into_inner().map_err(|error| fault(&error))?)?;
    }
    Ok(())
}

fn head(first: &str, rest: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(rest).collect()
}

/// A row a model and methodology, without those that have no cell.
fn rows(settings: &Settings, results: &Results, mut columns: impl FnMut(&str, &str) -> Vec<String>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for &model in &settings.models {
        let model = model_name(model);
        for methodology in &settings.methodologies {
            if results.of(&model, methodology.name, None).next().is_some() {
                let mut row = vec![format!("{model} {}", methodology.name)];
                row.extend(columns(&model, methodology.name));
                rows.push(row);
            }
        }
    }
    rows
}

fn source_table(settings: &Settings, results: &Results) -> Table {
    let rows = settings.models.iter().map(|&model| {
        let model = model_name(model);
        let of = |pick: fn(&(f64, f64)) -> f64| {
            mean(results.sources.iter().filter(|(name, ..)| *name == model).map(|(_, _, auc, _)| Some(pick(auc))))
        };
        let pair = |roc: Option<f64>, pr: Option<f64>| format!("{} / {}", tenth(roc), tenth(pr));
        let mut row = vec![model.clone(), pair(of(|auc| auc.0), of(|auc| auc.1))];
        for camera in &settings.cameras {
            // Weights that never train are K-1 weights after every step.
            let unadapted = || ["threshold_only", "source"].into_iter().flat_map(|name| results.of(&model, name, Some(camera)));
            row.push(pair(mean(unadapted().map(|cell| Some(cell.best_auc().0))), mean(unadapted().map(|cell| Some(cell.best_auc().1)))));
        }
        row
    });
    Table {
        name: "table2",
        title: "Table 2: AUC-ROC / AUC-PR of the K-1 weights on balanced windows, %".into(),
        head: head("model", std::iter::once("source".to_owned()).chain(settings.cameras.iter().cloned())),
        rows: rows.collect(),
    }
}

/// Mean over seeds of the decisions pooled over cameras.
fn pooled(settings: &Settings, results: &Results) -> Table {
    let columns = |model: &str, methodology: &str| {
        let by_seed: Vec<Option<Confusion>> = (0..settings.seeds)
            .map(|seed| {
                let cells = results.of(model, methodology, None).filter(|cell| cell.seed == seed);
                cells.map(Cell::cumulative).collect::<Option<Vec<_>>>().map(|all| sum(&all))
            })
            .collect();
        let of = |rate: fn(&Confusion) -> Option<f64>| tenth(mean(by_seed.iter().map(|all| all.as_ref().and_then(rate))));
        vec![of(Confusion::false_negative_rate), of(Confusion::false_positive_rate), of(Confusion::ebi)]
    };
    Table {
        name: "table3",
        title: "Table 3: all cameras pooled, cumulative over the train slices, %".into(),
        head: head("model, methodology", ["FNR", "FPR", "EBI"].into_iter().map(str::to_owned)),
        rows: rows(settings, results, columns),
    }
}

fn auc(settings: &Settings, results: &Results, name: &'static str, title: &str, figure: fn(&Cell) -> f64) -> Table {
    let columns = |model: &str, methodology: &str| {
        let by_camera: Vec<Option<f64>> = settings
            .cameras
            .iter()
            .map(|camera| mean(results.of(model, methodology, Some(camera)).map(|cell| Some(figure(cell)))))
            .collect();
        by_camera.iter().copied().chain([mean(by_camera.iter().copied())]).map(tenth).collect()
    };
    Table {
        name,
        title: title.into(),
        head: head("model, methodology", settings.cameras.iter().cloned().chain(["mean".into()])),
        rows: rows(settings, results, columns),
    }
}

fn per_camera(settings: &Settings, results: &Results, name: &'static str, title: &str, cameras: &[String]) -> Table {
    let columns = |model: &str, methodology: &str| {
        let camera = |camera: &String| {
            let of = |rate: fn(&Confusion) -> Option<f64>| {
                tenth(mean(results.of(model, methodology, Some(camera)).map(|cell| cell.cumulative().as_ref().and_then(rate))))
            };
            format!("{} / {} / {}", of(Confusion::false_negative_rate), of(Confusion::false_positive_rate), of(Confusion::ebi))
        };
        cameras.iter().map(camera).collect()
    };
    Table { name, title: title.into(), head: head("model, methodology", cameras.iter().cloned()), rows: rows(settings, results, columns) }
}

/// Held-out EBI of cells: decisions summed over clips, mean over seeds.
#[must_use]
pub fn held_out_ebi<'r>(cells: impl Iterator<Item = &'r Cell>) -> Option<f64> {
    mean(cells.map(|cell| sum(cell.held_out_by_clip()).ebi()))
}

fn held_out(settings: &Settings, results: &Results) -> Table {
    let columns = |model: &str, methodology: &str| {
        let by_camera: Vec<Option<f64>> =
            settings.cameras.iter().map(|camera| held_out_ebi(results.of(model, methodology, Some(camera)))).collect();
        by_camera.iter().copied().chain([mean(by_camera.iter().copied())]).map(tenth).collect()
    };
    Table {
        name: "held_out_ebi",
        title: "Held-out EBI after the last slice (threshold from half of the validation videos, rates on the other half; gated: on the half that its \
                gate has not seen, other clips than the other rows), %"
            .into(),
        head: head("model, methodology", settings.cameras.iter().cloned().chain(["mean".into()])),
        rows: rows(settings, results, columns),
    }
}

fn labels(settings: &Settings, results: &Results) -> Table {
    let columns = |model: &str, methodology: &str| {
        let cells = || results.of(model, methodology, None);
        let asked = mean(cells().map(|cell| Some(cell.labels().0 as f64)));
        let steps = cells().flat_map(|cell| &cell.steps).filter_map(|step| saving(step.labels, step.labels_full));
        let lowest = steps.fold(None, |lowest: Option<f64>, saving| Some(lowest.map_or(saving, |old| old.min(saving))));
        let whole = mean(cells().map(|cell| saving(cell.labels().0, cell.labels().1)));
        vec![asked.map_or_else(|| "-".into(), |asked| format!("{asked:.0}")), tenth(whole), tenth(lowest), tenth(held_out_ebi(cells()))]
    };
    let columns_head = ["verdicts per camera", "saved against all flagged, %", "least saved in a step, %", "held-out EBI, %"];
    Table {
        name: "labels",
        title: "Labels: verdicts asked for, and what they bring".into(),
        head: head("model, methodology", columns_head.into_iter().map(str::to_owned)),
        rows: rows(settings, results, columns).into_iter().filter(|row| row[1] != "0").collect(),
    }
}

fn cost(settings: &Settings, results: &Results) -> Table {
    let columns = |model: &str, methodology: &str| {
        let steps = || results.of(model, methodology, None).flat_map(|cell| &cell.steps);
        let count = steps().count().max(1) as f64;
        let mean_of = |figure: &dyn Fn(&crate::experiment::record::StepRecord) -> f64| steps().map(figure).sum::<f64>() / count;
        let wrong = steps().map(|step| step.trained_wrong).sum::<u64>() as f64;
        let normal = steps().map(|step| step.trained_normal).sum::<u64>().max(1) as f64;
        vec![
            format!("{:.0}", mean_of(&|step| step.trained_normal as f64)),
            percent(Some(wrong / normal)),
            format!("{:.1}", mean_of(&|step| step.held_back as f64)),
            mean(steps().map(|step| step.gate_open.map(|open| if open { 1.0 } else { 0.0 })))
                .map_or_else(|| "-".into(), |share| tenth(Some(share))),
        ]
    };
    let columns_head = ["windows trained per slice", "of them anomalous, %", "held back by the guard", "gate opened, %"];
    Table {
        name: "training_sets",
        title: "What trained".into(),
        head: head("model, methodology", columns_head.into_iter().map(str::to_owned)),
        rows: rows(settings, results, columns),
    }
}

/// A paragraph with the settings, for reports.
#[must_use]
pub fn settings_line(settings: &Settings) -> String {
    let mut text = String::new();
    let models: Vec<String> = settings.models.iter().map(|&model| model_name(model)).collect();
    let _ = write!(
        text,
        "{} cameras, models {}, {} methodologies, {} slices, stride {}, seeds 0 to {}, annotator wrong in {} % of answers",
        settings.cameras.len(),
        models.join(", "),
        settings.methodologies.len(),
        settings.slices,
        settings.stride,
        settings.seeds - 1,
        100.0 * settings.annotator_error_share
    );
    text
}
