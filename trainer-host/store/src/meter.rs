//! The workload meter: how fast verdicts come, what they cost, and how many of them full active learning would have asked for besides.

use crate::error::StoreError;
use crate::label::Workload;
use crate::policy::Budget;
use crate::queue::{QueueFilter, Strategy};
use crate::store::Store;
use rusqlite::params;
use serde::Serialize;

/// A longer break between two verdicts is no work, milliseconds.
const BREAK_MS: i64 = 300_000;

/// What full active learning (one question about each flagged event) would have asked, against what is asked here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct FullAl {
    /// Events that devices flagged: what full active learning asks about.
    pub flagged: u64,
    /// Of them judged, or waiting in the queue of their camera's policy.
    pub asked: u64,
    /// Not asked because their score lies above AL Light's band.
    pub by_threshold_band: u64,
    /// Not asked because another event of their incident is.
    pub by_group: u64,
    /// Not asked because a snooze rule hides them.
    pub by_snooze: u64,
    /// Share of the flagged events that nobody need look at, 0 to 1; `null` without events.
    pub saved_share: Option<f64>,
}

/// Work since a moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Meter {
    /// From this moment, milliseconds since 1970.
    pub since_ms: i64,
    /// Until this one: now.
    pub until_ms: i64,
    /// Verdicts that stand and were given one by one; those given along with another one do not count.
    pub verdicts: u64,
    /// Seconds that they took, as the page measured.
    pub seconds: f64,
    /// Seconds of one; `null` without verdicts.
    pub seconds_per_verdict: Option<f64>,
    /// Verdicts per hour of work, breaks of more than five minutes left out; `null` without verdicts.
    pub verdicts_per_hour: Option<f64>,
    /// By reviewer.
    pub reviewers: Vec<Workload>,
    /// Against full active learning.
    pub full_al: FullAl,
    /// The cameras' budgets.
    pub budgets: Vec<Budget>,
}

/// Nobody's name: names are never empty.
const NOBODY: &str = "";

impl Store {
    /// The meter of one camera, or of all.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera.
    pub fn meter(&self, camera: Option<&str>, since_ms: i64, now_ms: i64) -> Result<Meter, StoreError> {
        let (verdicts, seconds, work_ms) = self.work(camera, since_ms)?;
        let cameras: Vec<String> = match camera {
            Some(camera) => vec![camera.to_owned()],
            None => self.cameras()?.into_iter().map(|camera| camera.name).collect(),
        };
        let (mut full_al, mut budgets) = (FullAl::default(), Vec::new());
        for camera in &cameras {
            budgets.push(self.budget(camera, now_ms)?);
            let one = self.full_al(camera, since_ms, now_ms)?;
            full_al.flagged += one.flagged;
            full_al.asked += one.asked;
            full_al.by_threshold_band += one.by_threshold_band;
            full_al.by_group += one.by_group;
            full_al.by_snooze += one.by_snooze;
        }
        full_al.saved_share = saved(&full_al);
        let count = verdicts as f64;
        Ok(Meter {
            since_ms,
            until_ms: now_ms,
            verdicts,
            seconds,
            seconds_per_verdict: (verdicts > 0).then(|| seconds / count),
            verdicts_per_hour: (work_ms > 0.0).then(|| count / work_ms * 3_600_000.0),
            reviewers: self.workload(since_ms)?,
            full_al,
            budgets,
        })
    }

    /// Verdicts, their seconds, and the milliseconds of work around them.
    fn work(&self, camera: Option<&str>, since_ms: i64) -> Result<(u64, f64, f64), StoreError> {
        let mut select = self.connection.prepare_cached(
            "WITH work AS (SELECT seconds, made_ms - lag(made_ms) OVER (PARTITION BY reviewer ORDER BY standing.id) AS gap
                FROM standing JOIN items ON items.id = standing.item
                WHERE made_ms >= ?1 AND follows IS NULL AND (?2 IS NULL OR camera = ?2))
            SELECT count(*), total(seconds), total(iif(gap BETWEEN 0 AND ?3, gap, 1000 * seconds)) FROM work",
        )?;
        let work = select.query_row(params![since_ms, camera, BREAK_MS], |row| Ok((row.get::<_, u32>(0)?, row.get(1)?, row.get(2)?)))?;
        Ok((work.0.into(), work.1, work.2))
    }

    /// What one camera's policy asks, against full active learning, about events since a moment.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera.
    pub fn full_al(&self, camera: &str, since_ms: i64, now_ms: i64) -> Result<FullAl, StoreError> {
        let policy = self.queue_policy(camera)?;
        let all = QueueFilter {
            camera: Some(camera.to_owned()),
            since_ms: Some(since_ms),
            strategy: Strategy::Al,
            now_ms,
            items_max: 1,
            ..QueueFilter::default()
        };
        let waiting = |filter: &QueueFilter| Ok::<_, StoreError>(self.queue_page(NOBODY, filter, None)?.waiting);
        let awake = waiting(&all)?;
        let snoozed = waiting(&QueueFilter { is_snoozed: true, ..all.clone() })?;
        let is_light = policy.strategy == Strategy::AlLight;
        let in_band = QueueFilter { strategy: if is_light { Strategy::AlLight } else { Strategy::Al }, ..all };
        let banded = waiting(&in_band)?;
        let grouped = waiting(&QueueFilter { is_grouped: policy.groups_similar, ..in_band })?;
        let mut select = self.connection.prepare_cached(
            "SELECT count(*), ifnull(sum(EXISTS (SELECT 1 FROM standing WHERE standing.item = items.id AND follows IS NULL)), 0) FROM items
            WHERE camera = ?1 AND kind = 'event' AND received_ms >= ?2 AND EXISTS (SELECT 1 FROM standing WHERE standing.item = items.id)",
        )?;
        let (judged, asked): (u32, u32) = select.query_row(params![camera, since_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (judged, asked) = (u64::from(judged), u64::from(asked));
        let mut full = FullAl {
            flagged: judged + awake + snoozed,
            asked: asked + grouped,
            by_threshold_band: awake.saturating_sub(banded),
            by_group: banded.saturating_sub(grouped) + (judged - asked),
            by_snooze: snoozed,
            saved_share: None,
        };
        full.saved_share = saved(&full);
        Ok(full)
    }
}

fn saved(full: &FullAl) -> Option<f64> {
    (full.flagged > 0).then(|| 1.0 - full.asked as f64 / full.flagged as f64)
}
