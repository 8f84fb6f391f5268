//! Folding of the `published` form: attention over one key and layer normalisations merged in `f64` into the matrices that run.
//!
//! The published layers were built without `batch_first`, so their attention runs over the windows of a mini-batch, token by token,
//! never over tokens. For a window on its own there is one key, the softmax is 1, and attention is affine:
//! `attention(x) = W_o (W_v x + b_v) + b_o = A x + a`. Three exact merges follow.
//!
//! 1. The residual: `x + attention(x) = (I + A) x + a`.
//! 2. The normalisation's mean: subtracting the mean over the 72 outputs is linear, so matrix and bias are centred here, and a window
//!    only needs the mean of squares. A residual that bypasses a matrix is centred at run time, by one weighted sum.
//! 3. The normalisation's factor and offset: what reads `factor * n + offset` gets them into its matrix and bias. The values between
//!    layers are then `n`, or rather `u` with `n = u / sqrt(mean(u^2) + 1e-5)`, where the division is left to the reader, too:
//!    `M n = (M u) / sqrt(..)`.
// Constants that go to their place at once, and merging, which runs at load time on a host's or a service thread's stack.
#![allow(clippy::large_stack_arrays)]

use super::layers::{Attention, FeedForward, Norm};
use super::parameters::{EMBEDDING, HIDDEN, LAYERS, ParameterFault, SpartaParameters, Stack, TOKENS};
use super::tokens::positional_encoding;

/// Output rows whose weights lie together: a kernel holds the sums of a block in registers while it goes over the inputs.
pub(super) const BLOCK: usize = 4;

/// Blocks of 72 outputs.
pub(super) const EMBEDDING_BLOCKS: usize = EMBEDDING / BLOCK;

/// Blocks of 64 outputs.
pub(super) const HIDDEN_BLOCKS: usize = HIDDEN / BLOCK;

const _: () = assert!(EMBEDDING.is_multiple_of(2 * BLOCK) && HIDDEN.is_multiple_of(2 * BLOCK));

/// One number per position of a token.
pub(super) type Row = [f32; EMBEDDING];

/// A map from `INPUTS` numbers to `4 * BLOCKS`: `weights[block][input][output of the block]`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Matrix<const INPUTS: usize, const BLOCKS: usize>(pub(super) [[[f32; BLOCK]; INPUTS]; BLOCKS]);

impl<const INPUTS: usize, const BLOCKS: usize> Matrix<INPUTS, BLOCKS> {
    pub(super) const ZERO: Self = Self([[[0.0; BLOCK]; INPUTS]; BLOCKS]);

    /// Fills the matrix with `value(output, input)`.
    pub(super) fn fill(&mut self, value: impl Fn(usize, usize) -> f64) {
        for (block, weights) in self.0.iter_mut().enumerate() {
            for (input, weights) in weights.iter_mut().enumerate() {
                for (output, weight) in weights.iter_mut().enumerate() {
                    *weight = value(block * BLOCK + output, input) as f32;
                }
            }
        }
    }

    pub(super) fn is_finite(&self) -> bool {
        self.0.as_flattened().as_flattened().iter().all(|weight| weight.is_finite())
    }
}

/// Attention over one key, with its bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mixing {
    pub(super) matrix: Matrix<EMBEDDING, EMBEDDING_BLOCKS>,
    pub(super) bias: Row,
    /// Factor of the normalisation after it: what the next residual multiplies `n` with.
    pub(super) gain: Row,
}

/// A feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FoldedFeedForward {
    pub(super) expand: Matrix<EMBEDDING, HIDDEN_BLOCKS>,
    pub(super) expand_bias: [f32; HIDDEN],
    pub(super) contract: Matrix<HIDDEN, EMBEDDING_BLOCKS>,
    /// Holds the offset of the normalisation before the network, which the residual carries.
    pub(super) contract_bias: Row,
}

/// `u' = mixing(n)`, then `u'' = feed_forward(n') + gain' n'`, centred.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FoldedEncoderLayer {
    pub(super) mixing: Mixing,
    pub(super) feed_forward: FoldedFeedForward,
}

/// As the encoder's; in between `u'' = cross(memory) + gain' n'`, centred, where the cross mixing's bias holds what the residual carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FoldedDecoderLayer {
    pub(super) mixing: Mixing,
    pub(super) cross: Mixing,
    pub(super) feed_forward: FoldedFeedForward,
}

/// A model in the `published` form, ready to run: 560 kB, no pointers. Where there is a heap, [`FoldedSparta::fold`] puts it there;
/// where there is none, a `static` that starts as [`FoldedSparta::ZERO`] holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedSparta {
    /// Positional encoding, `[position][token]`.
    pub(super) positions: [[f32; TOKENS]; EMBEDDING],
    pub(super) encoder: [FoldedEncoderLayer; LAYERS],
    pub(super) decoder: [FoldedDecoderLayer; LAYERS],
    /// The last normalisation: the prediction is `gain * n + offset`.
    pub(super) gain: Row,
    pub(super) offset: Row,
}

/// The normalisation whose factor and offset are still pending on the values that a map reads.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    pub(super) gain: [f64; EMBEDDING],
    pub(super) offset: [f64; EMBEDDING],
}

impl Pending {
    pub(super) const IDENTITY: Self = Self { gain: [1.0; EMBEDDING], offset: [0.0; EMBEDDING] };

    pub(super) fn of(norm: &Norm<'_>) -> Self {
        Self { gain: widened(norm.weight), offset: widened(norm.bias) }
    }
}

/// Values in `f64`; as many as both sides have.
pub(super) fn widened<const N: usize>(values: &[f32]) -> [f64; N] {
    let mut wide = [0.0; N];
    for (wide, &value) in wide.iter_mut().zip(values) {
        *wide = f64::from(value);
    }
    wide
}

pub(super) fn narrowed(values: &[f64; EMBEDDING]) -> Row {
    values.map(|value| value as f32)
}

/// An affine map of 72 numbers in `f64`, `matrix[output][input]`.
pub(super) struct Affine<const INPUTS: usize> {
    pub(super) matrix: [[f64; INPUTS]; EMBEDDING],
    pub(super) bias: [f64; EMBEDDING],
}

impl Affine<EMBEDDING> {
    /// Attention over one key: `W_o (W_v x + b_v) + b_o`.
    fn of(attention: &Attention<'_>) -> Self {
        let value_weight = &attention.in_weight[2 * EMBEDDING * EMBEDDING..];
        let value_bias = &attention.in_bias[2 * EMBEDDING..];
        let mut map = Self { matrix: [[0.0; EMBEDDING]; EMBEDDING], bias: widened(attention.out_bias) };
        for (output, (row, bias)) in map.matrix.iter_mut().zip(&mut map.bias).enumerate() {
            for middle in 0..EMBEDDING {
                let weight = f64::from(attention.out_weight[output * EMBEDDING + middle]);
                *bias += weight * f64::from(value_bias[middle]);
                for (entry, &value) in row.iter_mut().zip(&value_weight[middle * EMBEDDING..]) {
                    *entry += weight * f64::from(value);
                }
            }
        }
        map
    }

    /// The map of `gain * n + offset` as a map of `n`.
    pub(super) fn after(&mut self, pending: &Pending) {
        for (row, bias) in self.matrix.iter_mut().zip(&mut self.bias) {
            *bias += row.iter().zip(&pending.offset).map(|(entry, offset)| entry * offset).sum::<f64>();
            row.iter_mut().zip(&pending.gain).for_each(|(entry, gain)| *entry *= gain);
        }
    }
}

impl<const INPUTS: usize> Affine<INPUTS> {
    /// Subtracts the mean over the outputs.
    fn centre(&mut self) {
        for input in 0..INPUTS {
            let mean = self.matrix.iter().map(|row| row[input]).sum::<f64>() / EMBEDDING as f64;
            self.matrix.iter_mut().for_each(|row| row[input] -= mean);
        }
        let mean = self.bias.iter().sum::<f64>() / EMBEDDING as f64;
        self.bias.iter_mut().for_each(|bias| *bias -= mean);
    }
}

impl Mixing {
    const ZERO: Self = Self { matrix: Matrix::ZERO, bias: [0.0; EMBEDDING], gain: [0.0; EMBEDDING] };

    fn set(&mut self, mut map: Affine<EMBEDDING>, after: &Pending) {
        map.centre();
        self.matrix.fill(|output, input| map.matrix[output][input]);
        self.bias = narrowed(&map.bias);
        self.gain = narrowed(&after.gain);
    }

    /// Self attention and its residual.
    fn set_own(&mut self, attention: &Attention<'_>, before: &Pending, after: &Pending) {
        let mut map = Affine::of(attention);
        for (output, row) in map.matrix.iter_mut().enumerate() {
            row[output] += 1.0;
        }
        map.after(before);
        self.set(map, after);
    }

    /// Attention to the encoder's output; the residual's offset comes from the normalisation `before` it.
    fn set_cross(&mut self, attention: &Attention<'_>, memory: &Pending, before: &Pending, after: &Pending) {
        let mut map = Affine::of(attention);
        map.after(memory);
        map.bias.iter_mut().zip(&before.offset).for_each(|(bias, offset)| *bias += offset);
        self.set(map, after);
    }

    fn is_finite(&self) -> bool {
        self.matrix.is_finite() && self.bias.iter().chain(&self.gain).all(|value| value.is_finite())
    }
}

impl FoldedFeedForward {
    const ZERO: Self = Self { expand: Matrix::ZERO, expand_bias: [0.0; HIDDEN], contract: Matrix::ZERO, contract_bias: [0.0; EMBEDDING] };

    fn set(&mut self, from: &FeedForward<'_>, before: &Pending) {
        let weight = |output: usize, input: usize| f64::from(from.first_weight[output * EMBEDDING + input]);
        self.expand.fill(|output, input| weight(output, input) * before.gain[input]);
        for (output, bias) in self.expand_bias.iter_mut().enumerate() {
            let carried: f64 = (0..EMBEDDING).map(|input| weight(output, input) * before.offset[input]).sum();
            *bias = (f64::from(from.first_bias[output]) + carried) as f32;
        }
        let mut map = Affine { matrix: [[0.0; HIDDEN]; EMBEDDING], bias: widened(from.second_bias) };
        for ((row, bias), (output, offset)) in map.matrix.iter_mut().zip(&mut map.bias).zip(before.offset.iter().enumerate()) {
            *row = widened(&from.second_weight[output * HIDDEN..]);
            *bias += offset;
        }
        map.centre();
        self.contract.fill(|output, input| map.matrix[output][input]);
        self.contract_bias = narrowed(&map.bias);
    }

    pub(super) fn is_finite(&self) -> bool {
        let biases = self.expand_bias.iter().chain(&self.contract_bias);
        self.expand.is_finite() && self.contract.is_finite() && biases.into_iter().all(|value| value.is_finite())
    }
}

impl FoldedSparta {
    /// All zero: what a `static` starts as.
    pub const ZERO: Self = Self {
        positions: [[0.0; TOKENS]; EMBEDDING],
        encoder: [FoldedEncoderLayer { mixing: Mixing::ZERO, feed_forward: FoldedFeedForward::ZERO }; LAYERS],
        decoder: [FoldedDecoderLayer { mixing: Mixing::ZERO, cross: Mixing::ZERO, feed_forward: FoldedFeedForward::ZERO }; LAYERS],
        gain: [0.0; EMBEDDING],
        offset: [0.0; EMBEDDING],
    };

    /// Folds a model onto the heap.
    ///
    /// # Errors
    /// As [`FoldedSparta::fold_into`].
    #[cfg(feature = "std")]
    pub fn fold<V: AsRef<[f32]>>(parameters: &SpartaParameters<V>) -> Result<Box<Self>, ParameterFault> {
        let mut folded = Box::new(Self::ZERO);
        folded.fold_into(parameters)?;
        Ok(folded)
    }

    /// Folds a model into this place; takes about 150 kB of stack. After an error the place holds no usable model.
    ///
    /// # Errors
    /// What [`SpartaParameters::validate`] finds, and [`ParameterFault::NotFoldable`] when a product overflows `f32`.
    pub fn fold_into<V: AsRef<[f32]>>(&mut self, parameters: &SpartaParameters<V>) -> Result<(), ParameterFault> {
        parameters.validate()?;
        set_positions(&mut self.positions);
        let mut before = Pending::IDENTITY;
        for (layer, folded) in self.encoder.iter_mut().enumerate() {
            let from = parameters.encoder(layer);
            let [first, second] = [Pending::of(&from.norms[0]), Pending::of(&from.norms[1])];
            folded.mixing.set_own(&from.self_attention, &before, &first);
            folded.feed_forward.set(&from.feed_forward, &first);
            if !(folded.mixing.is_finite() && folded.feed_forward.is_finite()) {
                return Err(ParameterFault::NotFoldable { stack: Stack::Encoder, layer });
            }
            before = second;
        }
        let memory = before;
        before = Pending::IDENTITY;
        for (layer, folded) in self.decoder.iter_mut().enumerate() {
            let from = parameters.decoder(layer);
            let [first, second, third] = [Pending::of(&from.norms[0]), Pending::of(&from.norms[1]), Pending::of(&from.norms[2])];
            folded.mixing.set_own(&from.self_attention, &before, &first);
            folded.cross.set_cross(&from.cross_attention, &memory, &first, &second);
            folded.feed_forward.set(&from.feed_forward, &second);
            if !(folded.mixing.is_finite() && folded.cross.is_finite() && folded.feed_forward.is_finite()) {
                return Err(ParameterFault::NotFoldable { stack: Stack::Decoder, layer });
            }
            before = third;
        }
        self.gain = narrowed(&before.gain);
        self.offset = narrowed(&before.offset);
        Ok(())
    }
}

/// The positional encoding of all tokens, `[position][token]`.
pub(super) fn set_positions(positions: &mut [[f32; TOKENS]; EMBEDDING]) {
    for (position, row) in positions.iter_mut().enumerate() {
        for (token, value) in row.iter_mut().enumerate() {
            *value = positional_encoding(token, position);
        }
    }
}
