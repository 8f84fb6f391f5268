//! Fixed, pre-faulted regions of memory that serve the generic engine's allocations while it runs.
//!
//! The engine (tract) allocates and frees on every run. [`ArenaAllocator`], installed as the program's `#[global_allocator]`, serves a
//! thread from a region of its own while that thread is inside [`Arena::enter`], and from the inner allocator otherwise. The pool is a
//! TLSF (crate `rlsf`): constant time for every operation. Frees are routed by address, from any thread, in or out of a scope.
//! What does not fit goes to the inner allocator AND is counted: an overflow is a fault of the run, never a crash.
//!
//! Who may touch a pool: only the thread inside `enter`, which holds `&mut Arena`; so there is no lock on the hot path. Every other
//! thread hands blocks back through a lock-free stack, emptied by the owner at its next `enter`. A region whose blocks are still alive when
//! its [`Arena`] is dropped stays mapped until they are all back ("abandoned"): nothing ever points into unmapped memory.
//!
//! JUSTIFICATION of `unsafe` in this file: a global allocator cannot be written without it, and no allocator crate offers a scoped,
//! counted region. Everything outside this file is safe whatever it does with the public API.

mod region;

use region::{Region, SLOTS, Slot, slot_index_of};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

pub use region::LockStatus;

/// Largest region, bytes.
pub const ARENA_BYTES_MAX: usize = 64 << 20;

/// Smallest region, bytes.
pub const ARENA_BYTES_MIN: usize = 1 << 10;

/// Regions that exist at the same time, abandoned ones included. A device uses two: the running model's and its successor's.
pub const ARENAS_MAX: usize = 32;

thread_local! {
    /// Slot number plus one of the arena this thread is inside; 0 is none. Without a destructor and constant at start, hence usable
    /// within an allocator.
    static SCOPE: Cell<usize> = const { Cell::new(0) };
}

/// What an arena has seen. Bytes are as requested, without the allocator's own headers, except for `extent_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaCounters {
    /// Bytes allocated and not yet freed.
    pub in_use_bytes: usize,
    /// Largest `in_use_bytes` since the start or the last [`Arena::reset_peak`].
    pub peak_bytes: usize,
    /// How far into the region any block has ever reached, headers and gaps included: what the region must hold at least.
    pub extent_bytes: usize,
    /// Blocks allocated and not yet freed.
    pub live_blocks: usize,
    /// Allocations and moves served, since the start.
    pub allocations: u64,
    /// Allocations that did not fit and went to the inner allocator, since the start.
    pub overflows: u64,
    /// Bytes of those.
    pub overflow_bytes: u64,
}

/// Why there is no arena.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArenaError {
    /// The program's global allocator is another one, so no allocation would ever reach a region.
    #[error(
        "the arena allocator is not installed in this program: add `#[global_allocator] static A: ArenaAllocator = ArenaAllocator::new();`"
    )]
    NotInstalled,
    /// The size is out of range.
    #[error("an arena of {given} bytes is out of range: give {ARENA_BYTES_MIN} to {ARENA_BYTES_MAX}")]
    Size {
        /// Bytes asked for.
        given: usize,
    },
    /// All [`ARENAS_MAX`] regions are in use or abandoned.
    #[error("{ARENAS_MAX} arenas exist already: drop engines, and quiesce each on its scoring thread before")]
    TooMany,
    /// The operating system gave no memory.
    #[error("cannot map {bytes} bytes: {reason}: lower model.arena_bytes or raise the process's memory limit")]
    Map {
        /// Bytes asked for.
        bytes: usize,
        /// The system's error.
        reason: String,
    },
}

/// One region, owned by one engine. May move between threads; who enters it needs `&mut`.
#[derive(Debug)]
pub struct Arena {
    slot: &'static Slot,
    index: usize,
    bytes: usize,
    lock: LockStatus,
}

impl Arena {
    /// Maps, pre-faults and, where permitted, locks a region of `bytes` usable bytes (rounded down to 32).
    ///
    /// # Errors
    /// [`ArenaError`]; above all `NotInstalled` when [`ArenaAllocator`] is not this program's global allocator.
    pub fn new(bytes: usize) -> Result<Self, ArenaError> {
        let mut arena = Self::map(bytes)?;
        if arena.is_installed() { Ok(arena) } else { Err(ArenaError::NotInstalled) }
    }

    /// [`Arena::new`] without the check that the allocator is installed.
    fn map(bytes: usize) -> Result<Self, ArenaError> {
        if !(ARENA_BYTES_MIN..=ARENA_BYTES_MAX).contains(&bytes) {
            return Err(ArenaError::Size { given: bytes });
        }
        let (index, slot) = Slot::claim().ok_or(ArenaError::TooMany)?;
        match Region::map(bytes) {
            Ok((region, lock)) => {
                // SAFETY: `claim` gave this thread the slot alone, and nobody else knows the fresh region.
                unsafe { slot.open(region) };
                Ok(Self { slot, index, bytes, lock })
            }
            Err(reason) => {
                slot.unclaim();
                Err(ArenaError::Map { bytes, reason })
            }
        }
    }

    /// Runs `work` with this thread's allocations served from the region. Nothing else of the program is affected.
    /// Blocks that outlive the call stay valid and may be freed anywhere. Scopes nest; the innermost arena serves.
    pub fn enter<R>(&mut self, work: impl FnOnce() -> R) -> R {
        // SAFETY: `&mut self`: no other thread is inside this arena.
        unsafe { self.slot.collect_returned() };
        let _scope = ArenaScope::begin(self.index);
        work()
    }

    /// Size of the region in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the region is locked into memory. Where it is not permitted, pages may be swapped out; nothing else changes.
    #[must_use]
    pub const fn lock_status(&self) -> LockStatus {
        self.lock
    }

    /// The counters. Blocks that other threads gave back since the last `enter` still count as in use.
    #[must_use]
    pub fn counters(&self) -> ArenaCounters {
        // SAFETY: `&self`: nobody is inside `enter`, which takes `&mut self`; without an owner nobody writes the pool.
        unsafe { self.slot.counters() }
    }

    /// Lets `peak_bytes` start anew from what is in use.
    pub fn reset_peak(&mut self) {
        // SAFETY: `&mut self`: nobody else is inside this arena.
        unsafe {
            self.slot.collect_returned();
            self.slot.reset_peak();
        }
    }

    /// Whether an allocation made inside a scope lands in the region.
    fn is_installed(&mut self) -> bool {
        let layout = Layout::new::<u64>();
        let index = self.index;
        self.enter(|| {
            // SAFETY: the layout is not empty; the block is freed with the same layout, and only if there is one. `black_box` keeps the
            // compiler from removing the pair.
            unsafe {
                let block = std::hint::black_box(std::alloc::alloc(layout));
                let inside = slot_index_of(block) == Some(index);
                if !block.is_null() {
                    std::alloc::dealloc(block, layout);
                }
                inside
            }
        })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: `&mut self`, and the arena is gone afterwards: nobody can enter it any more.
        unsafe { self.slot.close() };
    }
}

/// While it lives, this thread's allocations come from one arena; its end restores what was before, also in a panic.
/// Private to [`Arena::enter`], so that it cannot be forgotten or moved.
struct ArenaScope {
    before: usize,
}

impl ArenaScope {
    fn begin(index: usize) -> Self {
        Self { before: SCOPE.replace(index + 1) }
    }
}

impl Drop for ArenaScope {
    fn drop(&mut self) {
        SCOPE.set(self.before);
    }
}

/// Number of the arena this thread is inside, if any.
fn scope_index() -> Option<usize> {
    // A thread that is being torn down has no scope.
    SCOPE.try_with(Cell::get).unwrap_or(0).checked_sub(1)
}

/// Regions that outlive their [`Arena`] because some block is not yet freed; taken back when the next arena is made.
#[must_use]
pub fn arenas_abandoned() -> usize {
    SLOTS.iter().filter(|slot| slot.is_abandoned()).count()
}

/// The program's global allocator: `inner`, except inside [`Arena::enter`].
///
/// ```ignore
/// #[global_allocator]
/// static ALLOCATOR: ArenaAllocator = ArenaAllocator::new();
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ArenaAllocator<A = System> {
    inner: A,
}

impl ArenaAllocator {
    /// Over the system's allocator.
    #[must_use]
    pub const fn new() -> Self {
        Self { inner: System }
    }
}

impl<A> ArenaAllocator<A> {
    /// Over another allocator, such as one that counts.
    #[must_use]
    pub const fn over(inner: A) -> Self {
        Self { inner }
    }
}

impl<A: GlobalAlloc> ArenaAllocator<A> {
    /// A block from this thread's arena; `None` outside a scope, and when it did not fit, which is counted.
    fn arena_alloc(layout: Layout) -> Option<*mut u8> {
        let slot = SLOTS.get(scope_index()?)?;
        // SAFETY: this thread's scope names the slot, so it is inside `enter` and holds `&mut Arena`.
        unsafe { slot.allocate(layout) }
    }

    /// Moves a block to where this thread allocates now.
    ///
    /// # Safety
    /// As of [`GlobalAlloc::realloc`].
    unsafe fn move_block(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `new_size` is not zero and does not overflow when rounded up to the alignment; both blocks hold
        // the copied bytes and are distinct; the old one is freed only after the copy.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

// SAFETY: every block comes from `inner` or from a region's pool; its address tells which, since a region is mapped as long as any of its
// blocks lives and no other memory overlaps it. Layouts are passed on unchanged. No method panics or allocates by itself.
unsafe impl<A: GlobalAlloc> GlobalAlloc for ArenaAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Self::arena_alloc(layout) {
            Some(block) => block,
            // SAFETY: the caller's promise, passed on.
            None => unsafe { self.inner.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match Self::arena_alloc(layout) {
            Some(block) => {
                // SAFETY: the block holds `layout.size()` bytes.
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            // SAFETY: the caller's promise, passed on.
            None => unsafe { self.inner.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match slot_index_of(block) {
            // SAFETY: the caller's promise, passed on: the block is not of a region, so it is the inner allocator's.
            None => unsafe { self.inner.dealloc(block, layout) },
            Some(index) => {
                // SAFETY: the block lies in this slot's region, hence came from its pool with this layout, and is freed once. The pool is
                // touched only if this thread is inside the arena.
                unsafe {
                    if scope_index() == Some(index) { SLOTS[index].free(block, layout) } else { SLOTS[index].hand_back(block, layout) }
                }
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        match (slot_index_of(block), scope_index()) {
            // SAFETY: the caller's promise, passed on.
            (None, None) => unsafe { self.inner.realloc(block, layout, new_size) },
            (Some(home), Some(scope)) if home == scope => {
                // SAFETY: the block is of this pool and this thread is inside the arena; what does not fit is moved, and counted there.
                unsafe { SLOTS[home].resize(block, layout, new_size).unwrap_or_else(|| self.move_block(block, layout, new_size)) }
            }
            // Into the arena, out of it, or from one to another.
            // SAFETY: the caller's promise, passed on.
            _ => unsafe { self.move_block(block, layout, new_size) },
        }
    }
}

const _: () = assert!(ARENA_BYTES_MAX < region::BLOCK_BYTES_LIMIT);

#[cfg(test)]
mod tests;
