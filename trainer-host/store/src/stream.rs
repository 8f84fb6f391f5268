//! A camera's measured stream of scores: what a threshold would announce there, and whether scores have drifted.

use crate::bundle::need_camera;
use crate::error::StoreError;
use crate::store::Store;
use rusqlite::{OptionalExtension, params};

/// Events of a camera that are looked at, at most: the latest ones.
const EVENTS_MAX: u32 = 20_000;
/// Samples that are looked at for drift, at most: the latest ones.
const SAMPLES_MAX: u32 = 20_000;

/// Events of a camera since a moment, by rising peak score.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoreStream {
    /// Peak scores, rising.
    pub peaks: Vec<f64>,
    /// From the first of them until now, milliseconds; 0 without events.
    pub span_ms: i64,
    /// Judged events that most reviewers call anomalous.
    pub anomalous: u64,
    /// Judged events that most reviewers call normal.
    pub normal: u64,
}

impl Store {
    /// Events since a moment.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera.
    pub fn score_stream(&self, camera: &str, since_ms: i64, now_ms: i64) -> Result<ScoreStream, StoreError> {
        need_camera(&self.connection, camera)?;
        let mut select = self.connection.prepare_cached(
            "SELECT score, received_ms, (SELECT sum((verdict = 'anomalous') - (verdict = 'normal')) FROM current WHERE current.item = items.id)
            FROM items WHERE camera = ?1 AND kind = 'event' AND received_ms >= ?2 ORDER BY received_ms DESC LIMIT ?3",
        )?;
        let mut rows = select.query(params![camera, since_ms, EVENTS_MAX])?;
        let mut stream = ScoreStream::default();
        while let Some(row) = rows.next()? {
            stream.peaks.push(row.get(0)?);
            stream.span_ms = now_ms.saturating_sub(row.get(1)?);
            match row.get::<_, Option<i64>>(2)?.unwrap_or(0).signum() {
                1 => stream.anomalous += 1,
                -1 => stream.normal += 1,
                _ => {}
            }
        }
        stream.peaks.sort_by(f64::total_cmp);
        Ok(stream)
    }

    /// Scores of the latest samples since a moment, rising: windows of people whom the device takes for normal.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn sample_scores(&self, camera: &str, since_ms: i64) -> Result<Vec<f64>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT score FROM items WHERE camera = ?1 AND kind = 'sample' AND received_ms >= ?2 ORDER BY received_ms DESC LIMIT ?3",
        )?;
        let scores = select.query_map(params![camera, since_ms, SAMPLES_MAX], |row| row.get(0))?;
        let mut scores: Vec<f64> = scores.collect::<Result<_, _>>()?;
        scores.sort_by(f64::total_cmp);
        Ok(scores)
    }

    /// The bundle that decides at a camera: the highest revision that one of its devices has confirmed or reports to run. Its revision,
    /// threshold and bytes; `None` while devices run their model file.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera.
    pub fn live_bundle(&self, camera: &str) -> Result<Option<LiveBundle>, StoreError> {
        need_camera(&self.connection, camera)?;
        let mut select = self.connection.prepare_cached(
            "SELECT revision, threshold, bytes FROM bundles WHERE camera = ?1 AND revision <= (SELECT max(bundle_revision) FROM devices
                WHERE devices.camera = ?1 AND NOT is_revoked) ORDER BY revision DESC LIMIT 1",
        )?;
        let found = select.query_row([camera], |row| {
            Ok(LiveBundle { revision: row.get::<_, i64>(0)?.cast_unsigned(), threshold: row.get(1)?, bytes: row.get(2)? })
        });
        Ok(found.optional()?)
    }

    /// Threshold of the latest event of a camera: what decides there when no bundle does.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn latest_threshold(&self, camera: &str) -> Result<Option<f64>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT threshold FROM items WHERE camera = ?1 AND threshold IS NOT NULL ORDER BY received_ms DESC, id DESC LIMIT 1",
        )?;
        Ok(select.query_row([camera], |row| row.get(0)).optional()?)
    }
}

/// A bundle that decides.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveBundle {
    /// Its revision.
    pub revision: u64,
    /// Its threshold.
    pub threshold: f64,
    /// The signed bundle.
    pub bytes: Vec<u8>,
}
