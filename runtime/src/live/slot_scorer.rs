//! What scores on the frame thread: the live model, a candidate beside it, and the change from one to the other between two frames.
//!
//! Models come and go through channels, ready made; this thread neither makes nor frees one. What the candidate does is counted where the
//! update thread can read it. Nothing here allocates or waits.

use alfred_bundle::trial::Tally;
use alfred_core::decision::DecisionRule;
use alfred_core::limits::BATCH_WINDOWS_MAX;
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::units::FrameIndex;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Commands, and answers, that may wait: one is sent at a time.
const QUEUE: usize = 2;

/// A model with the rule that decides about its scores.
pub struct Decider {
    /// The model.
    pub scorer: Box<dyn Scorer + Send>,
    /// Its threshold; `None`: scores only.
    pub rule: Option<DecisionRule>,
    /// Revision of its bundle; 0: the model file.
    pub revision: u64,
}

impl std::fmt::Debug for Decider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decider").field("revision", &self.revision).field("rule", &self.rule).finish_non_exhaustive()
    }
}

/// What the update thread asks for; each is carried out before the next frame and answered.
#[derive(Debug)]
pub enum Command {
    /// Score with this one too, and count.
    Shadow(Decider),
    /// The candidate decides, the live one waits in reserve; counting begins anew.
    Swap,
    /// The candidate comes back: the one in reserve decides again, or the live one is alone again.
    Dismiss,
    /// The one in reserve comes back: the trial is over.
    Settle,
}

/// A command was carried out.
#[derive(Debug)]
pub struct Answer {
    /// Frame from which on it holds.
    pub from_frame: FrameIndex,
    /// The model that is not needed any more, to be freed by whoever may.
    pub old: Option<Decider>,
}

/// A [`Tally`] that the frame thread writes and the update thread reads.
#[derive(Debug, Default)]
pub struct SharedTally {
    windows: AtomicU64,
    flagged: AtomicU64,
    live_flagged: AtomicU64,
    disagreements: AtomicU64,
    faults: AtomicU64,
}

impl SharedTally {
    /// The counts now; they may be some windows apart from each other.
    #[must_use]
    pub fn read(&self) -> Tally {
        Tally {
            windows: self.windows.load(Relaxed),
            flagged: self.flagged.load(Relaxed),
            live_flagged: self.live_flagged.load(Relaxed),
            disagreements: self.disagreements.load(Relaxed),
            faults: self.faults.load(Relaxed),
        }
    }

    fn reset(&self) {
        for count in [&self.windows, &self.flagged, &self.live_flagged, &self.disagreements, &self.faults] {
            count.store(0, Relaxed);
        }
    }

    fn add(&self, candidate: ScoreResult, is_flagged: bool, live_flags: Option<bool>) {
        self.windows.fetch_add(1, Relaxed);
        self.flagged.fetch_add(u64::from(is_flagged), Relaxed);
        self.faults.fetch_add(u64::from(candidate.is_err()), Relaxed);
        if let Some(live_flags) = live_flags {
            self.live_flagged.fetch_add(u64::from(live_flags), Relaxed);
            self.disagreements.fetch_add(u64::from(live_flags != is_flagged), Relaxed);
        }
    }
}

/// The update thread's ends.
#[derive(Debug)]
pub struct FrameThread {
    /// To the frame thread.
    pub commands: Sender<Command>,
    /// From it.
    pub answers: Receiver<Answer>,
    /// What the candidate did since its shadow or trial began.
    pub tally: Arc<SharedTally>,
}

#[derive(Debug)]
enum Other {
    Nobody,
    Shadow(Decider),
    Reserve(Decider),
}

/// The frame thread's scorer.
#[derive(Debug)]
pub struct SlotScorer {
    live: Decider,
    other: Other,
    commands: Receiver<Command>,
    answers: Sender<Answer>,
    tally: Arc<SharedTally>,
    /// Off on the highest rung of the degrade ladder: a shadow then waits, and its tally with it.
    scores_shadow: bool,
}

/// Whether a score reaches its model's threshold.
fn is_flagged(score: ScoreResult, rule: Option<DecisionRule>) -> bool {
    rule.is_some_and(|rule| rule.decide(false, score.ok()))
}

impl SlotScorer {
    /// A scorer that decides with `live`; with `reserve` it is on trial.
    #[must_use]
    pub fn new(live: Decider, reserve: Option<Decider>) -> (Self, FrameThread) {
        let (command_tx, commands) = bounded(QUEUE);
        let (answers, answer_rx) = bounded(QUEUE);
        let tally = Arc::new(SharedTally::default());
        let other = reserve.map_or(Other::Nobody, Other::Reserve);
        let update = FrameThread { commands: command_tx, answers: answer_rx, tally: Arc::clone(&tally) };
        (Self { live, other, commands, answers, tally, scores_shadow: true }, update)
    }

    /// Whether a candidate in shadow is scored.
    pub fn set_scores_shadow(&mut self, scores_shadow: bool) {
        self.scores_shadow = scores_shadow;
    }

    /// The rule that decides now.
    #[must_use]
    pub const fn rule(&self) -> Option<DecisionRule> {
        self.live.rule
    }

    /// Carries out what waits, before the frame `next` is scored; returns the rule if another model decides from then on.
    pub fn between_frames(&mut self, next: FrameIndex) -> Option<DecisionRule> {
        let command = self.commands.try_recv().ok()?;
        let decided = self.live.revision;
        let other = std::mem::replace(&mut self.other, Other::Nobody);
        let old = match (command, other) {
            (Command::Shadow(candidate), Other::Nobody) => {
                self.tally.reset();
                self.other = Other::Shadow(candidate);
                None
            }
            (Command::Swap, Other::Shadow(candidate)) => {
                self.tally.reset();
                self.other = Other::Reserve(std::mem::replace(&mut self.live, candidate));
                None
            }
            (Command::Dismiss, Other::Shadow(candidate)) => Some(candidate),
            (Command::Dismiss, Other::Reserve(reserve)) => Some(std::mem::replace(&mut self.live, reserve)),
            (Command::Settle, Other::Reserve(reserve)) => Some(reserve),
            // A second candidate goes back unused; anything else has nothing to act upon.
            (Command::Shadow(candidate), other) => {
                self.other = other;
                Some(candidate)
            }
            (_, other) => {
                self.other = other;
                None
            }
        };
        // There is room: the update thread waits for each answer.
        let _ = self.answers.try_send(Answer { from_frame: next, old });
        if self.live.revision == decided { None } else { self.live.rule }
    }
}

impl Scorer for SlotScorer {
    fn window_frames(&self) -> usize {
        self.live.scorer.window_frames()
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        self.live.scorer.score_batch(windows, scores);
        let live_rule = self.live.rule;
        match &mut self.other {
            Other::Nobody => {}
            Other::Shadow(_) if !self.scores_shadow => {}
            Other::Shadow(candidate) => {
                let mut beside: [ScoreResult; BATCH_WINDOWS_MAX] = [Err(ScoreFault::Engine); BATCH_WINDOWS_MAX];
                let count = windows.len().min(scores.len()).min(BATCH_WINDOWS_MAX);
                candidate.scorer.score_batch(&windows[..count], &mut beside[..count]);
                for (score, live) in beside[..count].iter().zip(scores) {
                    self.tally.add(*score, is_flagged(*score, candidate.rule), Some(is_flagged(*live, live_rule)));
                }
            }
            Other::Reserve(_) => {
                for score in scores.iter().take(windows.len()) {
                    self.tally.add(*score, is_flagged(*score, live_rule), None);
                }
            }
        }
    }
}
