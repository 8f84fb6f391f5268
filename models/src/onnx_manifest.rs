//! What an ONNX file says about itself: which layout goes in, which rule makes the score.
//!
//! Sources, from the strongest: what the caller declares; a JSON file `<file>.onnx.json` beside the model; the ONNX file's own
//! `metadata_props`. All use the keys below; file and sidecar may complete, but not contradict each other. What none of them says is
//! inferred only where it is unambiguous: one input (B, 2, T, 18) is `time_major`, and with an output `nll` it is STG-NF; inputs
//! (B, S, 72) with an output `score` are SPARTA. Everything else is refused with the key to declare.

use crate::input_layout::InputLayout;
pub use crate::onnx_keys::*;
use crate::score_rule::{ScoreRule, ScoreSign, TensorName};
use alfred_core::limits::BATCH_WINDOWS_MAX;

/// Longest free text of a declaration, bytes.
const TEXT_BYTES_MAX: usize = 256;

/// What somebody says about a model; everything is optional.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declaration {
    /// Name of the architecture.
    pub architecture: Option<String>,
    /// Order of the values in the inputs.
    pub input_layout: Option<InputLayout>,
    /// From outputs to scores.
    pub score_rule: Option<ScoreRule>,
    /// Detections per window.
    pub window_frames: Option<usize>,
    /// Frame of a window that its score belongs to.
    pub score_frame: Option<usize>,
    /// Decision threshold, finite.
    pub threshold: Option<f32>,
    /// Name of the preprocessing.
    pub preprocessing: Option<String>,
}

/// Why a model's declaration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A value is not what its key holds.
    #[error("{key} = \"{value}\": {mend}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// Its text.
        value: String,
        /// What to write.
        mend: String,
    },
    /// The sidecar is no JSON object of texts, or has an unknown key.
    #[error(
        "the sidecar {reason}: write one JSON object with the keys alfred.architecture, .input_layout, .score_rule, .window_frames, .score_frame, .threshold, .preprocessing"
    )]
    BadSidecar {
        /// What is wrong.
        reason: String,
    },
    /// File and sidecar differ.
    #[error("{key} differs between the ONNX file's metadata and the sidecar: remove one of both")]
    Conflict {
        /// The key.
        key: &'static str,
    },
    /// Nothing says it, and it cannot be inferred.
    #[error("nothing declares {key} ({graph}): set it in the file's metadata_props or in <file>.onnx.json, such as \"{example}\"")]
    Missing {
        /// The key.
        key: &'static str,
        /// The graph's inputs and outputs.
        graph: String,
        /// A value to write.
        example: &'static str,
    },
    /// The graph is not what is declared.
    #[error("{what} ({graph}): {mend}")]
    Mismatch {
        /// What is wrong.
        what: String,
        /// The graph's inputs and outputs.
        graph: String,
        /// What to do.
        mend: String,
    },
}

impl Declaration {
    /// Reads the `alfred.` keys; others are ignored.
    ///
    /// # Errors
    /// [`ManifestError::BadValue`].
    pub fn from_pairs<'p>(pairs: impl Iterator<Item = (&'p str, &'p str)>) -> Result<Self, ManifestError> {
        let mut declaration = Self::default();
        for (key, value) in pairs {
            declaration.set(key, value)?;
        }
        Ok(declaration)
    }

    /// Reads a sidecar: a flat JSON object of texts and numbers, known keys only.
    ///
    /// # Errors
    /// [`ManifestError::BadSidecar`] and [`ManifestError::BadValue`].
    pub fn from_sidecar(json: &[u8]) -> Result<Self, ManifestError> {
        let bad = |reason: String| ManifestError::BadSidecar { reason };
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(json).map_err(|error| bad(format!("is no JSON object ({error})")))?;
        let mut declaration = Self::default();
        for (key, value) in &object {
            let text = match value {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Number(number) => number.to_string(),
                _ => return Err(bad(format!("has neither a text nor a number at {}", clip(key)))),
            };
            if !declaration.set(key, &text)? {
                return Err(bad(format!("has the unknown key {}", clip(key))));
            }
        }
        Ok(declaration)
    }

    /// Sets one key; `false` if it is none of ours.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, ManifestError> {
        let bad = |key, mend: String| ManifestError::BadValue { key, value: clip(value), mend };
        let text = |key| {
            if value.len() <= TEXT_BYTES_MAX {
                Ok(Some(value.to_string()))
            } else {
                Err(bad(key, format!("at most {TEXT_BYTES_MAX} bytes")))
            }
        };
        match key {
            KEY_ARCHITECTURE => self.architecture = text(KEY_ARCHITECTURE)?,
            KEY_PREPROCESSING => self.preprocessing = text(KEY_PREPROCESSING)?,
            KEY_INPUT_LAYOUT => self.input_layout = Some(value.parse().map_err(|e| bad(KEY_INPUT_LAYOUT, format!("{e}")))?),
            KEY_SCORE_RULE => self.score_rule = Some(value.parse().map_err(|e| bad(KEY_SCORE_RULE, format!("{e}")))?),
            KEY_WINDOW_FRAMES => {
                self.window_frames = Some(value.trim().parse().map_err(|_| bad(KEY_WINDOW_FRAMES, "write a whole number".into()))?);
            }
            KEY_SCORE_FRAME => {
                self.score_frame = Some(value.trim().parse().map_err(|_| bad(KEY_SCORE_FRAME, "write a whole number".into()))?);
            }
            KEY_THRESHOLD => {
                let threshold = value.trim().parse().ok().filter(|threshold: &f32| threshold.is_finite());
                self.threshold = Some(threshold.ok_or_else(|| bad(KEY_THRESHOLD, "write a finite number".into()))?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// This declaration, completed by a weaker one where it says nothing.
    #[must_use]
    pub fn or(self, weaker: Self) -> Self {
        Self {
            architecture: self.architecture.or(weaker.architecture),
            input_layout: self.input_layout.or(weaker.input_layout),
            score_rule: self.score_rule.or(weaker.score_rule),
            window_frames: self.window_frames.or(weaker.window_frames),
            score_frame: self.score_frame.or(weaker.score_frame),
            threshold: self.threshold.or(weaker.threshold),
            preprocessing: self.preprocessing.or(weaker.preprocessing),
        }
    }

    /// The first key on which both say something, and not the same.
    fn conflict(&self, other: &Self) -> Option<&'static str> {
        fn differ<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
            matches!((a, b), (Some(a), Some(b)) if a != b)
        }
        [
            (KEY_ARCHITECTURE, differ(&self.architecture, &other.architecture)),
            (KEY_INPUT_LAYOUT, differ(&self.input_layout, &other.input_layout)),
            (KEY_SCORE_RULE, differ(&self.score_rule, &other.score_rule)),
            (KEY_WINDOW_FRAMES, differ(&self.window_frames, &other.window_frames)),
            (KEY_SCORE_FRAME, differ(&self.score_frame, &other.score_frame)),
            (KEY_THRESHOLD, differ(&self.threshold, &other.threshold)),
            (KEY_PREPROCESSING, differ(&self.preprocessing, &other.preprocessing)),
        ]
        .into_iter()
        .find_map(|(key, differs)| differs.then_some(key))
    }

    /// Puts the three sources together: the caller's word wins; sidecar and file may not contradict each other.
    ///
    /// # Errors
    /// [`ManifestError::Conflict`].
    pub fn combine(explicit: Self, sidecar: Self, metadata: Self) -> Result<Self, ManifestError> {
        match sidecar.conflict(&metadata) {
            Some(key) => Err(ManifestError::Conflict { key }),
            None => Ok(explicit.or(sidecar).or(metadata)),
        }
    }
}

/// An input of the graph, as the file declares it: f32 with a fixed shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFacts {
    /// Its name.
    pub name: String,
    /// Its shape; the batch comes first.
    pub shape: Vec<usize>,
}

/// What the graph itself says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphFacts {
    /// Inputs without initialisers, in order.
    pub inputs: Vec<InputFacts>,
    /// Names of the outputs, in order.
    pub outputs: Vec<String>,
}

impl GraphFacts {
    /// Inputs with shapes and outputs, in one line.
    #[must_use]
    pub fn text(&self) -> String {
        let inputs: Vec<_> = self.inputs.iter().map(|input| format!("{} {:?}", clip(&input.name), input.shape)).collect();
        let outputs: Vec<_> = self.outputs.iter().map(|name| clip(name)).collect();
        format!("inputs: {}; outputs: {}", inputs.join(", "), outputs.join(", "))
    }
}

/// A complete, checked description of an ONNX model.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Name of the architecture; empty if nothing says it.
    pub architecture: String,
    /// Order of the values in the inputs.
    pub input_layout: InputLayout,
    /// From outputs to scores.
    pub score_rule: ScoreRule,
    /// Detections T per window.
    pub window_frames: usize,
    /// Frame of a window that its score belongs to, below `window_frames`.
    pub score_frame: usize,
    /// Decision threshold, if something says it.
    pub threshold: Option<f32>,
    /// Windows B per run, 1 to [`BATCH_WINDOWS_MAX`].
    pub batch_windows: usize,
    /// Name of the preprocessing; empty if nothing says it.
    pub preprocessing: String,
    /// Number of the output that the rule reads.
    pub output_index: usize,
    /// Number of the input that the rule compares the output with, if it does.
    pub target_index: Option<usize>,
}

impl Manifest {
    /// Checks a declaration against the graph and fills in what can be inferred.
    ///
    /// # Errors
    /// [`ManifestError::Missing`] naming the key to declare, or [`ManifestError::Mismatch`].
    pub fn resolve(declared: Declaration, graph: &GraphFacts) -> Result<Self, ManifestError> {
        let mismatch = |what: String, mend: String| ManifestError::Mismatch { what, graph: graph.text(), mend };
        let declared = declared.clone().or(infer(&declared, graph));
        let missing = |key, example| ManifestError::Missing { key, graph: graph.text(), example };
        let input_layout = declared.input_layout.ok_or_else(|| missing(KEY_INPUT_LAYOUT, "time_major"))?;
        let score_rule = declared.score_rule.ok_or_else(|| missing(KEY_SCORE_RULE, "higher_is_anomalous(nll)"))?;

        let shape = graph.inputs.first().map(|input| input.shape.as_slice()).unwrap_or_default();
        let alike = graph.inputs.len() == input_layout.inputs() && graph.inputs.iter().all(|input| input.shape == shape);
        let window_frames = input_layout.window_frames(shape).filter(|_| alike).ok_or_else(|| {
            mismatch(
                format!("the inputs are not {input_layout}"),
                format!("export with {} and T of 4 to 48, or declare another {KEY_INPUT_LAYOUT}", input_layout.shape_text()),
            )
        })?;
        if let Some(declared) = declared.window_frames.filter(|&declared| declared != window_frames) {
            return Err(mismatch(
                format!("{KEY_WINDOW_FRAMES} is {declared}, the input holds {window_frames}"),
                "correct the declaration".into(),
            ));
        }
        let published = match input_layout {
            // The middle of the target.
            InputLayout::SpartaTokens => window_frames * 3 / 4,
            _ => window_frames / 2,
        };
        let score_frame = declared.score_frame.unwrap_or(published);
        if score_frame >= window_frames {
            return Err(mismatch(format!("{KEY_SCORE_FRAME} is {score_frame}"), format!("a window has {window_frames} frames")));
        }
        let batch_windows = shape.first().copied().unwrap_or(0);
        if !(1..=BATCH_WINDOWS_MAX).contains(&batch_windows) {
            return Err(mismatch(format!("the batch is {batch_windows}"), format!("export with 1 to {BATCH_WINDOWS_MAX} windows")));
        }
        let output_index = score_rule.output().position_in(graph.outputs.iter().map(String::as_str));
        let output_index =
            output_index.ok_or_else(|| mismatch(format!("{score_rule} names no output"), format!("correct {KEY_SCORE_RULE}")))?;
        let target_index = match &score_rule {
            ScoreRule::Output { .. } => None,
            ScoreRule::MeanSquaredError { target, .. } => {
                let position = target.position_in(graph.inputs.iter().map(|input| input.name.as_str()));
                Some(position.ok_or_else(|| mismatch(format!("{score_rule} names no input"), format!("correct {KEY_SCORE_RULE}")))?)
            }
        };
        Ok(Self {
            architecture: declared.architecture.unwrap_or_default(),
            input_layout,
            score_rule,
            window_frames,
            score_frame,
            threshold: declared.threshold,
            batch_windows,
            preprocessing: declared.preprocessing.unwrap_or_default(),
            output_index,
            target_index,
        })
    }
}

/// What the graph's own shapes and names say beyond doubt.
fn infer(declared: &Declaration, graph: &GraphFacts) -> Declaration {
    let fits = |layout: InputLayout| {
        graph.inputs.len() == layout.inputs() && graph.inputs.iter().all(|input| layout.window_frames(&input.shape).is_some())
    };
    let rule = |output: &str| {
        let output = graph.outputs.iter().any(|name| name == output).then(|| TensorName::new(output))??;
        Some(ScoreRule::Output { output, sign: ScoreSign::HigherIsAnomalous })
    };
    // 18 frames would fit two layouts.
    let ambiguous = fits(InputLayout::TimeMajor) && fits(InputLayout::JointMajor);
    let named = |names: [&str; 2]| graph.inputs.iter().map(|input| input.name.as_str()).eq(names);
    let layout = match declared.input_layout {
        Some(layout) => Some(layout),
        None if fits(InputLayout::TimeMajor) && !ambiguous => Some(InputLayout::TimeMajor),
        None if fits(InputLayout::SpartaTokens) && named(["src", "tgt"]) => Some(InputLayout::SpartaTokens),
        None => None,
    };
    let (score_rule, architecture) = match layout {
        Some(InputLayout::TimeMajor) => (rule("nll"), "stg_nf"),
        Some(InputLayout::SpartaTokens) => (rule("score"), "sparta"),
        _ => (None, ""),
    };
    let architecture = (score_rule.is_some() && declared.score_rule.is_none()).then(|| architecture.to_string());
    Declaration { architecture, input_layout: layout, score_rule, ..Declaration::default() }
}

/// A text from outside, cut to what fits a message.
fn clip(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect()
}

#[cfg(test)]
mod tests;
