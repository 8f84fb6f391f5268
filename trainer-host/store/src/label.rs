//! What people said about items: a log that only grows. Taking back is a new line; so is judging an item again.

use crate::error::StoreError;
use crate::queue::Strategy;
use crate::store::{Store, finite, name, text};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use serde::{Deserialize, Serialize};

/// Longest time for one verdict that is believed; whoever goes for lunch does not count as slow. Seconds.
pub const VERDICT_SECONDS_MAX: f64 = 3600.0;

/// What a reviewer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Anomalous: the positive class.
    Anomalous,
    /// Normal.
    Normal,
    /// Cannot be told from the skeletons.
    Unsure,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Anomalous, Self::Normal, Self::Unsure];

    /// As it stands in the database and in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anomalous => "anomalous",
            Self::Normal => "normal",
            Self::Unsure => "unsure",
        }
    }

    /// The verdict of a text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == text)
    }
}

impl ToSql for Verdict {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Verdict {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_text(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

/// A verdict on its way into the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewLabel<'a> {
    /// About which item.
    pub item: i64,
    /// Who says it.
    pub reviewer: &'a str,
    /// What.
    pub verdict: Verdict,
    /// Seconds from showing to judging; more than [`VERDICT_SECONDS_MAX`] count as that.
    pub seconds: f64,
    /// How the item was chosen.
    pub strategy: Strategy,
    /// A random key of the request: the same key again changes nothing.
    pub request: &'a str,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LabelOutcome {
    /// The line of the log.
    pub label: i64,
    /// The item.
    pub item: i64,
    /// Whether the line was added now, not by the same request before.
    pub is_new: bool,
}

/// Work of one reviewer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Workload {
    /// Who.
    pub reviewer: String,
    /// Verdicts that stand.
    pub verdicts: u64,
    /// Seconds that they took.
    pub seconds: f64,
    /// Verdicts that were taken back.
    pub undone: u64,
}

/// A line of the log that a request has made before.
struct Earlier {
    id: i64,
    item: i64,
    verdict: Option<Verdict>,
}

fn earlier(connection: &Connection, reviewer: &str, request: &str) -> Result<Option<Earlier>, StoreError> {
    let mut select = connection.prepare_cached("SELECT id, item, verdict FROM labels WHERE reviewer = ?1 AND request = ?2")?;
    Ok(select.query_row([reviewer, request], |row| Ok(Earlier { id: row.get(0)?, item: row.get(1)?, verdict: row.get(2)? })).optional()?)
}

impl Store {
    /// Adds a verdict, with the item's score, threshold and bundle revision as they are now.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] item, [`StoreError::Range`], [`StoreError::RequestReused`].
    pub fn label(&mut self, new: &NewLabel<'_>, now_ms: i64) -> Result<LabelOutcome, StoreError> {
        name("reviewer", new.reviewer)?;
        text("the request key", new.request)?;
        let seconds = finite("seconds", new.seconds)?.clamp(0.0, VERDICT_SECONDS_MAX);
        let transaction = self.write()?;
        if let Some(earlier) = earlier(&transaction, new.reviewer, new.request)? {
            if earlier.item != new.item || earlier.verdict != Some(new.verdict) {
                return Err(StoreError::RequestReused(new.request.to_owned()));
            }
            return Ok(LabelOutcome { label: earlier.id, item: new.item, is_new: false });
        }
        let id = transaction
            .prepare_cached(
                "INSERT INTO labels (item, reviewer, verdict, seconds, strategy, is_repeat, bundle_revision, threshold, score, made_ms, request)
                SELECT id, ?2, ?3, ?4, ?5, EXISTS (SELECT 1 FROM standing WHERE item = items.id AND reviewer = ?2),
                    bundle_revision, threshold, score, ?6, ?7
                FROM items WHERE id = ?1 RETURNING id",
            )?
            .query_row(
                params![new.item, new.reviewer, new.verdict, seconds, new.strategy.as_str(), now_ms, new.request],
                |row| row.get(0),
            )
            .optional()?;
        let id = id.ok_or_else(|| StoreError::Unknown { what: "item", name: new.item.to_string() })?;
        transaction.commit()?;
        Ok(LabelOutcome { label: id, item: new.item, is_new: true })
    }

    /// Takes back a reviewer's latest verdict that stands, or the one named.
    ///
    /// # Errors
    /// [`StoreError::NothingToUndo`], [`StoreError::RequestReused`].
    pub fn undo(&mut self, reviewer: &str, label: Option<i64>, request: &str, now_ms: i64) -> Result<LabelOutcome, StoreError> {
        name("reviewer", reviewer)?;
        text("the request key", request)?;
        let transaction = self.write()?;
        if let Some(earlier) = earlier(&transaction, reviewer, request)? {
            if earlier.verdict.is_some() {
                return Err(StoreError::RequestReused(request.to_owned()));
            }
            return Ok(LabelOutcome { label: earlier.id, item: earlier.item, is_new: false });
        }
        let added: Option<(i64, i64)> = transaction
            .prepare_cached(
                "INSERT INTO labels
                    (item, reviewer, undoes, seconds, strategy, is_repeat, bundle_revision, threshold, score, made_ms, request)
                SELECT item, reviewer, id, 0, strategy, is_repeat, bundle_revision, threshold, score, ?3, ?4
                FROM standing WHERE reviewer = ?1 AND (?2 IS NULL OR id = ?2) ORDER BY id DESC LIMIT 1 RETURNING id, item",
            )?
            .query_row(params![reviewer, label, now_ms, request], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (id, item) = added.ok_or_else(|| StoreError::NothingToUndo(reviewer.to_owned()))?;
        transaction.commit()?;
        Ok(LabelOutcome { label: id, item, is_new: true })
    }

    /// How much each reviewer has judged since a moment, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn workload(&self, since_ms: i64) -> Result<Vec<Workload>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT reviewer, (SELECT count(*) FROM standing WHERE standing.reviewer = labels.reviewer AND made_ms >= ?1),
            (SELECT total(seconds) FROM standing WHERE standing.reviewer = labels.reviewer AND made_ms >= ?1),
            count(undoes) FROM labels WHERE made_ms >= ?1 GROUP BY reviewer ORDER BY reviewer",
        )?;
        let work = select.query_map([since_ms], |row| {
            Ok(Workload {
                reviewer: row.get(0)?,
                verdicts: row.get::<_, u32>(1)?.into(),
                seconds: row.get(2)?,
                undone: row.get::<_, u32>(3)?.into(),
            })
        })?;
        Ok(work.collect::<Result<_, _>>()?)
    }
}
