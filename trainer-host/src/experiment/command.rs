//! The command line of `alfred-host experiment`.

use crate::dataset::camera::camera_names;
use crate::error::HostError;
use crate::experiment::schedule::{self, model_name};
use crate::experiment::settings::{STRIDE, Settings, training_recipe};
use crate::experiment::source::given_weights;
use crate::experiment::{answers, cells, figures, head_tables, html, tables};
use crate::phase::methodology::{METHODOLOGIES, Methodology, by_name};
use crate::train::architecture::Architecture;
use crate::train::checkpoint::replace;
use crate::verdict_head::HeadRecipe;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// Arguments of `alfred-host experiment`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExperimentArguments {
    /// Data set with a source domain and one folder a camera.
    #[arg(long)]
    pub data: PathBuf,
    /// Cameras, separated by commas; default: all.
    #[arg(long, value_delimiter = ',')]
    pub cameras: Vec<String>,
    /// Models, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "stg-nf")]
    pub models: Vec<Architecture>,
    /// Methodologies, separated by commas; `all`: every one; `paper`: those of the paper and the two baselines.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    pub methods: Vec<String>,
    /// Slices per camera.
    #[arg(long, default_value_t = 9)]
    pub slices: usize,
    /// Detections from one window's start to the next. A larger stride costs less and says less; above 18 frames every window is an event.
    #[arg(long, default_value_t = STRIDE)]
    pub stride: u32,
    /// Seeds, from 0.
    #[arg(long, default_value_t = 1)]
    pub seeds: u64,
    /// Where results go. A run that was interrupted goes on from there.
    #[arg(long)]
    pub out: PathBuf,
    /// Folder with K-1 weights (`MODEL.safetensors`), which then serve every seed; models without a file there are trained here.
    #[arg(long)]
    pub source_weights: Option<PathBuf>,
    /// Cells at a time; default: one per core.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Share of wrong answers of the simulated annotator, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    pub annotator_errors: f64,
    /// Stop at the first clip that cannot be read, instead of naming it and leaving it out.
    #[arg(long)]
    pub strict: bool,
    /// End with one line of JSON on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`HostError`] when an argument or the data cannot be used.
pub fn run(arguments: &ExperimentArguments) -> Result<(), HostError> {
    let settings = settings(arguments)?;
    fs::create_dir_all(&settings.out).map_err(HostError::file(&settings.out))?;
    let started = std::time::Instant::now();
    check_manifest(&settings)?;
    let results = schedule::run(&settings)?;
    let out = &settings.out;
    cells::write(&out.join("cells.csv"), &results.cells)?;
    head_tables::write_unseen(&out.join("unseen_cells.csv"), &results)?;
    let text = format!("{}\n{}", answers::markdown(&settings, &results), tables::markdown(&settings, &results));
    replace(&out.join("tables.md"), text.as_bytes())?;
    tables::write_csv(out, &settings, &results)?;
    let drawings = figures::all(&settings, &results)?;
    for drawing in &drawings {
        replace(&out.join(format!("{}.svg", drawing.name)), drawing.svg.as_bytes())?;
    }
    replace(&out.join("report.html"), html::page(&settings, &text, &drawings).as_bytes())?;
    let seconds = started.elapsed().as_secs_f64();
    if arguments.json {
        println!("{}", json!({"cells": results.cells.len(), "out": out, "seconds": seconds}));
    } else {
        println!("{}", answers::markdown(&settings, &results));
        println!("{} cells in {seconds:.0} s; everything is in {}", results.cells.len(), out.join("report.html").display());
    }
    Ok(())
}

fn settings(arguments: &ExperimentArguments) -> Result<Settings, HostError> {
    let known = camera_names(&arguments.data)?;
    let cameras = if arguments.cameras.is_empty() { known.clone() } else { arguments.cameras.clone() };
    if let Some(camera) = cameras.iter().find(|camera| !known.contains(camera)) {
        return Err(HostError::argument(format!("--cameras {camera}"), format!("the data set has {}", known.join(", "))));
    }
    if arguments.slices == 0 || arguments.seeds == 0 || arguments.stride == 0 || arguments.jobs == Some(0) {
        return Err(HostError::argument("--slices, --seeds, --stride, --jobs", "give numbers above 0"));
    }
    if !(0.0..=1.0).contains(&arguments.annotator_errors) {
        return Err(HostError::argument("--annotator-errors", "give a share from 0 to 1"));
    }
    Ok(Settings {
        data: arguments.data.clone(),
        out: arguments.out.clone(),
        cameras,
        models: arguments.models.clone(),
        methodologies: methodologies(&arguments.methods)?,
        slices: arguments.slices,
        stride: arguments.stride,
        seeds: arguments.seeds,
        source_weights: arguments.source_weights.clone(),
        strict: arguments.strict,
        jobs: arguments.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        annotator_error_share: arguments.annotator_errors,
    })
}

fn methodologies(names: &[String]) -> Result<Vec<&'static Methodology>, HostError> {
    let mut wanted: Vec<&'static str> = Vec::new();
    for name in names {
        match (name.as_str(), by_name(name)) {
            ("all", _) => wanted.extend(METHODOLOGIES.iter().map(|methodology| methodology.name)),
            ("paper", _) => {
                wanted
                    .extend(METHODOLOGIES.iter().filter(|m| m.published || m.name == "threshold_only").map(|methodology| methodology.name));
            }
            (_, Some(methodology)) => wanted.push(methodology.name),
            (_, None) => {
                let known: Vec<&str> = METHODOLOGIES.iter().map(|methodology| methodology.name).collect();
                return Err(HostError::argument(format!("--methods {name}"), format!("known: all, paper, {}", known.join(", "))));
            }
        }
    }
    // In the order of the tables, none twice.
    Ok(METHODOLOGIES.iter().filter(|methodology| wanted.contains(&methodology.name)).collect())
}

/// What must not change between a run and the one that goes on from it.
fn manifest(settings: &Settings) -> Result<serde_json::Value, HostError> {
    let recipe = |&model: &Architecture| {
        let name = model_name(model);
        let given = match given_weights(settings, &name) {
            Some(file) => {
                let bytes = fs::read(&file).map_err(HostError::file(&file))?;
                let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                format!(", K-1 weights with SHA-256 {hash}")
            }
            None => String::new(),
        };
        Ok((name, json!(format!("{:?}{given}", training_recipe(model)))))
    };
    let recipes: serde_json::Map<String, serde_json::Value> = settings.models.iter().map(recipe).collect::<Result<_, HostError>>()?;
    let head = format!("{:?}", HeadRecipe::default());
    Ok(json!({
        "data": settings.data.canonicalize().unwrap_or_else(|_| settings.data.clone()),
        "slices": settings.slices,
        "stride": settings.stride,
        "annotator_error_share": settings.annotator_error_share,
        "recipes": recipes,
        "head_recipe": head,
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// Refuses an output folder of another experiment; more cameras, models, methodologies or seeds than before are welcome.
fn check_manifest(settings: &Settings) -> Result<(), HostError> {
    let path: &Path = &settings.out.join("manifest.json");
    let mut new = manifest(settings)?;
    if path.is_file() {
        let text = fs::read(path).map_err(HostError::file(path))?;
        let old: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| HostError::data(path, error, "remove the folder, or give another --out"))?;
        for key in ["data", "slices", "stride", "annotator_error_share", "head_recipe", "version"] {
            if old[key] != new[key] {
                return Err(HostError::data(path, format!("{key} was {}, now {}", old[key], new[key]), "give another --out"));
            }
        }
        for (model, recipe) in old["recipes"].as_object().into_iter().flatten() {
            let now = &mut new["recipes"][model];
            if now.is_null() {
                *now = recipe.clone();
            } else if now != recipe {
                return Err(HostError::data(path, format!("the recipe of {model} was {recipe}, now {now}"), "give another --out"));
            }
        }
    }
    new["seeds"] = json!((0..settings.seeds).collect::<Vec<_>>());
    new["cameras"] = json!(settings.cameras);
    new["methodologies"] = json!(settings.methodologies.iter().map(|methodology| methodology.name).collect::<Vec<_>>());
    replace(path, format!("{new:#}\n").as_bytes())
}
