//! What the daemon's cycle judged: one line for each candidate, kept with its reason whether a bundle came of it or not; and the scores of
//! the validation set, from which the page shows what another threshold would cost.

use crate::audit::note;
use crate::bundle::need_camera;
use crate::error::StoreError;
use crate::store::{Store, finite, signed, text, unsigned};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

/// Lines of the longest answer.
pub const EVALUATIONS_MAX: u32 = 1000;
/// Bytes of the longest reason.
pub const REASON_BYTES_MAX: usize = 2000;

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A signed bundle was made of it and rolled out.
    Promoted,
    /// The pair in force stays.
    Refused,
    /// It may be promoted, but a person holds this camera: its bundle waits.
    Held,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Promoted, Self::Refused, Self::Held];

    /// As it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::Refused => "refused",
            Self::Held => "held",
        }
    }
}

impl FromSql for Outcome {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text).ok_or(FromSqlError::InvalidType)
    }
}

/// How a candidate was judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Rises; whatever stands here is ignored when it is added.
    pub id: i64,
    /// The camera.
    pub camera: String,
    /// The bundle that was built; `null`: none was.
    pub revision: Option<u64>,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in words.
    pub reason: String,
    /// How the threshold was chosen.
    pub policy: String,
    /// The candidate's threshold; `null` where the validation set carries none.
    pub threshold: Option<f64>,
    /// Equal error rate on the validation set, 0 to 1.
    pub eer: Option<f64>,
    /// Lower end of its 95 % interval.
    pub eer_low: Option<f64>,
    /// Upper end.
    pub eer_high: Option<f64>,
    /// Error Balance Index, 0 to 1, like FNR and FPR counted on events that did not choose the threshold (the cycle cross-fits).
    pub ebi: Option<f64>,
    /// Lower end of its 95 % interval.
    pub ebi_low: Option<f64>,
    /// Upper end.
    pub ebi_high: Option<f64>,
    /// Area under the ROC curve, 0 to 1.
    pub auc: Option<f64>,
    /// Lower end of its 95 % interval.
    pub auc_low: Option<f64>,
    /// Upper end.
    pub auc_high: Option<f64>,
    /// Misses among the validation set's anomalies at the threshold, 0 to 1.
    pub fnr: Option<f64>,
    /// False alarms among its normals, 0 to 1.
    pub fpr: Option<f64>,
    /// EBI of the un-adapted source pair on the same set.
    pub source_ebi: Option<f64>,
    /// Events in the validation set.
    pub validation_events: u64,
    /// Its normal items.
    pub validation_normals: u64,
    /// Its anomalous items.
    pub validation_anomalies: u64,
    /// SHA-256 of its items and verdicts, in hexadecimal; also in the bundle.
    pub validation_sha256: String,
    /// Verdicts that training and validation set used so far.
    pub labels_used: u64,
}

/// One item of the validation set as a revision scores it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ValidationScore {
    /// The item.
    pub item: i64,
    /// What people say it is.
    pub is_anomalous: bool,
    /// The revision's anomaly score.
    pub score: f64,
}

const COLUMNS: &str = "id, camera, revision, at_ms, outcome, reason, policy, threshold, eer, eer_low, eer_high, ebi, ebi_low, ebi_high,
    auc, auc_low, auc_high, fnr, fpr, source_ebi, validation_events, validation_normals, validation_anomalies, validation_sha256, labels_used";

fn evaluation(row: &Row<'_>) -> rusqlite::Result<Evaluation> {
    Ok(Evaluation {
        id: row.get(0)?,
        camera: row.get(1)?,
        revision: row.get::<_, Option<i64>>(2)?.map(unsigned),
        at_ms: row.get(3)?,
        outcome: row.get(4)?,
        reason: row.get(5)?,
        policy: row.get(6)?,
        threshold: row.get(7)?,
        eer: row.get(8)?,
        eer_low: row.get(9)?,
        eer_high: row.get(10)?,
        ebi: row.get(11)?,
        ebi_low: row.get(12)?,
        ebi_high: row.get(13)?,
        auc: row.get(14)?,
        auc_low: row.get(15)?,
        auc_high: row.get(16)?,
        fnr: row.get(17)?,
        fpr: row.get(18)?,
        source_ebi: row.get(19)?,
        validation_events: unsigned(row.get(20)?),
        validation_normals: unsigned(row.get(21)?),
        validation_anomalies: unsigned(row.get(22)?),
        validation_sha256: row.get(23)?,
        labels_used: unsigned(row.get(24)?),
    })
}

impl Store {
    /// Keeps how a candidate was judged, and says so in the audit log. Returns its number.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera, [`StoreError::Range`].
    pub fn add_evaluation(&mut self, new: &Evaluation, who: &str) -> Result<i64, StoreError> {
        text("the policy", &new.policy)?;
        if new.reason.len() > REASON_BYTES_MAX || new.validation_sha256.len() > 64 {
            return Err(StoreError::Range { what: "the evaluation's reason or hash", allowed: "2000 and 64 bytes" });
        }
        let figures = [new.eer, new.eer_low, new.eer_high, new.ebi, new.ebi_low, new.ebi_high, new.auc, new.auc_low, new.auc_high];
        for value in figures.into_iter().chain([new.threshold, new.fnr, new.fpr, new.source_ebi]).flatten() {
            finite("an evaluation's figure", value)?;
        }
        let transaction = self.write()?;
        need_camera(&transaction, &new.camera)?;
        transaction.execute(
            "INSERT INTO evaluations (camera, revision, at_ms, outcome, reason, policy, threshold, eer, eer_low, eer_high, ebi, ebi_low, ebi_high,
                auc, auc_low, auc_high, fnr, fpr, source_ebi, validation_events, validation_normals, validation_anomalies, validation_sha256,
                labels_used)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24)",
            params![
                new.camera,
                new.revision.map(signed),
                new.at_ms,
                new.outcome.as_str(),
                new.reason,
                new.policy,
                new.threshold,
                new.eer,
                new.eer_low,
                new.eer_high,
                new.ebi,
                new.ebi_low,
                new.ebi_high,
                new.auc,
                new.auc_low,
                new.auc_high,
                new.fnr,
                new.fpr,
                new.source_ebi,
                signed(new.validation_events),
                signed(new.validation_normals),
                signed(new.validation_anomalies),
                new.validation_sha256,
                signed(new.labels_used)
            ],
        )?;
        let id = transaction.last_insert_rowid();
        let of_what = new.revision.map_or_else(|| "no bundle".to_owned(), |revision| format!("revision {revision}"));
        let about = format!("{} {of_what}: {}", new.camera, new.reason);
        note(&transaction, new.at_ms, who, &format!("candidate {}", new.outcome.as_str()), &about)?;
        transaction.commit()?;
        Ok(id)
    }

    /// How candidates were judged, the newest first, at most `evaluations_max` (up to [`EVALUATIONS_MAX`]); of one camera, or of all.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn evaluations(&self, camera: Option<&str>, evaluations_max: u32) -> Result<Vec<Evaluation>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM evaluations WHERE ?1 IS NULL OR camera = ?1 ORDER BY id DESC LIMIT ?2"))?;
        let found = select.query_map(params![camera, evaluations_max.min(EVALUATIONS_MAX)], evaluation)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Keeps the validation set as a revision scores it, in place of what it scored before; those of revisions before the newest eight are
    /// forgotten, but for revision 0, the device's model file.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera, [`StoreError::Range`] for a score that is not finite.
    pub fn set_validation_scores(&mut self, camera: &str, revision: u64, scores: &[ValidationScore]) -> Result<(), StoreError> {
        let transaction = self.write()?;
        need_camera(&transaction, camera)?;
        transaction.execute("DELETE FROM validation_scores WHERE camera = ?1 AND revision = ?2", params![camera, signed(revision)])?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO validation_scores (camera, revision, item, is_anomalous, score) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for one in scores {
                insert.execute(params![camera, signed(revision), one.item, one.is_anomalous, finite("a score", one.score)?])?;
            }
        }
        transaction.execute(
            "DELETE FROM validation_scores WHERE camera = ?1 AND revision > 0 AND revision NOT IN
            (SELECT DISTINCT revision FROM validation_scores WHERE camera = ?1 ORDER BY revision DESC LIMIT 8)",
            [camera],
        )?;
        Ok(transaction.commit()?)
    }

    /// The validation set as a revision scores it, by score; empty when it never did.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn validation_scores(&self, camera: &str, revision: u64) -> Result<Vec<ValidationScore>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT item, is_anomalous, score FROM validation_scores WHERE camera = ?1 AND revision = ?2 ORDER BY score, item",
        )?;
        let found = select.query_map(params![camera, signed(revision)], |row| {
            Ok(ValidationScore { item: row.get(0)?, is_anomalous: row.get(1)?, score: row.get(2)? })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
