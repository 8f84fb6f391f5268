//! The order of an experiment: models one after another, cameras one after another (their windows are read once), cells in parallel.
//!
//! Every cell is computed by one thread from its own seed, so the result does not depend on how many there are.

use crate::dataset::camera::{Camera, read_camera};
use crate::error::HostError;
use crate::experiment::chain::{Chain, Looks};
use crate::experiment::record::Cell;
use crate::experiment::settings::Settings;
use crate::experiment::source::{Source, SourceData, cutting, source};
use crate::experiment::store::Place;
use crate::phase::methodology::Methodology;
use crate::progress::ProgressLines;
use crate::train::architecture::Architecture;
use alfred_core::normalise::PixelScale;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What an experiment brought.
#[derive(Debug, Default)]
pub struct Results {
    /// Every cell: by model, camera, methodology, seed, in the order of the settings.
    pub cells: Vec<Cell>,
    /// (model, seed, AUC-ROC, AUC-PR, EER threshold) of the source weights on the source's test part.
    pub sources: Vec<(String, u64, (f64, f64), f64)>,
}

/// Name of a model on the command line and in files.
#[must_use]
pub fn model_name(model: Architecture) -> String {
    model.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Runs everything that is not done yet.
///
/// # Errors
/// The first [`HostError`]; what was finished before stays on disk.
pub fn run(settings: &Settings) -> Result<Results, HostError> {
    let mut results = Results::default();
    let (bar, lines) = (progress_bar(settings), ProgressLines::new(true));
    for &model in &settings.models {
        let name = model_name(model);
        bar.set_message(format!("{name}: source weights"));
        let data = SourceData::read(settings, model)?;
        let seeds: Vec<u64> = (0..settings.seeds).collect();
        let sources = in_parallel(settings.jobs, &seeds, |&seed| source(settings, model, &name, seed, &data))?;
        drop(data);
        for (seed, source) in seeds.iter().zip(&sources) {
            results.sources.push((name.clone(), *seed, source.auc, source.threshold));
        }
        let cutting = cutting(model, settings.stride)?;
        for camera in &settings.cameras {
            bar.set_message(format!("{name} {camera}"));
            let camera = read_camera(&settings.data, camera, settings.slices, &cutting, &PixelScale::SQUARE, settings.strict)?;
            results.cells.extend(run_camera(settings, model, &name, &camera, &sources, (&bar, &lines))?);
        }
    }
    bar.finish_and_clear();
    Ok(results)
}

fn run_camera(
    settings: &Settings,
    model: Architecture,
    name: &str,
    camera: &Camera,
    sources: &[Source],
    (bar, lines): (&ProgressBar, &ProgressLines),
) -> Result<Vec<Cell>, HostError> {
    let looks = Looks::at(camera);
    let tasks: Vec<(&'static Methodology, u64)> =
        settings.methodologies.iter().flat_map(|&methodology| (0..settings.seeds).map(move |seed| (methodology, seed))).collect();
    in_parallel(settings.jobs, &tasks, |&(methodology, seed)| {
        let chain = Chain::new(settings, camera, &looks, model, &sources[seed as usize], methodology, seed);
        let place = Place::new(&settings.out, name, &camera.name, methodology.name, seed)?;
        let (mut state, mut weights) = match place.load(chain.length())? {
            Some((state, weights)) => (state, weights),
            None => (chain.start()?, Some(sources[seed as usize].bytes.clone())),
        };
        bar.inc(state.steps.len() as u64);
        while let Some(current) = weights.take().filter(|_| state.steps.len() < chain.length()) {
            let next = chain.step(&mut state, current)?;
            place.keep(&state, &next, chain.length())?;
            weights = Some(next);
            bar.inc(1);
            lines.tell(bar, || format!("{name} {} {} seed {seed}", camera.name, methodology.name));
        }
        Ok(Cell { camera: camera.name.clone(), model: name.into(), methodology: methodology.name.into(), seed, steps: state.steps })
    })
}

/// Applies `work` to every item on `jobs` threads; results in the items' order. After an error no new item is begun.
fn in_parallel<T: Sync, R: Send>(jobs: usize, items: &[T], work: impl Fn(&T) -> Result<R, HostError> + Sync) -> Result<Vec<R>, HostError> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<R, HostError>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while let Some((index, item)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, items.get(index)?)))
                {
                    let result = work(item);
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    if let Ok(mut done) = done.lock() {
                        done.push((index, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn progress_bar(settings: &Settings) -> ProgressBar {
    let length = |methodology: &&Methodology| if methodology.recipe.all_at_once { 1 } else { settings.slices as u64 };
    let steps = settings.methodologies.iter().map(length).sum::<u64>();
    let bar = ProgressBar::new(steps * settings.seeds * (settings.cameras.len() * settings.models.len()) as u64);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} iterations, {elapsed} gone, {eta} left, {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_secs(1));
    bar
}
