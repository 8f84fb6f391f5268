//! The decoder in the engine: what scoring by the reconstruction's error needs beside the encoder.

use super::fast::{Pass, shares};
use super::fold::{Cursor, FoldedShape, PANEL, Reading, fill, padded, slope_and_offset};
use super::layers::Output;
use super::product::{Destination, Product, Term};
use super::shape::{BlockShape, DECODER_BLOCKS, GaVaeShape, SUBSETS, TAPS, WINDOW_FRAMES};
use crate::lane::Lane;
use crate::stg_nf::adjacency::SKELETON_EDGES;
use alfred_core::limits::{CHANNELS, JOINTS};
use core::mem::swap;

/// Outputs of the output's 1x1 convolution: a panel holds them.
const EXPANDED: usize = SUBSETS * CHANNELS;

/// Numbers of the last convolution's kernel.
const KERNEL: usize = CHANNELS * CHANNELS * TAPS;

/// Numbers of the folded output: the 1x1 convolution with its bias, slopes, offsets and last biases of the two coordinates, the last kernel.
pub(super) const fn output_values(shape: GaVaeShape) -> usize {
    padded(shape.decoder_channels()) * PANEL + 2 * PANEL + padded(KERNEL)
}

/// The output's values, in the order of [`output_values`].
struct FoldedOutput<'a> {
    expand: &'a [f32],
    bias: &'a [f32],
    slope: &'a [f32],
    offset: &'a [f32],
    last_bias: &'a [f32],
    kernel: &'a [f32],
}

impl<'a> FoldedOutput<'a> {
    fn new(shape: GaVaeShape, values: &'a [f32]) -> Self {
        let (expand, rest) = values.split_at(padded(shape.decoder_channels()) * PANEL);
        let (bias, rest) = rest.split_at(PANEL);
        let (factors, kernel) = rest.split_at(PANEL);
        let part = |number: usize| &factors[number * CHANNELS..][..CHANNELS];
        Self { expand, bias, slope: part(0), offset: part(1), last_bias: part(2), kernel: &kernel[..KERNEL] }
    }
}

/// Folds the output; `None` when a value overflows.
pub(super) fn fold_output(from: &Output<'_>, values: &mut [f32]) -> Option<()> {
    let inputs = from.gcn.weight.len() / EXPANDED;
    let (expand, rest) = values.split_at_mut(padded(inputs) * PANEL);
    fill(expand, padded(inputs), (EXPANDED, inputs), |output, input| f64::from(from.gcn.weight[output * inputs + input]));
    let (bias, rest) = rest.split_at_mut(PANEL);
    bias[..EXPANDED].copy_from_slice(from.gcn.bias);
    let (factors, kernel) = rest.split_at_mut(PANEL);
    for channel in 0..CHANNELS {
        let (slope, offset) = slope_and_offset(&from.norm, channel);
        (factors[channel], factors[CHANNELS + channel]) = (slope as f32, offset as f32);
        factors[2 * CHANNELS + channel] = from.temporal.bias[channel];
    }
    kernel[..KERNEL].copy_from_slice(from.temporal.weight);
    values.iter().all(|value| value.is_finite()).then_some(())
}

impl<L: Lane, const ROWS: usize, const PAIR: usize, const VECTORS: usize> Pass<'_, L, ROWS, PAIR, VECTORS> {
    /// From the encoder's output to the last block's; what remains to be read is the output.
    #[inline(always)]
    pub(super) fn decode(&mut self, shape: GaVaeShape, model: &mut Reading<'_>) {
        let mut row_values = padded(shape.output_channels());
        for number in 0..DECODER_BLOCKS {
            let block = FoldedShape::of(shape.decoder_block(number));
            if number == 0 || block.block.stretch > 1 {
                self.stretch(&block.block, row_values, block.inputs);
            }
            let values = model.block(&block);
            self.block(&block, &values);
            row_values = block.outputs;
        }
    }

    /// Linear interpolation in time with half-pixel centres, held at both ends. The encoder's output holds more channels than the decoder reads.
    #[inline(always)]
    fn stretch(&mut self, block: &BlockShape, row_values: usize, inputs: usize) {
        let frames = block.frames / block.stretch;
        let (from, to) = (&self.scratch.input, &mut self.scratch.output);
        for frame in 0..block.frames {
            let at = ((frame as f32 + 0.5) / block.stretch as f32 - 0.5).max(0.0);
            let before = at as usize;
            let (after, part) = ((before + 1).min(frames - 1), at - before as f32);
            for joint in 0..JOINTS {
                let one = &from[(before * JOINTS + joint) * row_values..][..block.inputs];
                let other = &from[(after * JOINTS + joint) * row_values..][..block.inputs];
                let (row, padding) = to[(frame * JOINTS + joint) * inputs..][..inputs].split_at_mut(block.inputs);
                padding.fill(0.0);
                for ((value, one), other) in row.iter_mut().zip(one).zip(other) {
                    *value = one * (1.0 - part) + other * part;
                }
            }
        }
        swap(&mut self.scratch.input, &mut self.scratch.output);
    }

    /// The mean squared error of the output that comes of the last block's.
    #[inline(always)]
    pub(super) fn error(&mut self, shape: GaVaeShape, model: &[f32], window: &[f32]) -> f64 {
        let output = FoldedOutput::new(shape, model);
        let inputs = padded(shape.decoder_channels());
        let terms = [Term::plain(self.scratch.input, inputs, WINDOW_FRAMES, output.expand)];
        let to = Destination::Rows { rows: self.scratch.output, row_values: PANEL, first: 0 };
        let mut product = Product { terms: &terms, bias: output.bias, carried: None, has_relu: false, to };
        product.run::<L, ROWS, PAIR, VECTORS>(self.lane, WINDOW_FRAMES, 1);
        self.join(&output);
        let hidden = &self.scratch.hidden;
        let mut total = 0.0;
        for channel in 0..CHANNELS {
            for joint in 0..JOINTS {
                let series = &window[(channel * JOINTS + joint) * WINDOW_FRAMES..][..WINDOW_FRAMES];
                for (frame, value) in series.iter().enumerate() {
                    let mut sum = output.last_bias[channel];
                    // Frames beyond both ends are zero.
                    let first = (TAPS / 2).saturating_sub(frame);
                    for tap in first..TAPS.min(WINDOW_FRAMES + TAPS / 2 - frame) {
                        for input in 0..CHANNELS {
                            let at = (input * WINDOW_FRAMES + frame + tap - TAPS / 2) * JOINTS + joint;
                            sum += output.kernel[(channel * CHANNELS + input) * TAPS + tap] * hidden[at];
                        }
                    }
                    let error = f64::from(value - sum);
                    total += error * error;
                }
            }
        }
        total / (CHANNELS * JOINTS * WINDOW_FRAMES) as f64
    }

    /// The fixed family's products with the expanded coordinates, normalised and rectified, to `hidden`: `[coordinate][frame][joint]`.
    #[inline(always)]
    fn join(&mut self, output: &FoldedOutput<'_>) {
        let (expanded, hidden) = (&self.scratch.output, &mut self.scratch.hidden);
        let shares = shares();
        for frame in 0..WINDOW_FRAMES {
            let rows = &expanded[frame * JOINTS * PANEL..][..JOINTS * PANEL];
            for channel in 0..CHANNELS {
                let sums = &mut hidden[(channel * WINDOW_FRAMES + frame) * JOINTS..][..JOINTS];
                for (joint, sum) in sums.iter_mut().enumerate() {
                    *sum = rows[joint * PANEL + channel];
                }
                for (outer, inner) in SKELETON_EDGES {
                    for (from, to, subset) in [(outer, inner, 1), (inner, outer, 2)] {
                        sums[to] += rows[from * PANEL + subset * CHANNELS + channel];
                    }
                }
                for (sum, share) in sums.iter_mut().zip(shares) {
                    let normalised = output.slope[channel] * (*sum * share) + output.offset[channel];
                    // Unlike max, this keeps NaN.
                    *sum = if normalised < 0.0 { 0.0 } else { normalised };
                }
            }
        }
    }
}

const _: () = assert!(EXPANDED <= PANEL && 3 * CHANNELS <= PANEL);
