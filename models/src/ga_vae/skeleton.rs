//! The fixed adjacency family: which joints a graph convolution joins, by their distance from the neck.
//!
//! The 'spatial' strategy with a reach of one bone on the OpenPose-18 skeleton: three matrices that hold a joint itself, its
//! neighbours towards the limbs, and its neighbour towards the neck. `out[to] = sum over from of in[from] * matrix[from][to]`; the
//! columns of the three matrices together sum to 1.

use super::shape::SUBSETS;
use crate::stg_nf::adjacency::SKELETON_EDGES;
use alfred_core::limits::JOINTS;

/// The joint from which distances are counted.
const NECK: usize = 1;

/// A matrix per subset: `[subset][from][to]`.
pub type Family = [[[f64; JOINTS]; JOINTS]; SUBSETS];

/// The three matrices.
#[must_use]
pub fn fixed_family() -> Family {
    let depths = depths();
    let mut family = [[[0.0; JOINTS]; JOINTS]; SUBSETS];
    for to in 0..JOINTS {
        let neighbours = || SKELETON_EDGES.iter().flat_map(|&(one, other)| [(one, other), (other, one)]).filter(|pair| pair.1 == to);
        let entry = 1.0 / (1 + neighbours().count()) as f64;
        family[0][to][to] = entry;
        for (from, _) in neighbours() {
            // A tree has no neighbours of the same depth.
            let subset = if depths[from] > depths[to] { 1 } else { 2 };
            family[subset][from][to] = entry;
        }
    }
    family
}

/// Bones between each joint and the neck.
fn depths() -> [usize; JOINTS] {
    let mut depths = [usize::MAX; JOINTS];
    depths[NECK] = 0;
    // Every pass reaches at least one joint more.
    for _ in 0..JOINTS {
        for (one, other) in SKELETON_EDGES {
            depths[one] = depths[one].min(depths[other].saturating_add(1));
            depths[other] = depths[other].min(depths[one].saturating_add(1));
        }
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_the_family_sum_to_one_and_every_bone_appears_twice() {
        let family = fixed_family();
        for to in 0..JOINTS {
            let sum: f64 = family.iter().flat_map(|matrix| matrix.iter().map(|row| row[to])).sum();
            assert!((sum - 1.0).abs() < 1e-12, "column {to}: {sum}");
        }
        let entries = family.map(|matrix| matrix.as_flattened().iter().filter(|&&entry| entry > 0.0).count());
        assert_eq!(entries, [18, 17, 17]);
        // The right elbow hears the wrist from outside, the shoulder from inside; joints 4, 3, 2 in this order.
        assert_eq!((family[1][4][3], family[2][2][3], family[1][2][3]), (1.0 / 3.0, 1.0 / 3.0, 0.0));
        assert_eq!(depths()[4], 3);
    }
}
