//! What an exported graph says about itself in its metadata: the keys that `alfred_models::onnx_manifest` reads.

use super::onnx::Graph;
use alfred_models::onnx_keys::{
    KEY_ARCHITECTURE, KEY_INPUT_LAYOUT, KEY_PREPROCESSING, KEY_SCORE_FRAME, KEY_SCORE_RULE, KEY_THRESHOLD, KEY_WINDOW_FRAMES,
};
use std::collections::BTreeMap;

/// Everything that a device needs to know of a graph.
#[derive(Clone, Copy, Debug)]
pub(super) struct Description<'a> {
    pub(super) architecture: &'a str,
    pub(super) input_layout: &'a str,
    /// Output that holds a score per window, higher = more anomalous.
    pub(super) score: &'a str,
    pub(super) window_frames: usize,
    /// Frame of the window that the score belongs to.
    pub(super) score_frame: usize,
    pub(super) preprocessing: &'a str,
    pub(super) threshold: Option<f32>,
    /// What else the weight file says: source, licence, notes.
    pub(super) other: &'a BTreeMap<String, String>,
}

impl Description<'_> {
    /// The ONNX file's bytes.
    pub(super) fn to_file(self, graph: &Graph) -> Vec<u8> {
        let rule = format!("higher_is_anomalous({})", self.score);
        let (frames, score_frame) = (self.window_frames.to_string(), self.score_frame.to_string());
        // Debug prints the fewest digits that read back as the same number.
        let threshold = self.threshold.map(|threshold| format!("{threshold:?}"));
        let mut metadata: BTreeMap<&str, &str> = self.other.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        metadata.extend([
            (KEY_ARCHITECTURE, self.architecture),
            (KEY_INPUT_LAYOUT, self.input_layout),
            (KEY_SCORE_RULE, &rule),
            (KEY_WINDOW_FRAMES, &frames),
            (KEY_SCORE_FRAME, &score_frame),
            (KEY_PREPROCESSING, self.preprocessing),
        ]);
        if let Some(threshold) = &threshold {
            metadata.insert(KEY_THRESHOLD, threshold);
        }
        graph.to_file(self.architecture, metadata)
    }
}
