//! Reads HuVAD's pickles into frames: one file per video, `<camera>_<video>.pkl`, nothing in it run.
//!
//! Layout: `{frame: {person: [bbox, keypoints]}}`. Frames and persons are whole numbers or texts of digits; key-points are 17 rows of x, y
//! (pixels), confidence in COCO order, or the same 51 numbers in one row; lists, tuples and numpy arrays are taken alike. The bounding
//! box is not used: key-points say more. Undetected key-points are zeros. Labels are npy frame masks, see [`crate::frame_mask`].
//!
//! Memory for one file: its bytes (up to 1 GiB), its values (up to 4 GiB as [`alfred_pickle::dialect::Limits`] counts them) and 220 bytes
//! per pose (up to [`POSES_MAX`]). Measured with 200,000 poses: 98 MB of numpy arrays took 284 MB in all, 116 MB of lists 644 MB.

use crate::error::ClipError;
use crate::pose_file::{Clip, Pose, Poses, in_order, into_frames, read_bytes};
use alfred_core::limits::KEYPOINTS;
use alfred_core::pose::{KeyPoint, PersonPose};
use alfred_core::units::PersonId;
use alfred_pickle::dialect::{Dialect, POSES_BYTES_MAX};
use alfred_pickle::pickle::{Pickle, clip};
use alfred_pickle::value::Value;
use std::path::Path;

/// Poses of one file at most: 880 MB. Also ends files that name one person's dictionary again and again.
pub const POSES_MAX: usize = 4_000_000;

/// Name of the clip that a file holds: `C0_0001`.
#[must_use]
pub fn clip_name(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The camera of a clip: what stands before the first underscore; the whole name where there is none.
#[must_use]
pub fn camera(clip_name: &str) -> &str {
    clip_name.split_once('_').map_or(clip_name, |(camera, _)| camera)
}

/// Reads one file.
///
/// # Errors
/// One line that names the file, the frame and person, and the mend.
pub fn read(path: &Path) -> Result<Clip, ClipError> {
    read_poses(path).map(into_frames)
}

/// Reads one file as one list.
///
/// # Errors
/// As [`read`].
pub fn read_poses(path: &Path) -> Result<Poses, ClipError> {
    let bytes = read_bytes(path, POSES_BYTES_MAX as u64)?;
    parse_poses(&bytes, clip_name(path)).map_err(|what| ClipError::new(path, what))
}

/// Reads one clip from the bytes of a file.
///
/// # Errors
/// What is wrong and where, without the file's name.
pub fn parse(bytes: &[u8], name: String) -> Result<Clip, String> {
    parse_poses(bytes, name).map(into_frames)
}

/// Reads one clip from the bytes of a file, as one list.
///
/// # Errors
/// As [`parse`].
pub fn parse_poses(bytes: &[u8], name: String) -> Result<Poses, String> {
    if bytes.is_empty() {
        return Err("the file is empty: a pickle of poses is needed".into());
    }
    let pickle = Pickle::read(bytes, Dialect::Poses).map_err(|fault| fault.to_string())?;
    let poses = poses_of(&pickle, POSES_MAX)?;
    drop(pickle);
    in_order(poses, name)
}

fn poses_of(pickle: &Pickle<'_>, poses_max: usize) -> Result<Vec<Pose>, String> {
    let frames = pickle.pairs(pickle.root()).ok_or("no dictionary {frame: {person: [bbox, keypoints]}}: is it a pose file?")?;
    let mut poses: Vec<Pose> = Vec::new();
    for (key, persons) in frames {
        let frame = whole(pickle, key).ok_or_else(|| format!("frame {}: a whole number is needed as frame", shown(pickle, key)))?;
        let persons =
            pickle.pairs(persons).ok_or_else(|| format!("frame {frame}: no dictionary {{person: [bbox, keypoints]}}: save it again"))?;
        for (key, entry) in persons {
            let person = whole(pickle, key).and_then(|number| u32::try_from(number).ok());
            let person = person
                .ok_or_else(|| format!("frame {frame}, person {}: a whole number below 2^32 is needed as person", shown(pickle, key)))?;
            if poses.len() >= poses_max {
                return Err(format!("frame {frame}, person {person}: more than {poses_max} poses: split the video into shorter files"));
            }
            let pose = person_pose(pickle, PersonId(person), entry);
            poses.push((frame, pose.map_err(|what| format!("frame {frame}, person {person}: {what}"))?));
        }
    }
    Ok(poses)
}

/// A whole number, however it is written.
fn whole(pickle: &Pickle<'_>, value: Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(number).ok(),
        // Exact up to 2^53, far above any frame.
        Value::Float(number) => ((0.0..9e15).contains(&number) && number.fract() == 0.0).then_some(number as u64),
        _ => pickle.text(value)?.parse().ok(),
    }
}

/// A key for a message.
fn shown(pickle: &Pickle<'_>, value: Value) -> String {
    match (pickle.number(value), pickle.text(value)) {
        (Some(number), _) => number.to_string(),
        (_, Some(text)) => format!("\"{}\"", clip(text)),
        _ => "that is neither number nor text".into(),
    }
}

fn person_pose(pickle: &Pickle<'_>, id: PersonId, entry: Value) -> Result<PersonPose, String> {
    let entry = pickle.items(entry).ok_or("no list [bbox, keypoints]: save both in a list")?;
    let &[_bbox, keypoints] = entry else {
        return Err(format!("{} entries in its list, two are needed: [bbox, keypoints]", entry.len()));
    };
    let numbers = keypoint_numbers(pickle, pickle.get(keypoints))?;
    let mut pose = PersonPose { id, score: 1.0, ..PersonPose::EMPTY };
    for (place, (keypoint, [x, y, confidence])) in pose.keypoints.iter_mut().zip(numbers.as_chunks::<3>().0).enumerate() {
        *keypoint = KeyPoint { x: *x as f32, y: *y as f32, confidence: *confidence as f32 };
        if !keypoint.is_finite() {
            return Err(format!("key-point {place} is not finite: write 0, 0, 0 for one that was not detected"));
        }
    }
    Ok(pose)
}

/// Numbers of a pose: x, y, confidence of each key-point.
type Numbers = [f64; 3 * KEYPOINTS];
/// Rows of its array.
const ROWS: u32 = KEYPOINTS as u32;
/// Its array's length in one row.
const NUMBERS: u32 = 3 * ROWS;

fn wrong_count(count: usize) -> String {
    format!("{count} key-points, {KEYPOINTS} are needed: those of COCO, each x, y, confidence")
}

fn keypoint_numbers(pickle: &Pickle<'_>, keypoints: Value) -> Result<Numbers, String> {
    let mut numbers = [0.0; 3 * KEYPOINTS];
    if let Some(array) = pickle.array(keypoints) {
        match *array.shape() {
            [ROWS, 3] | [NUMBERS] | [1, ROWS, 3] => {}
            [rows, 3] | [1, rows, 3] => return Err(wrong_count(rows as usize)),
            ref shape => return Err(format!("key-points of shape {shape:?}: [17, 3] is needed: x, y, confidence of COCO's key-points")),
        }
        for (place, number) in numbers.iter_mut().enumerate() {
            *number = array.number(place).ok_or("a key-point is missing: save the file again")?;
        }
        return Ok(numbers);
    }
    let rows = pickle.items(keypoints).ok_or("its key-points are neither a list nor a numpy array: save them as one of both")?;
    let is_one_row = rows.len() == numbers.len();
    if !is_one_row && rows.len() != KEYPOINTS {
        return Err(wrong_count(rows.len()));
    }
    for (place, number) in numbers.iter_mut().enumerate() {
        let (row, column) = (place / 3, place % 3);
        let found = if is_one_row {
            rows.get(place).and_then(|id| pickle.number(pickle.get(*id)))
        } else {
            rows.get(row).and_then(|id| row_number(pickle, pickle.get(*id), column))
        };
        *number = found.ok_or_else(|| format!("key-point {row} is no row of three numbers: x, y, confidence are needed"))?;
    }
    Ok(numbers)
}

/// A number of a key-point's row; `None` unless the row has three.
fn row_number(pickle: &Pickle<'_>, row: Value, column: usize) -> Option<f64> {
    if let Some(array) = pickle.array(row) {
        return if *array.shape() == [3] { array.number(column) } else { None };
    }
    let &[x, y, confidence] = pickle.items(row)? else { return None };
    pickle.number(pickle.get(*[x, y, confidence].get(column)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_names_one_frame_again_and_again_ends_at_the_limit() {
        // A frame with 100 persons that share one entry, and 100 frames that are that one again.
        let row = [b"](".as_slice(), &b"K\x01".repeat(3), b"e"].concat();
        let entry = [b"](]](".as_slice(), &row.repeat(17), b"ee\x94"].concat();
        let persons: Vec<u8> = (1..100).flat_map(|person| [b'K', person, b'h', 0]).collect();
        let frames: Vec<u8> = (1..100).flat_map(|frame| [b'K', frame, b'h', 1]).collect();
        let bytes = [b"\x80\x04}(K\x00}(K\x00".as_slice(), &entry, &persons, b"u\x94", &frames, b"u."].concat();
        let pickle = Pickle::read(&bytes, Dialect::Poses).expect("a pickle");
        assert_eq!(poses_of(&pickle, 10_000).map(|poses| poses.len()), Ok(10_000));
        let message = poses_of(&pickle, 5000).expect_err("refused");
        assert!(message.contains("frame 50, person 0: more than 5000 poses"), "{message}");
    }
}
