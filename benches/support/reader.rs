//! What the timed and the counted data path have in common: somebody who looks at every decision, and the proof that no frame was cheaper
//! than it should be. `benches/instruction_counts`, a package of its own, takes this file, too.

use alfred_core::counters::Counters;
use alfred_core::event::Event;
use alfred_core::pipeline::{FrameDecision, Sink, WindowScore};
use alfred_core::segment::SegmentView;
use std::hint::black_box;

/// Frames until rings, kernels and segments are full.
pub const STEADY_AFTER_FRAMES: u64 = 400;

/// Looks at everything that it is told, as somebody who writes it down would.
pub struct Reader;

impl Sink for Reader {
    fn window(&mut self, window: &WindowScore) {
        black_box(window);
    }

    fn frame(&mut self, decision: &FrameDecision) {
        black_box(decision);
    }

    fn event(&mut self, event: &Event) {
        black_box(event);
    }

    fn segment(&mut self, segment: &SegmentView<'_>) {
        black_box(segment.poses().count());
    }
}

/// Proves that each of `persons` had a window of `window_frames` in every frame after the first ones.
pub fn assert_everybody_is_scored(counters: &Counters, persons: usize, window_frames: usize) {
    let expected = persons as u64 * (counters.frames + 1 - window_frames as u64);
    assert_eq!(counters.windows_scored, expected, "every person is scored in every frame: {counters:?}");
    assert_eq!(counters.tracks_born, persons as u64, "nobody is lost");
}
