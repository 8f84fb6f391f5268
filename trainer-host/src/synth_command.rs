//! `alfred-host synth`: writes synthetic data sets and strips to look at.

use crate::dataset::alphapose;
use crate::dataset::layout::{POSE_SUFFIX, Split, write_mask};
use crate::error::HostError;
use alfred_synth::behaviour::{AnomalyClass, Behaviour};
use alfred_synth::camera::CameraSpec;
use alfred_synth::clip::Clip;
use alfred_synth::director::Events;
use alfred_synth::random::Random;
use alfred_synth::scene::Scene;
use alfred_synth::strip;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Share of anomalous frames that test clips aim at.
const TEST_SHARE: f64 = 0.48;

/// Arguments of `alfred-host synth`.
#[derive(Clone, Debug, clap::Args)]
pub struct SynthArguments {
    /// Folder for the data set (json/, masks/, meta.json).
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Folder for one SVG strip per behaviour.
    #[arg(long)]
    pub strips: Option<PathBuf>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Cameras by name, separated by commas; `source` means the three of the source domain.
    #[arg(long, default_value = "source", value_delimiter = ',')]
    pub cameras: Vec<String>,
    /// Training clips, over all cameras.
    #[arg(long, default_value_t = 90)]
    pub clips: usize,
    /// Test clips, over all cameras.
    #[arg(long, default_value_t = 30)]
    pub test_clips: usize,
    /// Frames per clip.
    #[arg(long, default_value_t = 900)]
    pub frames: usize,
    /// Hours of the day over which clips are spread, as FIRST-LAST.
    #[arg(long, default_value = "9-18")]
    pub hours: String,
}

/// Runs the command.
///
/// # Errors
/// [`HostError`] when an argument is wrong or a file cannot be written.
pub fn run(arguments: &SynthArguments) -> Result<(), HostError> {
    if arguments.out.is_none() && arguments.strips.is_none() {
        return Err(HostError::argument("synth", "give --out DIR for a data set, --strips DIR for pictures, or both"));
    }
    if let Some(folder) = &arguments.strips {
        write_strips(folder, arguments.seed)?;
    }
    if let Some(folder) = &arguments.out {
        write_data_set(folder, arguments)?;
    }
    Ok(())
}

/// Writes one strip per behaviour.
///
/// # Errors
/// [`HostError::File`] when a file cannot be written.
pub fn write_strips(folder: &Path, seed: u64) -> Result<(), HostError> {
    fs::create_dir_all(folder).map_err(HostError::file(folder))?;
    let anomalous = AnomalyClass::ALL.into_iter().map(Behaviour::Act);
    let victims = AnomalyClass::ALL.into_iter().filter(|class| class.is_fight()).map(Behaviour::Suffer);
    let rising = [AnomalyClass::Fall, AnomalyClass::LieDown].map(Behaviour::GetUp);
    for behaviour in Behaviour::NORMAL.into_iter().chain(anomalous).chain(victims).chain(rising) {
        let path = folder.join(format!("{}.svg", behaviour.name()));
        fs::write(&path, strip::svg(behaviour, seed)).map_err(HostError::file(&path))?;
    }
    Ok(())
}

fn cameras(names: &[String]) -> Result<Vec<CameraSpec>, HostError> {
    let mut out = Vec::new();
    for name in names {
        if name == "source" {
            out.extend(CameraSpec::source());
        } else if let Some(camera) = CameraSpec::named(name) {
            out.push(camera);
        } else {
            let known: Vec<&str> = CameraSpec::catalogue().iter().map(|camera| camera.name).collect();
            return Err(HostError::argument(format!("--cameras {name}"), format!("choose from source, {}", known.join(", "))));
        }
    }
    Ok(out)
}

fn hours(text: &str) -> Result<(f64, f64), HostError> {
    let parsed = text.split_once('-').and_then(|(first, last)| Some((first.parse::<f64>().ok()?, last.parse::<f64>().ok()?)));
    parsed
        .filter(|(first, last)| (0.0..=24.0).contains(first) && last >= first && *last <= 48.0)
        .ok_or_else(|| HostError::argument(format!("--hours {text}"), "write FIRST-LAST, for example 9-18"))
}

fn write_data_set(folder: &Path, arguments: &SynthArguments) -> Result<(), HostError> {
    let cameras = cameras(&arguments.cameras)?;
    let hours = hours(&arguments.hours)?;
    let mut random = Random::new(arguments.seed);
    let mut splits = serde_json::Map::new();
    let mut events = serde_json::Map::new();
    for (split, clips) in [(Split::Train, arguments.clips), (Split::Test, arguments.test_clips)] {
        let (json_folder, mask_folder) = (folder.join("json").join(split.name()), folder.join("masks").join(split.name()));
        for made in [&json_folder, &mask_folder] {
            fs::create_dir_all(made).map_err(HostError::file(made))?;
        }
        let (mut frames, mut anomalous, mut persons) = (0, 0, 0);
        for number in 0..clips {
            let camera = &cameras[number % cameras.len()];
            let wanted = if split == Split::Train { Events::Never } else { Events::Share(TEST_SHARE) };
            let hour = hours.0 + (hours.1 - hours.0) * number as f64 / clips as f64;
            let mut scene = Scene::new(camera, wanted, random.bits()).at_hour(hour);
            let clip = Clip::record(&mut scene, arguments.frames);
            let video = if split == Split::Train { number + 1 } else { number + 5001 };
            let name = format!("{:02}_{video:04}", camera.number);
            alphapose::write(&json_folder.join(format!("{name}{POSE_SUFFIX}")), clip.frames.iter().map(|frame| &frame.poses))?;
            let mask = clip.mask();
            frames += mask.len();
            anomalous += mask.iter().filter(|&&flag| flag == 1).count();
            persons += clip.frames.iter().map(|frame| frame.poses.persons.len()).sum::<usize>();
            write_mask(&mask_folder.join(format!("{name}.npy")), mask)?;
            let mut by_person: serde_json::Map<String, serde_json::Value> = serde_json::Map::new();
            for event in clip.events() {
                let list = by_person.entry(event.id.0.to_string()).or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(json!([event.first, event.last, event.class.name()]));
                }
            }
            events.insert(format!("{}/{name}", split.name()), by_person.into());
        }
        splits.insert(
            split.name().into(),
            json!({"clips": clips, "frames": frames, "anomalous_frames": anomalous, "person_frames": persons}),
        );
    }
    let meta = json!({
        "generator": concat!("alfred-synth ", env!("CARGO_PKG_VERSION")),
        "seed": arguments.seed,
        "frames_per_clip": arguments.frames,
        "hours": arguments.hours,
        "test_share": TEST_SHARE,
        "classes": AnomalyClass::ALL.map(AnomalyClass::name),
        "cameras": cameras.iter().map(describe).collect::<Vec<_>>(),
        "splits": splits,
    });
    write_json(&folder.join("meta.json"), &meta)?;
    write_json(&folder.join("events.json"), &events.into())
}

fn describe(camera: &CameraSpec) -> serde_json::Value {
    json!({
        "number": camera.number, "name": camera.name, "width": camera.width, "height": camera.height, "focal_pixels": camera.focal,
        "mount_metres": camera.mount, "tilt_radians": camera.tilt, "frames_per_second": camera.rate, "near_metres": camera.near,
        "far_metres": camera.far, "density": camera.density, "noise": camera.noise, "mix": camera.mix.weights(),
        "context": format!("{:?}", camera.context), "occluders": camera.occluders.len(),
    })
}

fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), HostError> {
    // Maps are sorted by key, so the same data gives the same bytes.
    fs::write(path, format!("{value:#}\n")).map_err(HostError::file(path))
}
