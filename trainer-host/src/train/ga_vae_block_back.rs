//! The way back through a block of GA-VAE's hand-derived step, in the stages of the way there, last one first.
//!
//! Biases before a normalisation get no gradient: it is zero in exact arithmetic, and an optimiser would blow up what rounding leaves of it. The
//! same holds for the queries' bias, which the softmax takes out.

use crate::train::ga_vae_block::{
    BlockFolds, BlockState, BlockView, SLAB, SLAB_PLANE, Scratch, embed, join_slab, mix_slab, pad_rectified, room, rows, take_slab,
};
use crate::train::ga_vae_kernels::{Dots, FRAME, MATRIX, Mix, Outer, Product, Start, wide};
use crate::train::ga_vae_norm::{Back, Mask, Sums, add_row_sums, before, slopes, through};
use crate::train::ga_vae_plan::{PADDING, PackedTemporal};
use crate::train::lanes::LANES;
use alfred_core::limits::JOINTS;
use alfred_models::ga_vae::shape::{BlockShape, Residual, SUBSETS, TAPS};

/// What goes back through a group's blocks, one block at a time.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// Gradient of the block's output.
    pub output: Vec<f32>,
    /// Of its input.
    pub input: Vec<f32>,
    /// Of what graph attention gives, after its normalisation; then before it.
    pub mixed: Vec<f32>,
    /// Of the families' sums, after their normalisation.
    pub sums: Vec<f32>,
}

/// The ways back through a block's normalisations, channel by channel.
#[derive(Clone, Debug, Default)]
pub struct BlockBacks {
    /// `gcn.family_norm`.
    pub family: Vec<Back>,
    /// `gcn.residual_norm`, if there is one.
    pub graph_residual: Vec<Back>,
    /// `norm`.
    pub mixed: Vec<Back>,
    /// `tcn_norm`.
    pub moved: Vec<Back>,
    /// `residual_norm`, if there is one.
    pub residual: Vec<Back>,
}

impl BlockView<'_> {
    /// Through the last rectifier; sums for the normalisations of the convolution and of the residual.
    pub fn back_finish(&self, state: &BlockState, folds: &BlockFolds, flow: &mut Flow) -> [Sums; 2] {
        let plane = self.plan.output_plane();
        let gradient = &mut flow.output[..self.plan.shape.outputs * plane];
        if self.plan.shape.ends_in_relu {
            wide(|| through(gradient, &state.output));
        }
        let residual = match self.plan.residual {
            Some(_) => slopes(gradient, &state.residual, plane, &folds.residual),
            None => Sums::new(),
        };
        [slopes(gradient, &state.moved, plane, &folds.moved), residual]
    }

    /// Through the convolution over time and the residual; sums for the normalisation before them.
    #[expect(clippy::too_many_arguments, reason = "what a stage reads and what it writes")]
    pub fn back_move(
        &self,
        input: &[f32],
        state: &BlockState,
        folds: &BlockFolds,
        backs: &BlockBacks,
        mask: &Mask,
        flow: &mut Flow,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) -> Sums {
        let BlockShape { inputs, outputs, .. } = self.plan.shape;
        let (plane, output_plane) = (self.plan.plane(), self.plan.output_plane());
        pad_before(&flow.output, &state.moved, output_plane, &backs.moved, mask, &mut scratch.padded_gradient);
        pad_rectified(&state.mixed, plane, &folds.mixed, &mut scratch.padded);
        let of_mixed = room(&mut flow.mixed, outputs * plane);
        convolve_back(&self.packed.temporal, scratch, of_mixed, gradient);
        let step = plane + 2 * PADDING * FRAME;
        wide(|| {
            for (slope, row) in of_mixed.chunks_exact_mut(plane).zip(scratch.padded.chunks_exact(step)) {
                through(slope, &row[PADDING * FRAME..][..plane]);
            }
        });
        let of_input = room(&mut flow.input, inputs * plane);
        match self.plan.shape.residual {
            Residual::None => of_input.fill(0.0),
            Residual::Identity => of_input.copy_from_slice(&flow.output[..inputs * plane]),
            Residual::Projected => {
                of_input.fill(0.0);
                self.back_residual(input, state, backs, mask, &flow.output, of_input, scratch, gradient);
            }
        }
        slopes(of_mixed, &state.mixed, plane, &folds.mixed)
    }

    #[expect(clippy::too_many_arguments, reason = "what a stage reads and what it writes")]
    fn back_residual(
        &self,
        input: &[f32],
        state: &BlockState,
        backs: &BlockBacks,
        mask: &Mask,
        of_output: &[f32],
        of_input: &mut [f32],
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) {
        let Some(projection) = self.plan.residual else { return };
        let BlockShape { inputs, outputs, stride, .. } = self.plan.shape;
        let (plane, output_plane) = (self.plan.plane(), self.plan.output_plane());
        let layer = room(&mut scratch.layer, outputs * output_plane);
        before_rows(of_output, &state.residual, output_plane, &backs.residual, mask, layer);
        let lefts = rows(&mut scratch.rows, outputs, output_plane);
        let rights = rows(&mut scratch.others, inputs, plane);
        let sums = &mut gradient[projection.weight..][..outputs * inputs];
        for frame in 0..self.plan.shape.output_frames() {
            let (left, right) = (&layer[frame * FRAME..], &input[frame * stride * FRAME..]);
            Dots { columns: FRAME, left, lefts, right, rights, sums, sums_step: inputs }.run();
            let out = &mut of_input[frame * stride * FRAME..];
            let (back, right) = (&self.packed.residual_back, left);
            let start = Start::Zero;
            Product { rows: inputs, columns: FRAME, left: back, left_step: outputs, right, offsets: lefts, start, out, out_step: plane }
                .run();
        }
    }

    /// Through the joining of the families; sums for their normalisations and the graph residual's.
    #[expect(clippy::too_many_arguments, reason = "what a stage reads and what it writes")]
    pub fn back_join(
        &self,
        state: &BlockState,
        folds: &BlockFolds,
        backs: &BlockBacks,
        mask: &Mask,
        flow: &mut Flow,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) -> [Sums; 2] {
        let BlockShape { outputs, frames, .. } = self.plan.shape;
        let plane = self.plan.plane();
        let layer = room(&mut scratch.layer, outputs * plane);
        before_rows(&flow.mixed, &state.mixed, plane, &backs.mixed, mask, layer);
        let of_sums = room(&mut flow.sums, SUBSETS * outputs * plane);
        let joined = room(&mut scratch.joined, SUBSETS * outputs * SLAB_PLANE);
        for first in (0..frames).step_by(SLAB) {
            join_slab(&state.sums, plane, first, &folds.family, joined);
            let lefts = rows(&mut scratch.rows, outputs, plane);
            let rights = rows(&mut scratch.others, SUBSETS * outputs, SLAB_PLANE);
            let sums = &mut gradient[self.plan.reduce..][..SUBSETS * outputs * outputs];
            let right = &layer[first * FRAME..];
            Dots { columns: SLAB_PLANE, left: right, lefts, right: joined, rights, sums, sums_step: SUBSETS * outputs }.run();
            Product {
                rows: SUBSETS * outputs,
                columns: SLAB_PLANE,
                left: &self.packed.reduce_back,
                left_step: outputs,
                right,
                offsets: lefts,
                start: Start::Zero,
                out: &mut of_sums[first * FRAME..],
                out_step: plane,
            }
            .run();
            wide(|| {
                for (slope, row) in of_sums.chunks_exact_mut(plane).zip(joined.chunks_exact(SLAB_PLANE)) {
                    through(&mut slope[first * FRAME..][..SLAB_PLANE], row);
                }
            });
        }
        flow.mixed[..outputs * plane].copy_from_slice(layer);
        let residual = match self.plan.graph_residual {
            Some(_) => slopes(layer, &state.graph_residual, plane, &folds.graph_residual),
            None => {
                flow.input.iter_mut().zip(&*layer).for_each(|(sum, slope)| *sum += slope);
                Sums::new()
            }
        };
        [slopes(of_sums, &state.sums, plane, &folds.family), residual]
    }

    /// Through the families to the block's input, whose gradient is then whole.
    #[expect(clippy::too_many_arguments, reason = "what a stage reads and what it writes")]
    pub fn back_families(
        &self,
        input: &[f32],
        state: &BlockState,
        backs: &BlockBacks,
        mask: &Mask,
        flow: &mut Flow,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) {
        let BlockShape { inputs, outputs, frames, .. } = self.plan.shape;
        let plane = self.plan.plane();
        if let Some(projection) = self.plan.graph_residual {
            let layer = room(&mut scratch.layer, outputs * plane);
            before_rows(&flow.mixed, &state.graph_residual, plane, &backs.graph_residual, mask, layer);
            let sums = &mut gradient[projection.weight..][..outputs * inputs];
            self.back_linear(
                layer,
                outputs,
                input,
                &self.packed.graph_residual_back,
                sums,
                &mut flow.input,
                [&mut scratch.rows, &mut scratch.others],
            );
        }
        room(&mut scratch.matrices, 2 * SUBSETS * MATRIX).fill(0.0);
        for first in (0..frames).step_by(SLAB) {
            take_slab(input, plane, first, room(&mut scratch.slab, inputs * SLAB_PLANE));
            room(&mut scratch.slab_gradient, inputs * SLAB_PLANE).fill(0.0);
            for family in 0..SUBSETS {
                let layer = room(&mut scratch.layer, outputs * SLAB_PLANE);
                wide(|| {
                    for (channel, out) in layer.chunks_exact_mut(SLAB_PLANE).enumerate() {
                        let at = (family * outputs + channel) * plane + first * FRAME;
                        let (slopes, values) = (&flow.sums[at..][..SLAB_PLANE], &state.sums[at..][..SLAB_PLANE]);
                        before(slopes, values, backs.family[family * outputs + channel], mask, out);
                    }
                });
                self.back_family(family, &state.attention, scratch, gradient);
            }
            let of_slab = &scratch.slab_gradient[..inputs * SLAB_PLANE];
            for (row, slab) in flow.input.chunks_exact_mut(plane).zip(of_slab.chunks_exact(SLAB_PLANE)) {
                row[first * FRAME..][..SLAB_PLANE].iter_mut().zip(slab).for_each(|(sum, slope)| *sum += slope);
            }
        }
        for (cell, sum) in scratch.matrices[..SUBSETS * MATRIX].chunks_exact(LANES).zip(&mut gradient[self.plan.learnt..]) {
            *sum += cell.iter().sum::<f32>();
        }
        self.back_attention(input, &state.attention, flow, scratch, gradient);
    }

    /// One family on the slab in the scratch, whose sums' gradient is `scratch.layer`.
    fn back_family(&self, family: usize, attention: &[f32], scratch: &mut Scratch, gradient: &mut [f32]) {
        let BlockShape { inputs, outputs, .. } = self.plan.shape;
        let size = inputs * SLAB_PLANE;
        let (slab, layer) = (&scratch.slab[..size], &scratch.layer[..outputs * SLAB_PLANE]);
        let mixed = room(&mut scratch.mixed, SUBSETS * size);
        mix_slab(family, self.fixed, self.packed, attention, slab, mixed);
        let lefts = rows(&mut scratch.rows, outputs, SLAB_PLANE);
        let rights = rows(&mut scratch.others, inputs, SLAB_PLANE);
        for (subset, right) in mixed.chunks_exact(size).enumerate() {
            let sums = &mut gradient[self.plan.expand + (family * SUBSETS + subset) * outputs * inputs..][..outputs * inputs];
            Dots { columns: SLAB_PLANE, left: layer, lefts, right, rights, sums, sums_step: inputs }.run();
        }
        let of_mixed = room(&mut scratch.mixed_gradient, SUBSETS * size);
        Product {
            rows: SUBSETS * inputs,
            columns: SLAB_PLANE,
            left: &self.packed.expand_back[family],
            left_step: outputs,
            right: layer,
            offsets: lefts,
            start: Start::Zero,
            out: of_mixed,
            out_step: SLAB_PLANE,
        }
        .run();
        for (subset, values) in of_mixed.chunks_exact(size).enumerate() {
            let out = &mut scratch.slab_gradient[..size];
            let matrices = match family {
                0 => {
                    self.fixed.add(subset, values, true, out);
                    continue;
                }
                1 => &self.packed.learnt,
                _ => attention,
            };
            Mix { matrix: &matrices[subset * MATRIX..][..MATRIX], is_transposed: true, values, out, is_kept: true }.run();
            let matrix = &mut scratch.matrices[((family - 1) * SUBSETS + subset) * MATRIX..][..MATRIX];
            Outer { froms: slab, tos: values, matrix }.run();
        }
    }

    /// From the samples' own matrices, whose gradient is in the scratch, to queries, keys and the input.
    fn back_attention(&self, input: &[f32], attention: &[f32], flow: &mut Flow, scratch: &mut Scratch, gradient: &mut [f32]) {
        let (inputs, plane, embedded) = (self.plan.shape.inputs, self.plan.plane(), self.plan.embedded());
        embed(self.plan, self.packed, input, scratch);
        let part = self.plan.shape.embedding() * plane;
        let of_embedded = room(&mut scratch.embedded_gradient, embedded * plane);
        let (of_queries, of_keys) = of_embedded.split_at_mut(SUBSETS * part);
        let (queries, keys) = scratch.embedded[..embedded * plane].split_at(SUBSETS * part);
        for subset in 0..SUBSETS {
            let matrix = &mut scratch.matrices[(SUBSETS + subset) * MATRIX..][..MATRIX];
            wide(|| soften_back(&attention[subset * MATRIX..][..MATRIX], matrix));
            let range = subset * part..(subset + 1) * part;
            Mix { matrix, is_transposed: true, values: &keys[range.clone()], out: &mut of_queries[range.clone()], is_kept: false }.run();
            Mix { matrix, is_transposed: false, values: &queries[range.clone()], out: &mut of_keys[range], is_kept: false }.run();
        }
        let half = embedded / 2;
        add_row_sums(of_keys, plane, &mut gradient[self.plan.embedding_biases[1]..][..half]);
        let mut sums = vec![0.0; embedded * inputs];
        let offsets = [&mut scratch.rows, &mut scratch.others];
        self.back_linear(of_embedded, embedded, input, &self.packed.embed_back, &mut sums, &mut flow.input, offsets);
        for (place, sums) in self.plan.embeddings.iter().zip(sums.chunks_exact(half * inputs)) {
            gradient[*place..][..sums.len()].iter_mut().zip(sums).for_each(|(sum, new)| *sum += new);
        }
    }

    /// Through a 1x1 convolution of all frames: its kernel's gradient, and its input's, added to what is there.
    #[expect(clippy::too_many_arguments, reason = "both factors and both results")]
    fn back_linear(
        &self,
        of_output: &[f32],
        outputs: usize,
        input: &[f32],
        back: &[f32],
        sums: &mut [f32],
        of_input: &mut [f32],
        [lefts, rights]: [&mut Vec<usize>; 2],
    ) {
        let (inputs, plane) = (self.plan.shape.inputs, self.plan.plane());
        let (lefts, rights) = (rows(lefts, outputs, plane), rows(rights, inputs, plane));
        for first in (0..self.plan.shape.frames).step_by(SLAB) {
            let (left, right) = (&of_output[first * FRAME..], &input[first * FRAME..]);
            Dots { columns: SLAB_PLANE, left, lefts, right, rights, sums, sums_step: inputs }.run();
        }
        let (start, out) = (Start::Kept, of_input);
        Product {
            rows: inputs,
            columns: plane,
            left: back,
            left_step: outputs,
            right: of_output,
            offsets: lefts,
            start,
            out,
            out_step: plane,
        }
        .run();
    }
}

/// The gradient of scores from that of their softmax over `from`, in its place.
#[inline(always)]
fn soften_back(shares: &[f32], gradient: &mut [f32]) {
    for to in 0..JOINTS {
        let mut along = [0.0; LANES];
        for from in 0..JOINTS {
            let at = from * FRAME + to * LANES;
            for lane in 0..LANES {
                along[lane] += shares[at + lane] * gradient[at + lane];
            }
        }
        for from in 0..JOINTS {
            let at = from * FRAME + to * LANES;
            for lane in 0..LANES {
                gradient[at + lane] = shares[at + lane] * (gradient[at + lane] - along[lane]);
            }
        }
    }
}

/// [`before`] of all channels.
fn before_rows(gradient: &[f32], values: &[f32], plane: usize, backs: &[Back], mask: &Mask, out: &mut [f32]) {
    wide(|| {
        let rows = gradient.chunks_exact(plane).zip(values.chunks_exact(plane)).zip(out.chunks_exact_mut(plane));
        for (((gradient, values), out), back) in rows.zip(backs) {
            before(gradient, values, *back, mask, out);
        }
    });
}

/// [`before`] of all channels, with zeros before and after each.
pub fn pad_before(gradient: &[f32], values: &[f32], plane: usize, backs: &[Back], mask: &Mask, padded: &mut Vec<f32>) {
    let step = plane + 2 * PADDING * FRAME;
    let padded = room(padded, backs.len() * step);
    wide(|| {
        let rows = gradient.chunks_exact(plane).zip(values.chunks_exact(plane)).zip(padded.chunks_exact_mut(step));
        for (((gradient, values), out), back) in rows.zip(backs) {
            out[..PADDING * FRAME].fill(0.0);
            out[step - PADDING * FRAME..].fill(0.0);
            before(gradient, values, *back, mask, &mut out[PADDING * FRAME..][..plane]);
        }
    });
}

/// Through a convolution over nine frames whose padded input and padded gradient are in the scratch.
pub fn convolve_back(temporal: &PackedTemporal, scratch: &Scratch, of_input: &mut [f32], gradient: &mut [f32]) {
    let PackedTemporal { channels, frames, stride, weight, offsets, classes, .. } = temporal;
    let (channels, frames, stride) = (*channels, *frames, *stride);
    let step = (frames / stride + 2 * PADDING) * FRAME;
    let lefts: Vec<usize> = (0..channels).map(|row| row * step).collect();
    let sums = &mut gradient[*weight..][..channels * channels * TAPS];
    let together = if stride == 1 { SLAB } else { 1 };
    for first in (0..frames / stride).step_by(together) {
        let (left, right) = (&scratch.padded_gradient[(first + PADDING) * FRAME..], &scratch.padded[first * stride * FRAME..]);
        let (lefts, rights) = (lefts.as_slice(), offsets.as_slice());
        Dots { columns: together * FRAME, left, lefts, right, rights, sums, sums_step: offsets.len() }.run();
    }
    let (runs, columns) = if stride == 1 { (1, frames * FRAME) } else { (frames, FRAME) };
    for frame in 0..runs {
        let (remainder, latest) = ((frame + PADDING) % stride, (frame + PADDING) / stride);
        let class = &classes[remainder];
        // The earliest of the outputs that the class' taps reach.
        let right = &scratch.padded_gradient[(latest + PADDING + 1 - class.taps) * FRAME..];
        let (left, left_step, offsets) = (class.weight.as_slice(), class.taps * channels, class.offsets.as_slice());
        let (start, out, out_step) = (Start::Zero, &mut of_input[frame * FRAME..], frames * FRAME);
        Product { rows: channels, columns, left, left_step, right, offsets, start, out, out_step }.run();
    }
}
