//! Where the daemon's cycle stands at each camera: its phase and slice, the items of a slice with what people said about them, and the
//! active-learning validation set.

use crate::audit::note;
use crate::bundle::need_camera;
use crate::error::StoreError;
use crate::item::{ITEM_COLUMNS, Item, item};
use crate::store::{Store, finite, signed, unsigned};
use alfred_core::limits::KEYPOINTS;
use alfred_core::pose::KeyPoint;
use alfred_wire::pose_codec::Detail;
use alfred_wire::record::{Content, Record};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Items of the longest slice: what comes beyond belongs to the next one.
pub const SLICE_ITEMS_MAX: u32 = 50_000;

/// The paper's phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Flagged segments are reviewed until they make a balanced validation set.
    #[default]
    WarmUp,
    /// Slice by slice: review, fine-tune, threshold, bundle.
    ActiveLearning,
}

impl Phase {
    /// As it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WarmUp => "warm_up",
            Self::ActiveLearning => "active_learning",
        }
    }
}

impl FromSql for Phase {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        [Self::WarmUp, Self::ActiveLearning].into_iter().find(|phase| phase.as_str() == text).ok_or(FromSqlError::InvalidType)
    }
}

/// Where the cycle of a camera stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CycleState {
    /// The camera.
    pub camera: String,
    /// Its phase.
    pub phase: Phase,
    /// Slices that were closed.
    pub slice: u64,
    /// Items up to this number belong to closed slices.
    pub item_last: i64,
    /// Verdicts (but "unsure") that stood when the last slice was closed.
    pub labels_seen: u64,
    /// Whether a person holds the camera: candidates are built, not rolled out.
    pub is_held: bool,
    /// When this changed, milliseconds since 1970.
    pub changed_ms: i64,
}

/// An item, and what people say it is.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedItem {
    /// The item.
    pub item: Item,
    /// Whether most reviewers call it anomalous; `None` where nobody judged it, all are unsure, or they are divided.
    pub is_anomalous: Option<bool>,
}

/// A member of the validation set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValidationItem {
    /// The item.
    pub item: i64,
    /// What people say it is, or what it was taken for.
    pub is_anomalous: bool,
    /// Frames of the camera that each frame of the item stands for, above 0: normal people below the threshold are sampled, events are not.
    pub weight: f64,
    /// Slice in which it joined.
    pub slice: u64,
    /// Whether it has left: too old, or crowded out. It trains nevertheless never.
    pub has_left: bool,
}

/// The flagged person's poses of an item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Footage {
    /// By frame: x and y in pixels, confidence 0 to 1.
    pub poses: BTreeMap<u64, [KeyPoint; KEYPOINTS]>,
    /// Windows below the threshold that a sample stands for; of an event 0.
    pub stands_for: u32,
}

const OPINION: &str = "(SELECT total(verdict = 'anomalous') - total(verdict = 'normal') FROM current WHERE current.item = items.id)";

impl Store {
    /// Where the cycle of a camera stands; at its beginning when nothing is known.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn cycle_state(&self, camera: &str) -> Result<CycleState, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT phase, slice, item_last, labels_seen, is_held, changed_ms FROM cycle_states WHERE camera = ?1")?;
        let found = select
            .query_row([camera], |row| {
                Ok(CycleState {
                    camera: camera.to_owned(),
                    phase: row.get(0)?,
                    slice: unsigned(row.get(1)?),
                    item_last: row.get(2)?,
                    labels_seen: unsigned(row.get(3)?),
                    is_held: row.get(4)?,
                    changed_ms: row.get(5)?,
                })
            })
            .optional()?;
        Ok(found.unwrap_or_else(|| CycleState {
            camera: camera.to_owned(),
            phase: Phase::WarmUp,
            slice: 0,
            item_last: 0,
            labels_seen: 0,
            is_held: false,
            changed_ms: 0,
        }))
    }

    /// Keeps where the cycle of a camera stands; a change of phase or of who holds it is a line of the audit log.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera.
    pub fn set_cycle_state(&mut self, state: &CycleState, who: &str) -> Result<(), StoreError> {
        let before = self.cycle_state(&state.camera)?;
        let transaction = self.write()?;
        need_camera(&transaction, &state.camera)?;
        transaction.execute(
            "INSERT OR REPLACE INTO cycle_states (camera, phase, slice, item_last, labels_seen, is_held, changed_ms)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                state.camera,
                state.phase.as_str(),
                signed(state.slice),
                state.item_last,
                signed(state.labels_seen),
                state.is_held,
                state.changed_ms
            ],
        )?;
        if before.phase != state.phase || before.slice != state.slice {
            let about = format!("{} {} slice {}", state.camera, state.phase.as_str(), state.slice);
            note(&transaction, state.changed_ms, who, "close slice", &about)?;
        }
        if before.is_held != state.is_held {
            note(&transaction, state.changed_ms, who, if state.is_held { "hold" } else { "release" }, &state.camera)?;
        }
        Ok(transaction.commit()?)
    }

    /// Items of a camera after `item_last` in order, at most [`SLICE_ITEMS_MAX`], that have ended (or whose device has started anew) and
    /// whose poses are here, with what people say.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn judged_items(&self, camera: &str, item_last: i64) -> Result<Vec<JudgedItem>, StoreError> {
        self.select_judged("items.camera = ?1 AND items.id > ?2", camera, item_last)
    }

    /// Every item of a camera up to `item_last` that people have called normal or anomalous.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn judged_items_until(&self, camera: &str, item_last: i64) -> Result<Vec<JudgedItem>, StoreError> {
        let mut items = self.select_judged(
            "items.camera = ?1 AND items.id <= ?2 AND EXISTS (SELECT 1 FROM standing WHERE standing.item = items.id)",
            camera,
            item_last,
        )?;
        items.retain(|judged| judged.is_anomalous.is_some());
        Ok(items)
    }

    /// The named items of a camera that are there, by number, with what people say.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn items_of(&self, camera: &str, ids: &BTreeSet<i64>) -> Result<Vec<JudgedItem>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for &id in ids {
            found.extend(self.select_judged("items.camera = ?1 AND items.id = ?2", camera, id)?);
        }
        Ok(found)
    }

    fn select_judged(&self, condition: &str, camera: &str, item_last: i64) -> Result<Vec<JudgedItem>, StoreError> {
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT {ITEM_COLUMNS}, {OPINION} FROM items WHERE {condition} AND items.parts > 0 AND (items.has_ended OR EXISTS
            (SELECT 1 FROM devices WHERE devices.name = items.device AND devices.boot IS NOT NULL AND devices.boot <> items.boot))
            ORDER BY items.id LIMIT {SLICE_ITEMS_MAX}"
        ))?;
        let found = select.query_map(params![camera, item_last], |row| {
            let balance: f64 = row.get(16)?;
            let is_anomalous = if balance > 0.0 { Some(true) } else { (balance < 0.0).then_some(false) };
            Ok(JudgedItem { item: item(row)?, is_anomalous })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// The poses of an item's own person; those that cannot be read are left out.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] record.
    pub fn footage(&self, item: &Item) -> Result<Footage, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT records.id, records.body FROM segments JOIN records ON records.id = segments.record WHERE segments.item = ?1
            ORDER BY segments.part, records.sequence",
        )?;
        let mut rows = select.query([item.id])?;
        let mut footage = Footage::default();
        while let Some(row) = rows.next()? {
            let (record, body): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let decoded = Record::decode(&body).map_err(|_| StoreError::Damaged(record))?;
            let (poses, detail) = match &decoded.content {
                Content::Segment(segment) => (segment.poses, Detail::Full),
                Content::Sample(sample) => {
                    footage.stands_for = sample.stands_for;
                    (sample.poses, Detail::Sample)
                }
                Content::Event(_) | Content::Health(_) | Content::Bundle(_) => return Err(StoreError::Damaged(record)),
            };
            let readable = poses.read(detail).map_while(Result::ok).filter(|pose| pose.person.0 == item.person);
            footage.poses.extend(readable.map(|pose| (pose.frame.0, pose.keypoints())));
        }
        Ok(footage)
    }

    /// The bytes of a record; `None`: it never came.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn record_body(&self, device: &str, boot: u64, sequence: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut select = self.connection.prepare_cached("SELECT body FROM records WHERE device = ?1 AND boot = ?2 AND sequence = ?3")?;
        Ok(select.query_row(params![device, signed(boot), signed(sequence)], |row| row.get(0)).optional()?)
    }

    /// Parts of segments that came from a camera's devices.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn segments_of(&self, camera: &str) -> Result<u64, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT count(*) FROM records JOIN devices ON devices.name = records.device WHERE devices.camera = ?1 AND records.kind = 'segment'",
        )?;
        Ok(unsigned(select.query_row([camera], |row| row.get(0))?))
    }

    /// Verdicts on a camera's items that stand, but "unsure".
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn camera_labels(&self, camera: &str) -> Result<u64, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT count(*) FROM standing JOIN items ON items.id = standing.item WHERE items.camera = ?1 AND verdict <> 'unsure'",
        )?;
        Ok(unsigned(select.query_row([camera], |row| row.get(0))?))
    }

    /// The validation set of a camera, those that left included, by item.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn validation_items(&self, camera: &str) -> Result<Vec<ValidationItem>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT item, is_anomalous, weight, slice, left_ms IS NOT NULL FROM validation_items WHERE camera = ?1 ORDER BY item",
        )?;
        let found = select.query_map([camera], |row| {
            Ok(ValidationItem {
                item: row.get(0)?,
                is_anomalous: row.get(1)?,
                weight: row.get(2)?,
                slice: unsigned(row.get(3)?),
                has_left: row.get(4)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Keeps the validation set of a camera as it is now; members that are not named leave.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera or item, [`StoreError::Range`] for a weight.
    pub fn set_validation_items(&mut self, camera: &str, items: &[ValidationItem], now_ms: i64) -> Result<(), StoreError> {
        let transaction = self.write()?;
        need_camera(&transaction, camera)?;
        transaction.execute("UPDATE validation_items SET left_ms = ?2 WHERE camera = ?1 AND left_ms IS NULL", params![camera, now_ms])?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO validation_items (camera, item, is_anomalous, weight, slice, joined_ms, left_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                ON CONFLICT (camera, item) DO UPDATE SET
                is_anomalous = excluded.is_anomalous, weight = excluded.weight, slice = excluded.slice, left_ms = excluded.left_ms",
            )?;
            for member in items {
                if !transaction.prepare_cached("SELECT 1 FROM items WHERE id = ?1 AND camera = ?2")?.exists(params![member.item, camera])? {
                    return Err(StoreError::Unknown { what: "item", name: member.item.to_string() });
                }
                let weight = finite("a weight", member.weight)?;
                let left_ms = member.has_left.then_some(now_ms);
                insert.execute(params![camera, member.item, member.is_anomalous, weight, signed(member.slice), now_ms, left_ms])?;
            }
        }
        Ok(transaction.commit()?)
    }
}
