//! A cheap embedding of windows: pose and movement in a few numbers, enough to tell acts apart.

use crate::dataset::windows::WindowSet;
use alfred_core::limits::{CHANNELS, JOINTS};

/// Joints that the embedding looks at (OpenPose-18 order): neck, elbows, wrists, hips, knees, ankles.
const JOINTS_SEEN: [usize; 11] = [1, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13];
/// Numbers per joint and coordinate: mean and mean absolute change per frame.
const STATISTICS: usize = 2;
/// Numbers per window.
pub const WIDTH: usize = JOINTS_SEEN.len() * CHANNELS * STATISTICS;
/// Movement counts so many times, to be of the size of positions (normalised by the window's height spread).
const MOVEMENT_WEIGHT: f32 = 10.0;

/// Points of one width.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    values: Vec<f32>,
}

impl Embeddings {
    /// The embeddings of a set's windows, in order.
    #[must_use]
    pub fn of(set: &WindowSet) -> Self {
        let mut out = Self { values: Vec::with_capacity(set.len() * WIDTH) };
        for window in 0..set.len() as u32 {
            out.push_window(set.window(window), set.frames());
        }
        out
    }

    fn push_window(&mut self, window: &[f32], frames: usize) {
        for channel in 0..CHANNELS {
            for joint in JOINTS_SEEN {
                let series = &window[(channel * JOINTS + joint) * frames..][..frames];
                let mean = series.iter().sum::<f32>() / frames as f32;
                let change = series.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum::<f32>() / (frames - 1).max(1) as f32;
                self.values.extend([mean, MOVEMENT_WEIGHT * change]);
            }
        }
    }

    /// Points held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / WIDTH
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A point.
    ///
    /// # Panics
    /// When there is no such point.
    #[must_use]
    pub fn get(&self, index: u32) -> &[f32] {
        &self.values[index as usize * WIDTH..][..WIDTH]
    }

    /// All points.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(WIDTH)
    }

    /// Adds a point of [`WIDTH`] numbers.
    pub fn push(&mut self, point: &[f32]) {
        debug_assert_eq!(point.len(), WIDTH);
        self.values.extend_from_slice(point);
    }
}
