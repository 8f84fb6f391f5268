//! Items about which reviewers disagree: they go to a second look, [`crate::queue::Strategy::SecondLook`].

use crate::error::StoreError;
use crate::item::Item;
use crate::store::Store;
use rusqlite::params;
use serde::Serialize;

/// An item about which as many reviewers say anomalous as normal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conflict {
    /// The item, with what everybody says about it now.
    pub item: Item,
    /// How many say anomalous.
    pub anomalous: u32,
    /// How many say normal.
    pub normal: u32,
    /// How many are unsure.
    pub unsure: u32,
}

impl Store {
    /// All conflicts, or one camera's, the longest waiting first, at most `conflicts_max`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn conflicts(&self, camera: Option<&str>, conflicts_max: u32) -> Result<Vec<Conflict>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT conflicts.item, anomalous, normal, unsure FROM conflicts JOIN items ON items.id = conflicts.item
            WHERE ?1 IS NULL OR camera = ?1 ORDER BY received_ms, items.id LIMIT ?2",
        )?;
        let found = select.query_map(params![camera, conflicts_max], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let mut conflicts = Vec::new();
        for row in found {
            let (item, anomalous, normal, unsure) = row?;
            conflicts.push(Conflict { item: self.item(item)?, anomalous, normal, unsure });
        }
        Ok(conflicts)
    }
}
