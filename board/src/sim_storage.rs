//! Storage in memory, and the power cut: it stops after any byte, and what was not synced may be lost in any order.
//!
//! What it does not model: bytes that rot by themselves, and neighbours of a torn write in the same flash page.

use crate::hal::Storage;
use std::io;

/// A region in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryStorage(pub Vec<u8>);

impl MemoryStorage {
    /// A region of zeros.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(vec![0; bytes])
    }

    fn range(&self, at: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = at.checked_add(length).filter(|end| *end <= self.0.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(at..end)
    }
}

impl Storage for MemoryStorage {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.copy_from_slice(&self.0[self.range(at, buffer.len())?]);
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let range = self.range(at, bytes.len())?;
        self.0[range].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A region whose power goes after a given number of written bytes: the write in question stops in its middle, and from then on
/// everything fails.
#[derive(Clone, Debug)]
pub struct CutStorage {
    /// What is there for good.
    settled: MemoryStorage,
    /// Writes since the last sync.
    pending: Vec<(u64, Vec<u8>)>,
    /// What the process sees.
    seen: MemoryStorage,
    bytes_left: u64,
    writes_left: u64,
    bytes_written: u64,
    syncs: u64,
    is_off: bool,
}

/// What the power cut does to writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All of them are there, up to the byte of the cut.
    Kept,
    /// None of them is.
    Lost,
    /// Each is there, is not, or is there up to some byte, as the seed says.
    Mixed(u64),
}

impl CutStorage {
    /// A region whose power goes after `bytes_left` written bytes.
    #[must_use]
    pub fn new(region: MemoryStorage, bytes_left: u64) -> Self {
        Self {
            settled: region.clone(),
            pending: Vec::new(),
            seen: region,
            bytes_left,
            writes_left: u64::MAX,
            bytes_written: 0,
            syncs: 0,
            is_off: false,
        }
    }

    /// A region whose power goes with the write after `writes` whole ones.
    #[must_use]
    pub fn after_writes(region: MemoryStorage, writes: u64) -> Self {
        Self { writes_left: writes, ..Self::new(region, u64::MAX) }
    }

    /// Whether the power has gone.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.is_off
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Syncs so far.
    #[must_use]
    pub const fn syncs(&self) -> u64 {
        self.syncs
    }

    /// What is found when the power is back.
    #[must_use]
    pub fn after_power_cut(&self, unsynced: Unsynced) -> MemoryStorage {
        let mut found = self.settled.clone();
        let mut state = if let Unsynced::Mixed(seed) = unsynced { seed } else { 0 };
        for (at, bytes) in &self.pending {
            // Knuth's MMIX generator; its upper bits are good enough to toss with.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let kept = match (unsynced, state >> 62) {
                (Unsynced::Kept, _) | (Unsynced::Mixed(_), 0 | 1) => bytes.len(),
                (Unsynced::Lost, _) | (Unsynced::Mixed(_), 2) => 0,
                (Unsynced::Mixed(_), _) => (state >> 33) as usize % (bytes.len() + 1),
            };
            // They fitted when they were written.
            let _ = found.write(*at, &bytes[..kept]);
        }
        found
    }

    fn power(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }
}

impl Storage for CutStorage {
    fn bytes(&self) -> u64 {
        self.seen.bytes()
    }

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.power()?;
        self.seen.read(at, buffer)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.power()?;
        self.seen.range(at, bytes.len())?;
        let kept = usize::try_from(self.bytes_left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let kept = if self.writes_left == 0 { 0 } else { kept };
        self.writes_left = self.writes_left.saturating_sub(1);
        self.seen.write(at, &bytes[..kept])?;
        self.pending.push((at, bytes[..kept].to_vec()));
        self.bytes_left -= kept as u64;
        self.bytes_written += kept as u64;
        self.is_off = kept < bytes.len();
        self.power()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.power()?;
        self.settled = self.seen.clone();
        self.pending.clear();
        self.syncs += 1;
        Ok(())
    }
}

/// A region on a full disk: after so many written bytes every write fails and changes nothing, until there is room again.
#[derive(Debug)]
pub struct FullStorage<S> {
    inner: S,
    bytes_left: u64,
    refused: u64,
}

impl<S> FullStorage<S> {
    /// A region with room for `bytes_left` more written bytes.
    pub const fn new(inner: S, bytes_left: u64) -> Self {
        Self { inner, bytes_left, refused: 0 }
    }

    /// The region below.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Somebody deleted something.
    pub const fn make_room(&mut self, bytes: u64) {
        self.bytes_left = self.bytes_left.saturating_add(bytes);
    }

    /// Writes that were refused.
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

impl<S: Storage> Storage for FullStorage<S> {
    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read(at, buffer)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(left) = self.bytes_left.checked_sub(bytes.len() as u64) else {
            self.refused += 1;
            return Err(io::ErrorKind::StorageFull.into());
        };
        self.inner.write(at, bytes)?;
        self.bytes_left = left;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.inner.sync()
    }
}

/// A region of which every so many writes one fails and changes nothing.
#[derive(Debug)]
pub struct FailingStorage<S> {
    inner: S,
    every: u64,
    writes: u64,
}

impl<S> FailingStorage<S> {
    /// A region whose every `every`-th write fails; 0: none does.
    pub const fn new(inner: S, every: u64) -> Self {
        Self { inner, every, writes: 0 }
    }
}

impl<S: Storage> Storage for FailingStorage<S> {
    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read(at, buffer)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.writes += 1;
        if self.every > 0 && self.writes.is_multiple_of(self.every) {
            return Err(io::Error::other("the simulated board's storage fails now and then: board.sim.storage_fault_every"));
        }
        self.inner.write(at, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.inner.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_goes_after_so_many_writes_and_a_full_disk_refuses_until_there_is_room() {
        let mut storage = CutStorage::after_writes(MemoryStorage::new(8), 2);
        storage.write(0, b"a").and_then(|()| storage.write(1, b"b")).expect("two writes");
        storage.write(2, b"c").expect_err("the third");
        assert!(storage.is_off());
        assert_eq!(storage.after_power_cut(Unsynced::Kept).0, b"ab\0\0\0\0\0\0");
        let mut storage = FullStorage::new(MemoryStorage::new(8), 3);
        storage.write(0, b"abc").expect("room");
        assert_eq!(storage.write(3, b"d").expect_err("full").kind(), io::ErrorKind::StorageFull);
        storage.make_room(1);
        storage.write(3, b"d").expect("room again");
        let mut found = [0; 4];
        storage.read(0, &mut found).and_then(|()| storage.sync()).expect("reading needs no room");
        assert_eq!((&found, storage.refused()), (b"abcd", 1));
    }

    #[test]
    fn every_third_write_fails_and_changes_nothing() {
        let mut storage = FailingStorage::new(MemoryStorage::new(8), 3);
        let written: Vec<bool> = (0..6).map(|at| storage.write(at, b"x").is_ok()).collect();
        assert_eq!(written, [true, true, false, true, true, false]);
        assert_eq!(storage.inner.0, b"xx\0xx\0\0\0");
        assert!((0..9).all(|_| FailingStorage::new(MemoryStorage::new(8), 0).write(0, b"x").is_ok()), "0: none fails");
    }

    #[test]
    fn the_power_goes_in_the_middle_of_a_write() {
        let mut storage = CutStorage::new(MemoryStorage::new(8), 5);
        storage.write(0, b"abc").expect("three bytes");
        storage.sync().expect("power");
        storage.write(4, b"xyz").expect_err("two are left");
        assert!(storage.is_off() && storage.sync().is_err() && storage.read(0, &mut [0]).is_err());
        assert_eq!(storage.after_power_cut(Unsynced::Kept).0, b"abc\0xy\0\0");
        assert_eq!(storage.after_power_cut(Unsynced::Lost).0, b"abc\0\0\0\0\0");
        let kinds: std::collections::BTreeSet<Vec<u8>> =
            (0..50).map(|seed| storage.after_power_cut(Unsynced::Mixed(seed << 58)).0).collect();
        assert_eq!(kinds.len(), 3, "kept, lost, torn");
        assert!(CutStorage::new(MemoryStorage::new(8), 50).write(6, b"abc").is_err(), "beyond the end");
    }
}
