//! The database file: opened, checked to be ours, brought to the newest schema; and the small conversions that every table needs.

use crate::error::StoreError;
use crate::schema::{APPLICATION_ID, STEPS};
use alfred_wire::name::Name;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::path::Path;
use std::time::Duration;

/// How long a write waits for another process's write.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(10);
/// Characters of the longest text that is not a name: keys, notes, policies.
pub const TEXT_BYTES_MAX: usize = 256;

/// One connection to the database. Several may be open at once, in one process or more: one writes, all read.
#[derive(Debug)]
pub struct Store {
    pub(crate) connection: Connection,
}

impl Store {
    /// Opens the database, makes it when it is not there, and brings an older one to the newest schema.
    ///
    /// A commit is on the disk when it returns (`synchronous = FULL`): a receipt may follow it.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::NotOurs`], [`StoreError::TooNew`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(WAIT_FOR_OTHERS).map_err(failed)?;
        let ours: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(failed)?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
        if ours != APPLICATION_ID && (ours != 0 || tables > 0) {
            return Err(StoreError::NotOurs(path.to_owned()));
        }
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
                PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 16777216;",
            )
            .map_err(failed)?;
        migrate(&mut connection, path)?;
        Ok(Self { connection })
    }

    /// Version of the schema.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn schema_version(&self) -> Result<i64, StoreError> {
        Ok(self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
    }

    /// Begins a transaction that writes; it waits for another writer at once, not in its middle.
    pub(crate) fn write(&mut self) -> Result<Transaction<'_>, StoreError> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let known = STEPS.len() as i64;
    // The version is read inside the transaction: two processes may open a new file at once.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(found).ok().filter(|done| *done <= STEPS.len());
    let Some(done) = done else {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known });
    };
    if done < STEPS.len() {
        for step in &STEPS[done..] {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", known)?;
    }
    Ok(transaction.commit()?)
}

/// The signed number with the same bits.
pub(crate) const fn signed(value: u64) -> i64 {
    value.cast_signed()
}

/// The unsigned number with the same bits.
pub(crate) const fn unsigned(value: i64) -> u64 {
    value.cast_unsigned()
}

/// Judges a name of a device, camera or reviewer.
pub(crate) fn name(what: &'static str, text: &str) -> Result<Name, StoreError> {
    Name::new(text).map_err(|source| StoreError::Name { what, source })
}

/// Judges another text: not empty, at most [`TEXT_BYTES_MAX`] bytes, no control characters.
pub(crate) fn text<'t>(what: &'static str, text: &'t str) -> Result<&'t str, StoreError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(StoreError::Range { what, allowed: "1 to 256 bytes without control characters" });
    }
    Ok(text)
}

/// Judges a figure.
pub(crate) fn finite(what: &'static str, value: f64) -> Result<f64, StoreError> {
    if value.is_finite() { Ok(value) } else { Err(StoreError::Range { what, allowed: "finite numbers" }) }
}
