//! AlphaPose tracked-person files: `{"person": {"frame": {"keypoints": [x, y, confidence] * 17, "scores": s}}}`, COCO-17, pixels.
//!
//! One file per clip, as the STG-NF and ShanghaiTech releases have them. Frame numbers are strings of digits, from 0.

use crate::error::HostError;
use alfred_core::limits::KEYPOINTS;
use alfred_core::pose::{KeyPoint, PersonPose, PoseFrame};
use alfred_core::units::{FrameIndex, PersonId};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Largest file that is read, bytes: about five hours of ten people.
const FILE_BYTES_MAX: u64 = 1 << 31;

/// The detections of one person, by rising frame number.
pub type Track = Vec<(FrameIndex, PersonPose)>;

/// The tracks of one clip, by person number.
pub type Tracks = BTreeMap<u32, Track>;

#[derive(serde::Deserialize)]
struct Entry {
    keypoints: Vec<f32>,
    #[serde(default)]
    scores: Option<f32>,
}

/// Reads a clip.
///
/// # Errors
/// [`HostError`] naming the person and the frame at fault.
pub fn read(path: &Path) -> Result<Tracks, HostError> {
    let size = fs::metadata(path).map_err(HostError::file(path))?.len();
    if size > FILE_BYTES_MAX {
        return Err(HostError::data(path, format!("{size} bytes"), "cut the clip: at most 2 GiB are read"));
    }
    let text = fs::read(path).map_err(HostError::file(path))?;
    let persons: BTreeMap<String, BTreeMap<String, Entry>> = serde_json::from_slice(&text).map_err(|error| {
        HostError::data(
            path,
            format!("line {}, column {}: {error}", error.line(), error.column()),
            "export the poses again as AlphaPose JSON",
        )
    })?;
    let mut tracks = Tracks::new();
    for (person, frames) in persons {
        let number = |text: &str, what: &str| {
            let mend = format!("write the {what} as a whole number of digits");
            text.trim().parse::<f64>().ok().filter(|n| *n >= 0.0 && *n <= f64::from(u32::MAX)).ok_or((mend, format!("{what} {text:?}")))
        };
        let id = number(&person, "person").map_err(|(mend, place)| HostError::data(path, place, mend))? as u32;
        let mut track = Track::with_capacity(frames.len());
        for (frame, entry) in frames {
            let index =
                number(&frame, "frame").map_err(|(mend, place)| HostError::data(path, format!("person {person}, {place}"), mend))?;
            let place = || format!("person {person}, frame {frame}");
            track.push((FrameIndex(index as u64), pose(id, &entry).map_err(|mend| HostError::data(path, place(), mend))?));
        }
        track.sort_by_key(|(frame, _)| *frame);
        tracks.insert(id, track);
    }
    Ok(tracks)
}

fn pose(id: u32, entry: &Entry) -> Result<PersonPose, String> {
    if entry.keypoints.len() != KEYPOINTS * 3 {
        return Err(format!("give 51 key-point numbers instead of {}", entry.keypoints.len()));
    }
    if !entry.keypoints.iter().all(|value| value.is_finite()) {
        return Err("replace NaN and infinity by 0, 0, 0 (undetected)".into());
    }
    let mut keypoints = [KeyPoint::UNDETECTED; KEYPOINTS];
    for (keypoint, values) in keypoints.iter_mut().zip(entry.keypoints.chunks_exact(3)) {
        *keypoint = KeyPoint { x: values[0], y: values[1], confidence: values[2] };
    }
    Ok(PersonPose { id: PersonId(id), score: entry.scores.unwrap_or(1.0), keypoints })
}

/// Writes the poses of a clip. The same poses give the same bytes.
///
/// # Errors
/// [`HostError::File`] when the file cannot be written.
pub fn write<'f>(path: &Path, frames: impl Iterator<Item = &'f PoseFrame>) -> Result<(), HostError> {
    let mut persons: BTreeMap<u32, Vec<(u64, PersonPose)>> = BTreeMap::new();
    for frame in frames {
        for person in &frame.persons {
            persons.entry(person.id.0).or_default().push((frame.frame.0, *person));
        }
    }
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = write_text(&mut text, &persons);
    fs::write(path, text).map_err(HostError::file(path))
}

fn write_text(out: &mut Vec<u8>, persons: &BTreeMap<u32, Vec<(u64, PersonPose)>>) -> std::io::Result<()> {
    write!(out, "{{")?;
    for (index, (id, track)) in persons.iter().enumerate() {
        write!(out, "{}\"{id}\": {{", if index == 0 { "" } else { ",\n" })?;
        for (index, (frame, pose)) in track.iter().enumerate() {
            write!(out, "{}\"{frame:04}\": {{\"keypoints\": [", if index == 0 { "" } else { ", " })?;
            for (index, k) in pose.keypoints.iter().enumerate() {
                write!(out, "{}{}, {}, {}", if index == 0 { "" } else { ", " }, k.x, k.y, k.confidence)?;
            }
            write!(out, "], \"scores\": {}}}", pose.score)?;
        }
        write!(out, "}}")?;
    }
    writeln!(out, "}}")
}
