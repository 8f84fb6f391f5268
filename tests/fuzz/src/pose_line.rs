//! JSON lines: read or refused; what is read, written as the shortest line that means it, reads as the same frame.

use alfred_core::pose::PoseFrame;
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
            assert_eq!(again, frame);
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

/// A number of a line may be too large for f32, hence infinite, but never NaN.
fn push(line: &mut String, number: f32) {
    assert!(!number.is_nan(), "JSON has no NaN");
    match number {
        f32::INFINITY => line.push_str("1e999"),
        f32::NEG_INFINITY => line.push_str("-1e999"),
        _ => {
            let _ = write!(line, "{number:?}");
        }
    }
}
