//! JSON lines: read or refused; what is read, written as the shortest line that means it, reads as the same frame.

use alfred_core::pose::{PersonPose, PoseFrame};
use alfred_core::units::{FrameIndex, MonotonicNs};
use alfred_wire::pose_line::{LINE_BYTES_MAX, decode};
use std::fmt::Write;

/// Runs the target.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let mut frame = PoseFrame::new(FrameIndex(0), MonotonicNs(0));
    match decode(data, &mut frame) {
        Err(error) => {
            assert!(frame.persons.is_empty(), "persons of a refused line");
            assert!(!error.to_string().contains('\n'));
        }
        Ok(_) => {
            let line = write(&frame);
            if line.len() > LINE_BYTES_MAX {
                return;
            }
            let mut again = PoseFrame::new(FrameIndex(0), MonotonicNs(0));
            assert_eq!(decode(line.as_bytes(), &mut again), Ok(0), "{line}");
            assert!(is_same(&again, &frame), "{again:?} from {line}");
        }
    }
}

fn write(frame: &PoseFrame) -> String {
    let mut line = format!(r#"{{"frame":{},"time_ns":{},"persons":["#, frame.frame.0, frame.captured.0);
    for (place, person) in frame.persons.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(line, r#"{comma}{{"id":{},"score":"#, person.id.0);
        push(&mut line, person.score);
        line.push_str(r#","keypoints":["#);
        for (place, keypoint) in person.keypoints.iter().enumerate() {
            for (axis, number) in [keypoint.x, keypoint.y, keypoint.confidence].into_iter().enumerate() {
                if place + axis > 0 {
                    line.push(',');
                }
                push(&mut line, number);
            }
        }
        line.push_str("]}");
    }
    line.push_str("]}");
    line
}

/// The same frame; a joint without a figure is NaN, which equals nothing.
fn is_same(left: &PoseFrame, right: &PoseFrame) -> bool {
    let bits = |frame: &PoseFrame| -> Vec<u32> {
        let numbers = |person: &PersonPose| {
            let joints = person.keypoints.into_iter().flat_map(|joint| [joint.x, joint.y, joint.confidence]);
            [person.id.0].into_iter().chain(joints.chain([person.score]).map(f32::to_bits)).collect::<Vec<u32>>()
        };
        frame.persons.iter().flat_map(numbers).collect()
    };
    (left.frame, left.captured) == (right.frame, right.captured) && bits(left) == bits(right)
}

/// A number of a line may be too large for f32, hence infinite; `null` is NaN.
fn push(line: &mut String, number: f32) {
    match number {
        _ if number.is_nan() => line.push_str("null"),
        f32::INFINITY => line.push_str("1e999"),
        f32::NEG_INFINITY => line.push_str("-1e999"),
        _ => {
            let _ = write!(line, "{number:?}");
        }
    }
}
