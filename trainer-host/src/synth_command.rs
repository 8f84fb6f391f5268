//! `alfred-host synth`: writes synthetic data sets and strips to look at.

use crate::dataset::alphapose;
use crate::dataset::layout::{POSE_SUFFIX, Split, write_mask};
use crate::error::HostError;
use crate::phase::slices::cut;
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

/// Share of anomalous frames in the slices of a target domain.
const SLICE_SHARE: f64 = 0.02;

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
    /// One domain, in a folder of its own, for each name of --cameras; those that are not the source have their training clips in slices and a few
    /// anomalies among them. What `alfred-host experiment` reads.
    #[arg(long)]
    pub domains: bool,
    /// Slices of a target domain, with --domains.
    #[arg(long, default_value_t = 9)]
    pub slices: usize,
    /// Training clips, over all cameras; with --domains, of each domain.
    #[arg(long, default_value_t = 90)]
    pub clips: usize,
    /// Test clips, over all cameras; with --domains, of each domain.
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

/// One folder of clips: where it lies below `json/` and `masks/`, who films it, what happens.
struct Part {
    folder: String,
    cameras: Vec<CameraSpec>,
    events: Events,
    clips: usize,
    /// Number of the first clip.
    first: usize,
}

/// What a part holds.
#[derive(Default)]
struct Counts {
    clips: usize,
    frames: usize,
    anomalous: usize,
    persons: usize,
}

fn write_data_set(folder: &Path, arguments: &SynthArguments) -> Result<(), HostError> {
    let cameras = cameras(&arguments.cameras)?;
    let hours = hours(&arguments.hours)?;
    let mut random = Random::new(arguments.seed);
    let mut counts: std::collections::BTreeMap<String, Counts> = std::collections::BTreeMap::new();
    let mut events = serde_json::Map::new();
    for part in parts(arguments, &cameras)? {
        for made in [folder.join("json").join(&part.folder), folder.join("masks").join(&part.folder)] {
            fs::create_dir_all(&made).map_err(HostError::file(&made))?;
        }
        let key = part.folder.split("/slice").next().unwrap_or_default().to_owned();
        let total = counts.entry(key).or_default();
        for number in 0..part.clips {
            let camera = &part.cameras[number % part.cameras.len()];
            let hour = hours.0 + (hours.1 - hours.0) * number as f64 / part.clips as f64;
            let mut scene = Scene::new(camera, part.events, random.bits()).at_hour(hour);
            let clip = Clip::record(&mut scene, arguments.frames);
            let name = format!("{:02}_{:04}", camera.number, part.first + number);
            write_clip(folder, &part.folder, &name, &clip, total, &mut events)?;
        }
    }
    let splits: serde_json::Map<String, serde_json::Value> = counts
        .into_iter()
        .map(|(name, c)| (name, json!({"clips": c.clips, "frames": c.frames, "anomalous_frames": c.anomalous, "person_frames": c.persons})))
        .collect();
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

/// The folders of a data set: one domain, or with `--domains` one per camera name, targets cut into slices.
fn parts(arguments: &SynthArguments, all: &[CameraSpec]) -> Result<Vec<Part>, HostError> {
    let part = |folder: String, cameras: &[CameraSpec], events: Events, clips: usize, first: usize| Part {
        folder,
        cameras: cameras.to_vec(),
        events,
        clips,
        first,
    };
    let test = |folder: String, cameras: &[CameraSpec]| part(folder, cameras, Events::Share(TEST_SHARE), arguments.test_clips, 5001);
    if !arguments.domains {
        let train = part(Split::Train.name().into(), all, Events::Never, arguments.clips, 1);
        return Ok(vec![train, test(Split::Test.name().into(), all)]);
    }
    let mut parts = Vec::new();
    for name in &arguments.cameras {
        let own = cameras(std::slice::from_ref(name))?;
        if name == "source" {
            parts.push(part("source/train".into(), &own, Events::Never, arguments.clips, 1));
        } else {
            for (slice, clips) in cut(arguments.clips, arguments.slices).into_iter().enumerate() {
                parts.push(part(format!("{name}/train/slice{slice}"), &own, Events::Share(SLICE_SHARE), clips.len(), clips.start + 1));
            }
        }
        parts.push(test(format!("{name}/test"), &own));
    }
    Ok(parts)
}

fn write_clip(
    folder: &Path,
    below: &str,
    name: &str,
    clip: &Clip,
    total: &mut Counts,
    events: &mut serde_json::Map<String, serde_json::Value>,
) -> Result<(), HostError> {
    let poses = folder.join("json").join(below).join(format!("{name}{POSE_SUFFIX}"));
    alphapose::write(&poses, clip.frames.iter().map(|frame| &frame.poses))?;
    let mask = clip.mask();
    total.clips += 1;
    total.frames += mask.len();
    total.anomalous += mask.iter().filter(|&&flag| flag == 1).count();
    total.persons += clip.frames.iter().map(|frame| frame.poses.persons.len()).sum::<usize>();
    write_mask(&folder.join("masks").join(below).join(format!("{name}.npy")), mask)?;
    let mut by_person: serde_json::Map<String, serde_json::Value> = serde_json::Map::new();
    for event in clip.events() {
        let list = by_person.entry(event.id.0.to_string()).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(json!([event.first, event.last, event.class.name()]));
        }
    }
    events.insert(format!("{below}/{name}"), by_person.into());
    Ok(())
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
