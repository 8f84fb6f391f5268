//! What a SPARTA model consists of: its sizes, its tensors by their published names, and what makes them valid.
//!
//! Source of sizes and names: the SPARTA paper (arXiv 2408.15185), its future-target decoder branch (FTD), and the names that its
//! published checkpoints use. One pair of tables, [`ENCODER_TENSORS`] and [`DECODER_TENSORS`], serves reader, writer and trainer.

use core::fmt;

/// Numbers of one token, and width E of the network: 18 joints, absolute and relative, of two frames of one coordinate.
pub const EMBEDDING: usize = 72;

/// Attention heads.
pub const HEADS: usize = 12;

/// Numbers of a token that one head sees.
pub const HEAD_VALUES: usize = EMBEDDING / HEADS;

/// Hidden width of the feed-forward networks.
pub const HIDDEN: usize = 64;

/// Encoder layers, and as many decoder layers.
pub const LAYERS: usize = 4;

/// Tokens S of the source, and as many of the target.
pub const TOKENS: usize = 24;

/// Detections that the `tokens` form sees; the rest of its 24 it predicts.
pub const SEEN_FRAMES: usize = TOKENS / 2;

/// Added to the variance by every layer normalisation.
pub const NORM_EPSILON: f64 = 1e-5;

/// Numbers in all tensors: 329,984.
pub const PARAMETERS: usize = LAYERS * (values(&ENCODER_TENSORS) + values(&DECODER_TENSORS));

const _: () = assert!(PARAMETERS == 329_984);

/// Over what attention runs. The tensors are the same, their meaning is not: weights trained in one form are worthless in the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As the released weights: never over the tokens of a window. The published code runs it over the windows of a mini-batch, token by
    /// token; a window scored on its own has one key per token.
    #[default]
    Published,
    /// Over the 24 tokens of a window, as the paper describes it, to predict the window's second half from its first. Differences from the
    /// published form; but for the first they are ours:
    ///
    /// 1. A token attends to all 24 tokens, and is one frame's pose, as the paper's figure shows it: x absolute, x relative, y likewise.
    /// 2. A window has 24 detections. The encoder reads those of the first half, and of the second only their positions. (A track has no score
    ///    in its first and last frames; with windows of 48 a quarter of all poses of our benchmark had none.)
    /// 3. The decoder reads positions only, never the target: what it gives for the target it had to predict. (In the published form it
    ///    reads the target, which it then only has to copy; its error says little.)
    /// 4. Normalisations stand before their parts, not after the sums, so that the output is a sum and has any size. (After a last
    ///    normalisation all tokens of the output have the same length, which those of poses have not: such a model, trained by us,
    ///    ranked windows no better than chance.)
    /// 5. The decoder's keys are made of the encoder's output normalised, its values of the output as it is. (Else the softmax's inputs grow with
    ///    the window, until single precision cannot tell two nearly equal ones apart.)
    /// 6. Loss and score are the mean absolute difference, not the mean squared one, which a few joints that the detector lost rule.
    ///
    /// The prediction is the decoder's output less the positions that went in. Layers whose output matrices are zero are left out.
    Tokens,
}

impl Form {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Published, Self::Tokens];

    /// Name in files and reports: "published" or "tokens-2". (Weights of a first "tokens" form mean something else, see
    /// [`crate::sparta::weights_file`].)
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Tokens => "tokens-2",
        }
    }

    /// Detections of a window: source and target.
    #[must_use]
    pub const fn window_frames(self) -> usize {
        match self {
            Self::Published => 2 * TOKENS,
            Self::Tokens => TOKENS,
        }
    }

    /// Frame of a window, counted from its first one, that its score belongs to, by the published rule: the middle of the target.
    #[must_use]
    pub const fn score_frame(self) -> usize {
        self.window_frames() * 3 / 4
    }

    /// The first token whose error counts.
    #[must_use]
    pub const fn first_predicted(self) -> usize {
        match self {
            Self::Published => 0,
            Self::Tokens => SEEN_FRAMES,
        }
    }

    /// The form of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }
}

/// One row of a layer's table: a tensor's name and shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerTensor {
    /// Name after the prefix `encoder.layers.{i}.` or `decoder.layers.{i}.`.
    pub suffix: &'static str,
    /// Rows: outputs of a matrix, or a vector's length.
    rows: usize,
    /// Columns: inputs of a matrix, or 0 for a vector.
    columns: usize,
}

impl LayerTensor {
    const fn matrix(suffix: &'static str, rows: usize, columns: usize) -> Self {
        Self { suffix, rows, columns }
    }

    const fn vector(suffix: &'static str, rows: usize) -> Self {
        Self { suffix, rows, columns: 0 }
    }

    /// Number of values.
    #[must_use]
    pub const fn values(&self) -> usize {
        if self.columns == 0 { self.rows } else { self.rows * self.columns }
    }

    /// Whether this is a vector: a bias or a normalisation's factor.
    #[must_use]
    pub const fn is_vector(&self) -> bool {
        self.columns == 0
    }

    /// Shape as files declare it, outputs first.
    #[must_use]
    pub const fn shape(&self) -> TensorShape {
        TensorShape { dimensions: [self.rows, self.columns], rank: if self.columns == 0 { 1 } else { 2 } }
    }
}

/// Shape of a tensor: one or two dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorShape {
    dimensions: [usize; 2],
    rank: usize,
}

impl TensorShape {
    /// The dimensions, slowest first.
    #[must_use]
    pub fn dimensions(&self) -> &[usize] {
        &self.dimensions[..self.rank]
    }
}

/// Query, key and value of an attention in one matrix, in this order.
pub(super) const IN_ROWS: usize = 3 * EMBEDDING;

/// Every tensor of an encoder layer, in storage order, by its published name.
pub const ENCODER_TENSORS: [LayerTensor; 12] = [
    LayerTensor::matrix("self_attn.in_proj_weight", IN_ROWS, EMBEDDING),
    LayerTensor::vector("self_attn.in_proj_bias", IN_ROWS),
    LayerTensor::matrix("self_attn.out_proj.weight", EMBEDDING, EMBEDDING),
    LayerTensor::vector("self_attn.out_proj.bias", EMBEDDING),
    LayerTensor::matrix("linear1.weight", HIDDEN, EMBEDDING),
    LayerTensor::vector("linear1.bias", HIDDEN),
    LayerTensor::matrix("linear2.weight", EMBEDDING, HIDDEN),
    LayerTensor::vector("linear2.bias", EMBEDDING),
    LayerTensor::vector("norm1.weight", EMBEDDING),
    LayerTensor::vector("norm1.bias", EMBEDDING),
    LayerTensor::vector("norm2.weight", EMBEDDING),
    LayerTensor::vector("norm2.bias", EMBEDDING),
];

/// Every tensor of a decoder layer, in storage order, by its published name.
pub const DECODER_TENSORS: [LayerTensor; 18] = [
    LayerTensor::matrix("self_attn.in_proj_weight", IN_ROWS, EMBEDDING),
    LayerTensor::vector("self_attn.in_proj_bias", IN_ROWS),
    LayerTensor::matrix("self_attn.out_proj.weight", EMBEDDING, EMBEDDING),
    LayerTensor::vector("self_attn.out_proj.bias", EMBEDDING),
    LayerTensor::matrix("multihead_attn.in_proj_weight", IN_ROWS, EMBEDDING),
    LayerTensor::vector("multihead_attn.in_proj_bias", IN_ROWS),
    LayerTensor::matrix("multihead_attn.out_proj.weight", EMBEDDING, EMBEDDING),
    LayerTensor::vector("multihead_attn.out_proj.bias", EMBEDDING),
    LayerTensor::matrix("linear1.weight", HIDDEN, EMBEDDING),
    LayerTensor::vector("linear1.bias", HIDDEN),
    LayerTensor::matrix("linear2.weight", EMBEDDING, HIDDEN),
    LayerTensor::vector("linear2.bias", EMBEDDING),
    LayerTensor::vector("norm1.weight", EMBEDDING),
    LayerTensor::vector("norm1.bias", EMBEDDING),
    LayerTensor::vector("norm2.weight", EMBEDDING),
    LayerTensor::vector("norm2.bias", EMBEDDING),
    LayerTensor::vector("norm3.weight", EMBEDDING),
    LayerTensor::vector("norm3.bias", EMBEDDING),
];

/// Values of a layer.
const fn values(table: &[LayerTensor]) -> usize {
    let mut total = 0;
    let mut row = 0;
    while row < table.len() {
        total += table[row].values();
        row += 1;
    }
    total
}

/// One of the two stacks of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// Reads the source.
    Encoder,
    /// Reads the target, and the encoder's output.
    Decoder,
}

impl Stack {
    /// Both, in storage order.
    pub const ALL: [Self; 2] = [Self::Encoder, Self::Decoder];

    /// The tensors of one of its layers.
    #[must_use]
    pub const fn table(self) -> &'static [LayerTensor] {
        match self {
            Self::Encoder => &ENCODER_TENSORS,
            Self::Decoder => &DECODER_TENSORS,
        }
    }

    /// Where a layer's values begin.
    pub(super) const fn start(self, layer: usize) -> usize {
        let before = match self {
            Self::Encoder => 0,
            Self::Decoder => LAYERS * values(&ENCODER_TENSORS),
        };
        before + layer * values(self.table())
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        })
    }
}

/// A tensor's full published name: displays as `encoder.layers.{layer}.{suffix}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorName {
    /// Encoder or decoder.
    pub stack: Stack,
    /// Layer, from 0.
    pub layer: usize,
    /// Name inside the layer.
    pub suffix: &'static str,
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.layers.{}.{}", self.stack, self.layer, self.suffix)
    }
}

/// One tensor of a model, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Full published name.
    pub name: TensorName,
    /// Shape as files declare it.
    pub shape: TensorShape,
    /// Values, outputs slowest.
    pub values: &'a [f32],
}

/// One tensor of a model, to be written.
#[derive(Debug)]
pub struct TensorMut<'a> {
    /// Full published name.
    pub name: TensorName,
    /// Shape as files declare it.
    pub shape: TensorShape,
    /// Values, outputs slowest.
    pub values: &'a mut [f32],
}

/// Why parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterFault {
    /// The storage does not hold [`PARAMETERS`] values.
    Length {
        /// Values that it holds.
        found: usize,
    },
    /// A tensor holds NaN or an infinity.
    NotFinite(TensorName),
    /// Merging the linear maps of this layer overflows `f32`.
    NotFoldable {
        /// Encoder or decoder.
        stack: Stack,
        /// Layer, from 0.
        layer: usize,
    },
}

impl fmt::Display for ParameterFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found } => write!(f, "{found} values instead of {PARAMETERS}: this is no SPARTA model"),
            Self::NotFinite(name) => write!(f, "tensor {name} holds NaN or an infinity: use the weights from before it"),
            Self::NotFoldable { stack, layer } => write!(f, "{stack} layer {layer} overflows f32 when its maps are merged: retrain it"),
        }
    }
}

impl core::error::Error for ParameterFault {}

/// All parameters of a model, in one run of [`PARAMETERS`] values: encoder layers, then decoder layers, each in its table's order.
///
/// The storage V is the caller's: a `Vec` or `Box` where there is a heap, a `&'static [f32]` in flash where there is none. An optimiser
/// may walk over [`SpartaParameters::values_mut`] as over one vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpartaParameters<V> {
    values: V,
}

/// Parameters on the heap.
#[cfg(feature = "std")]
impl SpartaParameters<Box<[f32]>> {
    /// A valid model that learnt nothing yet: all weights and biases 0, the factors of normalisations 1.
    #[must_use]
    pub fn zero() -> Self {
        let mut parameters = Self { values: vec![0.0; PARAMETERS].into_boxed_slice() };
        parameters.visit_mut(|tensor| {
            if tensor.name.suffix.starts_with("norm") && tensor.name.suffix.ends_with("weight") {
                tensor.values.fill(1.0);
            }
        });
        parameters
    }
}

impl<V: AsRef<[f32]>> SpartaParameters<V> {
    /// Takes values in storage order. They may be invalid: see [`SpartaParameters::validate`].
    ///
    /// # Errors
    /// [`ParameterFault::Length`] when they are not [`PARAMETERS`].
    pub fn new(values: V) -> Result<Self, ParameterFault> {
        let found = values.as_ref().len();
        if found == PARAMETERS { Ok(Self { values }) } else { Err(ParameterFault::Length { found }) }
    }

    /// All values, in storage order.
    pub fn values(&self) -> &[f32] {
        self.values.as_ref()
    }

    /// Every tensor with its name, shape and values, in storage order.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        let mut rest = self.values();
        rows().map(move |(name, row)| {
            let (values, after) = rest.split_at(row.values());
            rest = after;
            Tensor { name, shape: row.shape(), values }
        })
    }

    /// Checks that every value is finite.
    ///
    /// # Errors
    /// [`ParameterFault::NotFinite`], naming the first tensor at fault.
    pub fn validate(&self) -> Result<(), ParameterFault> {
        match self.tensors().find(|tensor| !tensor.values.iter().all(|value| value.is_finite())) {
            Some(tensor) => Err(ParameterFault::NotFinite(tensor.name)),
            None => Ok(()),
        }
    }
}

impl<V: AsMut<[f32]>> SpartaParameters<V> {
    /// All values, in storage order, to be written.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.values.as_mut()
    }

    /// Hands every tensor to `visit`, to be written, in storage order, until it fails.
    ///
    /// # Errors
    /// The first error of `visit`.
    pub fn try_visit_mut<E>(&mut self, mut visit: impl FnMut(TensorMut<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut rest = self.values_mut();
        for (name, row) in rows() {
            let (values, after) = rest.split_at_mut(row.values());
            rest = after;
            visit(TensorMut { name, shape: row.shape(), values })?;
        }
        Ok(())
    }

    /// Hands every tensor to `visit`, to be written, in storage order.
    pub fn visit_mut(&mut self, mut visit: impl FnMut(TensorMut<'_>)) {
        let Ok(()) = self.try_visit_mut(|tensor| -> Result<(), core::convert::Infallible> {
            visit(tensor);
            Ok(())
        });
    }
}

/// Names and rows of all tensors, in storage order.
fn rows() -> impl Iterator<Item = (TensorName, &'static LayerTensor)> {
    Stack::ALL.into_iter().flat_map(|stack| {
        (0..LAYERS).flat_map(move |layer| stack.table().iter().map(move |row| (TensorName { stack, layer, suffix: row.suffix }, row)))
    })
}
