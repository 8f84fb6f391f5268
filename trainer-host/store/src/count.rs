//! How much there is of everything, for figures and dashboards.

use crate::error::StoreError;
use crate::store::{Store, unsigned};
use serde::Serialize;

/// A count of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// What is counted: `records`, `items`, `labels`, `deployments`, `devices`.
    pub what: &'static str,
    /// Which kind of it.
    pub kind: String,
    /// How many.
    pub count: u64,
}

const COUNTS: [(&str, &str); 6] = [
    ("records", "SELECT kind, count(*) FROM records GROUP BY kind"),
    ("items", "SELECT kind, count(*) FROM items GROUP BY kind"),
    ("labels", "SELECT ifnull(verdict, 'undo'), count(*) FROM labels GROUP BY verdict"),
    ("deployments", "SELECT stage, count(*) FROM deployments GROUP BY stage"),
    ("devices", "SELECT iif(is_revoked, 'revoked', 'enrolled'), count(*) FROM devices GROUP BY is_revoked"),
    ("records_aside", "SELECT 'all', count(*) FROM records_aside"),
];

impl Store {
    /// Counts of every kind.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn counts(&self) -> Result<Vec<Count>, StoreError> {
        let mut counts = Vec::new();
        for (what, sql) in COUNTS {
            let mut select = self.connection.prepare_cached(sql)?;
            let rows = select.query_map([], |row| Ok(Count { what, kind: row.get(0)?, count: unsigned(row.get(1)?) }))?;
            for row in rows {
                counts.push(row?);
            }
        }
        Ok(counts)
    }
}
