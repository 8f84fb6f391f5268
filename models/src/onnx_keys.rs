//! Keys of the metadata by which an ONNX file says what it is: written by the host, read by the device (`onnx_manifest`).

/// Key: name of the architecture, free text.
pub const KEY_ARCHITECTURE: &str = "alfred.architecture";
/// Key: order of the values in the inputs, say `time_major`.
pub const KEY_INPUT_LAYOUT: &str = "alfred.input_layout";
/// Key: how outputs become a score ([`crate::score_rule::ScoreRule`]).
pub const KEY_SCORE_RULE: &str = "alfred.score_rule";
/// Key: detections per window, must agree with the input's shape.
pub const KEY_WINDOW_FRAMES: &str = "alfred.window_frames";
/// Key: frame of a window, counted from its first one, that the score belongs to; the middle unless SPARTA's tokens go in.
pub const KEY_SCORE_FRAME: &str = "alfred.score_frame";
/// Key: decision threshold on the score, a finite number.
pub const KEY_THRESHOLD: &str = "alfred.threshold";
/// Key: name of the preprocessing that the weights were trained with, free text; the data path compares it with its own.
pub const KEY_PREPROCESSING: &str = "alfred.preprocessing";
