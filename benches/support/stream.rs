//! The whole data path as the device runs it: default settings, our own weights, every person scored in every frame.

use super::contest::Contender;
use super::engines;
use super::reader::{Reader, STEADY_AFTER_FRAMES, assert_everybody_is_scored};
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{Pipeline, PipelineConfig};
use alfred_core::pose::PoseFrame;
use alfred_core::scorer::{ScoreResult, Scorer, Window};
use alfred_core::units::{AnomalyScore, FrameIndex, MonotonicNs, Threshold};
use alfred_models::stg_nf::scorer::Lane;
use alfred_runtime::config::Config;
use alfred_runtime::replay::HeapMemory;
use alfred_synth::crowd::Crowd;
use std::hint::black_box;
use std::rc::Rc;

/// What scores the windows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Our own weights.
    Pretrained(Lane),
    /// A constant: what is left is everything but the model.
    None,
}

struct Constant(AnomalyScore);

impl Scorer for Constant {
    fn window_frames(&self) -> usize {
        24
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        black_box(windows);
        scores.fill(Ok(self.0));
    }
}

/// The device's default settings for our own weights, with their threshold.
pub fn device_settings() -> PipelineConfig {
    let config = Config::parse("[model]\nfile = \"unused\"\n").expect("the defaults are complete");
    let threshold = engines::pretrained().metadata.threshold.and_then(|value| Threshold::new(value).ok());
    config.pipeline(24, PixelScale::SQUARE, threshold).expect("the defaults are valid")
}

/// A camera before which a crowd of constant size moves.
pub struct Stream {
    crowd: Rc<Crowd>,
    persons: usize,
    number: u64,
    frame: Box<PoseFrame>,
    pipeline: Pipeline<'static>,
    scorer: Box<dyn Scorer>,
}

impl Stream {
    /// A stream that has run for long enough for every frame to cost the same.
    pub fn steady(crowd: &Rc<Crowd>, persons: usize, model: Model) -> Self {
        let scorer: Box<dyn Scorer> = match model {
            Model::Pretrained(lane) => Box::new(engines::scorer(&engines::pretrained(), lane)),
            Model::None => Box::new(Constant(AnomalyScore::new(0.0).expect("finite"))),
        };
        // Lives as long as the bench; a struct that lends to itself would be the alternative.
        let memory = Box::leak(Box::<HeapMemory>::default());
        let pipeline = Pipeline::new(device_settings(), scorer.window_frames(), memory.lend()).expect("the settings are valid");
        let frame = Box::new(PoseFrame::new(FrameIndex(0), MonotonicNs(0)));
        let mut stream = Self { crowd: Rc::clone(crowd), persons, number: 0, frame, pipeline, scorer };
        for _ in 0..STEADY_AFTER_FRAMES {
            stream.prepare();
            stream.call();
        }
        stream
    }

    /// Persons in every frame.
    pub fn persons(&self) -> usize {
        self.persons
    }

    /// Proves that no frame was cheaper than it should be: every person had a window in every frame after its first ones.
    pub fn check(&self) {
        let counters = self.pipeline.counters();
        assert_eq!(counters.frames, self.number, "every frame is taken");
        assert_everybody_is_scored(counters, self.persons, self.scorer.window_frames());
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.pipeline.counters().events
    }
}

impl Contender for Stream {
    fn prepare(&mut self) {
        self.crowd.write(self.persons, self.number, &mut self.frame);
        self.number += 1;
    }

    fn call(&mut self) {
        black_box(self.pipeline.step(&self.frame, &mut *self.scorer, &mut Reader));
    }
}
