//! A model's tensors by their role: what folding, the oracle and trainers read.

use super::parameters::{BLOCK_TENSORS, GaVaeParameters, Place, TensorName};
use super::shape::{BlockShape, Residual};

/// A batch normalisation in evaluation mode: `(x - running_mean) / sqrt(running_var + 1e-5) * weight + bias`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Factor per channel.
    pub weight: &'a [f32],
    /// Offset per channel.
    pub bias: &'a [f32],
    /// Mean over the training data per channel.
    pub running_mean: &'a [f32],
    /// Variance over the training data per channel.
    pub running_var: &'a [f32],
}

/// A convolution: `weight` is `[output][input]` or `[output][input][tap]`.
#[derive(Clone, Copy, Debug)]
pub struct Convolution<'a> {
    /// Kernel.
    pub weight: &'a [f32],
    /// Offset per output.
    pub bias: &'a [f32],
}

/// A 1x1 convolution, then a batch normalisation.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a> {
    /// The convolution.
    pub convolution: Convolution<'a>,
    /// The normalisation of its outputs.
    pub norm: BatchNorm<'a>,
}

/// One block. With x its input, M the nine matrices of a window and W the nine 1x1 kernels of `expand`:
///
/// 1. family f: `relu(family_norm(sum over its 3 matrices k of (W[f, k] x) M[f, k]))`; `M[0]` is fixed, `M[1]` is `learnt`,
///    `M[2, k][v][w]` is the softmax over v of `sum over embedding channels e and frames t of query[k, e](x)[t, v] * key[k, e](x)[t, w]`.
/// 2. graph attention: `g = reduce(families joined on channels) + graph_residual(x)` (x itself where there is no projection).
/// 3. over time: `h = temporal_norm(temporal(relu(norm(g))))`, kernel 9, zeros beyond both ends, with the block's stride.
/// 4. `relu(h + residual(x))`; without residual in the first encoder block, without the ReLU in the last.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Sizes.
    pub shape: BlockShape,
    /// `[(family, matrix, output)][input]`, no bias.
    pub expand: &'a [f32],
    /// `[matrix][from joint][to joint]`.
    pub learnt: &'a [f32],
    /// `[(matrix, embedding)][input]`.
    pub query: Convolution<'a>,
    /// The same.
    pub key: Convolution<'a>,
    /// Of the three families' channels.
    pub family_norm: BatchNorm<'a>,
    /// `[output][(family, channel)]`, no bias.
    pub reduce: &'a [f32],
    /// Where the number of channels changes.
    pub graph_residual: Option<Projection<'a>>,
    /// After graph attention.
    pub norm: BatchNorm<'a>,
    /// `[output][input][tap]`.
    pub temporal: Convolution<'a>,
    /// After it.
    pub temporal_norm: BatchNorm<'a>,
    /// Where channels or stride change.
    pub residual: Option<Projection<'a>>,
}

/// The decoder's last convolution: `temporal(relu(norm(sum over the 3 fixed matrices k of (gcn[k] x) M[k])))`.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// `[(matrix, coordinate)][input]`; its bias is added before the graph product.
    pub gcn: Convolution<'a>,
    /// Of the two coordinates.
    pub norm: BatchNorm<'a>,
    /// `[output][input][tap]`.
    pub temporal: Convolution<'a>,
}

impl<V: AsRef<[f32]>> GaVaeParameters<V> {
    /// The values of a tensor; empty if the model has none of this name.
    #[must_use]
    pub fn tensor(&self, name: TensorName) -> &[f32] {
        self.tensors().find(|tensor| tensor.name == name).map_or(&[], |tensor| tensor.values)
    }

    /// The normalisation of the window, index `joint * 2 + coordinate`.
    #[must_use]
    pub fn data_norm(&self) -> BatchNorm<'_> {
        let mut reader = self.reader(Place::Data);
        reader.norm()
    }

    /// An encoder block's tensors.
    ///
    /// # Panics
    /// When there is no such block.
    #[must_use]
    pub fn encoder_block(&self, block: usize) -> Block<'_> {
        self.reader(Place::Encoder(block)).block(self.shape().encoder_block(block))
    }

    /// A decoder block's tensors.
    ///
    /// # Panics
    /// When there is no such block.
    #[must_use]
    pub fn decoder_block(&self, block: usize) -> Block<'_> {
        self.reader(Place::Decoder(block)).block(self.shape().decoder_block(block))
    }

    /// The decoder's last convolution.
    #[must_use]
    pub fn output(&self) -> Output<'_> {
        let mut reader = self.reader(Place::Output);
        Output { gcn: reader.convolution(), norm: reader.norm(), temporal: reader.convolution() }
    }

    /// Mean of the encoder's outputs over the training windows, `[channel][frame][joint]`.
    #[must_use]
    pub fn reference_mean(&self) -> &[f32] {
        self.reader(Place::Score).take()
    }

    /// Reads the tensors of a place, one after the other.
    fn reader(&self, place: Place) -> Reader<impl Iterator<Item = &[f32]>> {
        Reader(self.tensors().filter(move |tensor| tensor.name.place == place).map(|tensor| tensor.values))
    }
}

/// The tensors of a place that are still to be read. Its reading order is the tables' order.
struct Reader<I>(I);

impl<'a, I: Iterator<Item = &'a [f32]>> Reader<I> {
    fn take(&mut self) -> &'a [f32] {
        self.0.next().unwrap_or(&[])
    }

    fn norm(&mut self) -> BatchNorm<'a> {
        BatchNorm { weight: self.take(), bias: self.take(), running_mean: self.take(), running_var: self.take() }
    }

    fn convolution(&mut self) -> Convolution<'a> {
        Convolution { weight: self.take(), bias: self.take() }
    }

    fn projection(&mut self) -> Projection<'a> {
        Projection { convolution: self.convolution(), norm: self.norm() }
    }

    fn block(mut self, shape: BlockShape) -> Block<'a> {
        const { assert!(BLOCK_TENSORS.len() == 33) };
        Block {
            shape,
            expand: self.take(),
            learnt: self.take(),
            query: self.convolution(),
            key: self.convolution(),
            family_norm: self.norm(),
            reduce: self.take(),
            graph_residual: shape.projects_graph().then(|| self.projection()),
            norm: self.norm(),
            temporal: self.convolution(),
            temporal_norm: self.norm(),
            residual: (shape.residual == Residual::Projected).then(|| self.projection()),
        }
    }
}
