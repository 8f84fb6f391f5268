//! A layer's tensors by their role: what folding, the oracle and trainers read.

use super::parameters::{EMBEDDING, HIDDEN, IN_ROWS, LAYERS, SpartaParameters, Stack};

/// A multi-head attention: `out_weight * concat over heads of softmax(q k^T / sqrt(6)) v + out_bias`.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// (216, 72): rows 0..72 make queries, 72..144 keys, 144..216 values.
    pub in_weight: &'a [f32],
    /// (216).
    pub in_bias: &'a [f32],
    /// (72, 72).
    pub out_weight: &'a [f32],
    /// (72).
    pub out_bias: &'a [f32],
}

/// A feed-forward network: `second_weight * max(0, first_weight * x + first_bias) + second_bias`.
#[derive(Clone, Copy, Debug)]
pub struct FeedForward<'a> {
    /// (64, 72).
    pub first_weight: &'a [f32],
    /// (64).
    pub first_bias: &'a [f32],
    /// (72, 64).
    pub second_weight: &'a [f32],
    /// (72).
    pub second_bias: &'a [f32],
}

/// A layer normalisation over a token's 72 numbers: `(x - mean) / sqrt(variance + 1e-5) * weight + bias`.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// (72).
    pub weight: &'a [f32],
    /// (72).
    pub bias: &'a [f32],
}

/// Published form: `x = norms[0](x + self_attention(x))`, then `norms[1](x + feed_forward(x))`. Tokens form: `x = x +
/// self_attention(norms[0](x))`, then `x = x + feed_forward(norms[1](x))`.
#[derive(Clone, Copy, Debug)]
pub struct EncoderLayer<'a> {
    /// Attention among the source's tokens.
    pub self_attention: Attention<'a>,
    /// Per token.
    pub feed_forward: FeedForward<'a>,
    /// One for each of the two.
    pub norms: [Norm<'a>; 2],
}

/// Published form: `y = norms[0](y + self_attention(y))`, then `norms[1](y + cross_attention(y, memory))`, then `norms[2](y +
/// feed_forward(y))`. Tokens form: each norm stands before its part, on y alone, and the sum is left as it is.
#[derive(Clone, Copy, Debug)]
pub struct DecoderLayer<'a> {
    /// Attention among the target's tokens.
    pub self_attention: Attention<'a>,
    /// Queries of the target, keys and values of the encoder's output.
    pub cross_attention: Attention<'a>,
    /// Per token.
    pub feed_forward: FeedForward<'a>,
    /// One for each of the three.
    pub norms: [Norm<'a>; 3],
}

impl Attention<'_> {
    fn is_silent(&self) -> bool {
        self.out_weight.iter().chain(self.out_bias).all(|value| *value == 0.0)
    }
}

impl FeedForward<'_> {
    fn is_silent(&self) -> bool {
        self.second_weight.iter().chain(self.second_bias).all(|value| *value == 0.0)
    }
}

impl EncoderLayer<'_> {
    /// Whether the layer adds nothing to what passes through it, so that the `tokens` form is the same without it.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.self_attention.is_silent() && self.feed_forward.is_silent()
    }
}

impl DecoderLayer<'_> {
    /// As [`EncoderLayer::is_silent`].
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.self_attention.is_silent() && self.cross_attention.is_silent() && self.feed_forward.is_silent()
    }
}

impl<V: AsRef<[f32]>> SpartaParameters<V> {
    /// The tensors of an encoder layer by their role.
    ///
    /// # Panics
    /// When there is no such layer.
    #[must_use]
    pub fn encoder(&self, layer: usize) -> EncoderLayer<'_> {
        let mut cursor = self.cursor(Stack::Encoder, layer);
        EncoderLayer { self_attention: cursor.attention(), feed_forward: cursor.feed_forward(), norms: [cursor.norm(), cursor.norm()] }
    }

    /// The tensors of a decoder layer by their role.
    ///
    /// # Panics
    /// When there is no such layer.
    #[must_use]
    pub fn decoder(&self, layer: usize) -> DecoderLayer<'_> {
        let mut cursor = self.cursor(Stack::Decoder, layer);
        DecoderLayer {
            self_attention: cursor.attention(),
            cross_attention: cursor.attention(),
            feed_forward: cursor.feed_forward(),
            norms: [cursor.norm(), cursor.norm(), cursor.norm()],
        }
    }

    /// Which layers of encoder and decoder are not silent: the only ones that the `tokens` form computes and trains.
    #[must_use]
    pub fn speaking_layers(&self) -> [[bool; LAYERS]; 2] {
        let (mut encoder, mut decoder) = ([false; LAYERS], [false; LAYERS]);
        for layer in 0..LAYERS {
            encoder[layer] = !self.encoder(layer).is_silent();
            decoder[layer] = !self.decoder(layer).is_silent();
        }
        [encoder, decoder]
    }

    fn cursor(&self, stack: Stack, layer: usize) -> Cursor<'_> {
        assert!(layer < LAYERS, "layer {layer} of {LAYERS}");
        Cursor(&self.values()[stack.start(layer)..])
    }
}

/// The rest of a layer's values. Its reading order is the tables' order.
struct Cursor<'a>(&'a [f32]);

impl<'a> Cursor<'a> {
    fn take(&mut self, values: usize) -> &'a [f32] {
        let (taken, rest) = self.0.split_at(values);
        self.0 = rest;
        taken
    }

    fn attention(&mut self) -> Attention<'a> {
        Attention {
            in_weight: self.take(IN_ROWS * EMBEDDING),
            in_bias: self.take(IN_ROWS),
            out_weight: self.take(EMBEDDING * EMBEDDING),
            out_bias: self.take(EMBEDDING),
        }
    }

    fn feed_forward(&mut self) -> FeedForward<'a> {
        FeedForward {
            first_weight: self.take(HIDDEN * EMBEDDING),
            first_bias: self.take(HIDDEN),
            second_weight: self.take(EMBEDDING * HIDDEN),
            second_bias: self.take(EMBEDDING),
        }
    }

    fn norm(&mut self) -> Norm<'a> {
        Norm { weight: self.take(EMBEDDING), bias: self.take(EMBEDDING) }
    }
}
