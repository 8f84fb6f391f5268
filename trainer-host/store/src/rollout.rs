//! Rollouts: which camera shall run which bundle; to one, some or all, with pause and rollback.
//!
//! A rollback withdraws what is in shadow or on trial: the device goes on with, or back to, what was confirmed before. A confirmed bundle
//! stays, since devices take no lower revision; its old weights are built and rolled out as a higher one.

use crate::audit::note;
use crate::bundle::need_camera;
use crate::device::Sha256;
use crate::error::StoreError;
use crate::store::{Store, signed, unsigned};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

/// State of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Its bundles are offered.
    Running,
    /// They wait.
    Paused,
    /// They are withdrawn.
    RolledBack,
}

impl RolloutState {
    const ALL: [Self; 3] = [Self::Running, Self::Paused, Self::RolledBack];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// A camera and the bundle that it shall run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The camera.
    pub camera: String,
    /// Revision of its bundle.
    pub revision: u64,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rollout {
    /// Its number.
    pub id: i64,
    /// Who started it.
    pub started_by: String,
    /// When, milliseconds since 1970.
    pub started_ms: i64,
    /// How it stands.
    pub state: RolloutState,
    /// What goes where.
    pub targets: Vec<Target>,
}

/// What a device shall be told about bundles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Offer this one.
    pub offer: Option<DesiredBundle>,
    /// Withdraw the one of this revision.
    pub withdraw: Option<u64>,
}

/// A bundle to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredBundle {
    /// Its revision.
    pub revision: u64,
    /// Its bytes.
    pub bytes: u32,
    /// What it was made for.
    pub fingerprint: u64,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
}

fn state_of(connection: &Connection, rollout: i64) -> Result<RolloutState, StoreError> {
    let text: Option<String> = connection.query_row("SELECT state FROM rollouts WHERE id = ?1", [rollout], |row| row.get(0)).optional()?;
    let state = text.and_then(|text| RolloutState::ALL.into_iter().find(|state| state.as_str() == text));
    state.ok_or_else(|| StoreError::Unknown { what: "rollout", name: rollout.to_string() })
}

impl Store {
    /// Starts a rollout to the named cameras; what another rollout wanted for them is replaced.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] bundle, [`StoreError::Range`] without targets or with one camera twice; then nothing changes.
    pub fn roll_out(&mut self, targets: &[Target], who: &str, now_ms: i64) -> Result<i64, StoreError> {
        if targets.is_empty() {
            return Err(StoreError::Range { what: "the rollout's cameras", allowed: "one or more" });
        }
        let transaction = self.write()?;
        transaction.execute("INSERT INTO rollouts (started_by, started_ms, state) VALUES (?1, ?2, 'running')", params![who, now_ms])?;
        let rollout = transaction.last_insert_rowid();
        for Target { camera, revision } in targets {
            let known = transaction
                .prepare_cached("SELECT 1 FROM bundles WHERE camera = ?1 AND revision = ?2")?
                .exists(params![camera, signed(*revision)])?;
            if !known {
                return Err(StoreError::Unknown { what: "bundle", name: format!("{camera} revision {revision}") });
            }
            let added = transaction
                .prepare_cached("INSERT INTO rollout_cameras (rollout, camera, revision) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
                .execute(params![rollout, camera, signed(*revision)])?;
            if added == 0 {
                return Err(StoreError::Range { what: "the rollout's cameras", allowed: "each camera once" });
            }
            transaction.execute(
                "UPDATE cameras SET desired_revision = ?2, is_paused = 0,
                withdrawn_revision = CASE WHEN withdrawn_revision = ?2 THEN NULL ELSE withdrawn_revision END WHERE name = ?1",
                params![camera, signed(*revision)],
            )?;
            // Refused before: the operator asks for another try.
            transaction.execute(
                "DELETE FROM deployments WHERE revision = ?2 AND stage IN ('refused', 'reverted')
                AND device IN (SELECT name FROM devices WHERE camera = ?1)",
                params![camera, signed(*revision)],
            )?;
            note(&transaction, now_ms, who, "roll out", &format!("{camera} revision {revision}, rollout {rollout}"))?;
        }
        transaction.commit()?;
        Ok(rollout)
    }

    /// Pauses a rollout, or lets it go on. Devices in the middle of a transfer finish it; nothing new is offered.
    ///
    /// # Errors
    /// [`StoreError::Unknown`]; [`StoreError::Range`] when it was rolled back.
    pub fn pause_rollout(&mut self, rollout: i64, is_paused: bool, who: &str, now_ms: i64) -> Result<(), StoreError> {
        let transaction = self.write()?;
        if state_of(&transaction, rollout)? == RolloutState::RolledBack {
            return Err(StoreError::Range { what: "the rollout's state", allowed: "running or paused; this one was rolled back" });
        }
        let state = if is_paused { RolloutState::Paused } else { RolloutState::Running };
        transaction.execute("UPDATE rollouts SET state = ?2 WHERE id = ?1", params![rollout, state.as_str()])?;
        transaction.execute(
            "UPDATE cameras SET is_paused = ?2 WHERE EXISTS
            (SELECT 1 FROM rollout_cameras WHERE rollout = ?1 AND camera = cameras.name AND revision = cameras.desired_revision)",
            params![rollout, is_paused],
        )?;
        note(&transaction, now_ms, who, if is_paused { "pause rollout" } else { "resume rollout" }, &rollout.to_string())?;
        Ok(transaction.commit()?)
    }

    /// Rolls back: its bundles are offered no more, and withdrawn where they are in shadow or on trial.
    ///
    /// # Errors
    /// [`StoreError::Unknown`]; [`StoreError::Confirmed`] when one is confirmed on a device: then nothing changes.
    pub fn roll_back(&mut self, rollout: i64, who: &str, now_ms: i64) -> Result<(), StoreError> {
        let transaction = self.write()?;
        state_of(&transaction, rollout)?;
        let confirmed = transaction
            .query_row(
                "SELECT devices.name, rollout_cameras.revision FROM rollout_cameras JOIN devices ON devices.camera = rollout_cameras.camera
                JOIN deployments ON deployments.device = devices.name AND deployments.revision = rollout_cameras.revision
                WHERE rollout = ?1 AND stage = 'confirmed' AND NOT devices.is_revoked LIMIT 1",
                [rollout],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        if let Some((device, revision)) = confirmed {
            return Err(StoreError::Confirmed { device, revision: unsigned(revision) });
        }
        transaction.execute("UPDATE rollouts SET state = 'rolled_back' WHERE id = ?1", [rollout])?;
        transaction.execute(
            "UPDATE cameras SET withdrawn_revision = desired_revision, desired_revision = NULL, is_paused = 0 WHERE EXISTS
            (SELECT 1 FROM rollout_cameras WHERE rollout = ?1 AND camera = cameras.name AND revision = cameras.desired_revision)",
            [rollout],
        )?;
        note(&transaction, now_ms, who, "roll back", &rollout.to_string())?;
        Ok(transaction.commit()?)
    }

    /// Rolls one camera back: what it shall run is offered no more, and withdrawn where it is in shadow or on trial. Other cameras of the same
    /// rollout go on. Returns the withdrawn revision.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera; [`StoreError::Range`] when nothing is rolled out to it; [`StoreError::Confirmed`] when a device has
    /// confirmed it.
    pub fn roll_back_camera(&mut self, camera: &str, who: &str, now_ms: i64) -> Result<u64, StoreError> {
        let transaction = self.write()?;
        need_camera(&transaction, camera)?;
        let desired: Option<i64> =
            transaction.query_row("SELECT desired_revision FROM cameras WHERE name = ?1", [camera], |row| row.get(0))?;
        let Some(revision) = desired else {
            return Err(StoreError::Range { what: "the camera's rollout", allowed: "one that runs; nothing is rolled out to this camera" });
        };
        let confirmed = transaction
            .query_row(
                "SELECT device FROM deployments JOIN devices ON devices.name = device
                WHERE camera = ?1 AND revision = ?2 AND stage = 'confirmed' AND NOT is_revoked LIMIT 1",
                params![camera, revision],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(device) = confirmed {
            return Err(StoreError::Confirmed { device, revision: unsigned(revision) });
        }
        transaction.execute(
            "UPDATE cameras SET withdrawn_revision = desired_revision, desired_revision = NULL, is_paused = 0 WHERE name = ?1",
            [camera],
        )?;
        note(&transaction, now_ms, who, "roll back", &format!("{camera} revision {revision}"))?;
        transaction.commit()?;
        Ok(unsigned(revision))
    }

    /// All rollouts, the newest first, at most `rollouts_max`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn rollouts(&self, rollouts_max: u32) -> Result<Vec<Rollout>, StoreError> {
        let mut select = self.connection.prepare_cached("SELECT id, started_by, started_ms FROM rollouts ORDER BY id DESC LIMIT ?1")?;
        let mut targets =
            self.connection.prepare_cached("SELECT camera, revision FROM rollout_cameras WHERE rollout = ?1 ORDER BY camera")?;
        let rows = select.query_map([rollouts_max], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut found = Vec::new();
        for row in rows {
            let (id, started_by, started_ms) = row?;
            let of_one = targets.query_map([id], |row| Ok(Target { camera: row.get(0)?, revision: unsigned(row.get(1)?) }))?;
            let targets = of_one.collect::<Result<_, _>>()?;
            found.push(Rollout { id, started_by, started_ms, state: state_of(&self.connection, id)?, targets });
        }
        Ok(found)
    }

    /// What a device shall be told about bundles now. A bundle that it has, tries, or has refused for good is not offered again.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn desired(&self, device: &str) -> Result<Desired, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT bundles.revision, length(bundles.bytes), bundles.fingerprint, bundles.sha256 FROM devices
            JOIN cameras ON cameras.name = devices.camera AND NOT cameras.is_paused
            JOIN bundles ON bundles.camera = cameras.name AND bundles.revision = cameras.desired_revision
            WHERE devices.name = ?1 AND bundles.revision > ifnull(devices.bundle_revision, 0) AND NOT EXISTS (SELECT 1 FROM deployments
                WHERE device = ?1 AND revision = bundles.revision AND stage NOT IN ('wanted', 'delayed'))",
        )?;
        let offer = select
            .query_row([device], |row| {
                Ok(DesiredBundle {
                    revision: unsigned(row.get(0)?),
                    bytes: row.get(1)?,
                    fingerprint: unsigned(row.get(2)?),
                    sha256: row.get(3)?,
                })
            })
            .optional()?;
        let mut select = self.connection.prepare_cached(
            "SELECT withdrawn_revision FROM devices JOIN cameras ON cameras.name = devices.camera
            JOIN deployments ON deployments.device = devices.name AND deployments.revision = withdrawn_revision
            WHERE devices.name = ?1 AND stage NOT IN ('refused', 'reverted', 'confirmed')",
        )?;
        let withdraw = select.query_row([device], |row| row.get(0)).optional()?.map(unsigned);
        Ok(Desired { offer, withdraw })
    }
}
