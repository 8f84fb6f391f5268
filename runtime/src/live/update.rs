//! The update thread: takes bundles from the inbox, keeps the slots, and tells the frame thread which model to try.
//!
//! Way of a bundle: a file `*.bundle` appears in the inbox (whoever delivers it writes it under another name and renames it), is read and
//! removed; the slots judge and store it; the frame thread scores with it in shadow; within the bounds it decides on trial; within the
//! bounds again it is confirmed. Everything that becomes of it is a line `{"bundle": …}` of the output. This thread may wait, allocate
//! and write files; the frame thread never waits for it.

use crate::error::Error;
use crate::limits::BUNDLE_FILES_PER_LOOK_MAX;
use crate::live::output::Item;
use crate::live::slot_scorer::{Answer, Command, Decider, FrameThread};
use alfred_board::hal::{Board, Storage};
use alfred_bundle::format::{BUNDLE_BYTES_MAX, Bundle};
use alfred_bundle::slots::{Role, SLOTS_BYTES, SlotSettings, SlotState, Slots, SlotsError};
use alfred_bundle::trial::{Tally, TrialRules, Verdict};
use alfred_core::verdict_head::HeadedScorer;
use alfred_models::stg_nf::adjacency::Adjacency;
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_wire::error_code::{CodeNumber, ErrorCode};
use alfred_wire::link::{BundleStage, BundleState};
use crossbeam::channel::{RecvTimeoutError, Sender};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What the update thread runs with.
#[derive(Clone, Debug)]
pub struct UpdateSettings {
    /// Folder in which bundles appear.
    pub inbox: PathBuf,
    /// File that holds the slots.
    pub slots: PathBuf,
    /// Bounds of shadow and trial.
    pub rules: TrialRules,
    /// Arithmetic of bundles' models.
    pub lane: Lane,
    /// Time between two looks at inbox and tally.
    pub poll: Duration,
}

/// What the host takes back, on its way to the update thread: the latest revision asked for.
#[derive(Clone, Debug, Default)]
pub struct Withdrawal(Arc<AtomicU64>);

impl Withdrawal {
    /// Asks that this revision ends its shadow or trial, or is not begun.
    pub fn ask(&self, revision: u64) {
        self.0.store(revision, Relaxed);
    }

    /// Whether this one shall go; asked for once.
    fn takes(&self, revision: u64) -> bool {
        revision > 0 && self.0.compare_exchange(revision, 0, Relaxed, Relaxed).is_ok()
    }
}

/// The update thread's state.
pub struct Updates {
    withdrawal: Withdrawal,
    settings: UpdateSettings,
    slots: Slots<Box<dyn Storage + Send>>,
    /// Frame from which on the present stage holds.
    from_frame: u64,
    /// What the bundle that has just ended did.
    last: Tally,
    /// Reported before anything else.
    first: Option<BundleState>,
}

/// Who decides when the process starts, and who is in reserve.
#[derive(Debug)]
pub struct Start {
    /// Decides.
    pub live: Decider,
    /// Decides again if the live one, which is on trial, fails.
    pub reserve: Option<Decider>,
}

/// The other end has gone: the process ends.
struct Ended;

impl Updates {
    /// Opens the slots in the board's storage; `factory` is the model file's model, which decides where no bundle is confirmed.
    ///
    /// # Errors
    /// One line that names the file and the mend.
    pub fn open(settings: UpdateSettings, slots: SlotSettings, factory: Decider, board: &dyn Board) -> Result<(Self, Start), Error> {
        let place = |what: String| Error::file(&settings.slots, what);
        let storage = board.storage(&settings.slots, SLOTS_BYTES).map_err(|error| place(error.to_string()))?;
        let slots = Slots::open(storage, slots).map_err(|error| place(error.to_string()))?;
        let of =
            |role| slots.bundle(role).map(|bundle| decider(&bundle, settings.lane)).transpose().map_err(|code| place(code.to_string()));
        let confirmed = of(Role::Confirmed)?.unwrap_or(factory);
        let is_on_trial = slots.state() == Some(SlotState::Trial);
        let (start, stage) = match of(Role::Candidate)?.filter(|_| is_on_trial) {
            Some(live) => (Start { live, reserve: Some(confirmed) }, BundleStage::Trial),
            None => (Start { live: confirmed, reserve: None }, BundleStage::Confirmed),
        };
        let revision = start.live.revision;
        let first = (revision > 0).then(|| state(revision, stage, None, &Tally::default(), 0));
        Ok((Self { withdrawal: Withdrawal::default(), settings, slots, from_frame: 0, last: Tally::default(), first }, start))
    }

    /// Where the host's withdrawals go.
    #[must_use]
    pub fn withdrawal(&self) -> Withdrawal {
        self.withdrawal.clone()
    }

    /// Works until the frame thread ends.
    pub(crate) fn run(mut self, frames: &FrameThread, items: &Sender<Item>) {
        if let Some(first) = self.first.take() {
            self.tell(first, items);
        }
        let mut is_faulty = false;
        loop {
            match frames.answers.recv_timeout(self.settings.poll) {
                Err(RecvTimeoutError::Disconnected) => return,
                // Nobody asked: nothing that this thread waits for.
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            }
            match self.look(frames, items) {
                Ok(Ok(())) => is_faulty = false,
                Ok(Err(Ended)) => return,
                Err(error) => {
                    // Told once, tried again with each look: a full disk may become free.
                    if !std::mem::replace(&mut is_faulty, true) {
                        eprintln!("bundle: {error}; trying again");
                    }
                }
            }
        }
    }

    /// One look: does what is due. Outer error: storage. Inner: the frame thread has ended.
    fn look(&mut self, frames: &FrameThread, items: &Sender<Item>) -> Result<Result<(), Ended>, SlotsError> {
        self.tell_outcome(items)?;
        let tally = frames.tally.read();
        if self.slots.state().is_some() && self.withdrawal.takes(self.slots.candidate_revision()) {
            return self.dismiss(ErrorCode::Withdrawn, tally, frames);
        }
        match self.slots.state() {
            None => self.take_from_inbox(items)?,
            Some(SlotState::Verified) => return self.begin(frames, items),
            Some(SlotState::Shadow) if self.from_frame == 0 => return self.begin(frames, items),
            Some(SlotState::Shadow) => match self.settings.rules.judge_shadow(&tally) {
                Verdict::GoOn => {}
                Verdict::Pass => {
                    self.slots.begin_trial()?;
                    return self.swap(frames, items);
                }
                Verdict::Fail(code) => return self.dismiss(code, tally, frames),
            },
            Some(SlotState::Trial) => match self.settings.rules.judge_trial(&tally) {
                Verdict::GoOn => {}
                Verdict::Pass => {
                    self.slots.confirm()?;
                    self.last = tally;
                    return Ok(ask(frames, Command::Settle).map(drop));
                }
                Verdict::Fail(code) => return self.dismiss(code, tally, frames),
            },
            Some(SlotState::Written | SlotState::Empty | SlotState::Confirmed) => {}
        }
        Ok(Ok(()))
    }

    /// Takes one bundle from the inbox, the first by name; it is removed whatever is found in it.
    fn take_from_inbox(&mut self, items: &Sender<Item>) -> Result<(), SlotsError> {
        let Some(path) = first_bundle(&self.settings.inbox) else { return Ok(()) };
        let mut bytes = Vec::with_capacity(BUNDLE_BYTES_MAX + 1);
        let read = File::open(&path).and_then(|file| file.take(BUNDLE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
        // Removed first: what cannot be removed would be taken for ever.
        read.and_then(|_| fs::remove_file(&path))?;
        match self.slots.offer(&bytes) {
            Ok(revision) => self.tell(state(revision, BundleStage::Verified, None, &Tally::default(), 0), items),
            Err(SlotsError::Refused(code)) => self.tell(state(0, BundleStage::Refused, Some(code.number()), &Tally::default(), 0), items),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Brings the candidate to the frame thread, in shadow; without a shadow it goes on trial at once.
    fn begin(&mut self, frames: &FrameThread, items: &Sender<Item>) -> Result<Result<(), Ended>, SlotsError> {
        let Some(bundle) = self.slots.bundle(Role::Candidate) else { return Ok(Ok(())) };
        let candidate = match decider(&bundle, self.settings.lane) {
            Ok(candidate) => candidate,
            Err(code) => return self.slots.give_up(code).map(|()| Ok(())),
        };
        let has_shadow = self.settings.rules.shadow_windows > 0;
        if self.slots.state() == Some(SlotState::Verified) {
            if has_shadow { self.slots.begin_shadow() } else { self.slots.begin_trial() }?;
        }
        let revision = candidate.revision;
        let Ok(answer) = ask(frames, Command::Shadow(candidate)) else { return Ok(Err(Ended)) };
        if !has_shadow && self.slots.state() == Some(SlotState::Trial) {
            return self.swap(frames, items);
        }
        // 0 means that the frame thread does not have it yet.
        self.from_frame = answer.from_frame.0.max(1);
        self.tell(state(revision, BundleStage::Shadow, None, &Tally::default(), answer.from_frame.0), items);
        Ok(Ok(()))
    }

    /// The candidate decides from the next frame on; that it is on trial is durable already.
    fn swap(&mut self, frames: &FrameThread, items: &Sender<Item>) -> Result<Result<(), Ended>, SlotsError> {
        let tally = frames.tally.read();
        let Ok(answer) = ask(frames, Command::Swap) else { return Ok(Err(Ended)) };
        self.from_frame = answer.from_frame.0;
        self.tell(state(self.slots.candidate_revision(), BundleStage::Trial, None, &tally, self.from_frame), items);
        Ok(Ok(()))
    }

    /// The old model decides again at once; that it does is made durable afterwards. Should the power go in between, the trial goes on at
    /// the next start and fails again.
    fn dismiss(&mut self, code: ErrorCode, tally: Tally, frames: &FrameThread) -> Result<Result<(), Ended>, SlotsError> {
        let Ok(answer) = ask(frames, Command::Dismiss) else { return Ok(Err(Ended)) };
        self.from_frame = answer.from_frame.0;
        self.last = tally;
        self.slots.give_up(code).map(Ok)
    }

    /// Tells how a bundle's way ended, also when that was in another life of this process.
    fn tell_outcome(&mut self, items: &Sender<Item>) -> Result<(), SlotsError> {
        let Some((revision, stage, reason)) = self.slots.untold() else { return Ok(()) };
        let (from_frame, tally) = (std::mem::take(&mut self.from_frame), std::mem::take(&mut self.last));
        self.tell(state(revision, stage, reason, &tally, from_frame), items);
        self.slots.mark_told()
    }

    fn tell(&self, state: BundleState, items: &Sender<Item>) {
        // An ended output thread has told its own fault.
        let _ = items.send(Item::Bundle(state));
    }
}

fn ask(frames: &FrameThread, command: Command) -> Result<Answer, Ended> {
    frames.commands.send(command).map_err(|_| Ended)?;
    frames.answers.recv().map_err(|_| Ended)
}

const fn state(revision: u64, stage: BundleStage, reason: Option<CodeNumber>, tally: &Tally, from_frame: u64) -> BundleState {
    BundleState {
        revision,
        stage,
        reason,
        windows: tally.windows,
        flagged: tally.flagged,
        live_flagged: tally.live_flagged,
        disagreements: tally.disagreements,
        faults: tally.faults,
        from_frame,
    }
}

/// The model of a verified bundle, ready for the frame thread.
fn decider(bundle: &Bundle<'_>, lane: Lane) -> Result<Decider, ErrorCode> {
    let adjacency = Adjacency::uniform(bundle.max_hop.into());
    let scorer = StgNfScorer::new(&bundle.parameters, &adjacency, lane).map_err(|_| ErrorCode::BundleNotFinite)?;
    let scorer = Box::new(HeadedScorer::new(scorer, bundle.verdict_head()));
    Ok(Decider { scorer, rule: Some(bundle.decision), revision: bundle.revision })
}

/// Bytes of a bundle's model in memory.
pub(crate) const MODEL_BYTES: usize = size_of::<HeadedScorer<StgNfScorer>>();

/// The first bundle by name among the first files of a folder; a folder that is not there holds none.
fn first_bundle(inbox: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(inbox).ok()?.flatten().take(BUNDLE_FILES_PER_LOOK_MAX);
    let is_bundle = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "bundle") && path.is_file();
    entries.map(|entry| entry.path()).filter(is_bundle).min()
}
