//! A pair of weights and threshold: the source's, the one in force, or a candidate.

use crate::error::HostError;
use alfred_bundle::collapse::collapse;
use alfred_core::normalise::PixelScale;
use alfred_core::verdict_head::{HeadedScorer, VerdictHead};
use alfred_models::stg_nf::parameters::StgNfParameters;
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_models::weights::{self, Weights};
use std::path::Path;

/// Weights, perhaps a verdict head, and the threshold that goes with them.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Revision of its bundle; 0: the source pair, or none yet.
    pub revision: u64,
    /// Weight file, with what fine-tuning needs.
    pub weights: Vec<u8>,
    /// What the device computes with.
    pub parameters: StgNfParameters,
    /// Hop limit of the adjacency.
    pub max_hop: u8,
    /// What pixels are divided by.
    pub scale: PixelScale,
    /// The verdict head's bytes; empty: none.
    pub head: Vec<u8>,
    /// Anomalous from this score on.
    pub threshold: f32,
}

impl Pair {
    /// From a weight file's bytes; `place` is for messages. Without `threshold` the file's own.
    ///
    /// # Errors
    /// [`HostError::Data`] when the weights are refused, are of another architecture, or have no threshold.
    pub fn of_weights(bytes: Vec<u8>, threshold: Option<f32>, place: &Path) -> Result<Self, HostError> {
        let read = weights::read(&bytes).map_err(|fault| HostError::data(place, "weights", fault))?;
        let Weights::StgNf(weights) = &read else {
            return Err(HostError::data(place, read.architecture(), "only STG-NF weights fit into bundles"));
        };
        let threshold = threshold.or(weights.metadata.threshold);
        let threshold = threshold.ok_or_else(|| HostError::data(place, "no threshold", "name weights whose metadata has one"))?;
        let scale = crate::evaluate::pixel_scale(weights, place)?;
        let parameters = collapse(&weights.parameters);
        let max_hop = u8::try_from(weights.metadata.max_hop).map_err(|error| HostError::data(place, "metadata max_hop", error))?;
        Ok(Self { revision: 0, parameters, max_hop, scale, head: Vec::new(), threshold, weights: bytes })
    }

    /// Detections T of a window.
    #[must_use]
    pub fn window_frames(&self) -> usize {
        self.parameters.shape.frames()
    }

    /// The device's scorer.
    ///
    /// # Errors
    /// [`HostError::Argument`] when the weights make none.
    pub fn scorer(&self) -> Result<HeadedScorer<StgNfScorer>, HostError> {
        let adjacency = alfred_models::stg_nf::adjacency::Adjacency::uniform(self.max_hop.into());
        let scorer = StgNfScorer::new(&self.parameters, &adjacency, Lane::Fast);
        let scorer = scorer.map_err(|fault| HostError::argument("the candidate's weights", fault))?;
        Ok(HeadedScorer::new(scorer, VerdictHead::from_bytes(&self.head).ok()))
    }
}
