//! What the daemon's review page needs of models: an item's score curve, quantiles for drift, and which items differ most.

use crate::error::HostError;
use crate::evaluate::model::Lane;
use crate::evaluate::{FileModel, Model};
use crate::metric::quantile::quantile;
use crate::one_person::OnePerson;
use crate::query::Embeddings;
use crate::query::embedding::WIDTH;
use crate::query::k_center::k_center;
use alfred_bundle::fingerprint::of_defaults;
use alfred_bundle::format::{Bundle, QUANTILES, SIGNATURE_BYTES, read};
use alfred_core::limits::KEYPOINTS;
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::{FrameDecision, Sink};
use alfred_core::pose::{KeyPoint, PersonPose};
use alfred_core::scorer::Scorer;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::PersonId;
use alfred_core::verdict_head::HeadedScorer;
use alfred_models::stg_nf::adjacency::Adjacency;
use alfred_models::stg_nf::scorer::{Lane as StgNfLane, StgNfScorer};
use alfred_server::expert::{Expert, FrameScore, Quantiles};
use alfred_store::playback::Playback;
use std::path::Path;

const _: () = assert!(WIDTH == alfred_store::likeness::FEATURE_WIDTH);

/// A bundle that is no bundle, in words.
const NO_BUNDLE: &str = "the bundle that scored this is not on this host";

/// Knows bundles, and the model file that devices run before their first bundle.
#[derive(Debug, Default)]
pub struct HostExpert {
    source: Option<FileModel>,
}

impl HostExpert {
    /// With the devices' model file, if it is known.
    ///
    /// # Errors
    /// [`HostError::Data`] when the file is refused.
    pub fn new(source: Option<&Path>) -> Result<Self, HostError> {
        Ok(Self { source: source.map(FileModel::read).transpose()? })
    }
}

/// The signed part of a bundle as it lies in the store.
fn open(bytes: &[u8]) -> Option<Bundle<'_>> {
    read(bytes.get(..bytes.len().checked_sub(SIGNATURE_BYTES)?)?).ok()
}

/// What pixels are divided by on the devices that this bundle is for; `None` when they do not run the usual data path.
fn scale_of(bundle: &Bundle<'_>) -> Option<PixelScale> {
    let frames = bundle.parameters.shape.frames();
    PixelScale::PREPROCESSINGS.into_iter().map(|(_, scale)| scale).find(|scale| of_defaults(frames, scale) == Some(bundle.fingerprint))
}

/// The flagged person's poses in order.
fn poses_of(playback: &Playback) -> impl Iterator<Item = (u64, PersonPose)> + '_ {
    let person = playback.item.person;
    playback.frames.iter().filter_map(move |shown| {
        let found = shown.persons.iter().find(|found| found.person == person)?;
        let mut keypoints = [KeyPoint { x: 0.0, y: 0.0, confidence: 0.0 }; KEYPOINTS];
        for (point, &[x, y, confidence]) in keypoints.iter_mut().zip(&found.keypoints) {
            *point = KeyPoint { x, y, confidence };
        }
        Some((shown.frame, PersonPose { id: PersonId(person), score: 1.0, keypoints }))
    })
}

#[derive(Default)]
struct Curve(Vec<FrameScore>);

impl Sink for Curve {
    fn frame(&mut self, decision: &FrameDecision) {
        if let Some(score) = decision.smoothed {
            self.0.push(FrameScore { frame: decision.frame.0, score: f64::from(score.value()) });
        }
    }
}

/// Runs the device's data path over one person.
fn run(playback: &Playback, window: WindowPolicy, scale: PixelScale, scorer: &mut dyn Scorer) -> Result<Vec<FrameScore>, String> {
    let mut curve = Curve::default();
    let ran = OnePerson::new(window, scale).and_then(|mut path| path.run(poses_of(playback), scorer, &mut curve));
    ran.map_err(|error| error.to_string())?;
    let is_shown = |score: &FrameScore| playback.frames.first().is_some_and(|first| first.frame <= score.frame);
    curve.0.retain(is_shown);
    if curve.0.is_empty() { Err("the poses are fewer than one window".to_owned()) } else { Ok(curve.0) }
}

impl Expert for HostExpert {
    fn scores(&self, playback: &Playback, bundle: Option<&[u8]>) -> Result<Vec<FrameScore>, String> {
        let Some(bytes) = bundle else {
            let source = self.source.as_ref();
            let source = source.ok_or("the device scored with its model file: name it as source_weights in [cycle], or as weights")?;
            let mut scorer = source.scorer(Lane::Fast).map_err(|error| error.to_string())?;
            let window = WindowPolicy::live(source.window_frames()).with_score_frame(source.score_frame_in_window());
            return run(playback, window, source.pixel_scale(), scorer.as_mut());
        };
        let bundle = open(bytes).ok_or(NO_BUNDLE)?;
        let scale = scale_of(&bundle).ok_or("the device cuts or smooths windows in a way of its own, which this host does not know")?;
        let scorer = StgNfScorer::new(&bundle.parameters, &Adjacency::uniform(bundle.max_hop.into()), StgNfLane::Fast);
        let scorer = scorer.map_err(|fault| fault.to_string())?;
        let window = WindowPolicy::live(bundle.parameters.shape.frames());
        run(playback, window, scale, &mut HeadedScorer::new(scorer, bundle.verdict_head()))
    }

    fn quantiles(&self, bundle: Option<&[u8]>, scores: &[f64]) -> Quantiles {
        let levels = QUANTILES.map(f64::from);
        let bundle = bundle.and_then(open).and_then(|bundle| bundle.quantiles);
        Quantiles {
            levels: levels.to_vec(),
            bundle: bundle.map(|quantiles| quantiles.map(f64::from).to_vec()),
            recent: levels.iter().map(|level| quantile(scores, *level)).collect(),
        }
    }

    fn spread(&self, features: &[Vec<f32>], count: usize) -> Vec<usize> {
        let (mut points, mut pool) = (Embeddings::default(), Vec::new());
        for (place, feature) in (0_u32..).zip(features) {
            // Features of another width are another build's: left out.
            let is_known = feature.len() == WIDTH;
            points.push(if is_known { feature } else { &[0.0; WIDTH] });
            pool.extend(is_known.then_some(place));
        }
        k_center(&points, &pool, &[], count).into_iter().map(|place| place as usize).collect()
    }
}
