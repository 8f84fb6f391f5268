//! A block of GA-VAE's hand-derived step, forward: graph attention, then a convolution over time, in stages between which a batch's
//! statistics are known.
//!
//! What a group of sixteen samples keeps of a block is what comes before each normalisation; everything else is computed again on the way back.
//! Graph attention runs over [`SLAB`] frames at a time, so that what it makes in between stays in the caches.

use crate::train::ga_vae_kernels::{FRAME, MATRIX, Mix, Outer, Product, Start, wide};
use crate::train::ga_vae_norm::{Fold, Mask, Sums, moments, rectified};
use crate::train::ga_vae_plan::{BlockPlan, PADDING, PackedBlock, PackedTemporal};
use crate::train::lanes::LANES;
use alfred_core::limits::JOINTS;
use alfred_models::ga_vae::shape::{BlockShape, Residual, SUBSETS};
use alfred_models::ga_vae::skeleton::fixed_family;

/// Frames that graph attention computes together; every layer has a multiple of it.
pub const SLAB: usize = 4;

/// Numbers of a channel's slab.
pub const SLAB_PLANE: usize = SLAB * FRAME;

/// The normalisations of a block.
#[derive(Clone, Debug, Default)]
pub struct BlockFolds {
    /// `gcn.family_norm`.
    pub family: Fold,
    /// `gcn.residual_norm`, if there is one.
    pub graph_residual: Fold,
    /// `norm`.
    pub mixed: Fold,
    /// `tcn_norm`.
    pub moved: Fold,
    /// `residual_norm`, if there is one.
    pub residual: Fold,
}

/// What a group keeps of a block.
#[derive(Clone, Debug)]
pub struct BlockState {
    /// The matrices that each sample gives itself, `[subset][from][to][sample]`.
    pub attention: Vec<f32>,
    /// Sums of the three families, before their normalisation.
    pub sums: Vec<f32>,
    /// The graph residual before its normalisation.
    pub graph_residual: Vec<f32>,
    /// What graph attention gives.
    pub mixed: Vec<f32>,
    /// What the convolution over time gives.
    pub moved: Vec<f32>,
    /// The residual before its normalisation.
    pub residual: Vec<f32>,
    /// The block's output.
    pub output: Vec<f32>,
}

impl BlockState {
    /// Room for a block.
    #[must_use]
    pub fn new(plan: &BlockPlan) -> Self {
        let (outputs, plane, output_plane) = (plan.shape.outputs, plan.plane(), plan.output_plane());
        let projection = |is_there: bool, plane: usize| vec![0.0; if is_there { outputs * plane } else { 0 }];
        Self {
            attention: vec![0.0; SUBSETS * MATRIX],
            sums: vec![0.0; SUBSETS * outputs * plane],
            graph_residual: projection(plan.graph_residual.is_some(), plane),
            mixed: vec![0.0; outputs * plane],
            moved: vec![0.0; outputs * output_plane],
            residual: projection(plan.residual.is_some(), output_plane),
            output: vec![0.0; outputs * output_plane],
        }
    }
}

/// Room that a thread needs for one block at a time, whichever it is.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Queries and keys of all frames.
    pub embedded: Vec<f32>,
    /// A slab of the input.
    pub slab: Vec<f32>,
    /// A slab mixed by the three matrices of a family.
    pub mixed: Vec<f32>,
    /// A slab of the normalised sums of the families.
    pub joined: Vec<f32>,
    /// A layer with zeros before and after it.
    pub padded: Vec<f32>,
    /// The way back's: gradient of `mixed`, then of an input's slab.
    pub mixed_gradient: Vec<f32>,
    /// See above.
    pub slab_gradient: Vec<f32>,
    /// Gradient of queries and keys.
    pub embedded_gradient: Vec<f32>,
    /// Gradient of adjacency matrices, learnt ones first.
    pub matrices: Vec<f32>,
    /// A layer's gradient with zeros before and after it.
    pub padded_gradient: Vec<f32>,
    /// A layer's gradient.
    pub layer: Vec<f32>,
    /// Beginnings of rows.
    pub rows: Vec<usize>,
    /// Beginnings of other rows.
    pub others: Vec<usize>,
}

/// The first numbers of a buffer that grows to what is asked for.
pub fn room(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

/// Beginnings of `count` rows.
pub fn rows(buffer: &mut Vec<usize>, count: usize, step: usize) -> &[usize] {
    buffer.clear();
    buffer.extend((0..count).map(|row| row * step));
    buffer
}

/// Queries and keys of an input, into the scratch.
pub fn embed(plan: &BlockPlan, packed: &PackedBlock, input: &[f32], scratch: &mut Scratch) {
    let (inputs, plane, embedded) = (plan.shape.inputs, plan.plane(), plan.embedded());
    let out = room(&mut scratch.embedded, embedded * plane);
    let offsets = rows(&mut scratch.rows, inputs, plane);
    let start = Start::Bias(&packed.embed_bias);
    Product { rows: embedded, columns: plane, left: &packed.embed, left_step: inputs, right: input, offsets, start, out, out_step: plane }
        .run();
}

/// The matrices that each sample gives itself: a softmax over `from` of queries times keys.
fn attend(plan: &BlockPlan, embedded: &[f32], attention: &mut [f32]) {
    let part = plan.shape.embedding() * plan.plane();
    for (subset, matrix) in attention.chunks_exact_mut(MATRIX).enumerate() {
        matrix.fill(0.0);
        let froms = &embedded[subset * part..][..part];
        let tos = &embedded[(SUBSETS + subset) * part..][..part];
        Outer { froms, tos, matrix }.run();
        wide(|| soften(matrix));
    }
}

/// The softmax over `from`.
#[inline(always)]
fn soften(matrix: &mut [f32]) {
    for to in 0..JOINTS {
        let mut largest = [f32::NEG_INFINITY; LANES];
        for from in 0..JOINTS {
            let cell = &matrix[from * FRAME + to * LANES..][..LANES];
            for lane in 0..LANES {
                // In this order NaN stays.
                largest[lane] = if cell[lane] <= largest[lane] { largest[lane] } else { cell[lane] };
            }
        }
        let mut total = [0.0; LANES];
        for from in 0..JOINTS {
            let cell = &mut matrix[from * FRAME + to * LANES..][..LANES];
            let lower = core::array::from_fn(|lane| cell[lane] - largest[lane]);
            for (lane, power) in crate::train::lanes::exp(&lower).into_iter().enumerate() {
                cell[lane] = power;
                total[lane] += power;
            }
        }
        for from in 0..JOINTS {
            let cell = &mut matrix[from * FRAME + to * LANES..][..LANES];
            for lane in 0..LANES {
                cell[lane] /= total[lane];
            }
        }
    }
}

/// Copies the frames of a slab from `first` on, channel after channel.
pub fn take_slab(input: &[f32], plane: usize, first: usize, slab: &mut [f32]) {
    for (slab, row) in slab.chunks_exact_mut(SLAB_PLANE).zip(input.chunks_exact(plane)) {
        slab.copy_from_slice(&row[first * FRAME..][..SLAB_PLANE]);
    }
}

/// The entries of the fixed family that are not zero: (from, to, entry) of each matrix.
#[derive(Clone, Debug)]
pub struct FixedFamily([Vec<(usize, usize, f32)>; SUBSETS]);

impl FixedFamily {
    /// The skeleton's.
    #[must_use]
    pub fn new() -> Self {
        let entries = |matrix: [[f64; JOINTS]; JOINTS]| {
            let all = (0..JOINTS * JOINTS).map(|place| (place / JOINTS, place % JOINTS, matrix[place / JOINTS][place % JOINTS] as f32));
            all.filter(|entry| entry.2 > 0.0).collect()
        };
        Self(fixed_family().map(entries))
    }

    /// Adds `entry * values[from]` to `out[to]` in every frame; back, `entry * values[to]` to `out[from]`.
    pub fn add(&self, subset: usize, values: &[f32], is_back: bool, out: &mut [f32]) {
        wide(|| {
            for (values, out) in values.chunks_exact(FRAME).zip(out.chunks_exact_mut(FRAME)) {
                for (from, to, entry) in &self.0[subset] {
                    let (from, to) = if is_back { (to, from) } else { (from, to) };
                    let (value, sum) = (&values[from * LANES..][..LANES], &mut out[to * LANES..][..LANES]);
                    for lane in 0..LANES {
                        sum[lane] += entry * value[lane];
                    }
                }
            }
        });
    }
}

impl Default for FixedFamily {
    fn default() -> Self {
        Self::new()
    }
}

/// A slab mixed by the three matrices of a family: `[subset][channel][frame]`.
pub fn mix_slab(family: usize, fixed: &FixedFamily, packed: &PackedBlock, attention: &[f32], slab: &[f32], mixed: &mut [f32]) {
    for (subset, out) in mixed.chunks_exact_mut(slab.len()).enumerate() {
        let matrices = match family {
            0 => {
                out.fill(0.0);
                fixed.add(subset, slab, false, out);
                continue;
            }
            1 => &packed.learnt,
            _ => attention,
        };
        let matrix = &matrices[subset * MATRIX..][..MATRIX];
        Mix { matrix, is_transposed: false, values: slab, out, is_kept: false }.run();
    }
}

/// What the stages of a block read.
#[derive(Clone, Copy, Debug)]
pub struct BlockView<'b> {
    /// Where its tensors lie.
    pub plan: &'b BlockPlan,
    /// Copies of its weights.
    pub packed: &'b PackedBlock,
    /// The fixed family.
    pub fixed: &'b FixedFamily,
    /// All values.
    pub values: &'b [f32],
}

impl BlockView<'_> {
    /// First stage: sums of the families and the graph residual, and the moments of both.
    pub fn sum_families(&self, input: &[f32], state: &mut BlockState, mask: &Mask, scratch: &mut Scratch) -> [Sums; 2] {
        let BlockShape { inputs, outputs, frames, .. } = self.plan.shape;
        let plane = self.plan.plane();
        embed(self.plan, self.packed, input, scratch);
        attend(self.plan, &scratch.embedded[..self.plan.embedded() * plane], &mut state.attention);
        let slab = room(&mut scratch.slab, inputs * SLAB_PLANE);
        let mixed = room(&mut scratch.mixed, SUBSETS * inputs * SLAB_PLANE);
        let offsets = rows(&mut scratch.rows, SUBSETS * inputs, SLAB_PLANE);
        for first in (0..frames).step_by(SLAB) {
            take_slab(input, plane, first, slab);
            for family in 0..SUBSETS {
                mix_slab(family, self.fixed, self.packed, &state.attention, slab, mixed);
                let out = &mut state.sums[family * outputs * plane + first * FRAME..];
                let left = &self.packed.expand[family];
                let left_step = SUBSETS * inputs;
                let start = Start::Zero;
                Product { rows: outputs, columns: SLAB_PLANE, left, left_step, right: mixed, offsets, start, out, out_step: plane }.run();
            }
        }
        let mut residual = Sums::new();
        if let Some(projection) = self.plan.graph_residual {
            let offsets = rows(&mut scratch.rows, inputs, plane);
            let left = &self.values[projection.weight..][..outputs * inputs];
            let start = Start::Bias(&self.values[projection.bias..][..outputs]);
            let out = &mut state.graph_residual;
            Product { rows: outputs, columns: plane, left, left_step: inputs, right: input, offsets, start, out, out_step: plane }.run();
            residual = moments(&state.graph_residual, plane, mask);
        }
        [moments(&state.sums, plane, mask), residual]
    }

    /// Second stage: what graph attention gives, and its moments.
    pub fn join_families(&self, input: &[f32], state: &mut BlockState, folds: &BlockFolds, mask: &Mask, scratch: &mut Scratch) -> Sums {
        let BlockShape { outputs, frames, .. } = self.plan.shape;
        let plane = self.plan.plane();
        if self.plan.graph_residual.is_some() {
            let fold = &folds.graph_residual;
            wide(|| {
                let rows = state.mixed.chunks_exact_mut(plane).zip(state.graph_residual.chunks_exact(plane));
                for ((out, row), (scale, shift)) in rows.zip(fold.scale.iter().zip(&fold.shift)) {
                    out.iter_mut().zip(row).for_each(|(out, value)| *out = scale * value + shift);
                }
            });
        } else {
            state.mixed.copy_from_slice(input);
        }
        let joined = room(&mut scratch.joined, SUBSETS * outputs * SLAB_PLANE);
        let offsets = rows(&mut scratch.rows, SUBSETS * outputs, SLAB_PLANE);
        for first in (0..frames).step_by(SLAB) {
            join_slab(&state.sums, plane, first, &folds.family, joined);
            Product {
                rows: outputs,
                columns: SLAB_PLANE,
                left: &self.values[self.plan.reduce..][..outputs * SUBSETS * outputs],
                left_step: SUBSETS * outputs,
                right: joined,
                offsets,
                start: Start::Kept,
                out: &mut state.mixed[first * FRAME..],
                out_step: plane,
            }
            .run();
        }
        moments(&state.mixed, plane, mask)
    }

    /// Third stage: the convolution over time and the residual, and the moments of both.
    pub fn move_frames(&self, input: &[f32], state: &mut BlockState, folds: &BlockFolds, mask: &Mask, scratch: &mut Scratch) -> [Sums; 2] {
        let BlockShape { inputs, outputs, stride, .. } = self.plan.shape;
        let (plane, output_plane) = (self.plan.plane(), self.plan.output_plane());
        pad_rectified(&state.mixed, plane, &folds.mixed, &mut scratch.padded);
        convolve(&self.packed.temporal, self.values, &scratch.padded, &mut state.moved);
        let mut residual = Sums::new();
        if let Some(projection) = self.plan.residual {
            let offsets = rows(&mut scratch.rows, inputs, plane);
            let left = &self.values[projection.weight..][..outputs * inputs];
            let start = Start::Bias(&self.values[projection.bias..][..outputs]);
            for frame in 0..self.plan.shape.output_frames() {
                let (right, out) = (&input[frame * stride * FRAME..], &mut state.residual[frame * FRAME..]);
                Product { rows: outputs, columns: FRAME, left, left_step: inputs, right, offsets, start, out, out_step: output_plane }
                    .run();
            }
            residual = moments(&state.residual, output_plane, mask);
        }
        [moments(&state.moved, output_plane, mask), residual]
    }

    /// Last stage: the block's output.
    pub fn finish(&self, input: &[f32], state: &mut BlockState, folds: &BlockFolds) {
        let shape = self.plan.shape;
        let plane = self.plan.output_plane();
        let BlockState { moved, residual, output, .. } = state;
        wide(|| {
            for (channel, (out, moved)) in output.chunks_exact_mut(plane).zip(moved.chunks_exact(plane)).enumerate() {
                let (scale, shift) = (folds.moved.scale[channel], folds.moved.shift[channel]);
                out.iter_mut().zip(moved).for_each(|(out, value)| *out = scale * value + shift);
                match shape.residual {
                    Residual::None => {}
                    Residual::Identity => {
                        out.iter_mut().zip(&input[channel * plane..]).for_each(|(out, value)| *out += value);
                    }
                    Residual::Projected => {
                        let (scale, shift) = (folds.residual.scale[channel], folds.residual.shift[channel]);
                        let row = &residual[channel * plane..];
                        out.iter_mut().zip(row).for_each(|(out, value)| *out += scale * value + shift);
                    }
                }
                if shape.ends_in_relu {
                    // Unlike max, this keeps NaN.
                    out.iter_mut().for_each(|value| *value = if *value < 0.0 { 0.0 } else { *value });
                }
            }
        });
    }
}

/// The families' sums of a slab, normalised and rectified.
pub fn join_slab(sums: &[f32], plane: usize, first: usize, fold: &Fold, joined: &mut [f32]) {
    wide(|| {
        for (channel, (out, row)) in joined.chunks_exact_mut(SLAB_PLANE).zip(sums.chunks_exact(plane)).enumerate() {
            rectified(&row[first * FRAME..][..SLAB_PLANE], fold, channel, out);
        }
    });
}

/// A layer normalised and rectified, with zeros before and after it.
pub fn pad_rectified(values: &[f32], plane: usize, fold: &Fold, padded: &mut Vec<f32>) {
    let step = plane + 2 * PADDING * FRAME;
    let padded = room(padded, values.len() / plane * step);
    wide(|| {
        for (channel, (out, row)) in padded.chunks_exact_mut(step).zip(values.chunks_exact(plane)).enumerate() {
            let (before, rest) = out.split_at_mut(PADDING * FRAME);
            let (middle, after) = rest.split_at_mut(plane);
            before.fill(0.0);
            after.fill(0.0);
            rectified(row, fold, channel, middle);
        }
    });
}

/// A convolution over nine frames of a padded layer.
pub fn convolve(temporal: &PackedTemporal, values: &[f32], padded: &[f32], out: &mut [f32]) {
    let PackedTemporal { channels, frames, stride, weight, bias, offsets, .. } = temporal;
    let output_frames = frames / stride;
    let left = &values[*weight..][..channels * offsets.len()];
    let start = Start::Bias(&values[*bias..][..*channels]);
    // Frame by frame the columns are few; without a stride all frames are one run of columns.
    let (runs, columns) = if *stride == 1 { (1, frames * FRAME) } else { (output_frames, FRAME) };
    for run in 0..runs {
        let (right, out) = (&padded[run * stride * FRAME..], &mut out[run * FRAME..]);
        let (left_step, out_step) = (offsets.len(), output_frames * FRAME);
        Product { rows: *channels, columns, left, left_step, right, offsets, start, out, out_step }.run();
    }
}
