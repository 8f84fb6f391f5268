//! The arena as the program's global allocator.

use alfred_models::arena::{Arena, ArenaAllocator};
use std::collections::BTreeMap;

#[global_allocator]
static ALLOCATOR: ArenaAllocator = ArenaAllocator::new();

#[test]
fn collections_live_in_the_region_and_may_leave_it() {
    let mut arena = Arena::new(256 << 10).expect("installed");
    let map: BTreeMap<usize, String> = arena.enter(|| (0..100).map(|number| (number, "x".repeat(number))).collect());
    let counters = arena.counters();
    assert!(counters.live_blocks > 100 && counters.overflows == 0, "{counters:?}");
    // Grown outside: moved to the heap. Freed on another thread: handed back.
    let mut map = map;
    map.values_mut().for_each(|text| text.push_str("grown"));
    std::thread::spawn(move || assert_eq!(map[&7], "xxxxxxxgrown")).join().expect("runs");
    arena.enter(|| ());
    assert_eq!(arena.counters().live_blocks, 0);
    assert_eq!(arena.counters().in_use_bytes, 0);
}

#[test]
fn threads_that_free_into_each_others_arenas_stay_apart() {
    let (to_reader, from_writer) = std::sync::mpsc::sync_channel::<Vec<usize>>(8);
    let reader = std::thread::spawn(move || {
        let mut arena = Arena::new(64 << 10).expect("installed");
        arena.enter(|| from_writer.iter().map(|list| list.iter().sum::<usize>() + vec![1_u8; list.len()].len()).sum::<usize>())
    });
    let mut arena = Arena::new(1 << 20).expect("installed");
    for round in 0..2_000 {
        let list = arena.enter(|| (0..round % 50).collect::<Vec<_>>());
        to_reader.send(list).expect("the reader lives");
    }
    drop(to_reader);
    assert_eq!(reader.join().expect("runs"), 40 * (0..50).map(|count| (0..count).sum::<usize>() + count).sum::<usize>());
    arena.enter(|| ());
    assert_eq!(arena.counters().live_blocks, 0);
}
