//! The whole data path on one second of frames, every person scored in every frame.

use crate::Case;
use crate::people;
use crate::reader::{Reader, STEADY_AFTER_FRAMES, assert_everybody_is_scored};
use crate::windows::stg_nf_fast;
use alfred_core::decision::DecisionRule;
use alfred_core::event::EventRule;
use alfred_core::limits::{BATCH_WINDOWS_MAX, SEGMENT_POSES_MAX, TRACKS_MAX};
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{Pipeline, PipelineConfig, PipelineMemory};
use alfred_core::pose::PoseFrame;
use alfred_core::scorer::Window;
use alfred_core::segment::{SegmentPose, SegmentRule};
use alfred_core::smoothing::CausalKernel;
use alfred_core::track_table::TrackSlot;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::Threshold;
use std::hint::black_box;

/// Detections of a window of our own model.
const WINDOW_FRAMES: usize = 24;
/// One second: `benches/count.sh` divides by it, and the name says so.
const COUNTED_FRAMES: u64 = 30;
/// A little above what most windows of these people get from these weights: some events, as on a device.
const THRESHOLD: f32 = 6.12;

/// Frames with one person and with sixteen.
pub fn cases() -> Vec<Case> {
    [1, 16].into_iter().map(case).collect()
}

/// The device's defaults.
fn settings() -> PipelineConfig {
    PipelineConfig {
        window: WindowPolicy::live(WINDOW_FRAMES),
        scale: PixelScale::SQUARE,
        smoothing: CausalKernel::gaussian(9.5, 28, 10).expect("a kernel within its limits"),
        decision: Some(DecisionRule::new(Threshold::new(THRESHOLD).expect("finite"), 0.0).expect("no margin")),
        event: EventRule { gap_merge_frames: 15, length_frames_min: 6, update_frames: 30 },
        segment: SegmentRule { pre_roll_frames: 45, post_roll_frames: 45 },
        idle_frames_max: Some(120),
    }
}

fn case(persons: usize) -> Case {
    // Live as long as the process; a struct that lends to itself would be the alternative.
    let memory = PipelineMemory {
        tracks: vec![TrackSlot::EMPTY; TRACKS_MAX].leak(),
        poses: vec![SegmentPose::EMPTY; SEGMENT_POSES_MAX].leak(),
        windows: vec![Window::EMPTY; BATCH_WINDOWS_MAX].leak(),
    };
    let mut scorer = stg_nf_fast();
    let mut pipeline = Pipeline::new(settings(), WINDOW_FRAMES, memory).expect("the settings are valid");
    let mut next = 0;
    while next < STEADY_AFTER_FRAMES {
        pipeline.step(&people::frame(persons, next), &mut scorer, &mut Reader);
        next += 1;
    }
    // Made beforehand: making frames is somebody else's work. The first half is for the call that is not counted.
    let frames: Vec<Box<PoseFrame>> = (next..next + 2 * COUNTED_FRAMES).map(|number| people::frame(persons, number)).collect();
    let mut waiting = frames.into_iter();
    let plural = if persons == 1 { "" } else { "s" };
    Case::new(format!("{COUNTED_FRAMES} frames of {persons} person{plural}"), move || {
        for frame in waiting.by_ref().take(COUNTED_FRAMES as usize) {
            // Kept: giving memory back is no work of the data path.
            pipeline.step(black_box(Box::leak(frame)), &mut scorer, &mut Reader);
        }
        assert_everybody_is_scored(pipeline.counters(), persons, WINDOW_FRAMES);
    })
}
