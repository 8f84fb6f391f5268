//! Binary messages: read or refused; what is read is written again as the same bytes, NaN payloads included.

use alfred_core::pose::PoseFrame;
use alfred_core::units::{FrameIndex, MonotonicNs};
use alfred_wire::pose_message::{MESSAGE_BYTES_MAX, decode, encode};

/// Runs the target.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let mut frame = PoseFrame::new(FrameIndex(0), MonotonicNs(0));
    match decode(data, &mut frame) {
        Err(error) => {
            assert!(frame.persons.is_empty(), "persons of a refused message");
            assert!(!error.to_string().contains('\n'));
        }
        Ok(()) => {
            let mut again = [0; MESSAGE_BYTES_MAX];
            let length = encode(&frame, &mut again).expect("the longest message fits");
            assert_eq!(&again[..length], data);
        }
    }
}
