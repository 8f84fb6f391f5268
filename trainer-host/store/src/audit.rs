//! Who did what, and when: a log that only grows.

use crate::error::StoreError;
use crate::store::Store;
use rusqlite::{Connection, params};
use serde::Serialize;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditLine {
    /// Rises.
    pub id: i64,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Who: a reviewer, a device, or `host`.
    pub who: String,
    /// What.
    pub what: String,
    /// To what.
    pub about: String,
}

/// Adds a line inside a transaction.
pub(crate) fn note(connection: &Connection, at_ms: i64, who: &str, what: &str, about: &str) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached("INSERT INTO audit (at_ms, who, what, about) VALUES (?1, ?2, ?3, ?4)")?;
    insert.execute(params![at_ms, who, what, about])?;
    Ok(())
}

impl Store {
    /// The newest lines, newest first, at most `lines_max`; only those before line `before`, if one is named.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn audit(&self, before: Option<i64>, lines_max: u32) -> Result<Vec<AuditLine>, StoreError> {
        let mut select =
            self.connection.prepare_cached("SELECT id, at_ms, who, what, about FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2")?;
        let lines = select.query_map(params![before.unwrap_or(i64::MAX), lines_max], |row| {
            Ok(AuditLine { id: row.get(0)?, at_ms: row.get(1)?, who: row.get(2)?, what: row.get(3)?, about: row.get(4)? })
        })?;
        Ok(lines.collect::<Result<_, _>>()?)
    }
}
