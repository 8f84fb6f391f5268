//! Figure 2 (scores of positives per step, with both thresholds), Figure 3 (EBI as box plots), and label cost against EBI, as SVG.

use crate::error::HostError;
use crate::experiment::record::{Cell, sum};
use crate::experiment::schedule::{Results, model_name};
use crate::experiment::settings::Settings;
use crate::experiment::tables::{held_out_ebi, mean};
use crate::metric::quantile::quantile;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

/// A drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// Name of its file.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The SVG text.
    pub svg: String,
}

const INK: RGBColor = RGBColor(40, 60, 90);
const BOX: RGBColor = RGBColor(120, 160, 210);
const EER: RGBColor = RGBColor(200, 60, 40);
const MED: RGBColor = RGBColor(40, 140, 70);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Every figure.
///
/// # Errors
/// [`HostError`] when one cannot be drawn.
pub fn all(settings: &Settings, results: &Results) -> Result<Vec<Drawing>, HostError> {
    let mut drawings = Vec::new();
    for &model in &settings.models {
        let model = model_name(model);
        // AL Light where it ran: its band is what the figure is about.
        let methodology = ["al_light", "active_learning"].into_iter().find(|name| results.of(&model, name, None).next().is_some());
        if let Some(methodology) = methodology {
            let name = format!("figure2_{model}");
            let title =
                format!("Figure 2: scores of positives per step, {model}, {methodology}, seed 0 (red: EER threshold, green: theta_med)");
            let rows = settings.cameras.len().div_ceil(2) as u32;
            drawings
                .push(draw(&name, &title, (1100, 60 + 260 * rows), |area| scores_per_step(area, settings, results, &model, methodology))?);
        }
    }
    let boxes = |name: &str, title: &str, figure: fn(&Cell) -> Option<f64>| {
        let data: Vec<(String, Vec<f64>)> = settings
            .methodologies
            .iter()
            .map(|methodology| {
                (
                    methodology.name.to_owned(),
                    sorted(results.cells.iter().filter(|cell| cell.methodology == methodology.name).filter_map(figure)),
                )
            })
            .filter(|(_, values)| !values.is_empty())
            .collect();
        draw(name, title, (1100, 90 + 30 * data.len() as u32), |area| box_plots(area, &data))
    };
    drawings.push(boxes("figure3", "Figure 3: cumulative EBI on the train slices over models, cameras and seeds, %", |cell| {
        cell.cumulative()?.ebi()
    })?);
    drawings.push(boxes("figure3_held_out", "Held-out EBI over models, cameras and seeds, %", |cell| sum(cell.held_out_by_clip()).ebi())?);
    for &model in &settings.models {
        let model = model_name(model);
        let title = format!("Verdicts per camera against held-out EBI, {model}");
        drawings.push(draw(&format!("labels_{model}"), &title, (1100, 560), |area| label_cost(area, settings, results, &model))?);
    }
    Ok(drawings)
}

fn draw(name: &str, title: &str, size: (u32, u32), paint: impl FnOnce(&Area<'_>) -> Drawn) -> Result<Drawing, HostError> {
    let mut svg = String::new();
    let painted = (|| -> Drawn {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        let below = area.titled(title, ("sans-serif", 18))?;
        paint(&below)?;
        area.present()?;
        Ok(())
    })();
    painted.map_err(|error| HostError::data(Path::new(name), error, "please report this"))?;
    Ok(Drawing { name: name.into(), title: title.into(), svg })
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// A range with a margin; never empty.
fn range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return 0.0..1.0;
    }
    let margin = (0.06 * (high - low)).max(1e-6);
    low - margin..high + margin
}

/// A panel a camera: per step the 5, 25, 50, 75 and 95 % quantiles of the flagged windows' scores, and both thresholds.
fn scores_per_step(area: &Area<'_>, settings: &Settings, results: &Results, model: &str, methodology: &str) -> Drawn {
    let panels = area.split_evenly((settings.cameras.len().div_ceil(2), 2));
    for (panel, camera) in panels.iter().zip(&settings.cameras) {
        let Some(cell) = results.of(model, methodology, Some(camera)).next() else { continue };
        let quantiles = cell.steps.iter().filter_map(|step| step.flagged_scores);
        let thresholds = cell.steps.iter().flat_map(|step| [Some(step.theta_eer), step.theta_med]).flatten();
        let vertical = range(quantiles.flat_map(|scores| [scores[1], scores[5]]).chain(thresholds));
        let mut chart = ChartBuilder::on(panel)
            .caption(camera, ("sans-serif", 14))
            .margin(6)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d(-0.6..cell.steps.len() as f64 - 0.4, vertical)?;
        chart
            .configure_mesh()
            .x_desc("slice")
            .y_desc("score")
            .x_labels(cell.steps.len() + 1)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (step, record) in cell.steps.iter().enumerate() {
            let x = step as f64;
            if let Some([_, q5, q25, q50, q75, q95, _]) = record.flagged_scores {
                chart.draw_series([PathElement::new(vec![(x, q5), (x, q95)], INK)])?;
                chart.draw_series([Rectangle::new([(x - 0.28, q25), (x + 0.28, q75)], BOX.filled())])?;
                chart.draw_series([PathElement::new(vec![(x - 0.28, q50), (x + 0.28, q50)], INK.stroke_width(2))])?;
            }
            let across = |y: f64| vec![(x - 0.42, y), (x + 0.42, y)];
            chart.draw_series([PathElement::new(across(record.theta_eer), EER.stroke_width(2))])?;
            if let Some(theta_med) = record.theta_med {
                chart.draw_series([PathElement::new(across(theta_med), MED.stroke_width(2))])?;
            }
        }
    }
    Ok(())
}

/// Horizontal boxes from quartile to quartile, whiskers from the least to the greatest, in per cent.
fn box_plots(area: &Area<'_>, data: &[(String, Vec<f64>)]) -> Drawn {
    let count = data.len();
    let across = range(data.iter().flat_map(|(_, values)| values.iter().map(|value| 100.0 * value)));
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(150)
        .build_cartesian_2d(across, -0.6..count as f64 - 0.4)?;
    let name = |y: &f64| {
        let row = (count as f64 - 1.0 - y.round()) as usize;
        if (y - y.round()).abs() < 1e-6 { data.get(row).map_or_else(String::new, |(name, _)| name.clone()) } else { String::new() }
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(2 * count + 1)
        .y_label_formatter(&name)
        .light_line_style(TRANSPARENT)
        .x_desc("%")
        .draw()?;
    for (row, (_, values)) in data.iter().enumerate() {
        let y = (count - 1 - row) as f64;
        let at = |share: f64| 100.0 * quantile(values, share).unwrap_or(0.0);
        chart.draw_series([PathElement::new(vec![(at(0.0), y), (at(1.0), y)], INK)])?;
        chart.draw_series([Rectangle::new([(at(0.25), y - 0.3), (at(0.75), y + 0.3)], BOX.filled())])?;
        chart.draw_series([PathElement::new(vec![(at(0.5), y - 0.3), (at(0.5), y + 0.3)], INK.stroke_width(2))])?;
    }
    Ok(())
}

/// Room of a methodology's name, pixels.
const NAME_WIDTH: i32 = 130;
/// Its height.
const NAME_HEIGHT: i32 = 13;

/// A point a methodology that asks for verdicts.
fn label_cost(area: &Area<'_>, settings: &Settings, results: &Results, model: &str) -> Drawn {
    let point = |name: &'static str| {
        let cells = || results.of(model, name, None);
        let asked = mean(cells().map(|cell| Some(cell.labels().0 as f64)))?;
        Some((name, asked, 100.0 * held_out_ebi(cells())?))
    };
    let points: Vec<(&str, f64, f64)> = settings.methodologies.iter().filter_map(|methodology| point(methodology.name)).collect();
    let across = range(points.iter().map(|point| point.1));
    // Room for names right of the last point.
    let across = across.start..across.end + 0.15 * (across.end - across.start);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(across, range(points.iter().map(|point| point.2)))?;
    chart.configure_mesh().x_desc("verdicts per camera").y_desc("held-out EBI, %").light_line_style(TRANSPARENT).draw()?;
    chart.draw_series(points.iter().map(|(_, x, y)| Circle::new((*x, *y), 4, INK.filled())))?;
    // Names at the right of their points, moved down where they would lie on each other.
    let mut names: Vec<((i32, i32), &str)> = points.iter().map(|(name, x, y)| (chart.backend_coord(&(*x, *y)), *name)).collect();
    names.sort_unstable_by_key(|((x, y), _)| (*y, *x));
    let mut placed: Vec<(i32, i32)> = Vec::new();
    for ((x, y), name) in names {
        let (left, mut top) = (x + 8, y - 6);
        while placed.iter().any(|(other_left, other_top)| (left - other_left).abs() < NAME_WIDTH && (top - other_top).abs() < NAME_HEIGHT) {
            top += 1;
        }
        placed.push((left, top));
        let (origin_x, origin_y) = area.get_base_pixel();
        area.draw_text(name, &("sans-serif", 12).into_text_style(area), (left - origin_x, top - origin_y))?;
    }
    Ok(())
}
