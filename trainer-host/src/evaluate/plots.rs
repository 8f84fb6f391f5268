//! ROC, precision-recall and score distribution as SVG.

use super::evaluation::Evaluation;
use crate::error::HostError;
use crate::metric::pr::{auc_pr, pr};
use crate::metric::roc::{auc_roc, roc};
use crate::metric::samples::{Ranked, Step};
use plotters::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

const SIZE_PX: (u32, u32) = (640, 520);
/// Points of a drawn curve, at most: more than the picture has columns.
const POINTS_MAX: usize = 1500;
const BINS: usize = 80;
/// Scores beyond these shares of all samples are drawn in the outermost bins.
const TAIL: f64 = 0.02;
const COLOURS: [RGBColor; 3] = [RGBColor(0x1f, 0x77, 0xb4), RGBColor(0xd6, 0x5f, 0x0e), RGBColor(0x2c, 0x8c, 0x3c)];

/// A named set of scores and its EER threshold.
struct Scores<'e> {
    name: &'static str,
    file: &'static str,
    ranked: &'e Ranked,
    threshold: f64,
}

/// Writes `roc.svg`, `pr.svg` and `scores-*.svg` (window, paper, device) into `folder`, which is made if need be; returns what was written.
///
/// # Errors
/// [`HostError`] when a file cannot be written.
pub fn write_plots(evaluation: &Evaluation, folder: &Path) -> Result<Vec<PathBuf>, HostError> {
    fs::create_dir_all(folder).map_err(HostError::file(folder))?;
    let mut sets = vec![Scores {
        name: "window",
        file: "scores-window.svg",
        ranked: &evaluation.ranked,
        threshold: evaluation.window.eer_threshold.value,
    }];
    let frames = [("frame, paper", "scores-paper.svg", &evaluation.paper), ("frame, device", "scores-device.svg", &evaluation.device)];
    for (name, file, frames) in frames {
        if let Some(frames) = frames {
            sets.push(Scores { name, file, ranked: &frames.ranked, threshold: frames.figures.eer_threshold.value });
        }
    }
    let roc_curves = sets.iter().map(|set| {
        let points = roc(set.ranked).iter().map(|point| (point.false_positive_rate, point.true_positive_rate)).collect();
        (format!("{}: AUC-ROC {:.1} %", set.name, 100.0 * auc_roc(set.ranked)), thin(points))
    });
    let pr_curves = sets.iter().map(|set| {
        let points = pr(set.ranked).iter().map(|point| (point.recall, point.precision)).collect();
        (format!("{}: AUC-PR {:.1} %", set.name, 100.0 * auc_pr(set.ranked)), thin(points))
    });
    let mut written = vec![folder.join("roc.svg"), folder.join("pr.svg")];
    let fault = |path: &Path, fault: String| HostError::data(path, fault, "check that the folder may be written");
    draw_curves(&written[0], "false positive rate", "true positive rate", roc_curves.collect())
        .map_err(|error| fault(&written[0], error))?;
    draw_curves(&written[1], "recall", "precision", pr_curves.collect()).map_err(|error| fault(&written[1], error))?;
    for set in &sets {
        let path = folder.join(set.file);
        draw_distribution(&path, set).map_err(|error| fault(&path, error))?;
        written.push(path);
    }
    Ok(written)
}

/// Every n-th point, and the last.
fn thin(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(POINTS_MAX).max(1);
    let last = points.len().saturating_sub(1);
    points.into_iter().enumerate().filter(|(index, _)| index % every == 0 || *index == last).map(|(_, point)| point).collect()
}

fn draw_curves(path: &Path, x: &str, y: &str, curves: Vec<(String, Vec<(f64, f64)>)>) -> Result<(), String> {
    let area = SVGBackend::new(path, SIZE_PX).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error + '_>> {
        area.fill(&WHITE)?;
        let mut chart =
            ChartBuilder::on(&area).margin(14).x_label_area_size(44).y_label_area_size(52).build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(WHITE).draw()?;
        for ((label, points), colour) in curves.into_iter().zip(COLOURS) {
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart.configure_series_labels().position(SeriesLabelPosition::LowerRight).background_style(WHITE).border_style(BLACK).draw()?;
        area.present()?;
        Ok(())
    };
    draw().map_err(|error| error.to_string())
}

fn draw_distribution(path: &Path, set: &Scores<'_>) -> Result<(), String> {
    let (low, high) = range(set.ranked);
    let [normal, anomalous] = shares(set.ranked, low, high);
    let top = normal.iter().chain(&anomalous).copied().fold(0.0, f64::max) * 1.1;
    let outline = |shares: &[f64]| -> Vec<(f64, f64)> {
        let edge = |bin: usize| low + (high - low) * bin as f64 / BINS as f64;
        shares.iter().enumerate().flat_map(|(bin, share)| [(edge(bin), *share), (edge(bin + 1), *share)]).collect()
    };
    let area = SVGBackend::new(path, SIZE_PX).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error + '_>> {
        area.fill(&WHITE)?;
        let mut chart =
            ChartBuilder::on(&area).margin(14).x_label_area_size(44).y_label_area_size(60).build_cartesian_2d(low..high, 0.0..top)?;
        let x = format!("anomaly score ({})", set.name);
        chart.configure_mesh().x_desc(x).y_desc("share of the class").light_line_style(WHITE).draw()?;
        for (label, shares, colour) in [("normal", &normal, COLOURS[0]), ("anomalous", &anomalous, COLOURS[1])] {
            chart
                .draw_series(AreaSeries::new(outline(shares), 0.0, colour.mix(0.25)).border_style(colour))?
                .label(label)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        let threshold = set.threshold.clamp(low, high);
        chart
            .draw_series(LineSeries::new([(threshold, 0.0), (threshold, top)], BLACK.stroke_width(1)))?
            .label("EER threshold")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLACK));
        chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).background_style(WHITE).border_style(BLACK).draw()?;
        area.present()?;
        Ok(())
    };
    draw().map_err(|error| error.to_string())
}

/// The scores between which all but the tails lie; never empty.
fn range(ranked: &Ranked) -> (f64, f64) {
    let total = (ranked.normal() + ranked.anomalous()) as f64;
    let at = |share: f64| {
        let mut passed = 0;
        let reaches = |step: &&Step| {
            passed += step.normal + step.anomalous;
            passed as f64 >= share * total
        };
        ranked.steps().iter().find(reaches).or(ranked.steps().last()).map_or(0.0, |step| step.score)
    };
    let (low, high) = (at(TAIL), at(1.0 - TAIL));
    if high > low { (low, high) } else { (low - 0.5, high + 0.5) }
}

/// Share of each class (normal, anomalous) per bin.
fn shares(ranked: &Ranked, low: f64, high: f64) -> [Vec<f64>; 2] {
    let (mut normal, mut anomalous) = (vec![0.0; BINS], vec![0.0; BINS]);
    for step in ranked.steps() {
        let bin = (((step.score - low) / (high - low)).clamp(0.0, 1.0) * BINS as f64) as usize;
        normal[bin.min(BINS - 1)] += step.normal as f64 / ranked.normal() as f64;
        anomalous[bin.min(BINS - 1)] += step.anomalous as f64 / ranked.anomalous() as f64;
    }
    [normal, anomalous]
}
