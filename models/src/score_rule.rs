//! How an ONNX model's tensors become one anomaly score per window: declared in words, not guessed.
//!
//! Written as text in the model's metadata (see `onnx_manifest`): `higher_is_anomalous(nll)`, `higher_is_normal(likelihood)`,
//! `mean_squared_error(prediction, target)`. Names are those of the ONNX graph; `#1` is the output (or input) with that number.

use core::fmt;
use core::str::FromStr;

/// Longest tensor name that a rule can name, bytes.
pub const TENSOR_NAME_BYTES_MAX: usize = 64;

/// Name of a graph's input or output, at most [`TENSOR_NAME_BYTES_MAX`] bytes, without a heap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TensorName {
    bytes: [u8; TENSOR_NAME_BYTES_MAX],
    length: u8,
}

impl TensorName {
    /// Takes a name without commas, brackets or white space; `None` for others, empty ones and longer ones.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let legal = !name.is_empty() && name.len() <= TENSOR_NAME_BYTES_MAX && !name.contains([',', '(', ')']);
        if !legal || name.contains(char::is_whitespace) {
            return None;
        }
        let mut bytes = [0; TENSOR_NAME_BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Self { bytes, length: name.len() as u8 })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Built from a `&str`, so always valid.
        core::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }

    /// Which of `names` is meant: by name, or by number if written `#0`, `#1`, ...
    #[must_use]
    pub fn position_in<'n>(&self, mut names: impl Iterator<Item = &'n str> + Clone) -> Option<usize> {
        let count = names.clone().count();
        names.position(|name| name == self.as_str()).or_else(|| {
            let number = self.as_str().strip_prefix('#')?.parse().ok()?;
            (number < count).then_some(number)
        })
    }
}

impl fmt::Debug for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which way a model's output points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreSign {
    /// A larger output is more anomalous: it is the score.
    HigherIsAnomalous,
    /// A larger output is more normal: the score is its negative.
    HigherIsNormal,
}

/// The declared way from a model's tensors to anomaly scores (higher = more anomalous).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreRule {
    /// An output holds one number per window of the batch.
    Output {
        /// The output.
        output: TensorName,
        /// Which way it points.
        sign: ScoreSign,
    },
    /// The mean over all elements of a window of (prediction - target)²; larger is more anomalous.
    MeanSquaredError {
        /// Output with the shape of `target`.
        prediction: TensorName,
        /// Input that the model tries to predict or to reproduce.
        target: TensorName,
    },
}

impl ScoreRule {
    /// The output that the rule reads.
    #[must_use]
    pub const fn output(&self) -> &TensorName {
        match self {
            Self::Output { output, .. } => output,
            Self::MeanSquaredError { prediction, .. } => prediction,
        }
    }
}

impl fmt::Display for ScoreRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output { output, sign: ScoreSign::HigherIsAnomalous } => write!(f, "higher_is_anomalous({output})"),
            Self::Output { output, sign: ScoreSign::HigherIsNormal } => write!(f, "higher_is_normal({output})"),
            Self::MeanSquaredError { prediction, target } => write!(f, "mean_squared_error({prediction}, {target})"),
        }
    }
}

/// The text is no score rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoScoreRule;

impl fmt::Display for NoScoreRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write higher_is_anomalous(OUTPUT), higher_is_normal(OUTPUT) or mean_squared_error(OUTPUT, INPUT)")
    }
}

impl core::error::Error for NoScoreRule {}

impl FromStr for ScoreRule {
    type Err = NoScoreRule;

    fn from_str(text: &str) -> Result<Self, NoScoreRule> {
        let (kind, rest) = text.trim().split_once('(').ok_or(NoScoreRule)?;
        let arguments = rest.strip_suffix(')').ok_or(NoScoreRule)?;
        let name = |text: &str| TensorName::new(text.trim()).ok_or(NoScoreRule);
        match kind.trim() {
            "higher_is_anomalous" => Ok(Self::Output { output: name(arguments)?, sign: ScoreSign::HigherIsAnomalous }),
            "higher_is_normal" => Ok(Self::Output { output: name(arguments)?, sign: ScoreSign::HigherIsNormal }),
            "mean_squared_error" => {
                let (prediction, target) = arguments.split_once(',').ok_or(NoScoreRule)?;
                Ok(Self::MeanSquaredError { prediction: name(prediction)?, target: name(target)? })
            }
            _ => Err(NoScoreRule),
        }
    }
}

/// Scores of a batch from an output with one number per window: `scores[i] = ±output[i]`, for the shorter of both.
pub fn score_from_output(output: &[f32], sign: ScoreSign, scores: &mut [f32]) {
    for (score, &value) in scores.iter_mut().zip(output) {
        *score = match sign {
            ScoreSign::HigherIsAnomalous => value,
            ScoreSign::HigherIsNormal => -value,
        };
    }
}

/// Scores of a batch as mean squared errors: both slices hold `scores.len()` windows one after the other, in the same order.
/// Summed in f64, oldest element first; a slice without elements scores NaN.
pub fn score_from_error(prediction: &[f32], target: &[f32], scores: &mut [f32]) {
    let count = prediction.len().min(target.len()) / scores.len().max(1);
    for (index, score) in scores.iter_mut().enumerate() {
        let window = index * count..(index + 1) * count;
        let sum: f64 = prediction[window.clone()].iter().zip(&target[window]).map(|(p, t)| f64::from(p - t)).map(|e| e * e).sum();
        *score = (sum / count as f64) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_survive_a_round_trip_through_text() {
        for text in ["higher_is_anomalous(nll)", "higher_is_normal(#1)", "mean_squared_error(pred, tgt)"] {
            assert_eq!(text.parse::<ScoreRule>().map(|rule| rule.to_string()), Ok(text.to_string()));
        }
        assert_eq!(" mean_squared_error( a ,b ) ".parse::<ScoreRule>().map(|r| r.to_string()), Ok("mean_squared_error(a, b)".into()));
    }

    #[test]
    fn other_texts_are_refused() {
        let long = format!("higher_is_normal({})", "x".repeat(TENSOR_NAME_BYTES_MAX + 1));
        for text in ["", "nll", "higher_is_anomalous", "higher_is_anomalous()", "mean_squared_error(a)", "higher_is_normal(a b)", &long] {
            assert_eq!(text.parse::<ScoreRule>(), Err(NoScoreRule), "{text}");
        }
    }

    #[test]
    fn names_are_found_by_name_and_by_number() {
        let names = || ["z", "nll"].into_iter();
        let position = |name: &str| TensorName::new(name).and_then(|name| name.position_in(names()));
        assert_eq!((position("nll"), position("#0"), position("#2"), position("x")), (Some(1), Some(0), None, None));
    }

    #[test]
    fn normality_is_negated_and_errors_are_means_per_window() {
        let mut scores = [0.0; 2];
        score_from_output(&[1.5, -2.0], ScoreSign::HigherIsNormal, &mut scores);
        assert_eq!(scores, [-1.5, 2.0]);
        score_from_error(&[1.0, 2.0, 3.0, 4.0], &[1.0, 0.0, 0.0, 0.0], &mut scores);
        assert_eq!(scores, [2.0, 12.5]);
        score_from_error(&[], &[], &mut scores);
        assert!(scores[0].is_nan());
    }
}
