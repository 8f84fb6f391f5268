//! Which joints a graph convolution averages: the OpenPose-18 skeleton, hop distances, and the column-normalised matrix.
//!
//! At the published hop limit of 8, the skeleton's diameter, every entry is 1/18: the graph convolution is a plain mean over joints.

use alfred_core::limits::JOINTS;
use core::fmt;

/// Bones of the OpenPose-18 skeleton as pairs of joint numbers; undirected.
pub const SKELETON_EDGES: [(usize, usize); 17] = [
    (4, 3),
    (3, 2),
    (7, 6),
    (6, 5),
    (13, 12),
    (12, 11),
    (10, 9),
    (9, 8),
    (11, 5),
    (8, 2),
    (5, 1),
    (2, 1),
    (0, 1),
    (15, 0),
    (14, 0),
    (17, 15),
    (16, 14),
];

/// Hop limit of the published models.
pub const PUBLISHED_MAX_HOP: usize = 8;

/// Largest difference from 1/18 at which a matrix still is the mean.
const MEAN_TOLERANCE: f64 = 1e-12;

/// A matrix that is no adjacency: an entry is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdjacencyFault {
    /// Row of the entry.
    pub from: usize,
    /// Column of the entry.
    pub to: usize,
}

impl fmt::Display for AdjacencyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry [{}][{}] of the adjacency matrix is NaN or infinite", self.from, self.to)
    }
}

impl core::error::Error for AdjacencyFault {}

/// The matrix A of the graph product `out[u] = sum over v of in[v] * A[v][u]`, in `f64`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adjacency {
    entries: [[f64; JOINTS]; JOINTS],
}

impl Adjacency {
    /// The strategy 'uniform': `A[v][u]` is one over the number of joints within `max_hop` bones of joint `u` where `v` is one of
    /// them (itself included), else 0. Columns sum to 1.
    #[must_use]
    pub fn uniform(max_hop: usize) -> Self {
        let distances = hop_distances();
        let mut entries = [[0.0; JOINTS]; JOINTS];
        for to in 0..JOINTS {
            let within = (0..JOINTS).filter(|&from| distances[from][to] <= max_hop).count();
            for from in (0..JOINTS).filter(|&from| distances[from][to] <= max_hop) {
                // Not zero: a joint is within 0 hops of itself.
                entries[from][to] = 1.0 / within as f64;
            }
        }
        Self { entries }
    }

    /// The adjacency of the published models: the mean over all joints.
    #[must_use]
    pub fn published() -> Self {
        Self::uniform(PUBLISHED_MAX_HOP)
    }

    /// Any matrix of finite entries, `[from][to]`.
    ///
    /// # Errors
    /// [`AdjacencyFault`] names the first entry that is not finite.
    pub fn from_entries(entries: [[f64; JOINTS]; JOINTS]) -> Result<Self, AdjacencyFault> {
        for (from, row) in entries.iter().enumerate() {
            if let Some(to) = row.iter().position(|entry| !entry.is_finite()) {
                return Err(AdjacencyFault { from, to });
            }
        }
        Ok(Self { entries })
    }

    /// The entries, `[from][to]`; finite.
    #[must_use]
    pub const fn entries(&self) -> &[[f64; JOINTS]; JOINTS] {
        &self.entries
    }

    /// Whether the graph product is the mean over joints: every entry 1/18 to 1e-12.
    #[must_use]
    pub fn is_mean(&self) -> bool {
        let mean = 1.0 / JOINTS as f64;
        self.entries.iter().flatten().all(|entry| (entry - mean).abs() <= MEAN_TOLERANCE)
    }
}

/// Bones between any two joints, by relaxing over every middle joint (Floyd and Warshall); `usize::MAX / 2` means unreachable.
fn hop_distances() -> [[usize; JOINTS]; JOINTS] {
    let mut distances = [[usize::MAX / 2; JOINTS]; JOINTS];
    for (joint, row) in distances.iter_mut().enumerate() {
        row[joint] = 0;
    }
    for (one, other) in SKELETON_EDGES {
        distances[one][other] = 1;
        distances[other][one] = 1;
    }
    for middle in 0..JOINTS {
        for from in 0..JOINTS {
            for to in 0..JOINTS {
                distances[from][to] = distances[from][to].min(distances[from][middle] + distances[middle][to]);
            }
        }
    }
    distances
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_adjacency_is_the_mean() {
        assert!(Adjacency::published().is_mean());
        assert_eq!(hop_distances().iter().flatten().max(), Some(&PUBLISHED_MAX_HOP));
    }

    #[test]
    fn fewer_hops_are_not_the_mean_and_columns_sum_to_one() {
        for max_hop in 0..PUBLISHED_MAX_HOP {
            let adjacency = Adjacency::uniform(max_hop);
            assert!(!adjacency.is_mean(), "{max_hop} hops");
            for to in 0..JOINTS {
                let sum: f64 = adjacency.entries().iter().map(|row| row[to]).sum();
                assert!((sum - 1.0).abs() < 1e-12);
            }
        }
        // No hops: each joint sees itself only.
        assert_eq!(Adjacency::uniform(0).entries()[5][5], 1.0);
    }

    #[test]
    fn entries_that_are_not_finite_are_named() {
        let mut entries = *Adjacency::uniform(1).entries();
        entries[3][7] = f64::NAN;
        assert_eq!(Adjacency::from_entries(entries), Err(AdjacencyFault { from: 3, to: 7 }));
    }
}
