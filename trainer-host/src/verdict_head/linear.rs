//! The little linear algebra that a head needs, in f64 and in one order of operations: the same head on every machine. A hundred unknowns do not
//! need a library, and libraries choose their order by processor.

/// Solves `matrix` x = `right` for a symmetric positive definite matrix, row by row, of which only the lower triangle is read; both are
/// overwritten and `right` becomes x. `false` when the matrix is not positive definite.
pub(super) fn solve_positive_definite(matrix: &mut [f64], right: &mut [f64]) -> bool {
    let size = right.len();
    for row in 0..size {
        let (above, rest) = matrix.split_at_mut(row * size);
        let this = &mut rest[..size];
        for column in 0..=row {
            let other = if column < row { &above[column * size..][..size] } else { &*this };
            let product: f64 = this[..column].iter().zip(&other[..column]).map(|(a, b)| a * b).sum();
            let value = this[column] - product;
            if column < row {
                this[column] = value / other[column];
            } else if value > 0.0 && value.is_finite() {
                this[column] = value.sqrt();
            } else {
                return false;
            }
        }
    }
    for row in 0..size {
        let known: f64 = (0..row).map(|column| matrix[row * size + column] * right[column]).sum();
        right[row] = (right[row] - known) / matrix[row * size + row];
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|column| matrix[column * size + row] * right[column]).sum();
        right[row] = (right[row] - known) / matrix[row * size + row];
    }
    true
}

/// Sweeps of Jacobi's method; it converges in about eight.
const SWEEPS_MAX: usize = 30;
/// Off-diagonal weight, relative to the whole, at which the eigenvalues stand.
const OFF_DIAGONAL_MAX: f64 = 1e-18;

/// Eigenvalues and unit eigenvectors of a symmetric matrix, largest eigenvalue first, by cyclic Jacobi rotations (Golub and Van Loan,
/// section 8.5). The matrix is overwritten.
pub(super) fn eigen(matrix: &mut [f64], size: usize) -> Vec<(f64, Vec<f64>)> {
    let mut vectors = vec![0.0; size * size];
    (0..size).for_each(|place| vectors[place * size + place] = 1.0);
    let whole: f64 = matrix.iter().map(|value| value * value).sum();
    for _ in 0..SWEEPS_MAX {
        let off: f64 = (0..size).flat_map(|row| (0..row).map(move |column| (row, column))).map(|(r, c)| matrix[r * size + c].powi(2)).sum();
        if off <= OFF_DIAGONAL_MAX * whole {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                rotate(matrix, &mut vectors, size, p, q);
            }
        }
    }
    let mut pairs: Vec<(f64, Vec<f64>)> =
        (0..size).map(|place| (matrix[place * size + place], vectors[place * size..][..size].to_vec())).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs
}

/// Makes the element (p, q) zero; rows of `vectors` turn with it.
fn rotate(matrix: &mut [f64], vectors: &mut [f64], size: usize, p: usize, q: usize) {
    let pq = matrix[p * size + q];
    if pq == 0.0 {
        return;
    }
    let theta = (matrix[q * size + q] - matrix[p * size + p]) / (2.0 * pq);
    let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sine = tangent * cosine;
    let turn = |a: f64, b: f64| (cosine * a - sine * b, sine * a + cosine * b);
    for k in 0..size {
        let (kp, kq) = turn(matrix[k * size + p], matrix[k * size + q]);
        (matrix[k * size + p], matrix[k * size + q]) = (kp, kq);
    }
    for k in 0..size {
        let (pk, qk) = turn(matrix[p * size + k], matrix[q * size + k]);
        (matrix[p * size + k], matrix[q * size + k]) = (pk, qk);
        let (pk, qk) = turn(vectors[p * size + k], vectors[q * size + k]);
        (vectors[p * size + k], vectors[q * size + k]) = (pk, qk);
    }
}

#[cfg(test)]
mod tests {
    use super::{eigen, solve_positive_definite};

    #[test]
    fn solves_and_refuses() {
        let mut right = [2.0, 5.0];
        assert!(solve_positive_definite(&mut [4.0, 0.0, 2.0, 3.0], &mut right));
        assert!((right[0] + 0.5).abs() < 1e-12 && (right[1] - 2.0).abs() < 1e-12, "{right:?}");
        assert!(!solve_positive_definite(&mut [1.0, 0.0, 2.0, 1.0], &mut [1.0, 1.0]), "not positive definite");
    }

    #[test]
    fn eigenpairs_put_the_matrix_together_again() {
        let size = 7;
        let matrix: Vec<f64> = (0..size * size).map(|at| ((at / size + 1) * (at % size + 1)) as f64 % 5.0).collect();
        let symmetric: Vec<f64> = (0..size * size).map(|at| matrix[at] + matrix[at % size * size + at / size]).collect();
        let pairs = eigen(&mut symmetric.clone(), size);
        assert!(pairs.windows(2).all(|pair| pair[0].0 >= pair[1].0));
        for (at, expected) in symmetric.iter().enumerate() {
            let value: f64 = pairs.iter().map(|(lambda, vector)| lambda * vector[at / size] * vector[at % size]).sum();
            assert!((value - expected).abs() < 1e-8, "{value} for {expected}");
        }
    }
}
