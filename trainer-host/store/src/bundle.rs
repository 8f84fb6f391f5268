//! Models and bundles as bytes: kept, listed, read in parts. What is in a bundle is judged by whoever built and signed it.

use crate::audit::note;
use crate::device::Sha256;
use crate::error::StoreError;
use crate::store::{Store, finite, name, signed, text, unsigned};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use sha2::Digest;

/// Bytes of the largest bundle: the devices refuse long before.
pub const BUNDLE_BYTES_MAX: usize = 1 << 20;
/// Bytes of the largest model.
pub const MODEL_BYTES_MAX: usize = 64 << 20;

/// A bundle on its way into the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewBundle<'a> {
    /// The camera that it is for.
    pub camera: &'a str,
    /// Its revision: above every other of this camera.
    pub revision: u64,
    /// The revision that it continues.
    pub parent_revision: u64,
    /// What it was made for.
    pub fingerprint: u64,
    /// Its threshold.
    pub threshold: f64,
    /// How the threshold was chosen.
    pub policy: &'a str,
    /// The model that it was made from, if the store has it.
    pub model: Option<&'a Sha256>,
    /// The signed bundle.
    pub bytes: &'a [u8],
}

/// A bundle as it is listed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bundle {
    /// The camera that it is for.
    pub camera: String,
    /// Its revision.
    pub revision: u64,
    /// The revision that it continues.
    pub parent_revision: u64,
    /// What it was made for, in hexadecimal.
    pub fingerprint: String,
    /// Its threshold.
    pub threshold: f64,
    /// How the threshold was chosen.
    pub policy: String,
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Who added it.
    pub added_by: String,
    /// When, milliseconds since 1970.
    pub added_ms: i64,
}

/// A model as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Its bytes.
    pub bytes: u64,
    /// When it was added, milliseconds since 1970.
    pub added_ms: i64,
}

/// Whether a camera is there.
pub(crate) fn need_camera(connection: &Connection, camera: &str) -> Result<(), StoreError> {
    let known = connection.prepare_cached("SELECT 1 FROM cameras WHERE name = ?1")?.exists([camera])?;
    if known { Ok(()) } else { Err(StoreError::Unknown { what: "camera", name: camera.to_owned() }) }
}

impl Store {
    /// Adds a bundle; no device gets it before a rollout says so.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera, [`StoreError::RevisionNotAbove`], [`StoreError::Range`].
    pub fn add_bundle(&mut self, new: &NewBundle<'_>, who: &str, now_ms: i64) -> Result<(), StoreError> {
        finite("the threshold", new.threshold)?;
        text("the policy", new.policy)?;
        if new.bytes.is_empty() || new.bytes.len() > BUNDLE_BYTES_MAX {
            return Err(StoreError::Range { what: "the bundle's size", allowed: "1 to 1,048,576 bytes" });
        }
        let sha256: Sha256 = sha2::Sha256::digest(new.bytes).into();
        let transaction = self.write()?;
        need_camera(&transaction, new.camera)?;
        let newest: Option<i64> =
            transaction.query_row("SELECT max(revision) FROM bundles WHERE camera = ?1", [new.camera], |row| row.get(0))?;
        let newest = newest.map_or(0, unsigned);
        if new.revision <= newest || new.revision > i64::MAX as u64 {
            return Err(StoreError::RevisionNotAbove { camera: new.camera.to_owned(), revision: new.revision, newest });
        }
        transaction.execute(
            "INSERT INTO bundles (camera, revision, parent_revision, fingerprint, threshold, policy, model_sha256, bytes, sha256, added_by, added_ms)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                new.camera,
                signed(new.revision),
                signed(new.parent_revision),
                signed(new.fingerprint),
                new.threshold,
                new.policy,
                new.model,
                new.bytes,
                sha256,
                who,
                now_ms
            ],
        )?;
        note(&transaction, now_ms, who, "add bundle", &format!("{} revision {}", new.camera, new.revision))?;
        Ok(transaction.commit()?)
    }

    /// All bundles, or one camera's, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn bundles(&self, camera: Option<&str>) -> Result<Vec<Bundle>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT camera, revision, parent_revision, fingerprint, threshold, policy, length(bytes), lower(hex(sha256)), added_by, added_ms FROM bundles
            WHERE ?1 IS NULL OR camera = ?1 ORDER BY camera, revision DESC",
        )?;
        let found = select.query_map([camera], |row| {
            Ok(Bundle {
                camera: row.get(0)?,
                revision: unsigned(row.get(1)?),
                parent_revision: unsigned(row.get(2)?),
                fingerprint: format!("{:016x}", unsigned(row.get(3)?)),
                threshold: row.get(4)?,
                policy: row.get(5)?,
                bytes: unsigned(row.get(6)?),
                sha256: row.get(7)?,
                added_by: row.get(8)?,
                added_ms: row.get(9)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// A part of a bundle: at most `bytes_max` from `offset`; empty at its end.
    ///
    /// # Errors
    /// [`StoreError::Unknown`].
    pub fn bundle_part(&self, camera: &str, revision: u64, offset: u32, bytes_max: u32) -> Result<Vec<u8>, StoreError> {
        let mut select = self.connection.prepare_cached("SELECT substr(bytes, ?3, ?4) FROM bundles WHERE camera = ?1 AND revision = ?2")?;
        let part = select.query_row(params![camera, signed(revision), i64::from(offset) + 1, bytes_max], |row| row.get(0)).optional()?;
        part.ok_or_else(|| StoreError::Unknown { what: "bundle", name: format!("{camera} revision {revision}") })
    }

    /// A bundle's bytes and the hash of the model that it was made from, if the store has it.
    ///
    /// # Errors
    /// [`StoreError::Unknown`].
    pub fn bundle_whole(&self, camera: &str, revision: u64) -> Result<(Vec<u8>, Option<Sha256>), StoreError> {
        let mut select = self.connection.prepare_cached("SELECT bytes, model_sha256 FROM bundles WHERE camera = ?1 AND revision = ?2")?;
        let whole = select.query_row(params![camera, signed(revision)], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        whole.ok_or_else(|| StoreError::Unknown { what: "bundle", name: format!("{camera} revision {revision}") })
    }

    /// Adds a model; the same bytes again change nothing.
    ///
    /// # Errors
    /// [`StoreError::Range`], [`StoreError::Name`].
    pub fn add_model(&mut self, sha256: &Sha256, model: &str, architecture: &str, bytes: &[u8], now_ms: i64) -> Result<(), StoreError> {
        name("model", model)?;
        text("the architecture", architecture)?;
        if bytes.is_empty() || bytes.len() > MODEL_BYTES_MAX {
            return Err(StoreError::Range { what: "the model's size", allowed: "1 byte to 64 MiB" });
        }
        self.connection.execute(
            "INSERT INTO models (sha256, name, architecture, bytes, added_ms) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            params![sha256, model, architecture, bytes, now_ms],
        )?;
        Ok(())
    }

    /// All models, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn models(&self) -> Result<Vec<Model>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT lower(hex(sha256)), name, architecture, length(bytes), added_ms FROM models ORDER BY added_ms DESC, name",
        )?;
        let found = select.query_map([], |row| {
            Ok(Model {
                sha256: row.get(0)?,
                name: row.get(1)?,
                architecture: row.get(2)?,
                bytes: unsigned(row.get(3)?),
                added_ms: row.get(4)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// A model's bytes.
    ///
    /// # Errors
    /// [`StoreError::Unknown`].
    pub fn model_bytes(&self, sha256: &Sha256) -> Result<Vec<u8>, StoreError> {
        let mut select = self.connection.prepare_cached("SELECT bytes FROM models WHERE sha256 = ?1")?;
        let bytes = select.query_row([sha256], |row| row.get(0)).optional()?;
        bytes.ok_or_else(|| StoreError::Unknown { what: "model", name: format!("{sha256:02x?}") })
    }
}
