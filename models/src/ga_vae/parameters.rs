//! What a GA-VAE consists of: its tensors with names, shapes and roles, and what makes them valid.
//!
//! Nobody published weights of this architecture, so the names are ours. One table, [`BLOCK_TENSORS`], serves reader, writer and trainer.

use super::shape::{BlockShape, DECODER_BLOCKS, ENCODER_BLOCKS, GaVaeShape, LATENT_FRAMES, Residual, SUBSETS, TAPS};
use alfred_core::limits::{CHANNELS, JOINTS};
use core::fmt;

/// Added to the variance by every batch normalisation.
pub const BATCH_NORM_EPSILON: f64 = 1e-5;

/// What the learnt adjacency starts as, everywhere.
pub const LEARNT_ADJACENCY_START: f32 = 1e-6;

/// Dimensions of the widest tensor.
const RANK_MAX: usize = 3;

/// How a model's window becomes its anomaly score. Part of the model: a threshold holds for one rule only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScoreRule {
    /// The Euclidean distance between the encoder's output and its mean over the training windows: the published rule.
    #[default]
    Distance,
    /// The mean squared error of the window that the decoder makes of the latent means: our own choice, about a third more work.
    Reconstruction,
}

impl ScoreRule {
    /// Both, the published one first.
    pub const ALL: [Self; 2] = [Self::Distance, Self::Reconstruction];

    /// Value of a weight file's metadata `score_rule`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Distance => "distance(score.reference_mean)",
            Self::Reconstruction => "mean_squared_error(reconstruction)",
        }
    }

    /// The rule of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }
}

/// Who moves a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorRole {
    /// Gradients.
    Trainable,
    /// A batch normalisation's running mean.
    RunningMean,
    /// A batch normalisation's running variance; not negative.
    RunningVariance,
    /// The mean of the encoder's outputs over the training windows, fitted after training.
    ReferenceMean,
}

/// A dimension of a block's tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// The same for every block.
    Fixed(usize),
    /// Channels of the block's input.
    Inputs,
    /// So many times the channels of its output.
    Outputs(usize),
    /// The three embeddings of the window's own adjacency.
    Embeddings,
}

impl Size {
    const fn of(self, block: &BlockShape) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::Inputs => block.inputs,
            Self::Outputs(times) => times * block.outputs,
            Self::Embeddings => SUBSETS * block.embedding(),
        }
    }
}

/// Which blocks have a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Always,
    /// Where the graph attention changes the number of channels.
    GraphProjection,
    /// Where the block changes channels or stride.
    Projection,
}

/// One row of the table of a block's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockTensor {
    /// Name after the block's.
    pub suffix: &'static str,
    /// Who moves it.
    pub role: TensorRole,
    presence: Presence,
    sizes: &'static [Size],
}

impl BlockTensor {
    /// Whether such a block has the tensor.
    #[must_use]
    pub fn is_in(&self, block: &BlockShape) -> bool {
        match self.presence {
            Presence::Always => true,
            Presence::GraphProjection => block.projects_graph(),
            Presence::Projection => block.residual == Residual::Projected,
        }
    }

    /// Its shape in such a block, as files declare it.
    #[must_use]
    pub fn shape(&self, block: &BlockShape) -> TensorShape {
        let mut shape = TensorShape { dimensions: [1; RANK_MAX], rank: self.sizes.len() };
        shape.dimensions.iter_mut().zip(self.sizes).for_each(|(dimension, size)| *dimension = size.of(block));
        shape
    }
}

/// Shape of a tensor: one to three dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorShape {
    dimensions: [usize; RANK_MAX],
    rank: usize,
}

impl TensorShape {
    const fn vector(length: usize) -> Self {
        Self { dimensions: [length, 1, 1], rank: 1 }
    }

    const fn matrix(rows: usize, columns: usize) -> Self {
        Self { dimensions: [rows, columns, 1], rank: 2 }
    }

    const fn cube(one: usize, two: usize, three: usize) -> Self {
        Self { dimensions: [one, two, three], rank: 3 }
    }

    /// The dimensions, slowest first.
    #[must_use]
    pub fn dimensions(&self) -> &[usize] {
        &self.dimensions[..self.rank]
    }

    /// Number of values.
    #[must_use]
    pub fn values(&self) -> usize {
        self.dimensions().iter().product()
    }
}

const fn tensor(suffix: &'static str, role: TensorRole, presence: Presence, sizes: &'static [Size]) -> BlockTensor {
    BlockTensor { suffix, role, presence, sizes }
}

/// Every tensor that a block may have, in storage order. A convolution's outputs come first in its shape, then inputs, then taps.
pub const BLOCK_TENSORS: [BlockTensor; 33] = {
    use Presence::{Always, GraphProjection, Projection};
    use Size::{Embeddings, Fixed, Inputs, Outputs};
    use TensorRole::{RunningMean, RunningVariance, Trainable};
    [
        // Nine 1x1 kernels in one, without bias: outputs of family 0, matrix 0 first, then matrix 1, 2, then family 1, 2.
        tensor("gcn.expand.weight", Trainable, Always, &[Outputs(9), Inputs]),
        // Family 1: [matrix][from joint][to joint].
        tensor("gcn.learnt", Trainable, Always, &[Fixed(SUBSETS), Fixed(JOINTS), Fixed(JOINTS)]),
        // Family 2: embeddings of matrix 0 first, then 1, 2.
        tensor("gcn.query.weight", Trainable, Always, &[Embeddings, Inputs]),
        tensor("gcn.query.bias", Trainable, Always, &[Embeddings]),
        tensor("gcn.key.weight", Trainable, Always, &[Embeddings, Inputs]),
        tensor("gcn.key.bias", Trainable, Always, &[Embeddings]),
        // After each family's sum: channels of family 0 first, then 1, 2.
        tensor("gcn.family_norm.weight", Trainable, Always, &[Outputs(3)]),
        tensor("gcn.family_norm.bias", Trainable, Always, &[Outputs(3)]),
        tensor("gcn.family_norm.running_mean", RunningMean, Always, &[Outputs(3)]),
        tensor("gcn.family_norm.running_var", RunningVariance, Always, &[Outputs(3)]),
        tensor("gcn.reduce.weight", Trainable, Always, &[Outputs(1), Outputs(3)]),
        tensor("gcn.residual.weight", Trainable, GraphProjection, &[Outputs(1), Inputs]),
        tensor("gcn.residual.bias", Trainable, GraphProjection, &[Outputs(1)]),
        tensor("gcn.residual_norm.weight", Trainable, GraphProjection, &[Outputs(1)]),
        tensor("gcn.residual_norm.bias", Trainable, GraphProjection, &[Outputs(1)]),
        tensor("gcn.residual_norm.running_mean", RunningMean, GraphProjection, &[Outputs(1)]),
        tensor("gcn.residual_norm.running_var", RunningVariance, GraphProjection, &[Outputs(1)]),
        tensor("norm.weight", Trainable, Always, &[Outputs(1)]),
        tensor("norm.bias", Trainable, Always, &[Outputs(1)]),
        tensor("norm.running_mean", RunningMean, Always, &[Outputs(1)]),
        tensor("norm.running_var", RunningVariance, Always, &[Outputs(1)]),
        tensor("tcn.weight", Trainable, Always, &[Outputs(1), Outputs(1), Fixed(TAPS)]),
        tensor("tcn.bias", Trainable, Always, &[Outputs(1)]),
        tensor("tcn_norm.weight", Trainable, Always, &[Outputs(1)]),
        tensor("tcn_norm.bias", Trainable, Always, &[Outputs(1)]),
        tensor("tcn_norm.running_mean", RunningMean, Always, &[Outputs(1)]),
        tensor("tcn_norm.running_var", RunningVariance, Always, &[Outputs(1)]),
        tensor("residual.weight", Trainable, Projection, &[Outputs(1), Inputs]),
        tensor("residual.bias", Trainable, Projection, &[Outputs(1)]),
        tensor("residual_norm.weight", Trainable, Projection, &[Outputs(1)]),
        tensor("residual_norm.bias", Trainable, Projection, &[Outputs(1)]),
        tensor("residual_norm.running_mean", RunningMean, Projection, &[Outputs(1)]),
        tensor("residual_norm.running_var", RunningVariance, Projection, &[Outputs(1)]),
    ]
};

/// Where a tensor belongs, in storage order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The batch normalisation of the window, `data_norm`: one number per joint and coordinate, index `joint * 2 + coordinate`.
    Data,
    /// An encoder block, `encoder.{block}`.
    Encoder(usize),
    /// A decoder block, `decoder.{block}`.
    Decoder(usize),
    /// The decoder's last convolution, `output`.
    Output,
    /// What scoring needs beside the network, `score`.
    Score,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data => f.write_str("data_norm"),
            Self::Encoder(block) => write!(f, "encoder.{block}"),
            Self::Decoder(block) => write!(f, "decoder.{block}"),
            Self::Output => f.write_str("output"),
            Self::Score => f.write_str("score"),
        }
    }
}

/// A tensor's full name: displays as `{place}.{suffix}`, say `encoder.3.gcn.expand.weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorName {
    /// Where it belongs.
    pub place: Place,
    /// Name at that place.
    pub suffix: &'static str,
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.place, self.suffix)
    }
}

/// One tensor of a model, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Full name.
    pub name: TensorName,
    /// Who moves it.
    pub role: TensorRole,
    /// Shape as files declare it.
    pub shape: TensorShape,
    /// Values, slowest dimension first.
    pub values: &'a [f32],
}

/// One tensor of a model, to be written.
#[derive(Debug)]
pub struct TensorMut<'a> {
    /// Full name.
    pub name: TensorName,
    /// Who moves it.
    pub role: TensorRole,
    /// Shape as files declare it.
    pub shape: TensorShape,
    /// Values, slowest dimension first.
    pub values: &'a mut [f32],
}

/// What a tensor is, without its values.
#[derive(Clone, Copy, Debug)]
pub struct TensorPlan {
    /// Full name.
    pub name: TensorName,
    /// Who moves it.
    pub role: TensorRole,
    /// Shape as files declare it.
    pub shape: TensorShape,
}

impl GaVaeShape {
    /// Every tensor of a model of this shape, in storage order.
    pub fn plan(self) -> impl Iterator<Item = TensorPlan> {
        let norm = |place, length| {
            [
                ("weight", TensorRole::Trainable),
                ("bias", TensorRole::Trainable),
                ("running_mean", TensorRole::RunningMean),
                ("running_var", TensorRole::RunningVariance),
            ]
            .map(|(suffix, role)| TensorPlan { name: TensorName { place, suffix }, role, shape: TensorShape::vector(length) })
        };
        let block = |place, block: BlockShape| {
            BLOCK_TENSORS.iter().filter(move |row| row.is_in(&block)).map(move |row| TensorPlan {
                name: TensorName { place, suffix: row.suffix },
                role: row.role,
                shape: row.shape(&block),
            })
        };
        norm(Place::Data, JOINTS * CHANNELS)
            .into_iter()
            .chain((0..ENCODER_BLOCKS).flat_map(move |number| block(Place::Encoder(number), self.encoder_block(number))))
            .chain((0..DECODER_BLOCKS).flat_map(move |number| block(Place::Decoder(number), self.decoder_block(number))))
            .chain(self.output_plan())
    }

    /// The decoder's last convolution and what scoring needs.
    fn output_plan(self) -> [TensorPlan; 9] {
        let trainable =
            |suffix, shape| TensorPlan { name: TensorName { place: Place::Output, suffix }, role: TensorRole::Trainable, shape };
        let running = |suffix, role| TensorPlan { role, ..trainable(suffix, TensorShape::vector(CHANNELS)) };
        let latent = TensorShape::cube(self.output_channels(), LATENT_FRAMES, JOINTS);
        [
            // Three 1x1 kernels in one: both coordinates for fixed matrix 0 first, then 1, 2.
            trainable("gcn.weight", TensorShape::matrix(SUBSETS * CHANNELS, self.decoder_channels())),
            trainable("gcn.bias", TensorShape::vector(SUBSETS * CHANNELS)),
            trainable("norm.weight", TensorShape::vector(CHANNELS)),
            trainable("norm.bias", TensorShape::vector(CHANNELS)),
            running("norm.running_mean", TensorRole::RunningMean),
            running("norm.running_var", TensorRole::RunningVariance),
            trainable("tcn.weight", TensorShape::cube(CHANNELS, CHANNELS, TAPS)),
            trainable("tcn.bias", TensorShape::vector(CHANNELS)),
            TensorPlan {
                name: TensorName { place: Place::Score, suffix: "reference_mean" },
                role: TensorRole::ReferenceMean,
                shape: latent,
            },
        ]
    }

    /// Numbers in all tensors.
    #[must_use]
    pub fn values(self) -> usize {
        self.plan().map(|plan| plan.shape.values()).sum()
    }

    /// Numbers that gradients move.
    #[must_use]
    pub fn trainable_parameters(self) -> usize {
        self.plan().filter(|plan| plan.role == TensorRole::Trainable).map(|plan| plan.shape.values()).sum()
    }
}

/// Why parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterFault {
    /// The storage does not hold [`GaVaeShape::values`] numbers.
    Length {
        /// Width of the model.
        width: usize,
        /// Numbers that it needs.
        expected: usize,
        /// Numbers that there are.
        found: usize,
    },
    /// A tensor holds NaN or an infinity.
    NotFinite(TensorName),
    /// A running variance is negative.
    NegativeVariance(TensorName),
    /// Merging the normalisations of this place overflows `f32`.
    NotFoldable(Place),
}

impl fmt::Display for ParameterFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { width, expected, found } => {
                write!(f, "{found} values instead of {expected}: this is no GA-VAE of width {width}")
            }
            Self::NotFinite(name) => write!(f, "tensor {name} holds NaN or an infinity: use the weights from before it"),
            Self::NegativeVariance(name) => write!(f, "tensor {name} holds a negative variance: export it again"),
            Self::NotFoldable(place) => write!(f, "{place} overflows f32 when its normalisations are folded: retrain it"),
        }
    }
}

impl core::error::Error for ParameterFault {}

/// All parameters of a model, in one run of [`GaVaeShape::values`] numbers, in the order of [`GaVaeShape::plan`].
///
/// The storage V is the caller's: a `Vec` or `Box` where there is a heap, a `&'static [f32]` in flash where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaVaeParameters<V> {
    shape: GaVaeShape,
    rule: ScoreRule,
    values: V,
}

/// Parameters on the heap.
#[cfg(feature = "std")]
pub type HeapParameters = GaVaeParameters<Box<[f32]>>;

#[cfg(feature = "std")]
impl HeapParameters {
    /// A valid model that learnt nothing yet: weights and biases 0, normalisations that change nothing, the learnt adjacency at
    /// [`LEARNT_ADJACENCY_START`].
    #[must_use]
    pub fn zero(shape: GaVaeShape) -> Self {
        let mut parameters = Self { shape, rule: ScoreRule::default(), values: vec![0.0; shape.values()].into_boxed_slice() };
        parameters.visit_mut(|tensor| match (tensor.name.suffix, tensor.role) {
            ("gcn.learnt", _) => tensor.values.fill(LEARNT_ADJACENCY_START),
            (_, TensorRole::RunningVariance) => tensor.values.fill(1.0),
            _ if is_norm_factor(&tensor.name) => tensor.values.fill(1.0),
            _ => {}
        });
        parameters
    }
}

/// Whether a tensor holds the factors of a batch normalisation.
#[must_use]
pub fn is_norm_factor(name: &TensorName) -> bool {
    name.suffix.ends_with("norm.weight") || (name.place == Place::Data && name.suffix == "weight")
}

impl<V> GaVaeParameters<V> {
    /// The same parameters, scoring by another rule.
    #[must_use]
    pub fn with_rule(self, rule: ScoreRule) -> Self {
        Self { rule, ..self }
    }

    /// How scores are made.
    pub const fn rule(&self) -> ScoreRule {
        self.rule
    }
}

impl<V: AsRef<[f32]>> GaVaeParameters<V> {
    /// Takes values in storage order, scoring by the published rule. They may be invalid: see [`GaVaeParameters::validate`].
    ///
    /// # Errors
    /// [`ParameterFault::Length`] when they are not as many as the shape needs.
    pub fn new(shape: GaVaeShape, values: V) -> Result<Self, ParameterFault> {
        let (found, expected) = (values.as_ref().len(), shape.values());
        if found == expected {
            Ok(Self { shape, rule: ScoreRule::default(), values })
        } else {
            Err(ParameterFault::Length { width: shape.width(), expected, found })
        }
    }

    /// The model's shape.
    pub const fn shape(&self) -> GaVaeShape {
        self.shape
    }

    /// All values, in storage order.
    pub fn values(&self) -> &[f32] {
        self.values.as_ref()
    }

    /// Every tensor with its name, role, shape and values, in storage order.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        let mut rest = self.values();
        self.shape.plan().map(move |TensorPlan { name, role, shape }| {
            let (values, after) = rest.split_at(shape.values());
            rest = after;
            Tensor { name, role, shape, values }
        })
    }

    /// Checks that every value is finite and no variance negative.
    ///
    /// # Errors
    /// [`ParameterFault`], naming the first tensor at fault.
    pub fn validate(&self) -> Result<(), ParameterFault> {
        for tensor in self.tensors() {
            if !tensor.values.iter().all(|value| value.is_finite()) {
                return Err(ParameterFault::NotFinite(tensor.name));
            }
            if tensor.role == TensorRole::RunningVariance && tensor.values.iter().any(|&value| value < 0.0) {
                return Err(ParameterFault::NegativeVariance(tensor.name));
            }
        }
        Ok(())
    }
}

impl<V: AsMut<[f32]>> GaVaeParameters<V> {
    /// All values, in storage order, to be written.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.values.as_mut()
    }

    /// Hands every tensor to `visit`, to be written, in storage order, until it fails.
    ///
    /// # Errors
    /// The first error of `visit`.
    pub fn try_visit_mut<E>(&mut self, mut visit: impl FnMut(TensorMut<'_>) -> Result<(), E>) -> Result<(), E> {
        let shape = self.shape;
        let mut rest = self.values_mut();
        for TensorPlan { name, role, shape } in shape.plan() {
            let (values, after) = rest.split_at_mut(shape.values());
            rest = after;
            visit(TensorMut { name, role, shape, values })?;
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
