//! What people ask of the daemon's cycle: kept until it is served, with what became of it.

use crate::audit::note;
use crate::bundle::need_camera;
use crate::error::StoreError;
use crate::store::{Store, name};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

/// Requests of a camera that may wait at once.
pub const WAITING_MAX: u32 = 16;
/// Bytes of the longest argument and of the longest outcome.
pub const ARGUMENT_BYTES_MAX: usize = 1024;
/// Requests of the longest answer.
pub const REQUESTS_MAX: u32 = 1000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// A new revision of the bundle in force, with another threshold: `{"threshold": 1.25}`.
    Threshold,
    /// Closes the slice now: fine-tune and judge a candidate. `{}`.
    FineTune,
    /// Rolls out the newest bundle that was held, or the named one, and lets the camera go: `{}` or `{"revision": 3}`.
    Promote,
    /// Candidates are built from now on but not rolled out: `{}`.
    Hold,
}

impl RequestKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Threshold, Self::FineTune, Self::Promote, Self::Hold];

    /// As it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Threshold => "threshold",
            Self::FineTune => "fine_tune",
            Self::Promote => "promote",
            Self::Hold => "hold",
        }
    }
}

impl FromSql for RequestKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(FromSqlError::InvalidType)
    }
}

/// A request and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CycleRequest {
    /// Its number.
    pub id: i64,
    /// The camera.
    pub camera: String,
    /// What is asked for.
    pub kind: RequestKind,
    /// Its argument: a JSON object.
    pub argument: serde_json::Value,
    /// Who asks.
    pub reviewer: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// When it was served; `null`: it waits.
    pub done_ms: Option<i64>,
    /// What became of it, in words.
    pub outcome: Option<String>,
}

const COLUMNS: &str = "id, camera, kind, argument, reviewer, at_ms, done_ms, outcome";

fn request(row: &Row<'_>) -> rusqlite::Result<CycleRequest> {
    Ok(CycleRequest {
        id: row.get(0)?,
        camera: row.get(1)?,
        kind: row.get(2)?,
        argument: serde_json::from_str(&row.get::<_, String>(3)?).unwrap_or_default(),
        reviewer: row.get(4)?,
        at_ms: row.get(5)?,
        done_ms: row.get(6)?,
        outcome: row.get(7)?,
    })
}

impl Store {
    /// Keeps a request until the cycle serves it. Returns its number.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera; [`StoreError::Range`] for an argument that is no JSON object or too long, for a threshold that is no
    /// finite number, and when [`WAITING_MAX`] requests of this camera wait already.
    pub fn ask_cycle(
        &mut self,
        camera: &str,
        kind: RequestKind,
        argument: &serde_json::Value,
        reviewer: &str,
        now_ms: i64,
    ) -> Result<i64, StoreError> {
        name("reviewer", reviewer)?;
        let argument_text = argument.to_string();
        if !argument.is_object() || argument_text.len() > ARGUMENT_BYTES_MAX {
            return Err(StoreError::Range { what: "the argument", allowed: "a JSON object of at most 1024 bytes" });
        }
        let threshold = argument.get("threshold").and_then(serde_json::Value::as_f64);
        if kind == RequestKind::Threshold && !threshold.is_some_and(|threshold| (threshold as f32).is_finite()) {
            return Err(StoreError::Range { what: "the argument's threshold", allowed: "finite numbers" });
        }
        let transaction = self.write()?;
        need_camera(&transaction, camera)?;
        let waiting: u32 =
            transaction
                .query_row("SELECT count(*) FROM cycle_requests WHERE camera = ?1 AND done_ms IS NULL", [camera], |row| row.get(0))?;
        if waiting >= WAITING_MAX {
            return Err(StoreError::Range { what: "this camera's waiting requests", allowed: "at most 16; wait until they are served" });
        }
        transaction.execute(
            "INSERT INTO cycle_requests (camera, kind, argument, reviewer, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![camera, kind.as_str(), argument_text, reviewer, now_ms],
        )?;
        let id = transaction.last_insert_rowid();
        note(&transaction, now_ms, reviewer, &format!("ask {}", kind.as_str()), &format!("{camera} {argument_text}"))?;
        transaction.commit()?;
        Ok(id)
    }

    /// Requests that wait, the longest waiting first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn waiting_requests(&self) -> Result<Vec<CycleRequest>, StoreError> {
        let mut select =
            self.connection.prepare_cached(&format!("SELECT {COLUMNS} FROM cycle_requests WHERE done_ms IS NULL ORDER BY id"))?;
        let found = select.query_map([], request)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// The latest requests of a camera or of all, the newest first, at most `requests_max` (up to [`REQUESTS_MAX`]).
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn requests(&self, camera: Option<&str>, requests_max: u32) -> Result<Vec<CycleRequest>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM cycle_requests WHERE ?1 IS NULL OR camera = ?1 ORDER BY id DESC LIMIT ?2"))?;
        let found = select.query_map(params![camera, requests_max.min(REQUESTS_MAX)], request)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// One request.
    ///
    /// # Errors
    /// [`StoreError::Unknown`].
    pub fn request(&self, id: i64) -> Result<CycleRequest, StoreError> {
        let mut select = self.connection.prepare_cached(&format!("SELECT {COLUMNS} FROM cycle_requests WHERE id = ?1"))?;
        let found = select.query_row([id], request).optional()?;
        found.ok_or_else(|| StoreError::Unknown { what: "request", name: id.to_string() })
    }

    /// Says what became of a request; one that was served already keeps its outcome.
    ///
    /// # Errors
    /// [`StoreError::Unknown`].
    pub fn settle_request(&mut self, id: i64, outcome: &str, now_ms: i64) -> Result<(), StoreError> {
        let end = outcome.floor_char_boundary(ARGUMENT_BYTES_MAX);
        let outcome = &outcome[..end];
        let about = self.request(id)?;
        let transaction = self.write()?;
        let settled = transaction.execute(
            "UPDATE cycle_requests SET done_ms = ?2, outcome = ?3 WHERE id = ?1 AND done_ms IS NULL",
            params![id, now_ms, outcome],
        )?;
        if settled > 0 {
            let what = format!("serve {}", about.kind.as_str());
            note(&transaction, now_ms, "host", &what, &format!("{} request {id}: {outcome}", about.camera))?;
        }
        Ok(transaction.commit()?)
    }
}
