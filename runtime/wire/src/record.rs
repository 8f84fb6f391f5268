//! What a record of the journal holds: events, segments, normal samples, health figures, reports about bundles.
//!
//! The journal and the link carry records as bytes; only whoever writes or judges one needs this file. A record is in version 2 of this
//! form: the first byte says so. Version 1 did not say how many windows a sample stands for; the host keeps such records unread.

use crate::link::{BundleState, Heartbeat};
use crate::name::Bytes;
use crate::output::{EventMessage, SegmentHeader};
use crate::pose_codec::{Detail, PoseReader, PoseWriter};
use alfred_core::segment::SegmentPose;
use alfred_core::units::{FrameIndex, MonotonicNs};
use core::fmt;
use postcard::experimental::max_size::MaxSize;
use serde::{Deserialize, Serialize};

/// Bytes of the poses of one record. 768 poses of walking people take about 40 kB; what does not fit is left out and counted.
pub const RECORD_POSES_BYTES_MAX: usize = 56 * 1024;

/// First byte of every record.
pub const RECORD_VERSION: u8 = 2;

/// How dear a record is: when the journal is full, the lowest goes first. Higher = dearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, MaxSize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Samples of normal people, and health figures.
    Sample,
    /// Below the threshold, but near it: for the audit of what was missed.
    Band,
    /// Events, their segments, and reports about bundles.
    Event,
}

impl Priority {
    /// All, the lowest first; a priority's place is its number in files.
    pub const ALL: [Self; 3] = [Self::Sample, Self::Band, Self::Event];

    /// The priority of a number in a file.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// Poses of several frames, as `pose_codec` writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
pub struct Poses<'a> {
    /// Frame of the first pose.
    pub first_frame: u64,
    /// Its capture time in nanoseconds of the monotonic clock.
    pub captured_ns: u64,
    /// How many poses.
    pub count: u16,
    /// The poses.
    #[serde(borrow)]
    pub bytes: Bytes<'a, RECORD_POSES_BYTES_MAX>,
}

impl<'a> Poses<'a> {
    /// Writes as many of `poses` as fit into `buffer`, oldest frame first. Returns them and the number left out.
    #[must_use]
    pub fn write<'p>(poses: impl Iterator<Item = &'p SegmentPose>, detail: Detail, buffer: &'a mut [u8]) -> (Self, u32) {
        let mut poses = poses.peekable();
        let first = poses.peek().map_or((FrameIndex(0), MonotonicNs(0)), |pose| (pose.frame, pose.captured));
        let room = buffer.len().min(RECORD_POSES_BYTES_MAX);
        let mut writer = PoseWriter::new(&mut buffer[..room], detail, first.0, first.1);
        let left_out = poses.fold(0_u32, |left_out, pose| left_out + u32::from(!writer.push(pose)));
        let (count, used) = writer.finish();
        let bytes = Bytes::new(&buffer[..used]).unwrap_or(Bytes::EMPTY);
        (Self { first_frame: first.0.0, captured_ns: first.1.0, count, bytes }, left_out)
    }

    /// Reads the poses back.
    #[must_use]
    pub const fn read(&self, detail: Detail) -> PoseReader<'a> {
        PoseReader::new(self.bytes.get(), detail, FrameIndex(self.first_frame), MonotonicNs(self.captured_ns), self.count)
    }
}

/// A segment part with its skeletons.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, MaxSize)]
pub struct SegmentRecord<'a> {
    /// What it is about.
    pub header: SegmentHeader,
    /// Threshold at which its event was decided.
    pub threshold: f32,
    /// The poses, in full detail.
    #[serde(borrow)]
    pub poses: Poses<'a>,
}

/// A stretch of somebody who is normal as far as the device can tell, with one or more windows: training data for the host.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, MaxSize)]
pub struct SampleRecord<'a> {
    /// The tracker's number of the person.
    pub person: u32,
    /// Anomaly score of its last window.
    pub score: f32,
    /// Windows below the threshold since the sample before, this one included: what it stands for when rates are estimated.
    pub stands_for: u32,
    /// The poses of this one person, in a sample's detail.
    #[serde(borrow)]
    pub poses: Poses<'a>,
}

/// What a record says. Variants are only appended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, MaxSize)]
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack: there is no heap to put the large one into")]
pub enum Content<'a> {
    /// An event began, goes on, or ended.
    Event(EventMessage),
    /// A segment part.
    #[serde(borrow)]
    Segment(SegmentRecord<'a>),
    /// A normal sample.
    #[serde(borrow)]
    Sample(SampleRecord<'a>),
    /// Health figures.
    Health(Heartbeat),
    /// What became of a bundle.
    Bundle(BundleState),
}

/// A record of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, MaxSize)]
pub struct Record<'a> {
    /// When it was written, nanoseconds of the monotonic clock; comparable within one boot of the machine.
    pub written_ns: u64,
    /// When it was written by the wall clock, milliseconds since 1970; for display only, nothing is ordered by it.
    pub wall_unix_ms: Option<u64>,
    /// Revision of the bundle that scored; 0: the model file that the device was set up with.
    pub bundle_revision: u64,
    /// What it says.
    #[serde(borrow)]
    pub content: Content<'a>,
}

/// Bytes of the largest record.
pub const RECORD_BYTES_MAX: usize = 1 + Record::POSTCARD_MAX_SIZE;

/// Why a record cannot be written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The buffer is smaller than the record.
    NoRoom,
    /// Another version of the form.
    Version(u8),
    /// The bytes do not hold a record.
    Malformed,
    /// A score or threshold is NaN or infinite.
    NotFinite,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom => write!(f, "the buffer is smaller than the record: {RECORD_BYTES_MAX} bytes are always enough"),
            Self::Version(version) => write!(f, "a record of version {version}, this build reads {RECORD_VERSION}: update the host"),
            Self::Malformed => f.write_str("the bytes hold no record: they were changed after the device wrote them"),
            Self::NotFinite => f.write_str("a record with a score that is NaN or infinite: its writer is not a build of this project"),
        }
    }
}

impl core::error::Error for RecordError {}

impl<'a> Record<'a> {
    /// Writes the record into `buffer`.
    ///
    /// # Errors
    /// [`RecordError::NoRoom`].
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], RecordError> {
        let (version, rest) = buffer.split_first_mut().ok_or(RecordError::NoRoom)?;
        *version = RECORD_VERSION;
        let length = postcard::to_slice(self, rest).map_err(|_| RecordError::NoRoom)?.len();
        Ok(&buffer[..=length])
    }

    /// Reads a record; its scores are finite then. Poses are judged when they are read.
    ///
    /// # Errors
    /// [`RecordError`] says what is wrong.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (&version, rest) = bytes.split_first().ok_or(RecordError::Malformed)?;
        if version != RECORD_VERSION {
            return Err(RecordError::Version(version));
        }
        let (record, rest) = postcard::take_from_bytes::<Self>(rest).map_err(|_| RecordError::Malformed)?;
        if !rest.is_empty() {
            return Err(RecordError::Malformed);
        }
        let is_finite = match &record.content {
            Content::Event(event) => [event.peak_score, event.mean_score, event.threshold].iter().all(|value| value.is_finite()),
            Content::Segment(segment) => segment.threshold.is_finite(),
            Content::Sample(sample) => sample.score.is_finite(),
            Content::Health(_) | Content::Bundle(_) => true,
        };
        if is_finite { Ok(record) } else { Err(RecordError::NotFinite) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alfred_core::pose::PersonPose;
    use proptest::prelude::*;
    extern crate std;

    fn sample<'a>(poses: Poses<'a>) -> Record<'a> {
        let content = Content::Sample(SampleRecord { person: 5, score: -1.5, stands_for: 3, poses });
        Record { written_ns: 300, wall_unix_ms: Some(7), bundle_revision: 2, content }
    }

    #[test]
    fn bytes_of_a_record_are_the_golden_ones() {
        let mut pose = PersonPose::EMPTY;
        (pose.keypoints[0].x, pose.keypoints[0].y, pose.keypoints[0].confidence) = (2.0, -1.0, 1.0);
        let (pose, _) = SegmentPose::quantise(FrameIndex(9), MonotonicNs(10), &pose);
        let (mut poses, mut buffer) = ([0; 64], [0; 128]);
        let (poses, left_out) = Poses::write([pose].iter(), Detail::Sample, &mut poses);
        let bytes = sample(poses).encode(&mut buffer).expect("fits");
        assert_eq!(left_out, 0);
        let golden = b"\x02\xAC\x02\x01\x07\x02\x02\x05\0\0\xC0\xBF\x03\x09\x0A\x01\x07\0\xE0\xFF\xFF\x83\x72\x0F";
        assert_eq!(bytes, golden, "the form of records has drifted: {}", bytes.escape_ascii());
        let record = Record::decode(bytes).expect("reads back");
        let Content::Sample(read) = record.content else { panic!("a sample") };
        assert_eq!(read.poses.read(Detail::Sample).collect::<Result<std::vec::Vec<_>, _>>(), Ok(std::vec![pose]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let empty = Poses { first_frame: 0, captured_ns: 0, count: 0, bytes: Bytes::EMPTY };
        let mut buffer = [0; 64];
        let length = sample(empty).encode(&mut buffer).expect("fits").len();
        assert!(Record::decode(&buffer[..length]).is_ok());
        assert_eq!(Record::decode(&buffer[..length + 1]), Err(RecordError::Malformed));
        assert_eq!(Record::decode(&buffer[..length - 1]), Err(RecordError::Malformed));
        assert_eq!(Record::decode(&[]), Err(RecordError::Malformed));
        assert_eq!(Record::decode(&[1]), Err(RecordError::Version(1)));
        assert_eq!(sample(empty).encode(&mut [0; 5]), Err(RecordError::NoRoom));
        let mut bad = sample(empty);
        bad.content = Content::Sample(SampleRecord { person: 0, score: f32::NAN, stands_for: 1, poses: empty });
        let length = bad.encode(&mut buffer).expect("fits").len();
        assert_eq!(Record::decode(&buffer[..length]), Err(RecordError::NotFinite));
    }

    #[test]
    fn poses_that_do_not_fit_are_counted() {
        let pose = SegmentPose::quantise(FrameIndex(9), MonotonicNs(10), &PersonPose { score: 1.0, ..PersonPose::EMPTY }).0;
        let mut buffer = [0; 12];
        let (poses, left_out) = Poses::write([pose; 9].iter(), Detail::Full, &mut buffer);
        assert_eq!(u32::from(poses.count) + left_out, 9);
        assert!(left_out > 0 && poses.count > 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut versioned = std::vec![RECORD_VERSION];
            versioned.extend(&bytes);
            for bytes in [&bytes, &versioned] {
                if let Ok(Record { content: Content::Segment(SegmentRecord { poses, .. }) | Content::Sample(SampleRecord { poses, .. }), .. }) = Record::decode(bytes) {
                    let _ = poses.read(Detail::Full).count();
                }
            }
        }
    }
}
