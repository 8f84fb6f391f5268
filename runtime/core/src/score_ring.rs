//! The latest frames' scores of one track, or of the camera as a whole, found by frame number.

use crate::limits::SCORE_RING_FRAMES;
use crate::units::{AnomalyScore, FrameIndex};

const MASK: u64 = SCORE_RING_FRAMES as u64 - 1;

/// Scores of the [`SCORE_RING_FRAMES`] newest frames. A frame without a score is empty, never zero.
#[derive(Clone, Debug)]
pub struct ScoreRing {
    /// NaN stands for "no score"; [`AnomalyScore`] cannot be NaN.
    scores: [f32; SCORE_RING_FRAMES],
    /// One past the newest frame that the ring covers.
    end: u64,
}

impl ScoreRing {
    /// A ring without scores.
    pub const EMPTY: Self = Self { scores: [f32::NAN; SCORE_RING_FRAMES], end: 0 };

    /// Forgets every score and starts at `first`.
    pub fn restart(&mut self, first: FrameIndex) {
        self.scores = [f32::NAN; SCORE_RING_FRAMES];
        self.end = first.0;
    }

    /// Makes room for frames up to and including `newest`; the oldest ones go.
    pub fn advance_to(&mut self, newest: FrameIndex) {
        let end = newest.0 + 1;
        if end <= self.end {
            return;
        }
        if end - self.end >= SCORE_RING_FRAMES as u64 {
            self.scores = [f32::NAN; SCORE_RING_FRAMES];
        } else {
            for frame in self.end..end {
                self.scores[(frame & MASK) as usize] = f32::NAN;
            }
        }
        self.end = end;
    }

    /// The worst score given to `frame`; `None` if it has none or the ring does not cover it.
    #[must_use]
    pub fn get(&self, frame: FrameIndex) -> Option<AnomalyScore> {
        if !self.covers(frame) {
            return None;
        }
        AnomalyScore::new(self.scores[(frame.0 & MASK) as usize]).ok()
    }

    /// Gives `score` to `frame`; the worst (highest) one stays. Returns whether it did stay. Nothing happens outside the ring.
    pub fn raise(&mut self, frame: FrameIndex, score: AnomalyScore) -> bool {
        if !self.covers(frame) {
            return false;
        }
        let place = &mut self.scores[(frame.0 & MASK) as usize];
        let stays = place.is_nan() || score.value() > *place;
        if stays {
            *place = score.value();
        }
        stays
    }

    const fn covers(&self, frame: FrameIndex) -> bool {
        frame.0 < self.end && frame.0 + SCORE_RING_FRAMES as u64 >= self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(value: f32) -> AnomalyScore {
        AnomalyScore::new(value).expect("finite")
    }

    #[test]
    fn keeps_the_worst_score_and_forgets_the_oldest_frames() {
        let mut ring = ScoreRing::EMPTY;
        ring.restart(FrameIndex(1000));
        assert_eq!(ring.get(FrameIndex(1000)), None);
        ring.advance_to(FrameIndex(1001));
        assert!(ring.raise(FrameIndex(1000), score(1.0)));
        assert!(!ring.raise(FrameIndex(1000), score(0.5)));
        assert!(ring.raise(FrameIndex(1000), score(2.0)));
        assert!(!ring.raise(FrameIndex(1002), score(9.0)), "not covered yet");
        assert_eq!(ring.get(FrameIndex(1000)), Some(score(2.0)));
        ring.advance_to(FrameIndex(1000 + 127));
        assert_eq!(ring.get(FrameIndex(1000)), Some(score(2.0)));
        ring.advance_to(FrameIndex(1000 + 128));
        assert_eq!(ring.get(FrameIndex(1000)), None);
        assert_eq!(ring.get(FrameIndex(1128)), None, "the reused place is empty");
        ring.advance_to(FrameIndex(u64::MAX / 2));
        assert_eq!(ring.get(FrameIndex(1001)), None);
    }
}
