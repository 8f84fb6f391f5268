//! Where the tensors of a GA-VAE lie in its flat values, and the copies of its weights that products read.

use crate::train::ga_vae_kernels::{FRAME, MATRIX};
use crate::train::ga_vae_norm::NormPlace;
use crate::train::lanes::LANES;
use crate::train::matrix::transpose;
use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_models::ga_vae::parameters::TensorRole;
use alfred_models::ga_vae::shape::{BlockShape, DECODER_BLOCKS, ENCODER_BLOCKS, GaVaeShape, Residual, SUBSETS, TAPS};
use std::collections::HashMap;
use std::ops::Range;

/// A 1x1 convolution and the normalisation after it.
#[derive(Clone, Copy, Debug)]
pub struct ProjectionPlan {
    /// Kernel, outputs first.
    pub weight: usize,
    /// Its bias.
    pub bias: usize,
    /// The normalisation.
    pub norm: NormPlace,
}

/// A block's tensors.
#[derive(Clone, Copy, Debug)]
pub struct BlockPlan {
    /// Its sizes.
    pub shape: BlockShape,
    /// `gcn.expand.weight`.
    pub expand: usize,
    /// `gcn.learnt`.
    pub learnt: usize,
    /// Kernels of queries and keys.
    pub embeddings: [usize; 2],
    /// Their biases.
    pub embedding_biases: [usize; 2],
    /// `gcn.family_norm`.
    pub family_norm: NormPlace,
    /// `gcn.reduce.weight`.
    pub reduce: usize,
    /// `gcn.residual`, where the channels change.
    pub graph_residual: Option<ProjectionPlan>,
    /// `norm`.
    pub norm: NormPlace,
    /// `tcn`, and its normalisation.
    pub temporal: ProjectionPlan,
    /// `residual`, where channels or frames change.
    pub residual: Option<ProjectionPlan>,
}

impl BlockPlan {
    /// Channels of queries and keys together.
    #[must_use]
    pub const fn embedded(&self) -> usize {
        2 * SUBSETS * self.shape.embedding()
    }

    /// Numbers of a channel of the input.
    #[must_use]
    pub const fn plane(&self) -> usize {
        self.shape.frames * FRAME
    }

    /// Numbers of a channel of the output.
    #[must_use]
    pub const fn output_plane(&self) -> usize {
        self.shape.output_frames() * FRAME
    }
}

/// Every tensor of a model.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Sizes.
    pub shape: GaVaeShape,
    /// Numbers in all tensors.
    pub values: usize,
    /// Runs of numbers that gradients move.
    pub trainable: Vec<Range<usize>>,
    /// The window's normalisation: a number per joint and coordinate.
    pub data_norm: NormPlace,
    /// Encoder, then decoder.
    pub blocks: Vec<BlockPlan>,
    /// The output's 1x1 convolution and its normalisation.
    pub output_graph: ProjectionPlan,
    /// The output's last convolution: kernel, bias.
    pub output_temporal: [usize; 2],
    /// `score.reference_mean`.
    pub reference: usize,
}

impl Plan {
    /// Finds every tensor.
    ///
    /// # Panics
    /// Never: the names are those of the model's own table.
    #[must_use]
    pub fn new(shape: GaVaeShape) -> Self {
        let (mut places, mut values, mut trainable) = (HashMap::new(), 0, Vec::new());
        for plan in shape.plan() {
            let size = plan.shape.values();
            places.insert(plan.name.to_string(), values);
            if plan.role == TensorRole::Trainable {
                trainable.push(values..values + size);
            }
            values += size;
        }
        let at = |place: &str, suffix: &str| places[&format!("{place}.{suffix}")];
        let norm = |place: &str, channels: usize| NormPlace { at: at(place, "weight"), channels };
        let projection = |place: &str, norm_name: &str, channels: usize| ProjectionPlan {
            weight: at(place, "weight"),
            bias: at(place, "bias"),
            norm: norm(norm_name, channels),
        };
        let block = |place: String, shape: BlockShape| {
            let outputs = shape.outputs;
            let with_norm = |name: &str| projection(&format!("{place}.{name}"), &format!("{place}.{name}_norm"), outputs);
            BlockPlan {
                shape,
                expand: at(&place, "gcn.expand.weight"),
                learnt: at(&place, "gcn.learnt"),
                embeddings: [at(&place, "gcn.query.weight"), at(&place, "gcn.key.weight")],
                embedding_biases: [at(&place, "gcn.query.bias"), at(&place, "gcn.key.bias")],
                family_norm: norm(&format!("{place}.gcn.family_norm"), SUBSETS * outputs),
                reduce: at(&place, "gcn.reduce.weight"),
                graph_residual: shape.projects_graph().then(|| with_norm("gcn.residual")),
                norm: norm(&format!("{place}.norm"), outputs),
                temporal: with_norm("tcn"),
                residual: (shape.residual == Residual::Projected).then(|| with_norm("residual")),
            }
        };
        let encoder = (0..ENCODER_BLOCKS).map(|number| block(format!("encoder.{number}"), shape.encoder_block(number)));
        let decoder = (0..DECODER_BLOCKS).map(|number| block(format!("decoder.{number}"), shape.decoder_block(number)));
        Self {
            shape,
            values,
            trainable,
            data_norm: norm("data_norm", JOINTS * CHANNELS),
            blocks: encoder.chain(decoder).collect(),
            output_graph: projection("output.gcn", "output.norm", CHANNELS),
            output_temporal: [at("output", "tcn.weight"), at("output", "tcn.bias")],
            reference: at("score", "reference_mean"),
        }
    }

    /// The numbers that gradients move, in order.
    pub fn gather(&self, values: &[f32]) -> Vec<f32> {
        self.trainable.iter().flat_map(|run| &values[run.clone()]).copied().collect()
    }

    /// Puts them back.
    pub fn scatter(&self, trainable: &[f32], values: &mut [f32]) {
        let mut rest = trainable;
        for run in &self.trainable {
            let (own, after) = rest.split_at(run.len());
            values[run.clone()].copy_from_slice(own);
            rest = after;
        }
    }
}

/// Taps of a convolution with a stride that meet the same frames: the way back through it is one product per such class.
#[derive(Clone, Debug)]
pub struct TapClass {
    /// Taps of the class.
    pub taps: usize,
    /// `[input][tap][output]`.
    pub weight: Vec<f32>,
    /// Where the rows of the outputs' gradient begin, from its first frame that the class sees.
    pub offsets: Vec<usize>,
}

/// A convolution over nine frames, for both ways.
#[derive(Clone, Debug)]
pub struct PackedTemporal {
    /// Channels in and out.
    pub channels: usize,
    /// Frames of its input.
    pub frames: usize,
    /// Frames from one output to the next.
    pub stride: usize,
    /// Where kernel and bias lie.
    pub weight: usize,
    /// The bias.
    pub bias: usize,
    /// Where the rows that an output sees begin in the padded input: `[input][tap]`.
    pub offsets: Vec<usize>,
    /// One per remainder of the stride.
    pub classes: Vec<TapClass>,
}

/// Frames of zeros before and after a padded row.
pub const PADDING: usize = TAPS / 2;

impl PackedTemporal {
    /// Room for the kernels of such a convolution.
    #[must_use]
    pub fn new(channels: usize, frames: usize, stride: usize, weight: usize, bias: usize) -> Self {
        let step = (frames + 2 * PADDING) * FRAME;
        let gradient_step = (frames / stride + 2 * PADDING) * FRAME;
        let class = |remainder: usize| {
            let taps = (TAPS - remainder).div_ceil(stride);
            // A later tap sees an earlier output.
            let offset = |place: usize| (place % channels) * gradient_step + (taps - 1 - place / channels) * FRAME;
            TapClass { taps, weight: vec![0.0; channels * taps * channels], offsets: (0..taps * channels).map(offset).collect() }
        };
        Self {
            channels,
            frames,
            stride,
            weight,
            bias,
            offsets: (0..channels * TAPS).map(|place| place / TAPS * step + place % TAPS * FRAME).collect(),
            classes: (0..stride).map(class).collect(),
        }
    }

    /// Takes the kernel from new values.
    pub fn pack(&mut self, values: &[f32]) {
        let (channels, stride) = (self.channels, self.stride);
        let weight = &values[self.weight..][..channels * channels * TAPS];
        for (remainder, class) in self.classes.iter_mut().enumerate() {
            for (place, value) in class.weight.iter_mut().enumerate() {
                let (input, tap, output) = (place / (class.taps * channels), place / channels % class.taps, place % channels);
                *value = weight[(output * channels + input) * TAPS + remainder + tap * stride];
            }
        }
    }
}

/// Copies of a block's weights.
#[derive(Clone, Debug)]
pub struct PackedBlock {
    /// Of every family `[output][subset][input]`.
    pub expand: [Vec<f32>; SUBSETS],
    /// The same as `[subset][input][output]`.
    pub expand_back: [Vec<f32>; SUBSETS],
    /// The learnt family, every entry sixteen times: `[subset][from][to][sample]`.
    pub learnt: Vec<f32>,
    /// Queries, then keys: `[embedding][input]`, their biases, and `[input][embedding]`.
    pub embed: Vec<f32>,
    /// See above.
    pub embed_bias: Vec<f32>,
    /// See above.
    pub embed_back: Vec<f32>,
    /// `[3 outputs][output]`.
    pub reduce_back: Vec<f32>,
    /// `[input][output]`.
    pub graph_residual_back: Vec<f32>,
    /// `[input][output]`.
    pub residual_back: Vec<f32>,
    /// The convolution over time.
    pub temporal: PackedTemporal,
}

impl PackedBlock {
    /// Room for a block's copies.
    #[must_use]
    pub fn new(plan: &BlockPlan) -> Self {
        let BlockShape { inputs, outputs, frames, stride, .. } = plan.shape;
        let family = || vec![0.0; outputs * SUBSETS * inputs];
        let projection = |is_there: bool| vec![0.0; if is_there { inputs * outputs } else { 0 }];
        Self {
            expand: [family(), family(), family()],
            expand_back: [family(), family(), family()],
            learnt: vec![0.0; SUBSETS * MATRIX],
            embed: vec![0.0; plan.embedded() * inputs],
            embed_bias: vec![0.0; plan.embedded()],
            embed_back: vec![0.0; plan.embedded() * inputs],
            reduce_back: vec![0.0; SUBSETS * outputs * outputs],
            graph_residual_back: projection(plan.graph_residual.is_some()),
            residual_back: projection(plan.residual.is_some()),
            temporal: PackedTemporal::new(outputs, frames, stride, plan.temporal.weight, plan.temporal.bias),
        }
    }

    /// Takes the weights from new values.
    pub fn pack(&mut self, plan: &BlockPlan, values: &[f32]) {
        let BlockShape { inputs, outputs, .. } = plan.shape;
        for family in 0..SUBSETS {
            for output in 0..outputs {
                for subset in 0..SUBSETS {
                    let row = &values[plan.expand + ((family * SUBSETS + subset) * outputs + output) * inputs..][..inputs];
                    self.expand[family][(output * SUBSETS + subset) * inputs..][..inputs].copy_from_slice(row);
                    for (input, value) in row.iter().enumerate() {
                        self.expand_back[family][(subset * inputs + input) * outputs + output] = *value;
                    }
                }
            }
        }
        for (cell, value) in self.learnt.chunks_exact_mut(LANES).zip(&values[plan.learnt..]) {
            cell.fill(*value);
        }
        let half = plan.embedded() / 2;
        for part in 0..2 {
            self.embed[part * half * inputs..][..half * inputs].copy_from_slice(&values[plan.embeddings[part]..][..half * inputs]);
            self.embed_bias[part * half..][..half].copy_from_slice(&values[plan.embedding_biases[part]..][..half]);
        }
        transpose(&self.embed, inputs, &mut self.embed_back);
        transpose(&values[plan.reduce..][..SUBSETS * outputs * outputs], SUBSETS * outputs, &mut self.reduce_back);
        for (projection, out) in [(plan.graph_residual, &mut self.graph_residual_back), (plan.residual, &mut self.residual_back)] {
            if let Some(projection) = projection {
                transpose(&values[projection.weight..][..inputs * outputs], inputs, out);
            }
        }
        self.temporal.pack(values);
    }
}
