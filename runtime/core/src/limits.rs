//! Every capacity of the data path, and the relations between them.
//!
//! A limit is raised here and nowhere else. `alfred-edge memory-map` prints what each one costs.

/// Key-points of one person as pose estimators deliver them (COCO-17 order).
pub const KEYPOINTS: usize = 17;

/// Joints of one person as the models see them (OpenPose-18 order: COCO-17 plus the neck).
pub const JOINTS: usize = 18;

/// Coordinates of a joint that enter a model: x and y.
pub const CHANNELS: usize = 2;

/// Persons of one frame. Further persons of a frame are dropped and counted (`persons_over_limit`).
pub const PERSONS_MAX: usize = 64;

/// Persons followed at the same time. A new one evicts the stalest, counted (`tracks_evicted`).
pub const TRACKS_MAX: usize = 64;

/// Longest window, in detections: SPARTA looks at 24 source and 24 target poses.
pub const WINDOW_FRAMES_MAX: usize = 48;

/// Shortest window, in detections, that a scorer may ask for.
pub const WINDOW_FRAMES_MIN: usize = 4;

/// Frames that may be missing inside a window (STG-NF's rule: at least `window_frames - 2` of the frame numbers lie in
/// `first..first + window_frames`).
pub const WINDOW_MISSING_FRAMES_MAX: usize = 2;

/// Detections kept per person: the longest window, and one more for the published rule that skips a track's last window.
pub const DETECTIONS_PER_TRACK: usize = WINDOW_FRAMES_MAX + 1;

/// Floats of the largest normalised window.
pub const WINDOW_VALUES_MAX: usize = CHANNELS * JOINTS * WINDOW_FRAMES_MAX;

/// Windows that one call of a scorer receives at most. Frames with more persons are scored in several calls.
pub const BATCH_WINDOWS_MAX: usize = 16;

/// Frames before the decided one that causal smoothing may use.
pub const SMOOTHING_BACK_FRAMES_MAX: usize = 63;

/// Frames after the decided one that causal smoothing may wait for; part of the declared delay.
pub const SMOOTHING_AHEAD_FRAMES_MAX: usize = 30;

/// Longest declared delay in frames: a score belongs to the middle of its window (half a window and the missing frames late),
/// and smoothing may look ahead.
pub const DELAY_FRAMES_MAX: usize = WINDOW_FRAMES_MAX / 2 + WINDOW_MISSING_FRAMES_MAX + SMOOTHING_AHEAD_FRAMES_MAX;

/// Frames of scores kept per track and per camera, a power of two.
pub const SCORE_RING_FRAMES: usize = 128;

/// A jump of the frame number by more than this ends every track and event and starts anew (`frame_gaps`).
pub const FRAME_GAP_MAX: u64 = 256;

/// Largest frame number: what a JSON number holds exactly; 9.5 million years at 30 frames per second.
pub const FRAME_INDEX_MAX: u64 = 1 << 53;

/// So many frames in a row with numbers below the newest one mean that the source was restarted (`source_restarts`).
pub const OUT_OF_ORDER_RUN_MAX: u32 = 30;

/// Person-poses kept for pre-roll and segments. The oldest go first; a segment that lost some says so.
pub const SEGMENT_POSES_MAX: usize = 4096;

/// Frames of one segment part, pre-roll included, post-roll not; longer events are cut into several parts.
pub const SEGMENT_PART_FRAMES_MAX: u32 = 150;

/// Pre-roll and post-roll of a segment, each, in frames.
pub const SEGMENT_ROLL_FRAMES_MAX: u32 = 90;

/// Segments that wait for their post-roll at the same time. Beyond it the oldest is sent early (`segments_cut_short`).
pub const SEGMENTS_PENDING_MAX: usize = 64;

/// Quarter pixels: the grid on which segments store coordinates (error at most 1/8 pixel, range ±8,191 pixels).
pub const SEGMENT_UNITS_PER_PIXEL: f32 = 4.0;

const _: () = {
    assert!(SCORE_RING_FRAMES.is_power_of_two());
    // A frame's own scores and all that smoothing reads must still be there when it is decided.
    assert!(SCORE_RING_FRAMES > SMOOTHING_BACK_FRAMES_MAX + DELAY_FRAMES_MAX);
    // Or one crowded frame would evict its own persons.
    assert!(PERSONS_MAX <= TRACKS_MAX);
    assert!(BATCH_WINDOWS_MAX <= TRACKS_MAX);
    assert!(WINDOW_FRAMES_MIN > WINDOW_MISSING_FRAMES_MAX);
    assert!(JOINTS == KEYPOINTS + 1);
    // One event of the most persons must fit while it waits for its post-roll.
    assert!(SEGMENTS_PENDING_MAX >= TRACKS_MAX);
    assert!(FRAME_GAP_MAX >= SCORE_RING_FRAMES as u64);
    // At 8 persons a part with its post-roll fits, whatever the delay.
    assert!(SEGMENT_POSES_MAX >= 8 * (SEGMENT_PART_FRAMES_MAX as usize + SEGMENT_ROLL_FRAMES_MAX as usize + DELAY_FRAMES_MAX));
    // The pre-roll alone never makes a part.
    assert!(SEGMENT_ROLL_FRAMES_MAX < SEGMENT_PART_FRAMES_MAX);
};
