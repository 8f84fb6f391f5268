//! What a verdict head brings on a data set with cameras: held-out EBI, and AUC-ROC on classes that were left out of the verdicts.
//!
//! `cargo run -p alfred-trainer-host --example verdict_head -- DATA WEIGHTS`: DATA in the layout of the motion-capture benchmark (`json/<CAMERA>/{train/slice*,test}`,
//! `events.json`), WEIGHTS an STG-NF weight file. Per camera, the head learns from the train slices with the truth as verdicts (every window
//! reviewed: the best case) and is judged on the test split. Held-out EBI: EER threshold on one half of the test clips, rates on the other, both
//! ways, on window scores. "Unseen" AUC-ROC: for each class, a head whose verdicts lack the class, on the class's windows against normal ones.

use alfred_core::evaluation::auc_roc;
use alfred_core::scorer::Window;
use alfred_core::track_window::WindowPolicy;
use alfred_core::verdict_head::VerdictHead;
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_models::stg_nf::weights_file::StgNfWeights;
use alfred_trainer_host::dataset::layout::{ClipFiles, Events, POSE_SUFFIX, read_events};
use alfred_trainer_host::dataset::windows::read_clips;
use alfred_trainer_host::error::HostError;
use alfred_trainer_host::evaluate::{pixel_scale, read_weights};
use alfred_trainer_host::metric::confusion::ebi_of;
use alfred_trainer_host::metric::eer::equal_error_rate_of;
use alfred_trainer_host::verdict_head::{HeadRecipe, HeadSample, NoHead, train};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Detections from one window's start to the next: dense enough, and twenty times faster than every window.
const TRAIN_STRIDE: u32 = 6;
const TEST_STRIDE: u32 = 3;
/// Loss of AUC-ROC on an unseen class beyond which a cell counts as worse.
const WORSE: f64 = 0.02;

/// A sample and the class of its event.
type Labelled = (HeadSample, Option<String>);

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [data, weights] = arguments.as_slice() else {
        eprintln!("give the data set's folder and an STG-NF weight file");
        return ExitCode::from(2);
    };
    match run(data, weights) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("verdict_head: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(data: &Path, weights: &Path) -> Result<(), HostError> {
    let weights = read_weights(weights)?;
    let events = read_events(data)?.ok_or_else(|| HostError::data(data, "events.json", "truth by person is needed"))?;
    let (mut rows, mut cells) = (Vec::new(), Vec::new());
    println!("camera | EBI density | EBI head | AUC density | AUC head | unseen density | unseen head | worst unseen class");
    for camera in folders(&data.join("json"))? {
        let name = camera.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "source" {
            continue;
        }
        let learn = labelled(data, &camera.join("train"), &weights, &events, TRAIN_STRIDE)?;
        let test = labelled(data, &camera.join("test"), &weights, &events, TEST_STRIDE)?;
        let head = trained(&learn, None).map_err(|error| eprintln!("{name}: no head: {error}")).ok();
        let [ebi, auc] = [held_out_ebi, whole_auc].map(|figure| [figure(&test, None), figure(&test, head.as_ref())]);
        let unseen = unseen_cells(&learn, &test);
        let mean = |place: usize| 100.0 * unseen.iter().map(|cell| cell.1[place]).sum::<f64>() / unseen.len() as f64;
        let worst = unseen.iter().min_by(|a, b| (a.1[1] - a.1[0]).total_cmp(&(b.1[1] - b.1[0])));
        let worst = worst.map_or_else(String::new, |(class, [density, head])| format!("{class} {:+.1}", 100.0 * (head - density)));
        let row = [ebi[0], ebi[1], auc[0], auc[1]].map(|figure| 100.0 * figure);
        println!("{name} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {worst}", row[0], row[1], row[2], row[3], mean(0), mean(1));
        rows.push(row);
        cells.extend(unseen.into_iter().map(|(_, cell)| cell));
    }
    summary(&rows, &cells);
    Ok(())
}

fn summary(rows: &[[f64; 4]], cells: &[[f64; 2]]) {
    let mean = |place: usize| rows.iter().map(|row| row[place]).sum::<f64>() / rows.len() as f64;
    let unseen = |place: usize| 100.0 * cells.iter().map(|cell| cell[place]).sum::<f64>() / cells.len() as f64;
    println!("mean | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |", mean(0), mean(1), mean(2), mean(3), unseen(0), unseen(1));
    let worse = cells.iter().filter(|[density, head]| head < &(density - WORSE)).count();
    println!("{worse} of {} camera x class cells lose more than {:.0} points", cells.len(), 100.0 * WORSE);
}

/// Sorted entries of a folder.
fn folders(folder: &Path) -> Result<Vec<PathBuf>, HostError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(HostError::file(folder))? {
        found.push(entry.map_err(HostError::file(folder))?.path());
    }
    found.sort();
    Ok(found)
}

/// Clips at any depth below a folder.
fn clips_below(data: &Path, folder: &Path, out: &mut Vec<ClipFiles>) -> Result<(), HostError> {
    for path in folders(folder)? {
        if path.is_dir() {
            clips_below(data, &path, out)?;
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(POSE_SUFFIX));
        let below = path.parent().and_then(|parent| parent.strip_prefix(data.join("json")).ok());
        if let (Some(name), Some(below)) = (name, below) {
            let key = below.join(name).iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
            out.push(ClipFiles { name: name.to_owned(), key, poses: path.clone(), mask: None });
        }
    }
    Ok(())
}

/// Every window of the clips below a folder with features, score and truth.
fn labelled(data: &Path, folder: &Path, weights: &StgNfWeights, events: &Events, stride: u32) -> Result<Vec<Labelled>, HostError> {
    let scorer = StgNfScorer::new(&weights.parameters, &weights.metadata.adjacency(), Lane::Fast)
        .map_err(|fault| HostError::data(folder, "weights", fault))?;
    let mut clips = Vec::new();
    clips_below(data, folder, &mut clips)?;
    let policy = WindowPolicy { stride, ..WindowPolicy::published(weights.parameters.shape.frames()) };
    let (set, _) = read_clips(&clips, Some(events), &policy, &pixel_scale(weights, data)?)?;
    let mut window = Window::EMPTY;
    window.set_frames(set.frames());
    let mut out = Vec::new();
    for index in 0..set.len() as u32 {
        window.values_mut().copy_from_slice(set.window(index));
        let Ok(density) = scorer.score(&window) else { continue };
        let origin = set.origin(index);
        let persons = clips.get(origin.clip as usize).and_then(|clip| events.get(&clip.key));
        let of_person = persons.and_then(|persons| persons.get(&origin.person.to_string()));
        let event =
            of_person.and_then(|events| events.iter().find(|(first, last, _)| (*first..=*last).contains(&u64::from(origin.centre))));
        let class = event.map(|(_, _, class)| class.clone());
        out.push((HeadSample::new(&window, density, class.is_some(), origin.clip), class));
    }
    Ok(out)
}

/// A head from the samples, those of one class left out.
fn trained(samples: &[Labelled], left_out: Option<&str>) -> Result<VerdictHead, NoHead> {
    let kept: Vec<HeadSample> =
        samples.iter().filter(|(_, class)| class.is_none() || class.as_deref() != left_out).map(|(sample, _)| sample.clone()).collect();
    train(&kept, &HeadRecipe::default())
}

/// A sample's score by a head, or the density score.
fn score(sample: &HeadSample, head: Option<&VerdictHead>) -> f64 {
    let score = head.map_or(sample.density, |head| head.combine_features(&sample.features, sample.density));
    f64::from(score.value())
}

/// AUC-ROC over all windows.
fn whole_auc(test: &[Labelled], head: Option<&VerdictHead>) -> f64 {
    auc_roc(&mut test.iter().map(|(sample, _)| (score(sample, head), sample.is_anomalous)).collect::<Vec<_>>()).unwrap_or(f64::NAN)
}

/// EBI with the EER threshold from the other half of the clips, mean of both ways.
fn held_out_ebi(test: &[Labelled], head: Option<&VerdictHead>) -> f64 {
    let half = |odd: u32| -> Vec<(f64, bool)> {
        let of_half = test.iter().filter(|(sample, _)| sample.group % 2 == odd);
        of_half.map(|(sample, _)| (score(sample, head), sample.is_anomalous)).collect()
    };
    let ebi = |tuned: u32| {
        let threshold = equal_error_rate_of(half(tuned)).map_or(f64::NAN, |eer| eer.threshold);
        let judged = half(1 - tuned);
        let flagged = |anomalous: bool| {
            let of_class = || judged.iter().filter(|(_, label)| *label == anomalous);
            of_class().filter(|(score, _)| *score >= threshold).count() as f64 / of_class().count() as f64
        };
        ebi_of(1.0 - flagged(true), flagged(false))
    };
    0.5 * (ebi(0) + ebi(1))
}

/// For each class of the test split: AUC-ROC of its windows against normal ones, by density and by a head whose verdicts lack the class.
fn unseen_cells(learn: &[Labelled], test: &[Labelled]) -> Vec<(String, [f64; 2])> {
    let classes: BTreeSet<&String> = test.iter().filter_map(|(_, class)| class.as_ref()).collect();
    let mut cells = Vec::new();
    for class in classes {
        // Without a head the density score serves, as it would on the camera.
        let head = trained(learn, Some(class)).ok();
        let of_class = |(_, other): &&Labelled| other.as_ref().is_none_or(|other| other == class);
        let auc = |head: Option<&VerdictHead>| {
            let windows = test.iter().filter(of_class);
            auc_roc(&mut windows.map(|(sample, _)| (score(sample, head), sample.is_anomalous)).collect::<Vec<_>>()).unwrap_or(f64::NAN)
        };
        cells.push((class.clone(), [auc(None), auc(head.as_ref())]));
    }
    cells
}
