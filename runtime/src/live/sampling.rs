//! Normal samples on their way: the scoring thread chooses and packs them into pooled buffers, the output thread gives them to the journal.

use crate::limits::SAMPLE_BUFFERS;
use alfred_core::pipeline::WindowScore;
use alfred_core::segment::SegmentView;
use alfred_core::units::{FrameIndex, MonotonicNs, Threshold};
use alfred_wire::name::Bytes;
use alfred_wire::record::{Poses, SampleRecord};
use alfred_wire::sampler::{NormalSampler, SAMPLE_POSES_BYTES_MAX, SampleRules};
use crossbeam::channel::Receiver;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A packed sample.
#[derive(Clone, Debug)]
pub struct SampleBuffer {
    person: u32,
    score: f32,
    stands_for: u32,
    first_frame: u64,
    captured_ns: u64,
    count: u16,
    length: usize,
    bytes: [u8; SAMPLE_POSES_BYTES_MAX],
}

impl Default for SampleBuffer {
    fn default() -> Self {
        Self {
            person: 0,
            score: 0.0,
            stands_for: 0,
            first_frame: 0,
            captured_ns: 0,
            count: 0,
            length: 0,
            bytes: [0; SAMPLE_POSES_BYTES_MAX],
        }
    }
}

impl SampleBuffer {
    /// What the journal gets.
    #[must_use]
    pub fn record(&self) -> SampleRecord<'_> {
        let bytes = Bytes::new(&self.bytes[..self.length]).unwrap_or(Bytes::EMPTY);
        let poses = Poses { first_frame: self.first_frame, captured_ns: self.captured_ns, count: self.count, bytes };
        SampleRecord { person: self.person, score: self.score, stands_for: self.stands_for, poses }
    }
}

/// What is sampled, and what the host may change of it while the process runs.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// What is taken.
    pub rules: SampleRules,
    /// Seed of the choice.
    pub seed: u64,
    /// Bytes per hour as the host last set them.
    pub bytes_per_hour: Arc<AtomicU32>,
}

/// The scoring thread's end.
pub(crate) struct Samples {
    sampler: NormalSampler,
    bytes_per_hour: Arc<AtomicU32>,
    in_force: u32,
    pub(crate) free: Receiver<Box<SampleBuffer>>,
    /// A buffer whose message the full queue refused: used again first.
    pub(crate) spare: Option<Box<SampleBuffer>>,
    now: MonotonicNs,
}

impl Samples {
    pub(crate) fn new(sampling: &Sampling, free: Receiver<Box<SampleBuffer>>, now: MonotonicNs) -> Self {
        let in_force = sampling.rules.bytes_per_hour;
        let sampler = NormalSampler::new(sampling.rules, sampling.seed, now);
        Self { sampler, bytes_per_hour: Arc::clone(&sampling.bytes_per_hour), in_force, free, spare: None, now }
    }

    /// A new frame begins.
    pub(crate) fn begin(&mut self, now: MonotonicNs) {
        self.now = now;
        let wanted = self.bytes_per_hour.load(Relaxed);
        if wanted != self.in_force {
            self.in_force = wanted;
            self.sampler.set_bytes_per_hour(wanted, now);
        }
    }

    pub(crate) fn wants(&mut self, window: &WindowScore, threshold: f32) -> Option<FrameIndex> {
        let threshold = Threshold::new(threshold).ok()?;
        self.sampler.wants(window, threshold, self.now)
    }

    /// Packs the window's person; without a free buffer the sample is left out, and the next one stands for its windows, too.
    pub(crate) fn pack(&mut self, window: &WindowScore, poses: &SegmentView<'_>) -> Option<Box<SampleBuffer>> {
        let mut buffer = self.spare.take().or_else(|| self.free.try_recv().ok())?;
        let SampleBuffer { bytes, .. } = &mut *buffer;
        let Some(packed) = self.sampler.write(window, poses.poses(), bytes, self.now) else {
            self.spare = Some(buffer);
            return None;
        };
        let SampleRecord { person, score, stands_for, poses } = packed;
        let Poses { first_frame, captured_ns, count, bytes } = poses;
        let length = bytes.get().len();
        (buffer.person, buffer.score, buffer.stands_for) = (person, score, stands_for);
        (buffer.first_frame, buffer.captured_ns, buffer.count, buffer.length) = (first_frame, captured_ns, count, length);
        Some(buffer)
    }
}

/// Bytes of the pool.
pub(crate) const POOL_BYTES: usize = SAMPLE_BUFFERS * size_of::<SampleBuffer>();
