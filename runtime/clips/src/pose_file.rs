//! Reads AlphaPose tracked-person JSON, in both layouts, into frames.
//!
//! Tracked layout (STG-NF's data): `{"person": {"frame": {"keypoints": [51 numbers], "scores": s}}}`.
//! Result layout (AlphaPose's own output with tracking): `[{"image_id": "12.jpg", "idx": 3, "keypoints": [51 numbers], "score": s}]`.
//! Key-points are x, y (pixels), confidence in COCO-17 order. Frames are sorted by number, not by their text, so that unpadded numbers
//! work too.

use crate::error::ClipError;
use alfred_core::limits::{KEYPOINTS, PERSONS_MAX};
use alfred_core::pose::{KeyPoint, PersonPose, PoseFrame};
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

/// Bytes of a pose file; a larger one is refused before it is read (a day of one camera is about 500 MB).
pub const POSE_FILE_BYTES_MAX: u64 = 2 << 30;

/// Frames of a clip; beyond it a file is refused, since a typing error in a frame number would otherwise ask for endless rows.
pub const CLIP_FRAMES_MAX: u64 = 10_000_000;

/// One clip's poses, frame by frame.
#[derive(Clone, Debug, Default)]
pub struct Clip {
    /// The file's name without AlphaPose's suffix: `01_0014`.
    pub name: String,
    /// Frames with at least one person, in order. Capture times are zero: files have none.
    pub frames: Vec<PoseFrame>,
    /// Persons that did not fit into their frame (more than 64).
    pub persons_over_limit: u64,
}

impl Clip {
    /// Number of frames if the clip ends with its last pose.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.frames.last().map_or(0, |frame| frame.frame.0 + 1)
    }
}

/// One clip's poses in one list: less memory than [`Clip`] where frames have few persons.
#[derive(Clone, Debug, Default)]
pub struct Poses {
    /// As [`Clip::name`].
    pub name: String,
    /// By frame, then person; each person once per frame, at most 64 persons per frame.
    pub poses: Vec<Pose>,
    /// As [`Clip::persons_over_limit`].
    pub persons_over_limit: u64,
}

/// The frame's number, and a person in it.
pub type Pose = (u64, PersonPose);

/// Name of the clip that a file holds.
#[must_use]
pub fn clip_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.strip_suffix(".json").unwrap_or(&name);
    stem.strip_suffix("_alphapose_tracked_person").unwrap_or(stem).to_owned()
}

/// Reads one file.
///
/// # Errors
/// One line that names the file, the person and frame, and the mend.
pub fn read(path: &Path) -> Result<Clip, ClipError> {
    parse(&read_bytes(path, POSE_FILE_BYTES_MAX)?, clip_name(path)).map_err(|what| ClipError::new(path, what))
}

/// Reads one file as one list.
///
/// # Errors
/// As [`read`].
pub fn read_poses(path: &Path) -> Result<Poses, ClipError> {
    parse_poses(&read_bytes(path, POSE_FILE_BYTES_MAX)?, clip_name(path)).map_err(|what| ClipError::new(path, what))
}

/// Reads a file of at most so many bytes.
pub(crate) fn read_bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ClipError> {
    let size = std::fs::metadata(path).map_err(|error| ClipError::new(path, format!("{error}: is the path right?")))?.len();
    if size > bytes_max {
        return Err(ClipError::new(path, format!("{size} bytes, at most {bytes_max} are read: split the clip")));
    }
    std::fs::read(path).map_err(|error| ClipError::new(path, error))
}

/// Reads one clip from the bytes of a file.
///
/// # Errors
/// What is wrong and where, without the file's name.
pub fn parse(text: &[u8], name: String) -> Result<Clip, String> {
    parse_poses(text, name).map(into_frames)
}

/// Reads one clip from the bytes of a file, as one list.
///
/// # Errors
/// As [`parse`].
pub fn parse_poses(text: &[u8], name: String) -> Result<Poses, String> {
    let poses = match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => tracked_layout(text)?,
        Some(b'[') => result_layout(text)?,
        Some(_) => return Err("no JSON object or list: AlphaPose tracked-person JSON is needed".into()),
        None => return Err("the file is empty: AlphaPose tracked-person JSON is needed".into()),
    };
    in_order(poses, name)
}

fn tracked_layout(text: &[u8]) -> Result<Vec<Pose>, String> {
    let persons: Pairs<Pairs<TrackedEntry>> = serde_json::from_slice(text).map_err(json_error)?;
    let mut poses = Vec::new();
    for (person, frames) in persons.0 {
        let id: u32 = person.parse().map_err(|_| format!("person {person:?}: a whole number is needed as person id"))?;
        for (frame, entry) in frames.0 {
            let number = frame.parse().map_err(|_| format!("person {id}, frame {frame:?}: a whole number is needed as frame"))?;
            let pose = person_pose(id, &entry.keypoints, entry.scores).map_err(|what| format!("person {id}, frame {frame}: {what}"))?;
            poses.push((number, pose));
        }
    }
    Ok(poses)
}

fn result_layout(text: &[u8]) -> Result<Vec<Pose>, String> {
    let entries: Vec<ResultEntry> = serde_json::from_slice(text).map_err(json_error)?;
    let mut poses = Vec::with_capacity(entries.len());
    for (place, entry) in entries.iter().enumerate() {
        let image = entry.image_id.text();
        let digits = image.rsplit('/').next().unwrap_or_default().split('.').next().unwrap_or_default();
        let number = digits.parse().map_err(|_| format!("entry {place}, image_id {image:?}: a name like 12.jpg is needed"))?;
        let id = entry.idx.as_ref().and_then(Index::number);
        let id = id.ok_or_else(|| format!("entry {place}: no person number (idx): run AlphaPose with tracking (--pose_track)"))?;
        let pose = person_pose(id, &entry.keypoints, entry.score).map_err(|what| format!("entry {place}, image {image}: {what}"))?;
        poses.push((number, pose));
    }
    Ok(poses)
}

fn json_error(error: serde_json::Error) -> String {
    format!("{error}: AlphaPose tracked-person JSON is needed (NaN and Infinity are no JSON numbers)")
}

fn person_pose(id: u32, numbers: &[f64], score: Option<f64>) -> Result<PersonPose, String> {
    if numbers.len() != 3 * KEYPOINTS {
        return Err(format!("{} numbers in keypoints, 51 are needed: x, y, confidence of the 17 COCO key-points", numbers.len()));
    }
    let mut pose = PersonPose { id: PersonId(id), score: score.unwrap_or(1.0) as f32, ..PersonPose::EMPTY };
    for (keypoint, number) in pose.keypoints.iter_mut().zip(numbers.chunks_exact(3)) {
        *keypoint = KeyPoint { x: number[0] as f32, y: number[1] as f32, confidence: number[2] as f32 };
    }
    Ok(pose)
}

/// Sorts poses by frame and person, and refuses what cannot be a clip.
pub(crate) fn in_order(mut poses: Vec<Pose>, name: String) -> Result<Poses, String> {
    // In place: no two of them are equal in the end.
    poses.sort_unstable_by_key(|(frame, pose)| (*frame, pose.id));
    if let Some((number, _)) = poses.last().filter(|(number, _)| *number >= CLIP_FRAMES_MAX) {
        return Err(format!("frame {number}: at most {CLIP_FRAMES_MAX} frames are read: is the number right? Else split the clip"));
    }
    if let Some([(number, twice), _]) = poses.array_windows::<2>().find(|[one, two]| (one.0, one.1.id) == (two.0, two.1.id)) {
        return Err(format!("person {}, frame {number}: there are two poses: merge the tracks", twice.id.0));
    }
    let (all, mut current, mut in_frame) = (poses.len(), None, 0);
    poses.retain(|(number, _)| {
        in_frame = if current == Some(*number) { in_frame + 1 } else { 1 };
        current = Some(*number);
        in_frame <= PERSONS_MAX
    });
    Ok(Poses { name, persons_over_limit: (all - poses.len()) as u64, poses })
}

/// Groups poses by frame; persons of a frame are in the order of their numbers.
pub(crate) fn into_frames(poses: Poses) -> Clip {
    let mut clip = Clip { name: poses.name, persons_over_limit: poses.persons_over_limit, ..Clip::default() };
    for group in poses.poses.chunk_by(|a, b| a.0 == b.0) {
        let mut frame = PoseFrame::new(FrameIndex(group[0].0), MonotonicNs(0));
        for (_, pose) in group {
            // There is room: poses in order have at most PERSONS_MAX per frame.
            let _ = frame.persons.push(*pose);
        }
        clip.frames.push(frame);
    }
    clip
}

#[derive(serde::Deserialize)]
struct TrackedEntry {
    keypoints: Vec<f64>,
    #[serde(default)]
    scores: Option<f64>,
}

#[derive(serde::Deserialize)]
struct ResultEntry {
    image_id: Text,
    keypoints: Vec<f64>,
    #[serde(default)]
    score: Option<f64>,
    #[serde(default)]
    idx: Option<Index>,
}

/// AlphaPose writes names; COCO's own tools write numbers.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Number(u64),
}

impl Text {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// AlphaPose's trackers write a number, a number with a point, or a list with the number.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Index {
    Number(f64),
    List(Vec<f64>),
}

impl Index {
    fn number(&self) -> Option<u32> {
        let number = match self {
            Self::Number(number) => *number,
            Self::List(numbers) => *numbers.first()?,
        };
        (number >= 0.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0).then_some(number as u32)
    }
}

/// A JSON object as a list, so that a key that stands there twice is an error and not a silent loss.
struct Pairs<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
            type Value = Pairs<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object {person: {frame: {keypoints, scores}}}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(count: usize) -> String {
        (0..count).map(|number| number.to_string()).collect::<Vec<_>>().join(",")
    }

    fn read(text: &str) -> Result<Clip, String> {
        parse(text.as_bytes(), "clip".into())
    }

    #[test]
    fn both_layouts_give_the_same_frames() {
        let pose = numbers(51);
        let tracked = format!(
            r#"{{"7": {{"0009": {{"keypoints": [{pose}], "scores": 1.5}}, "10": {{"keypoints": [{pose}], "scores": null}}}}, "2": {{"0009": {{"keypoints": [{pose}], "scores": 0.5}}}}}}"#
        );
        let results = format!(
            r#"[{{"image_id": "10.jpg", "category_id": 1, "keypoints": [{pose}], "idx": [7.0], "box": [1, 2]}},
                {{"image_id": 9, "keypoints": [{pose}], "score": 1.5, "idx": 7}},
                {{"image_id": "a/9.png", "keypoints": [{pose}], "score": 0.5, "idx": 2.0}}]"#
        );
        let (one, two) = (read(&tracked).expect("tracked"), read(&results).expect("results"));
        assert_eq!(one.frames, two.frames);
        assert_eq!(one.length(), 11);
        let ids: Vec<u32> = one.frames[0].persons.iter().map(|person| person.id.0).collect();
        assert_eq!(ids, [2, 7]);
        assert_eq!(one.frames[1].persons[0].keypoints[16], KeyPoint { x: 48.0, y: 49.0, confidence: 50.0 });
        assert_eq!(one.frames[1].persons[0].score, 1.0);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let pose = numbers(51);
        let cases = [
            (String::new(), "empty"),
            ("nonsense".into(), "no JSON object"),
            ("{\"1\": {\"0\": ".into(), "line 1 column"),
            (format!(r#"{{"1": {{"0": {{"keypoints": [{}]}}}}}}"#, numbers(50)), "person 1, frame 0: 50 numbers"),
            (format!(r#"{{"one": {{"0": {{"keypoints": [{pose}]}}}}}}"#), "person \"one\""),
            (format!(r#"{{"1": {{"x": {{"keypoints": [{pose}]}}}}}}"#), "frame \"x\""),
            (format!(r#"{{"1": {{"0": {{"keypoints": [{pose}]}}, "0": {{"keypoints": [{pose}]}}}}}}"#), "person 1, frame 0: there are two"),
            (format!(r#"{{"1": {{"99999999999": {{"keypoints": [{pose}]}}}}}}"#), "frame 99999999999"),
            (format!(r#"{{"1": {{"0": {{"keypoints": [NaN, {}]}}}}}}"#, numbers(50)), "NaN"),
            (format!(r#"[{{"image_id": "0.jpg", "keypoints": [{pose}]}}]"#), "--pose_track"),
            (format!(r#"[{{"image_id": "x.jpg", "keypoints": [{pose}], "idx": 1}}]"#), "image_id"),
            (format!(r#"[{{"image_id": "1.jpg", "keypoints": [{pose}], "idx": -1}}]"#), "idx"),
        ];
        for (text, part) in cases {
            let error = read(&text).expect_err("refused");
            assert!(error.contains(part), "{error:?} should name {part:?}");
        }
    }

    #[test]
    fn names_lose_alphaposes_suffix() {
        assert_eq!(clip_name(Path::new("a/01_0014_alphapose_tracked_person.json")), "01_0014");
        assert_eq!(clip_name(Path::new("b/clip.json")), "clip");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, String::new());
        }

        #[test]
        fn broken_files_are_read_or_refused(at in 0_usize..600, byte in any::<u8>()) {
            let mut bytes = format!(r#"{{"7": {{"0009": {{"keypoints": [{}], "scores": 1.5}}}}}}"#, numbers(51)).into_bytes();
            let place = at % bytes.len();
            bytes[place] = byte;
            let _ = parse(&bytes, String::new());
        }
    }
}
