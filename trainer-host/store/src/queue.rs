//! Which items to judge next, in which order: filters and strategies.

use crate::al_light::{MAXIMA_MAX, RollingMaxima};
use crate::error::StoreError;
use crate::item::{ITEM_COLUMNS, Item, ItemKind, item};
use crate::likeness::feature_of;
use crate::snooze::IS_SNOOZED;
use crate::store::{Store, signed};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Row, ToSql, named_params};
use serde::{Deserialize, Serialize};

/// Items of the longest page.
pub const PAGE_ITEMS_MAX: u32 = 200;
/// Items among which [`Strategy::Diversity`] chooses: the newest ones.
const DIVERSITY_ITEMS_MAX: u32 = 500;
/// Items near the threshold per place of the page, among which [`Strategy::MarginDiversity`] chooses.
const NEAR_PER_PLACE: u32 = 3;

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
    /// ALFred's active learning: every event, in order of its arrival.
    Al,
    /// In a fixed random order: the reference that every other strategy must beat.
    Random,
    /// Those that differ most from each other first.
    Diversity,
    /// Among those near the threshold, those that differ most first.
    MarginDiversity,
    /// Samples from below the threshold in a fixed random order: what is missed can be estimated from them.
    Audit,
    /// Items that this reviewer has judged once, in a fixed random order: whether one agrees with oneself.
    Repeat,
    /// Items about which as many reviewers say anomalous as normal, the longest waiting first; whoever had the last word waits for the others.
    SecondLook,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Newest,
        Self::Oldest,
        Self::HighestScore,
        Self::NearThreshold,
        Self::AlLight,
        Self::Al,
        Self::Random,
        Self::Diversity,
        Self::MarginDiversity,
        Self::Audit,
        Self::Repeat,
        Self::SecondLook,
    ];

    /// As it stands in the database and in requests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::HighestScore => "highest_score",
            Self::NearThreshold => "near_threshold",
            Self::AlLight => "al_light",
            Self::Al => "al",
            Self::Random => "random",
            Self::Diversity => "diversity",
            Self::MarginDiversity => "margin_diversity",
            Self::Audit => "audit",
            Self::Repeat => "repeat",
            Self::SecondLook => "second_look",
        }
    }

    /// The strategy of a text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == text)
    }

    /// Whether it needs to know how items differ.
    #[must_use]
    pub const fn needs_spread(self) -> bool {
        matches!(self, Self::Diversity | Self::MarginDiversity)
    }

    const fn order(self) -> &'static str {
        match self {
            Self::Newest | Self::Diversity => "items.received_ms DESC, items.id DESC",
            Self::Oldest | Self::Al | Self::SecondLook => "items.received_ms, items.id",
            Self::HighestScore => "items.score DESC, items.id",
            Self::NearThreshold | Self::AlLight | Self::MarginDiversity => {
                "items.threshold IS NULL, abs(items.score - items.threshold), items.id"
            }
            Self::Random | Self::Audit | Self::Repeat => "((items.id + :seed) * 2654435761) % 4294967291, items.id",
        }
    }

    /// What must have been said about an item, or not, before it is asked for.
    const fn judged(self) -> &'static str {
        match self {
            Self::Repeat => JUDGED_ONCE,
            Self::SecondLook => IN_CONFLICT,
            _ => UNJUDGED,
        }
    }

    const fn kind(self, asked: Option<ItemKind>) -> Option<ItemKind> {
        match self {
            Self::Audit => Some(ItemKind::Sample),
            Self::Al | Self::AlLight | Self::Diversity | Self::MarginDiversity => Some(ItemKind::Event),
            _ => asked,
        }
    }
}

impl ToSql for Strategy {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Strategy {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_text(value.as_str()?).ok_or(FromSqlError::InvalidType)
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
    /// One item for each incident, the one with the highest score, and none for incidents of which one was judged.
    pub is_grouped: bool,
    /// Only those that a snooze rule hides; without it they are left out.
    pub is_snoozed: bool,
    /// Now, milliseconds since 1970: which skips and snooze rules are over.
    pub now_ms: i64,
    /// At most so many, up to [`PAGE_ITEMS_MAX`].
    pub items_max: u32,
}

/// An item that waits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Waiting {
    /// The item.
    #[serde(flatten)]
    pub item: Item,
    /// Which strategy asked for it.
    pub strategy: Strategy,
    /// Further unjudged items of its incident that it stands for; 0 unless incidents are grouped.
    pub similar: u32,
    /// Whether a snooze rule hides it.
    pub is_snoozed: bool,
    /// Pose and movement, where they are known.
    #[serde(skip)]
    pub feature: Option<Vec<f32>>,
}

/// A page of the queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The next items.
    pub items: Vec<Waiting>,
    /// How many wait under this filter in all.
    pub waiting: u64,
}

/// Chooses at most so many of the given features (each of [`crate::likeness::FEATURE_WIDTH`] numbers), those that differ most first; returns
/// their places.
pub type Spread<'s> = &'s dyn Fn(&[Vec<f32>], usize) -> Vec<usize>;

const SELECTED: &str = "(:camera IS NULL OR items.camera = :camera) AND (:kind IS NULL OR items.kind = :kind)
    AND (:score_min IS NULL OR items.score >= :score_min) AND (:score_max IS NULL OR items.score <= :score_max)
    AND (:revision IS NULL OR items.bundle_revision = :revision)
    AND (:since IS NULL OR items.received_ms >= :since) AND (:until IS NULL OR items.received_ms < :until)
    AND items.parts > 0 AND :seed >= 0 AND (items.has_ended OR EXISTS
        (SELECT 1 FROM devices WHERE devices.name = items.device AND devices.boot IS NOT NULL AND devices.boot <> items.boot))
    AND NOT EXISTS (SELECT 1 FROM skips WHERE skips.item = items.id AND skips.reviewer = :reviewer AND skips.until_ms > :now)";

/// Not yet judged by this reviewer, nor (unless second opinions are wanted) by anybody.
const UNJUDGED: &str =
    "NOT EXISTS (SELECT 1 FROM standing WHERE standing.item = items.id AND (NOT :second OR standing.reviewer = :reviewer))";
/// Judged by this reviewer exactly once.
const JUDGED_ONCE: &str =
    ":second >= 0 AND (SELECT count(*) FROM standing WHERE standing.item = items.id AND standing.reviewer = :reviewer) = 1";
/// As many say anomalous as normal, and somebody else spoke last.
const IN_CONFLICT: &str = ":second >= 0 AND EXISTS (SELECT 1 FROM conflicts WHERE conflicts.item = items.id)
    AND (SELECT reviewer FROM current WHERE current.item = items.id ORDER BY current.id DESC LIMIT 1) <> :reviewer";
/// No item of its incident is judged.
const UNJUDGED_INCIDENT: &str = "NOT EXISTS (SELECT 1 FROM likenesses AS others JOIN standing ON standing.item = others.item
    WHERE others.incident = ifnull(likenesses.incident, items.id) AND (NOT :second OR standing.reviewer = :reviewer))";

fn waiting(row: &Row<'_>, strategy: Strategy, is_snoozed: bool) -> rusqlite::Result<(Waiting, u64)> {
    let feature = row.get::<_, Option<Vec<u8>>>("feature")?.as_deref().and_then(feature_of);
    let waiting = Waiting { item: item(row)?, strategy, similar: row.get("similar")?, is_snoozed, feature };
    Ok((waiting, row.get::<_, u32>("waiting")?.into()))
}

impl Store {
    /// The next items for a reviewer, without what others said about them. Events wait until their poses have come and they
    /// have ended, or their device has started anew.
    ///
    /// # Errors
    /// [`StoreError::Range`] when [`Strategy::AlLight`] is asked for without a camera.
    pub fn queue(&self, reviewer: &str, filter: &QueueFilter) -> Result<Vec<Item>, StoreError> {
        Ok(self.queue_page(reviewer, filter, None)?.items.into_iter().map(|waiting| waiting.item).collect())
    }

    /// As [`Self::queue`], with what else there is to say about each item. Strategies that look for differences need `spread`; without it
    /// their items come in the order among which they would choose.
    ///
    /// # Errors
    /// As [`Self::queue`].
    pub fn queue_page(&self, reviewer: &str, filter: &QueueFilter, spread: Option<Spread<'_>>) -> Result<Page, StoreError> {
        let items_max = filter.items_max.min(PAGE_ITEMS_MAX);
        let pool = match filter.strategy {
            Strategy::Diversity => DIVERSITY_ITEMS_MAX,
            Strategy::MarginDiversity => items_max * NEAR_PER_PLACE,
            _ => items_max,
        };
        let mut page = self.select(reviewer, filter, pool)?;
        if let Some(spread) = spread.filter(|_| filter.strategy.needs_spread()) {
            page.items = spread_out(page.items, items_max as usize, spread);
        }
        page.items.truncate(items_max as usize);
        Ok(page)
    }

    fn select(&self, reviewer: &str, filter: &QueueFilter, items_max: u32) -> Result<Page, StoreError> {
        let strategy = filter.strategy;
        let score_max = match strategy {
            Strategy::AlLight => {
                let median = self.al_light_band(filter.camera.as_deref())?;
                [filter.score_max, median].into_iter().flatten().reduce(f64::min)
            }
            _ => filter.score_max,
        };
        let (incident, only_first) = if filter.is_grouped { (UNJUDGED_INCIDENT, "place = 1") } else { ("TRUE", "TRUE") };
        let (snoozed, judged) = (if filter.is_snoozed { "" } else { "NOT" }, strategy.judged());
        let sql = format!(
            "WITH candidates AS (SELECT items.*, ifnull(likenesses.incident, items.id) AS incident, likenesses.feature AS feature
                FROM items LEFT JOIN likenesses ON likenesses.item = items.id
                WHERE {SELECTED} AND {judged} AND {incident} AND {snoozed} ({IS_SNOOZED})),
            ranked AS (SELECT *, row_number() OVER (PARTITION BY incident ORDER BY score DESC, id) AS place,
                iif(:grouped, count(*) OVER (PARTITION BY incident) - 1, 0) AS similar FROM candidates)
            SELECT {ITEM_COLUMNS}, similar, feature, count(*) OVER () AS waiting FROM ranked AS items WHERE {only_first}
            ORDER BY {} LIMIT :limit",
            strategy.order()
        );
        let mut select = self.connection.prepare_cached(&sql)?;
        let found = select.query_map(
            named_params! {
                ":camera": filter.camera, ":kind": strategy.kind(filter.kind).map(ItemKind::as_str), ":score_min": filter.score_min,
                ":score_max": score_max, ":revision": filter.bundle_revision.map(signed), ":since": filter.since_ms,
                ":until": filter.until_ms, ":seed": filter.seed, ":second": filter.second_opinions, ":reviewer": reviewer,
                ":grouped": filter.is_grouped, ":now": filter.now_ms, ":limit": items_max,
            },
            |row| waiting(row, strategy, filter.is_snoozed),
        )?;
        let mut page = Page::default();
        for row in found {
            let (item, waiting) = row?;
            page.items.push(item);
            page.waiting = waiting;
        }
        Ok(page)
    }

    /// Upper end of AL Light's band at a camera: the phases' `theta_med` of its latest events, as of now. `None` without events.
    ///
    /// # Errors
    /// [`StoreError::Range`] without a camera.
    pub fn al_light_band(&self, camera: Option<&str>) -> Result<Option<f64>, StoreError> {
        let camera = camera.ok_or(StoreError::Range { what: "camera of strategy al_light", allowed: "the name of one camera" })?;
        let mut select = self.connection.prepare_cached(
            "SELECT score FROM items WHERE camera = ?1 AND kind = 'event' AND has_ended ORDER BY received_ms DESC, id DESC LIMIT ?2",
        )?;
        let scores = select.query_map(rusqlite::params![camera, MAXIMA_MAX as i64], |row| row.get::<_, f64>(0))?;
        let (mut rolling, mut scores) = (RollingMaxima::new(MAXIMA_MAX), scores.collect::<Result<Vec<_>, _>>()?);
        scores.reverse();
        scores.into_iter().for_each(|score| rolling.push(score));
        Ok(rolling.theta_med())
    }

    /// Hides an item from a reviewer's queue until a moment, or shows it again when that is over.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] item.
    pub fn skip(&mut self, item: i64, reviewer: &str, until_ms: i64) -> Result<(), StoreError> {
        let transaction = self.write()?;
        if !transaction.prepare_cached("SELECT 1 FROM items WHERE id = ?1")?.exists([item])? {
            return Err(StoreError::Unknown { what: "item", name: item.to_string() });
        }
        transaction.execute(
            "INSERT INTO skips (item, reviewer, until_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET until_ms = excluded.until_ms",
            rusqlite::params![item, reviewer, until_ms],
        )?;
        Ok(transaction.commit()?)
    }
}

/// The items that differ most first; those whose feature is not known come last, in their order.
fn spread_out(items: Vec<Waiting>, items_max: usize, spread: Spread<'_>) -> Vec<Waiting> {
    let (known, unknown): (Vec<Waiting>, Vec<Waiting>) = items.into_iter().partition(|waiting| waiting.feature.is_some());
    let features: Vec<Vec<f32>> = known.iter().filter_map(|waiting| waiting.feature.clone()).collect();
    let mut known: Vec<Option<Waiting>> = known.into_iter().map(Some).collect();
    let chosen = spread(&features, items_max);
    let chosen = chosen.into_iter().filter_map(|place| known.get_mut(place).and_then(Option::take)).collect::<Vec<_>>();
    chosen.into_iter().chain(unknown).collect()
}
