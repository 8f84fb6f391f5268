//! Folding of the `tokens` form: what is exact around a softmax over 24 keys.
//!
//! As in the `published` form, factors and offsets of normalisations go into the matrices that read them, and what a normalisation
//! reads is centred beforehand. Around the softmax three more merges are exact. The scale `1 / sqrt(6)` goes into the queries, and
//! `log2(e)` with it, so that weights are powers of two. A key's constant part adds the same to all scores of a query, which no softmax
//! sees: keys have no bias. The weights of a query sum to 1, so a value's constant part goes through unchanged, into the output's bias.
// Merging runs at load time, on a host's or a service thread's stack.
#![allow(clippy::large_stack_arrays)]

use super::fold::{Affine, EMBEDDING_BLOCKS, FoldedFeedForward, Matrix, Pending, Row, narrowed, set_positions, widened};
use super::layers::Attention;
use super::parameters::{EMBEDDING, HEAD_VALUES, LAYERS, ParameterFault, SpartaParameters, Stack, TOKENS};
use core::f64::consts::LOG2_E;

/// A matrix of 72 numbers to 72.
type Square = Matrix<EMBEDDING, EMBEDDING_BLOCKS>;

/// Attention over tokens with its residual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FoldedAttention {
    /// Scaled, so that `2^(query . key)` is what the softmax normalises.
    pub(super) query: Square,
    pub(super) query_bias: Row,
    pub(super) key: Square,
    pub(super) value: Square,
    /// Centred.
    pub(super) out: Square,
    /// Holds all that is constant, the residual's offset too; centred.
    pub(super) bias: Row,
    /// Factors of the normalisations before it, which the residual carries, and after it.
    pub(super) gains: [Row; 2],
}

impl FoldedAttention {
    const ZERO: Self = Self {
        query: Matrix::ZERO,
        query_bias: [0.0; EMBEDDING],
        key: Matrix::ZERO,
        value: Matrix::ZERO,
        out: Matrix::ZERO,
        bias: [0.0; EMBEDDING],
        gains: [[0.0; EMBEDDING]; 2],
    };

    /// Folds attention to `memory` (for self attention: `before`) between two normalisations.
    fn set(&mut self, from: &Attention<'_>, memory: &Pending, before: &Pending, after: &Pending) {
        let [mut query, mut key, mut value] = [0, 1, 2].map(|part| projection(from, part));
        query.after(before);
        key.after(memory);
        value.after(memory);
        let scale = LOG2_E / libm::sqrt(HEAD_VALUES as f64);
        self.query.fill(|output, input| query.matrix[output][input] * scale);
        self.query_bias = narrowed(&query.bias.map(|bias| bias * scale));
        self.key.fill(|output, input| key.matrix[output][input]);
        self.value.fill(|output, input| value.matrix[output][input]);
        let mut out = Affine { matrix: [[0.0; EMBEDDING]; EMBEDDING], bias: widened(from.out_bias) };
        for (output, row) in out.matrix.iter_mut().enumerate() {
            *row = widened(&from.out_weight[output * EMBEDDING..]);
            let carried: f64 = row.iter().zip(&value.bias).map(|(weight, bias)| weight * bias).sum();
            out.bias[output] += carried + before.offset[output];
        }
        out.centre();
        self.out.fill(|output, input| out.matrix[output][input]);
        self.bias = narrowed(&out.bias);
        self.gains = [narrowed(&before.gain), narrowed(&after.gain)];
    }

    fn is_finite(&self) -> bool {
        let rows = [&self.query_bias, &self.bias, &self.gains[0], &self.gains[1]];
        let matrices = [&self.query, &self.key, &self.value, &self.out];
        matrices.iter().all(|matrix| matrix.is_finite()) && rows.iter().all(|row| row.iter().all(|value| value.is_finite()))
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
    pub(super) attention: FoldedAttention,
    pub(super) feed_forward: FoldedFeedForward,
    /// Factor of the layer's last normalisation.
    pub(super) gain: Row,
}

/// One decoder layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DecoderLayer {
    pub(super) attention: FoldedAttention,
    pub(super) cross: FoldedAttention,
    pub(super) feed_forward: FoldedFeedForward,
    /// Factor of the layer's last normalisation.
    pub(super) gain: Row,
}

/// A model in the `tokens` form, ready to run: 1.3 MB, no pointers. Placed as [`super::fold::FoldedSparta`] is.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedTokens {
    /// Positional encoding, `[position][token]`.
    pub(super) positions: [[f32; TOKENS]; EMBEDDING],
    pub(super) encoder: [EncoderLayer; LAYERS],
    pub(super) decoder: [DecoderLayer; LAYERS],
    /// Offset of the last normalisation; its factor is the last layer's gain.
    pub(super) offset: Row,
}

impl FoldedTokens {
    /// All zero: what a `static` starts as.
    pub const ZERO: Self = Self {
        positions: [[0.0; TOKENS]; EMBEDDING],
        encoder: [EncoderLayer { attention: FoldedAttention::ZERO, feed_forward: FoldedFeedForward::ZERO, gain: [0.0; EMBEDDING] }; LAYERS],
        decoder: [DecoderLayer {
            attention: FoldedAttention::ZERO,
            cross: FoldedAttention::ZERO,
            feed_forward: FoldedFeedForward::ZERO,
            gain: [0.0; EMBEDDING],
        }; LAYERS],
        offset: [0.0; EMBEDDING],
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
        let mut before = Pending::IDENTITY;
        for (layer, folded) in self.encoder.iter_mut().enumerate() {
            let from = parameters.encoder(layer);
            let [first, second] = [0, 1].map(|norm| Pending::of(&from.norms[norm]));
            folded.attention.set(&from.self_attention, &before, &before, &first);
            folded.feed_forward.set(&from.feed_forward, &first);
            folded.gain = narrowed(&second.gain);
            if !(folded.attention.is_finite() && folded.feed_forward.is_finite()) {
                return Err(ParameterFault::NotFoldable { stack: Stack::Encoder, layer });
            }
            before = second;
        }
        let memory = before;
        before = Pending::IDENTITY;
        for (layer, folded) in self.decoder.iter_mut().enumerate() {
            let from = parameters.decoder(layer);
            let [first, second, third] = [0, 1, 2].map(|norm| Pending::of(&from.norms[norm]));
            folded.attention.set(&from.self_attention, &before, &before, &first);
            folded.cross.set(&from.cross_attention, &memory, &first, &second);
            folded.feed_forward.set(&from.feed_forward, &second);
            folded.gain = narrowed(&third.gain);
            if !(folded.attention.is_finite() && folded.cross.is_finite() && folded.feed_forward.is_finite()) {
                return Err(ParameterFault::NotFoldable { stack: Stack::Decoder, layer });
            }
            before = third;
        }
        self.offset = narrowed(&before.offset);
        Ok(())
    }
}
