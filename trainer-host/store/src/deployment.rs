//! What became of each bundle on each device: the newest state, and every report as it came.

use crate::error::StoreError;
use crate::store::{Store, signed, unsigned};
use alfred_wire::error_code::{CodeNumber, ErrorCode};
use alfred_wire::link::{BundleStage, BundleState};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

/// State of a bundle on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deployment {
    /// The device.
    pub device: String,
    /// Its camera.
    pub camera: String,
    /// The bundle.
    pub revision: u64,
    /// How far it has come: a stage of the link, or `delayed` when the device could not take it now.
    pub stage: String,
    /// Number of the reason, when it was refused or reverted.
    pub reason: Option<u16>,
    /// The reason's name.
    pub reason_name: Option<&'static str>,
    /// What to do about it.
    pub mend: Option<&'static str>,
    /// Windows seen in this stage.
    pub windows: u64,
    /// Windows that it flagged.
    pub flagged: u64,
    /// Windows that the live model flagged (shadow only).
    pub live_flagged: u64,
    /// Windows on which both decided otherwise (shadow only).
    pub disagreements: u64,
    /// Windows on which it failed.
    pub faults: u64,
    /// Frame from which on it decides, or the old one decides again.
    pub from_frame: u64,
    /// When it was reported, milliseconds since 1970.
    pub changed_ms: i64,
}

/// One report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeploymentReport {
    /// The device.
    pub device: String,
    /// The bundle.
    pub revision: u64,
    /// The stage.
    pub stage: String,
    /// Number of the reason.
    pub reason: Option<u16>,
    /// When it came, milliseconds since 1970.
    pub reported_ms: i64,
}

/// Which way a report came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// On the connection, in order.
    Link,
    /// Out of the journal, perhaps late: it never takes a state back.
    Journal,
}

/// Name and order of a stage. A device that could not take a bundle just now (`delayed`) is offered it again.
const fn stage_of(state: &BundleState) -> (&'static str, u8) {
    match state.stage {
        BundleStage::Wanted => ("wanted", 0),
        BundleStage::Written => ("written", 1),
        BundleStage::Verified => ("verified", 2),
        BundleStage::Shadow => ("shadow", 3),
        BundleStage::Trial => ("trial", 4),
        BundleStage::Confirmed => ("confirmed", 5),
        BundleStage::Refused if is_for_now(state.reason) => ("delayed", 0),
        BundleStage::Refused => ("refused", 6),
        BundleStage::Reverted => ("reverted", 6),
    }
}

const fn is_for_now(reason: Option<CodeNumber>) -> bool {
    const FOR_NOW: [ErrorCode; 5] =
        [ErrorCode::BundleTruncated, ErrorCode::BundleChunk, ErrorCode::BundleHash, ErrorCode::SlotBusy, ErrorCode::SlotStorage];
    let Some(reason) = reason else { return false };
    let mut at = 0;
    while at < FOR_NOW.len() {
        if FOR_NOW[at].number().0 == reason.0 {
            return true;
        }
        at += 1;
    }
    false
}

fn order_of(stage: &str) -> u8 {
    match stage {
        "written" => 1,
        "verified" => 2,
        "shadow" => 3,
        "trial" => 4,
        "confirmed" => 5,
        "refused" | "reverted" => 6,
        _ => 0,
    }
}

/// Takes a report inside a transaction.
pub(crate) fn apply(connection: &Connection, device: &str, state: &BundleState, source: Source, now_ms: i64) -> Result<(), StoreError> {
    let (stage, order) = stage_of(state);
    let reason = state.reason.map(|code| code.0);
    let revision = signed(state.revision);
    connection
        .prepare_cached("INSERT INTO deployment_reports (device, revision, stage, reason, reported_ms) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![device, revision, stage, reason, now_ms])?;
    let before: Option<String> = connection
        .prepare_cached("SELECT stage FROM deployments WHERE device = ?1 AND revision = ?2")?
        .query_row(params![device, revision], |row| row.get(0))
        .optional()?;
    if source == Source::Journal && before.is_some_and(|before| order_of(&before) > order) {
        return Ok(());
    }
    connection.prepare_cached("INSERT OR REPLACE INTO deployments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?.execute(
        params![
            device,
            revision,
            stage,
            reason,
            signed(state.windows),
            signed(state.flagged),
            signed(state.live_flagged),
            signed(state.disagreements),
            signed(state.faults),
            signed(state.from_frame),
            now_ms
        ],
    )?;
    if state.stage == BundleStage::Confirmed {
        connection
            .prepare_cached("UPDATE devices SET bundle_revision = max(ifnull(bundle_revision, 0), ?2) WHERE name = ?1")?
            .execute(params![device, revision])?;
    }
    Ok(())
}

impl Store {
    /// Keeps what a device reports about a bundle on its connection.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn report_bundle(&mut self, device: &str, state: &BundleState, now_ms: i64) -> Result<(), StoreError> {
        let transaction = self.write()?;
        apply(&transaction, device, state, Source::Link, now_ms)?;
        Ok(transaction.commit()?)
    }

    /// State of every bundle on every device, or on one camera's, the newest revision first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn deployments(&self, camera: Option<&str>) -> Result<Vec<Deployment>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT device, camera, revision, stage, reason, windows, flagged, live_flagged, disagreements, faults, from_frame, changed_ms
            FROM deployments JOIN devices ON devices.name = device WHERE ?1 IS NULL OR camera = ?1 ORDER BY device, revision DESC",
        )?;
        let found = select.query_map([camera], |row| {
            let reason: Option<u16> = row.get(4)?;
            let code = reason.and_then(|number| CodeNumber(number).known());
            Ok(Deployment {
                device: row.get(0)?,
                camera: row.get(1)?,
                revision: unsigned(row.get(2)?),
                stage: row.get(3)?,
                reason,
                reason_name: code.map(ErrorCode::name),
                mend: code.map(ErrorCode::mend),
                windows: unsigned(row.get(5)?),
                flagged: unsigned(row.get(6)?),
                live_flagged: unsigned(row.get(7)?),
                disagreements: unsigned(row.get(8)?),
                faults: unsigned(row.get(9)?),
                from_frame: unsigned(row.get(10)?),
                changed_ms: row.get(11)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// The latest reports, the newest first, at most `reports_max`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn deployment_reports(&self, reports_max: u32) -> Result<Vec<DeploymentReport>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT device, revision, stage, reason, reported_ms FROM deployment_reports ORDER BY id DESC LIMIT ?1")?;
        let found = select.query_map([reports_max], |row| {
            Ok(DeploymentReport {
                device: row.get(0)?,
                revision: unsigned(row.get(1)?),
                stage: row.get(2)?,
                reason: row.get(3)?,
                reported_ms: row.get(4)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
