//! The engine: the folded encoder and the score, one kernel for each lane. The portable lane is the exact engine.
// Positions address several arrays at once here; iterators over them would hide which.
#![allow(clippy::needless_range_loop)]

use super::fold::{CHUNK_FRAMES, Cursor, DATA_VALUES, FoldedBlock, FoldedShape, JOINT_LANES, PANEL, Reading, Scratch, padded};
use super::parameters::ScoreRule;
use super::product::{Carried, Destination, Product, Term};
use super::shape::{BlockShape, ENCODER_BLOCKS, GaVaeShape, LATENT_FRAMES, Residual, SUBSETS, TAPS, WINDOW_FRAMES};
use crate::lane::{Kernel, Lane, exp2_of_negative};
use crate::stg_nf::adjacency::SKELETON_EDGES;
use alfred_core::limits::{CHANNELS, JOINTS};
use core::mem::swap;

/// Terms of a product at most: one per frame of attention scores.
const TERMS_MAX: usize = WINDOW_FRAMES;

/// Scores one window of `2 * 18 * 24` values, [channel][joint][time], by its model's rule. `ROWS` rows and `PAIR` panels have their sums in registers together; a panel is `VECTORS` vectors.
pub(super) struct Score<'a, const ROWS: usize, const PAIR: usize, const VECTORS: usize> {
    pub(super) shape: GaVaeShape,
    pub(super) rule: ScoreRule,
    pub(super) model: Reading<'a>,
    pub(super) scratch: Scratch<'a>,
    pub(super) window: &'a [f32],
}

impl<const ROWS: usize, const PAIR: usize, const VECTORS: usize> Kernel for Score<'_, ROWS, PAIR, VECTORS> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lane>(self, lane: L) -> f64 {
        let Self { shape, rule, mut model, scratch, window } = self;
        let mut pass = Pass::<L, ROWS, PAIR, VECTORS> { lane, scratch };
        pass.fill(model.take(DATA_VALUES), window);
        for number in 0..ENCODER_BLOCKS {
            let block = FoldedShape::of(shape.encoder_block(number));
            let values = model.block(&block);
            pass.block(&block, &values);
        }
        match rule {
            ScoreRule::Distance => pass.distance(padded(shape.output_channels()), model.0),
            ScoreRule::Reconstruction => {
                pass.decode(shape, &mut model);
                pass.error(shape, model.0, window)
            }
        }
    }
}

pub(super) struct Pass<'a, L: Lane, const ROWS: usize, const PAIR: usize, const VECTORS: usize> {
    pub(super) lane: L,
    pub(super) scratch: Scratch<'a>,
}

impl<L: Lane, const ROWS: usize, const PAIR: usize, const VECTORS: usize> Pass<'_, L, ROWS, PAIR, VECTORS> {
    /// The window's normalised values as the first block's input.
    #[inline(always)]
    fn fill(&mut self, norm: &[f32], window: &[f32]) {
        let (slopes, offsets) = norm.split_at(DATA_VALUES / 2);
        let rows = &mut self.scratch.input[..WINDOW_FRAMES * JOINTS * PANEL];
        rows.fill(0.0);
        for channel in 0..CHANNELS {
            for joint in 0..JOINTS {
                let (slope, offset) = (slopes[joint * CHANNELS + channel], offsets[joint * CHANNELS + channel]);
                let series = &window[(channel * JOINTS + joint) * WINDOW_FRAMES..][..WINDOW_FRAMES];
                for (frame, value) in series.iter().enumerate() {
                    rows[(frame * JOINTS + joint) * PANEL + channel] = value * slope + offset;
                }
            }
        }
    }

    /// One block; its output becomes the next one's input.
    #[inline(always)]
    pub(super) fn block(&mut self, shape: &FoldedShape, values: &FoldedBlock<&[f32]>) {
        self.embed(shape, values);
        for subset in 0..SUBSETS {
            self.score_joints(shape, subset);
            self.soften(subset);
        }
        for first in (0..shape.block.frames).step_by(CHUNK_FRAMES) {
            self.attend(shape, values, first);
        }
        self.convolve(shape, values);
        swap(&mut self.scratch.input, &mut self.scratch.output);
    }

    /// Queries and keys of all frames.
    #[inline(always)]
    fn embed(&mut self, shape: &FoldedShape, values: &FoldedBlock<&[f32]>) {
        let FoldedShape { block, inputs, embedding, .. } = *shape;
        let Scratch { input, queries, keys, .. } = &mut self.scratch;
        let embeddings = SUBSETS * embedding;
        let to_rows = Destination::Rows { rows: queries, row_values: embeddings, first: 0 };
        let both = [(values.query, values.query_bias, to_rows), (values.key, values.key_bias, Destination::Keys { keys, embedding })];
        for (weights, bias, to) in both {
            let terms = [Term::plain(input, inputs, block.frames, weights)];
            let mut product = Product { terms: &terms, bias, carried: None, has_relu: false, to };
            product.run::<L, ROWS, PAIR, VECTORS>(self.lane, block.frames, embeddings / PANEL);
        }
    }

    /// `scores[from][to]`: queries times keys, summed over embeddings and frames.
    #[inline(always)]
    fn score_joints(&mut self, shape: &FoldedShape, subset: usize) {
        let FoldedShape { block, embedding, .. } = *shape;
        let Scratch { queries, keys, scores, .. } = &mut self.scratch;
        let (row_values, matrix) = (SUBSETS * embedding, embedding * JOINT_LANES);
        let mut terms = [Term::plain(&[], 0, 0, &[]); TERMS_MAX];
        for (frame, term) in terms.iter_mut().enumerate().take(block.frames) {
            *term = Term {
                first: subset * embedding,
                count: embedding,
                tap: frame,
                panel_step: embedding * PANEL,
                ..Term::plain(queries, row_values, block.frames, &keys[(frame * SUBSETS + subset) * matrix..])
            };
        }
        let to = Destination::Rows { rows: scores, row_values: JOINT_LANES, first: 0 };
        let mut product = Product { terms: &terms[..block.frames], bias: &[], carried: None, has_relu: false, to };
        product.run::<L, ROWS, PAIR, VECTORS>(self.lane, 1, JOINT_LANES / PANEL);
    }

    /// The softmax over `from` of the scores, joint `to` along the vectors; kept as `[to][from]`.
    #[inline(always)]
    fn soften(&mut self, subset: usize) {
        let lane = self.lane;
        let Scratch { scores, computed, .. } = &mut self.scratch;
        for first in (0..JOINTS).step_by(L::WIDTH) {
            let mut largest = lane.load(&scores[first..]);
            for from in 1..JOINTS {
                largest = lane.max(largest, lane.load(&scores[from * JOINT_LANES + first..]));
            }
            let mut total = lane.splat(0.0);
            for from in 0..JOINTS {
                let place = &mut scores[from * JOINT_LANES + first..];
                let power = exp2_of_negative(lane, lane.subtract(lane.load(place), largest));
                total = lane.add(total, power);
                lane.store(power, place);
            }
            for from in 0..JOINTS {
                let place = &mut scores[from * JOINT_LANES + first..];
                lane.store(lane.divide(lane.load(place), total), place);
            }
        }
        for (from, row) in scores.chunks_exact(JOINT_LANES).enumerate().take(JOINTS) {
            for (to, value) in row.iter().enumerate().take(JOINTS) {
                computed[(subset * JOINTS + to) * JOINT_LANES + from] = *value;
            }
        }
    }

    /// Graph attention of some frames from `first` on, to `hidden`.
    #[inline(always)]
    fn attend(&mut self, shape: &FoldedShape, values: &FoldedBlock<&[f32]>, first: usize) {
        let FoldedShape { block, inputs, outputs, .. } = *shape;
        for family in 0..SUBSETS {
            match family {
                0 => self.mix_neighbours(inputs, first),
                1 => self.mix(inputs, first, Some(values.learnt)),
                _ => self.mix(inputs, first, None),
            }
            let Scratch { mixed, joined, .. } = &mut self.scratch;
            let terms = [Term::plain(mixed, SUBSETS * inputs, CHUNK_FRAMES, values.expand[family])];
            let to = Destination::Rows { rows: joined, row_values: SUBSETS * outputs, first: family * outputs };
            let bias = &values.expand_bias[family * outputs..];
            let mut product = Product { terms: &terms, bias, carried: None, has_relu: true, to };
            product.run::<L, ROWS, PAIR, VECTORS>(self.lane, CHUNK_FRAMES, outputs / PANEL);
        }
        let Scratch { input, hidden, joined, .. } = &mut self.scratch;
        let input = &input[first * JOINTS * inputs..];
        let reduce = Term::plain(joined, SUBSETS * outputs, CHUNK_FRAMES, values.reduce);
        let terms = [reduce, Term::plain(input, inputs, CHUNK_FRAMES, values.graph_residual)];
        let (terms, carried) = if block.projects_graph() {
            (&terms[..], None)
        } else {
            (&terms[..1], Some(Carried { rows: input, gain: Some(values.graph_residual) }))
        };
        let to = Destination::Rows { rows: &mut hidden[first * JOINTS * outputs..], row_values: outputs, first: 0 };
        let mut product = Product { terms, bias: values.reduce_bias, carried, has_relu: true, to };
        product.run::<L, ROWS, PAIR, VECTORS>(self.lane, CHUNK_FRAMES, outputs / PANEL);
    }

    /// The fixed family applied to some frames of the input: `mixed[row][(matrix, channel)]`. It holds a joint, its neighbours towards
    /// the limbs, and its neighbour towards the neck, each over the number of all of them.
    #[inline(always)]
    fn mix_neighbours(&mut self, inputs: usize, first: usize) {
        let lane = self.lane;
        let Scratch { input, mixed, .. } = &mut self.scratch;
        let row_values = SUBSETS * inputs;
        mixed[..CHUNK_FRAMES * JOINTS * row_values].fill(0.0);
        let shares = shares();
        for frame in 0..CHUNK_FRAMES {
            let source = &input[(first + frame) * JOINTS * inputs..][..JOINTS * inputs];
            let target = &mut mixed[frame * JOINTS * row_values..][..JOINTS * row_values];
            for joint in 0..JOINTS {
                add_scaled(lane, shares[joint], &source[joint * inputs..][..inputs], &mut target[joint * row_values..][..inputs]);
            }
            for (outer, inner) in SKELETON_EDGES {
                for (from, to, subset) in [(outer, inner, 1), (inner, outer, 2)] {
                    let target = &mut target[to * row_values + subset * inputs..][..inputs];
                    add_scaled(lane, shares[to], &source[from * inputs..][..inputs], target);
                }
            }
        }
    }

    /// A dense family applied to some frames of the input: the learnt one, or the one that was computed from the window.
    #[inline(always)]
    fn mix(&mut self, inputs: usize, first: usize, learnt: Option<&[f32]>) {
        let Scratch { input, mixed, computed, .. } = &mut self.scratch;
        let family = learnt.unwrap_or(computed);
        let row_values = SUBSETS * inputs;
        for frame in 0..CHUNK_FRAMES {
            for subset in 0..SUBSETS {
                let terms = [Term {
                    count: JOINTS,
                    // The panels of a joint lie beside each other, the joints one after the other.
                    panel_step: PANEL,
                    step: inputs,
                    ..Term::plain(&family[subset * JOINTS * JOINT_LANES..], JOINT_LANES, 1, &input[(first + frame) * JOINTS * inputs..])
                }];
                let rows = &mut mixed[frame * JOINTS * row_values..];
                let to = Destination::Rows { rows, row_values, first: subset * inputs };
                let mut product = Product { terms: &terms, bias: &[], carried: None, has_relu: false, to };
                product.run::<L, ROWS, PAIR, VECTORS>(self.lane, 1, inputs / PANEL);
            }
        }
    }

    /// The convolution over time and the block's residual, from `hidden` and `input` to `output`.
    #[inline(always)]
    fn convolve(&mut self, shape: &FoldedShape, values: &FoldedBlock<&[f32]>) {
        let FoldedShape { block, inputs, outputs, .. } = *shape;
        let BlockShape { frames, stride, .. } = block;
        let Scratch { input, hidden, output, .. } = &mut self.scratch;
        let mut terms = [Term::plain(&[], 0, 0, &[]); TAPS + 1];
        for (tap, term) in terms.iter_mut().enumerate().take(TAPS) {
            let weights = &values.temporal[tap * outputs * outputs..];
            *term = Term { stride, tap, ahead: TAPS / 2, ..Term::plain(hidden, outputs, frames, weights) };
        }
        terms[TAPS] = Term { stride, ..Term::plain(input, inputs, frames, values.residual) };
        let (count, carried) = match block.residual {
            Residual::None => (TAPS, None),
            Residual::Identity => (TAPS, Some(Carried { rows: input, gain: None })),
            Residual::Projected => (TAPS + 1, None),
        };
        let to = Destination::Rows { rows: output, row_values: outputs, first: 0 };
        let bias = values.temporal_bias;
        let mut product = Product { terms: &terms[..count], bias, carried, has_relu: block.ends_in_relu, to };
        product.run::<L, ROWS, PAIR, VECTORS>(self.lane, block.output_frames(), outputs / PANEL);
    }

    /// The distance between the last block's output and the reference mean.
    #[inline(always)]
    fn distance(&self, channels: usize, mean: &[f32]) -> f64 {
        let lane = self.lane;
        let mut total = 0.0;
        for first in (0..channels).step_by(L::WIDTH) {
            let mut squares = lane.splat(0.0);
            for row in 0..LATENT_FRAMES * JOINTS {
                let at = row * channels + first;
                let difference = lane.subtract(lane.load(&self.scratch.input[at..]), lane.load(&mean[at..]));
                squares = lane.multiply_add(difference, difference, squares);
            }
            let mut columns = [0.0; PANEL];
            lane.store(squares, &mut columns);
            total += columns[..L::WIDTH].iter().map(|&sum| f64::from(sum)).sum::<f64>();
        }
        libm::sqrt(total)
    }
}

/// `target += factor * source`.
#[inline(always)]
fn add_scaled<L: Lane>(lane: L, factor: f32, source: &[f32], target: &mut [f32]) {
    let factor = lane.splat(factor);
    for (source, target) in source.chunks_exact(L::WIDTH).zip(target.chunks_exact_mut(L::WIDTH)) {
        lane.store(lane.multiply_add(factor, lane.load(source), lane.load(target)), target);
    }
}

/// One over the number of a joint's neighbours, itself included.
pub(super) const fn shares() -> [f32; JOINTS] {
    let mut counts = [1.0; JOINTS];
    let mut edge = 0;
    while edge < SKELETON_EDGES.len() {
        counts[SKELETON_EDGES[edge].0] += 1.0;
        counts[SKELETON_EDGES[edge].1] += 1.0;
        edge += 1;
    }
    let mut joint = 0;
    while joint < JOINTS {
        counts[joint] = 1.0 / counts[joint];
        joint += 1;
    }
    counts
}
