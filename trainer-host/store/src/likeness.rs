//! What an item is like: where the person stood, how the person held and moved, and which other items belong to the same incident.
//!
//! A lost track or a score that dips cuts one happening into several events: near-duplicates, about which one question is enough. Two events
//! of one device belong to one incident when they are close in time and either about the same person or about somebody at the same place with
//! the same pose and movement.

use crate::error::StoreError;
use crate::item::{ITEM_COLUMNS, Item, item};
use crate::store::{Store, signed, unsigned};
use alfred_wire::output::EventMessage;
use alfred_wire::pose_codec::Detail;
use alfred_wire::record::Poses;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

/// Joints that a feature looks at (COCO's order): nose, shoulders, elbows, wrists, hips, knees, ankles without the left shoulder and hip,
/// which the other side tells; 11 of 17.
const JOINTS: [usize; 11] = [0, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16];
/// Numbers of a feature: mean and mean absolute change per frame of x and y of each joint.
pub const FEATURE_WIDTH: usize = JOINTS.len() * 4;
/// Movement counts so many times, to be of the size of positions.
const MOVEMENT_WEIGHT: f32 = 10.0;
/// Longest break between two events of one incident, in frames.
pub const INCIDENT_GAP_FRAMES_MAX: u64 = 300;
/// Longest incident, in frames: an endless one would hide what happens later.
pub const INCIDENT_FRAMES_MAX: u64 = 3000;
/// How far apart two persons may stand to be taken for one whose track was lost, in heights of the person.
const PLACE_HEIGHTS_MAX: f64 = 0.5;
/// How far apart their features may lie (root mean square, in heights of the person).
const FEATURE_DISTANCE_MAX: f32 = 0.25;
/// Items of one incident that are shown or judged together.
pub const SIMILAR_ITEMS_MAX: u32 = 100;

/// An event's figures as its device told them last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EventFigures {
    /// Frame of the highest score.
    pub peak_frame: u64,
    /// Highest smoothed score.
    pub peak_score: f64,
    /// Mean smoothed score of the anomalous frames.
    pub mean_score: f64,
    /// Frames decided as anomalous.
    pub anomalous_frames: u64,
}

/// Where a person stood and how.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    x: f64,
    y: f64,
    height: f64,
    feature: Vec<f32>,
}

/// Sums over the poses of one person.
#[derive(Debug, Default)]
struct Sums {
    poses: u32,
    place: [f64; 2],
    height: f64,
    positions: [[f64; 2]; JOINTS.len()],
    changes: [[f64; 2]; JOINTS.len()],
    before: Option<[[f64; 2]; JOINTS.len()]>,
}

impl Sums {
    fn add(&mut self, points: &[[f64; 3]]) {
        let seen = || points.iter().filter(|point| point[2] > 0.0);
        let count = seen().count() as f64;
        let bounds = |axis: usize| seen().fold((f64::MAX, f64::MIN), |(low, high), point| (low.min(point[axis]), high.max(point[axis])));
        let (top, bottom) = bounds(1);
        let height = bottom - top;
        if count < 5.0 || height < 1.0 {
            return;
        }
        let centre = [0, 1].map(|axis| seen().map(|point| point[axis]).sum::<f64>() / count);
        let joints =
            JOINTS.map(|joint| [0, 1].map(|axis| if points[joint][2] > 0.0 { (points[joint][axis] - centre[axis]) / height } else { 0.0 }));
        for (at, joint) in joints.iter().enumerate() {
            for axis in [0, 1] {
                self.positions[at][axis] += joint[axis];
                self.changes[at][axis] += self.before.map_or(0.0, |before| (joint[axis] - before[at][axis]).abs());
            }
        }
        self.before = Some(joints);
        self.poses += 1;
        self.place[0] += centre[0];
        self.place[1] += centre[1];
        self.height += height;
    }

    /// `None` when no pose showed enough of the person.
    fn figure(&self) -> Option<Figure> {
        let poses = f64::from(self.poses);
        let steps = f64::from(self.poses.saturating_sub(1).max(1));
        let numbers = self.positions.iter().zip(&self.changes);
        let feature = numbers.flat_map(|(position, change)| {
            [0, 1].into_iter().flat_map(move |axis| [(position[axis] / poses) as f32, MOVEMENT_WEIGHT * (change[axis] / steps) as f32])
        });
        let figure = Figure { x: self.place[0] / poses, y: self.place[1] / poses, height: self.height / poses, feature: feature.collect() };
        let is_sound = self.poses > 0 && figure.feature.iter().all(|number| number.is_finite()) && (figure.x + figure.y).is_finite();
        is_sound.then_some(figure)
    }
}

fn bytes_of(feature: &[f32]) -> Vec<u8> {
    feature.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A feature of the database; `None` when its length is another build's.
pub(crate) fn feature_of(bytes: &[u8]) -> Option<Vec<f32>> {
    let numbers = bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    (bytes.len() == 4 * FEATURE_WIDTH).then(|| numbers.collect())
}

/// Keeps an event's figures; messages come in any order, the longest event is the latest.
pub(crate) fn announced(connection: &Connection, item: i64, event: &EventMessage) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO likenesses (item, incident, peak_frame, mean_score, anomalous_frames) VALUES (?1, ?1, ?2, ?3, ?4)
            ON CONFLICT (item) DO UPDATE SET peak_frame = excluded.peak_frame, mean_score = excluded.mean_score,
                anomalous_frames = excluded.anomalous_frames
            WHERE likenesses.anomalous_frames IS NULL OR likenesses.anomalous_frames <= excluded.anomalous_frames",
        )?
        .execute(params![item, signed(event.peak_frame), event.mean_score, signed(event.anomalous_frames)])?;
    join(connection, item)
}

/// Looks at a part of the poses. The first one that shows enough of the person stands for the item.
pub(crate) fn seen(connection: &Connection, item: i64, person: u32, poses: Poses<'_>, detail: Detail) -> Result<(), StoreError> {
    let known = "SELECT 1 FROM likenesses WHERE item = ?1 AND feature IS NOT NULL";
    if connection.prepare_cached(known)?.exists([item])? {
        return Ok(());
    }
    let mut sums = Sums::default();
    // Unreadable poses end it; what came before them counts.
    for pose in poses.read(detail).map_while(Result::ok).filter(|pose| pose.person.0 == person) {
        let points = pose.keypoints().map(|point| [f64::from(point.x), f64::from(point.y), f64::from(point.confidence)]);
        sums.add(&points);
    }
    if let Some(figure) = sums.figure() {
        connection
            .prepare_cached(
                "INSERT INTO likenesses (item, incident, x, y, height, feature) VALUES (?1, ?1, ?2, ?3, ?4, ?5)
                ON CONFLICT (item) DO UPDATE SET x = excluded.x, y = excluded.y, height = excluded.height, feature = excluded.feature",
            )?
            .execute(params![item, figure.x, figure.y, figure.height, bytes_of(&figure.feature)])?;
    }
    join(connection, item)
}

/// One item beside which another one may stand.
struct Neighbour {
    incident: i64,
    is_same_person: bool,
    first_frame: i64,
    last_frame: i64,
    place: Option<[f64; 3]>,
    feature: Option<Vec<f32>>,
}

/// Joins an event to an earlier incident that it belongs to.
fn join(connection: &Connection, id: i64) -> Result<(), StoreError> {
    let own = connection
        .prepare_cached(
            "SELECT device, boot, person, first_frame, incident, x, y, height, feature, last_frame FROM items
            JOIN likenesses ON likenesses.item = items.id WHERE items.id = ?1 AND kind = 'event'",
        )?
        .query_row([id], |row| {
            let place: [Option<f64>; 3] = [row.get(5)?, row.get(6)?, row.get(7)?];
            let neighbour = Neighbour {
                incident: row.get(4)?,
                is_same_person: true,
                first_frame: row.get(3)?,
                last_frame: row.get(9)?,
                place: place_of(place),
                feature: row.get::<_, Option<Vec<u8>>>(8)?.as_deref().and_then(feature_of),
            };
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, neighbour))
        })
        .optional()?;
    let Some((device, boot, person, own)) = own.filter(|own| own.3.incident == id) else { return Ok(()) };
    let gap = signed(INCIDENT_GAP_FRAMES_MAX);
    let mut select = connection.prepare_cached(
        "SELECT ifnull(incident, items.id), person = ?3, first_frame, last_frame, x, y, height, feature FROM items
        JOIN likenesses ON likenesses.item = items.id
        WHERE device = ?1 AND boot = ?2 AND kind = 'event' AND items.id <> ?4 AND incident <> ?4
            AND first_frame BETWEEN ?5 - ?6 AND ?5 AND last_frame >= ?5 - ?7 ORDER BY first_frame DESC LIMIT 50",
    )?;
    let incident_frames = signed(INCIDENT_FRAMES_MAX);
    let neighbours = select.query_map(params![device, boot, person, id, own.first_frame, incident_frames, gap], |row| {
        let place = [row.get(4)?, row.get(5)?, row.get(6)?];
        Ok(Neighbour {
            incident: row.get(0)?,
            is_same_person: row.get(1)?,
            first_frame: row.get(2)?,
            last_frame: row.get(3)?,
            place: place_of(place),
            feature: row.get::<_, Option<Vec<u8>>>(7)?.as_deref().and_then(feature_of),
        })
    })?;
    for neighbour in neighbours {
        let neighbour = neighbour?;
        if !are_alike(&own, &neighbour) {
            continue;
        }
        let begin: Option<i64> = connection
            .prepare_cached("SELECT first_frame FROM items WHERE id = ?1")?
            .query_row([neighbour.incident], |row| row.get(0))
            .optional()?;
        if begin.is_some_and(|begin| own.last_frame.saturating_sub(begin) <= incident_frames) {
            connection.prepare_cached("UPDATE likenesses SET incident = ?2 WHERE incident = ?1")?.execute([id, neighbour.incident])?;
            return Ok(());
        }
    }
    Ok(())
}

fn place_of([x, y, height]: [Option<f64>; 3]) -> Option<[f64; 3]> {
    Some([x?, y?, height?])
}

fn are_alike(own: &Neighbour, other: &Neighbour) -> bool {
    if other.is_same_person {
        return true;
    }
    // Two persons at the same time are two, however alike.
    let follows = other.last_frame < own.first_frame || own.last_frame < other.first_frame;
    let (Some(place), Some(others)) = (own.place, other.place) else { return false };
    let (Some(feature), Some(others_feature)) = (&own.feature, &other.feature) else { return false };
    let apart = (place[0] - others[0]).hypot(place[1] - others[1]);
    let square: f32 = feature.iter().zip(others_feature).map(|(one, other)| (one - other) * (one - other)).sum();
    follows && apart <= PLACE_HEIGHTS_MAX * place[2].max(others[2]) && (square / FEATURE_WIDTH as f32).sqrt() <= FEATURE_DISTANCE_MAX
}

impl Store {
    /// An event's figures; `None` for samples, and for events whose messages have not come.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn event_figures(&self, id: i64) -> Result<Option<EventFigures>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT peak_frame, score, mean_score, anomalous_frames FROM likenesses JOIN items ON items.id = item
            WHERE item = ?1 AND peak_frame IS NOT NULL AND mean_score IS NOT NULL",
        )?;
        let figures = select.query_row([id], |row| {
            Ok(EventFigures {
                peak_frame: unsigned(row.get(0)?),
                peak_score: row.get(1)?,
                mean_score: row.get(2)?,
                anomalous_frames: unsigned(row.get(3)?),
            })
        });
        Ok(figures.optional()?)
    }

    /// The other items of an item's incident, in order of time, at most [`SIMILAR_ITEMS_MAX`]; without what was said about them.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] item.
    pub fn similar(&self, id: i64) -> Result<Vec<Item>, StoreError> {
        self.item(id)?;
        let mut select = self.connection.prepare_cached(&format!(
            "SELECT {ITEM_COLUMNS} FROM items JOIN likenesses ON likenesses.item = items.id
            WHERE incident = (SELECT incident FROM likenesses WHERE item = ?1) AND items.id <> ?1 ORDER BY items.first_frame LIMIT ?2"
        ))?;
        let found = select.query_map(params![id, SIMILAR_ITEMS_MAX], item)?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
