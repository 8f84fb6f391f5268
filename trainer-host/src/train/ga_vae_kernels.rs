//! Products that GA-VAE's hand-derived step is made of, sixteen samples side by side.
//!
//! Values of a layer lie as `[channel][frame][joint][sample]`; the sixteen samples of one joint are a cell of [`LANES`] numbers. So every
//! operation runs along whole vectors: maps between channels are matrix products whose columns are cells, products with adjacency
//! matrices, learnt or each sample's own, multiply cells by cells, and gradients of weights are sums over rows of cells.
//!
//! Determinism: one order of summation per lane width, no threads in here.
// Rows, columns and depth address several slices at once; iterators over them would hide which.
#![allow(clippy::needless_range_loop)]

use crate::train::lanes::LANES;
use alfred_core::limits::JOINTS;
use alfred_models::lane::{Kernel, Lane, run_widest};

/// Numbers of a channel's frame: a cell per joint.
pub const FRAME: usize = JOINTS * LANES;

/// Numbers of an adjacency matrix, `[from][to][sample]`.
pub const MATRIX: usize = JOINTS * JOINTS * LANES;

/// Vectors of columns whose sums are in registers together, where a lane has 32 registers and where it has 16.
const VECTORS_MANY: usize = 6;
const VECTORS_FEW: usize = 2;

/// What a product's sums start from.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Zero.
    Zero,
    /// A number per row.
    Bias(&'a [f32]),
    /// What is there already.
    Kept,
}

/// `out[row * out_step + column] = start + sum over depth of left[row * left_step + depth] * right[offsets[depth] + column]`.
#[derive(Debug)]
pub struct Product<'a> {
    /// Rows of the result, even.
    pub rows: usize,
    /// Columns of the result, a multiple of [`LANES`].
    pub columns: usize,
    /// The factor that is read number by number.
    pub left: &'a [f32],
    /// From one of its rows to the next.
    pub left_step: usize,
    /// The factor that is read along its rows.
    pub right: &'a [f32],
    /// Where its rows begin; as many as the depth.
    pub offsets: &'a [usize],
    /// What the sums start from.
    pub start: Start<'a>,
    /// The result.
    pub out: &'a mut [f32],
    /// From one of its rows to the next.
    pub out_step: usize,
}

impl Product<'_> {
    /// Computes it.
    pub fn run(self) {
        run_widest(self);
    }

    #[inline(always)]
    fn rows_of<L: Lane, const ROWS: usize>(&mut self, lane: L, row: usize, first: usize, count: usize) {
        match count {
            1 => self.tile::<L, ROWS, 1>(lane, row, first),
            2 => self.tile::<L, ROWS, 2>(lane, row, first),
            3 => self.tile::<L, ROWS, 3>(lane, row, first),
            4 => self.tile::<L, ROWS, 4>(lane, row, first),
            5 => self.tile::<L, ROWS, 5>(lane, row, first),
            _ => self.tile::<L, ROWS, 6>(lane, row, first),
        }
    }

    /// A few rows times `VECTORS` vectors of columns from `first` on.
    #[inline(always)]
    fn tile<L: Lane, const ROWS: usize, const VECTORS: usize>(&mut self, lane: L, row: usize, first: usize) {
        let depth = self.offsets.len();
        let mut sums = [[lane.splat(0.0); VECTORS]; ROWS];
        for place in 0..ROWS {
            for vector in 0..VECTORS {
                sums[place][vector] = match self.start {
                    Start::Zero => lane.splat(0.0),
                    Start::Bias(bias) => lane.splat(bias[row + place]),
                    Start::Kept => lane.load(&self.out[(row + place) * self.out_step + first + vector * L::WIDTH..]),
                };
            }
        }
        let mut lefts = [self.left; ROWS];
        for place in 0..ROWS {
            lefts[place] = &self.left[(row + place) * self.left_step..][..depth];
        }
        for (at, offset) in self.offsets.iter().enumerate() {
            let right = &self.right[offset + first..][..VECTORS * L::WIDTH];
            let mut vectors = [lane.splat(0.0); VECTORS];
            for vector in 0..VECTORS {
                vectors[vector] = lane.load(&right[vector * L::WIDTH..]);
            }
            for place in 0..ROWS {
                let value = lane.splat(lefts[place][at]);
                for vector in 0..VECTORS {
                    sums[place][vector] = lane.multiply_add(value, vectors[vector], sums[place][vector]);
                }
            }
        }
        for place in 0..ROWS {
            let out = &mut self.out[(row + place) * self.out_step + first..][..VECTORS * L::WIDTH];
            for vector in 0..VECTORS {
                lane.store(sums[place][vector], &mut out[vector * L::WIDTH..]);
            }
        }
    }
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lane>(mut self, lane: L) {
        // AVX2 and plain x86-64 have 16 registers, AVX-512 and NEON 32.
        let few = L::WIDTH == 8 || cfg!(not(target_arch = "aarch64")) && L::WIDTH == 4;
        let most = if few { VECTORS_FEW } else { VECTORS_MANY };
        let vectors = self.columns / L::WIDTH;
        for first in (0..vectors).step_by(most) {
            let count = (vectors - first).min(most);
            let mut row = 0;
            while row + 4 <= self.rows {
                self.rows_of::<L, 4>(lane, row, first * L::WIDTH, count);
                row += 4;
            }
            while row < self.rows {
                self.rows_of::<L, 2>(lane, row, first * L::WIDTH, count);
                row += 2;
            }
        }
    }
}

/// Adds to `sums[row * sums_step + place]` what `left[lefts[row]..]` and `right[rights[place]..]`, `columns` numbers each, are multiplied
/// with each other: gradients of weights.
#[derive(Debug)]
pub struct Dots<'a> {
    /// Numbers that are summed over, a multiple of [`LANES`].
    pub columns: usize,
    /// Rows of the left factor.
    pub left: &'a [f32],
    /// Where they begin; an even number of them.
    pub lefts: &'a [usize],
    /// Rows of the right factor.
    pub right: &'a [f32],
    /// Where they begin; an even number of them.
    pub rights: &'a [usize],
    /// What is added to.
    pub sums: &'a mut [f32],
    /// From one of its rows to the next.
    pub sums_step: usize,
}

impl Dots<'_> {
    /// Computes it.
    pub fn run(self) {
        run_widest(self);
    }

    #[inline(always)]
    fn tile<L: Lane, const ROWS: usize, const PLACES: usize>(&mut self, lane: L, row: usize, place: usize) {
        let mut lefts = [self.left; ROWS];
        for (number, from) in lefts.iter_mut().enumerate() {
            *from = &self.left[self.lefts[row + number]..][..self.columns];
        }
        let mut rights = [self.right; PLACES];
        for (number, from) in rights.iter_mut().enumerate() {
            *from = &self.right[self.rights[place + number]..][..self.columns];
        }
        let mut sums = [[lane.splat(0.0); PLACES]; ROWS];
        for column in (0..self.columns).step_by(L::WIDTH) {
            let mut vectors = [lane.splat(0.0); PLACES];
            for number in 0..PLACES {
                vectors[number] = lane.load(&rights[number][column..]);
            }
            for number in 0..ROWS {
                let value = lane.load(&lefts[number][column..]);
                for other in 0..PLACES {
                    sums[number][other] = lane.multiply_add(value, vectors[other], sums[number][other]);
                }
            }
        }
        for number in 0..ROWS {
            for other in 0..PLACES {
                let mut values = [0.0; LANES];
                lane.store(sums[number][other], &mut values);
                self.sums[(row + number) * self.sums_step + place + other] += total(&values);
            }
        }
    }
}

/// The sum of a cell's numbers, in halves.
#[inline(always)]
fn total(values: &[f32; LANES]) -> f32 {
    let eight: [f32; 8] = core::array::from_fn(|place| values[place] + values[place + 8]);
    let four: [f32; 4] = core::array::from_fn(|place| eight[place] + eight[place + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

impl Kernel for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lane>(mut self, lane: L) {
        let (rows, places) = (self.lefts.len(), self.rights.len());
        let mut row = 0;
        while row < rows {
            let is_four = row + 4 <= rows;
            let mut place = 0;
            while place < places {
                match (is_four, place + 4 <= places) {
                    (true, true) => self.tile::<L, 4, 4>(lane, row, place),
                    (true, false) => self.tile::<L, 4, 2>(lane, row, place),
                    (false, true) => self.tile::<L, 2, 4>(lane, row, place),
                    (false, false) => self.tile::<L, 2, 2>(lane, row, place),
                }
                place += if place + 4 <= places { 4 } else { 2 };
            }
            row += if is_four { 4 } else { 2 };
        }
    }
}

/// Joints whose sums are in registers together.
const TILE: usize = 6;

/// Of every frame of cells: `out[to] = (out[to] if kept) + sum over from of matrix[from][to] * values[from]`, sample by sample; transposed, the
/// other way round.
#[derive(Debug)]
pub struct Mix<'a> {
    /// `[from][to][sample]`, [`MATRIX`] numbers.
    pub matrix: &'a [f32],
    /// Whether `from` and `to` change places.
    pub is_transposed: bool,
    /// Frames of cells, one after the other; an even number of them.
    pub values: &'a [f32],
    /// As many frames.
    pub out: &'a mut [f32],
    /// Whether to add to what is there.
    pub is_kept: bool,
}

impl Mix<'_> {
    /// Computes it.
    pub fn run(self) {
        run_widest(self);
    }
}

impl Kernel for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lane>(self, lane: L) {
        let Self { matrix, is_transposed, values, out, is_kept } = self;
        let matrix = &matrix[..MATRIX];
        let (from_step, to_step) = if is_transposed { (LANES, FRAME) } else { (FRAME, LANES) };
        let pairs = values.chunks_exact(2 * FRAME).zip(out.chunks_exact_mut(2 * FRAME));
        for (values, out) in pairs {
            for part in (0..LANES).step_by(L::WIDTH) {
                for to in (0..JOINTS).step_by(TILE) {
                    let mut sums = [[lane.splat(0.0); 2]; TILE];
                    if is_kept {
                        for place in 0..TILE {
                            let at = (to + place) * LANES + part;
                            sums[place] = [lane.load(&out[at..]), lane.load(&out[FRAME + at..])];
                        }
                    }
                    for from in 0..JOINTS {
                        let at = from * LANES + part;
                        let vectors = [lane.load(&values[at..]), lane.load(&values[FRAME + at..])];
                        for place in 0..TILE {
                            let entry = lane.load(&matrix[from * from_step + (to + place) * to_step + part..]);
                            for frame in 0..2 {
                                sums[place][frame] = lane.multiply_add(entry, vectors[frame], sums[place][frame]);
                            }
                        }
                    }
                    for place in 0..TILE {
                        let at = (to + place) * LANES + part;
                        lane.store(sums[place][0], &mut out[at..]);
                        lane.store(sums[place][1], &mut out[FRAME + at..]);
                    }
                }
            }
        }
    }
}

/// Adds to `matrix[from][to]` the sum over frames of `froms[from] * tos[to]`, sample by sample.
#[derive(Debug)]
pub struct Outer<'a> {
    /// Frames of cells.
    pub froms: &'a [f32],
    /// As many.
    pub tos: &'a [f32],
    /// [`MATRIX`] numbers.
    pub matrix: &'a mut [f32],
}

impl Outer<'_> {
    /// Computes it.
    pub fn run(self) {
        run_widest(self);
    }
}

impl Kernel for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lane>(self, lane: L) {
        const SIDE: usize = 3;
        let Self { froms, tos, matrix } = self;
        for part in (0..LANES).step_by(L::WIDTH) {
            for from in (0..JOINTS).step_by(TILE) {
                for to in (0..JOINTS).step_by(SIDE) {
                    let mut sums = [[lane.splat(0.0); SIDE]; TILE];
                    for (froms, tos) in froms.chunks_exact(FRAME).zip(tos.chunks_exact(FRAME)) {
                        let mut vectors = [lane.splat(0.0); SIDE];
                        for place in 0..SIDE {
                            vectors[place] = lane.load(&tos[(to + place) * LANES + part..]);
                        }
                        for place in 0..TILE {
                            let value = lane.load(&froms[(from + place) * LANES + part..]);
                            for other in 0..SIDE {
                                sums[place][other] = lane.multiply_add(value, vectors[other], sums[place][other]);
                            }
                        }
                    }
                    for place in 0..TILE {
                        for other in 0..SIDE {
                            let entry = &mut matrix[((from + place) * JOINTS + to + other) * LANES + part..];
                            lane.store(lane.add(lane.load(entry), sums[place][other]), entry);
                        }
                    }
                }
            }
        }
    }
}

struct Wide<F>(F);

impl<F: FnOnce()> Kernel for Wide<F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lane>(self, _lane: L) {
        (self.0)();
    }
}

/// Runs plain loops compiled for the widest vectors of this processor.
#[inline(always)]
pub fn wide(work: impl FnOnce()) {
    run_widest(Wide(work));
}
