//! The sizes of a GA-VAE: everything follows from one number, its width d.
//!
//! Channel counts and strides are those of the published code's tables; there d is 10. The cost of scoring grows with d squared:
//! 440 million multiplications a window at d = 10, about 70 million at d = 4.

use alfred_core::limits::JOINTS;
use core::fmt;

/// Detections T of a window.
pub const WINDOW_FRAMES: usize = 24;

/// Frames that remain of a window in the latent space: the encoder's strides divide its length by 6.
pub const LATENT_FRAMES: usize = 4;

/// Width d of the published code.
pub const PUBLISHED_WIDTH: usize = 10;

/// Smallest width.
pub const WIDTH_MIN: usize = 2;

/// Largest width; bounds every buffer.
pub const WIDTH_MAX: usize = 16;

/// Matrices of an adjacency family, and families: fixed, learnt, computed from the window.
pub const SUBSETS: usize = 3;

/// Taps of every temporal convolution.
pub const TAPS: usize = 9;

/// Encoder blocks.
pub const ENCODER_BLOCKS: usize = 9;

/// Decoder blocks before the output convolution.
pub const DECODER_BLOCKS: usize = 5;

/// Channels of the encoder's blocks divided by 2 d.
const ENCODER_CHANNELS: [usize; ENCODER_BLOCKS] = [4, 4, 4, 6, 6, 6, 8, 8, 4];

/// Temporal strides of the encoder's blocks.
const ENCODER_STRIDES: [usize; ENCODER_BLOCKS] = [1, 1, 2, 1, 1, 3, 1, 1, 1];

/// Channels of the decoder's blocks divided by d.
const DECODER_CHANNELS: [usize; DECODER_BLOCKS] = [8, 8, 6, 6, 6];

/// By how much time is stretched (linearly) before each of the decoder's blocks.
const DECODER_STRETCHES: [usize; DECODER_BLOCKS] = [3, 1, 1, 2, 1];

/// How a block's input reaches its output beside the convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// Not at all.
    None,
    /// As it is.
    Identity,
    /// Through a 1x1 convolution with the block's stride and a batch normalisation.
    Projected,
}

/// Sizes of one block: graph attention, then a convolution over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockShape {
    /// Channels of its input.
    pub inputs: usize,
    /// Channels of its output.
    pub outputs: usize,
    /// Frames of its input (after stretching, in the decoder).
    pub frames: usize,
    /// Frames from one output to the next.
    pub stride: usize,
    /// By how much its input is stretched in time before it: 1 in the encoder.
    pub stretch: usize,
    /// How the block's input is added to its output.
    pub residual: Residual,
    /// Whether a ReLU ends the block: not in the encoder's last one.
    pub ends_in_relu: bool,
}

impl BlockShape {
    /// Channels e that one matrix of the window's own adjacency is computed from.
    #[must_use]
    pub const fn embedding(&self) -> usize {
        self.outputs / 4
    }

    /// Frames of its output.
    #[must_use]
    pub const fn output_frames(&self) -> usize {
        self.frames / self.stride
    }

    /// Whether the graph attention's own residual is a 1x1 convolution with batch normalisation; else it is the input as it is.
    #[must_use]
    pub const fn projects_graph(&self) -> bool {
        self.inputs != self.outputs
    }
}

/// The shape of a model: all of it follows from the width d.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaVaeShape {
    width: usize,
}

/// A width that no GA-VAE can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeFault {
    /// The refused width.
    pub width: usize,
}

impl fmt::Display for ShapeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.width;
        write!(f, "no GA-VAE has width {width}: choose an even number from {WIDTH_MIN} to {WIDTH_MAX}")
    }
}

impl core::error::Error for ShapeFault {}

impl GaVaeShape {
    /// The shape of width d: even, so that a quarter of every channel count is a whole number.
    ///
    /// # Errors
    /// [`ShapeFault`] for any other width.
    pub const fn new(width: usize) -> Result<Self, ShapeFault> {
        if width < WIDTH_MIN || width > WIDTH_MAX || !width.is_multiple_of(2) { Err(ShapeFault { width }) } else { Ok(Self { width }) }
    }

    /// Width d.
    #[must_use]
    pub const fn width(self) -> usize {
        self.width
    }

    /// Channels of the latent mean, and as many of the logarithm of its deviation: 4 d. The encoder's output holds the means first.
    #[must_use]
    pub const fn latent_channels(self) -> usize {
        4 * self.width
    }

    /// Channels of the encoder's output.
    #[must_use]
    pub const fn output_channels(self) -> usize {
        2 * self.latent_channels()
    }

    /// Numbers that the encoder makes of a window, and that the score compares: 8 d channels x 4 frames x 18 joints.
    #[must_use]
    pub const fn latent_values(self) -> usize {
        self.output_channels() * LATENT_FRAMES * JOINTS
    }

    /// An encoder block's sizes.
    ///
    /// # Panics
    /// When there is no such block.
    #[must_use]
    pub const fn encoder_block(self, block: usize) -> BlockShape {
        let mut frames = WINDOW_FRAMES;
        let mut before = 0;
        while before < block {
            frames /= ENCODER_STRIDES[before];
            before += 1;
        }
        let inputs = if block == 0 { alfred_core::limits::CHANNELS } else { 2 * self.width * ENCODER_CHANNELS[block - 1] };
        let (outputs, stride) = (2 * self.width * ENCODER_CHANNELS[block], ENCODER_STRIDES[block]);
        let residual = match (block, inputs == outputs && stride == 1) {
            (0, _) => Residual::None,
            (_, true) => Residual::Identity,
            (_, false) => Residual::Projected,
        };
        BlockShape { inputs, outputs, frames, stride, stretch: 1, residual, ends_in_relu: block + 1 < ENCODER_BLOCKS }
    }

    /// A decoder block's sizes.
    ///
    /// # Panics
    /// When there is no such block.
    #[must_use]
    pub const fn decoder_block(self, block: usize) -> BlockShape {
        let mut frames = LATENT_FRAMES;
        let mut upto = 0;
        while upto <= block {
            frames *= DECODER_STRETCHES[upto];
            upto += 1;
        }
        let inputs = if block == 0 { self.latent_channels() } else { self.width * DECODER_CHANNELS[block - 1] };
        let outputs = self.width * DECODER_CHANNELS[block];
        let residual = if inputs == outputs { Residual::Identity } else { Residual::Projected };
        BlockShape { inputs, outputs, frames, stride: 1, stretch: DECODER_STRETCHES[block], residual, ends_in_relu: true }
    }

    /// Channels that the decoder's output convolution reads.
    #[must_use]
    pub const fn decoder_channels(self) -> usize {
        self.width * DECODER_CHANNELS[DECODER_BLOCKS - 1]
    }
}
