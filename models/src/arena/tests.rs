//! The arena against a shadow model; the allocator is used as an object here, not installed.

use super::*;
use proptest::prelude::*;

const ALLOCATOR: ArenaAllocator = ArenaAllocator::new();

/// A live block as the model knows it.
struct Shadow {
    block: *mut u8,
    layout: Layout,
    fill: u8,
}

impl Shadow {
    fn check(&self) {
        assert_eq!(self.block.align_offset(self.layout.align()), 0, "the block is not aligned to {}", self.layout.align());
        // SAFETY: a live block of the layout's size, all of it written.
        let bytes = unsafe { std::slice::from_raw_parts(self.block, self.layout.size()) };
        assert!(bytes.iter().all(|&byte| byte == self.fill), "another block wrote into this one");
    }

    fn fill(&self) {
        // SAFETY: a live block of the layout's size.
        unsafe { self.block.write_bytes(self.fill, self.layout.size()) };
    }
}

#[derive(Clone, Debug)]
enum Step {
    Allocate { size: usize, align_log2: u32, zeroed: bool },
    Free { which: usize },
    FreeElsewhere { which: usize },
    Resize { which: usize, size: usize },
}

fn step() -> impl Strategy<Value = (bool, Step)> {
    let size = prop_oneof![1_usize..64, 1_usize..2_000, 2_000_usize..40_000];
    let operation = prop_oneof![
        4 => (size.clone(), 0_u32..9, any::<bool>()).prop_map(|(size, align_log2, zeroed)| Step::Allocate { size, align_log2, zeroed }),
        2 => any::<usize>().prop_map(|which| Step::Free { which }),
        1 => any::<usize>().prop_map(|which| Step::FreeElsewhere { which }),
        2 => (any::<usize>(), size).prop_map(|(which, size)| Step::Resize { which, size }),
    ];
    (any::<bool>(), operation)
}

/// Does one step inside or outside the scope.
fn apply(step: Step, fill: u8, live: &mut Vec<Shadow>) {
    // SAFETY: layouts are not empty; every block is freed or resized once, with its own layout.
    unsafe {
        match step {
            Step::Allocate { size, align_log2, zeroed } => {
                let layout = Layout::from_size_align(size, 1 << align_log2).expect("valid");
                let block = if zeroed { ALLOCATOR.alloc_zeroed(layout) } else { ALLOCATOR.alloc(layout) };
                if zeroed {
                    Shadow { block, layout, fill: 0 }.check();
                }
                let shadow = Shadow { block, layout, fill };
                shadow.fill();
                live.push(shadow);
            }
            Step::Free { which } if !live.is_empty() => {
                let shadow = live.swap_remove(which % live.len());
                shadow.check();
                ALLOCATOR.dealloc(shadow.block, shadow.layout);
            }
            Step::FreeElsewhere { which } if !live.is_empty() => {
                let shadow = live.swap_remove(which % live.len());
                let (address, layout) = (shadow.block.expose_provenance(), shadow.layout);
                std::thread::spawn(move || ALLOCATOR.dealloc(ptr::with_exposed_provenance_mut(address), layout)).join().expect("frees");
            }
            Step::Resize { which, size } if !live.is_empty() => {
                let index = which % live.len();
                let shadow = &mut live[index];
                let kept = shadow.layout.size().min(size);
                shadow.block = ALLOCATOR.realloc(shadow.block, shadow.layout, size);
                shadow.layout = Layout::from_size_align(kept, shadow.layout.align()).expect("valid");
                shadow.check();
                shadow.layout = Layout::from_size_align(size, shadow.layout.align()).expect("valid");
                shadow.fill();
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Random sizes, alignments, threads and scopes: blocks keep their bytes, never overlap, and the counters are the model's.
    #[test]
    fn agrees_with_the_shadow_model(steps in prop::collection::vec(step(), 1..200)) {
        let mut arena = Arena::map(128 << 10).expect("maps");
        let mut live = Vec::with_capacity(256);
        for (number, (inside, step)) in steps.into_iter().enumerate() {
            let fill = number as u8;
            if inside { arena.enter(|| apply(step, fill, &mut live)) } else { apply(step, fill, &mut live) }
        }
        live.iter().for_each(Shadow::check);
        arena.enter(|| ());
        let mine: Vec<_> = live.iter().filter(|shadow| slot_index_of(shadow.block) == Some(arena.index)).collect();
        prop_assert_eq!(arena.counters().live_blocks, mine.len());
        prop_assert_eq!(arena.counters().in_use_bytes, mine.iter().map(|shadow| shadow.layout.size()).sum::<usize>());
        // Half is freed inside, the rest after the arena is gone.
        let kept = live.split_off(live.len() / 2);
        arena.enter(|| live.drain(..).for_each(|shadow| unsafe {
            // SAFETY: live, freed once.
            ALLOCATOR.dealloc(shadow.block, shadow.layout);
        }));
        drop(arena);
        for shadow in kept {
            shadow.check();
            // SAFETY: live, freed once.
            unsafe { ALLOCATOR.dealloc(shadow.block, shadow.layout) };
        }
    }
}

fn block(size: usize) -> (*mut u8, Layout) {
    let layout = Layout::from_size_align(size, 16).expect("valid");
    // SAFETY: not empty.
    (unsafe { ALLOCATOR.alloc(layout) }, layout)
}

#[test]
fn what_does_not_fit_goes_to_the_heap_and_is_counted() {
    let mut arena = Arena::map(4 << 10).expect("maps");
    let (index, (large, layout)) = (arena.index, arena.enter(|| block(64 << 10)));
    assert!(!large.is_null());
    assert_ne!(slot_index_of(large), Some(index));
    let counters = arena.counters();
    assert_eq!((counters.overflows, counters.overflow_bytes, counters.live_blocks), (1, 64 << 10, 0));
    // SAFETY: live, freed once.
    unsafe { ALLOCATOR.dealloc(large, layout) };
}

#[test]
fn nothing_outside_a_scope_or_on_another_thread_reaches_the_region() {
    let mut arena = Arena::map(4 << 10).expect("maps");
    let index = arena.index;
    let inside_elsewhere = arena.enter(|| {
        std::thread::scope(|scope| {
            let other = scope.spawn(move || {
                let (other, layout) = block(100);
                let inside = slot_index_of(other) == Some(index);
                // SAFETY: live, freed once.
                unsafe { ALLOCATOR.dealloc(other, layout) };
                inside
            });
            other.join().expect("runs")
        })
    });
    assert!(!inside_elsewhere);
    assert_eq!(arena.counters().allocations, 0);
}

#[test]
fn regions_outlive_their_arena_until_every_block_is_back() {
    // More often than there are slots: regions are taken back once their blocks are.
    for _ in 0..3 * ARENAS_MAX {
        let mut arena = Arena::map(4 << 10).expect("a slot is free again");
        let (index, (kept, layout)) = (arena.index, arena.enter(|| block(100)));
        drop(arena);
        assert_eq!(slot_index_of(kept), Some(index), "the region must stay");
        // SAFETY: the region is still mapped; live, freed once.
        unsafe {
            kept.write_bytes(7, 100);
            ALLOCATOR.dealloc(kept, layout);
        }
    }
}

#[test]
fn a_panic_inside_leaves_the_scope() {
    let mut arena = Arena::map(4 << 10).expect("maps");
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| arena.enter(|| panic!("on purpose"))));
    assert!(caught.is_err());
    assert_eq!(scope_index(), None);
}

#[test]
fn scopes_nest_and_blocks_move_between_arenas() {
    let (mut outer, mut inner) = (Arena::map(8 << 10).expect("maps"), Arena::map(8 << 10).expect("maps"));
    let (outer_index, inner_index) = (outer.index, inner.index);
    outer.enter(|| {
        let (first, layout) = block(100);
        assert_eq!(slot_index_of(first), Some(outer_index));
        // SAFETY: live; the moved block replaces it.
        let moved = inner.enter(|| unsafe { ALLOCATOR.realloc(first, layout, 300) });
        assert_eq!(slot_index_of(moved), Some(inner_index));
        // SAFETY: live, freed once, from outside its arena.
        unsafe { ALLOCATOR.dealloc(moved, Layout::from_size_align(300, 16).expect("valid")) };
    });
    assert_eq!(scope_index(), None);
    outer.enter(|| ());
    inner.enter(|| ());
    assert_eq!((outer.counters().live_blocks, inner.counters().live_blocks), (0, 0));
}

#[test]
fn without_the_global_allocator_an_arena_is_refused() {
    assert_eq!(Arena::new(64 << 10).err(), Some(ArenaError::NotInstalled));
}

#[test]
fn sizes_out_of_range_are_refused() {
    assert_eq!(Arena::map(ARENA_BYTES_MIN - 1).err(), Some(ArenaError::Size { given: ARENA_BYTES_MIN - 1 }));
    assert_eq!(Arena::map(ARENA_BYTES_MAX + 1).err(), Some(ArenaError::Size { given: ARENA_BYTES_MAX + 1 }));
}
