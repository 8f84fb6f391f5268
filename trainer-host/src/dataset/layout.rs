//! Where clips and masks lie: our own layout, that of benchmarks cut by domain and split, and those of published data sets
//! ([`super::published_layout`]).
//!
//! Ours: below the given folder, poses lie in `json/**/{train,test}/**/CC_VVVV_alphapose_tracked_person.json`, masks at the same place
//! under `masks/` as `CC_VVVV.npy` (uint8, one number per frame, 1 = anomalous), and truth by person, if any, in `events.json`. A folder
//! that holds a domain `source` uses that one alone.

use super::published_layout::{self, Published};
use crate::error::HostError;
use alfred_clips::frame_mask;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// End of the name of a clip's pose file.
pub const POSE_SUFFIX: &str = "_alphapose_tracked_person.json";

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To evaluate on.
    Test,
}

impl Split {
    /// The folder's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// The files of one clip.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClipFiles {
    /// `CC_VVVV`.
    pub name: String,
    /// Its poses.
    pub poses: PathBuf,
    /// Its frame mask, if there is one.
    pub mask: Option<PathBuf>,
    /// Its key in `events.json`: folders below `json/` and the name, with slashes.
    pub key: String,
}

/// Truth by person, where a data set has it: clip key, person number, and (first frame, last frame, class) of each event.
pub type Events = BTreeMap<String, BTreeMap<String, Vec<(u64, u64, String)>>>;

/// Reads `events.json`; `None` when the data set has none.
///
/// # Errors
/// [`HostError::Data`] when the file is not of this form.
pub fn read_events(data: &Path) -> Result<Option<Events>, HostError> {
    let path = data.join("events.json");
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read(&path).map_err(HostError::file(&path))?;
    let broken = |error| HostError::data(&path, error, "write {clip: {person: [[first, last, class]]}}, or remove the file");
    serde_json::from_slice(&text).map(Some).map_err(broken)
}

/// The clips of a split, by name.
///
/// # Errors
/// [`HostError`] when the folder cannot be read or holds no clip.
pub fn clips(data: &Path, split: Split) -> Result<Vec<ClipFiles>, HostError> {
    clips_of(data, None, split)
}

/// The clips of a domain's split, by name: `json/DOMAIN/SPLIT`. Without a domain `source` where there is one, else the whole of `json/`.
/// In the published layouts a domain is a camera, the beginning of the clips' names; without one all cameras are taken.
///
/// # Errors
/// [`HostError`] when there is no such domain, or its folder cannot be read or holds no clip.
pub fn clips_of(data: &Path, domain: Option<&str>, split: Split) -> Result<Vec<ClipFiles>, HostError> {
    if let Some(published) = Published::recognise(data)? {
        return published_layout::clips(data, published, domain, split);
    }
    let json = data.join("json");
    let source = json.join("source");
    let base = match domain {
        Some(domain) => domain_folder(&json, domain)?,
        None if source.is_dir() => source,
        None => json.clone(),
    };
    let folder = base.join(split.name());
    let mut found = Vec::new();
    collect(&folder, &mut found)?;
    let mut out: Vec<ClipFiles> = found
        .into_iter()
        .filter_map(|poses| {
            let name = poses.file_name()?.to_str()?.strip_suffix(POSE_SUFFIX)?.to_owned();
            let below = poses.parent()?.strip_prefix(&json).ok()?.to_owned();
            let mask = data.join("masks").join(&below).join(format!("{name}.npy"));
            let mask = mask.is_file().then_some(mask);
            let key = below.join(&name).iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
            Some(ClipFiles { name, poses, mask, key })
        })
        .collect();
    out.sort();
    if out.is_empty() {
        return Err(HostError::data(&folder, "no clip", format!("put files named CC_VVVV{POSE_SUFFIX} there, or run alfred-host synth")));
    }
    Ok(out)
}

/// `json/DOMAIN`, for a name that is a folder there and nothing else.
fn domain_folder(json: &Path, domain: &str) -> Result<PathBuf, HostError> {
    let mut parts = Path::new(domain).components();
    let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    let folder = json.join(domain);
    if is_name && folder.is_dir() {
        return Ok(folder);
    }
    let there = folders(json)?;
    Err(HostError::data(json, format!("no domain {domain:?}"), format!("name one of {}", there.join(", "))))
}

/// Names of a data set's target domains, sorted: the cameras of a published layout, the folders below `json/` but for `source`.
///
/// # Errors
/// [`HostError`] when a folder cannot be read or holds no clip.
pub fn domains(data: &Path) -> Result<Vec<String>, HostError> {
    if let Some(published) = Published::recognise(data)? {
        return published_layout::cameras(data, published);
    }
    let mut names = folders(&data.join("json"))?;
    names.retain(|name| !["source", Split::Train.name(), Split::Test.name()].contains(&name.as_str()));
    Ok(names)
}

fn folders(folder: &Path) -> Result<Vec<String>, HostError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(HostError::file(folder))? {
        let entry = entry.map_err(HostError::file(folder))?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

pub(super) fn collect(folder: &Path, out: &mut Vec<PathBuf>) -> Result<(), HostError> {
    for entry in fs::read_dir(folder).map_err(HostError::file(folder))? {
        let path = entry.map_err(HostError::file(folder))?.path();
        if path.is_dir() {
            collect(&path, out)?;
        } else {
            out.push(path);
        }
    }
    Ok(())
}

/// Reads a frame mask: `true` = anomalous.
///
/// # Errors
/// [`HostError::Clip`] when the file is no npy array with one axis of numbers.
pub fn read_mask(path: &Path) -> Result<Vec<bool>, HostError> {
    Ok(frame_mask::read(path)?)
}

/// Writes a frame mask.
///
/// # Errors
/// [`HostError::Data`] when the file cannot be written.
pub fn write_mask(path: &Path, mask: Vec<u8>) -> Result<(), HostError> {
    ndarray_npy::write_npy(path, &ndarray::Array1::from_vec(mask))
        .map_err(|error| HostError::data(path, error, "check that the folder exists and may be written"))
}
