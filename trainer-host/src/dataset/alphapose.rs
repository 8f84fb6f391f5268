//! AlphaPose tracked-person files: `{"person": {"frame": {"keypoints": [x, y, confidence] * 17, "scores": s}}}`, COCO-17, pixels.
//!
//! One file per clip, as the STG-NF and ShanghaiTech releases have them. Frame numbers are strings of digits, from 0.

use crate::error::HostError;
use alfred_clips::{huvad, pose_file};
use alfred_core::pose::{PersonPose, PoseFrame};
use alfred_core::units::FrameIndex;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

/// The detections of one person, by rising frame number.
pub type Track = Vec<(FrameIndex, PersonPose)>;

/// The tracks of one clip, by person number.
pub type Tracks = BTreeMap<u32, Track>;

/// Reads a clip, by person: HuVAD's pickles by their suffix `.pkl`, AlphaPose's JSON else.
///
/// # Errors
/// [`HostError`] naming the person and the frame at fault.
pub fn read(path: &Path) -> Result<Tracks, HostError> {
    let is_pickle = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pkl"));
    let clip = if is_pickle { huvad::read_poses(path)? } else { pose_file::read_poses(path)? };
    if clip.persons_over_limit > 0 {
        eprintln!("alfred-host: {}: {} persons beyond 64 in a frame, left out", path.display(), clip.persons_over_limit);
    }
    let mut tracks = Tracks::new();
    for (frame, person) in clip.poses {
        tracks.entry(person.id.0).or_default().push((FrameIndex(frame), person));
    }
    Ok(tracks)
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
