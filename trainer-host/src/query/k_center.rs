//! Greedy k-centre: each choice is the point farthest from all choices before it (Gonzalez 1985; at most twice the best radius).

use super::Embeddings;

/// Chooses at most `count` of `pool`, farthest first, given that `taken` points are covered already. Ties go to the earlier one of the pool. The
/// first choice, when nothing is taken, is the pool's first.
#[must_use]
pub fn k_center(points: &Embeddings, pool: &[u32], taken: &[u32], count: usize) -> Vec<u32> {
    let mut gap = vec![f32::INFINITY; pool.len()];
    for &centre in taken {
        cover(points, pool, centre, &mut gap);
    }
    let mut chosen = Vec::with_capacity(count.min(pool.len()));
    while chosen.len() < count.min(pool.len()) {
        let mut farthest = None;
        for (index, &distance) in gap.iter().enumerate() {
            // A chosen point has gap -1.
            if distance >= 0.0 && farthest.is_none_or(|(_, best)| distance > best) {
                farthest = Some((index, distance));
            }
        }
        let Some((index, _)) = farthest else { break };
        chosen.push(pool[index]);
        cover(points, pool, pool[index], &mut gap);
        gap[index] = -1.0;
    }
    chosen
}

fn cover(points: &Embeddings, pool: &[u32], centre: u32, gap: &mut [f32]) {
    let centre = points.get(centre);
    for (&other, gap) in pool.iter().zip(gap) {
        let distance: f32 = points.get(other).iter().zip(centre).map(|(a, b)| (a - b) * (a - b)).sum();
        *gap = gap.min(distance);
    }
}
