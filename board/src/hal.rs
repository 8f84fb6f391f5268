//! Contracts between the data path's surroundings and a board.

use alfred_core::units::MonotonicNs;
use std::io;

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

/// A region of fixed size that keeps its bytes without power: a file, or a partition. Positions count from its first byte.
///
/// What a power cut may do, and what users of this must live with: of the writes since the last [`Storage::sync`] each may have happened,
/// not happened, or happened up to any byte, in any order. Bytes outside of them stay as they were, as long as they lie in another
/// aligned block of 4,096 bytes.
pub trait Storage {
    /// Bytes of the region; never changes.
    fn bytes(&self) -> u64;

    /// Reads `buffer.len()` bytes from `at` on.
    ///
    /// # Errors
    /// The system's, and [`io::ErrorKind::UnexpectedEof`] beyond the region's end.
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` from `at` on. Until [`Storage::sync`] they may be lost.
    ///
    /// # Errors
    /// The system's, and [`io::ErrorKind::UnexpectedEof`] beyond the region's end: then nothing is written.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything that was written is there for good.
    ///
    /// # Errors
    /// The system's; what was written since the last success may then be lost.
    fn sync(&mut self) -> io::Result<()>;
}

impl<S: Storage + ?Sized> Storage for &mut S {
    fn bytes(&self) -> u64 {
        (**self).bytes()
    }
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read(at, buffer)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).write(at, bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        (**self).sync()
    }
}
