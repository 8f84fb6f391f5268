//! What an STG-NF model consists of: its shape, its tensors by their published names, and what makes them valid.
//!
//! Source of shapes and names: the STG-NF paper ("Normalizing Flows for Human Pose Anomaly Detection", ICCV 2023) and the names its
//! published checkpoints use. One table, [`FLOW_TENSORS`], serves reader, writer and trainer.

use alfred_core::limits::{CHANNELS, JOINTS, WINDOW_FRAMES_MAX, WINDOW_FRAMES_MIN};
use core::fmt;

/// Flow steps K of the published models.
pub const FLOWS: usize = 8;

/// Taps of the longest temporal kernel: `T / 2 + 1` at the longest window.
pub const TAPS_MAX: usize = WINDOW_FRAMES_MAX / 2 + 1;

/// Output and input channels of a coupling network's temporal convolution: shift and scale.
pub const NETWORK_CHANNELS: usize = 2;

/// Added to the variance by every batch normalisation.
pub const BATCH_NORM_EPSILON: f64 = 1e-5;

/// Values of the largest tensor: the temporal kernel.
const KERNEL_VALUES_MAX: usize = NETWORK_CHANNELS * NETWORK_CHANNELS * TAPS_MAX;

/// The shape of a model: all of it follows from the window's length T.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StgNfShape {
    frames: usize,
}

/// A window length that no STG-NF model can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeFault {
    /// The refused number of frames.
    pub frames: usize,
}

impl fmt::Display for ShapeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = self.frames;
        write!(f, "a window of {frames} frames fits no model: choose a multiple of 4 from {WINDOW_FRAMES_MIN} to {WINDOW_FRAMES_MAX}")
    }
}

impl core::error::Error for ShapeFault {}

impl StgNfShape {
    /// The shape for windows of `frames` detections: a multiple of 4 within the limits. The kernel has `T / 2 + 1` taps, and only an
    /// odd number of taps keeps the window's length.
    ///
    /// # Errors
    /// [`ShapeFault`] for any other length.
    pub const fn new(frames: usize) -> Result<Self, ShapeFault> {
        if frames < WINDOW_FRAMES_MIN || frames > WINDOW_FRAMES_MAX || !frames.is_multiple_of(4) {
            return Err(ShapeFault { frames });
        }
        Ok(Self { frames })
    }

    /// The shape whose temporal kernel has `taps` taps (13 gives T = 24).
    ///
    /// # Errors
    /// [`ShapeFault`] when no window length has such a kernel.
    pub const fn from_taps(taps: usize) -> Result<Self, ShapeFault> {
        // Bounded before the arithmetic: the number may come from a file.
        if taps == 0 || taps > TAPS_MAX {
            return Err(ShapeFault { frames: 0 });
        }
        Self::new((taps - 1) * 2)
    }

    /// Detections T of a window.
    #[must_use]
    pub const fn frames(self) -> usize {
        self.frames
    }

    /// Taps of the temporal kernel, odd.
    #[must_use]
    pub const fn taps(self) -> usize {
        self.frames / 2 + 1
    }

    /// Zeros on either side of the window that the convolution sees.
    #[must_use]
    pub const fn padding(self) -> usize {
        self.taps() / 2
    }

    /// Values of a window: `2 * T * 18`; the dimensions that the score is divided by.
    #[must_use]
    pub const fn dimensions(self) -> usize {
        CHANNELS * JOINTS * self.frames
    }

    /// Number of trainable parameters: 616 at T = 24, 488 at T = 16.
    #[must_use]
    pub fn trainable_parameters(self) -> usize {
        let mut count = 0;
        for flow in 0..FLOWS {
            for tensor in FLOW_TENSORS.iter().filter(|tensor| tensor.role == TensorRole::Trainable && tensor.is_in_flow(flow)) {
                count += tensor.shape(self).values();
            }
        }
        count
    }
}

/// A batch normalisation over the two channels of a coupling network, in evaluation mode:
/// `(x - running_mean) / sqrt(running_var + 1e-5) * weight + bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Factor per channel.
    pub weight: [f32; 2],
    /// Offset per channel.
    pub bias: [f32; 2],
    /// Mean over the training data per channel.
    pub running_mean: [f32; 2],
    /// Variance over the training data per channel; not negative.
    pub running_var: [f32; 2],
}

impl BatchNorm {
    /// The normalisation that changes nothing (but for the epsilon).
    pub const IDENTITY: Self = Self { weight: [1.0; 2], bias: [0.0; 2], running_mean: [0.0; 2], running_var: [1.0; 2] };
}

/// The tensors of one flow step, in the checkpoints' own order of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlowParameters {
    /// ActNorm: added to each channel before the scaling.
    pub actnorm_bias: [f32; 2],
    /// ActNorm: natural logarithm of each channel's factor.
    pub actnorm_logs: [f32; 2],
    /// Graph convolution's 1x1 kernel: one conditioning channel to two.
    pub gcn_weight: [f32; 2],
    /// Its bias, added before the graph product.
    pub gcn_bias: [f32; 2],
    /// Batch normalisation before the temporal convolution.
    pub norm_before: BatchNorm,
    /// Temporal kernel `[output][input][tap]`, dense: the first `4 * taps` values count, the rest is zero.
    pub tcn_weight: [f32; KERNEL_VALUES_MAX],
    /// Its bias per output: shift, scale.
    pub tcn_bias: [f32; 2],
    /// Batch normalisation after the temporal convolution.
    pub norm_after: BatchNorm,
    /// 1x1 kernel of the residual path. The first flow step has no residual path; its three fields are unused.
    pub residual_weight: [f32; 2],
    /// Bias of the residual path.
    pub residual_bias: [f32; 2],
    /// Batch normalisation of the residual path.
    pub residual_norm: BatchNorm,
}

impl FlowParameters {
    /// A step that shifts by nothing and scales by `sigmoid(2) + 1e-6`: zero kernels, identity normalisations.
    pub const ZERO: Self = Self {
        actnorm_bias: [0.0; 2],
        actnorm_logs: [0.0; 2],
        gcn_weight: [0.0; 2],
        gcn_bias: [0.0; 2],
        norm_before: BatchNorm::IDENTITY,
        tcn_weight: [0.0; KERNEL_VALUES_MAX],
        tcn_bias: [0.0; 2],
        norm_after: BatchNorm::IDENTITY,
        residual_weight: [0.0; 2],
        residual_bias: [0.0; 2],
        residual_norm: BatchNorm::IDENTITY,
    };
}

/// All parameters of a model. Fixed size: it holds the longest kernel, whatever the shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StgNfParameters {
    /// The window length, and with it every tensor's shape.
    pub shape: StgNfShape,
    /// The steps, in the order of the forward pass.
    pub flows: [FlowParameters; FLOWS],
    /// Mean R of the Gaussian prior, the same for all dimensions (published: 3 and 10).
    pub prior_mean: f32,
}

/// Whether the optimiser moves a tensor, or batch statistics do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorRole {
    /// Moved by gradients; counted as a parameter.
    Trainable,
    /// Running mean of a batch normalisation.
    RunningMean,
    /// Running variance of a batch normalisation; not negative.
    RunningVariance,
}

/// Shape of a tensor as files declare it: at most four dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorShape {
    dimensions: [usize; 4],
    rank: usize,
}

impl TensorShape {
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

/// The four shapes that occur in a flow step.
#[derive(Clone, Copy, Debug)]
enum ShapeKind {
    ActNorm,
    PointKernel,
    TemporalKernel,
    Vector,
}

/// One row of the table of tensors: name, role, shape and where the values lie.
#[derive(Clone, Copy, Debug)]
pub struct FlowTensor {
    /// Name after the prefix `flow.layers.{i}.`.
    pub suffix: &'static str,
    /// Who moves it.
    pub role: TensorRole,
    shape: ShapeKind,
    residual: bool,
    get: fn(&FlowParameters) -> &[f32],
    get_mut: fn(&mut FlowParameters) -> &mut [f32],
}

impl FlowTensor {
    /// Whether this step has the tensor: the first one has no residual path.
    #[must_use]
    pub const fn is_in_flow(&self, flow: usize) -> bool {
        !self.residual || flow > 0
    }

    /// The tensor's shape in a model of the given shape.
    #[must_use]
    pub const fn shape(&self, shape: StgNfShape) -> TensorShape {
        let (dimensions, rank) = match self.shape {
            ShapeKind::ActNorm => ([1, 2, 1, 1], 4),
            ShapeKind::PointKernel => ([2, 1, 1, 1], 4),
            ShapeKind::TemporalKernel => ([2, 2, shape.taps(), 1], 4),
            ShapeKind::Vector => ([2, 0, 0, 0], 1),
        };
        TensorShape { dimensions, rank }
    }
}

/// One row of [`FLOW_TENSORS`].
macro_rules! tensor {
    ($suffix:literal, $role:ident, $shape:ident, $residual:literal, $($field:ident).+) => {
        FlowTensor {
            suffix: $suffix,
            role: TensorRole::$role,
            shape: ShapeKind::$shape,
            residual: $residual,
            get: |flow| &flow.$($field).+,
            get_mut: |flow| &mut flow.$($field).+,
        }
    };
}

/// Every tensor of a flow step, by its published name.
pub const FLOW_TENSORS: [FlowTensor; 20] = [
    tensor!("actnorm.bias", Trainable, ActNorm, false, actnorm_bias),
    tensor!("actnorm.logs", Trainable, ActNorm, false, actnorm_logs),
    tensor!("block.0.gcn.conv.weight", Trainable, PointKernel, false, gcn_weight),
    tensor!("block.0.gcn.conv.bias", Trainable, Vector, false, gcn_bias),
    tensor!("block.0.tcn.0.weight", Trainable, Vector, false, norm_before.weight),
    tensor!("block.0.tcn.0.bias", Trainable, Vector, false, norm_before.bias),
    tensor!("block.0.tcn.0.running_mean", RunningMean, Vector, false, norm_before.running_mean),
    tensor!("block.0.tcn.0.running_var", RunningVariance, Vector, false, norm_before.running_var),
    tensor!("block.0.tcn.2.weight", Trainable, TemporalKernel, false, tcn_weight),
    tensor!("block.0.tcn.2.bias", Trainable, Vector, false, tcn_bias),
    tensor!("block.0.tcn.3.weight", Trainable, Vector, false, norm_after.weight),
    tensor!("block.0.tcn.3.bias", Trainable, Vector, false, norm_after.bias),
    tensor!("block.0.tcn.3.running_mean", RunningMean, Vector, false, norm_after.running_mean),
    tensor!("block.0.tcn.3.running_var", RunningVariance, Vector, false, norm_after.running_var),
    tensor!("block.0.residual.0.weight", Trainable, PointKernel, true, residual_weight),
    tensor!("block.0.residual.0.bias", Trainable, Vector, true, residual_bias),
    tensor!("block.0.residual.1.weight", Trainable, Vector, true, residual_norm.weight),
    tensor!("block.0.residual.1.bias", Trainable, Vector, true, residual_norm.bias),
    tensor!("block.0.residual.1.running_mean", RunningMean, Vector, true, residual_norm.running_mean),
    tensor!("block.0.residual.1.running_var", RunningVariance, Vector, true, residual_norm.running_var),
];

/// A tensor's full published name: displays as `flow.layers.{flow}.{suffix}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorName {
    /// Flow step, from 0.
    pub flow: usize,
    /// Name inside the step.
    pub suffix: &'static str,
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flow.layers.{}.{}", self.flow, self.suffix)
    }
}

/// One tensor of a model, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Full published name.
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
    /// Full published name.
    pub name: TensorName,
    /// Who moves it.
    pub role: TensorRole,
    /// Shape as files declare it.
    pub shape: TensorShape,
    /// Values, slowest dimension first.
    pub values: &'a mut [f32],
}

/// Why parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterFault {
    /// A tensor holds NaN or an infinity.
    NotFinite(TensorName),
    /// A running variance is negative.
    NegativeVariance(TensorName),
    /// The prior's mean R is NaN or infinite.
    PriorMeanNotFinite,
    /// Folding the normalisations overflows `f32` in this flow step: a variance is tiny or a factor is huge.
    NotFoldable {
        /// Flow step, from 0.
        flow: usize,
    },
}

impl fmt::Display for ParameterFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite(name) => write!(f, "tensor {name} holds NaN or an infinity: use the weights from before it"),
            Self::NegativeVariance(name) => write!(f, "tensor {name} holds a negative variance: export it again"),
            Self::PriorMeanNotFinite => f.write_str("the prior mean R is NaN or infinite: the published ones are 3 and 10"),
            Self::NotFoldable { flow } => write!(f, "flow step {flow} overflows f32 when its normalisations are folded: retrain it"),
        }
    }
}

impl core::error::Error for ParameterFault {}

impl StgNfParameters {
    /// A valid model that learnt nothing yet: zero kernels, identity normalisations, R = 3 as published.
    #[must_use]
    pub const fn zero(shape: StgNfShape) -> Self {
        Self { shape, flows: [FlowParameters::ZERO; FLOWS], prior_mean: 3.0 }
    }

    /// Every tensor with its name, role, shape and values: step by step, in the table's order.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        let shape = self.shape;
        self.flows.iter().enumerate().flat_map(move |(flow, parameters)| {
            FLOW_TENSORS.iter().filter(move |row| row.is_in_flow(flow)).map(move |row| {
                let tensor_shape = row.shape(shape);
                let values = &(row.get)(parameters)[..tensor_shape.values()];
                Tensor { name: TensorName { flow, suffix: row.suffix }, role: row.role, shape: tensor_shape, values }
            })
        })
    }

    /// Hands every tensor to `visit`, to be written, in the order of [`StgNfParameters::tensors`]. Stops at the first error and
    /// returns it.
    ///
    /// # Errors
    /// Whatever `visit` returns.
    pub fn try_visit_mut<E>(&mut self, mut visit: impl FnMut(TensorMut<'_>) -> Result<(), E>) -> Result<(), E> {
        let shape = self.shape;
        for (flow, parameters) in self.flows.iter_mut().enumerate() {
            for row in FLOW_TENSORS.iter().filter(|row| row.is_in_flow(flow)) {
                let tensor_shape = row.shape(shape);
                let values = &mut (row.get_mut)(parameters)[..tensor_shape.values()];
                visit(TensorMut { name: TensorName { flow, suffix: row.suffix }, role: row.role, shape: tensor_shape, values })?;
            }
        }
        Ok(())
    }

    /// Hands every tensor to `visit`, to be written, in the order of [`StgNfParameters::tensors`].
    pub fn visit_mut(&mut self, mut visit: impl FnMut(TensorMut<'_>)) {
        let Ok(()) = self.try_visit_mut(|tensor| -> Result<(), core::convert::Infallible> {
            visit(tensor);
            Ok(())
        });
    }

    /// Checks that every value is finite and no variance negative.
    ///
    /// # Errors
    /// [`ParameterFault`], naming the first tensor at fault.
    pub fn validate(&self) -> Result<(), ParameterFault> {
        if !self.prior_mean.is_finite() {
            return Err(ParameterFault::PriorMeanNotFinite);
        }
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
