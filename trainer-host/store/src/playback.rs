//! The skeletons of an item, frame by frame, for showing and for training.

use crate::error::StoreError;
use crate::item::Item;
use crate::likeness::EventFigures;
use crate::store::Store;
use alfred_wire::pose_codec::Detail;
use alfred_wire::record::{Content, Record};
use serde::Serialize;
use std::collections::BTreeMap;

/// Key-points of a person: COCO's 17.
pub const KEYPOINTS: usize = alfred_core::limits::KEYPOINTS;

/// An item with its skeletons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Playback {
    /// What it is about.
    pub item: Item,
    /// Its frames in order; frames without a person in them are missing.
    pub frames: Vec<PlaybackFrame>,
    /// Poses that the device had to leave out, and parts with an end missing: the picture is not whole.
    pub is_incomplete: bool,
    /// Number of the last part has come.
    pub has_last_part: bool,
    /// The event's figures; `null` for samples.
    pub event: Option<EventFigures>,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlaybackFrame {
    /// Its number.
    pub frame: u64,
    /// Its capture time since the item's first frame, milliseconds; of samples only the first is known, play them by frame number.
    pub at_ms: f64,
    /// Persons in it.
    pub persons: Vec<PlaybackPerson>,
}

/// One person in a frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlaybackPerson {
    /// The tracker's number.
    pub person: u32,
    /// x and y in pixels, confidence 0 to 1 (0: not detected), in COCO's order.
    pub keypoints: Vec<[f32; 3]>,
}

/// Key-points by the tracker's number of the person.
type Persons = BTreeMap<u32, Vec<[f32; 3]>>;

impl Store {
    /// An item's skeletons.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] item, [`StoreError::Damaged`] record.
    pub fn playback(&self, id: i64) -> Result<Playback, StoreError> {
        let item = self.item(id)?;
        let mut select = self.connection.prepare_cached(
            "SELECT records.id, records.body FROM segments JOIN records ON records.id = segments.record WHERE segments.item = ?1
            ORDER BY segments.part, records.sequence",
        )?;
        let mut rows = select.query([id])?;
        // By frame, then by person: parts may overlap.
        let mut frames: BTreeMap<u64, (u64, Persons)> = BTreeMap::new();
        let (mut is_incomplete, mut has_last_part) = (false, false);
        while let Some(row) = rows.next()? {
            let (record, body): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let decoded = Record::decode(&body).map_err(|_| StoreError::Damaged(record))?;
            let (poses, detail) = match &decoded.content {
                Content::Segment(segment) => {
                    let header = &segment.header;
                    is_incomplete |= header.is_incomplete || header.is_cut_short || header.poses_left_out > 0;
                    has_last_part |= header.is_last;
                    (segment.poses, Detail::Full)
                }
                Content::Sample(sample) => {
                    has_last_part = true;
                    (sample.poses, Detail::Sample)
                }
                Content::Event(_) | Content::Health(_) | Content::Bundle(_) => return Err(StoreError::Damaged(record)),
            };
            for pose in poses.read(detail) {
                // A device's poses may be unreadable although the record is not: what came before them still shows.
                let Ok(pose) = pose else {
                    is_incomplete = true;
                    break;
                };
                let keypoints = pose.keypoints().iter().map(|point| [point.x, point.y, point.confidence]).collect();
                let frame = frames.entry(pose.frame.0).or_insert((pose.captured.0, Persons::new()));
                frame.1.insert(pose.person.0, keypoints);
            }
        }
        let start = frames.values().next().map_or(0, |(captured, _)| *captured);
        let frames = frames
            .into_iter()
            .map(|(frame, (captured, persons))| PlaybackFrame {
                frame,
                at_ms: captured.saturating_sub(start) as f64 / 1e6,
                persons: persons.into_iter().map(|(person, keypoints)| PlaybackPerson { person, keypoints }).collect(),
            })
            .collect();
        let event = self.event_figures(id)?;
        Ok(Playback { item, frames, is_incomplete, has_last_part, event })
    }
}
