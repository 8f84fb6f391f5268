//! A target domain as the experiment sees it: one camera's slices in time order and its labelled validation part.

use crate::dataset::layout::{ClipFiles, Events, Split, clips_of, domains, read_events};
use crate::dataset::sound::sound_clips;
use crate::dataset::windows::{WindowSet, read_clips};
use crate::error::HostError;
use crate::experiment::source::Cutting;
use crate::phase::slices::cut;
use alfred_core::normalise::PixelScale;
use std::collections::BTreeMap;
use std::path::Path;

/// Windows with their truth. [`WindowSet::label`] says -1 for anomalous ones.
#[derive(Clone, Debug)]
pub struct Part {
    /// The windows.
    pub windows: WindowSet,
    /// Truth by window.
    pub is_anomalous: Vec<bool>,
    /// Class of each anomalous window where the data set names classes; an index into [`Camera::classes`].
    pub class: Vec<Option<u16>>,
    /// Names of the clips that [`crate::dataset::windows::Origin::clip`] numbers.
    pub clips: Vec<String>,
}

/// One camera.
#[derive(Clone, Debug)]
pub struct Camera {
    /// Its name.
    pub name: String,
    /// Its training stream, cut in time order.
    pub slices: Vec<Part>,
    /// Its labelled test part.
    pub validation: Part,
    /// Names of the anomaly classes, sorted.
    pub classes: Vec<String>,
}

/// Names of the target domains, sorted; `source` is not among them.
///
/// # Errors
/// [`HostError`] when a folder cannot be read, or holds no domain but the source.
pub fn camera_names(data: &Path) -> Result<Vec<String>, HostError> {
    let names = domains(data)?;
    if names.is_empty() {
        return Err(HostError::data(data, "no camera", "give a data set with one folder a camera, such as json/C0/{train,test}"));
    }
    Ok(names)
}

/// Reads a camera. Folders `train/slice0`, `train/slice1`, ... are the slices; without them the clips, in order of their names, are cut into
/// `slices` parts. Only the first `slices` are kept. Unreadable clips are named and left out, or end it when `is_strict`.
///
/// # Errors
/// [`HostError`] when no file can be read, a clip has no mask, or a slice has no window.
pub fn read_camera(
    data: &Path,
    name: &str,
    slices: usize,
    cutting: &Cutting,
    scale: &PixelScale,
    is_strict: bool,
) -> Result<Camera, HostError> {
    let events = read_events(data)?;
    let classes = class_names(events.as_ref(), name);
    let part = |files: &[ClipFiles]| read_part(files, events.as_ref(), &classes, cutting, scale);
    let mut parts = Vec::new();
    for files in slices_of(sound_clips(clips_of(data, Some(name), Split::Train)?, is_strict)?.clips, slices) {
        parts.push(part(&files)?);
    }
    let validation = part(&sound_clips(clips_of(data, Some(name), Split::Test)?, is_strict)?.clips)?;
    Ok(Camera { name: name.into(), slices: parts, validation, classes })
}

/// Reads the labelled test part of the source domain.
///
/// # Errors
/// As [`read_camera`].
pub fn read_source_test(data: &Path, cutting: &Cutting, scale: &PixelScale, is_strict: bool) -> Result<Part, HostError> {
    let events = read_events(data)?;
    read_part(&sound_clips(clips_of(data, None, Split::Test)?, is_strict)?.clips, events.as_ref(), &[], cutting, scale)
}

fn read_part(
    files: &[ClipFiles],
    events: Option<&Events>,
    classes: &[String],
    cutting: &Cutting,
    scale: &PixelScale,
) -> Result<Part, HostError> {
    let (windows, truths) = read_clips(files, events, &cutting.policy, scale)?;
    if let Some((file, _)) = files.iter().zip(&truths).find(|(_, truth)| !truth.has_mask) {
        return Err(HostError::data(
            &file.poses,
            "the clip has no mask",
            "put its frame mask under masks/: without truth nothing can be measured",
        ));
    }
    let numbers = 0..windows.len() as u32;
    let class = |window: u32| {
        let origin = windows.origin(window);
        let persons = events?.get(&files.get(origin.clip as usize)?.key)?;
        let centre = u64::from(origin.centre);
        let (_, _, class) = persons.get(&origin.person.to_string())?.iter().find(|(first, last, _)| (*first..=*last).contains(&centre))?;
        classes.binary_search(class).ok().map(|index| index as u16)
    };
    Ok(Part {
        is_anomalous: numbers.clone().map(|window| windows.label(window) < 0.0).collect(),
        class: numbers.map(class).collect(),
        clips: files.iter().map(|file| file.name.clone()).collect(),
        windows,
    })
}

fn class_names(events: Option<&Events>, camera: &str) -> Vec<String> {
    let below = format!("{camera}/");
    let mut names: Vec<String> = events
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(&below))
        .flat_map(|(_, persons)| persons.values().flatten().map(|(_, _, class)| class.clone()))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Clips by the folder that they lie in, if there is more than one; else cut by number.
fn slices_of(files: Vec<ClipFiles>, slices: usize) -> Vec<Vec<ClipFiles>> {
    let mut folders: BTreeMap<(usize, String), Vec<ClipFiles>> = BTreeMap::new();
    for file in &files {
        let folder = file.key.rsplit('/').nth(1).unwrap_or_default().to_owned();
        // slice10 comes after slice9.
        folders.entry((folder.len(), folder)).or_default().push(file.clone());
    }
    let parts = if folders.len() > 1 {
        folders.into_values().collect()
    } else {
        cut(files.len(), slices).into_iter().map(|part| files[part].to_vec()).filter(|part: &Vec<ClipFiles>| !part.is_empty()).collect()
    };
    let mut parts: Vec<Vec<ClipFiles>> = parts;
    parts.truncate(slices);
    parts
}
