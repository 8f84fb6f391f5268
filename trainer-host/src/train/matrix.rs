//! Products of small matrices on the widest vector lane: what a hand-derived step of a transformer is made of.
//!
//! Matrices lie row by row. The sums of four rows times a few vectors of columns stay in registers while a product walks over its depth, and
//! nothing is packed or copied: the matrices of one step fit the processor's caches. Where the columns are no multiple of a vector, the
//! last vector overlaps the one before it and computes the same values again.
//!
//! Determinism: one order of summation per lane width, no threads in here.
// Rows, columns and depth address several slices at once; iterators over them would hide which.
#![allow(clippy::needless_range_loop)]

use alfred_models::lane::{Kernel, Lane, run_widest};

/// Rows whose sums are in registers together. The rows of every product are a multiple of it.
pub const ROWS: usize = 4;

/// Vectors of columns whose sums are in registers together, where a lane has 32 registers.
const VECTORS_MAX: usize = 5;

/// The same where it has 16.
const VECTORS_FEW: usize = 2;

/// What the sums start from.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Zero.
    Zero,
    /// The same row of numbers in every row.
    Bias(&'a [f32]),
    /// What is there already.
    Kept,
}

/// A factor that is read number by number: `values[row * row_step + depth * depth_step]`.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a> {
    /// Its numbers.
    pub values: &'a [f32],
    /// From one row to the next.
    pub row_step: usize,
    /// From one place of the depth to the next; this or `row_step` is 1.
    pub depth_step: usize,
}

/// A factor that is read along its rows: `values[depth * step + column]`.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a> {
    /// Its numbers.
    pub values: &'a [f32],
    /// From one place of the depth to the next.
    pub step: usize,
}

/// Sizes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows of the result, a multiple of [`ROWS`].
    pub rows: usize,
    /// Numbers that are summed over.
    pub depth: usize,
    /// Columns of the result, at least 16.
    pub columns: usize,
}

/// `out[row * out_step + column] = start + sum over depth of left * right`.
///
/// # Panics
/// When the rows are no multiple of [`ROWS`], there are fewer than 16 columns, or a slice is too short.
pub fn multiply(extent: Extent, left: Left<'_>, right: Right<'_>, start: Start<'_>, out: &mut [f32], out_step: usize) {
    assert!(extent.rows.is_multiple_of(ROWS) && extent.columns >= 16, "{extent:?}");
    run_widest(Product { extent, left, right, start, out, out_step });
}

struct Product<'a> {
    extent: Extent,
    left: Left<'a>,
    right: Right<'a>,
    start: Start<'a>,
    out: &'a mut [f32],
    out_step: usize,
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lane>(mut self, lane: L) {
        let vectors = self.extent.columns.div_ceil(L::WIDTH);
        // AVX2 and plain x86-64 have 16 registers, AVX-512 and NEON 32.
        let few = L::WIDTH == 8 || cfg!(not(target_arch = "aarch64")) && L::WIDTH == 4;
        let most = if few { VECTORS_FEW } else { VECTORS_MAX };
        for row in (0..self.extent.rows).step_by(ROWS) {
            let mut first = 0;
            while first < vectors {
                let count = (vectors - first).min(most);
                match count {
                    1 => self.tile::<L, 1>(lane, row, first),
                    2 => self.tile::<L, 2>(lane, row, first),
                    3 => self.tile::<L, 3>(lane, row, first),
                    4 => self.tile::<L, 4>(lane, row, first),
                    _ => self.tile::<L, 5>(lane, row, first),
                }
                first += count;
            }
        }
    }
}

impl Product<'_> {
    /// Four rows times `VECTORS` vectors of columns.
    #[inline(always)]
    fn tile<L: Lane, const VECTORS: usize>(&mut self, lane: L, row: usize, first: usize) {
        let Extent { depth, columns, .. } = self.extent;
        let (left, right) = (self.left, self.right);
        let mut offsets = [0; VECTORS];
        for vector in 0..VECTORS {
            offsets[vector] = ((first + vector) * L::WIDTH).min(columns - L::WIDTH);
        }
        let mut sums = [[lane.splat(0.0); VECTORS]; ROWS];
        for (place, sums) in sums.iter_mut().enumerate() {
            for vector in 0..VECTORS {
                sums[vector] = match self.start {
                    Start::Zero => lane.splat(0.0),
                    Start::Bias(bias) => lane.load(&bias[offsets[vector]..]),
                    Start::Kept => lane.load(&self.out[(row + place) * self.out_step + offsets[vector]..]),
                };
            }
        }
        if left.depth_step == 1 {
            let rows = [0, 1, 2, 3].map(|place| &left.values[(row + place) * left.row_step..][..depth]);
            for at in 0..depth {
                let values = [rows[0][at], rows[1][at], rows[2][at], rows[3][at]];
                add_products(lane, values, &right.values[at * right.step..][..columns], &offsets, &mut sums);
            }
        } else {
            for at in 0..depth {
                let values = &left.values[at * left.depth_step + row..][..ROWS];
                let values = [values[0], values[1], values[2], values[3]];
                add_products(lane, values, &right.values[at * right.step..][..columns], &offsets, &mut sums);
            }
        }
        for (place, sums) in sums.iter().enumerate() {
            let out = &mut self.out[(row + place) * self.out_step..][..columns];
            for vector in 0..VECTORS {
                lane.store(sums[vector], &mut out[offsets[vector]..]);
            }
        }
    }
}

/// One place of the depth.
#[inline(always)]
fn add_products<L: Lane, const VECTORS: usize>(
    lane: L,
    left: [f32; ROWS],
    right: &[f32],
    offsets: &[usize; VECTORS],
    sums: &mut [[L::Vector; VECTORS]; ROWS],
) {
    let mut vectors = [lane.splat(0.0); VECTORS];
    for vector in 0..VECTORS {
        vectors[vector] = lane.load(&right[offsets[vector]..]);
    }
    for row in 0..ROWS {
        let value = lane.splat(left[row]);
        for vector in 0..VECTORS {
            sums[row][vector] = lane.multiply_add(value, vectors[vector], sums[row][vector]);
        }
    }
}

/// `inputs (rows, depth) * weight (columns, depth)^T + bias`, from the transposed weight.
pub fn linear(rows: usize, inputs: &[f32], depth: usize, transposed: Right<'_>, bias: &[f32], out: &mut [f32], out_step: usize) {
    let left = Left { values: inputs, row_step: depth, depth_step: 1 };
    multiply(Extent { rows, depth, columns: bias.len() }, left, transposed, Start::Bias(bias), out, out_step);
}

/// Adds what a linear map's gradient sends back to its inputs: `gradient (rows, outputs) * weight (outputs, inputs)`.
pub fn linear_back(rows: usize, gradient: Left<'_>, weight: &[f32], outputs: usize, sums: &mut [f32]) {
    let inputs = weight.len() / outputs;
    multiply(Extent { rows, depth: outputs, columns: inputs }, gradient, Right { values: weight, step: inputs }, Start::Kept, sums, inputs);
}

/// Adds a linear map's gradients: `gradient^T * inputs` to the weight's, column sums to the bias'. `gradient` holds rows of `step` numbers, of
/// which the first as many as `bias` has are the map's outputs.
pub fn linear_gradient(rows: usize, gradient: &[f32], step: usize, inputs: &[f32], weight: &mut [f32], bias: &mut [f32]) {
    let outputs = bias.len();
    let columns = weight.len() / outputs;
    let left = Left { values: gradient, row_step: 1, depth_step: step };
    let right = Right { values: inputs, step: columns };
    multiply(Extent { rows: outputs, depth: rows, columns }, left, right, Start::Kept, weight, columns);
    for row in gradient.chunks(step).take(rows) {
        bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

/// Writes the transposed of a matrix of `columns` columns.
pub fn transpose(matrix: &[f32], columns: usize, out: &mut [f32]) {
    let rows = matrix.len() / columns;
    for (row, values) in matrix.chunks_exact(columns).enumerate() {
        for (column, value) in values.iter().enumerate() {
            out[column * rows + row] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Extent, Left, Right, Start, linear_gradient, multiply, transpose};
    use alfred_synth::random::Random;

    fn random(count: usize, random: &mut Random) -> Vec<f32> {
        (0..count).map(|_| random.normal() as f32).collect()
    }

    /// Every width that the step uses, both orders of the left factor, and every start, against plain sums in f64.
    #[test]
    fn products_are_right_for_every_width_order_and_start() {
        let stream = &mut Random::new(3);
        for (rows, depth, columns) in [(96, 72, 72), (8, 64, 72), (72, 96, 64), (64, 24, 72), (4, 5, 216), (12, 7, 17)] {
            for by_row in [true, false] {
                let (left, right, bias) = (random(rows * depth, stream), random(depth * columns, stream), random(columns, stream));
                let before = random(rows * columns, stream);
                let (row_step, depth_step) = if by_row { (depth, 1) } else { (1, rows) };
                for start in [Start::Zero, Start::Bias(&bias), Start::Kept] {
                    let mut out = before.clone();
                    let extent = Extent { rows, depth, columns };
                    let factor = Left { values: &left, row_step, depth_step };
                    multiply(extent, factor, Right { values: &right, step: columns }, start, &mut out, columns);
                    for (place, value) in out.iter().enumerate() {
                        let (row, column) = (place / columns, place % columns);
                        let first = match start {
                            Start::Zero => 0.0,
                            Start::Bias(bias) => bias[column],
                            Start::Kept => before[place],
                        };
                        let products = (0..depth)
                            .map(|at| f64::from(left[row * row_step + at * depth_step]) * f64::from(right[at * columns + column]));
                        let expected = f64::from(first) + products.sum::<f64>();
                        assert!((f64::from(*value) - expected).abs() < 1e-4, "{extent:?} {start:?} at {place}: {value}, not {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_weight_s_gradient_and_a_transposed_matrix_by_hand() {
        let mut out = [0.0; 6];
        transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, &mut out);
        assert_eq!(out, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let (gradient, inputs) = ([1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 3.0, 0.0], [[1.0; 16], [2.0; 16]].concat());
        let (mut weight, mut bias) = (vec![0.0; 64], vec![0.5; 4]);
        linear_gradient(2, &gradient, 4, &inputs, &mut weight, &mut bias);
        assert_eq!([weight[0], weight[16], weight[32], weight[63]], [1.0, 0.0, 6.0, 2.0]);
        assert_eq!(bias, [1.5, 0.5, 3.5, 2.5]);
    }
}
