//! Events: runs of anomalous frames, and how many of them were found, by temporal intersection over union (tIoU).

use std::ops::Range;

/// The runs of `true`, in order, as half-open ranges of frames.
#[must_use]
pub fn runs(frames: &[bool]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (frame, _) in frames.iter().enumerate().filter(|(_, is_anomalous)| **is_anomalous) {
        match found.last_mut() {
            Some(run) if run.end == frame => run.end += 1,
            _ => found.push(frame..frame + 1),
        }
    }
    found
}

/// Runs as the device makes events of them (`alfred_core::event::EventRule`): at most `gap_merge_frames` normal frames between two
/// anomalous ones are bridged, and what is then shorter than `length_frames_min` is left out.
#[must_use]
pub fn merge_runs(runs: &[Range<usize>], gap_merge_frames: usize, length_frames_min: usize) -> Vec<Range<usize>> {
    let mut merged: Vec<Range<usize>> = Vec::new();
    for run in runs {
        match merged.last_mut() {
            Some(last) if run.start.saturating_sub(last.end) <= gap_merge_frames => last.end = run.end.max(last.end),
            _ => merged.push(run.clone()),
        }
    }
    merged.retain(|run| run.len() >= length_frames_min);
    merged
}

/// Frames in both ranges over frames in either, 0 to 1; 0 when both are empty.
#[must_use]
pub fn intersection_over_union(a: &Range<usize>, b: &Range<usize>) -> f64 {
    let both = a.end.min(b.end).saturating_sub(a.start.max(b.start));
    let either = a.len() + b.len() - both;
    if either == 0 { 0.0 } else { both as f64 / either as f64 }
}

/// Events found, missed and invented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventMatch {
    /// True events with a found one of their own.
    pub matched: u64,
    /// True events without.
    pub missed: u64,
    /// Found events without a true one of their own.
    pub invented: u64,
}

impl EventMatch {
    /// Adds another clip's counts.
    pub const fn merge(&mut self, other: &Self) {
        self.matched += other.matched;
        self.missed += other.missed;
        self.invented += other.invented;
    }

    /// Share of the found events that are true; `None` when none was found.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        share(self.matched, self.matched + self.invented)
    }

    /// Share of the true events that were found; `None` when there is none.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        share(self.matched, self.matched + self.missed)
    }

    /// 2 matched / (2 matched + missed + invented); `None` when there is neither a true nor a found event.
    #[must_use]
    pub fn f1(&self) -> Option<f64> {
        share(2 * self.matched, 2 * self.matched + self.missed + self.invented)
    }
}

/// Pairs true with found events, one to one, each pair with a tIoU of at least `iou_min` and at least one common frame. As many pairs as possible.
///
/// Both lists must be in order and without overlap, as [`runs`] makes them. Overlaps then never cross, so an early pair excludes at
/// most one later one, and taking the earliest pair each time gives the most pairs. Source of the figure: event-level evaluation of
/// arXiv 2604.09327.
#[must_use]
pub fn match_events(truth: &[Range<usize>], found: &[Range<usize>], iou_min: f64) -> EventMatch {
    let (mut true_index, mut found_index, mut matched) = (0, 0, 0_u64);
    while let (Some(event), Some(candidate)) = (truth.get(true_index), found.get(found_index)) {
        let overlap = intersection_over_union(event, candidate);
        if overlap > 0.0 && overlap >= iou_min {
            matched += 1;
            true_index += 1;
            found_index += 1;
        } else if event.end <= candidate.end {
            true_index += 1;
        } else {
            found_index += 1;
        }
    }
    EventMatch { matched, missed: truth.len() as u64 - matched, invented: found.len() as u64 - matched }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(text: &str) -> Vec<bool> {
        text.chars().map(|letter| letter == '#').collect()
    }

    #[test]
    fn runs_are_merged_and_short_ones_left_out() {
        let found = runs(&frames("##.#...#..####"));
        assert_eq!(found, [0..2, 3..4, 7..8, 10..14]);
        assert_eq!(merge_runs(&found, 1, 2), [0..4, 10..14]);
        assert_eq!(merge_runs(&found, 3, 1), vec![0..14]);
        assert!(runs(&[]).is_empty() && runs(&frames("....")).is_empty());
        assert_eq!(runs(&frames("##")), vec![0..2]);
    }

    #[test]
    fn one_found_event_answers_for_one_true_event() {
        let truth = runs(&frames("####......####......"));
        let all = runs(&frames("..####..#######...##"));
        assert_eq!(match_events(&truth, &all, 0.3), EventMatch { matched: 2, missed: 0, invented: 1 });
        assert_eq!(match_events(&truth, &all, 0.5), EventMatch { matched: 1, missed: 1, invented: 2 });
        let one = runs(&[true; 20]);
        let match_one = match_events(&truth, &one, 0.1);
        assert_eq!((match_one.matched, match_one.f1()), (1, Some(2.0 / 3.0)));
        assert_eq!(match_events(&truth, &[], 0.0), EventMatch { matched: 0, missed: 2, invented: 0 });
        assert_eq!(match_events(&truth, &runs(&frames("....#####")), 0.0).matched, 0, "no common frame is no match, whatever the limit");
        assert_eq!((EventMatch::default().f1(), EventMatch::default().recall()), (None, None));
    }
}
