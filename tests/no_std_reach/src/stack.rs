//! How much stack the program needs: the memory below is painted first, and later one looks how much paint is gone.
//!
//! JUSTIFICATION of `unsafe`: memory that no variable owns is written and read.

/// What is painted and looked at. The emulator's stack has megabytes.
const PAINTED_BYTES: usize = 512 * 1024;
/// Kept clear of the painter's own frame.
const CLEAR_BYTES: usize = 1024;
const PAINT: usize = 0x5AFE_5AFE;
const WORD_BYTES: usize = size_of::<usize>();

/// A place in the stack about where the caller is.
#[inline(never)]
fn here() -> usize {
    let place = 0_usize;
    core::hint::black_box(&raw const place) as usize & !(WORD_BYTES - 1)
}

/// Paints the stack below the caller.
#[inline(never)]
pub fn paint() {
    let top = here() - CLEAR_BYTES;
    for at in (top - PAINTED_BYTES..top).step_by(WORD_BYTES) {
        // SAFETY: aligned, within the stack that the emulator maps, and below every frame that is in use.
        unsafe { (at as *mut usize).write_volatile(PAINT) };
    }
}

/// Bytes from about the caller's frame down to the lowest word whose paint is gone.
#[inline(never)]
pub fn bytes_used() -> usize {
    let top = here() - CLEAR_BYTES;
    let mut at = top - PAINTED_BYTES;
    // SAFETY: aligned, and within the stack that `paint` wrote to.
    while at < top && unsafe { (at as *const usize).read_volatile() } == PAINT {
        at += WORD_BYTES;
    }
    top + CLEAR_BYTES - at
}
