//! Opening: the newer superblock, a scan of every block, and the completion of whatever a power cut left half done.

use crate::block::BlockHeader;
use crate::index::{Entry, Index};
use crate::journal::{BLOCKS_MAX, Journal, JournalError, SEQUENCES_RESERVED, SUPERBLOCKS, Settings, block_at};
use crate::superblock::{Losses, SUPERBLOCK_BYTES, Superblock};
use alfred_board::hal::Storage;

/// What opening found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// There was no journal: one was laid out.
    pub is_new: bool,
    /// Both copies of the superblock were damaged: the counters begin anew.
    pub superblock_lost: bool,
    /// Records that wait.
    pub records: u32,
    /// Records of which a part was damaged (also in the counters).
    pub damaged: u32,
}

pub(crate) fn open<S: Storage>(mut storage: S, settings: Settings) -> Result<(Journal<S>, OpenReport), JournalError> {
    let blocks = check(&storage, &settings)?;
    let mut report = OpenReport::default();
    let superblock = read_superblock(&mut storage, &settings)?;
    if let Some(superblock) = &superblock {
        if superblock.device != settings.device {
            return Err(JournalError::OtherDevice(superblock.device));
        }
        if superblock.block_bytes != settings.block_bytes {
            return Err(JournalError::OtherBlocks(superblock.block_bytes));
        }
    }
    let mut buffer = vec![0; settings.block_bytes as usize];
    let mut found = scan(&mut storage, &settings, blocks, &mut buffer)?;
    report.is_new = superblock.is_none() && found.is_empty();
    report.superblock_lost = superblock.is_none() && !found.is_empty();
    let superblock = superblock.unwrap_or(Superblock {
        generation: 0,
        block_bytes: settings.block_bytes,
        device: settings.device,
        next_sequence: 0,
        going: None,
        losses: Losses::default(),
    });
    let highest = found.iter().map(|(header, _)| header.id.sequence.saturating_add(1)).max().unwrap_or(0);
    let next_sequence = superblock.next_sequence.max(highest);
    let mut journal = Journal { storage, settings, superblock, index: Index::new(blocks), next_sequence, is_erase_pending: false, buffer };
    found.sort_unstable_by_key(|(header, block)| (header.id.sequence, header.id.boot, header.place, *block));
    let mut is_used = vec![false; blocks as usize];
    // First what was going when the power went: judging damaged records forgets which that was.
    if let Some((_, first)) = found.iter().find(|(header, _)| Some(header.id) == superblock.going && header.place == 0) {
        journal.erase(*first)?;
    }
    for group in found.chunk_by(|(one, _), (other, _)| one.id == other.id) {
        if superblock.going != group.first().map(|(header, _)| header.id) {
            judge(&mut journal, group, &mut is_used, &mut report)?;
        }
    }
    for (block, is_used) in is_used.into_iter().enumerate() {
        if !is_used {
            journal.index.give_back(block as u32, true);
        }
    }
    // Numbers up to the reserved one may be in use by appends that nobody will ever see again.
    journal.superblock.next_sequence = next_sequence.saturating_add(SEQUENCES_RESERVED);
    journal.write_superblock()?;
    if report.is_new || report.superblock_lost {
        // The copy at the region's beginning is found whatever size of blocks is asked for later.
        journal.write_superblock()?;
    }
    report.records = journal.waiting().records;
    Ok((journal, report))
}

fn check<S: Storage>(storage: &S, settings: &Settings) -> Result<u32, JournalError> {
    if !settings.block_bytes.is_power_of_two() || !(256..=65_536).contains(&settings.block_bytes) {
        return Err(JournalError::Settings("block_bytes must be a power of two from 256 to 65,536"));
    }
    let blocks = storage.bytes() / u64::from(settings.block_bytes);
    if blocks <= SUPERBLOCKS || blocks > BLOCKS_MAX {
        return Err(JournalError::Settings("the region must hold from 3 to 16,777,216 blocks: change its size"));
    }
    Ok((blocks - SUPERBLOCKS) as u32)
}

/// The newer intact copy.
fn read_superblock<S: Storage>(storage: &mut S, settings: &Settings) -> Result<Option<Superblock>, JournalError> {
    let mut newest: Option<Superblock> = None;
    for copy in 0..SUPERBLOCKS {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        storage.read(copy * u64::from(settings.block_bytes), &mut bytes)?;
        let read = Superblock::decode(&bytes);
        if read.map(|read| read.generation) > newest.map(|newest| newest.generation) {
            newest = read;
        }
    }
    Ok(newest)
}

/// Every intact block.
fn scan<S: Storage>(storage: &mut S, settings: &Settings, blocks: u32, buffer: &mut [u8]) -> Result<Vec<(BlockHeader, u32)>, JournalError> {
    let mut found = Vec::new();
    for block in 0..blocks {
        storage.read(block_at(block, settings.block_bytes), buffer)?;
        if let Some((header, _)) = BlockHeader::open(buffer) {
            found.push((header, block));
        }
    }
    Ok(found)
}

/// Takes the blocks of one record into the index, or leaves them free.
fn judge<S: Storage>(
    journal: &mut Journal<S>,
    group: &[(BlockHeader, u32)],
    is_used: &mut [bool],
    report: &mut OpenReport,
) -> Result<(), JournalError> {
    let Some(&(header, first)) = group.first() else { return Ok(()) };
    let in_order = |(place, (block, _)): (usize, &(BlockHeader, u32))| {
        usize::from(block.place) == place && block.count == header.count && block.priority == header.priority
    };
    let is_whole = group.len() == usize::from(header.count) && group.iter().enumerate().all(in_order);
    if is_whole {
        let mut previous = None;
        for &(_, block) in group {
            journal.index.chain(block, previous);
            previous = Some(block);
            is_used[block as usize] = true;
        }
        journal.index.insert(Entry { id: header.id, priority: header.priority, first, count: header.count, is_sent: false });
        return Ok(());
    }
    // Without its first block: an append that was cut short, or what is left of a record that was freed.
    if header.place != 0 {
        return Ok(());
    }
    report.damaged += 1;
    journal.superblock.losses.damaged += 1;
    journal.announce_going(header.id)?;
    journal.erase(first)
}
