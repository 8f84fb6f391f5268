//! Where published data sets keep their clips and masks.
//!
//! - ShanghaiTech, as STG-NF released its poses: `pose/{train,test}/CC_VVVV_alphapose_tracked_person.json`, masks of the test clips
//!   `gt/test_frame_mask/CC_VVVV.npy`.
//! - HuVAD: `CAMERA_VIDEO.pkl` anywhere below a folder `train` or `test`, in slices (`train/slice0/`) where the split is the continual
//!   one; masks `CAMERA_VIDEO.npy` beside, or anywhere below a folder whose name begins with `label` or `gt`. The conventional and the
//!   continual split hold the same videos, so a folder with both is refused.

use super::layout::{ClipFiles, POSE_SUFFIX, Split, collect};
use crate::error::HostError;
use alfred_clips::huvad::{camera, clip_name};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A published layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// ShanghaiTech.
    ShanghaiTech,
    /// HuVAD.
    Huvad,
}

impl Published {
    /// Which one a folder has; `None` for ours.
    ///
    /// # Errors
    /// [`HostError`] when a folder cannot be read.
    pub fn recognise(data: &Path) -> Result<Option<Self>, HostError> {
        if data.join("json").is_dir() || !data.is_dir() {
            return Ok(None);
        }
        let pose = data.join("pose");
        if pose.join("train").is_dir() || pose.join("test").is_dir() {
            return Ok(Some(Self::ShanghaiTech));
        }
        let mut files = Vec::new();
        collect(data, &mut files)?;
        Ok(files.iter().any(|path| has_extension(path, "pkl")).then_some(Self::Huvad))
    }
}

/// The clips of a camera's split, by name; of all cameras without one.
///
/// # Errors
/// [`HostError`] when a folder cannot be read, holds no such clip, or holds one twice.
pub fn clips(data: &Path, layout: Published, domain: Option<&str>, split: Split) -> Result<Vec<ClipFiles>, HostError> {
    let mut clips = match layout {
        Published::ShanghaiTech => shanghaitech(data, split)?,
        Published::Huvad => huvad(data, split)?,
    };
    clips.sort();
    if let Some([one, two]) = clips.array_windows::<2>().find(|[one, two]| one.name == two.name) {
        let place = format!("clip {} is there twice, the other is {}", one.name, two.poses.display());
        return Err(HostError::data(&one.poses, place, "give the folder of one split, conventional or continual"));
    }
    let Some(domain) = domain else {
        let mend = "put pose files there (ShanghaiTech: pose/SPLIT/CC_VVVV_alphapose_tracked_person.json, HuVAD: SPLIT/CAMERA_VIDEO.pkl)";
        return if clips.is_empty() { Err(HostError::data(data, format!("no clip of split {}", split.name()), mend)) } else { Ok(clips) };
    };
    let there: BTreeSet<String> = clips.iter().map(|clip| camera(&clip.name).to_owned()).collect();
    clips.retain(|clip| camera(&clip.name) == domain);
    if clips.is_empty() {
        let there: Vec<String> = there.into_iter().collect();
        let place = format!("no camera {domain:?} in split {}", split.name());
        return Err(HostError::data(data, place, format!("name one of {}", there.join(", "))));
    }
    Ok(clips)
}

/// Names of the cameras of both splits, sorted.
///
/// # Errors
/// As [`clips`], when neither split has a clip.
pub fn cameras(data: &Path, layout: Published) -> Result<Vec<String>, HostError> {
    let (train, test) = (clips(data, layout, None, Split::Train), clips(data, layout, None, Split::Test));
    let clips = match (train, test) {
        (Ok(train), Ok(test)) => [train, test].concat(),
        (Ok(clips), Err(_)) | (Err(_), Ok(clips)) => clips,
        (Err(error), Err(_)) => return Err(error),
    };
    let names: BTreeSet<String> = clips.iter().map(|clip| camera(&clip.name).to_owned()).collect();
    Ok(names.into_iter().collect())
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

/// Folders between the data set and a file, from above.
fn folders_of(data: &Path, file: &Path) -> Vec<String> {
    let below = file.parent().and_then(|folder| folder.strip_prefix(data).ok()).unwrap_or(Path::new(""));
    below.iter().map(|part| part.to_string_lossy().into_owned()).collect()
}

fn key(folders: &[String], name: &str) -> String {
    folders.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/")
}

fn shanghaitech(data: &Path, split: Split) -> Result<Vec<ClipFiles>, HostError> {
    let folder = data.join("pose").join(split.name());
    let mut found = Vec::new();
    if folder.is_dir() {
        collect(&folder, &mut found)?;
    }
    let clip = |poses: PathBuf| {
        let name = poses.file_name()?.to_str()?.strip_suffix(POSE_SUFFIX)?.to_owned();
        let mask = data.join("gt").join("test_frame_mask").join(format!("{name}.npy"));
        // Training clips are normal throughout, and have no masks.
        let mask = (split == Split::Test && mask.is_file()).then_some(mask);
        let key = key(&folders_of(data, &poses), &name);
        Some(ClipFiles { name, poses, mask, key })
    };
    Ok(found.into_iter().filter_map(clip).collect())
}

fn huvad(data: &Path, split: Split) -> Result<Vec<ClipFiles>, HostError> {
    let mut found = Vec::new();
    collect(data, &mut found)?;
    let mut labels: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in found.iter().filter(|path| has_extension(path, "npy") && folders_of(data, path).iter().any(|name| is_label_folder(name))) {
        labels.entry(clip_name(path)).or_default().push(path.clone());
    }
    let mut clips = Vec::new();
    for poses in found.into_iter().filter(|path| has_extension(path, "pkl")) {
        let folders = folders_of(data, &poses);
        if !folders.iter().any(|folder| folder.eq_ignore_ascii_case(split.name())) {
            continue;
        }
        let name = clip_name(&poses);
        let beside = poses.with_extension("npy");
        let mask = if beside.is_file() { Some(beside) } else { label_of(data, &poses, &folders, labels.get(&name))? };
        let key = key(&folders, &name);
        clips.push(ClipFiles { name, poses, mask, key });
    }
    Ok(clips)
}

fn is_label_folder(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("label") || name.starts_with("gt")
}

/// Of several labels of this name the one whose folders have most in common with the clip's. No guess between equals: wrong labels
/// would go unnoticed.
fn label_of(data: &Path, poses: &Path, folders: &[String], labels: Option<&Vec<PathBuf>>) -> Result<Option<PathBuf>, HostError> {
    let Some(labels) = labels else { return Ok(None) };
    let common = |label: &PathBuf| folders_of(data, label).iter().filter(|folder| folders.contains(folder)).count();
    let best = labels.iter().map(common).max().unwrap_or(0);
    match labels.iter().filter(|label| common(label) == best).collect::<Vec<_>>().as_slice() {
        [one] => Ok(Some(one.to_path_buf())),
        [one, two, ..] => {
            let place = format!("two files could be its labels, {} and {}", one.display(), two.display());
            Err(HostError::data(poses, place, "put the right one beside it, or give the folder of one split"))
        }
        [] => Ok(None),
    }
}
