//! The table of mapped regions, each with its pool: what an address belongs to, and who may touch it.
//!
//! JUSTIFICATION of `unsafe`: see the parent module. States of a slot: `FREE` → `HELD` (by an `Arena`) → `FREE`, or → `ABANDONED`
//! (some block outlives the arena) → `HELD` for the moment in which a new arena's creation looks whether all blocks are back → `FREE`.

use super::{ARENAS_MAX, ArenaCounters};
use nix::sys::mman::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};
use rlsf::Tlsf;
use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// Smallest page of the systems we run on; regions are whole multiples of it.
const PAGE_BYTES: usize = 4096;
/// Largest usual page (some aarch64 kernels): what regions are rounded up to, so that they are whole pages everywhere.
const PAGE_BYTES_MAX: usize = 65_536;
/// Bits of a slot's word that hold the number of pages; the rest is the number of the first page (addresses of 48 bits).
const PAGES_BITS: u32 = 28;
/// The pool's own limit: 32 bytes << 22 classes.
pub(super) const BLOCK_BYTES_LIMIT: usize = 32 << 22;
type Pool = Tlsf<'static, u32, u16, 22, 16>;

const FREE: u8 = 0;
const HELD: u8 = 1;
const ABANDONED: u8 = 2;

/// All regions. Static, so that routing a free needs no allocation and no lock; untouched slots cost no memory.
pub(super) static SLOTS: [Slot; ARENAS_MAX] = [const { Slot::new() }; ARENAS_MAX];

/// Slots ever used: routing looks no further. A program without arenas pays one load per free.
static SLOTS_USED: AtomicUsize = AtomicUsize::new(0);

/// Whether the region's pages are locked into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockStatus {
    /// `mlock` succeeded.
    Locked,
    /// `mlock` was refused with this error number (usually the limit RLIMIT_MEMLOCK); pages were only touched.
    Refused(i32),
}

/// A mapped region: `bytes` usable ones from `start`, `mapped_bytes` in all.
#[derive(Clone, Copy)]
pub(super) struct Region {
    start: NonNull<u8>,
    bytes: usize,
    mapped_bytes: usize,
}

impl Region {
    /// Maps, touches and locks `bytes` bytes. The error is the system's own words.
    pub(super) fn map(bytes: usize) -> Result<(Self, LockStatus), String> {
        let mapped_bytes = bytes.next_multiple_of(PAGE_BYTES_MAX);
        let length = NonZeroUsize::new(mapped_bytes).ok_or("no bytes")?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) };
        let start: NonNull<u8> = start.map_err(|error| error.to_string())?.cast();
        let region = Self { start, bytes: bytes & !31, mapped_bytes };
        if region.word().is_none() {
            // SAFETY: mapped above, used by nobody.
            let _ = unsafe { munmap(start.cast(), mapped_bytes) };
            return Err("the address is above 48 bits".into());
        }
        // The kernel may populate less than asked; a written page is there.
        for offset in (0..mapped_bytes).step_by(PAGE_BYTES) {
            // SAFETY: inside the mapping; volatile, so that it is not optimised away.
            unsafe { start.as_ptr().add(offset).write_volatile(0) };
        }
        // SAFETY: exactly the mapping.
        let lock = match unsafe { mlock(start.cast::<c_void>(), mapped_bytes) } {
            Ok(()) => LockStatus::Locked,
            Err(error) => LockStatus::Refused(error as i32),
        };
        Ok((region, lock))
    }

    /// First page and number of pages in one word, so that readers never see half of a change.
    fn word(&self) -> Option<u64> {
        let (first, pages) = ((self.start.addr().get() / PAGE_BYTES) as u64, (self.mapped_bytes / PAGE_BYTES) as u64);
        (first < 1 << (u64::BITS - PAGES_BITS) && pages < 1 << PAGES_BITS).then_some(first << PAGES_BITS | pages)
    }
}

/// A block that another thread freed, on its way back; lives in the block itself (every block holds 16 bytes, 16-aligned).
#[repr(C)]
struct Returned {
    next: *mut Returned,
    /// Requested size << 8 | log2 of the alignment.
    size_and_align: u64,
}

/// One region and its pool.
#[derive(Debug)]
pub(super) struct Slot {
    state: AtomicU8,
    /// [`Region::word`]; 0 is no region.
    word: AtomicU64,
    /// Blocks freed by others than the owner.
    returned: AtomicPtr<Returned>,
    pool: UnsafeCell<PoolState>,
}

// SAFETY: `pool` is touched only by the thread that claimed the slot, holds `&mut Arena`, or is inside `Arena::enter`; these exclude each
// other. The rest is atomic.
unsafe impl Sync for Slot {}

struct PoolState {
    pool: Pool,
    region: Option<Region>,
    counters: ArenaCounters,
}

impl std::fmt::Debug for PoolState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.counters.fmt(f)
    }
}

impl PoolState {
    const EMPTY: Self = Self {
        pool: Pool::new(),
        region: None,
        counters: ArenaCounters {
            in_use_bytes: 0,
            peak_bytes: 0,
            extent_bytes: 0,
            live_blocks: 0,
            allocations: 0,
            overflows: 0,
            overflow_bytes: 0,
        },
    };

    fn count_block(&mut self, block: NonNull<u8>, bytes: usize) {
        let start = self.region.map_or(0, |region| region.start.addr().get());
        let counters = &mut self.counters;
        counters.allocations += 1;
        counters.in_use_bytes += bytes;
        counters.peak_bytes = counters.peak_bytes.max(counters.in_use_bytes);
        counters.extent_bytes = counters.extent_bytes.max(block.addr().get() - start + bytes);
    }

    /// # Safety
    /// `block` is a live block of this pool with this alignment.
    unsafe fn free(&mut self, block: NonNull<u8>, bytes: usize, align: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.pool.deallocate(block, align) };
        self.counters.in_use_bytes -= bytes;
        self.counters.live_blocks -= 1;
    }
}

/// The slot whose region holds `address`. Acquire loads: a thread that was given memory which used to be a region's has been told so
/// by whoever gave it, after the region's word was cleared.
pub(super) fn slot_index_of(address: *const u8) -> Option<usize> {
    let used = SLOTS_USED.load(Ordering::Acquire);
    let page = (address.addr() / PAGE_BYTES) as u64;
    SLOTS.iter().take(used).position(|slot| {
        let word = slot.word.load(Ordering::Acquire);
        page.wrapping_sub(word >> PAGES_BITS) < (word & ((1 << PAGES_BITS) - 1))
    })
}

impl Slot {
    const fn new() -> Self {
        Self {
            state: AtomicU8::new(FREE),
            word: AtomicU64::new(0),
            returned: AtomicPtr::new(ptr::null_mut()),
            pool: UnsafeCell::new(PoolState::EMPTY),
        }
    }

    /// Takes a free slot, after taking back the abandoned ones whose blocks have all returned.
    pub(super) fn claim() -> Option<(usize, &'static Self)> {
        for slot in &SLOTS {
            if slot.change(ABANDONED, HELD) {
                // SAFETY: HELD by this thread alone, and there is no `Arena` of it any more.
                unsafe { slot.close() };
            }
        }
        let (index, slot) = SLOTS.iter().enumerate().find(|(_, slot)| slot.change(FREE, HELD))?;
        SLOTS_USED.fetch_max(index + 1, Ordering::AcqRel);
        Some((index, slot))
    }

    /// Gives back a claimed slot that was never opened.
    pub(super) fn unclaim(&self) {
        self.state.store(FREE, Ordering::Release);
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.state.load(Ordering::Acquire) == ABANDONED
    }

    /// # Safety
    /// The caller alone holds the slot, and nobody uses the region.
    pub(super) unsafe fn open(&self, region: Region) {
        // SAFETY: the caller holds the slot alone; the region outlives the pool, since `close` empties the pool before it unmaps.
        unsafe {
            let state = &mut *self.pool.get();
            *state = PoolState { region: Some(region), ..PoolState::EMPTY };
            state.pool.insert_free_block_ptr(NonNull::slice_from_raw_parts(region.start, region.bytes));
        }
        self.word.store(region.word().unwrap_or(0), Ordering::Release);
    }

    /// Unmaps the region, or abandons it if blocks are still alive.
    ///
    /// # Safety
    /// The caller alone holds the slot and will not touch it afterwards.
    pub(super) unsafe fn close(&self) {
        // SAFETY: the caller holds the slot alone. Without live blocks nobody has an address of the region.
        unsafe {
            self.collect_returned();
            let state = &mut *self.pool.get();
            if state.counters.live_blocks > 0 {
                self.state.store(ABANDONED, Ordering::Release);
                return;
            }
            self.word.store(0, Ordering::SeqCst);
            if let Some(region) = state.region.take() {
                *state = PoolState::EMPTY;
                // Cannot fail for a mapping of ours; if it did, the pages would only stay mapped.
                let _ = munmap(region.start.cast::<c_void>(), region.mapped_bytes);
            }
        }
        self.state.store(FREE, Ordering::Release);
    }

    /// A block, or `None` when it does not fit, which is counted.
    ///
    /// # Safety
    /// This thread is inside the arena.
    pub(super) unsafe fn allocate(&self, layout: Layout) -> Option<*mut u8> {
        // SAFETY: the owner alone touches the pool.
        let state = unsafe { &mut *self.pool.get() };
        let Some(block) = state.pool.allocate(layout) else {
            state.counters.overflows += 1;
            state.counters.overflow_bytes += layout.size() as u64;
            return None;
        };
        state.count_block(block, layout.size());
        state.counters.live_blocks += 1;
        Some(block.as_ptr())
    }

    /// Resizes a block in the pool; `None` when it does not fit, the block is then as before.
    ///
    /// # Safety
    /// This thread is inside the arena; `block` is a live block of it with this layout.
    pub(super) unsafe fn resize(&self, block: *mut u8, layout: Layout, new_size: usize) -> Option<*mut u8> {
        // SAFETY: the owner alone touches the pool; size and alignment are the caller's valid ones.
        unsafe {
            let state = &mut *self.pool.get();
            let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
            let moved = state.pool.reallocate(NonNull::new_unchecked(block), new_layout)?;
            state.counters.in_use_bytes -= layout.size();
            state.count_block(moved, new_size);
            Some(moved.as_ptr())
        }
    }

    /// # Safety
    /// This thread is inside the arena; `block` is a live block of it with this layout.
    pub(super) unsafe fn free(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the owner alone touches the pool.
        unsafe { (*self.pool.get()).free(NonNull::new_unchecked(block), layout.size(), layout.align()) };
    }

    /// Frees a block from outside: lays it on the stack that the owner empties.
    ///
    /// # Safety
    /// `block` is a live block of this slot's region with this layout.
    pub(super) unsafe fn hand_back(&self, block: *mut u8, layout: Layout) {
        // The pool gives every block at least 16 bytes at a 16-aligned address, also for smaller requests.
        let node = block.cast::<Returned>();
        let size_and_align = (layout.size() as u64) << 8 | u64::from(layout.align().trailing_zeros());
        let mut head = self.returned.load(Ordering::Relaxed);
        loop {
            // SAFETY: the block is ours until the exchange succeeds; nobody else reads it before.
            unsafe { node.write(Returned { next: head, size_and_align }) };
            match self.returned.compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => head = newer,
            }
        }
    }

    /// Frees what other threads handed back.
    ///
    /// # Safety
    /// The caller alone holds the slot, or is its arena's `&mut` owner.
    pub(super) unsafe fn collect_returned(&self) {
        if self.returned.load(Ordering::Relaxed).is_null() {
            return;
        }
        let mut node = self.returned.swap(ptr::null_mut(), Ordering::Acquire);
        while let Some(block) = NonNull::new(node) {
            // SAFETY: the exchange made the whole list ours; each node is a live block that `hand_back` received once.
            unsafe {
                let Returned { next, size_and_align } = block.read();
                (*self.pool.get()).free(block.cast(), (size_and_align >> 8) as usize, 1 << (size_and_align & 0xFF));
                node = next;
            }
        }
    }

    /// # Safety
    /// Nobody is inside the arena.
    pub(super) unsafe fn counters(&self) -> ArenaCounters {
        // SAFETY: nobody writes.
        unsafe { (*self.pool.get()).counters }
    }

    /// # Safety
    /// The caller is the arena's `&mut` owner.
    pub(super) unsafe fn reset_peak(&self) {
        // SAFETY: nobody else touches the pool.
        unsafe {
            let counters = &mut (*self.pool.get()).counters;
            counters.peak_bytes = counters.in_use_bytes;
        }
    }
}
