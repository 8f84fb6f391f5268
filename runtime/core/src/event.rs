//! A track's anomalous frames become events: gaps merged, short ones left out, with a life of new, update, end.

use crate::units::{AnomalyScore, FrameIndex, PersonId};

/// How anomalous frames are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRule {
    /// Normal frames between two anomalous ones that still belong to the same event.
    pub gap_merge_frames: u32,
    /// Frames from the first to the last anomalous one below which there is no event; at least 1.
    pub length_frames_min: u32,
    /// Frames between two updates of a lasting event; at least 1.
    pub update_frames: u32,
}

/// Number of an event; rises by one per announced event of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId(pub u64);

/// Why an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The score fell and stayed below the threshold.
    ScoreFell,
    /// The person was not seen any more.
    PersonLeft,
    /// The person's number went to somebody else.
    PersonChanged,
    /// The track gave way to a new person.
    TrackEvicted,
    /// The stream ended or began anew.
    StreamEnded,
}

/// Where in its life an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// First message: the event has reached its minimum length.
    New,
    /// The event goes on.
    Update,
    /// Last message.
    End(EndReason),
}

/// One message about one event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// The event's number, the same in all its messages.
    pub id: EventId,
    /// Where in its life it is.
    pub kind: EventKind,
    /// The person.
    pub person: PersonId,
    /// First anomalous frame.
    pub first: FrameIndex,
    /// Latest anomalous frame.
    pub last: FrameIndex,
    /// Highest smoothed score so far.
    pub peak: AnomalyScore,
    /// Frame of the highest smoothed score.
    pub peak_frame: FrameIndex,
    /// Mean of the smoothed scores of the anomalous frames.
    pub mean: AnomalyScore,
    /// Anomalous frames so far.
    pub anomalous_frames: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    id: Option<EventId>,
    first: FrameIndex,
    last: FrameIndex,
    peak: AnomalyScore,
    peak_frame: FrameIndex,
    sum: f64,
    anomalous_frames: u64,
    told: FrameIndex,
}

/// State of one track.
#[derive(Clone, Copy, Debug)]
pub struct EventState {
    run: Option<Run>,
}

/// What a frame, or a track's end, meant for a track's event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EventStep {
    /// Nothing to tell.
    Quiet,
    /// A message.
    Told(Event),
    /// A run of anomalous frames ended below the minimum length.
    TooShort,
}

impl EventState {
    /// No anomalous frame so far.
    pub const IDLE: Self = Self { run: None };

    /// Takes the decision of the next frame. `next_id` numbers a new event and is raised when it is used.
    pub fn step(
        &mut self,
        rule: &EventRule,
        person: PersonId,
        frame: FrameIndex,
        anomalous: Option<AnomalyScore>,
        next_id: &mut EventId,
    ) -> EventStep {
        let Some(score) = anomalous else {
            return match self.run {
                Some(run) if frame.0.saturating_sub(run.last.0) > u64::from(rule.gap_merge_frames) => {
                    self.end(person, EndReason::ScoreFell)
                }
                _ => EventStep::Quiet,
            };
        };
        let run = self.run.get_or_insert(Run {
            id: None,
            first: frame,
            last: frame,
            peak: score,
            peak_frame: frame,
            sum: 0.0,
            anomalous_frames: 0,
            told: frame,
        });
        run.last = frame;
        run.sum += f64::from(score.value());
        run.anomalous_frames += 1;
        if score > run.peak {
            (run.peak, run.peak_frame) = (score, frame);
        }
        let length = run.last.0 - run.first.0 + 1;
        if run.id.is_none() && length >= u64::from(rule.length_frames_min) {
            run.id = Some(*next_id);
            run.told = frame;
            next_id.0 += 1;
            return message(run, person, EventKind::New);
        }
        if run.id.is_some() && frame.0 - run.told.0 >= u64::from(rule.update_frames.max(1)) {
            run.told = frame;
            return message(run, person, EventKind::Update);
        }
        EventStep::Quiet
    }

    /// Ends whatever goes on.
    pub fn end(&mut self, person: PersonId, reason: EndReason) -> EventStep {
        match self.run.take() {
            None => EventStep::Quiet,
            Some(run) if run.id.is_none() => EventStep::TooShort,
            Some(run) => message(&run, person, EventKind::End(reason)),
        }
    }
}

fn message(run: &Run, person: PersonId, kind: EventKind) -> EventStep {
    // A run has at least one frame; the mean of finite scores is finite.
    let mean = AnomalyScore::new((run.sum / run.anomalous_frames as f64) as f32).unwrap_or(run.peak);
    let Some(id) = run.id else { return EventStep::Quiet };
    EventStep::Told(Event {
        id,
        kind,
        person,
        first: run.first,
        last: run.last,
        peak: run.peak,
        peak_frame: run.peak_frame,
        mean,
        anomalous_frames: run.anomalous_frames,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    const RULE: EventRule = EventRule { gap_merge_frames: 2, length_frames_min: 3, update_frames: 4 };

    /// Runs a string of frames ('#' anomalous, '.' normal) and returns what was told.
    fn run(frames: &str) -> Vec<(u64, EventStep)> {
        let (mut state, mut next) = (EventState::IDLE, EventId(0));
        let mut told = Vec::new();
        for (frame, letter) in frames.chars().enumerate() {
            let frame = frame as u64;
            let score = (letter == '#').then(|| AnomalyScore::new(frame as f32).expect("finite"));
            let step = state.step(&RULE, PersonId(7), FrameIndex(frame), score, &mut next);
            if step != EventStep::Quiet {
                told.push((frame, step));
            }
        }
        told
    }

    fn kinds(frames: &str) -> Vec<(u64, Option<EventKind>)> {
        let kind = |step| if let EventStep::Told(event) = step { Some(event.kind) } else { None };
        run(frames).into_iter().map(|(frame, step)| (frame, kind(step))).collect()
    }

    #[test]
    fn short_runs_are_no_events_but_are_told() {
        assert_eq!(kinds(".##....."), [(5, None)]);
        assert_eq!(run(".##.....")[0].1, EventStep::TooShort);
    }

    #[test]
    fn gaps_up_to_the_limit_are_merged() {
        let ended = Some(EventKind::End(EndReason::ScoreFell));
        assert_eq!(kinds("#..#...."), [(3, Some(EventKind::New)), (6, ended)]);
        assert_eq!(kinds("###...###...."), [(2, Some(EventKind::New)), (5, ended), (8, Some(EventKind::New)), (11, ended)]);
    }

    #[test]
    fn a_lasting_event_is_updated_and_keeps_its_figures() {
        let told = run("..#########....");
        let kinds: Vec<u64> = told.iter().map(|(frame, _)| *frame).collect();
        assert_eq!(kinds, [4, 8, 13]);
        let EventStep::Told(end) = told[2].1 else { panic!("an end") };
        assert_eq!((end.first, end.last, end.peak_frame, end.anomalous_frames), (FrameIndex(2), FrameIndex(10), FrameIndex(10), 9));
        assert_eq!((end.peak.value(), end.mean.value(), end.id), (10.0, 6.0, EventId(0)));
    }
}
