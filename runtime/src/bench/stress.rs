//! `--stress`: something that keeps every other core and its caches busy.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Bytes that each busy thread walks over: more than a core's own caches hold.
const WALKED_BYTES: usize = 8 << 20;

/// Busy threads: one for every core but one, since a device has a core for the data path.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).max(1)
}

/// Memory for one thread, touched now.
pub(crate) fn memory() -> Vec<u64> {
    (0..(WALKED_BYTES / size_of::<u64>()) as u64).map(|word| word | 1).collect()
}

/// Computes and walks over the memory until `stop`. Allocates nothing.
pub(crate) fn run(memory: &mut [u64], stop: &AtomicBool) {
    let mut state = 1_u64;
    while !stop.load(Relaxed) {
        for _ in 0..10_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (state >> 33) as usize % memory.len();
            memory[place] = memory[place].rotate_left(7) ^ state;
        }
        black_box(&mut *memory);
    }
}
