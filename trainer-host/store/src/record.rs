//! Records of devices: kept exactly once by (device, boot, sequence), before their receipt goes out.
//!
//! What a record says is taken apart in the same transaction: events and samples become items, segments their parts, reports about bundles
//! deployments. The record itself stays as it came.

use crate::deployment::{Source, apply};
use crate::device::camera_of;
use crate::error::StoreError;
use crate::likeness;
use crate::store::{Store, signed};
use alfred_wire::link::RecordId;
use alfred_wire::output::{EventMessage, Kind};
use alfred_wire::pose_codec::Detail;
use alfred_wire::record::{Content, Priority, Record, SampleRecord, SegmentRecord};
use rusqlite::{Connection, OptionalExtension, params};

/// A record as the link brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// Which record of its device.
    pub id: RecordId,
    /// How dear it is.
    pub priority: Priority,
    /// Its bytes, in the form of `alfred_wire::record`.
    pub body: &'a [u8],
}

/// What became of a record; in each case it is on the disk and the device may forget it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was new.
    New,
    /// It had come before.
    Known,
    /// Its content cannot be read: the bytes are kept.
    Unreadable,
    /// Another content has its id: the bytes are kept aside.
    Aside,
}

/// Where a record's parts go.
struct Place<'c> {
    connection: &'c Connection,
    device: &'c str,
    camera: &'c str,
    incoming: &'c Incoming<'c>,
    row: i64,
    now_ms: i64,
}

impl Store {
    /// Takes records of a device in one transaction: when it returns, all of them are on the disk.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] or [`StoreError::Revoked`] device, [`StoreError::Database`]; then none of them was taken.
    pub fn take_records(&mut self, device: &str, records: &[Incoming<'_>], now_ms: i64) -> Result<Vec<Stored>, StoreError> {
        let transaction = self.write()?;
        let camera = camera_of(&transaction, device)?;
        let mut stored = Vec::with_capacity(records.len());
        for incoming in records {
            stored.push(take(&transaction, device, &camera, incoming, now_ms)?);
        }
        transaction.execute("UPDATE devices SET seen_ms = ?2 WHERE name = ?1", params![device, now_ms])?;
        transaction.commit()?;
        Ok(stored)
    }

    /// Forgets the poses of samples and events that came before a moment, that nobody judged and that no validation set holds; their ids stay, so that a late repetition
    /// is still known. Returns how many records were emptied.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn forget_unjudged(&mut self, before_ms: i64) -> Result<u64, StoreError> {
        let transaction = self.write()?;
        let unjudged = "received_ms < ?1 AND NOT EXISTS (SELECT 1 FROM labels WHERE labels.item = items.id)
            AND NOT EXISTS (SELECT 1 FROM validation_items WHERE validation_items.item = items.id AND left_ms IS NULL)";
        let emptied = transaction.execute(
            &format!(
                "UPDATE records SET body = x'' WHERE length(body) > 0 AND id IN
                (SELECT record FROM segments JOIN items ON items.id = segments.item WHERE {unjudged})"
            ),
            [before_ms],
        )?;
        for table in ["segments", "likenesses", "skips"] {
            transaction.execute(&format!("DELETE FROM {table} WHERE item IN (SELECT id FROM items WHERE {unjudged})"), [before_ms])?;
        }
        transaction.execute(&format!("DELETE FROM items WHERE {unjudged}"), [before_ms])?;
        transaction.commit()?;
        Ok(emptied as u64)
    }
}

fn take(connection: &Connection, device: &str, camera: &str, incoming: &Incoming<'_>, now_ms: i64) -> Result<Stored, StoreError> {
    let id = (signed(incoming.id.boot), signed(incoming.id.sequence));
    let mut select = connection.prepare_cached("SELECT body FROM records WHERE device = ?1 AND boot = ?2 AND sequence = ?3")?;
    if let Some(known) = select.query_row(params![device, id.0, id.1], |row| row.get::<_, Vec<u8>>(0)).optional()? {
        if known == incoming.body || known.is_empty() {
            return Ok(Stored::Known);
        }
        let mut insert = connection.prepare_cached("INSERT INTO records_aside VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING")?;
        insert.execute(params![device, id.0, id.1, now_ms, incoming.body])?;
        return Ok(Stored::Aside);
    }
    let record = Record::decode(incoming.body);
    let (kind, revision) = match &record {
        Ok(record) => (kind_of(&record.content), record.bundle_revision),
        Err(_) => ("unreadable", 0),
    };
    let mut insert = connection.prepare_cached(
        "INSERT INTO records (device, boot, sequence, priority, kind, received_ms, bundle_revision, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let row = insert.insert(params![device, id.0, id.1, incoming.priority as u8, kind, now_ms, signed(revision), incoming.body])?;
    let Ok(record) = record else {
        return Ok(Stored::Unreadable);
    };
    let place = Place { connection, device, camera, incoming, row, now_ms };
    match &record.content {
        Content::Event(event) => place.event(&record, event)?,
        Content::Segment(segment) => place.segment(&record, segment)?,
        Content::Sample(sample) => place.sample(&record, sample)?,
        Content::Bundle(state) => apply(connection, device, state, Source::Journal, now_ms)?,
        Content::Health(_) => {}
    }
    Ok(Stored::New)
}

const fn kind_of(content: &Content<'_>) -> &'static str {
    match content {
        Content::Event(_) => "event",
        Content::Segment(_) => "segment",
        Content::Sample(_) => "sample",
        Content::Health(_) => "health",
        Content::Bundle(_) => "bundle",
    }
}

/// What an item is made from.
struct ItemRow {
    kind: &'static str,
    number: u64,
    person: u32,
    frames: [u64; 2],
    score: f32,
    threshold: Option<f32>,
    has_ended: bool,
}

impl Place<'_> {
    /// Makes the item, or brings it up to date: a score only rises, and an ended event stays ended, in whatever order its messages come.
    fn item(&self, record: &Record<'_>, item: &ItemRow) -> Result<i64, StoreError> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO items (device, camera, boot, kind, number, priority, person, first_frame, last_frame, score, threshold,
                bundle_revision, has_ended, received_ms, wall_unix_ms)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
            ON CONFLICT (device, boot, kind, number) DO UPDATE SET
                first_frame = excluded.first_frame,
                last_frame = CASE WHEN items.has_ended AND NOT excluded.has_ended THEN items.last_frame ELSE excluded.last_frame END,
                score = max(items.score, excluded.score), threshold = excluded.threshold,
                bundle_revision = max(items.bundle_revision, excluded.bundle_revision),
                has_ended = max(items.has_ended, excluded.has_ended)
            RETURNING id",
        )?;
        let wall = record.wall_unix_ms.map(signed);
        let values = params![
            self.device,
            self.camera,
            signed(self.incoming.id.boot),
            item.kind,
            signed(item.number),
            self.incoming.priority as u8,
            item.person,
            signed(item.frames[0]),
            signed(item.frames[1]),
            item.score,
            item.threshold,
            signed(record.bundle_revision),
            item.has_ended,
            self.now_ms,
            wall
        ];
        Ok(insert.query_row(values, |row| row.get(0))?)
    }

    fn event(&self, record: &Record<'_>, event: &EventMessage) -> Result<(), StoreError> {
        let item = ItemRow {
            kind: "event",
            number: event.id,
            person: event.person,
            frames: [event.first_frame, event.last_frame],
            score: event.peak_score,
            threshold: Some(event.threshold),
            has_ended: !matches!(event.kind, Kind::New | Kind::Update),
        };
        let item = self.item(record, &item)?;
        likeness::announced(self.connection, item, event)
    }

    /// A segment may come before its event's message: the item is made then, with the threshold as the least that its score can be.
    fn segment(&self, record: &Record<'_>, segment: &SegmentRecord<'_>) -> Result<(), StoreError> {
        let header = &segment.header;
        let mut select =
            self.connection.prepare_cached("SELECT id FROM items WHERE device = ?1 AND boot = ?2 AND kind = 'event' AND number = ?3")?;
        let key = params![self.device, signed(self.incoming.id.boot), signed(header.event)];
        let item = match select.query_row(key, |row| row.get(0)).optional()? {
            Some(item) => item,
            None => {
                let item = ItemRow {
                    kind: "event",
                    number: header.event,
                    person: header.person,
                    frames: [header.from_frame, header.to_frame],
                    score: segment.threshold,
                    threshold: Some(segment.threshold),
                    has_ended: false,
                };
                self.item(record, &item)?
            }
        };
        self.part(item, header.part)?;
        likeness::seen(self.connection, item, header.person, segment.poses, Detail::Full)
    }

    fn sample(&self, record: &Record<'_>, sample: &SampleRecord<'_>) -> Result<(), StoreError> {
        let first = sample.poses.first_frame;
        let item = ItemRow {
            kind: "sample",
            number: self.incoming.id.sequence,
            person: sample.person,
            frames: [first, first.saturating_add(u64::from(sample.poses.count.saturating_sub(1)))],
            score: sample.score,
            threshold: None,
            has_ended: true,
        };
        let item = self.item(record, &item)?;
        self.part(item, 0)?;
        likeness::seen(self.connection, item, sample.person, sample.poses, Detail::Sample)
    }

    fn part(&self, item: i64, part: u16) -> Result<(), StoreError> {
        let mut insert = self.connection.prepare_cached("INSERT INTO segments (item, part, record) VALUES (?1, ?2, ?3)")?;
        insert.execute(params![item, part, self.row])?;
        let mut update = self.connection.prepare_cached("UPDATE items SET parts = parts + 1 WHERE id = ?1")?;
        update.execute([item])?;
        Ok(())
    }
}
