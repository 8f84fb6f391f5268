//! Snooze rules: a false alarm that comes again and again at one place is not asked about for a while. A rule says who made it, why, and when
//! it ends; its items stay in the database and in every count, and the audit of missed anomalies still draws from them.

use crate::audit::note;
use crate::error::StoreError;
use crate::store::{Store, finite, text};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

/// Longest rule, hours.
pub const HOURS_MAX: u32 = 168;
/// Largest radius, pixels.
pub const RADIUS_PX_MAX: f64 = 10_000.0;
/// Rules that may be live at once at one camera.
pub const RULES_MAX: u32 = 50;
/// Rules that ended longer ago are listed no more, milliseconds.
const LISTED_MS: i64 = 30 * 24 * 3_600_000;

/// Whether a live rule hides `items`, an event, at moment `:now`: the person stood within the rule's circle and the score is not above its own.
pub(crate) const IS_SNOOZED: &str = "items.kind = 'event' AND EXISTS (SELECT 1 FROM snoozes JOIN likenesses AS stood ON stood.item = items.id
    WHERE snoozes.camera = items.camera AND snoozes.ended_ms IS NULL AND snoozes.expires_ms > :now AND items.score <= snoozes.score_max
    AND (stood.x - snoozes.x) * (stood.x - snoozes.x) + (stood.y - snoozes.y) * (stood.y - snoozes.y) <= snoozes.radius_px * snoozes.radius_px)";

/// A rule on its way into the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewSnooze<'a> {
    /// The false alarm that it is made from.
    pub item: i64,
    /// How long it lasts, 1 to [`HOURS_MAX`].
    pub hours: u32,
    /// How far around the item's place; `None`: one height of the person.
    pub radius_px: Option<f64>,
    /// Highest score that is hidden; `None`: the item's own. A higher score is asked about.
    pub score_max: Option<f64>,
    /// Why.
    pub reason: &'a str,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snooze {
    /// Its number.
    pub id: i64,
    /// Where it holds.
    pub camera: String,
    /// The false alarm that it was made from.
    pub item: i64,
    /// Middle of its circle, pixels.
    pub x: f64,
    /// Middle of its circle, pixels.
    pub y: f64,
    /// Its circle's radius, pixels.
    pub radius_px: f64,
    /// Highest score that it hides.
    pub score_max: f64,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub made_by: String,
    /// When, milliseconds since 1970.
    pub made_ms: i64,
    /// When it ends by itself.
    pub expires_ms: i64,
    /// Who ended it before.
    pub ended_by: Option<String>,
    /// When.
    pub ended_ms: Option<i64>,
    /// Whether it hides something now.
    pub is_live: bool,
    /// Unjudged events that it hides, or would if it were live.
    pub hides: u32,
}

/// `?1`: now.
const COLUMNS: &str = "id, camera, item, x, y, radius_px, score_max, reason, made_by, made_ms, expires_ms, ended_by, ended_ms,
    ended_ms IS NULL AND expires_ms > ?1,
    (SELECT count(*) FROM items JOIN likenesses AS stood ON stood.item = items.id
        WHERE items.camera = snoozes.camera AND items.kind = 'event' AND items.score <= snoozes.score_max
        AND (stood.x - snoozes.x) * (stood.x - snoozes.x) + (stood.y - snoozes.y) * (stood.y - snoozes.y) <= snoozes.radius_px * snoozes.radius_px
        AND NOT EXISTS (SELECT 1 FROM standing WHERE standing.item = items.id))";

fn snooze(row: &Row<'_>) -> rusqlite::Result<Snooze> {
    Ok(Snooze {
        id: row.get(0)?,
        camera: row.get(1)?,
        item: row.get(2)?,
        x: row.get(3)?,
        y: row.get(4)?,
        radius_px: row.get(5)?,
        score_max: row.get(6)?,
        reason: row.get(7)?,
        made_by: row.get(8)?,
        made_ms: row.get(9)?,
        expires_ms: row.get(10)?,
        ended_by: row.get(11)?,
        ended_ms: row.get(12)?,
        is_live: row.get(13)?,
        hides: row.get(14)?,
    })
}

fn one(connection: &Connection, id: i64, now_ms: i64) -> Result<Snooze, StoreError> {
    let mut select = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM snoozes WHERE id = ?2"))?;
    let found = select.query_row([now_ms, id], snooze).optional()?;
    found.ok_or_else(|| StoreError::Unknown { what: "snooze rule", name: id.to_string() })
}

impl Store {
    /// Makes a rule from an event.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] item; [`StoreError::Range`] when a figure is out of its range, the item is a sample or has no place, or
    /// the camera has [`RULES_MAX`] live rules.
    pub fn snooze(&mut self, new: &NewSnooze<'_>, who: &str, now_ms: i64) -> Result<Snooze, StoreError> {
        text("the reason", new.reason)?;
        if !(1..=HOURS_MAX).contains(&new.hours) {
            return Err(StoreError::Range { what: "hours", allowed: "1 to 168" });
        }
        let transaction = self.write()?;
        let found = transaction
            .query_row(
                "SELECT camera, score, x, y, height FROM items LEFT JOIN likenesses ON likenesses.item = items.id AND items.kind = 'event'
                WHERE items.id = ?1",
                [new.item],
                |row| Ok((row.get::<_, String>(0)?, row.get(1)?, [row.get(2)?, row.get(3)?, row.get(4)?])),
            )
            .optional()?;
        let (camera, score, place): (String, f64, [Option<f64>; 3]) =
            found.ok_or_else(|| StoreError::Unknown { what: "item", name: new.item.to_string() })?;
        let [Some(x), Some(y), Some(height)] = place else {
            return Err(StoreError::Range { what: "the item", allowed: "events whose poses show where the person stood" });
        };
        let radius_px = finite("radius_px", new.radius_px.unwrap_or(height))?;
        let score_max = finite("score_max", new.score_max.unwrap_or(score))?;
        if !(1.0..=RADIUS_PX_MAX).contains(&radius_px) {
            return Err(StoreError::Range { what: "radius_px", allowed: "1 to 10,000" });
        }
        let live: u32 = transaction.query_row(
            "SELECT count(*) FROM snoozes WHERE camera = ?1 AND ended_ms IS NULL AND expires_ms > ?2",
            params![camera, now_ms],
            |row| row.get(0),
        )?;
        if live >= RULES_MAX {
            return Err(StoreError::Range { what: "the camera's live snooze rules", allowed: "at most 50: end one first" });
        }
        let expires_ms = now_ms.saturating_add(i64::from(new.hours) * 3_600_000);
        transaction.execute(
            "INSERT INTO snoozes (camera, item, x, y, radius_px, score_max, reason, made_by, made_ms, expires_ms)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![camera, new.item, x, y, radius_px, score_max, new.reason, who, now_ms, expires_ms],
        )?;
        let id = transaction.last_insert_rowid();
        note(&transaction, now_ms, who, "snooze", &format!("rule {id} at {camera} for {} h: {}", new.hours, new.reason))?;
        let made = one(&transaction, id, now_ms)?;
        transaction.commit()?;
        Ok(made)
    }

    /// Ends a rule now; one that is over stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Unknown`].
    pub fn end_snooze(&mut self, id: i64, who: &str, now_ms: i64) -> Result<Snooze, StoreError> {
        let transaction = self.write()?;
        let rule = one(&transaction, id, now_ms)?;
        if rule.is_live {
            transaction.execute("UPDATE snoozes SET ended_by = ?2, ended_ms = ?3 WHERE id = ?1", params![id, who, now_ms])?;
            note(&transaction, now_ms, who, "end snooze", &format!("rule {id} at {}", rule.camera))?;
        }
        let ended = one(&transaction, id, now_ms)?;
        transaction.commit()?;
        Ok(ended)
    }

    /// All rules that are live or ended in the last 30 days, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn snoozes(&self, now_ms: i64) -> Result<Vec<Snooze>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM snoozes WHERE ifnull(ended_ms, expires_ms) > ?1 - ?2 ORDER BY id DESC LIMIT 500");
        let mut select = self.connection.prepare_cached(&sql)?;
        let found = select.query_map([now_ms, LISTED_MS], snooze)?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
