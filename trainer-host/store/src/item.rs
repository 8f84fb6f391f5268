//! What a person can judge: an event with its segments, or a sample from below the threshold.

use crate::error::StoreError;
use crate::label::Verdict;
use crate::store::{Store, unsigned};
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// The device announced it.
    Event,
    /// The device took it for normal; judged to learn what is missed, or for training.
    Sample,
}

impl ItemKind {
    /// As it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Sample => "sample",
        }
    }

    /// The kind of a text of the database.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Event, Self::Sample].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Something that can be judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// Its number in this database.
    pub id: i64,
    /// The device that saw it.
    pub device: String,
    /// Its camera.
    pub camera: String,
    /// Random number of the device's start, in hexadecimal; frames count anew with each.
    pub boot: String,
    /// Event or sample.
    pub kind: ItemKind,
    /// The event's number, or the sample's record.
    pub number: u64,
    /// The tracker's number of the person.
    pub person: u32,
    /// First anomalous frame, or first of the sample.
    pub first_frame: u64,
    /// Latest anomalous frame, or last of the sample.
    pub last_frame: u64,
    /// Highest anomaly score; higher = more anomalous.
    pub score: f64,
    /// Threshold at which the device decided; `null` for samples.
    pub threshold: Option<f64>,
    /// Revision of the bundle that scored; 0: the device's model file.
    pub bundle_revision: u64,
    /// Whether the event is over.
    pub has_ended: bool,
    /// Records with its poses.
    pub parts: u32,
    /// When it came, milliseconds since 1970.
    pub received_ms: i64,
    /// When it happened by the device's wall clock, milliseconds since 1970; for display only.
    pub wall_unix_ms: Option<i64>,
    /// What was said about it, the latest of each reviewer; empty in queues, so that nobody is swayed.
    pub verdicts: Vec<Opinion>,
}

/// What a reviewer says about an item now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Opinion {
    /// Who.
    pub reviewer: String,
    /// What.
    pub verdict: Verdict,
    /// When, milliseconds since 1970.
    pub made_ms: i64,
}

pub(crate) const ITEM_COLUMNS: &str = "items.id, items.device, items.camera, items.boot, items.kind, items.number, items.person,
    items.first_frame, items.last_frame, items.score, items.threshold, items.bundle_revision, items.has_ended, items.parts,
    items.received_ms, items.wall_unix_ms";

pub(crate) fn item(row: &Row<'_>) -> rusqlite::Result<Item> {
    Ok(Item {
        id: row.get(0)?,
        device: row.get(1)?,
        camera: row.get(2)?,
        boot: format!("{:016x}", unsigned(row.get(3)?)),
        // The schema allows no third kind.
        kind: ItemKind::from_text(&row.get::<_, String>(4)?).unwrap_or(ItemKind::Sample),
        number: unsigned(row.get(5)?),
        person: row.get(6)?,
        first_frame: unsigned(row.get(7)?),
        last_frame: unsigned(row.get(8)?),
        score: row.get(9)?,
        threshold: row.get(10)?,
        bundle_revision: unsigned(row.get(11)?),
        has_ended: row.get(12)?,
        parts: row.get(13)?,
        received_ms: row.get(14)?,
        wall_unix_ms: row.get(15)?,
        verdicts: Vec::new(),
    })
}

impl Store {
    /// One item, with what was said about it.
    ///
    /// # Errors
    /// [`StoreError::Unknown`].
    pub fn item(&self, id: i64) -> Result<Item, StoreError> {
        let mut select = self.connection.prepare_cached(&format!("SELECT {ITEM_COLUMNS} FROM items WHERE id = ?1"))?;
        let found = select.query_row([id], item).optional()?;
        let mut found = found.ok_or_else(|| StoreError::Unknown { what: "item", name: id.to_string() })?;
        let mut select =
            self.connection.prepare_cached("SELECT reviewer, verdict, made_ms FROM current WHERE item = ?1 ORDER BY reviewer")?;
        let said = select.query_map([id], |row| Ok(Opinion { reviewer: row.get(0)?, verdict: row.get(1)?, made_ms: row.get(2)? }))?;
        found.verdicts = said.collect::<Result<_, _>>()?;
        Ok(found)
    }
}
