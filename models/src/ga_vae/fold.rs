//! Folding: every batch normalisation merged in `f64` into the convolution before it, and all values put in the order in which the
//! kernel reads them.
//!
//! Three exact rearrangements besides. (1) A 1x1 convolution and a product with an adjacency matrix commute, so the three matrices of a
//! family are applied to the block's input, and one product with a matrix of three times as many columns gives the family's sum.
//! (2) What follows graph attention is a normalisation before a ReLU: it goes into `reduce` and into the graph residual. (3) The softmax
//! is taken to the base of 2: queries carry the factor `log2(e)`.
//!
//! Channels are padded with zeros to multiples of 16, so that every vector of every lane is whole.

use super::decoder::{fold_output, output_values};
use super::layers::{BatchNorm, Block, Projection};
use super::parameters::{BATCH_NORM_EPSILON, GaVaeParameters, ParameterFault, Place, ScoreRule};
use super::shape::{BlockShape, DECODER_BLOCKS, ENCODER_BLOCKS, GaVaeShape, LATENT_FRAMES, Residual, SUBSETS, TAPS, WINDOW_FRAMES};
use alfred_core::limits::{CHANNELS, JOINTS};

/// Outputs whose weights lie together; channels are padded to multiples of it.
pub(super) const PANEL: usize = 16;

/// Joints, padded to whole panels: the columns of an adjacency matrix.
pub(super) const JOINT_LANES: usize = 32;

/// Values of the window's normalisation: factors, then offsets, each padded.
pub(super) const DATA_VALUES: usize = 2 * JOINT_LANES * CHANNELS;

/// Channels with their padding.
pub(super) const fn padded(channels: usize) -> usize {
    channels.next_multiple_of(PANEL)
}

/// Sizes of a folded block.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoldedShape {
    pub(super) block: BlockShape,
    /// Padded channels of its input, of its output, and of one embedding.
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) embedding: usize,
}

impl FoldedShape {
    pub(super) const fn of(block: BlockShape) -> Self {
        Self { block, inputs: padded(block.inputs), outputs: padded(block.outputs), embedding: padded(block.embedding()) }
    }
}

/// A block's values, ready to run. Matrices are `[panel of 16 outputs][input][output of the panel]`.
pub(super) struct FoldedBlock<V> {
    /// `[matrix][to joint][from joint]`, rows padded to [`JOINT_LANES`].
    pub(super) learnt: V,
    /// Outputs are (matrix, embedding).
    pub(super) query: V,
    pub(super) query_bias: V,
    pub(super) key: V,
    pub(super) key_bias: V,
    /// One matrix per family; inputs are (matrix, channel).
    pub(super) expand: [V; SUBSETS],
    /// One row per family.
    pub(super) expand_bias: V,
    /// Inputs are (family, channel).
    pub(super) reduce: V,
    pub(super) reduce_bias: V,
    /// A matrix where the graph attention's residual is projected, else one factor per channel.
    pub(super) graph_residual: V,
    /// One matrix per tap.
    pub(super) temporal: V,
    pub(super) temporal_bias: V,
    /// A matrix where the block's residual is projected, else empty.
    pub(super) residual: V,
}

/// Hands out a run of values piece by piece.
pub(super) trait Cursor<V> {
    /// The next `count` values.
    fn take(&mut self, count: usize) -> V;

    /// The next block.
    fn block(&mut self, shape: &FoldedShape) -> FoldedBlock<V> {
        let FoldedShape { inputs, outputs, embedding, block } = *shape;
        let projected = block.residual == Residual::Projected;
        FoldedBlock {
            learnt: self.take(SUBSETS * JOINTS * JOINT_LANES),
            query: self.take(inputs * SUBSETS * embedding),
            query_bias: self.take(SUBSETS * embedding),
            key: self.take(inputs * SUBSETS * embedding),
            key_bias: self.take(SUBSETS * embedding),
            expand: [(); SUBSETS].map(|()| self.take(SUBSETS * inputs * outputs)),
            expand_bias: self.take(SUBSETS * outputs),
            reduce: self.take(SUBSETS * outputs * outputs),
            reduce_bias: self.take(outputs),
            graph_residual: self.take(if block.projects_graph() { inputs * outputs } else { outputs }),
            temporal: self.take(TAPS * outputs * outputs),
            temporal_bias: self.take(outputs),
            residual: self.take(if projected { inputs * outputs } else { 0 }),
        }
    }
}

/// To be read.
pub(super) struct Reading<'a>(pub(super) &'a [f32]);

impl<'a> Cursor<&'a [f32]> for Reading<'a> {
    fn take(&mut self, count: usize) -> &'a [f32] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }
}

/// To be written.
struct Writing<'a>(&'a mut [f32]);

impl<'a> Cursor<&'a mut [f32]> for Writing<'a> {
    fn take(&mut self, count: usize) -> &'a mut [f32] {
        let (taken, rest) = core::mem::take(&mut self.0).split_at_mut(count);
        self.0 = rest;
        taken
    }
}

/// To be counted.
struct Counting(usize);

impl Cursor<()> for Counting {
    fn take(&mut self, count: usize) {
        self.0 += count;
    }
}

/// Numbers of a folded model of this shape and score rule.
#[must_use]
pub fn folded_values(shape: GaVaeShape, rule: ScoreRule) -> usize {
    let mut count = Counting(DATA_VALUES);
    for number in 0..ENCODER_BLOCKS {
        count.block(&FoldedShape::of(shape.encoder_block(number)));
    }
    match rule {
        ScoreRule::Distance => count.take(LATENT_FRAMES * JOINTS * padded(shape.output_channels())),
        ScoreRule::Reconstruction => {
            for number in 0..DECODER_BLOCKS {
                count.block(&FoldedShape::of(shape.decoder_block(number)));
            }
            count.take(output_values(shape));
        }
    }
    count.0
}

/// A model ready to run: the window's normalisation, nine encoder blocks, and what its score rule needs: the reference mean
/// `[frame][joint][channel]`, or the decoder.
///
/// The storage V is the caller's: a `Box` or `Arc` where there is a heap, a `&'static [f32]` where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoldedGaVae<V> {
    shape: GaVaeShape,
    rule: ScoreRule,
    /// Where the values begin in the storage.
    start: usize,
    values: V,
}

#[cfg(feature = "std")]
impl FoldedGaVae<Box<[f32]>> {
    /// Folds a model onto the heap.
    ///
    /// # Errors
    /// As [`FoldedGaVae::fold_into`].
    pub fn fold<P: AsRef<[f32]>>(parameters: &GaVaeParameters<P>) -> Result<Self, ParameterFault> {
        // Room to begin at a multiple of a cache line: vectors that straddle two lines cost twice.
        let values = vec![0.0; folded_values(parameters.shape(), parameters.rule()) + PANEL].into_boxed_slice();
        Self::fold_into(parameters, values)
    }

    /// The same model, to be shared by several scorers.
    #[must_use]
    pub fn shared(self) -> FoldedGaVae<std::sync::Arc<[f32]>> {
        let Self { shape, rule, start, values } = self;
        let count = folded_values(shape, rule);
        // Copied to another place of the heap, so the cache line is looked for again.
        let mut shared: std::sync::Arc<[f32]> = values.iter().map(|_| 0.0).collect();
        let again = aligned_start(&shared, values.len() - count);
        if let Some(target) = std::sync::Arc::get_mut(&mut shared) {
            target[again..again + count].copy_from_slice(&values[start..start + count]);
        }
        FoldedGaVae { shape, rule, start: again, values: shared }
    }
}

impl<V: AsRef<[f32]> + AsMut<[f32]>> FoldedGaVae<V> {
    /// Folds a model into a storage of zeros with at least [`folded_values`] numbers, and better 16 more.
    ///
    /// # Errors
    /// What [`GaVaeParameters::validate`] finds, [`ParameterFault::NotFoldable`] when a product overflows `f32`, and
    /// [`ParameterFault::Length`] when the storage is too small.
    pub fn fold_into<P: AsRef<[f32]>>(parameters: &GaVaeParameters<P>, mut values: V) -> Result<Self, ParameterFault> {
        parameters.validate()?;
        let (shape, rule) = (parameters.shape(), parameters.rule());
        let (found, expected) = (values.as_ref().len(), folded_values(shape, rule));
        let Some(spare) = found.checked_sub(expected) else {
            return Err(ParameterFault::Length { width: shape.width(), expected, found });
        };
        let start = aligned_start(values.as_ref(), spare);
        let mut writing = Writing(&mut values.as_mut()[start..start + expected]);
        fold_data(&parameters.data_norm(), writing.take(DATA_VALUES))?;
        for number in 0..ENCODER_BLOCKS {
            let from = parameters.encoder_block(number);
            let block = writing.block(&FoldedShape::of(from.shape));
            fold_block(&from, block).ok_or(ParameterFault::NotFoldable(Place::Encoder(number)))?;
        }
        match rule {
            ScoreRule::Distance => fold_reference(parameters, writing.0),
            ScoreRule::Reconstruction => {
                for number in 0..DECODER_BLOCKS {
                    let from = parameters.decoder_block(number);
                    let block = writing.block(&FoldedShape::of(from.shape));
                    fold_block(&from, block).ok_or(ParameterFault::NotFoldable(Place::Decoder(number)))?;
                }
                fold_output(&parameters.output(), writing.0).ok_or(ParameterFault::NotFoldable(Place::Output))?;
            }
        }
        Ok(Self { shape, rule, start, values })
    }
}

impl<V: AsRef<[f32]>> FoldedGaVae<V> {
    /// The model's shape.
    pub const fn shape(&self) -> GaVaeShape {
        self.shape
    }

    /// How scores are made.
    pub const fn rule(&self) -> ScoreRule {
        self.rule
    }

    /// Numbers of its storage.
    pub fn storage_values(&self) -> usize {
        self.values.as_ref().len()
    }

    /// The values in reading order.
    pub(super) fn reading(&self) -> Reading<'_> {
        Reading(&self.values.as_ref()[self.start..])
    }
}

/// Where, within the first `spare` places, a run of values begins at a cache line; 0 if nowhere.
pub(super) fn aligned_start(values: &[f32], spare: usize) -> usize {
    let start = values.as_ptr().align_offset(64);
    if start <= spare { start } else { 0 }
}

/// The reference mean, joint by joint.
fn fold_reference<V: AsRef<[f32]>>(parameters: &GaVaeParameters<V>, values: &mut [f32]) {
    let (channels, mean) = (parameters.shape().output_channels(), parameters.reference_mean());
    for (row, rest) in values.chunks_exact_mut(padded(channels)).enumerate() {
        for (channel, value) in rest[..channels].iter_mut().enumerate() {
            *value = mean[channel * LATENT_FRAMES * JOINTS + row];
        }
    }
}

/// A batch normalisation's channel as `slope * x + offset`.
pub(super) fn slope_and_offset(norm: &BatchNorm<'_>, channel: usize) -> (f64, f64) {
    let slope = f64::from(norm.weight[channel]) / libm::sqrt(f64::from(norm.running_var[channel]) + BATCH_NORM_EPSILON);
    (slope, f64::from(norm.bias[channel]) - slope * f64::from(norm.running_mean[channel]))
}

fn fold_data(norm: &BatchNorm<'_>, values: &mut [f32]) -> Result<(), ParameterFault> {
    let (slopes, offsets) = values.split_at_mut(JOINT_LANES * CHANNELS);
    for channel in 0..JOINTS * CHANNELS {
        let (slope, offset) = slope_and_offset(norm, channel);
        (slopes[channel], offsets[channel]) = (slope as f32, offset as f32);
    }
    let finite = slopes.iter().chain(offsets.iter()).all(|value| value.is_finite());
    if finite { Ok(()) } else { Err(ParameterFault::NotFoldable(Place::Data)) }
}

/// Fills a matrix of `inputs` padded inputs with `value(output, input)`, for as many outputs and inputs as there are.
pub(super) fn fill(matrix: &mut [f32], inputs: usize, (outputs, sources): (usize, usize), value: impl Fn(usize, usize) -> f64) {
    for (panel, weights) in matrix.chunks_exact_mut(inputs * PANEL).enumerate() {
        for (input, weights) in weights.chunks_exact_mut(PANEL).enumerate().take(sources) {
            for (output, weight) in weights.iter_mut().enumerate() {
                let output = panel * PANEL + output;
                *weight = if output < outputs { value(output, input) as f32 } else { 0.0 };
            }
        }
    }
}

/// `None` when a value overflows.
fn fold_block(from: &Block<'_>, mut to: FoldedBlock<&mut [f32]>) -> Option<()> {
    let FoldedShape { inputs, outputs, embedding, block } = FoldedShape::of(from.shape);
    for (row, joints) in to.learnt.chunks_exact_mut(JOINT_LANES).enumerate() {
        let (subset, joint) = (row / JOINTS, row % JOINTS);
        for (source, entry) in joints[..JOINTS].iter_mut().enumerate() {
            *entry = from.learnt[(subset * JOINTS + source) * JOINTS + joint];
        }
    }
    let base = core::f64::consts::LOG2_E;
    for (convolution, matrix, bias, factor) in
        [(&from.query, &mut to.query, &mut to.query_bias, base), (&from.key, &mut to.key, &mut to.key_bias, 1.0)]
    {
        // A subset's embeddings begin at a whole panel.
        let source = |output: usize| {
            let (subset, channel) = (output / embedding, output % embedding);
            (channel < block.embedding()).then_some(subset * block.embedding() + channel)
        };
        fill(matrix, inputs, (SUBSETS * embedding, block.inputs), |output, input| {
            source(output).map_or(0.0, |row| factor * f64::from(convolution.weight[row * block.inputs + input]))
        });
        for (output, bias) in bias.iter_mut().enumerate() {
            *bias = source(output).map_or(0.0, |row| factor * f64::from(convolution.bias[row])) as f32;
        }
    }
    for (family, (matrix, bias)) in to.expand.iter_mut().zip(to.expand_bias.chunks_exact_mut(outputs)).enumerate() {
        fill(matrix, SUBSETS * inputs, (block.outputs, SUBSETS * inputs), |output, input| {
            let (subset, channel) = (input / inputs, input % inputs);
            if channel >= block.inputs {
                return 0.0;
            }
            let (slope, _) = slope_and_offset(&from.family_norm, family * block.outputs + output);
            let row = (family * SUBSETS + subset) * block.outputs + output;
            slope * f64::from(from.expand[row * block.inputs + channel])
        });
        for (output, bias) in bias[..block.outputs].iter_mut().enumerate() {
            *bias = slope_and_offset(&from.family_norm, family * block.outputs + output).1 as f32;
        }
    }
    fold_reduce(from, &mut to);
    fold_temporal(from, &mut to);
    let FoldedBlock { learnt, query, key, expand: [one, two, three], reduce, graph_residual, temporal, residual, .. } = &to;
    let biases = [&to.query_bias, &to.key_bias, &to.expand_bias, &to.reduce_bias, &to.temporal_bias];
    let matrices = [learnt, query, key, one, two, three, reduce, graph_residual, temporal, residual];
    matrices.into_iter().chain(biases).all(|values| values.iter().all(|value| value.is_finite())).then_some(())
}

/// `slope of the projection's normalisation * its kernel`, and what is constant in its output.
fn projection(from: &Projection<'_>, inputs: usize, output: usize) -> (impl Fn(usize) -> f64, f64) {
    let (slope, offset) = slope_and_offset(&from.norm, output);
    let weights = from.convolution.weight;
    (move |input: usize| slope * f64::from(weights[output * inputs + input]), slope * f64::from(from.convolution.bias[output]) + offset)
}

/// The reducing convolution, the graph residual, and the normalisation after them.
fn fold_reduce(from: &Block<'_>, to: &mut FoldedBlock<&mut [f32]>) {
    let FoldedShape { inputs, outputs, block, .. } = FoldedShape::of(from.shape);
    fill(to.reduce, SUBSETS * outputs, (block.outputs, SUBSETS * outputs), |output, input| {
        let (family, channel) = (input / outputs, input % outputs);
        if channel >= block.outputs {
            return 0.0;
        }
        let weight = from.reduce[(output * SUBSETS + family) * block.outputs + channel];
        slope_and_offset(&from.norm, output).0 * f64::from(weight)
    });
    for (output, bias) in to.reduce_bias[..block.outputs].iter_mut().enumerate() {
        let (slope, offset) = slope_and_offset(&from.norm, output);
        let carried = from.graph_residual.as_ref().map_or(0.0, |residual| projection(residual, block.inputs, output).1);
        *bias = (offset + slope * carried) as f32;
    }
    match &from.graph_residual {
        Some(residual) => fill(to.graph_residual, inputs, (block.outputs, block.inputs), |output, input| {
            slope_and_offset(&from.norm, output).0 * projection(residual, block.inputs, output).0(input)
        }),
        None => {
            for (output, gain) in to.graph_residual[..block.outputs].iter_mut().enumerate() {
                *gain = slope_and_offset(&from.norm, output).0 as f32;
            }
        }
    }
}

/// The convolution over time, its normalisation, and the block's residual.
fn fold_temporal(from: &Block<'_>, to: &mut FoldedBlock<&mut [f32]>) {
    let FoldedShape { inputs, outputs, block, .. } = FoldedShape::of(from.shape);
    for (tap, matrix) in to.temporal.chunks_exact_mut(outputs * outputs).enumerate() {
        fill(matrix, outputs, (block.outputs, block.outputs), |output, input| {
            let weight = from.temporal.weight[(output * block.outputs + input) * TAPS + tap];
            slope_and_offset(&from.temporal_norm, output).0 * f64::from(weight)
        });
    }
    for (output, bias) in to.temporal_bias[..block.outputs].iter_mut().enumerate() {
        let (slope, offset) = slope_and_offset(&from.temporal_norm, output);
        let carried = from.residual.as_ref().map_or(0.0, |residual| projection(residual, block.inputs, output).1);
        *bias = (slope * f64::from(from.temporal.bias[output]) + offset + carried) as f32;
    }
    if let Some(residual) = &from.residual {
        fill(to.residual, inputs, (block.outputs, block.inputs), |output, input| projection(residual, block.inputs, output).0(input));
    }
}

/// Numbers of scratch memory that scoring with a model of this shape takes.
#[must_use]
pub fn scratch_values(shape: GaVaeShape) -> usize {
    Scratch::sizes(shape).iter().sum::<usize>() + PANEL
}

/// Frames that graph attention takes in one go: its intermediate values stay in the nearest caches.
pub(super) const CHUNK_FRAMES: usize = 4;

const _: () = assert!(WINDOW_FRAMES.is_multiple_of(CHUNK_FRAMES) && LATENT_FRAMES.is_multiple_of(CHUNK_FRAMES));

/// The places of intermediate values. Rows are (frame, joint), channels lie beside each other.
pub(super) struct Scratch<'a> {
    /// A block's input, its output, and what lies between graph attention and the convolution over time.
    pub(super) input: &'a mut [f32],
    pub(super) output: &'a mut [f32],
    pub(super) hidden: &'a mut [f32],
    /// Of some frames: inputs after one family's matrices, and all families.
    pub(super) mixed: &'a mut [f32],
    pub(super) joined: &'a mut [f32],
    /// Embeddings; keys as `[frame][matrix][panel of joints][embedding][joint of the panel]`.
    pub(super) queries: &'a mut [f32],
    pub(super) keys: &'a mut [f32],
    /// `[from joint][to joint]`, and the finished family `[matrix][to joint][from joint]`, rows of [`JOINT_LANES`].
    pub(super) scores: &'a mut [f32],
    pub(super) computed: &'a mut [f32],
}

impl<'a> Scratch<'a> {
    fn sizes(shape: GaVaeShape) -> [usize; 9] {
        let mut sizes = [0; 9];
        for number in 0..ENCODER_BLOCKS {
            let FoldedShape { block, inputs, outputs, embedding } = FoldedShape::of(shape.encoder_block(number));
            let rows = block.frames * JOINTS;
            let activation = rows * inputs.max(outputs);
            let block_sizes = [
                activation,
                activation,
                rows * outputs,
                CHUNK_FRAMES * JOINTS * SUBSETS * inputs,
                CHUNK_FRAMES * JOINTS * SUBSETS * outputs,
                rows * SUBSETS * embedding,
                block.frames * SUBSETS * embedding * JOINT_LANES,
                JOINTS * JOINT_LANES,
                SUBSETS * JOINTS * JOINT_LANES,
            ];
            sizes.iter_mut().zip(block_sizes).for_each(|(size, needed)| *size = needed.max(*size));
        }
        sizes
    }

    /// Divides memory of at least [`scratch_values`] numbers; `None` if there is less.
    pub(super) fn new(shape: GaVaeShape, memory: &'a mut [f32]) -> Option<Self> {
        let sizes = Self::sizes(shape);
        let spare = memory.len().checked_sub(sizes.iter().sum())?;
        let start = aligned_start(memory, spare);
        let mut writing = Writing(&mut memory[start..]);
        let [input, output, hidden, mixed, joined, queries, keys, scores, computed] = sizes.map(|size| writing.take(size));
        Some(Self { input, output, hidden, mixed, joined, queries, keys, scores, computed })
    }
}
