//! What a review in a terminal does with each key: no terminal and no clock in here.

use crate::error::HostError;
use crate::expert::HostExpert;
use alfred_server::expert::{Expert, FrameScore};
use alfred_store::label::{NewLabel, Verdict};
use alfred_store::playback::Playback;
use alfred_store::queue::{QueueFilter, Spread, Strategy, Waiting};
use alfred_store::{Store, StoreError};
use std::collections::VecDeque;

/// Items that are fetched at once.
const AHEAD_ITEMS: u32 = 20;
/// How long a skipped item stays away, milliseconds.
const SKIP_MS: i64 = 3_600_000;
/// Time between two frames whose capture times are not known, milliseconds.
const FRAME_MS: f64 = 40.0;
/// Speeds of playing.
const SPEEDS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// How long an empty queue is left in peace, milliseconds.
const LOOK_MS: i64 = 1000;

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A true positive.
    Anomalous,
    /// A false positive.
    Normal,
    /// Cannot be told.
    Unsure,
    /// Later.
    Skip,
    /// Takes the own latest verdict back and shows its item again.
    Undo,
    /// One frame back.
    Back,
    /// One frame forward.
    Forward,
    /// Plays faster.
    Faster,
    /// Plays slower.
    Slower,
    /// Stops or goes on.
    Pause,
    /// Ends.
    Quit,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    Go,
    /// End.
    Quit,
}

/// The item that is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What is known of it.
    pub waiting: Waiting,
    /// Its skeletons.
    pub playback: Playback,
    /// Scores of its person; empty where there are none.
    pub curve: Vec<FrameScore>,
    /// Place of the frame that is shown.
    pub place: usize,
    began_ms: i64,
    at_ms: f64,
}

impl Shown {
    /// When a frame is shown, milliseconds from the first.
    fn time_of(&self, place: usize) -> f64 {
        let frames = &self.playback.frames;
        let is_timed = frames.last().is_some_and(|last| last.at_ms > 0.0);
        match (frames.first(), frames.get(place)) {
            (Some(_), Some(frame)) if is_timed => frame.at_ms,
            (Some(first), Some(frame)) => frame.frame.saturating_sub(first.frame) as f64 * FRAME_MS,
            _ => 0.0,
        }
    }

    fn go_to(&mut self, place: usize) {
        self.place = place;
        self.at_ms = self.time_of(place);
    }

    fn advance(&mut self, by_ms: f64) {
        let last = self.playback.frames.len().saturating_sub(1);
        self.at_ms += by_ms;
        if self.at_ms > self.time_of(last) + FRAME_MS {
            self.at_ms = 0.0;
        }
        self.place = (0..=last).take_while(|place| self.time_of(*place) <= self.at_ms).last().unwrap_or(0);
    }
}

/// A review in progress.
#[derive(Debug)]
pub struct Review {
    store: Store,
    reviewer: String,
    filter: QueueFilter,
    by_policy: bool,
    expert: HostExpert,
    queue: VecDeque<Waiting>,
    shown: Option<Shown>,
    waiting: u64,
    verdicts: u32,
    speed: usize,
    is_playing: bool,
    message: String,
    ticked_ms: i64,
    looked_ms: i64,
}

fn fault(error: StoreError) -> HostError {
    HostError::argument("review", error)
}

impl Review {
    /// Begins with the first item.
    ///
    /// # Errors
    /// [`HostError`] for an unknown camera, or faults of the database.
    pub fn new(
        store: Store,
        reviewer: &str,
        filter: QueueFilter,
        by_policy: bool,
        expert: HostExpert,
        now_ms: i64,
    ) -> Result<Self, HostError> {
        let mut review = Self {
            store,
            reviewer: reviewer.to_owned(),
            filter,
            by_policy,
            expert,
            queue: VecDeque::new(),
            shown: None,
            waiting: 0,
            verdicts: 0,
            speed: 2,
            is_playing: true,
            message: String::new(),
            ticked_ms: now_ms,
            looked_ms: now_ms,
        };
        review.next(now_ms)?;
        Ok(review)
    }

    /// The item that is shown; `None`: the queue is empty.
    #[must_use]
    pub const fn shown(&self) -> Option<&Shown> {
        self.shown.as_ref()
    }

    /// Items that wait, the one that is shown included.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Verdicts that were given and not taken back.
    #[must_use]
    pub const fn verdicts(&self) -> u32 {
        self.verdicts
    }

    /// What happened last.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Speed of playing; 0: it stands.
    #[must_use]
    pub const fn speed(&self) -> f64 {
        if self.is_playing { SPEEDS[self.speed] } else { 0.0 }
    }

    /// Lets the picture move on; looks for new items when there were none.
    pub fn tick(&mut self, now_ms: i64) {
        let elapsed_ms = (now_ms - self.ticked_ms).clamp(0, 1000) as f64;
        self.ticked_ms = now_ms;
        let by_ms = elapsed_ms * self.speed();
        if let Some(shown) = &mut self.shown {
            shown.advance(by_ms);
        } else if now_ms - self.looked_ms >= LOOK_MS
            && let Err(error) = self.next(now_ms)
        {
            self.message = error.to_string();
        }
    }

    /// Does what a key says. `request` is a new random key for what is written.
    ///
    /// # Errors
    /// [`HostError`] for faults of the database; refusals are shown.
    pub fn press(&mut self, key: Key, request: &str, now_ms: i64) -> Result<Step, HostError> {
        match key {
            Key::Quit => return Ok(Step::Quit),
            Key::Anomalous => self.judge(Verdict::Anomalous, request, now_ms)?,
            Key::Normal => self.judge(Verdict::Normal, request, now_ms)?,
            Key::Unsure => self.judge(Verdict::Unsure, request, now_ms)?,
            Key::Skip => self.skip(now_ms)?,
            Key::Undo => self.undo(request, now_ms)?,
            Key::Pause => self.is_playing = !self.is_playing,
            Key::Faster => self.speed = (self.speed + 1).min(SPEEDS.len() - 1),
            Key::Slower => self.speed = self.speed.saturating_sub(1),
            Key::Back | Key::Forward => {
                self.is_playing = false;
                if let Some(shown) = &mut self.shown {
                    let frames = shown.playback.frames.len().max(1);
                    let step = if key == Key::Forward { 1 } else { frames - 1 };
                    shown.go_to((shown.place + step) % frames);
                }
            }
        }
        Ok(Step::Go)
    }

    fn judge(&mut self, verdict: Verdict, request: &str, now_ms: i64) -> Result<(), HostError> {
        let Some(shown) = self.shown.take() else { return Ok(()) };
        let new = NewLabel {
            item: shown.waiting.item.id,
            reviewer: &self.reviewer,
            verdict,
            seconds: (now_ms - shown.began_ms).max(0) as f64 / 1e3,
            strategy: shown.waiting.strategy,
            request,
            with_similar: shown.waiting.similar > 0,
        };
        match self.store.label(&new, now_ms) {
            Ok(outcome) => {
                self.verdicts += 1;
                self.message = format!("item {}: {}", outcome.item, verdict.as_str());
                if outcome.labelled > 1 {
                    self.message += &format!(", and {} like it", outcome.labelled - 1);
                }
                self.next(now_ms)
            }
            Err(error) if error.is_refusal() => {
                self.message = error.to_string();
                self.next(now_ms)
            }
            Err(error) => Err(fault(error)),
        }
    }

    fn skip(&mut self, now_ms: i64) -> Result<(), HostError> {
        let Some(shown) = self.shown.take() else { return Ok(()) };
        let item = shown.waiting.item.id;
        self.store.skip(item, &self.reviewer, now_ms + SKIP_MS).map_err(fault)?;
        self.message = format!("item {item}: skipped for an hour");
        self.next(now_ms)
    }

    fn undo(&mut self, request: &str, now_ms: i64) -> Result<(), HostError> {
        let outcome = match self.store.undo(&self.reviewer, None, request, now_ms) {
            Ok(outcome) => outcome,
            Err(error) if error.is_refusal() => {
                self.message = error.to_string();
                return Ok(());
            }
            Err(error) => return Err(fault(error)),
        };
        self.verdicts = self.verdicts.saturating_sub(1);
        self.message = format!("item {}: taken back", outcome.item);
        if let Some(shown) = self.shown.take() {
            self.queue.push_front(shown.waiting);
        }
        let mut item = self.store.item(outcome.item).map_err(fault)?;
        item.verdicts.clear();
        let similar = outcome.labelled - 1;
        let again = Waiting { item, strategy: self.filter.strategy, similar, is_snoozed: false, feature: None };
        self.waiting += 1;
        self.show(again, now_ms)
    }

    /// Shows the next item.
    fn next(&mut self, now_ms: i64) -> Result<(), HostError> {
        self.waiting = self.waiting.saturating_sub(1);
        if self.queue.is_empty() {
            self.look(now_ms)?;
        }
        match self.queue.pop_front() {
            Some(waiting) => self.show(waiting, now_ms),
            None => {
                self.waiting = 0;
                Ok(())
            }
        }
    }

    fn look(&mut self, now_ms: i64) -> Result<(), HostError> {
        self.looked_ms = now_ms;
        let filter = QueueFilter { now_ms, items_max: AHEAD_ITEMS, ..self.filter.clone() };
        let expert = &self.expert;
        let spread = |features: &[Vec<f32>], count: usize| expert.spread(features, count);
        let spread: Option<Spread<'_>> = Some(&spread);
        let page = if self.by_policy {
            let asked = self.store.queue_by_policy(&self.reviewer, &filter, spread).map_err(fault)?;
            if asked.budget.left_today == Some(0) {
                self.message = "today's budget is spent".to_owned();
            }
            asked.page
        } else {
            self.store.queue_page(&self.reviewer, &filter, spread).map_err(fault)?
        };
        self.waiting = page.waiting.max(page.items.len() as u64);
        self.queue = page.items.into();
        Ok(())
    }

    fn show(&mut self, waiting: Waiting, now_ms: i64) -> Result<(), HostError> {
        let playback = self.store.playback(waiting.item.id).map_err(fault)?;
        let item = &playback.item;
        let bundle = match item.bundle_revision {
            0 => None,
            revision => Some(self.store.bundle_part(&item.camera, revision, 0, u32::MAX).unwrap_or_default()),
        };
        // Without scores there is no curve; the picture is what counts.
        let curve = self.expert.scores(&playback, bundle.as_deref()).unwrap_or_default();
        self.is_playing = true;
        self.shown = Some(Shown { waiting, playback, curve, place: 0, began_ms: now_ms, at_ms: 0.0 });
        Ok(())
    }

    /// The strategy that asked for the item that is shown.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.shown.as_ref().map_or(self.filter.strategy, |shown| shown.waiting.strategy)
    }
}
