//! Which windows of normal people the host gets to train on: a thin, even choice under a byte budget per hour.
//!
//! A window is taken when its score lies well below the threshold (pseudo-normal: as far as the model can tell), and the budget
//! ([`ByteBudget`]) has room. The poses before the window may go with it, so that the host can smooth scores as the device does. After each one a drawn number of eligible windows is passed over, so that neither the first person of a
//! frame nor the first minute of an hour is preferred. Nothing is allocated; the same seed and windows give the same choice.

use crate::byte_budget::ByteBudget;
use crate::pose_codec::Detail;
use crate::record::{Poses, SampleRecord};
use alfred_core::pipeline::WindowScore;
use alfred_core::segment::SegmentPose;
use alfred_core::units::{FrameIndex, MonotonicNs, Threshold};

/// Bytes of a record beside its poses, rounded up: they count, too.
pub const SAMPLE_OVERHEAD_BYTES: usize = 48;
/// Bytes that a pose is expected to take at most; below this the budget is not asked for a sample. A window of 24 poses takes about 1,000.
pub const POSE_BYTES_EXPECTED: usize = 64;
/// Bytes that a sample of 24 poses is expected to take at most.
pub const SAMPLE_BYTES_EXPECTED: usize = 24 * POSE_BYTES_EXPECTED;
/// Frames before its window that a sample holds at most.
pub const BACK_FRAMES_MAX: u32 = 64;
/// Bytes of the poses of the largest sample: whole windows and what goes before them, as expected.
pub const SAMPLE_POSES_BYTES_MAX: usize = (alfred_core::limits::WINDOW_FRAMES_MAX + BACK_FRAMES_MAX as usize) * POSE_BYTES_EXPECTED;
/// Eligible windows that are passed over after a sample: 0 to this, drawn.
pub const PASSED_OVER_MAX: u32 = 255;

/// What is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRules {
    /// Bytes per hour, records' overhead included; below 8 times [`SAMPLE_BYTES_EXPECTED`] nothing is ever taken.
    pub bytes_per_hour: u32,
    /// How far below the threshold a score must lie, in score units, at least 0.
    pub margin: f32,
    /// Frames before the window that a sample holds, too; at most [`BACK_FRAMES_MAX`].
    pub back_frames: u32,
}

/// Chooses and writes samples.
#[derive(Clone, Debug)]
pub struct NormalSampler {
    rules: SampleRules,
    budget: ByteBudget,
    random: u64,
    pass_over: u32,
    /// Windows below the threshold since the last sample.
    below: u32,
    /// Samples written.
    taken: u64,
}

impl NormalSampler {
    /// A sampler whose budget begins empty at `now`.
    #[must_use]
    pub const fn new(rules: SampleRules, seed: u64, now: MonotonicNs) -> Self {
        Self { rules, budget: ByteBudget::new(rules.bytes_per_hour, now), random: seed, pass_over: 0, below: 0, taken: 0 }
    }

    /// Samples written so far.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Another budget from now on; it begins empty.
    pub const fn set_bytes_per_hour(&mut self, bytes_per_hour: u32, now: MonotonicNs) {
        self.rules.bytes_per_hour = bytes_per_hour;
        self.budget = ByteBudget::new(bytes_per_hour, now);
    }

    /// From which frame on this window's poses shall be written, if they shall; asked once per scored window.
    pub fn wants(&mut self, window: &WindowScore, threshold: Threshold, now: MonotonicNs) -> Option<FrameIndex> {
        let score = window.score.value();
        self.below = self.below.saturating_add(u32::from(score < threshold.value()));
        let frames = (window.last.0 - window.first.0 + 1).saturating_add(u64::from(self.rules.back_frames));
        let bytes = usize::try_from(frames).unwrap_or(usize::MAX).saturating_mul(POSE_BYTES_EXPECTED);
        if score + self.rules.margin >= threshold.value() || !self.budget.holds(bytes, now) {
            return None;
        }
        if self.pass_over > 0 {
            self.pass_over -= 1;
            return None;
        }
        Some(self.first(window))
    }

    fn first(&self, window: &WindowScore) -> FrameIndex {
        FrameIndex(window.first.0.saturating_sub(u64::from(self.rules.back_frames.min(BACK_FRAMES_MAX))))
    }

    /// Writes the window's own person into `buffer` and takes the bytes from the budget. `None`: the person's poses are not among
    /// `poses`, do not fit, or cost more than the budget has.
    pub fn write<'b, 'p>(
        &mut self,
        window: &WindowScore,
        poses: impl Iterator<Item = &'p SegmentPose>,
        buffer: &'b mut [u8],
        now: MonotonicNs,
    ) -> Option<SampleRecord<'b>> {
        let first = self.first(window);
        let own = poses.filter(|pose| pose.person == window.person && (first..=window.last).contains(&pose.frame));
        let (poses, left_out) = Poses::write(own, Detail::Sample, buffer);
        // Drawn whatever comes of this window: or the next frame's first person would always be the next try. Knuth's MMIX generator; its upper bits are even enough for a choice.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.pass_over = ((self.random >> 33) % (u64::from(PASSED_OVER_MAX) + 1)) as u32;
        let is_whole = poses.count > 0 && left_out == 0;
        if !is_whole || !self.budget.take(poses.bytes.get().len() + SAMPLE_OVERHEAD_BYTES, now) {
            return None;
        }
        self.taken += 1;
        let stands_for = core::mem::take(&mut self.below).max(1);
        Some(SampleRecord { person: window.person.0, score: window.score.value(), stands_for, poses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Content, Record};
    use alfred_core::pose::{KeyPoint, PersonPose};
    use alfred_core::units::{AnomalyScore, FrameIndex, PersonId};
    extern crate std;
    use std::vec::Vec;

    const HOUR_NS: u64 = 3_600_000_000_000;
    const FRAME_NS: u64 = 33_333_333;

    fn walker(person: u32, frame: u64) -> SegmentPose {
        let mut pose = PersonPose { id: PersonId(person), ..PersonPose::EMPTY };
        for (place, keypoint) in pose.keypoints.iter_mut().enumerate() {
            let swing = libm_free_wave(frame + 7 * place as u64);
            *keypoint = KeyPoint { x: 100.0 + 2.0 * (frame % 500) as f32 + swing, y: 200.0 + 9.0 * place as f32 - swing, confidence: 0.9 };
        }
        SegmentPose::quantise(FrameIndex(frame), MonotonicNs(frame * FRAME_NS), &pose).0
    }

    /// A triangle between -6 and 6 pixels.
    fn libm_free_wave(phase: u64) -> f32 {
        let phase = (phase % 24) as f32;
        if phase < 12.0 { phase - 6.0 } else { 18.0 - phase }
    }

    fn window(person: u32, last: u64, score: f32) -> WindowScore {
        WindowScore {
            person: PersonId(person),
            first: FrameIndex(last - 23),
            last: FrameIndex(last),
            centre: FrameIndex(last - 11),
            score: AnomalyScore::new(score).expect("finite"),
        }
    }

    #[test]
    fn hours_keep_to_their_budget_and_persons_share_it() {
        let (threshold, persons, budget) = (Threshold::new(1.0).expect("finite"), 4, 60_000);
        let mut sampler = NormalSampler::new(SampleRules { bytes_per_hour: budget, margin: 0.5, back_frames: 0 }, 1, MonotonicNs(0));
        let (mut per_hour, mut per_person, mut buffer, mut stood_for) = ([0; 3], [0; 4], [0; 4096], 0);
        let mut body = std::vec![0; 4096];
        for frame in 24..3 * HOUR_NS / FRAME_NS {
            let now = MonotonicNs(frame * FRAME_NS);
            for person in 0..persons {
                let window = window(person, frame, 0.4);
                if sampler.wants(&window, threshold, now).is_none() {
                    continue;
                }
                let poses: Vec<SegmentPose> = (frame - 30..=frame).flat_map(|frame| [walker(person, frame), walker(9, frame)]).collect();
                let Some(sample) = sampler.write(&window, poses.iter(), &mut buffer, now) else { continue };
                assert_eq!((sample.poses.count, sample.person, sample.poses.first_frame), (24, person, frame - 23));
                stood_for += u64::from(sample.stands_for);
                let record =
                    Record { written_ns: now.0, wall_unix_ms: Some(1 << 41), bundle_revision: 1 << 20, content: Content::Sample(sample) };
                per_hour[(now.0 / HOUR_NS) as usize] += record.encode(&mut body).expect("fits").len();
                per_person[person as usize] += 1;
            }
        }
        std::println!("{} samples, {per_hour:?} bytes of {budget} per hour, {per_person:?}", sampler.taken());
        let windows = u64::from(persons) * (3 * HOUR_NS / FRAME_NS - 24);
        assert!(stood_for <= windows && 100 * stood_for > 99 * windows, "samples stand for {stood_for} of {windows} windows");
        assert!(per_hour.iter().all(|bytes| *bytes <= budget as usize), "{per_hour:?}");
        assert!(per_hour[1..].iter().all(|bytes| 2 * bytes > budget as usize), "most of the budget is used: {per_hour:?}");
        assert!(per_person.iter().all(|count| 2 * u64::from(*count as u32) > sampler.taken() / 4), "{per_person:?}");
    }

    #[test]
    fn what_goes_before_a_window_goes_with_it() {
        let (threshold, late) = (Threshold::new(1.0).expect("finite"), MonotonicNs(HOUR_NS));
        let mut sampler = NormalSampler::new(SampleRules { bytes_per_hour: 90_000, margin: 0.0, back_frames: 40 }, 1, MonotonicNs(0));
        let window = window(1, 100, 0.0);
        assert_eq!(sampler.wants(&window, threshold, late), Some(FrameIndex(37)));
        let poses: Vec<SegmentPose> = (20..110).map(|frame| walker(1, frame)).collect();
        let mut buffer = [0; SAMPLE_POSES_BYTES_MAX];
        let sample = sampler.write(&window, poses.iter(), &mut buffer, late).expect("room");
        assert_eq!((sample.poses.first_frame, sample.poses.count), (37, 64));
    }

    #[test]
    fn what_is_not_clearly_normal_is_never_taken() {
        let threshold = Threshold::new(1.0).expect("finite");
        let late = MonotonicNs(HOUR_NS);
        let mut sampler = NormalSampler::new(SampleRules { bytes_per_hour: 60_000, margin: 0.5, back_frames: 0 }, 1, MonotonicNs(0));
        for (score, is_wanted) in [(1.5, false), (0.5, false), (0.4, true), (-9.0, true)] {
            assert_eq!(sampler.wants(&window(1, 50, score), threshold, late).is_some(), is_wanted, "{score}");
        }
        assert_eq!(sampler.write(&window(1, 50, 0.0), [walker(2, 40)].iter(), &mut [0; 999], late), None, "another person");
        assert_eq!(sampler.write(&window(1, 50, 0.0), [walker(1, 40)].iter(), &mut [0; 9], late), None, "no room");
        assert_eq!(sampler.taken(), 0);
        sampler.set_bytes_per_hour(0, late);
        assert!(sampler.wants(&window(1, 50, 0.0), threshold, MonotonicNs(9 * HOUR_NS)).is_none(), "switched off");
    }
}
