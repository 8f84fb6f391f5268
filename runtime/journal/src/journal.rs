//! The journal: append, hand out, free. Every call leaves storage so that a power cut at any byte of it loses nothing that was promised.

use crate::block::{BlockHeader, HEADER_BYTES};
use crate::index::{Entry, Index};
use crate::open::{self, OpenReport};
use crate::superblock::{Losses, SUPERBLOCK_BYTES, Superblock};
use alfred_board::hal::Storage;
use alfred_wire::link::RecordId;
use alfred_wire::name::Name;
use alfred_wire::record::Priority;
use std::io;

/// Blocks of a journal at most: 64 GiB in blocks of 4,096 bytes are far beyond any use, and the index takes 40 bytes each.
pub const BLOCKS_MAX: u64 = 1 << 24;
/// Bytes of a block if the settings do not say otherwise: no torn write touches a neighbour on real storage.
pub const JOURNAL_BLOCK_BYTES: u32 = 4096;
/// Blocks that hold the superblock's two copies.
pub(crate) const SUPERBLOCKS: u64 = 2;
/// Numbers that are given out per write of the superblock.
pub(crate) const SEQUENCES_RESERVED: u64 = 1 << 16;

/// How a journal is laid out, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The device.
    pub device: Name,
    /// Random number of this start of the process.
    pub boot: u64,
    /// Bytes of a block, 256 to 65,536, a power of two; 4,096 on real storage, so that no torn write touches a neighbour.
    pub block_bytes: u32,
    /// Largest share of the blocks that each priority may hold, in percent: samples, band, events.
    pub quota_percent: [u8; 3],
}

impl Settings {
    /// Blocks of 4,096 bytes; samples and band may fill half of the journal each, events all of it.
    #[must_use]
    pub const fn new(device: Name, boot: u64) -> Self {
        Self { device, boot, block_bytes: JOURNAL_BLOCK_BYTES, quota_percent: [50, 50, 100] }
    }
}

/// Why the journal could not do something.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Storage failed.
    #[error("the journal's storage: {0}: check the disk; records that are there stay there")]
    Storage(#[from] io::Error),
    /// The settings cannot be used with this region.
    #[error("the journal's settings: {0}")]
    Settings(&'static str),
    /// The region is another device's journal.
    #[error("this is the journal of device {0}: give its name in the configuration, or move the file away")]
    OtherDevice(Name),
    /// The region was laid out with other blocks.
    #[error("the journal has blocks of {0} bytes: give that size, or move the file away")]
    OtherBlocks(u32),
    /// There is no room among dearer records, or the record is larger than its quota. It is counted as refused.
    #[error("a record of {bytes} bytes finds no room: the host must take what waits, or the journal must be larger")]
    Full {
        /// The record's bytes.
        bytes: usize,
    },
    /// A caller's buffer is too small for the record.
    #[error("a record of {bytes} bytes, the buffer holds fewer: give one of RECORD_BYTES_MAX")]
    Buffer {
        /// The record's bytes.
        bytes: usize,
    },
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The record's name.
    pub id: RecordId,
    /// Records that gave way to it.
    pub evicted: u32,
}

/// What waits for the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Records.
    pub records: u32,
    /// Bytes of storage that they hold.
    pub bytes: u64,
    /// Records that have not been handed out on this connection.
    pub unsent: u32,
}

/// A record that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handed<'b> {
    /// Its name.
    pub id: RecordId,
    /// How dear it is.
    pub priority: Priority,
    /// Its content, byte by byte what was appended.
    pub body: &'b [u8],
}

/// The journal over a region of storage. Allocates when it is opened and never after.
#[derive(Debug)]
pub struct Journal<S> {
    pub(crate) storage: S,
    pub(crate) settings: Settings,
    pub(crate) superblock: Superblock,
    pub(crate) index: Index,
    pub(crate) next_sequence: u64,
    /// Whether some block was erased since the last sync.
    pub(crate) is_erase_pending: bool,
    /// One block.
    pub(crate) buffer: Vec<u8>,
}

impl<S: Storage> Journal<S> {
    /// Opens the journal, and lays a new one out where there is none. Cut-short appends vanish, cut-short evictions are completed.
    ///
    /// # Errors
    /// [`JournalError`]; a damaged region is no error: what is intact is kept, and the report says what was not.
    pub fn open(storage: S, settings: Settings) -> Result<(Self, OpenReport), JournalError> {
        open::open(storage, settings)
    }

    /// Appends a record; when this returns, it is there for good. To make room, records of lower or the same priority give way, the
    /// lowest and oldest first.
    ///
    /// # Errors
    /// [`JournalError::Full`]; [`JournalError::Storage`]: the record may or may not be there after the next start.
    pub fn append(&mut self, priority: Priority, body: &[u8]) -> Result<Appended, JournalError> {
        let part_max = self.settings.block_bytes as usize - HEADER_BYTES;
        let needed = body.len().div_ceil(part_max).max(1);
        let quota = self.quota(priority);
        let Some(count) = u16::try_from(needed).ok().filter(|count| u32::from(*count) <= quota && self.can_make_room(priority, *count))
        else {
            self.superblock.losses.refused[priority as usize] += 1;
            self.write_superblock()?;
            return Err(JournalError::Full { bytes: body.len() });
        };
        let evicted = self.make_room(priority, count, quota)?;
        if self.index.reaches_fresh(u32::from(count)) {
            self.sync()?;
        }
        let id = self.next_id()?;
        let first = self.index.take(count).ok_or(JournalError::Full { bytes: body.len() })?;
        let entry = Entry { id, priority, first, count, is_sent: false };
        self.index.insert(entry);
        if let Err(error) = self.write_record(&entry, body) {
            // What is half there is overwritten by the next record.
            self.index.remove(self.index.records().len() - 1, false);
            return Err(error);
        }
        Ok(Appended { id, evicted })
    }

    /// Hands out the dearest, then oldest, record that was not handed out yet; `None`: there is no other. A record whose bytes have
    /// been damaged is counted and skipped.
    ///
    /// # Errors
    /// [`JournalError::Buffer`], [`JournalError::Storage`].
    pub fn next_unsent<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<Handed<'b>>, JournalError> {
        loop {
            let Some(place) = self.index.dearest_unsent() else { return Ok(None) };
            let entry = self.index.records()[place];
            match self.read_record(&entry, buffer)? {
                Some(length) => {
                    self.index.records_mut()[place].is_sent = true;
                    return Ok(Some(Handed { id: entry.id, priority: entry.priority, body: &buffer[..length] }));
                }
                None => {
                    self.superblock.losses.damaged += 1;
                    self.let_go(place)?;
                }
            }
        }
    }

    /// A new connection: what was handed out without a receipt is handed out again.
    pub fn rewind(&mut self) {
        self.index.records_mut().iter_mut().for_each(|entry| entry.is_sent = false);
    }

    /// The host has the record: it is freed. False: there is no such record (a second receipt), which is no fault. Should the power go
    /// at once, the record may come back and be sent again: the host knows its name.
    ///
    /// # Errors
    /// [`JournalError::Storage`].
    pub fn receipt(&mut self, id: RecordId) -> Result<bool, JournalError> {
        let Some(place) = self.index.find(id) else { return Ok(false) };
        self.erase(self.index.records()[place].first)?;
        self.index.remove(place, false);
        Ok(true)
    }

    /// What waits for the host.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let records = self.index.records();
        let blocks: u64 = Priority::ALL.iter().map(|priority| u64::from(self.index.blocks_held(*priority))).sum();
        Waiting {
            records: records.len() as u32,
            bytes: blocks * u64::from(self.settings.block_bytes),
            unsent: records.iter().filter(|entry| !entry.is_sent).count() as u32,
        }
    }

    /// What the host will never get, since the journal was laid out; survives restarts.
    #[must_use]
    pub const fn losses(&self) -> &Losses {
        &self.superblock.losses
    }

    /// Records of a priority that wait.
    #[must_use]
    pub fn records_of(&self, priority: Priority) -> u32 {
        self.index.records().iter().filter(|entry| entry.priority == priority).count() as u32
    }

    fn blocks(&self) -> u32 {
        (self.storage.bytes() / u64::from(self.settings.block_bytes) - SUPERBLOCKS) as u32
    }

    fn quota(&self, priority: Priority) -> u32 {
        (u64::from(self.blocks()) * u64::from(self.settings.quota_percent[priority as usize].min(100)) / 100) as u32
    }

    /// Whether enough blocks are free or held by records that may give way.
    fn can_make_room(&self, priority: Priority, count: u16) -> bool {
        let lower = Priority::ALL.iter().filter(|other| **other <= priority);
        let room: u32 = lower.map(|other| self.index.blocks_held(*other)).sum();
        self.index.blocks_free() + room >= u32::from(count)
    }

    /// Evicts until `count` blocks are free and within the quota. [`Journal::can_make_room`] has said that it ends.
    fn make_room(&mut self, priority: Priority, count: u16, quota: u32) -> Result<u32, JournalError> {
        let mut evicted = 0;
        loop {
            let over_quota = self.index.blocks_held(priority) + u32::from(count) > quota;
            if !over_quota && self.index.blocks_free() >= u32::from(count) {
                return Ok(evicted);
            }
            let victim = self.index.oldest_lowest(|entry| if over_quota { entry.priority == priority } else { entry.priority <= priority });
            let Some(victim) = victim else { return Ok(evicted) };
            self.superblock.losses.evicted[self.index.records()[victim].priority as usize] += 1;
            self.let_go(victim)?;
            evicted += 1;
        }
    }

    /// Frees a record whose loss is counted: first the count is made durable together with the record's name, then it is erased. Should
    /// the power go in between, opening completes it without counting again.
    fn let_go(&mut self, place: usize) -> Result<(), JournalError> {
        let entry = self.index.records()[place];
        self.announce_going(entry.id)?;
        self.erase(entry.first)?;
        self.index.remove(place, true);
        Ok(())
    }

    /// Makes counters and the name of the record that goes next durable, but not before the previous one is erased for good: its name is
    /// forgotten here.
    pub(crate) fn announce_going(&mut self, id: RecordId) -> Result<(), JournalError> {
        if self.is_erase_pending {
            self.sync()?;
        }
        self.superblock.going = Some(id);
        self.write_superblock()
    }

    fn next_id(&mut self) -> Result<RecordId, JournalError> {
        if self.next_sequence >= self.superblock.next_sequence {
            self.superblock.next_sequence = self.next_sequence + SEQUENCES_RESERVED;
            self.write_superblock()?;
        }
        let id = RecordId { boot: self.settings.boot, sequence: self.next_sequence };
        // Given out even if the write fails: half of a record may lie there under this name.
        self.next_sequence += 1;
        Ok(id)
    }

    /// Writes the blocks, the first one last, and makes them durable.
    fn write_record(&mut self, entry: &Entry, body: &[u8]) -> Result<(), JournalError> {
        let part_max = self.settings.block_bytes as usize - HEADER_BYTES;
        let mut parts = body.chunks(part_max);
        let first_part = parts.next().unwrap_or_default();
        for (place, (block, part)) in self.index.blocks(entry).skip(1).zip(parts).enumerate() {
            let place = place as u16 + 1;
            write_block(&mut self.storage, &mut self.buffer, entry, place, block, part)?;
        }
        // A first block means that the others are there: so a record with a hole was damaged, and is no cut-short append.
        if entry.count > 1 {
            self.storage.sync()?;
        }
        write_block(&mut self.storage, &mut self.buffer, entry, 0, entry.first, first_part)?;
        self.sync()
    }

    /// Reads a record into `out`; `None` if a block is not what it should be.
    fn read_record(&mut self, entry: &Entry, out: &mut [u8]) -> Result<Option<usize>, JournalError> {
        let mut length = 0;
        for (place, block) in self.index.blocks(entry).enumerate() {
            self.storage.read(block_at(block, self.settings.block_bytes), &mut self.buffer)?;
            let Some((header, part)) = BlockHeader::open(&self.buffer) else { return Ok(None) };
            if (header.id, header.place, header.count) != (entry.id, place as u16, entry.count) {
                return Ok(None);
            }
            let end = length + part.len();
            let bytes = usize::from(entry.count) * (self.settings.block_bytes as usize - HEADER_BYTES);
            out.get_mut(length..end).ok_or(JournalError::Buffer { bytes })?.copy_from_slice(part);
            length = end;
        }
        Ok(Some(length))
    }

    pub(crate) fn erase(&mut self, block: u32) -> Result<(), JournalError> {
        self.storage.write(block_at(block, self.settings.block_bytes), &[0; HEADER_BYTES])?;
        self.is_erase_pending = true;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.storage.sync()?;
        self.is_erase_pending = false;
        self.index.settle();
        Ok(())
    }

    pub(crate) fn write_superblock(&mut self) -> Result<(), JournalError> {
        self.superblock.generation += 1;
        let at = self.superblock.generation % SUPERBLOCKS * u64::from(self.settings.block_bytes);
        let bytes: [u8; SUPERBLOCK_BYTES] = self.superblock.encode();
        self.storage.write(at, &bytes)?;
        self.sync()
    }
}

fn write_block<S: Storage>(
    storage: &mut S,
    buffer: &mut [u8],
    entry: &Entry,
    place: u16,
    block: u32,
    part: &[u8],
) -> Result<(), JournalError> {
    buffer[HEADER_BYTES..HEADER_BYTES + part.len()].copy_from_slice(part);
    let header = BlockHeader { id: entry.id, priority: entry.priority, place, count: entry.count, part_bytes: part.len() as u32 };
    let block_bytes = buffer.len() as u32;
    storage.write(block_at(block, block_bytes), header.seal(buffer))?;
    Ok(())
}

/// Bytes of memory that a journal over `region_bytes` of storage holds.
#[must_use]
pub const fn memory_bytes(region_bytes: u64, block_bytes: u32) -> u64 {
    region_bytes / block_bytes as u64 * (2 * size_of::<u32>() + size_of::<Entry>()) as u64 + block_bytes as u64
}

/// Where a data block lies.
pub(crate) fn block_at(block: u32, block_bytes: u32) -> u64 {
    (SUPERBLOCKS + u64::from(block)) * u64::from(block_bytes)
}
