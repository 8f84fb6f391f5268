//! Who was right: decisions against the truth, person by person and frame by frame.
//!
//! A person is flagged in a frame when the frame lies in one of the person's events: what a device tells the world. For the source pair, and for
//! the pair before a swap, the same frames go through the device's own data path in this process.

use alfred_bundle::format::Bundle;
use alfred_core::decision::DecisionRule;
use alfred_core::event::{Event, EventKind};
use alfred_core::pipeline::{Pipeline, Sink};
use alfred_core::pose::PoseFrame;
use alfred_core::scorer::Scorer;
use alfred_core::units::{FrameIndex, MonotonicNs};
use alfred_core::verdict_head::HeadedScorer;
use alfred_models::stg_nf::adjacency::Adjacency;
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_models::tract_engine::Budget;
use alfred_runtime::config::{Config, LaneName};
use alfred_runtime::model_file;
use alfred_runtime::replay::HeapMemory;
use alfred_testkit::closed_loop::scene::KeptFrame;
use alfred_trainer_host::metric::confusion::Confusion;
use std::ops::Range;
use std::path::Path;

/// Frames that run through before those that count: windows, smoothing and events have begun then.
const RUN_IN_FRAMES: u64 = 150;

/// An event of one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flagged {
    pub(crate) person: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// Counts the persons of the frames whose numbers lie in `stretch`.
pub(crate) fn count(frames: &[KeptFrame], stretch: &Range<u64>, flagged: &[Flagged]) -> Confusion {
    let mut counts = Confusion::default();
    for frame in part(frames, stretch) {
        for (person, is_anomalous) in &frame.persons {
            let is_flagged = flagged.iter().any(|event| event.person == person.id.0 && (event.first..=event.last).contains(&frame.frame));
            counts.add(*is_anomalous, is_flagged);
        }
    }
    counts
}

/// The frames of a stretch; numbers rise by one.
fn part<'f>(frames: &'f [KeptFrame], stretch: &Range<u64>) -> &'f [KeptFrame] {
    let first = frames.first().map_or(0, |frame| frame.frame);
    let place = |number: u64| usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX).min(frames.len());
    &frames[place(stretch.start)..place(stretch.end).max(place(stretch.start))]
}

struct Events(Vec<Flagged>);

impl Sink for Events {
    fn event(&mut self, event: &Event) {
        if let EventKind::End(_) = event.kind {
            self.0.push(Flagged { person: event.person.0, first: event.first.0, last: event.last.0 });
        }
    }
}

/// The source pair's decisions on a stretch.
///
/// # Errors
/// That the weights cannot be used.
pub(crate) fn replay_source(weights: &Path, frames: &[KeptFrame], stretch: &Range<u64>) -> Result<Confusion, String> {
    let mut model = model_file::load(weights, LaneName::Fast, Budget::Unbounded).map_err(|error| error.to_string())?;
    let rule = DecisionRule::new(model.threshold.ok_or("the source weights have no threshold")?, 0.0).ok();
    let scale = model.scale;
    replay(model.scorer(), rule, scale, frames, stretch)
}

/// A bundle's decisions on a stretch.
///
/// # Errors
/// That the bundle cannot be used.
pub(crate) fn replay_bundle(bundle: &Bundle<'_>, weights: &Path, frames: &[KeptFrame], stretch: &Range<u64>) -> Result<Confusion, String> {
    let scale = model_file::load(weights, LaneName::Fast, Budget::Unbounded).map_err(|error| error.to_string())?.scale;
    let scorer = StgNfScorer::new(&bundle.parameters, &Adjacency::uniform(bundle.max_hop.into()), Lane::Fast);
    let mut scorer = HeadedScorer::new(scorer.map_err(|fault| fault.to_string())?, bundle.verdict_head());
    replay(&mut scorer, Some(bundle.decision), scale, frames, stretch)
}

fn replay<S: Scorer + ?Sized>(
    scorer: &mut S,
    rule: Option<DecisionRule>,
    scale: alfred_core::normalise::PixelScale,
    frames: &[KeptFrame],
    stretch: &Range<u64>,
) -> Result<Confusion, String> {
    let config = Config::parse("[model]\nfile = \"unused\"\n")?;
    let mut settings = config.pipeline(scorer.window_frames(), scale, None)?;
    settings.decision = rule;
    let (mut memory, mut events) = (HeapMemory::default(), Events(Vec::new()));
    let mut pipeline = Pipeline::new(settings, scorer.window_frames(), memory.lend()).map_err(|error| error.to_string())?;
    let mut poses = Box::new(PoseFrame::new(FrameIndex(0), MonotonicNs(0)));
    for frame in part(frames, &(stretch.start.saturating_sub(RUN_IN_FRAMES)..stretch.end)) {
        frame.write_poses(&mut poses);
        pipeline.step(&poses, scorer, &mut events);
    }
    pipeline.finish(&mut events);
    Ok(count(frames, stretch, &events.0))
}
