//! The device's data path with its default smoothing and room for one person: what the host computes thresholds by, and draws score curves with.

use crate::error::HostError;
use alfred_bundle::fingerprint::fingerprint;
use alfred_core::event::EventRule;
use alfred_core::limits::BATCH_WINDOWS_MAX;
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{Pipeline, PipelineConfig, PipelineMemory, Sink};
use alfred_core::pose::{PersonPose, PoseFrame};
use alfred_core::scorer::{Scorer, Window};
use alfred_core::segment::{SegmentPose, SegmentRule};
use alfred_core::smoothing::{CausalKernel, LIVE_AHEAD_FRAMES, LIVE_BACK_FRAMES, LIVE_SIGMA_FRAMES};
use alfred_core::track_table::TrackSlot;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::{FrameIndex, MonotonicNs};

/// Longest gap in a person's frames that is walked through frame by frame: a device that loses a person for longer begins the person's windows anew.
const GAP_FRAMES_MAX: u64 = 200;

/// A data path for one person at a time.
pub struct OnePerson {
    config: PipelineConfig,
    tracks: Vec<TrackSlot>,
    poses: Vec<SegmentPose>,
    windows: Vec<Window>,
}

impl OnePerson {
    /// For a device that cuts windows by `window` and divides pixels by `scale`.
    ///
    /// # Errors
    /// [`HostError::Argument`] when the default smoothing is none.
    pub fn new(window: WindowPolicy, scale: PixelScale) -> Result<Self, HostError> {
        let smoothing = CausalKernel::gaussian(LIVE_SIGMA_FRAMES, LIVE_BACK_FRAMES, LIVE_AHEAD_FRAMES);
        let smoothing = smoothing.map_err(|error| HostError::argument("smoothing", error))?;
        let config = PipelineConfig {
            window,
            scale,
            smoothing,
            decision: None,
            event: EventRule { gap_merge_frames: 0, length_frames_min: 1, update_frames: 1 },
            segment: SegmentRule { pre_roll_frames: 0, post_roll_frames: 0 },
            idle_frames_max: None,
        };
        Ok(Self {
            config,
            tracks: vec![TrackSlot::EMPTY; 2],
            poses: vec![SegmentPose::EMPTY; 1],
            windows: vec![Window::EMPTY; BATCH_WINDOWS_MAX],
        })
    }

    /// What a bundle for such a device must be made for.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.config)
    }

    /// Takes a person's poses, by rising frame number, through the data path; `sink` gets what it finds. Frames without the person came, too.
    ///
    /// # Errors
    /// [`HostError::Argument`] when the scorer's windows are of another length.
    pub fn run<K: Sink>(
        &mut self,
        poses: impl IntoIterator<Item = (u64, PersonPose)>,
        scorer: &mut dyn Scorer,
        sink: &mut K,
    ) -> Result<(), HostError> {
        let memory = PipelineMemory { tracks: &mut self.tracks, poses: &mut self.poses, windows: &mut self.windows };
        let pipeline = Pipeline::new(self.config.clone(), scorer.window_frames(), memory);
        let mut pipeline = pipeline.map_err(|error| HostError::argument("the data path", error))?;
        let mut next = None;
        let mut frame = PoseFrame::new(FrameIndex(0), MonotonicNs(0));
        for (number, pose) in poses {
            let from = next.filter(|next| number.saturating_sub(*next) <= GAP_FRAMES_MAX).unwrap_or(number);
            for absent in from..number {
                frame.persons.clear();
                frame.frame = FrameIndex(absent);
                pipeline.step(&frame, scorer, sink);
            }
            frame.persons.clear();
            frame.frame = FrameIndex(number);
            // One person has room.
            let _ = frame.persons.push(pose);
            pipeline.step(&frame, scorer, sink);
            next = Some(number + 1);
        }
        pipeline.finish(sink);
        Ok(())
    }
}
