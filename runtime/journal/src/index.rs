//! Which blocks belong to which record, in memory of fixed size: made once when the journal is opened.

use alfred_wire::link::RecordId;
use alfred_wire::record::Priority;
use std::collections::VecDeque;

/// A record that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: RecordId,
    pub(crate) priority: Priority,
    /// Its first block.
    pub(crate) first: u32,
    pub(crate) count: u16,
    /// Whether it was handed out on this connection.
    pub(crate) is_sent: bool,
}

/// Blocks and records.
#[derive(Debug)]
pub(crate) struct Index {
    /// The block after each block of a record; the last one points to itself.
    next: Vec<u32>,
    /// Free blocks; the one that was freed first is used first.
    free: VecDeque<u32>,
    /// Free blocks at the end of the list whose freeing is not durable yet.
    fresh: usize,
    records: Vec<Entry>,
    blocks_held: [u32; 3],
}

impl Index {
    pub(crate) fn new(blocks: u32) -> Self {
        Self {
            next: (0..blocks).collect(),
            free: VecDeque::with_capacity(blocks as usize),
            fresh: 0,
            records: Vec::with_capacity(blocks as usize),
            blocks_held: [0; 3],
        }
    }

    pub(crate) fn records(&self) -> &[Entry] {
        &self.records
    }

    pub(crate) fn records_mut(&mut self) -> &mut [Entry] {
        &mut self.records
    }

    pub(crate) fn blocks_held(&self, priority: Priority) -> u32 {
        self.blocks_held[priority as usize]
    }

    pub(crate) fn blocks_free(&self) -> u32 {
        self.free.len() as u32
    }

    /// Whether taking `count` blocks would reach one whose freeing is not durable.
    pub(crate) fn reaches_fresh(&self, count: u32) -> bool {
        count as usize + self.fresh > self.free.len()
    }

    /// All that was freed is durable.
    pub(crate) fn settle(&mut self) {
        self.fresh = 0;
    }

    /// Gives a block back; `is_durable`: its old content can come back in no case.
    pub(crate) fn give_back(&mut self, block: u32, is_durable: bool) {
        if is_durable && self.fresh > 0 {
            self.free.push_front(block);
        } else {
            self.free.push_back(block);
            self.fresh += usize::from(!is_durable);
        }
    }

    /// Takes `count` blocks and chains them; `None` if there are fewer.
    pub(crate) fn take(&mut self, count: u16) -> Option<u32> {
        if count == 0 || self.free.len() < usize::from(count) {
            return None;
        }
        let first = self.free.pop_front()?;
        let mut last = first;
        for _ in 1..count {
            let block = self.free.pop_front()?;
            self.next[last as usize] = block;
            last = block;
        }
        self.next[last as usize] = last;
        self.fresh = self.fresh.min(self.free.len());
        Some(first)
    }

    /// Chains a block behind another one: what the scan found.
    pub(crate) fn chain(&mut self, block: u32, after: Option<u32>) {
        self.next[block as usize] = block;
        if let Some(after) = after {
            self.next[after as usize] = block;
        }
    }

    /// The blocks of a record, in order.
    pub(crate) fn blocks(&self, entry: &Entry) -> impl Iterator<Item = u32> + use<'_> {
        let (mut block, mut left) = (entry.first, entry.count);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let this = block;
            block = *self.next.get(this as usize)?;
            Some(this)
        })
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        self.blocks_held[entry.priority as usize] += u32::from(entry.count);
        self.records.push(entry);
    }

    /// Forgets a record and gives its blocks back.
    pub(crate) fn remove(&mut self, place: usize, is_durable: bool) {
        let entry = self.records.swap_remove(place);
        self.blocks_held[entry.priority as usize] -= u32::from(entry.count);
        let mut block = entry.first;
        for _ in 0..entry.count {
            let next = self.next[block as usize];
            self.give_back(block, is_durable);
            block = next;
        }
    }

    /// The oldest record of the lowest priority among those that `admits`.
    pub(crate) fn oldest_lowest(&self, admits: impl Fn(&Entry) -> bool) -> Option<usize> {
        let admitted = self.records.iter().enumerate().filter(|(_, entry)| admits(entry));
        admitted.min_by_key(|(_, entry)| (entry.priority, entry.id.sequence)).map(|(place, _)| place)
    }

    /// The dearest record that was not handed out, the oldest of those.
    pub(crate) fn dearest_unsent(&self) -> Option<usize> {
        let unsent = self.records.iter().enumerate().filter(|(_, entry)| !entry.is_sent);
        unsent.min_by_key(|(_, entry)| (std::cmp::Reverse(entry.priority), entry.id.sequence)).map(|(place, _)| place)
    }

    pub(crate) fn find(&self, id: RecordId) -> Option<usize> {
        self.records.iter().position(|entry| entry.id == id)
    }
}
