//! Who is being followed: one slot per person, found by number; the stalest gives way.

use crate::event::{EventId, EventState};
use crate::score_ring::ScoreRing;
use crate::segment::PartCutter;
use crate::track_window::TrackRing;
use crate::units::{FrameIndex, PersonId};

/// Everything the data path keeps about one person.
#[derive(Clone, Debug)]
pub struct TrackSlot {
    pub(crate) person: Option<PersonId>,
    /// Newest frame in which the person was seen.
    pub(crate) last_seen: FrameIndex,
    pub(crate) ring: TrackRing,
    pub(crate) scores: ScoreRing,
    /// First frame whose decision for this person is still open.
    pub(crate) undecided: FrameIndex,
    pub(crate) is_anomalous: bool,
    pub(crate) event: EventState,
    pub(crate) cutter: Option<(EventId, PartCutter)>,
}

impl TrackSlot {
    /// A slot that follows nobody: what tables start as.
    pub const EMPTY: Self = Self {
        person: None,
        last_seen: FrameIndex(0),
        ring: TrackRing::EMPTY,
        scores: ScoreRing::EMPTY,
        undecided: FrameIndex(0),
        is_anomalous: false,
        event: EventState::IDLE,
        cutter: None,
    };

    /// Starts to follow `person`, of whom nothing is known before `undecided`.
    pub(crate) fn begin(&mut self, person: PersonId, frame: FrameIndex, undecided: FrameIndex) {
        self.person = Some(person);
        self.last_seen = frame;
        self.ring.restart();
        self.scores.restart(undecided);
        self.undecided = undecided;
        self.is_anomalous = false;
        self.event = EventState::IDLE;
        self.cutter = None;
    }
}

/// Where a person's slot is, or where it can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The person is followed here.
    Known(usize),
    /// Nobody is followed here.
    Free(usize),
    /// The table is full; this slot's person has been missing for longest.
    Stalest(usize),
    /// Every slot's person is in this very frame.
    NoRoom,
}

/// Finds `person`, else a place for it. Linear: 64 comparisons cost less than the hashing they would save.
pub(crate) fn place_of(slots: &[TrackSlot], person: PersonId, frame: FrameIndex) -> Place {
    let mut place = Place::NoRoom;
    let mut stalest = frame;
    for (index, slot) in slots.iter().enumerate() {
        match slot.person {
            Some(known) if known == person => return Place::Known(index),
            None if !matches!(place, Place::Free(_)) => place = Place::Free(index),
            Some(_) if slot.last_seen < stalest && !matches!(place, Place::Free(_)) => {
                stalest = slot.last_seen;
                place = Place::Stalest(index);
            }
            _ => {}
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec;

    #[test]
    fn a_known_person_wins_over_a_free_slot_and_a_free_slot_over_the_stalest() {
        let mut slots = vec![TrackSlot::EMPTY; 3];
        let (now, person) = (FrameIndex(10), PersonId(9));
        assert_eq!(place_of(&slots, person, now), Place::Free(0));
        slots[0].begin(PersonId(1), FrameIndex(7), FrameIndex(0));
        slots[1].begin(PersonId(2), FrameIndex(4), FrameIndex(0));
        assert_eq!(place_of(&slots, person, now), Place::Free(2));
        slots[2].begin(PersonId(3), FrameIndex(9), FrameIndex(0));
        assert_eq!(place_of(&slots, person, now), Place::Stalest(1));
        assert_eq!(place_of(&slots, PersonId(3), now), Place::Known(2));
        for slot in &mut slots {
            slot.last_seen = now;
        }
        assert_eq!(place_of(&slots, person, now), Place::NoRoom);
    }
}
