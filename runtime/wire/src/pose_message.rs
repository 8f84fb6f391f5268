//! The binary pose frame that a pose estimator sends over a Unix SOCK_SEQPACKET socket, one message per frame.
//!
//! Little-endian, no padding, COCO-17, so that `struct.pack` or a packed C struct can write it:
//!
//! | bytes | type | meaning |
//! |---|---|---|
//! | 0..4 | 4 bytes | `ALFP` |
//! | 4..6 | u16 | version, 1 |
//! | 6..8 | u16 | persons n, at most 64 |
//! | 8..16 | u64 | frame number, rising by one per frame, at most 2^53 |
//! | 16..24 | u64 | capture time, nanoseconds of CLOCK_MONOTONIC; 0: stamped on arrival |
//! | then n times 212 bytes | | one person: |
//! | +0..4 | u32 | the tracker's number of the person |
//! | +4..8 | f32 | the detector's score of the person |
//! | +8..212 | 51 f32 | x, y (pixels), confidence (0 to 1) of the 17 key-points in COCO order; (0, 0, 0): undetected |

use alfred_core::limits::{KEYPOINTS, PERSONS_MAX};
use alfred_core::pose::{KeyPoint, PersonPose, PoseFrame};
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId};
use core::fmt;

/// First bytes of every message.
pub const MAGIC: [u8; 4] = *b"ALFP";
/// Version of the layout above.
pub const VERSION: u16 = 1;
/// Bytes before the persons.
pub const HEADER_BYTES: usize = 24;
/// Bytes of one person.
pub const PERSON_BYTES: usize = 8 + KEYPOINTS * 12;
/// Bytes of the longest message.
pub const MESSAGE_BYTES_MAX: usize = HEADER_BYTES + PERSONS_MAX * PERSON_BYTES;

const _: () = assert!(PERSON_BYTES == 212 && MESSAGE_BYTES_MAX == 13_592);

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoseMessageError {
    /// Fewer bytes than a header.
    TooShort,
    /// The first four bytes are not `ALFP`.
    Magic,
    /// A version that this build does not know.
    Version(u16),
    /// More persons than [`PERSONS_MAX`].
    TooManyPersons(u16),
    /// The length is not the one that the number of persons asks for.
    Length {
        /// Bytes that the header asks for.
        needed: usize,
        /// Bytes that came.
        got: usize,
    },
}

impl fmt::Display for PoseMessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => write!(f, "shorter than its header of {HEADER_BYTES} bytes"),
            Self::Magic => f.write_str("does not begin with ALFP"),
            Self::Version(version) => write!(f, "version {version} is unknown, this build reads version {VERSION}"),
            Self::TooManyPersons(persons) => write!(f, "{persons} persons, at most {PERSONS_MAX} fit: send the best tracked ones"),
            Self::Length { needed, got } => {
                write!(f, "{got} bytes, its number of persons asks for {needed}: are there 17 key-points each?")
            }
        }
    }
}

impl core::error::Error for PoseMessageError {}

/// Reads a message into `frame`, whose persons are replaced. On an error `frame` is left without persons.
///
/// # Errors
/// [`PoseMessageError`] names what is wrong with the bytes. Numbers are not judged here: NaN coordinates are the data path's business.
pub fn decode(message: &[u8], frame: &mut PoseFrame) -> Result<(), PoseMessageError> {
    frame.persons.clear();
    let header: &[u8; HEADER_BYTES] = message.first_chunk().ok_or(PoseMessageError::TooShort)?;
    if header[..4] != MAGIC {
        return Err(PoseMessageError::Magic);
    }
    let version = u16::from_le_bytes([header[4], header[5]]);
    if version != VERSION {
        return Err(PoseMessageError::Version(version));
    }
    let persons = u16::from_le_bytes([header[6], header[7]]);
    if usize::from(persons) > PERSONS_MAX {
        return Err(PoseMessageError::TooManyPersons(persons));
    }
    let needed = HEADER_BYTES + usize::from(persons) * PERSON_BYTES;
    if message.len() != needed {
        return Err(PoseMessageError::Length { needed, got: message.len() });
    }
    frame.frame = FrameIndex(u64_at(header, 8));
    frame.captured = MonotonicNs(u64_at(header, 16));
    let (records, _) = message[HEADER_BYTES..].as_chunks::<PERSON_BYTES>();
    for record in records {
        // There is room: the number of persons was checked above.
        let _ = frame.persons.push(decode_person(record));
    }
    Ok(())
}

/// Writes `frame` into `message` and returns the number of bytes; `None` if `message` is too short.
pub fn encode(frame: &PoseFrame, message: &mut [u8]) -> Option<usize> {
    let length = HEADER_BYTES + frame.persons.len() * PERSON_BYTES;
    let message = message.get_mut(..length)?;
    message[..4].copy_from_slice(&MAGIC);
    message[4..6].copy_from_slice(&VERSION.to_le_bytes());
    message[6..8].copy_from_slice(&(frame.persons.len() as u16).to_le_bytes());
    message[8..16].copy_from_slice(&frame.frame.0.to_le_bytes());
    message[16..24].copy_from_slice(&frame.captured.0.to_le_bytes());
    let (records, _) = message[HEADER_BYTES..].as_chunks_mut::<PERSON_BYTES>();
    for (record, person) in records.iter_mut().zip(&frame.persons) {
        record[..4].copy_from_slice(&person.id.0.to_le_bytes());
        record[4..8].copy_from_slice(&person.score.to_le_bytes());
        let (numbers, _) = record[8..].as_chunks_mut::<12>();
        for (number, keypoint) in numbers.iter_mut().zip(&person.keypoints) {
            number[..4].copy_from_slice(&keypoint.x.to_le_bytes());
            number[4..8].copy_from_slice(&keypoint.y.to_le_bytes());
            number[8..].copy_from_slice(&keypoint.confidence.to_le_bytes());
        }
    }
    Some(length)
}

fn decode_person(record: &[u8; PERSON_BYTES]) -> PersonPose {
    let mut person = PersonPose { id: PersonId(u32_at(record, 0)), score: f32::from_bits(u32_at(record, 4)), ..PersonPose::EMPTY };
    for (place, keypoint) in person.keypoints.iter_mut().enumerate() {
        let number = |axis: usize| f32::from_bits(u32_at(record, 8 + 12 * place + 4 * axis));
        *keypoint = KeyPoint { x: number(0), y: number(1), confidence: number(2) };
    }
    person
}

fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::{vec, vec::Vec};

    fn frame_of(numbers: &[f32]) -> PoseFrame {
        let mut frame = PoseFrame::new(FrameIndex(7), MonotonicNs(8));
        for (id, chunk) in numbers.chunks_exact(52).enumerate() {
            let mut person = PersonPose { id: PersonId(id as u32), score: chunk[51], ..PersonPose::EMPTY };
            for (keypoint, number) in person.keypoints.iter_mut().zip(chunk.chunks_exact(3)) {
                *keypoint = KeyPoint { x: number[0], y: number[1], confidence: number[2] };
            }
            frame.persons.push(person).expect("few");
        }
        frame
    }

    #[test]
    fn the_layout_is_the_documented_one_to_the_byte() {
        let mut frame = PoseFrame::new(FrameIndex(0x0102_0304_0506), MonotonicNs(0x1112_1314));
        let mut person = PersonPose { id: PersonId(0xA1B2), score: 1.5, ..PersonPose::EMPTY };
        person.keypoints[0] = KeyPoint { x: 2.0, y: -3.0, confidence: 0.25 };
        person.keypoints[16] = KeyPoint { x: 0.0, y: 0.0, confidence: 1.0 };
        frame.persons.push(person).expect("one");
        let mut message = [0; MESSAGE_BYTES_MAX];
        assert_eq!(encode(&frame, &mut message), Some(236));
        assert_eq!(&message[..24], b"ALFP\x01\0\x01\0\x06\x05\x04\x03\x02\x01\0\0\x14\x13\x12\x11\0\0\0\0");
        assert_eq!(&message[24..44], b"\xB2\xA1\0\0\0\0\xC0\x3F\0\0\0\x40\0\0\x40\xC0\0\0\x80\x3E");
        assert_eq!(&message[232..236], b"\0\0\x80\x3F");
        let mut read = PoseFrame::new(FrameIndex(0), MonotonicNs(0));
        assert_eq!(decode(&message[..236], &mut read), Ok(()));
        assert_eq!(read, frame);
        assert_eq!(encode(&frame, &mut message[..235]), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut frame = frame_of(&[1.0; 52]);
        let mut message = vec![0; 236];
        encode(&frame, &mut message).expect("fits");
        let mut refused = |message: &[u8]| {
            let error = decode(message, &mut frame).expect_err("refused");
            assert!(frame.persons.is_empty());
            error
        };
        assert_eq!(refused(&message[..23]), PoseMessageError::TooShort);
        assert_eq!(refused(&[]), PoseMessageError::TooShort);
        assert_eq!(refused(&message[..235]), PoseMessageError::Length { needed: 236, got: 235 });
        let with = |at: usize, byte: u8| {
            let mut changed = message.clone();
            changed[at] = byte;
            changed
        };
        assert_eq!(refused(&with(0, b'B')), PoseMessageError::Magic);
        assert_eq!(refused(&with(4, 9)), PoseMessageError::Version(9));
        assert_eq!(refused(&with(6, 65)), PoseMessageError::TooManyPersons(65));
        assert_eq!(refused(&with(6, 2)), PoseMessageError::Length { needed: 448, got: 236 });
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600), persons in 0_u16..3) {
            let mut frame = PoseFrame::new(FrameIndex(0), MonotonicNs(0));
            let _ = decode(&bytes, &mut frame);
            let mut message: Vec<u8> = MAGIC.iter().copied().chain([1, 0]).chain(persons.to_le_bytes()).chain(bytes).collect();
            message.resize(HEADER_BYTES + usize::from(persons) * PERSON_BYTES, 0xFF);
            prop_assert_eq!(decode(&message, &mut frame), Ok(()));
            let mut again = vec![0; message.len()];
            prop_assert_eq!(encode(&frame, &mut again), Some(message.len()));
            prop_assert_eq!(again, message, "NaN payloads included");
        }
    }
}
