//! Windows that belong together: one person's run of windows without a long break. One verdict can label such an event as a whole, and
//! no event is split between training, validation and report.

use crate::dataset::windows::Origin;

/// Longest break within an event, in frames: two windows at stride 6, with room for a lost detection.
pub const GAP_FRAMES_MAX: u32 = 18;

/// Windows of one question about an event: more would be seconds in which too much happens for one verdict. At stride 6 these span two seconds.
pub const QUESTION_WINDOWS_MAX: usize = 6;

/// Cuts events into runs of at most `windows_max` (at least 1) windows, in order.
#[must_use]
pub fn questions(events: &[Vec<u32>], windows_max: usize) -> Vec<Vec<u32>> {
    events.iter().flat_map(|event| event.chunks(windows_max.max(1))).map(<[u32]>::to_vec).collect()
}

/// Groups some windows (by rising number) into events: same clip, same person, centres at most `gap_frames_max` frames apart.
///
/// `origins` are those of all windows; numbers beyond them are left out.
#[must_use]
pub fn group(windows: &[u32], origins: &[Origin], gap_frames_max: u32) -> Vec<Vec<u32>> {
    let mut known: Vec<(Origin, u32)> =
        windows.iter().filter_map(|&window| origins.get(window as usize).map(|origin| (*origin, window))).collect();
    known.sort_by_key(|(origin, window)| (origin.clip, origin.person, origin.centre, *window));
    let mut events: Vec<Vec<u32>> = known
        .chunk_by(|(before, _), (next, _)| {
            (before.clip, before.person) == (next.clip, next.person) && next.centre - before.centre <= gap_frames_max
        })
        .map(|event| event.iter().map(|(_, window)| *window).collect())
        .collect();
    // In the order in which the stream brings them.
    events.sort_by_key(|event| event.first().and_then(|&window| origins.get(window as usize)).map(|origin| (origin.clip, origin.centre)));
    events
}
