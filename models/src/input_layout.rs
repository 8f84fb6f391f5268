//! How a normalised window becomes the input tensors of an ONNX model.

use alfred_core::limits::{CHANNELS, JOINTS, WINDOW_FRAMES_MAX, WINDOW_FRAMES_MIN};
use alfred_core::scorer::Window;
use ndarray::{ArrayView3, ArrayViewMut3, Zip, s};
use std::fmt;
use std::str::FromStr;

/// Tensors that a layout fills at most.
pub const INPUTS_MAX: usize = 2;

/// The declared order of a window's values in a model's inputs. B windows per run, T frames per window, 18 joints, f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputLayout {
    /// One input (B, 2, T, 18), as in STG-NF and most of its relatives.
    TimeMajor,
    /// One input (B, T, 18, 2).
    FrameMajor,
    /// One input (B, 2, 18, T): a window as it is.
    JointMajor,
    /// Two inputs (B, S, 72), source then target, T = 2 S. To each frame its difference to the window's first frame is appended
    /// (36 values), both halves are (2, S, 36), and each is read as (S, 72) without permuting (SPARTA, token configuration `pst`).
    SpartaTokens,
}

const ALL: [(InputLayout, &str); 4] = [
    (InputLayout::TimeMajor, "time_major"),
    (InputLayout::FrameMajor, "frame_major"),
    (InputLayout::JointMajor, "joint_major"),
    (InputLayout::SpartaTokens, "sparta_tokens"),
];

/// Values of one token: 18 joints, absolute and relative, of two frames.
const TOKEN_VALUES: usize = 2 * 2 * JOINTS;

impl InputLayout {
    /// Number of inputs of the model.
    #[must_use]
    pub const fn inputs(self) -> usize {
        match self {
            Self::SpartaTokens => 2,
            _ => 1,
        }
    }

    /// Frames T that a window has if each input has `shape` (the batch comes first); `None` when the shape is not the layout's
    /// or T is out of the limits.
    #[must_use]
    pub fn window_frames(self, shape: &[usize]) -> Option<usize> {
        let frames = match (self, shape) {
            (Self::TimeMajor, &[_, CHANNELS, frames, JOINTS])
            | (Self::FrameMajor, &[_, frames, JOINTS, CHANNELS])
            | (Self::JointMajor, &[_, CHANNELS, JOINTS, frames]) => frames,
            (Self::SpartaTokens, &[_, tokens, TOKEN_VALUES]) => tokens.checked_mul(2)?,
            _ => return None,
        };
        (WINDOW_FRAMES_MIN..=WINDOW_FRAMES_MAX).contains(&frames).then_some(frames)
    }

    /// The shape in words, for messages.
    #[must_use]
    pub const fn shape_text(self) -> &'static str {
        match self {
            Self::TimeMajor => "one f32 input (B, 2, T, 18)",
            Self::FrameMajor => "one f32 input (B, T, 18, 2)",
            Self::JointMajor => "one f32 input (B, 2, 18, T)",
            Self::SpartaTokens => "two f32 inputs (B, T/2, 72), source then target",
        }
    }

    /// Writes one window's part of input number `input` (0, or 1 for the target tokens) into `out`, which holds that many values.
    /// A slice of another length is left alone: shapes were checked when the model was loaded.
    pub fn fill(self, window: &Window, input: usize, out: &mut [f32]) {
        let frames = window.frames();
        let Ok(values) = ArrayView3::from_shape((CHANNELS, JOINTS, frames), window.values()) else { return };
        let time_major = values.permuted_axes([0, 2, 1]);
        let dense = match self {
            Self::TimeMajor => time_major,
            Self::FrameMajor => values.permuted_axes([2, 1, 0]),
            Self::JointMajor => values,
            Self::SpartaTokens => return fill_tokens(&time_major, input, out),
        };
        if let Ok(mut out) = ArrayViewMut3::from_shape(dense.raw_dim(), out) {
            out.assign(&dense);
        }
    }
}

/// One half of a window as tokens: [channel][time][absolute joints, relative joints]. `values` is [channel][time][joint].
fn fill_tokens(values: &ArrayView3<'_, f32>, half: usize, out: &mut [f32]) {
    let frames = values.dim().1 / 2;
    let Ok(mut out) = ArrayViewMut3::from_shape((CHANNELS, frames, 2 * JOINTS), out) else { return };
    if half > 1 {
        return;
    }
    let part = values.slice(s![.., half * frames..(half + 1) * frames, ..]);
    out.slice_mut(s![.., .., ..JOINTS]).assign(&part);
    let first = values.slice(s![.., ..1, ..]);
    Zip::from(out.slice_mut(s![.., .., JOINTS..])).and(&part).and_broadcast(&first).for_each(|out, value, first| *out = value - first);
}

impl fmt::Display for InputLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALL.iter().find(|(layout, _)| layout == self).map_or("", |(_, name)| name))
    }
}

/// The text names no layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoInputLayout;

impl fmt::Display for NoInputLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write time_major, frame_major, joint_major or sparta_tokens")
    }
}

impl std::error::Error for NoInputLayout {}

impl FromStr for InputLayout {
    type Err = NoInputLayout;

    fn from_str(text: &str) -> Result<Self, NoInputLayout> {
        ALL.iter().find(|(_, name)| *name == text.trim()).map(|(layout, _)| *layout).ok_or(NoInputLayout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value of a point that tells where it came from.
    fn value(channel: usize, frame: usize, joint: usize) -> f32 {
        (channel * 10_000 + frame * 100 + joint) as f32
    }

    fn window(frames: usize) -> Window {
        let mut window = Window::EMPTY;
        window.set_frames(frames);
        for (position, out) in window.values_mut().iter_mut().enumerate() {
            *out = value(position / (JOINTS * frames), position % frames, position / frames % JOINTS);
        }
        window
    }

    #[test]
    fn dense_layouts_permute_the_window() {
        let (window, frames) = (window(24), 24);
        let mut out = vec![0.0; CHANNELS * JOINTS * frames];
        InputLayout::TimeMajor.fill(&window, 0, &mut out);
        let mut published = out.clone();
        window.copy_time_major(&mut published);
        assert_eq!(out, published);
        assert_eq!(out[(frames + 3) * JOINTS + 5], value(1, 3, 5));
        InputLayout::FrameMajor.fill(&window, 0, &mut out);
        assert_eq!(out[(3 * JOINTS + 5) * CHANNELS + 1], value(1, 3, 5));
        InputLayout::JointMajor.fill(&window, 0, &mut out);
        assert_eq!(out, window.values());
    }

    #[test]
    fn tokens_hold_absolute_and_relative_joints_of_one_coordinate() {
        let (window, tokens) = (window(48), 24);
        let mut out = vec![0.0; tokens * TOKEN_VALUES];
        InputLayout::SpartaTokens.fill(&window, 1, &mut out);
        // Target frame 5 (frame 29) of channel y: token 12 + 2, second half.
        let token = &out[(12 + 2) * TOKEN_VALUES + 36..][..36];
        assert_eq!(token[7], value(1, 29, 7));
        assert_eq!(token[18 + 7], value(1, 29, 7) - value(1, 0, 7));
        InputLayout::SpartaTokens.fill(&window, 0, &mut out);
        assert_eq!(&out[18..36], &[0.0; 18], "the first frame is relative to itself");
    }

    #[test]
    fn shapes_give_the_window_or_nothing() {
        assert_eq!(InputLayout::TimeMajor.window_frames(&[1, 2, 24, 18]), Some(24));
        assert_eq!(InputLayout::TimeMajor.window_frames(&[1, 3, 24, 18]), None);
        assert_eq!(InputLayout::TimeMajor.window_frames(&[1, 2, 200, 18]), None);
        assert_eq!(InputLayout::FrameMajor.window_frames(&[8, 16, 18, 2]), Some(16));
        assert_eq!(InputLayout::JointMajor.window_frames(&[8, 2, 18, 16]), Some(16));
        assert_eq!(InputLayout::SpartaTokens.window_frames(&[1, 24, 72]), Some(48));
    }

    #[test]
    fn layouts_survive_a_round_trip_through_text() {
        for (layout, name) in ALL {
            assert_eq!((layout.to_string().as_str(), name.parse()), (name, Ok(layout)));
        }
        assert_eq!("ctv".parse::<InputLayout>(), Err(NoInputLayout));
    }
}
