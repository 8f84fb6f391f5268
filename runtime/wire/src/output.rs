//! What leaves the device: events, segments, decided frames, health. One definition for JSON lines and for postcard on the link.
//!
//! As JSON each message is one line with one key that says what it is: `{"event": {...}}`, `{"segment": {...}}`, `{"frame": {...}}`.
//! Scores rise with anomaly. Enum variants are only ever appended: postcard numbers them.

use alfred_core::event::{EndReason, Event, EventKind};
use alfred_core::pipeline::FrameDecision;
use postcard::experimental::max_size::MaxSize;
use serde::{Deserialize, Serialize};

/// Where in its life an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It has reached its minimum length.
    New,
    /// It goes on.
    Update,
    /// The score fell and stayed below the threshold.
    EndScoreFell,
    /// The person was not seen any more.
    EndPersonLeft,
    /// The person's number went to somebody else.
    EndPersonChanged,
    /// Its track gave way to a new person.
    EndTrackEvicted,
    /// The stream ended or began anew.
    EndStreamEnded,
}

/// One message about one event of one person.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, MaxSize)]
pub struct EventMessage {
    /// The event's number in this process.
    pub id: u64,
    /// Where in its life it is.
    pub kind: Kind,
    /// The tracker's number of the person.
    pub person: u32,
    /// First anomalous frame.
    pub first_frame: u64,
    /// Latest anomalous frame.
    pub last_frame: u64,
    /// Frames decided as anomalous so far.
    pub anomalous_frames: u64,
    /// Highest smoothed anomaly score so far.
    pub peak_score: f32,
    /// Frame of the highest score.
    pub peak_frame: u64,
    /// Mean smoothed score of the anomalous frames.
    pub mean_score: f32,
    /// Threshold at which it was decided.
    pub threshold: f32,
}

impl EventMessage {
    /// The message of a data path's event.
    #[must_use]
    pub fn new(event: &Event, threshold: f32) -> Self {
        let kind = match event.kind {
            EventKind::New => Kind::New,
            EventKind::Update => Kind::Update,
            EventKind::End(EndReason::ScoreFell) => Kind::EndScoreFell,
            EventKind::End(EndReason::PersonLeft) => Kind::EndPersonLeft,
            EventKind::End(EndReason::PersonChanged) => Kind::EndPersonChanged,
            EventKind::End(EndReason::TrackEvicted) => Kind::EndTrackEvicted,
            EventKind::End(EndReason::StreamEnded) => Kind::EndStreamEnded,
        };
        Self {
            id: event.id.0,
            kind,
            person: event.person.0,
            first_frame: event.first.0,
            last_frame: event.last.0,
            anomalous_frames: event.anomalous_frames,
            peak_score: event.peak.value(),
            peak_frame: event.peak_frame.0,
            mean_score: event.mean.value(),
            threshold,
        }
    }
}

/// The decision about one frame. Scores are `null` (postcard: none) where nobody is scored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, MaxSize)]
pub struct FrameMessage {
    /// The frame's number.
    pub frame: u64,
    /// Its capture time in nanoseconds of the monotonic clock; `null` if the frame never came.
    pub captured_ns: Option<u64>,
    /// Persons in it.
    pub persons: u16,
    /// Anomaly score of the worst person.
    pub score: Option<f32>,
    /// The worst person.
    pub worst_person: Option<u32>,
    /// Smoothed anomaly score.
    pub smoothed: Option<f32>,
    /// Whether the smoothed score reached the threshold.
    pub anomalous: bool,
}

impl From<&FrameDecision> for FrameMessage {
    fn from(decision: &FrameDecision) -> Self {
        Self {
            frame: decision.frame.0,
            captured_ns: decision.captured.map(|time| time.0),
            persons: decision.persons,
            score: decision.score.map(|score| score.value()),
            worst_person: decision.worst.map(|person| person.0),
            smoothed: decision.smoothed.map(|score| score.value()),
            anomalous: decision.is_anomalous,
        }
    }
}

/// What a segment part is about; its poses follow apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, MaxSize)]
pub struct SegmentHeader {
    /// The event's number.
    pub event: u64,
    /// Number of the part, from 0.
    pub part: u16,
    /// Whether it is the event's last part.
    pub is_last: bool,
    /// The person whom the event is about.
    pub person: u32,
    /// First frame, pre-roll included.
    pub from_frame: u64,
    /// Last frame, post-roll included.
    pub to_frame: u64,
    /// Whether poses of its first frames had been overwritten before it was complete.
    pub is_incomplete: bool,
    /// Whether it was sent before its post-roll was complete.
    pub is_cut_short: bool,
    /// Poses that did not fit into the segment's buffer.
    pub poses_left_out: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    const MESSAGE: EventMessage = EventMessage {
        id: 300,
        kind: Kind::EndScoreFell,
        person: 5,
        first_frame: 10,
        last_frame: 20,
        anomalous_frames: 9,
        peak_score: 1.5,
        peak_frame: 15,
        mean_score: -0.5,
        threshold: 1.0,
    };

    #[test]
    fn postcard_bytes_are_the_golden_ones_and_within_the_maximum() {
        let mut buffer = [0; EventMessage::POSTCARD_MAX_SIZE];
        let bytes = postcard::to_slice(&MESSAGE, &mut buffer).expect("fits");
        let golden = b"\xAC\x02\x02\x05\x0A\x14\x09\0\0\xC0\x3F\x0F\0\0\0\xBF\0\0\x80\x3F";
        assert_eq!(bytes, golden, "the format of the link has drifted");
        assert_eq!(postcard::from_bytes::<EventMessage>(bytes).expect("reads back"), MESSAGE);
        const { assert!(EventMessage::POSTCARD_MAX_SIZE == 68 && FrameMessage::POSTCARD_MAX_SIZE == 41) };
    }

    #[test]
    fn json_keys_are_the_documented_ones() {
        let json = serde_json::to_string(&MESSAGE).expect("plain");
        let golden = r#"{"id":300,"kind":"end_score_fell","person":5,"first_frame":10,"last_frame":20,"anomalous_frames":9,"peak_score":1.5,"peak_frame":15,"mean_score":-0.5,"threshold":1.0}"#;
        assert_eq!(json, golden);
        let frame =
            FrameMessage { frame: 1, captured_ns: None, persons: 0, score: None, worst_person: None, smoothed: None, anomalous: false };
        let golden = r#"{"frame":1,"captured_ns":null,"persons":0,"score":null,"worst_person":null,"smoothed":null,"anomalous":false}"#;
        assert_eq!(serde_json::to_string(&frame).expect("plain"), golden);
    }
}
