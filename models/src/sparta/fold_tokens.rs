//! Folding of the `tokens` form: what is exact around a softmax over 24 keys, where each part reads normalised values and adds to a sum.
//!
//! A part's normalisation goes into the matrix that reads it: factor and offset, and, since subtracting a token's mean is linear, the
//! mean too (the mean over its inputs is taken from each of its rows). What is left to do per window is to divide by the deviation, and
//! that is left to the product's way out. Around the softmax three more merges are exact. The scale `1 / sqrt(6)` goes into the
//! queries, and `log2(e)` with it, so that weights are powers of two. A key's constant part adds the same to all scores of a query, which
//! no softmax sees: keys have no bias. The weights of a query sum to 1, so a value's constant part goes through unchanged, into the
//! output's bias.
// Merging runs at load time, on a host's or a service thread's stack.
#![allow(clippy::large_stack_arrays)]

use super::fold::{Affine, EMBEDDING_BLOCKS, HIDDEN_BLOCKS, Matrix, Pending, Row, narrowed, set_positions, widened};
use super::layers::{Attention, FeedForward};
use super::parameters::{EMBEDDING, HEAD_VALUES, HIDDEN, LAYERS, ParameterFault, SpartaParameters, Stack, TOKENS};
use core::f64::consts::LOG2_E;

/// A matrix of 72 numbers to 72.
type Square = Matrix<EMBEDDING, EMBEDDING_BLOCKS>;

/// Attention over tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FoldedAttention {
    /// Scaled, so that `2^(query . key)` is what the softmax normalises. Reads the stream, not yet divided by its deviation.
    pub(super) query: Square,
    pub(super) query_bias: Row,
    /// Reads the same, or the encoder's output, not yet divided by its deviation.
    pub(super) key: Square,
    /// Reads the same, or the encoder's output as it is.
    pub(super) value: Square,
    pub(super) out: Square,
    /// Holds all that is constant.
    pub(super) bias: Row,
}

impl FoldedAttention {
    const ZERO: Self = Self {
        query: Matrix::ZERO,
        query_bias: [0.0; EMBEDDING],
        key: Matrix::ZERO,
        value: Matrix::ZERO,
        out: Matrix::ZERO,
        bias: [0.0; EMBEDDING],
    };

    /// Folds attention after `norm`; to the encoder's output, or (`is_own`) to the same tokens.
    fn set(&mut self, from: &Attention<'_>, norm: &Pending, is_own: bool) {
        let [mut query, mut key, mut value] = [0, 1, 2].map(|part| projection(from, part));
        query.after(norm);
        take_mean(&mut query.matrix);
        if is_own {
            key.after(norm);
            value.after(norm);
            take_mean(&mut value.matrix);
        }
        // The encoder's output is normalised for keys, without factors and offsets.
        take_mean(&mut key.matrix);
        let scale = LOG2_E / libm::sqrt(HEAD_VALUES as f64);
        self.query.fill(|output, input| query.matrix[output][input] * scale);
        self.query_bias = narrowed(&query.bias.map(|bias| bias * scale));
        self.key.fill(|output, input| key.matrix[output][input]);
        self.value.fill(|output, input| value.matrix[output][input]);
        let mut bias: [f64; EMBEDDING] = widened(from.out_bias);
        let weight = |output: usize, input: usize| f64::from(from.out_weight[output * EMBEDDING + input]);
        for (output, bias) in bias.iter_mut().enumerate() {
            *bias += value.bias.iter().enumerate().map(|(input, constant)| weight(output, input) * constant).sum::<f64>();
        }
        self.out.fill(weight);
        self.bias = narrowed(&bias);
    }

    fn is_finite(&self) -> bool {
        let matrices = [&self.query, &self.key, &self.value, &self.out];
        matrices.iter().all(|matrix| matrix.is_finite()) && self.query_bias.iter().chain(&self.bias).all(|value| value.is_finite())
    }
}

/// Takes from each row its mean: the map of values less their mean, as a map of the values.
fn take_mean<const ROWS: usize>(matrix: &mut [[f64; EMBEDDING]; ROWS]) {
    for row in matrix {
        let mean = row.iter().sum::<f64>() / EMBEDDING as f64;
        row.iter_mut().for_each(|entry| *entry -= mean);
    }
}

/// A feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FoldedNetwork {
    /// Reads the stream, not yet divided by its deviation.
    pub(super) expand: Matrix<EMBEDDING, HIDDEN_BLOCKS>,
    pub(super) expand_bias: [f32; HIDDEN],
    pub(super) contract: Matrix<HIDDEN, EMBEDDING_BLOCKS>,
    pub(super) contract_bias: Row,
}

impl FoldedNetwork {
    const ZERO: Self = Self { expand: Matrix::ZERO, expand_bias: [0.0; HIDDEN], contract: Matrix::ZERO, contract_bias: [0.0; EMBEDDING] };

    fn set(&mut self, from: &FeedForward<'_>, norm: &Pending) {
        let mut expand = [[0.0; EMBEDDING]; HIDDEN];
        for (output, row) in expand.iter_mut().enumerate() {
            *row = widened(&from.first_weight[output * EMBEDDING..]);
            let carried: f64 = row.iter().zip(&norm.offset).map(|(entry, offset)| entry * offset).sum();
            self.expand_bias[output] = (f64::from(from.first_bias[output]) + carried) as f32;
            row.iter_mut().zip(&norm.gain).for_each(|(entry, gain)| *entry *= gain);
        }
        take_mean(&mut expand);
        self.expand.fill(|output, input| expand[output][input]);
        self.contract.fill(|output, input| f64::from(from.second_weight[output * HIDDEN + input]));
        self.contract_bias.copy_from_slice(from.second_bias);
    }

    fn is_finite(&self) -> bool {
        let mut biases = self.expand_bias.iter().chain(&self.contract_bias);
        self.expand.is_finite() && self.contract.is_finite() && biases.all(|value| value.is_finite())
    }
}

/// Queries (part 0), keys (1) or values (2) as an affine map.
fn projection(from: &Attention<'_>, part: usize) -> Affine<EMBEDDING> {
    let first = part * EMBEDDING;
    let mut map = Affine { matrix: [[0.0; EMBEDDING]; EMBEDDING], bias: widened(&from.in_bias[first..]) };
    for (output, row) in map.matrix.iter_mut().enumerate() {
        *row = widened(&from.in_weight[(first + output) * EMBEDDING..]);
    }
    map
}

/// One encoder layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct EncoderLayer {
    /// A silent layer is left out.
    pub(super) is_silent: bool,
    pub(super) attention: FoldedAttention,
    pub(super) network: FoldedNetwork,
}

/// One decoder layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DecoderLayer {
    /// A silent layer is left out.
    pub(super) is_silent: bool,
    pub(super) attention: FoldedAttention,
    pub(super) cross: FoldedAttention,
    pub(super) network: FoldedNetwork,
}

/// A model in the `tokens` form, ready to run: 1.3 MB, no pointers. Placed as [`super::fold::FoldedSparta`] is.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedTokens {
    /// Positional encoding, `[position][token]`.
    pub(super) positions: [[f32; TOKENS]; EMBEDDING],
    pub(super) encoder: [EncoderLayer; LAYERS],
    pub(super) decoder: [DecoderLayer; LAYERS],
}

impl FoldedTokens {
    /// All zero: what a `static` starts as.
    pub const ZERO: Self = Self {
        positions: [[0.0; TOKENS]; EMBEDDING],
        encoder: [EncoderLayer { is_silent: true, attention: FoldedAttention::ZERO, network: FoldedNetwork::ZERO }; LAYERS],
        decoder: [DecoderLayer {
            is_silent: true,
            attention: FoldedAttention::ZERO,
            cross: FoldedAttention::ZERO,
            network: FoldedNetwork::ZERO,
        }; LAYERS],
    };

    /// Folds a model onto the heap.
    ///
    /// # Errors
    /// As [`FoldedTokens::fold_into`].
    #[cfg(feature = "std")]
    pub fn fold<V: AsRef<[f32]>>(parameters: &SpartaParameters<V>) -> Result<Box<Self>, ParameterFault> {
        let mut folded = Box::new(Self::ZERO);
        folded.fold_into(parameters)?;
        Ok(folded)
    }

    /// Folds a model into this place; takes about 250 kB of stack. After an error the place holds no usable model.
    ///
    /// # Errors
    /// What [`SpartaParameters::validate`] finds, and [`ParameterFault::NotFoldable`] when a product overflows `f32`.
    pub fn fold_into<V: AsRef<[f32]>>(&mut self, parameters: &SpartaParameters<V>) -> Result<(), ParameterFault> {
        parameters.validate()?;
        set_positions(&mut self.positions);
        for (layer, folded) in self.encoder.iter_mut().enumerate() {
            let from = parameters.encoder(layer);
            folded.is_silent = from.is_silent();
            folded.attention.set(&from.self_attention, &Pending::of(&from.norms[0]), true);
            folded.network.set(&from.feed_forward, &Pending::of(&from.norms[1]));
            if !(folded.attention.is_finite() && folded.network.is_finite()) {
                return Err(ParameterFault::NotFoldable { stack: Stack::Encoder, layer });
            }
        }
        for (layer, folded) in self.decoder.iter_mut().enumerate() {
            let from = parameters.decoder(layer);
            let [first, second, third] = [0, 1, 2].map(|norm| Pending::of(&from.norms[norm]));
            folded.is_silent = from.is_silent();
            folded.attention.set(&from.self_attention, &first, true);
            folded.cross.set(&from.cross_attention, &second, false);
            folded.network.set(&from.feed_forward, &third);
            if !(folded.attention.is_finite() && folded.cross.is_finite() && folded.network.is_finite()) {
                return Err(ParameterFault::NotFoldable { stack: Stack::Decoder, layer });
            }
        }
        Ok(())
    }
}
