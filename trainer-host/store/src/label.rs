//! What people said about items: a log that only grows. Taking back is a new line; so is judging an item again.

use crate::error::StoreError;
use crate::likeness::SIMILAR_ITEMS_MAX;
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
    /// Whether every unjudged event of its incident gets the same verdict, up to [`SIMILAR_ITEMS_MAX`] of them.
    pub with_similar: bool,
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
    /// Items that the request is about: more than one when similar ones were judged along.
    pub labelled: u32,
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

/// Key of a line that was added along with another one.
fn follower_key(request: &str, place: u32) -> String {
    format!("{request} +{place}")
}

/// Lines that were added along with one.
fn followers(connection: &Connection, label: i64) -> Result<u32, StoreError> {
    Ok(connection.prepare_cached("SELECT count(*) FROM labels WHERE follows = ?1")?.query_row([label], |row| row.get(0))?)
}

/// Events of an item's incident about which nobody has said anything.
fn unjudged_similar(connection: &Connection, item: i64) -> Result<Vec<i64>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT item FROM likenesses WHERE incident = (SELECT incident FROM likenesses WHERE item = ?1) AND item <> ?1
        AND NOT EXISTS (SELECT 1 FROM standing WHERE standing.item = likenesses.item) ORDER BY item LIMIT ?2",
    )?;
    let found = select.query_map(params![item, SIMILAR_ITEMS_MAX], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Adds a line; `None` when there is no such item.
fn add(connection: &Connection, new: &NewLabel<'_>, follows: Option<i64>, now_ms: i64) -> Result<Option<i64>, StoreError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO labels
            (item, reviewer, verdict, seconds, strategy, is_repeat, bundle_revision, threshold, score, made_ms, request, follows)
        SELECT id, ?2, ?3, ?4, ?5, EXISTS (SELECT 1 FROM standing WHERE item = items.id AND reviewer = ?2),
            bundle_revision, threshold, score, ?6, ?7, ?8
        FROM items WHERE id = ?1 RETURNING id",
    )?;
    let id = insert
        .query_row(params![new.item, new.reviewer, new.verdict, new.seconds, new.strategy, now_ms, new.request, follows], |row| row.get(0));
    Ok(id.optional()?)
}

/// Adds a line that takes one back.
fn take_back(connection: &Connection, label: i64, request: &str, follows: Option<i64>, now_ms: i64) -> Result<i64, StoreError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO labels
            (item, reviewer, undoes, seconds, strategy, is_repeat, bundle_revision, threshold, score, made_ms, request, follows)
        SELECT item, reviewer, id, 0, strategy, is_repeat, bundle_revision, threshold, score, ?2, ?3, ?4 FROM labels WHERE id = ?1 RETURNING id",
    )?;
    Ok(insert.query_row(params![label, now_ms, request, follows], |row| row.get(0))?)
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
            let labelled = 1 + followers(&transaction, earlier.id)?;
            return Ok(LabelOutcome { label: earlier.id, item: new.item, is_new: false, labelled });
        }
        let one = NewLabel { seconds, ..*new };
        let id = add(&transaction, &one, None, now_ms)?;
        let id = id.ok_or_else(|| StoreError::Unknown { what: "item", name: new.item.to_string() })?;
        let mut labelled = 1;
        for item in if new.with_similar { unjudged_similar(&transaction, new.item)? } else { Vec::new() } {
            let request = follower_key(new.request, labelled);
            text("the request key", &request)?;
            let follower = NewLabel { item, seconds: 0.0, request: &request, ..*new };
            if add(&transaction, &follower, Some(id), now_ms)?.is_some() {
                labelled += 1;
            }
        }
        transaction.commit()?;
        Ok(LabelOutcome { label: id, item: new.item, is_new: true, labelled })
    }

    /// Takes back a reviewer's latest verdict that stands, or the one named, and what was judged along with it.
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
            let labelled = 1 + followers(&transaction, earlier.id)?;
            return Ok(LabelOutcome { label: earlier.id, item: earlier.item, is_new: false, labelled });
        }
        // A verdict that was given along with another one goes and stays with that one.
        let lead: Option<i64> = transaction
            .prepare_cached(
                "SELECT ifnull(follows, id) FROM standing WHERE reviewer = ?1 AND (?2 IS NULL OR id = ?2) ORDER BY id DESC LIMIT 1",
            )?
            .query_row(params![reviewer, label], |row| row.get(0))
            .optional()?;
        let lead = lead.ok_or_else(|| StoreError::NothingToUndo(reviewer.to_owned()))?;
        let undone: Vec<(i64, i64)> = {
            let mut select = transaction
                .prepare_cached("SELECT id, item FROM standing WHERE reviewer = ?1 AND (id = ?2 OR follows = ?2) ORDER BY id")?;
            let rows = select.query_map(params![reviewer, lead], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut first = None;
        for (place, (undone, item)) in (0..).zip(undone) {
            let request = if place == 0 { request.to_owned() } else { follower_key(request, place) };
            text("the request key", &request)?;
            let id = take_back(&transaction, undone, &request, first.map(|(id, _)| id), now_ms)?;
            first = first.or(Some((id, item)));
        }
        let (id, item) = first.ok_or_else(|| StoreError::NothingToUndo(reviewer.to_owned()))?;
        let labelled = 1 + followers(&transaction, id)?;
        transaction.commit()?;
        Ok(LabelOutcome { label: id, item, is_new: true, labelled })
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
