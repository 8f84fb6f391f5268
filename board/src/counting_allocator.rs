//! Counts heap allocations, so that "no allocation after start-up" is a figure and not a hope.
//!
//! JUSTIFICATION of `unsafe`: a global allocator cannot be written without it. It only counts and forwards.

use nix::unistd::{getpid, gettid};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static FIRST_THREADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OWN_ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static IS_FIRST: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Forwards to `A` and counts every allocation and reallocation of the process.
#[derive(Debug)]
pub struct CountingAllocator<A = System>(pub A);

/// Allocations and reallocations of the whole process so far; 0 where [`CountingAllocator`] is not the global allocator.
#[must_use]
pub fn process_allocations() -> u64 {
    ALLOCATIONS.load(Relaxed)
}

/// The same without the process's first thread: in a test that is the harness, which after a minute prints, and so allocates, that a test
/// still runs.
#[must_use]
pub fn allocations_behind_the_first_thread() -> u64 {
    let first_threads = FIRST_THREADS.load(Relaxed);
    ALLOCATIONS.load(Relaxed).saturating_sub(first_threads)
}

/// Allocations and reallocations of the calling thread so far.
#[must_use]
pub fn thread_allocations() -> u64 {
    OWN_ALLOCATIONS.try_with(Cell::get).unwrap_or(0)
}

fn count() {
    ALLOCATIONS.fetch_add(1, Relaxed);
    if is_first_thread() {
        FIRST_THREADS.fetch_add(1, Relaxed);
    }
    // A thread that is ending has no counter any more; the process's total has it.
    let _ = OWN_ALLOCATIONS.try_with(|own| own.set(own.get() + 1));
}

/// Asks the kernel once per thread: two system calls with every allocation would more than double what a window costs on tract.
fn is_first_thread() -> bool {
    let asked = |known: &Cell<Option<bool>>| {
        known.get().unwrap_or_else(|| {
            let is_first = gettid() == getpid();
            known.set(Some(is_first));
            is_first
        })
    };
    // A thread that is ending is not the first one, or nobody counts any more.
    IS_FIRST.try_with(asked).unwrap_or(false)
}

// SAFETY: every call is forwarded unchanged to `A`, which keeps the contract; counting touches an atomic and a const-initialised
// thread-local without a destructor, neither of which allocates.
unsafe impl<A: GlobalAlloc> GlobalAlloc for CountingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.dealloc(pointer, layout) }
    }
}
