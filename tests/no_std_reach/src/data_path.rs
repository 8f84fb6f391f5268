//! Some people walk through five seconds of frames: each frame is a pose message that is read, scored and decided.
//!
//! JUSTIFICATION of `unsafe`: memory without a heap is a `static`, and one that takes no flash is initialised piece by piece.

use crate::exact_lane::{Numbers, model};
use alfred_core::decision::DecisionRule;
use alfred_core::event::{Event, EventRule};
use alfred_core::limits::{SEGMENT_POSES_MAX, TRACKS_MAX};
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{FrameDecision, Pipeline, PipelineConfig, PipelineMemory, Sink};
use alfred_core::pose::{KeyPoint, PersonPose, PoseFrame};
use alfred_core::scorer::{Scorer, Window};
use alfred_core::segment::{SegmentPose, SegmentRule, SegmentView};
use alfred_core::smoothing::CausalKernel;
use alfred_core::track_table::TrackSlot;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::{FrameIndex, MonotonicNs, PersonId, Threshold};
use alfred_core::verdict_head::{HeadedScorer, VerdictHead};
use alfred_models::stg_nf::scorer::Lane;
use alfred_wire::output::{EventMessage, FrameMessage};
use alfred_wire::pose_message::{self, HEADER_BYTES, PERSON_BYTES};
use core::mem::MaybeUninit;

/// People followed at a time, and poses kept around events: a corridor's camera, or everything.
const TRACKS: usize = if cfg!(feature = "full") { TRACKS_MAX } else { 8 };
const POSES: usize = if cfg!(feature = "full") { SEGMENT_POSES_MAX } else { 8 * 100 };
const BATCH: usize = 1;
const PERSONS: usize = 4;
const FRAMES: u64 = 150;
/// Bytes of the longest output message.
const MESSAGE_BYTES: usize = 128;

/// Everything that lives as long as the program.
struct Memory {
    tracks: [TrackSlot; TRACKS],
    poses: [SegmentPose; POSES],
    windows: [Window; BATCH],
    frame: PoseFrame,
    message: [u8; HEADER_BYTES + PERSONS * PERSON_BYTES],
}

/// Not initialised here: an empty track is no row of zeros, and would lie in flash once for each of them.
static mut MEMORY: MaybeUninit<Memory> = MaybeUninit::uninit();

/// Empties the memory, piece by piece.
///
/// # Safety
/// `memory` points to writable memory that nobody else uses.
unsafe fn initialise(memory: *mut Memory) {
    // SAFETY: the caller's promise; each piece is written whole, and nothing is read.
    unsafe {
        for place in 0..TRACKS {
            (&raw mut (*memory).tracks[place]).write(TrackSlot::EMPTY);
        }
        for place in 0..POSES {
            (&raw mut (*memory).poses[place]).write(SegmentPose::EMPTY);
        }
        for place in 0..BATCH {
            (&raw mut (*memory).windows[place]).write(Window::EMPTY);
        }
        (&raw mut (*memory).frame).write(PoseFrame::new(FrameIndex(0), MonotonicNs(0)));
        (&raw mut (*memory).message).write([0; HEADER_BYTES + PERSONS * PERSON_BYTES]);
    }
}

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    /// Windows that have a score.
    pub windows_scored: u64,
    /// Events that began.
    pub events: u64,
    /// Bytes of messages for the host.
    pub bytes_out: u64,
    failed: u64,
}

impl Outcome {
    /// Whether every person was scored in every frame from the first full window on, and every message found room.
    pub fn is_as_expected(&self) -> bool {
        self.windows_scored == PERSONS as u64 * (FRAMES - 23) && self.events > 0 && self.failed == 0
    }

    fn count(&mut self, written: Result<&mut [u8], postcard::Error>) {
        match written {
            Ok(bytes) => self.bytes_out += bytes.len() as u64,
            Err(_) => self.failed += 1,
        }
    }
}

impl Sink for Outcome {
    fn frame(&mut self, decision: &FrameDecision) {
        self.count(postcard::to_slice(&FrameMessage::from(decision), &mut [0; MESSAGE_BYTES]));
    }
    fn event(&mut self, event: &Event) {
        self.count(postcard::to_slice(&EventMessage::new(event, 0.0), &mut [0; MESSAGE_BYTES]));
    }
    fn segment(&mut self, segment: &SegmentView<'_>) {
        self.bytes_out += segment.poses().map(|pose| pose.keypoints().len() as u64).sum::<u64>();
    }
}

/// Runs the five seconds.
pub fn run() -> Outcome {
    let memory = (&raw mut MEMORY).cast::<Memory>();
    // SAFETY: this is the only place that names it, the program calls this once, on its only thread, and every piece is initialised.
    let memory = unsafe {
        initialise(memory);
        &mut *memory
    };
    settled(memory).unwrap_or_default()
}

fn settled(memory: &mut Memory) -> Option<Outcome> {
    let mut scorer = HeadedScorer::new(model(Lane::Fast)?, VerdictHead::from_bytes(&[]).ok());
    let config = PipelineConfig {
        window: WindowPolicy::live(scorer.window_frames()),
        scale: PixelScale::SQUARE,
        smoothing: CausalKernel::gaussian(9.5, 28, 10).ok()?,
        // Below every score: everybody is anomalous, so that events and segments are part of it.
        decision: Some(DecisionRule::new(Threshold::new(-1e6).ok()?, 0.0).ok()?),
        event: EventRule { gap_merge_frames: 15, length_frames_min: 6, update_frames: 30 },
        segment: SegmentRule { pre_roll_frames: 45, post_roll_frames: 45 },
        idle_frames_max: Some(120),
    };
    let Memory { tracks, poses, windows, frame, message } = memory;
    let mut pipeline = Pipeline::new(config, scorer.window_frames(), PipelineMemory { tracks, poses, windows }).ok()?;
    let (mut outcome, mut numbers) = (Outcome::default(), Numbers(3));
    for number in 0..FRAMES {
        write_frame(frame, number, &mut numbers);
        let length = pose_message::encode(frame, message)?;
        pose_message::decode(&message[..length], frame).ok()?;
        pipeline.step(frame, &mut scorer, &mut outcome);
    }
    pipeline.finish(&mut outcome);
    outcome.windows_scored = pipeline.counters().windows_scored;
    outcome.events = pipeline.counters().events;
    Some(outcome)
}

fn write_frame(frame: &mut PoseFrame, number: u64, numbers: &mut Numbers) {
    frame.frame = FrameIndex(number);
    frame.captured = MonotonicNs(1 + number * 33_333_333);
    frame.persons.clear();
    for id in 0..PERSONS as u32 {
        let mut person = PersonPose { id: PersonId(id), score: 1.0, ..PersonPose::EMPTY };
        for (place, keypoint) in person.keypoints.iter_mut().enumerate() {
            let x = 150.0 * id as f32 + number as f32 + 10.0 * numbers.next();
            *keypoint = KeyPoint { x: x + 5.0 * (place % 3) as f32, y: 100.0 + 10.0 * place as f32 + numbers.next(), confidence: 0.9 };
        }
        // A frame has room for more people than walk here.
        let _ = frame.persons.push(person);
    }
}
