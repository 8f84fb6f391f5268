//! What a slice is made of: items of the database with their poses, cut into windows and scored by the pair in force; and who joins the
//! validation set.
//!
//! The stream that the host sees is not even: every flagged event came, of the rest a thin sample. Each member of the validation set
//! therefore says how many frames of the camera each of its frames stands for. Of the samples, those that people judged (the audit of missed
//! anomalies) say which share of all is anomalous; the others are taken for normal.

use crate::cycle::footage::{DataPath, Scored, Stretch, TRAINING_STRIDE};
use crate::cycle::judge::Member;
use crate::cycle::pair::Pair;
use crate::dataset::windows::{Origin, WindowSet};
use crate::error::HostError;
use crate::phase::validation_set::{Candidate, LifeRule, ValidationSet};
use crate::phase::verdict::{Annotator, Verdict};
use crate::phase::warm_up::{Stream, warm_up};
use alfred_store::Store;
use alfred_store::cycle::{JudgedItem, ValidationItem};
use alfred_store::item::Item;
use alfred_synth::random::Random;
use std::collections::{BTreeMap, BTreeSet};

/// Stretches of the largest slice; of more, events with a verdict stay, and a random part of the others.
pub const STRETCHES_MAX: usize = 6000;

/// Numbers the starts of devices: frames count anew with each.
#[derive(Debug, Default)]
pub struct Starts(BTreeMap<(String, String), u32>);

impl Starts {
    fn of(&mut self, item: &Item) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry((item.device.clone(), item.boot.clone())).or_insert(next)
    }
}

/// Reads items' poses; those without any, or damaged ones, are left out.
pub fn stretches(store: &Store, items: &[JudgedItem], starts: &mut Starts, window_frames: usize) -> Vec<Stretch> {
    let read = |judged: &JudgedItem| {
        let footage = store.footage(&judged.item).ok()?;
        Stretch::new(judged, &footage, starts.of(&judged.item), window_frames as u64)
    };
    items.iter().filter_map(read).collect()
}

/// At most [`STRETCHES_MAX`] of the items, in order: those with a verdict first.
#[must_use]
pub fn bounded(mut items: Vec<JudgedItem>, random: &mut Random) -> Vec<JudgedItem> {
    if items.len() > STRETCHES_MAX {
        random.shuffle(&mut items);
        items.sort_by_key(|judged| judged.is_anomalous.is_none());
        items.truncate(STRETCHES_MAX);
        items.sort_by_key(|judged| judged.item.id);
    }
    items
}

/// A slice as the device decided it.
#[derive(Debug)]
pub struct Slice {
    /// Its items.
    pub stretches: Vec<Stretch>,
    /// Windows of the frames that the items are about.
    pub windows: WindowSet,
    /// Where each window came from: start of the device, person, frame.
    pub origins: Vec<Origin>,
    /// Score of each window by the pair in force; lifted to the threshold where the device flagged the frame, since it decides on smoothed scores.
    pub scores: Vec<f64>,
    /// Which stretch each window belongs to.
    pub owners: Vec<u32>,
}

impl Slice {
    /// Cuts and scores the stretches.
    ///
    /// # Errors
    /// [`HostError`] when the pair makes no scorer.
    pub fn cut(stretches: Vec<Stretch>, pair: &Pair, path: &mut DataPath) -> Result<Self, HostError> {
        let mut slice = Self {
            windows: WindowSet::new(pair.window_frames()),
            origins: Vec::new(),
            scores: Vec::new(),
            owners: Vec::new(),
            stretches: Vec::new(),
        };
        let mut scorer = pair.scorer()?;
        let threshold = f64::from(pair.threshold);
        for (owner, stretch) in stretches.iter().enumerate() {
            let Scored { windows, .. } = path.score(stretch, &mut scorer)?;
            let mut next = 0;
            for window in windows {
                // Around an event it is neither sure that something is normal nor that it is not.
                let counts = !stretch.is_event || stretch.frames.contains(&window.centre);
                if !counts || window.centre < next {
                    continue;
                }
                next = window.centre + TRAINING_STRIDE;
                let origin =
                    Origin { clip: stretch.start, person: stretch.person, centre: u32::try_from(window.centre).unwrap_or(u32::MAX) };
                slice.windows.push(&window.values, false, origin);
                slice.origins.push(origin);
                slice.scores.push(if stretch.is_event { window.score.max(threshold) } else { window.score });
                slice.owners.push(owner as u32);
            }
        }
        slice.stretches = stretches;
        Ok(slice)
    }

    /// Numbers of a stretch's windows.
    #[must_use]
    pub fn windows_of(&self, stretch: usize) -> Vec<u32> {
        (0..self.owners.len() as u32).filter(|window| self.owners[*window as usize] as usize == stretch).collect()
    }
}

/// How a slice's stretches count in the validation set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Strata {
    /// Frames in flagged events, judged or not.
    pub flagged: f64,
    /// Of them, in judged ones.
    pub flagged_judged: f64,
    /// Windows that all samples stand for.
    pub below: f64,
    /// Share of the judged samples that is anomalous; 0 when none was judged.
    pub missed_share: f64,
    /// Samples that people judged.
    pub samples_judged: usize,
}

impl Strata {
    /// Counts a slice.
    #[must_use]
    pub fn of(stretches: &[Stretch]) -> Self {
        let mut strata = Self::default();
        let mut missed = 0_usize;
        for stretch in stretches {
            let frames = stretch.frames_stood_for();
            if stretch.is_event {
                strata.flagged += frames;
                strata.flagged_judged += if stretch.said.is_some() { frames } else { 0.0 };
            } else {
                strata.below += frames;
                strata.samples_judged += usize::from(stretch.said.is_some());
                missed += usize::from(stretch.said == Some(true));
            }
        }
        strata.missed_share = missed as f64 / strata.samples_judged.max(1) as f64;
        strata
    }
}

/// Normal windows per anomalous one that join, at most. Of a sample only one frame's smoothed score is known, of an event all: where the paper takes
/// one window for one, so many are taken, and [`judge`](crate::cycle::judge::judge) draws both classes to equal weight.
const NORMAL_PER_ANOMALOUS: f64 = 8.0;

/// People's verdicts as they lie in the database, as the phases ask for them.
struct Said<'s> {
    stretches: &'s [Stretch],
    /// Stretch of each window.
    owners: &'s [u32],
    /// Whether each stretch may join the validation set.
    may_validate: Vec<bool>,
}

impl Said<'_> {
    /// The stretch that windows shown as one belong to.
    fn owner(&self, windows: &[u32]) -> Option<usize> {
        self.owners.get(*windows.first()? as usize).map(|owner| *owner as usize)
    }

    fn said(&self, windows: &[u32]) -> Option<Verdict> {
        self.stretches.get(self.owner(windows)?)?.said.map(Verdict::of)
    }
}

impl Annotator for Said<'_> {
    fn verdict(&mut self, windows: &[u32]) -> Option<Verdict> {
        self.said(windows)
    }
    fn audited(&mut self, windows: &[u32]) -> Option<Verdict> {
        self.said(windows)
    }
    fn may_validate(&mut self, windows: &[u32]) -> bool {
        self.owner(windows).is_some_and(|owner| self.may_validate[owner])
    }
}

/// How much of a slice may join the validation set; the rest is kept for training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    /// Share of the stretches of each class, 0 to 1; rounded up.
    pub share: f64,
    /// Stretches of each class that may join in any case: what a set lacks to be complete.
    pub least: usize,
}

/// Which stretches may join: of each class as many as the quota says, drawn at random.
fn drawn(stretches: &[Stretch], quota: Quota, random: &mut Random) -> Vec<bool> {
    let mut chosen = vec![false; stretches.len()];
    for (is_event, said) in [(true, Some(true)), (true, Some(false)), (false, Some(true)), (false, Some(false)), (false, None)] {
        let of = |place: &usize| (stretches[*place].is_event, stretches[*place].said) == (is_event, said);
        let mut places: Vec<usize> = (0..stretches.len()).filter(of).collect();
        random.shuffle(&mut places);
        let count = ((quota.share * places.len() as f64).ceil() as usize).max(quota.least);
        places.iter().take(count).for_each(|place| chosen[*place] = true);
    }
    chosen
}

/// Who joins the validation set, by the phases' [`warm_up`], with label and weight. `owners`: the stretch of each window.
#[must_use]
pub fn joining(stretches: &[Stretch], owners: &[u32], quota: Quota, random: &mut Random) -> Vec<Member> {
    let strata = Strata::of(stretches);
    // What the device decided, whatever pair is in force by now: an event is flagged, a sample is not. Each is one event of its own.
    let decided: Vec<f64> = owners.iter().map(|&owner| f64::from(u8::from(stretches[owner as usize].is_event))).collect();
    let origin = |&owner: &u32| Origin { clip: owner, person: stretches[owner as usize].person, centre: 0 };
    let origins: Vec<Origin> = owners.iter().map(origin).collect();
    let may_validate = drawn(stretches, quota, random);
    let (mut said, mut grown) = (Said { stretches, owners, may_validate }, ValidationSet::default());
    let stream = Stream { scores: &decided, origins: &origins, threshold: 1.0, number: 0 };
    warm_up(&stream, NORMAL_PER_ANOMALOUS, &mut said, &mut grown);
    let member = |event: &Candidate| {
        let stretch = stretches.get(event.clip as usize)?.clone();
        Some(Member { stretch, is_anomalous: event.is_anomalous, weight: 0.0 })
    };
    let mut members: Vec<Member> = grown.events().iter().filter_map(member).collect();
    members.sort_by_key(|member| member.stretch.item);
    weigh(&mut members, stretches, &strata);
    members
}

/// Gives each member its weight; one that stands for nothing goes.
fn weigh(members: &mut Vec<Member>, stretches: &[Stretch], strata: &Strata) {
    let frames = |of: &dyn Fn(&Member) -> bool| -> f64 {
        let counted = members.iter().filter(|member| of(member));
        counted.map(|member| if member.stretch.is_event { member.stretch.frames_stood_for() } else { 1.0 }).sum()
    };
    let judged_events = |is_anomalous: bool| -> f64 {
        let of = |stretch: &&Stretch| stretch.is_event && stretch.said == Some(is_anomalous);
        stretches.iter().filter(of).map(Stretch::frames_stood_for).sum()
    };
    let unreviewed = if strata.flagged_judged > 0.0 { strata.flagged / strata.flagged_judged } else { 1.0 };
    let weight = |is_event: bool, is_anomalous: bool| {
        let in_set = frames(&|member| member.stretch.is_event == is_event && member.is_anomalous == is_anomalous);
        let in_stream = if is_event {
            judged_events(is_anomalous) * unreviewed
        } else {
            strata.below * if is_anomalous { strata.missed_share } else { 1.0 - strata.missed_share }
        };
        if in_set > 0.0 { in_stream / in_set } else { 0.0 }
    };
    let weights = [[weight(false, false), weight(false, true)], [weight(true, false), weight(true, true)]];
    for member in members.iter_mut() {
        member.weight = weights[usize::from(member.stretch.is_event)][usize::from(member.is_anomalous)];
    }
    members.retain(|member| member.weight > 0.0);
}

/// The camera's validation set: who is in it, and whose windows must not train.
#[derive(Debug, Default)]
pub struct Validation {
    /// Members with their poses, and the slice in which they joined.
    pub members: Vec<(Member, u64)>,
    /// Members that left; their windows do not train either.
    left: Vec<ValidationItem>,
    /// The set as the phases know it.
    set: ValidationSet,
}

fn candidate(member: &Member, slice: u64) -> Candidate {
    let number = |frame: u64| u32::try_from(frame).unwrap_or(u32::MAX);
    let stretch = &member.stretch;
    Candidate {
        clip: stretch.start,
        person: stretch.person,
        first: number(*stretch.frames.start()),
        last: number(*stretch.frames.end()),
        is_anomalous: member.is_anomalous,
        windows: vec![u32::try_from(stretch.item).unwrap_or(u32::MAX)],
        slice: number(slice),
    }
}

impl Validation {
    /// Reads the set; a member's label follows what people say now.
    ///
    /// # Errors
    /// [`HostError::Argument`] when the database fails.
    pub fn read(store: &Store, camera: &str, starts: &mut Starts, window_frames: usize) -> Result<Self, HostError> {
        let fault = |error| HostError::argument("the validation set", error);
        let mut validation = Self::default();
        let rows = store.validation_items(camera).map_err(fault)?;
        let ids: BTreeSet<i64> = rows.iter().map(|row| row.item).collect();
        let items = store.items_of(camera, &ids).map_err(fault)?;
        let items: BTreeMap<i64, JudgedItem> = items.into_iter().map(|judged| (judged.item.id, judged)).collect();
        for row in rows {
            let Some(judged) = items.get(&row.item) else { continue };
            let read = stretches(store, std::slice::from_ref(judged), starts, window_frames).pop();
            match read.filter(|_| !row.has_left) {
                Some(stretch) => {
                    let is_anomalous = judged.is_anomalous.unwrap_or(row.is_anomalous);
                    let member = Member { stretch, is_anomalous, weight: row.weight };
                    validation.set.add(candidate(&member, row.slice));
                    validation.members.push((member, row.slice));
                }
                None => validation.left.push(ValidationItem { has_left: true, ..row }),
            }
        }
        Ok(validation)
    }

    /// Adds members of a slice and takes out what is too old or too much.
    pub fn grow(&mut self, joining: Vec<Member>, slice: u64) {
        for member in joining {
            self.set.add(candidate(&member, slice));
            self.members.push((member, slice));
        }
        self.set.renew(u32::try_from(slice).unwrap_or(u32::MAX), &LifeRule::default());
        let kept: BTreeSet<u32> = self.set.events().iter().flat_map(|event| event.windows.iter().copied()).collect();
        let is_kept = |member: &Member| kept.contains(&u32::try_from(member.stretch.item).unwrap_or(u32::MAX));
        let (stay, go) = std::mem::take(&mut self.members).into_iter().partition(|(member, _)| is_kept(member));
        self.members = stay;
        let left = |(member, slice): (Member, u64)| row(&member, slice, true);
        self.left.extend(Vec::into_iter(go).map(left));
    }

    /// Whether a window of the stream is too near to a member's frames to train.
    #[must_use]
    pub fn overlaps(&self, origin: &Origin, window_frames: u32) -> bool {
        self.set.overlaps(origin, window_frames)
    }

    /// Whether an item is, or was, in the set.
    #[must_use]
    pub fn holds(&self, item: i64) -> bool {
        self.members.iter().any(|(member, _)| member.stretch.item == item) || self.left.iter().any(|row| row.item == item)
    }

    /// Whether each class has so many members.
    #[must_use]
    pub fn is_complete(&self, events_per_class_min: usize) -> bool {
        self.lacks(events_per_class_min) == 0
    }

    /// Members that the smaller class lacks to have so many.
    #[must_use]
    pub fn lacks(&self, events_per_class_min: usize) -> usize {
        let anomalous = self.members.iter().filter(|(member, _)| member.is_anomalous).count();
        events_per_class_min.saturating_sub(anomalous.min(self.members.len() - anomalous))
    }

    /// The members.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.members.iter().map(|(member, _)| member.clone()).collect()
    }

    /// SHA-256 of what the set holds.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.set.hash()
    }

    /// The set as the database keeps it.
    #[must_use]
    pub fn rows(&self) -> Vec<ValidationItem> {
        self.members.iter().map(|(member, slice)| row(member, *slice, false)).chain(self.left.iter().copied()).collect()
    }
}

fn row(member: &Member, slice: u64, has_left: bool) -> ValidationItem {
    ValidationItem { item: member.stretch.item, is_anomalous: member.is_anomalous, weight: member.weight, slice, has_left }
}
