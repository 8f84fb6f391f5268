//! Reviewers and their sessions. Tokens and session secrets are random; only their SHA-256 is kept, so that a copy of the database opens
//! nothing. Whoever made the random numbers and hashes is the caller.

use crate::audit::note;
use crate::device::Sha256;
use crate::error::StoreError;
use crate::store::{Store, name};
use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Judges items.
    Reviewer,
    /// Judges items, rolls out and rolls back.
    Operator,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Reviewer => "reviewer",
            Self::Operator => "operator",
        }
    }

    fn from_text(text: &str) -> Self {
        // The schema allows no third role; the lesser one if it did.
        if text == Self::Operator.as_str() { Self::Operator } else { Self::Reviewer }
    }
}

/// A reviewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reviewer {
    /// The name.
    pub name: String,
    /// What is allowed.
    pub role: Role,
}

/// A session that has not expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose.
    pub reviewer: Reviewer,
    /// What a request that changes something must repeat in a header.
    pub guard: String,
}

impl Store {
    /// Adds a reviewer.
    ///
    /// # Errors
    /// [`StoreError::Name`], [`StoreError::Exists`].
    pub fn add_reviewer(&mut self, reviewer: &str, role: Role, token: &Sha256, now_ms: i64) -> Result<(), StoreError> {
        name("reviewer", reviewer)?;
        let transaction = self.write()?;
        let added = transaction.execute(
            "INSERT INTO reviewers (name, role, token_sha256, added_ms) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![reviewer, role.as_str(), token, now_ms],
        )?;
        if added == 0 {
            return Err(StoreError::Exists { what: "reviewer", name: reviewer.to_owned() });
        }
        note(&transaction, now_ms, "host", "add reviewer", &format!("{reviewer}, {}", role.as_str()))?;
        Ok(transaction.commit()?)
    }

    /// Gives a reviewer a new token, or none: then nobody can log in as that reviewer. Sessions end; what was said stays.
    ///
    /// # Errors
    /// [`StoreError::Unknown`].
    pub fn set_token(&mut self, reviewer: &str, token: Option<&Sha256>, now_ms: i64) -> Result<(), StoreError> {
        let transaction = self.write()?;
        let changed = transaction.execute(
            "UPDATE reviewers SET token_sha256 = ifnull(?2, token_sha256), is_revoked = ?2 IS NULL WHERE name = ?1",
            params![reviewer, token],
        )?;
        if changed == 0 {
            return Err(StoreError::Unknown { what: "reviewer", name: reviewer.to_owned() });
        }
        transaction.execute("DELETE FROM sessions WHERE reviewer = ?1", [reviewer])?;
        let what = if token.is_some() { "new token" } else { "revoke reviewer" };
        note(&transaction, now_ms, "host", what, reviewer)?;
        Ok(transaction.commit()?)
    }

    /// A reviewer's role and hashed token, for the caller to compare in constant time; `None` for unknown and revoked ones.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn token_of(&self, reviewer: &str) -> Result<Option<(Role, Sha256)>, StoreError> {
        let mut select = self.connection.prepare_cached("SELECT role, token_sha256 FROM reviewers WHERE name = ?1 AND NOT is_revoked")?;
        let found = select.query_row([reviewer], |row| Ok((Role::from_text(&row.get::<_, String>(0)?), row.get(1)?))).optional()?;
        Ok(found)
    }

    /// All reviewers who may log in, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn reviewers(&self) -> Result<Vec<Reviewer>, StoreError> {
        let mut select = self.connection.prepare_cached("SELECT name, role FROM reviewers WHERE NOT is_revoked ORDER BY name")?;
        let found = select.query_map([], |row| Ok(Reviewer { name: row.get(0)?, role: Role::from_text(&row.get::<_, String>(1)?) }))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Begins a session; expired ones are removed on the way.
    ///
    /// # Errors
    /// [`StoreError::Database`], also for an unknown reviewer.
    pub fn begin_session(&mut self, reviewer: &str, secret: &Sha256, guard: &str, expires_ms: i64, now_ms: i64) -> Result<(), StoreError> {
        let transaction = self.write()?;
        transaction.execute("DELETE FROM sessions WHERE expires_ms <= ?1", [now_ms])?;
        transaction.execute(
            "INSERT INTO sessions (secret_sha256, reviewer, guard, expires_ms) VALUES (?1, ?2, ?3, ?4)",
            params![secret, reviewer, guard, expires_ms],
        )?;
        note(&transaction, now_ms, reviewer, "log in", "")?;
        Ok(transaction.commit()?)
    }

    /// The session of a secret, if it has not expired and its reviewer was not revoked.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn session(&self, secret: &Sha256, now_ms: i64) -> Result<Option<Session>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT name, role, guard FROM sessions JOIN reviewers ON name = reviewer
            WHERE secret_sha256 = ?1 AND expires_ms > ?2 AND NOT is_revoked",
        )?;
        let found = select
            .query_row(params![secret, now_ms], |row| {
                let reviewer = Reviewer { name: row.get(0)?, role: Role::from_text(&row.get::<_, String>(1)?) };
                Ok(Session { reviewer, guard: row.get(2)? })
            })
            .optional()?;
        Ok(found)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn end_session(&mut self, secret: &Sha256) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM sessions WHERE secret_sha256 = ?1", params![secret])?;
        Ok(())
    }
}
