//! Contracts between the data path's surroundings and a board.

use alfred_core::units::MonotonicNs;

/// A clock that never runs backwards, not even when the wall clock is set; it goes on while the process waits.
pub trait Clock: Send + Sync {
    /// Nanoseconds since an origin that stays the same while the process lives.
    fn now(&self) -> MonotonicNs;
}

/// What the process holds of the machine's memory.
pub trait Memory {
    /// Resident bytes of this process; `None` where the board cannot tell. Allocates nothing after the first call.
    fn resident_bytes(&mut self) -> Option<u64>;
}
