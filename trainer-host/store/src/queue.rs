//! Which items to judge next, in which order: filters and strategies.

use crate::error::StoreError;
use crate::item::{ITEM_COLUMNS, Item, ItemKind, item};
use crate::store::{Store, signed};
use rusqlite::named_params;
use serde::{Deserialize, Serialize};

/// Items of the longest page.
pub const PAGE_ITEMS_MAX: u32 = 200;
/// Latest events of a camera whose median score bounds [`Strategy::AlLight`].
const RECENT_EVENTS: u32 = 200;

/// In which order items are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The latest first.
    #[default]
    Newest,
    /// The longest waiting first.
    Oldest,
    /// The highest score first.
    HighestScore,
    /// Those nearest to their threshold first: the model knows least there.
    NearThreshold,
    /// ALFred's AL Light: events of one camera from the threshold up to the median score of its recent ones, nearest to the threshold first.
    AlLight,
    /// Samples from below the threshold in a fixed random order: what is missed can be estimated from them.
    Audit,
    /// Items that this reviewer has judged once, in a fixed random order: whether one agrees with oneself.
    Repeat,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Newest, Self::Oldest, Self::HighestScore, Self::NearThreshold, Self::AlLight, Self::Audit, Self::Repeat];

    /// As it stands in the database and in requests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::HighestScore => "highest_score",
            Self::NearThreshold => "near_threshold",
            Self::AlLight => "al_light",
            Self::Audit => "audit",
            Self::Repeat => "repeat",
        }
    }

    /// The strategy of a text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == text)
    }

    const fn order(self) -> &'static str {
        match self {
            Self::Newest => "items.received_ms DESC, items.id DESC",
            Self::Oldest => "items.received_ms, items.id",
            Self::HighestScore => "items.score DESC, items.id",
            Self::NearThreshold | Self::AlLight => "items.threshold IS NULL, abs(items.score - items.threshold), items.id",
            Self::Audit | Self::Repeat => "((items.id + :seed) * 2654435761) % 4294967291, items.id",
        }
    }
}

/// Which items.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueFilter {
    /// Only this camera's.
    pub camera: Option<String>,
    /// Only this kind; [`Strategy::Audit`] means samples anyway.
    pub kind: Option<ItemKind>,
    /// Lowest score.
    pub score_min: Option<f64>,
    /// Highest score.
    pub score_max: Option<f64>,
    /// Only those that this bundle revision scored.
    pub bundle_revision: Option<u64>,
    /// Received at this moment or later, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Received before this moment.
    pub until_ms: Option<i64>,
    /// Order.
    pub strategy: Strategy,
    /// Seed of the random orders.
    pub seed: u32,
    /// Also those that somebody else has judged: for agreement between reviewers.
    pub second_opinions: bool,
    /// At most so many, up to [`PAGE_ITEMS_MAX`].
    pub items_max: u32,
}

const SELECTED: &str = "(:camera IS NULL OR items.camera = :camera) AND (:kind IS NULL OR items.kind = :kind)
    AND (:score_min IS NULL OR items.score >= :score_min) AND (:score_max IS NULL OR items.score <= :score_max)
    AND (:revision IS NULL OR items.bundle_revision = :revision)
    AND (:since IS NULL OR items.received_ms >= :since) AND (:until IS NULL OR items.received_ms < :until)
    AND items.parts > 0 AND :seed >= 0 AND (items.has_ended OR EXISTS
        (SELECT 1 FROM devices WHERE devices.name = items.device AND devices.boot IS NOT NULL AND devices.boot <> items.boot))";

/// Not yet judged by this reviewer, nor (unless second opinions are wanted) by anybody.
const UNJUDGED: &str =
    "NOT EXISTS (SELECT 1 FROM standing WHERE standing.item = items.id AND (NOT :second OR standing.reviewer = :reviewer))";
/// Judged by this reviewer exactly once.
const JUDGED_ONCE: &str =
    ":second >= 0 AND (SELECT count(*) FROM standing WHERE standing.item = items.id AND standing.reviewer = :reviewer) = 1";

impl Store {
    /// The next items for a reviewer, without what others said about them. Events wait until their poses have come and they
    /// have ended, or their device has started anew.
    ///
    /// # Errors
    /// [`StoreError::Range`] when [`Strategy::AlLight`] is asked for without a camera.
    pub fn queue(&self, reviewer: &str, filter: &QueueFilter) -> Result<Vec<Item>, StoreError> {
        let strategy = filter.strategy;
        let kind = match strategy {
            Strategy::Audit => Some(ItemKind::Sample),
            Strategy::AlLight => Some(ItemKind::Event),
            _ => filter.kind,
        };
        let score_max = match strategy {
            Strategy::AlLight => {
                let median = self.recent_median(filter.camera.as_deref())?;
                [filter.score_max, median].into_iter().flatten().reduce(f64::min)
            }
            _ => filter.score_max,
        };
        let judged = if strategy == Strategy::Repeat { JUDGED_ONCE } else { UNJUDGED };
        let sql = format!("SELECT {ITEM_COLUMNS} FROM items WHERE {SELECTED} AND {judged} ORDER BY {} LIMIT :limit", strategy.order());
        let mut select = self.connection.prepare_cached(&sql)?;
        let found = select.query_map(
            named_params! {
                ":camera": filter.camera, ":kind": kind.map(ItemKind::as_str), ":score_min": filter.score_min, ":score_max": score_max,
                ":revision": filter.bundle_revision.map(signed), ":since": filter.since_ms, ":until": filter.until_ms, ":seed": filter.seed,
                ":second": filter.second_opinions, ":reviewer": reviewer, ":limit": filter.items_max.min(PAGE_ITEMS_MAX),
            },
            item,
        )?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Median of the latest events' scores at a camera: the rolling P50 of the paper's AL Light. `None` without events.
    fn recent_median(&self, camera: Option<&str>) -> Result<Option<f64>, StoreError> {
        let camera = camera.ok_or(StoreError::Range { what: "camera of strategy al_light", allowed: "the name of one camera" })?;
        let mut select = self.connection.prepare_cached(
            "SELECT score FROM items WHERE camera = ?1 AND kind = 'event' AND has_ended ORDER BY received_ms DESC, id DESC LIMIT ?2",
        )?;
        let scores = select.query_map(rusqlite::params![camera, RECENT_EVENTS], |row| row.get(0))?;
        let mut scores: Vec<f64> = scores.collect::<Result<_, _>>()?;
        scores.sort_by(f64::total_cmp);
        let middle = scores.len() / 2;
        Ok(match scores.len() {
            0 => None,
            length if length % 2 == 0 => Some(f64::midpoint(scores[middle - 1], scores[middle])),
            _ => Some(scores[middle]),
        })
    }
}
