//! How a camera's items are asked for: a strategy, a budget of verdicts per day, and small shares for the audit of missed anomalies and for
//! repeated items.

use crate::audit::note;
use crate::bundle::need_camera;
use crate::error::StoreError;
use crate::queue::{PAGE_ITEMS_MAX, Page, QueueFilter, Spread, Strategy, Waiting};
use crate::store::Store;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

/// Largest budget, verdicts per day.
pub const LABELS_PER_DAY_MAX: u32 = 100_000;
/// Largest share of each of the two side strategies.
pub const SHARE_MAX: f64 = 0.5;
/// A day, milliseconds. Days begin at midnight UTC.
pub const DAY_MS: i64 = 86_400_000;

/// How a camera's items are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueuePolicy {
    /// The main strategy; not one of those that look for other items ([`Strategy::Audit`], [`Strategy::Repeat`], [`Strategy::SecondLook`]).
    pub strategy: Strategy,
    /// Verdicts per day of all reviewers together, from midnight UTC; `null`: no limit.
    pub labels_per_day: Option<u32>,
    /// Share of samples from below the threshold, 0 to 0.5: what is missed is estimated from them.
    pub audit_share: f64,
    /// Share of items that the reviewer has judged before, 0 to 0.5: whether one agrees with oneself.
    pub repeat_share: f64,
    /// Whether an incident is asked about once.
    pub groups_similar: bool,
}

impl Default for QueuePolicy {
    /// AL Light with grouped incidents and an audit of one in twenty.
    fn default() -> Self {
        Self { strategy: Strategy::AlLight, labels_per_day: None, audit_share: 0.05, repeat_share: 0.02, groups_similar: true }
    }
}

impl QueuePolicy {
    fn check(&self) -> Result<(), StoreError> {
        if matches!(self.strategy, Strategy::Audit | Strategy::Repeat | Strategy::SecondLook) {
            return Err(StoreError::Range {
                what: "the policy's strategy",
                allowed: "strategies that ask for new items; the audit and repeats have shares",
            });
        }
        if self.labels_per_day.is_some_and(|labels| labels > LABELS_PER_DAY_MAX) {
            return Err(StoreError::Range { what: "labels_per_day", allowed: "0 to 100,000, or null" });
        }
        let is_share = |share: f64| (0.0..=SHARE_MAX).contains(&share);
        if !is_share(self.audit_share) || !is_share(self.repeat_share) {
            return Err(StoreError::Range { what: "a share", allowed: "0 to 0.5" });
        }
        Ok(())
    }
}

/// Use of a camera's budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// The camera.
    pub camera: String,
    /// Its budget; `null`: no limit.
    pub labels_per_day: Option<u32>,
    /// Verdicts since midnight UTC, those that were taken back included: they took their time.
    pub used_today: u32,
    /// What is left of it.
    pub left_today: Option<u32>,
}

/// A page by a camera's policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyPage {
    /// The next items, and how many wait by the main strategy.
    pub page: Page,
    /// The camera's budget.
    pub budget: Budget,
}

fn policy_of(connection: &Connection, camera: &str) -> Result<QueuePolicy, StoreError> {
    need_camera(connection, camera)?;
    let mut select = connection.prepare_cached(
        "SELECT strategy, labels_per_day, audit_share, repeat_share, groups_similar FROM queue_policies WHERE camera = ?1",
    )?;
    let found = select.query_row([camera], |row| {
        Ok(QueuePolicy {
            strategy: row.get(0)?,
            labels_per_day: row.get(1)?,
            audit_share: row.get(2)?,
            repeat_share: row.get(3)?,
            groups_similar: row.get(4)?,
        })
    });
    Ok(found.optional()?.unwrap_or_default())
}

/// Whether place `place` (from 0) of a series belongs to a share: evenly spread, the same for every page.
fn is_of_share(place: u64, share: f64) -> bool {
    ((place + 1) as f64 * share).floor() > (place as f64 * share).floor()
}

impl Store {
    /// A camera's policy.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera.
    pub fn queue_policy(&self, camera: &str) -> Result<QueuePolicy, StoreError> {
        policy_of(&self.connection, camera)
    }

    /// Sets a camera's policy.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera, [`StoreError::Range`].
    pub fn set_queue_policy(&mut self, camera: &str, policy: &QueuePolicy, who: &str, now_ms: i64) -> Result<(), StoreError> {
        policy.check()?;
        let transaction = self.write()?;
        need_camera(&transaction, camera)?;
        transaction.execute(
            "INSERT OR REPLACE INTO queue_policies (camera, strategy, labels_per_day, audit_share, repeat_share, groups_similar)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![camera, policy.strategy, policy.labels_per_day, policy.audit_share, policy.repeat_share, policy.groups_similar],
        )?;
        let about = serde_json::to_string(policy).unwrap_or_default();
        note(&transaction, now_ms, who, "queue policy", &format!("{camera}: {about}"))?;
        Ok(transaction.commit()?)
    }

    /// What is left of a camera's budget today.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera.
    pub fn budget(&self, camera: &str, now_ms: i64) -> Result<Budget, StoreError> {
        let labels_per_day = self.queue_policy(camera)?.labels_per_day;
        let midnight = now_ms - now_ms.rem_euclid(DAY_MS);
        let mut select = self.connection.prepare_cached(
            "SELECT count(*) FROM labels JOIN items ON items.id = labels.item
            WHERE camera = ?1 AND made_ms >= ?2 AND verdict IS NOT NULL AND follows IS NULL",
        )?;
        let used_today: u32 = select.query_row(params![camera, midnight], |row| row.get(0))?;
        let left_today = labels_per_day.map(|labels| labels.saturating_sub(used_today));
        Ok(Budget { camera: camera.to_owned(), labels_per_day, used_today, left_today })
    }

    /// The next items of one camera by its policy; `filter` narrows them down further, its strategy and grouping do not count.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] camera, or none named.
    pub fn queue_by_policy(&self, reviewer: &str, filter: &QueueFilter, spread: Option<Spread<'_>>) -> Result<PolicyPage, StoreError> {
        let camera =
            filter.camera.as_deref().ok_or(StoreError::Range { what: "camera of a queue by policy", allowed: "the name of one camera" })?;
        let policy = self.queue_policy(camera)?;
        let budget = self.budget(camera, filter.now_ms)?;
        let items_max = filter.items_max.min(PAGE_ITEMS_MAX).min(budget.left_today.unwrap_or(u32::MAX));
        let of = |strategy, is_grouped, items_max| {
            let filter = QueueFilter { strategy, is_grouped, items_max, ..filter.clone() };
            self.queue_page(reviewer, &filter, spread)
        };
        let mut main = of(policy.strategy, policy.groups_similar, items_max.max(1))?;
        let share = |strategy, share: f64| {
            let wanted = if share > 0.0 { (f64::from(items_max) * share).ceil() as u32 + 1 } else { 0 };
            if wanted == 0 { Ok(Page::default()) } else { of(strategy, false, wanted) }
        };
        let audit = share(Strategy::Audit, policy.audit_share)?;
        let repeat = share(Strategy::Repeat, policy.repeat_share)?;
        main.items = mix(main.items, audit.items, repeat.items, &policy, u64::from(budget.used_today), items_max as usize);
        Ok(PolicyPage { page: main, budget })
    }
}

/// Puts the side strategies' items into their places; what one of them lacks the main one fills, and the other way round.
fn mix(main: Vec<Waiting>, audit: Vec<Waiting>, repeat: Vec<Waiting>, policy: &QueuePolicy, used: u64, items_max: usize) -> Vec<Waiting> {
    let (mut main, mut audit, mut repeat) = (main.into_iter(), audit.into_iter(), repeat.into_iter());
    let mut mixed = Vec::with_capacity(items_max);
    while mixed.len() < items_max {
        let place = used + mixed.len() as u64;
        let next = if is_of_share(place, policy.audit_share) {
            audit.next().or_else(|| main.next())
        } else if is_of_share(place, policy.repeat_share) {
            repeat.next().or_else(|| main.next())
        } else {
            main.next()
        };
        let Some(next) = next.or_else(|| audit.next()) else { break };
        mixed.push(next);
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_spread_evenly_over_every_stretch() {
        for share in [0.0, 0.02, 0.05, 0.3, 0.5] {
            for from in [0_u64, 7, 1000] {
                let found = (from..from + 1000).filter(|place| is_of_share(*place, share)).count() as f64;
                assert!((found - 1000.0 * share).abs() <= 1.0, "{share} from {from}: {found}");
            }
        }
    }
}
