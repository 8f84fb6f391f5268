//! The same pose frame as one line of JSON, for stdin, scripts and replays:
//!
//! `{"frame": 12, "time_ns": 400000000, "persons": [{"id": 3, "score": 0.9, "keypoints": [x, y, c, ... 51 numbers]}]}`
//!
//! `time_ns` and `score` may be left out (0: stamped on arrival; 1.0). `null` in place of a person's number is NaN, as many writers of JSON put
//! it: the data path counts that joint as undetected. Unknown keys are skipped, so that a tracker's own fields may stay.
//! The reader keeps within its line: no allocation, bounded depth.

use alfred_core::limits::{KEYPOINTS, PERSONS_MAX};
use alfred_core::pose::{KeyPoint, PersonPose, PoseFrame};
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId};
use core::fmt;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Bytes of the longest line: 64 persons with 51 numbers of 18 characters each.
pub const LINE_BYTES_MAX: usize = 65_536;

/// Brackets within brackets of a line; a deeper one is refused before it is parsed, since parsing recurses.
pub const LINE_DEPTH_MAX: usize = 8;

/// Why a line was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoseLineError {
    /// Longer than [`LINE_BYTES_MAX`].
    TooLong,
    /// Deeper than [`LINE_DEPTH_MAX`].
    TooDeep,
    /// No JSON object, or a key has a value of the wrong kind.
    Malformed,
    /// `frame` or `persons` is missing, or a person's `id` or `keypoints`.
    MissingKey,
    /// A person has not exactly 51 numbers.
    KeyPoints,
}

impl fmt::Display for PoseLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {LINE_BYTES_MAX} bytes"),
            Self::TooDeep => write!(f, "more than {LINE_DEPTH_MAX} brackets deep"),
            Self::Malformed => f.write_str("not JSON of the documented form (NaN is no JSON number)"),
            Self::MissingKey => f.write_str("frame and persons are needed, and id and keypoints of each person"),
            Self::KeyPoints => f.write_str("a person needs 51 numbers: x, y, confidence of the 17 key-points in COCO order"),
        }
    }
}

impl core::error::Error for PoseLineError {}

/// Reads a line into `frame`, whose persons are replaced; on an error it is left without persons.
/// Returns how many persons beyond [`PERSONS_MAX`] were dropped.
///
/// # Errors
/// [`PoseLineError`] names what is wrong with the line.
pub fn decode(line: &[u8], frame: &mut PoseFrame) -> Result<u32, PoseLineError> {
    frame.persons.clear();
    if line.len() > LINE_BYTES_MAX {
        return Err(PoseLineError::TooLong);
    }
    if depth(line) > LINE_DEPTH_MAX {
        return Err(PoseLineError::TooDeep);
    }
    let mut found = Found::default();
    let mut deserializer = serde_json_core::de::Deserializer::new(line, None);
    let read = FrameSeed { frame, found: &mut found }.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    let outcome = match read {
        _ if found.wrong_keypoints => Err(PoseLineError::KeyPoints),
        _ if found.missing_key => Err(PoseLineError::MissingKey),
        Err(_) => Err(PoseLineError::Malformed),
        Ok(end) if line[end..].iter().any(|byte| !byte.is_ascii_whitespace()) => Err(PoseLineError::Malformed),
        Ok(_) => Ok(found.persons_over_limit),
    };
    if outcome.is_err() {
        frame.persons.clear();
    }
    outcome
}

/// Deepest nesting of brackets outside strings.
fn depth(line: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for &byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What the parser's own error cannot say.
#[derive(Default)]
struct Found {
    persons_over_limit: u32,
    wrong_keypoints: bool,
    missing_key: bool,
}

struct FrameSeed<'f> {
    frame: &'f mut PoseFrame,
    found: &'f mut Found,
}

impl<'de> DeserializeSeed<'de> for FrameSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_struct("PoseFrame", &["frame", "time_ns", "persons"], self)
    }
}

impl<'de> Visitor<'de> for FrameSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with frame and persons")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut number, mut time, mut has_persons) = (None, 0, false);
        while let Some(key) = map.next_key::<&str>()? {
            match key {
                "frame" => number = Some(map.next_value::<u64>()?),
                "time_ns" => time = map.next_value()?,
                "persons" => {
                    has_persons = true;
                    self.frame.persons.clear();
                    map.next_value_seed(PersonsSeed { frame: &mut *self.frame, found: &mut *self.found })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let (Some(number), true) = (number, has_persons) else {
            self.found.missing_key = true;
            return Err(A::Error::custom("missing key"));
        };
        self.frame.frame = FrameIndex(number);
        self.frame.captured = MonotonicNs(time);
        Ok(())
    }
}

struct PersonsSeed<'f> {
    frame: &'f mut PoseFrame,
    found: &'f mut Found,
}

impl<'de> DeserializeSeed<'de> for PersonsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for PersonsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of persons")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while let Some(person) = sequence.next_element_seed(PersonSeed { found: &mut *self.found })? {
            if self.frame.persons.push(person).is_err() {
                self.found.persons_over_limit += 1;
            }
        }
        debug_assert!(self.frame.persons.len() <= PERSONS_MAX);
        Ok(())
    }
}

struct PersonSeed<'f> {
    found: &'f mut Found,
}

impl<'de> DeserializeSeed<'de> for PersonSeed<'_> {
    type Value = PersonPose;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<PersonPose, D::Error> {
        deserializer.deserialize_struct("PersonPose", &["id", "score", "keypoints"], self)
    }
}

impl<'de> Visitor<'de> for PersonSeed<'_> {
    type Value = PersonPose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with id and keypoints")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PersonPose, A::Error> {
        let mut person = PersonPose { score: 1.0, ..PersonPose::EMPTY };
        let (mut has_id, mut has_keypoints) = (false, false);
        while let Some(key) = map.next_key::<&str>()? {
            match key {
                "id" => {
                    person.id = PersonId(map.next_value()?);
                    has_id = true;
                }
                "score" => person.score = map.next_value()?,
                "keypoints" => {
                    person.keypoints = map.next_value_seed(KeyPointsSeed { found: &mut *self.found })?;
                    has_keypoints = true;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if !(has_id && has_keypoints) {
            self.found.missing_key = true;
            return Err(A::Error::custom("missing key"));
        }
        Ok(person)
    }
}

struct KeyPointsSeed<'f> {
    found: &'f mut Found,
}

impl<'de> DeserializeSeed<'de> for KeyPointsSeed<'_> {
    type Value = [KeyPoint; KEYPOINTS];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for KeyPointsSeed<'_> {
    type Value = [KeyPoint; KEYPOINTS];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("51 numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut keypoints = [KeyPoint::UNDETECTED; KEYPOINTS];
        let mut count = 0_usize;
        while let Some(number) = sequence.next_element::<f32>()? {
            if let Some(keypoint) = keypoints.get_mut(count / 3) {
                *match count % 3 {
                    0 => &mut keypoint.x,
                    1 => &mut keypoint.y,
                    _ => &mut keypoint.confidence,
                } = number;
            }
            count += 1;
        }
        if count != 3 * KEYPOINTS {
            self.found.wrong_keypoints = true;
            return Err(A::Error::custom("not 51 numbers"));
        }
        Ok(keypoints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::{format, string::String, vec::Vec};

    fn numbers(count: usize) -> String {
        (0..count).map(|number| format!("{}.5", number)).collect::<Vec<_>>().join(", ")
    }

    fn read(line: &str) -> Result<(u32, PoseFrame), PoseLineError> {
        let mut frame = PoseFrame::new(FrameIndex(99), MonotonicNs(99));
        decode(line.as_bytes(), &mut frame).map(|over| (over, frame))
    }

    #[test]
    fn a_line_is_read_and_unknown_keys_are_skipped() {
        let line = format!(
            r#" {{"camera": "a {{ [ \" b", "frame": 12, "persons": [{{"bbox": [1, [2, {{"x": null}}]], "keypoints": [{}], "id": 3}}], "time_ns": 400, "x": true}} "#,
            numbers(51)
        );
        let (over, frame) = read(&line).expect("well formed");
        assert_eq!((over, frame.frame, frame.captured, frame.persons.len()), (0, FrameIndex(12), MonotonicNs(400), 1));
        let person = &frame.persons[0];
        assert_eq!((person.id, person.score), (PersonId(3), 1.0));
        assert_eq!(person.keypoints[16], KeyPoint { x: 48.5, y: 49.5, confidence: 50.5 });
        let (_, empty) = read(r#"{"frame": 0, "persons": []}"#).expect("an empty frame");
        assert_eq!((empty.frame, empty.captured, empty.persons.len()), (FrameIndex(0), MonotonicNs(0), 0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let person = |count| format!(r#"{{"frame": 1, "persons": [{{"id": 1, "keypoints": [{}]}}]}}"#, numbers(count));
        assert_eq!(read(&person(50)).expect_err("short"), PoseLineError::KeyPoints);
        assert_eq!(read(&person(52)).expect_err("long"), PoseLineError::KeyPoints);
        assert_eq!(read(r#"{"persons": []}"#).expect_err("no frame"), PoseLineError::MissingKey);
        assert_eq!(read(r#"{"frame": 1}"#).expect_err("no persons"), PoseLineError::MissingKey);
        assert_eq!(read(r#"{"frame": 1, "persons": [{"id": 1}]}"#).expect_err("no keypoints"), PoseLineError::MissingKey);
        for line in
            ["", "[]", "{", r#"{"frame": -1, "persons": []}"#, r#"{"frame": 1.5, "persons": []}"#, r#"{"frame": 1, "persons": []} x"#]
        {
            assert_eq!(read(line).expect_err("malformed"), PoseLineError::Malformed, "{line}");
        }
        let nan = person(51).replace("7.5", "NaN");
        assert_eq!(read(&nan).expect_err("NaN is no JSON"), PoseLineError::Malformed);
        let deep = format!(r#"{{"frame": 1, "persons": [], "x": {}{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
        assert_eq!(read(&deep).expect_err("deep"), PoseLineError::TooDeep);
        assert_eq!(read(&" ".repeat(LINE_BYTES_MAX + 1)).expect_err("long"), PoseLineError::TooLong);
    }

    #[test]
    fn persons_beyond_the_limit_are_counted_and_a_huge_number_stays_visible() {
        let persons: Vec<String> = (0..70).map(|id| format!(r#"{{"id": {id}, "keypoints": [{}]}}"#, numbers(51))).collect();
        let (over, frame) = read(&format!(r#"{{"frame": 1, "persons": [{}]}}"#, persons.join(","))).expect("read");
        assert_eq!((over, frame.persons.len()), (6, 64));
        let huge = format!(r#"{{"frame": 1, "persons": [{{"id": 1, "keypoints": [1e999, {}]}}]}}"#, numbers(50));
        let (_, frame) = read(&huge).expect("read");
        assert!(frame.persons[0].keypoints[0].x.is_infinite(), "the data path counts it as undetected");
        let (_, frame) = read(&huge.replace("1e999", "null")).expect("read");
        assert!(frame.persons[0].keypoints[0].x.is_nan(), "so it does with a number that the writer did not have");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut frame = PoseFrame::new(FrameIndex(0), MonotonicNs(0));
            if decode(&bytes, &mut frame).is_err() {
                prop_assert!(frame.persons.is_empty());
            }
        }

        #[test]
        fn broken_lines_are_read_or_refused(at in 0_usize..400, byte in any::<u8>(), cut in 0_usize..400) {
            let line = format!(r#"{{"frame": 12, "time_ns": 3, "persons": [{{"id": 3, "score": 0.5, "keypoints": [{}]}}]}}"#, numbers(51));
            let mut bytes = line.into_bytes();
            let place = at % bytes.len();
            bytes[place] = byte;
            let mut frame = PoseFrame::new(FrameIndex(0), MonotonicNs(0));
            let _ = decode(&bytes, &mut frame);
            bytes.truncate(cut % bytes.len());
            let _ = decode(&bytes, &mut frame);
        }
    }
}
