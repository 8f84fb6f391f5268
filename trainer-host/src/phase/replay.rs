//! Replay: a bounded, diverse memory of earlier normal windows that trains along with each slice, against forgetting.

use crate::query::Embeddings;
use crate::query::k_center::k_center;
use alfred_synth::random::Random;

/// Windows that the memory holds at most.
pub const WINDOWS_MAX: usize = 1000;
/// Candidates per place among which the spread-out ones are chosen; more cost time and bring little.
const CANDIDATES_PER_PLACE: usize = 4;

/// Chooses which of `candidates` (embeddings of the memory so far and of new normals) stay: at most `windows_max`, spread out by greedy
/// k-centre among a random sample. Indices, rising.
#[must_use]
pub fn retain(candidates: &Embeddings, windows_max: usize, random: &mut Random) -> Vec<u32> {
    let mut pool: Vec<u32> = (0..candidates.len() as u32).collect();
    if pool.len() <= windows_max {
        return pool;
    }
    random.shuffle(&mut pool);
    pool.truncate(windows_max.saturating_mul(CANDIDATES_PER_PLACE));
    let mut chosen: Vec<u32> = k_center(candidates, &pool, &[], windows_max);
    chosen.sort_unstable();
    chosen
}
