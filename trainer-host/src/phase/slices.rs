//! K slices: a camera's stream, cut in time order.

use std::ops::Range;

/// Slices that the paper cuts a camera's stream into.
pub const SLICES_PUBLISHED: usize = 9;

/// Cuts `count` items in time order into `slices` consecutive parts whose sizes differ by one at most, the longer ones first. Parts may be
/// empty when there are fewer items than slices; 0 slices give none.
#[must_use]
pub fn cut(count: usize, slices: usize) -> Vec<Range<usize>> {
    (0..slices).map(|slice| (count * slice).div_ceil(slices)..(count * (slice + 1)).div_ceil(slices)).collect()
}
