//! Single stages as contenders, for the summary's budgets; `stages` measures all of them by criterion.

use super::contest::Contender;
use alfred_core::normalise::{PixelScale, normalise};
use alfred_core::pose::PoseFrame;
use alfred_core::scorer::Window;
use alfred_core::track_window::{TrackRing, WindowPolicy};
use alfred_core::units::{FrameIndex, MonotonicNs};
use alfred_synth::crowd::Crowd;
use alfred_wire::pose_message;
use std::hint::black_box;

/// A frame of the crowd.
pub fn frame_of(crowd: &Crowd, persons: usize) -> Box<PoseFrame> {
    let mut frame = Box::new(PoseFrame::new(FrameIndex(0), MonotonicNs(0)));
    crowd.write(persons, 0, &mut frame);
    frame
}

/// Decodes one pose message.
pub struct Decode {
    message: Vec<u8>,
    frame: Box<PoseFrame>,
}

impl Decode {
    /// A message of `persons`.
    pub fn new(crowd: &Crowd, persons: usize) -> Self {
        let (mut message, frame) = (vec![0; pose_message::MESSAGE_BYTES_MAX], frame_of(crowd, persons));
        let length = pose_message::encode(&frame, &mut message).expect("a message has room for every frame");
        message.truncate(length);
        Self { message, frame }
    }
}

impl Contender for Decode {
    fn call(&mut self) {
        pose_message::decode(black_box(&self.message), &mut self.frame).expect("our own message");
        black_box(&mut self.frame);
    }
}

/// Normalises one window, always another person's.
pub struct Normalise {
    rings: Vec<TrackRing>,
    next: usize,
    frames: usize,
    window: Box<Window>,
}

impl Normalise {
    /// Windows of `frames` detections.
    pub fn new(crowd: &Crowd, frames: usize) -> Self {
        Self { rings: crowd.rings(), next: 0, frames, window: Box::new(Window::EMPTY) }
    }
}

impl Contender for Normalise {
    fn prepare(&mut self) {
        self.next = (self.next + 1) % self.rings.len();
    }

    fn call(&mut self) {
        let ring = &self.rings[self.next];
        let span = ring.due_window(&WindowPolicy::live(self.frames)).expect("rings are full");
        normalise(ring.window(&span), self.frames, &PixelScale::SQUARE, &mut self.window).expect("people have a height");
        black_box(&mut self.window);
    }
}
