//! The device's data path in a program that has no heap: both message forms in, every stage, native scorer with verdict head, output
//! messages.
//!
//! No `std`, no `#[global_allocator]`: if anything below named `alloc`, this would not build ("no global memory allocator found"). The
//! entry point is exported, so that the calls are really compiled and not only type-checked. `tests/no_alloc.rs` builds it.
//!
//! JUSTIFICATION of `unsafe` in this file: memory without a heap is a `static`, and an exported symbol is an unsafe attribute since
//! edition 2024. Nothing of it is shipped.
#![no_std]

// `--cfg feature="must_fail"`: the control experiment. Naming the crate is enough.
#[cfg(feature = "must_fail")]
extern crate alloc;

use alfred_core::decision::DecisionRule;
use alfred_core::event::{Event, EventRule};
use alfred_core::limits::{BATCH_WINDOWS_MAX, TRACKS_MAX};
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{FrameDecision, Pipeline, PipelineConfig, PipelineMemory, Sink};
use alfred_core::pose::PoseFrame;
use alfred_core::scorer::{Scorer, Window};
use alfred_core::segment::{SegmentPose, SegmentRule, SegmentView};
use alfred_core::smoothing::CausalKernel;
use alfred_core::track_table::TrackSlot;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::{FrameIndex, MonotonicNs, Threshold};
use alfred_core::verdict_head::{HeadedScorer, VerdictHead};
use alfred_models::stg_nf::adjacency::Adjacency;
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape};
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_wire::output::{EventMessage, FrameMessage};
use alfred_wire::{pose_line, pose_message};

const FRAMES: usize = 24;
const POSES: usize = 1024;
/// Bytes of the longest output message.
const MESSAGE_BYTES: usize = 128;

struct Memory {
    tracks: [TrackSlot; TRACKS_MAX],
    poses: [SegmentPose; POSES],
    windows: [Window; BATCH_WINDOWS_MAX],
    frame: PoseFrame,
}

static mut MEMORY: Memory = Memory {
    tracks: [TrackSlot::EMPTY; TRACKS_MAX],
    poses: [SegmentPose::EMPTY; POSES],
    windows: [Window::EMPTY; BATCH_WINDOWS_MAX],
    frame: PoseFrame::new(FrameIndex(0), MonotonicNs(0)),
};

/// Writes messages as the link would carry them, and counts bytes and what did not fit.
#[derive(Default)]
struct Link {
    bytes: usize,
    failed: usize,
}

impl Link {
    fn count(&mut self, written: Result<&mut [u8], postcard::Error>) {
        match written {
            Ok(bytes) => self.bytes += bytes.len(),
            Err(_) => self.failed += 1,
        }
    }
}

impl Sink for Link {
    fn frame(&mut self, decision: &FrameDecision) {
        self.count(postcard::to_slice(&FrameMessage::from(decision), &mut [0; MESSAGE_BYTES]));
    }
    fn event(&mut self, event: &Event) {
        self.count(postcard::to_slice(&EventMessage::new(event, 0.0), &mut [0; MESSAGE_BYTES]));
    }
    fn segment(&mut self, segment: &SegmentView<'_>) {
        self.bytes += segment.poses().map(|pose| pose.keypoints().len()).sum::<usize>();
    }
}

/// Reads the message both ways, scores it, and returns the bytes that went out; negative when something was refused.
///
/// # Safety
/// `message` points to `length` readable bytes, and no other call of this function runs at the same time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alfred_no_alloc_proof(message: *const u8, length: usize) -> i64 {
    let memory = &raw mut MEMORY;
    // SAFETY: the caller promises both.
    let (message, memory) = unsafe { (core::slice::from_raw_parts(message, length), &mut *memory) };
    run(message, memory).map_or(-1, |bytes| bytes as i64)
}

fn run(message: &[u8], memory: &mut Memory) -> Option<usize> {
    let scorer = StgNfScorer::new(&StgNfParameters::zero(StgNfShape::new(FRAMES).ok()?), &Adjacency::published(), Lane::Fast).ok()?;
    let mut scorer = HeadedScorer::new(scorer, VerdictHead::from_bytes(message).ok());
    let config = PipelineConfig {
        window: WindowPolicy::live(FRAMES),
        scale: PixelScale::SQUARE,
        smoothing: CausalKernel::gaussian(9.5, 28, 10).ok()?,
        decision: Some(DecisionRule::new(Threshold::new(0.0).ok()?, 0.0).ok()?),
        event: EventRule { gap_merge_frames: 15, length_frames_min: 6, update_frames: 30 },
        segment: SegmentRule { pre_roll_frames: 45, post_roll_frames: 45 },
        idle_frames_max: Some(120),
    };
    let Memory { tracks, poses, windows, frame } = memory;
    let mut pipeline = Pipeline::new(config, scorer.window_frames(), PipelineMemory { tracks, poses, windows }).ok()?;
    let mut link = Link::default();
    if pose_message::decode(message, frame).is_ok() {
        pipeline.step(frame, &mut scorer, &mut link);
    }
    let mut again = [0; pose_message::HEADER_BYTES + pose_message::PERSON_BYTES];
    link.bytes += pose_message::encode(frame, &mut again).unwrap_or(0);
    if pose_line::decode(message, frame).is_ok() {
        pipeline.step(frame, &mut scorer, &mut link);
    }
    pipeline.finish(&mut link);
    (link.failed == 0).then_some(link.bytes + pipeline.counters().values().len())
}

#[panic_handler]
fn stop(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
