//! One counter for every loss and every decided odd case, so that nothing vanishes in silence.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counts since start-up; they only rise.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Names, in the order of [`Counters::values`].
            pub const NAMES: [&'static str; [$(stringify!($name)),+].len()] = [$(stringify!($name)),+];

            /// What each counter means and what becomes of the data, in the order of [`Counters::NAMES`].
            pub const MEANINGS: [&'static str; Self::NAMES.len()] = [$(concat!($($doc),+)),+];

            /// The counts, in the order of [`Counters::NAMES`].
            #[must_use]
            pub const fn values(&self) -> [u64; Self::NAMES.len()] {
                [$(self.$name),+]
            }
        }
    };
}

counters! {
    /// Frames that entered the data path.
    frames,
    /// Frames whose number equals the newest one's: dropped.
    frames_duplicate,
    /// Frames whose number lies below the newest one's: dropped.
    frames_out_of_order,
    /// Frames whose number lies above the largest one allowed: dropped.
    frames_out_of_range,
    /// Frame numbers that never came (the source skipped them): treated as frames without anybody.
    frames_missing,
    /// Jumps of the frame number beyond the limit: all tracks and events ended, then a new start.
    frame_gaps,
    /// Sources that began anew at a lower frame number: all tracks and events ended, then a new start.
    source_restarts,
    /// Capture times that ran backwards or leapt ahead between neighbouring frames; scored all the same, order comes from frame numbers.
    clock_steps,
    /// Person-poses that entered the data path.
    persons,
    /// Persons beyond the table's capacity in one frame: dropped.
    persons_over_limit,
    /// Second and further persons with the same number in one frame: dropped, the first one stays.
    persons_duplicate_id,
    /// Persons without a single detected key-point: dropped.
    persons_without_keypoints,
    /// Key-points with NaN or infinite numbers: taken as undetected, (0, 0, 0).
    keypoints_not_finite,
    /// Persons that got a fresh track.
    tracks_born,
    /// Stalest tracks that gave way to a new person because the table was full.
    tracks_evicted,
    /// Tracks that ended because their person was not seen any more.
    tracks_ended,
    /// Windows begun anew because the person was missing for too many frames.
    tracks_restarted_gap,
    /// Windows begun anew because the same number turned up elsewhere (id reuse).
    tracks_restarted_jump,
    /// Windows not scored because more than two of their frames are missing.
    windows_with_gaps,
    /// Windows not scored because the detector's mean score is too low.
    windows_low_confidence,
    /// Windows not scored because all their y coordinates are equal, or are no numbers.
    windows_degenerate,
    /// Windows scored.
    windows_scored,
    /// Windows whose model output was NaN or infinite: no score.
    scores_not_finite,
    /// Windows on which the engine failed or left its memory: no score.
    scores_engine_fault,
    /// Scores whose frame was decided already: given to the oldest undecided frame.
    scores_late,
    /// Frames decided.
    frames_decided,
    /// Frames decided as anomalous.
    frames_anomalous,
    /// Events announced.
    events,
    /// Runs of anomalous frames shorter than an event's minimum: no event.
    events_too_short,
    /// Segment parts handed out.
    segments,
    /// Segment parts whose oldest poses had been overwritten already.
    segments_incomplete,
    /// Segment parts handed out before their post-roll was complete.
    segments_cut_short,
    /// Coordinates beyond a segment's range of ±8,191 pixels: clamped in the segment, not in the score.
    segment_coordinates_clamped,
}

#[cfg(test)]
mod tests {
    use super::Counters;

    #[test]
    fn names_and_values_keep_the_same_order() {
        let counters = Counters { frames: 1, segments: 7, ..Counters::default() };
        let values = counters.values();
        assert_eq!(Counters::NAMES[0], "frames");
        assert_eq!(values[0], 1);
        let place = Counters::NAMES.iter().position(|name| *name == "segments").expect("is there");
        assert_eq!(values[place], 7);
        assert!(Counters::MEANINGS.iter().all(|meaning| meaning.ends_with('.')));
    }
}
