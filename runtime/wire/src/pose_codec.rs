//! Poses of segments and samples in few bytes: each key-point as its distance from the same person's previous one, on the segments' grid.
//!
//! Without loss against [`SegmentPose`] for [`Detail::Full`]: x and y lie within 1/8 pixel of what was detected (inside ±8,191 pixels),
//! confidences within 1/510. [`Detail::Sample`] keeps x and y as they are, confidences within 1/30 + 1/510, and of the times only the
//! first one's.
//!
//! One pose: frame number's distance from the previous one; time's distance from where a steady camera would put it (`Full`, when the
//! frame is new); place of the person in a table of [`PERSONS_KEPT`] (a new person: the table's length, then its number); mask of missing
//! key-points; then dx, dy, confidence of each one that is there. All in groups of four bits (`nibble.rs`).

use crate::nibble::{NibbleReader, NibbleWriter};
use alfred_core::limits::KEYPOINTS;
use alfred_core::segment::SegmentPose;
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId};

/// Persons whose previous pose is remembered; a further one replaces the one that was added longest ago.
const PERSONS_KEPT: usize = 32;

/// What is kept of a pose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Everything that [`SegmentPose`] holds.
    Full,
    /// Coordinates in full, confidences in 15 steps, times only of the first pose.
    Sample,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    person: PersonId,
    coordinates: [[i16; 2]; KEYPOINTS],
}

/// What both ends remember of the poses so far.
#[derive(Clone, Debug)]
struct Memory {
    detail: Detail,
    frame: u64,
    captured: u64,
    /// Time between the two latest frames.
    step: u64,
    persons: [Known; PERSONS_KEPT],
    count: usize,
    oldest: usize,
}

impl Memory {
    const fn new(detail: Detail, first: FrameIndex, captured: MonotonicNs) -> Self {
        let nobody = Known { person: PersonId(0), coordinates: [[0; 2]; KEYPOINTS] };
        Self { detail, frame: first.0, captured: captured.0, step: 0, persons: [nobody; PERSONS_KEPT], count: 0, oldest: 0 }
    }

    fn place_of(&self, person: PersonId) -> Option<usize> {
        self.persons[..self.count].iter().position(|known| known.person == person)
    }

    /// Makes a place for a new person; its first pose is told from that of the person who had the place before.
    fn make_place(&mut self, person: PersonId) -> usize {
        let place = if self.count < PERSONS_KEPT { self.count } else { self.oldest };
        if self.count < PERSONS_KEPT {
            self.count += 1;
        } else {
            self.oldest = (self.oldest + 1) % PERSONS_KEPT;
        }
        self.persons[place].person = person;
        place
    }

    /// Takes a frame's number and time; the time of the next frame is expected one step later.
    const fn take_frame(&mut self, frame: u64, captured: u64) {
        if frame != self.frame {
            self.step = captured.wrapping_sub(self.captured);
            self.frame = frame;
            self.captured = captured;
        }
    }
}

/// Writes poses, oldest frame first.
#[derive(Debug)]
pub struct PoseWriter<'b> {
    out: NibbleWriter<'b>,
    memory: Memory,
    poses: u16,
}

impl<'b> PoseWriter<'b> {
    /// Writes into `bytes`. `first` and `captured` are number and time of the first pose's frame; the reader needs them too.
    #[must_use]
    pub const fn new(bytes: &'b mut [u8], detail: Detail, first: FrameIndex, captured: MonotonicNs) -> Self {
        Self { out: NibbleWriter::new(bytes), memory: Memory::new(detail, first, captured), poses: 0 }
    }

    /// Appends a pose; false, and nothing changed, when it does not fit or its frame lies before the previous one's.
    pub fn push(&mut self, pose: &SegmentPose) -> bool {
        let mark = self.out.mark();
        let before = (self.memory.frame, self.memory.captured, self.memory.step, self.memory.count, self.memory.oldest);
        let written = if self.poses == u16::MAX { None } else { self.write(pose) };
        if written.is_none() {
            self.out.rewind(mark);
            (self.memory.frame, self.memory.captured, self.memory.step, self.memory.count, self.memory.oldest) = before;
        }
        self.poses += u16::from(written.is_some());
        written.is_some()
    }

    /// Poses written, and the bytes they take.
    #[must_use]
    pub const fn finish(self) -> (u16, usize) {
        (self.poses, self.out.bytes_used())
    }

    fn write(&mut self, pose: &SegmentPose) -> Option<()> {
        let (memory, out) = (&mut self.memory, &mut self.out);
        let elapsed = pose.frame.0.checked_sub(memory.frame)?;
        out.unsigned(elapsed)?;
        if memory.detail == Detail::Full && elapsed > 0 {
            let expected = memory.captured.wrapping_add(memory.step);
            out.signed(pose.captured.0.wrapping_sub(expected) as i64)?;
        }
        let (coordinates, confidences) = pose.grid();
        let known = memory.place_of(pose.person);
        out.unsigned(known.unwrap_or(memory.count) as u64)?;
        if known.is_none() {
            out.unsigned(u64::from(pose.person.0))?;
        }
        let is_missing = |joint: usize| coordinates[joint] == [0, 0] && confidences[joint] == 0;
        let missing = (0..KEYPOINTS).fold(0_u64, |mask, joint| mask | u64::from(is_missing(joint)) << joint);
        out.unsigned(missing)?;
        // The place is only made once everything fits; until then a new person is told from whoever has it.
        let place = known.unwrap_or(if memory.count < PERSONS_KEPT { memory.count } else { memory.oldest });
        let previous = memory.persons[place].coordinates;
        for joint in (0..KEYPOINTS).filter(|joint| !is_missing(*joint)) {
            for axis in 0..2 {
                out.signed(i64::from(coordinates[joint][axis]) - i64::from(previous[joint][axis]))?;
            }
            match memory.detail {
                Detail::Full => {
                    out.plain(confidences[joint] & 0x0F)?;
                    out.plain(confidences[joint] >> 4)?;
                }
                Detail::Sample => out.plain(fifteenths(confidences[joint]))?,
            }
        }
        memory.take_frame(pose.frame.0, pose.captured.0);
        let place = known.unwrap_or_else(|| memory.make_place(pose.person));
        for joint in (0..KEYPOINTS).filter(|joint| !is_missing(*joint)) {
            memory.persons[place].coordinates[joint] = coordinates[joint];
        }
        Some(())
    }
}

/// A confidence of 255 steps in 15; one that is not 0 stays above 0.
const fn fifteenths(confidence: u8) -> u8 {
    let rounded = (confidence as u16 * 15 + 127) / 255;
    if rounded == 0 && confidence > 0 { 1 } else { rounded as u8 }
}

/// Reads what [`PoseWriter`] wrote: an iterator of `poses` poses, or of fewer and an error.
#[derive(Debug)]
pub struct PoseReader<'b> {
    from: NibbleReader<'b>,
    memory: Memory,
    left: u16,
    failed: bool,
}

/// The bytes of poses do not hold what they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PosesMalformed;

impl core::fmt::Display for PosesMalformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the bytes of the poses cannot be read: they were cut or changed after the device wrote them")
    }
}

impl core::error::Error for PosesMalformed {}

impl<'b> PoseReader<'b> {
    /// Reads `poses` poses from `bytes`; the other arguments are those that were written with.
    #[must_use]
    pub const fn new(bytes: &'b [u8], detail: Detail, first: FrameIndex, captured: MonotonicNs, poses: u16) -> Self {
        Self { from: NibbleReader::new(bytes), memory: Memory::new(detail, first, captured), left: poses, failed: false }
    }

    fn read(&mut self) -> Option<SegmentPose> {
        let (memory, from) = (&mut self.memory, &mut self.from);
        let elapsed = from.unsigned()?;
        let frame = memory.frame.checked_add(elapsed)?;
        let mut captured = memory.captured;
        if memory.detail == Detail::Full && elapsed > 0 {
            captured = captured.wrapping_add(memory.step).wrapping_add(from.signed()? as u64);
        }
        memory.take_frame(frame, captured);
        let told = usize::try_from(from.unsigned()?).ok()?;
        let place = match told.cmp(&memory.count) {
            core::cmp::Ordering::Less => told,
            core::cmp::Ordering::Equal => {
                let person = PersonId(u32::try_from(from.unsigned()?).ok()?);
                // The same number twice would be two ways to say one thing.
                if memory.place_of(person).is_some() {
                    return None;
                }
                memory.make_place(person)
            }
            core::cmp::Ordering::Greater => return None,
        };
        let missing = from.unsigned()?;
        if missing >> KEYPOINTS != 0 {
            return None;
        }
        let (mut coordinates, mut confidences) = ([[0; 2]; KEYPOINTS], [0; KEYPOINTS]);
        for joint in (0..KEYPOINTS).filter(|joint| missing >> joint & 1 == 0) {
            for (value, previous) in coordinates[joint].iter_mut().zip(memory.persons[place].coordinates[joint]) {
                *value = i16::try_from(i64::from(previous).checked_add(from.signed()?)?).ok()?;
            }
            memory.persons[place].coordinates[joint] = coordinates[joint];
            confidences[joint] = match memory.detail {
                Detail::Full => from.plain()? | from.plain()? << 4,
                Detail::Sample => from.plain()? * 17,
            };
        }
        Some(SegmentPose::from_grid(FrameIndex(frame), MonotonicNs(captured), memory.persons[place].person, coordinates, confidences))
    }
}

impl Iterator for PoseReader<'_> {
    type Item = Result<SegmentPose, PosesMalformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if self.left == 0 {
            // Bytes that nobody counted are as wrong as missing ones.
            self.failed = true;
            return (!self.from.is_at_end()).then_some(Err(PosesMalformed));
        }
        self.left -= 1;
        let pose = self.read().ok_or(PosesMalformed);
        self.failed = pose.is_err();
        Some(pose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alfred_core::pose::{KeyPoint, PersonPose};
    use proptest::prelude::*;
    extern crate std;
    use std::vec::Vec;

    /// A person whose key-points move by up to `leap` pixels; key-points go missing now and then.
    fn walk(frames: u64, persons: u32, leap: f32, seed: u32) -> Vec<(PersonPose, SegmentPose)> {
        let mut state = seed;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let mut poses = Vec::new();
        for frame in 0..frames {
            for id in 0..persons {
                if random() < 0.1 {
                    continue;
                }
                let mut person = PersonPose { id: PersonId(id * 1000), score: 1.0, ..PersonPose::EMPTY };
                for (place, keypoint) in person.keypoints.iter_mut().enumerate() {
                    if random() > 0.05 {
                        let x = 100.0 * id as f32 + frame as f32 + leap * random();
                        *keypoint = KeyPoint { x, y: -20.0 + 10.0 * place as f32 + leap * random(), confidence: random() };
                    }
                }
                let captured = MonotonicNs(1_000 + frame * 33_333_333 + (random() * 1e5) as u64);
                poses.push((person, SegmentPose::quantise(FrameIndex(100 + 2 * frame), captured, &person).0));
            }
        }
        // All poses of a frame have the frame's time.
        for at in 1..poses.len() {
            if poses[at].1.frame == poses[at - 1].1.frame {
                poses[at].1.captured = poses[at - 1].1.captured;
            }
        }
        poses
    }

    fn first(poses: &[(PersonPose, SegmentPose)]) -> (FrameIndex, MonotonicNs) {
        poses.first().map_or((FrameIndex(0), MonotonicNs(0)), |(_, pose)| (pose.frame, pose.captured))
    }

    fn write(poses: &[(PersonPose, SegmentPose)], detail: Detail, bytes: &mut [u8]) -> (u16, usize) {
        let (frame, captured) = first(poses);
        let mut writer = PoseWriter::new(bytes, detail, frame, captured);
        for (_, pose) in poses {
            if !writer.push(pose) {
                break;
            }
        }
        writer.finish()
    }

    fn read(poses: &[(PersonPose, SegmentPose)], detail: Detail, bytes: &[u8], count: u16) -> Vec<SegmentPose> {
        let (frame, captured) = first(poses);
        PoseReader::new(bytes, detail, frame, captured, count).collect::<Result<_, _>>().expect("readable")
    }

    proptest! {
        #[test]
        fn full_detail_loses_nothing(frames in 0_u64..30, persons in 1_u32..40, leap in 0.0_f32..9000.0, seed in any::<u32>()) {
            let poses = walk(frames, persons, leap, seed);
            let mut bytes = std::vec![0xA5; 400_000];
            let (count, used) = write(&poses, Detail::Full, &mut bytes);
            prop_assert_eq!(usize::from(count), poses.len());
            let expected: Vec<SegmentPose> = poses.iter().map(|(_, pose)| *pose).collect();
            prop_assert_eq!(read(&poses, Detail::Full, &bytes[..used], count), expected);
        }

        #[test]
        fn samples_keep_to_their_error_bounds(frames in 1_u64..30, leap in 0.0_f32..300.0, seed in any::<u32>()) {
            let poses = walk(frames, 1, leap, seed);
            let mut bytes = std::vec![0; 40_000];
            let (count, used) = write(&poses, Detail::Sample, &mut bytes);
            let back = read(&poses, Detail::Sample, &bytes[..used], count);
            prop_assert_eq!(back.len(), poses.len());
            for ((original, _), back) in poses.iter().zip(&back) {
                for (before, after) in original.keypoints.iter().zip(back.keypoints()) {
                    prop_assert!((before.x - after.x).abs() <= 0.125 && (before.y - after.y).abs() <= 0.125);
                    // A confidence that is not 0 stays above 0, which may raise it to 1/15.
                    let bound = if before.confidence < 1.0 / 15.0 { 1.0 / 15.0 } else { 1.0 / 30.0 };
                    prop_assert!((before.confidence - after.confidence).abs() <= bound + 1.0 / 510.0);
                    prop_assert_eq!(*before == KeyPoint::UNDETECTED, after == KeyPoint::UNDETECTED);
                }
            }
        }

        #[test]
        fn a_full_buffer_takes_no_part_of_a_pose(frames in 1_u64..20, room in 0_usize..2000, seed in any::<u32>()) {
            let poses = walk(frames, 5, 20.0, seed);
            let mut bytes = std::vec![0; room];
            let (count, used) = write(&poses, Detail::Full, &mut bytes);
            let expected: Vec<SegmentPose> = poses.iter().take(count.into()).map(|(_, pose)| *pose).collect();
            prop_assert_eq!(read(&poses, Detail::Full, &bytes[..used], count), expected);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), count in any::<u16>()) {
            for detail in [Detail::Full, Detail::Sample] {
                let reader = PoseReader::new(&bytes, detail, FrameIndex(u64::MAX - 5), MonotonicNs(u64::MAX), count);
                prop_assert!(reader.count() <= usize::from(count) + 1);
            }
        }
    }

    #[test]
    fn a_walking_person_takes_half_of_the_plain_form() {
        let poses = walk(24, 1, 2.0, 7);
        let mut bytes = [0; 4000];
        let (count, full) = write(&poses, Detail::Full, &mut bytes);
        let (_, sample) = write(&poses, Detail::Sample, &mut bytes);
        let plain = usize::from(count) * (17 * 5 + 8);
        std::println!("{count} poses: plain {plain}, full {full}, sample {sample} bytes");
        assert!(3 * full < 2 * plain && 2 * sample < plain, "plain {plain}, full {full}, sample {sample}");
    }

    #[test]
    fn a_cut_or_longer_text_is_noticed() {
        let poses = walk(6, 2, 3.0, 1);
        let mut bytes = [0; 4000];
        let (count, used) = write(&poses, Detail::Full, &mut bytes);
        let (frame, captured) = first(&poses);
        let judge = |bytes: &[u8]| PoseReader::new(bytes, Detail::Full, frame, captured, count).find_map(Result::err);
        assert_eq!(judge(&bytes[..used]), None);
        assert_eq!(judge(&bytes[..used - 1]), Some(PosesMalformed));
        assert_eq!(judge(&bytes[..used + 1]), Some(PosesMalformed));
    }
}
