//! One block of a record: a header that says whose and which it is, a CRC over all of it, and a part of the record.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | CRC-32 of everything behind, up to the end of the part |
//! | 4..6 | `JB` |
//! | 6 | priority |
//! | 7 | 0 |
//! | 8..16 | boot |
//! | 16..24 | sequence |
//! | 24..26 | place of this block in the record, from 0 |
//! | 26..28 | blocks of the record |
//! | 28..32 | bytes of the part in this block |
//! | 32.. | the part |
//!
//! All numbers are little-endian. A header of zeros is a free block.

use alfred_wire::link::RecordId;
use alfred_wire::record::Priority;

/// Bytes before the part.
pub const HEADER_BYTES: usize = 32;

const MAGIC: [u8; 2] = *b"JB";

/// What a block's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// The record.
    pub id: RecordId,
    /// Its priority.
    pub priority: Priority,
    /// Place of this block in the record, from 0.
    pub place: u16,
    /// Blocks of the record, at least 1.
    pub count: u16,
    /// Bytes of the record in this block.
    pub part_bytes: u32,
}

impl BlockHeader {
    /// Completes a block whose part lies behind the header's place already; returns the bytes to write.
    #[must_use]
    pub fn seal<'b>(&self, block: &'b mut [u8]) -> &'b [u8] {
        let end = (HEADER_BYTES + self.part_bytes as usize).min(block.len());
        let block = &mut block[..end];
        block[4..6].copy_from_slice(&MAGIC);
        block[6] = self.priority as u8;
        block[7] = 0;
        block[8..16].copy_from_slice(&self.id.boot.to_le_bytes());
        block[16..24].copy_from_slice(&self.id.sequence.to_le_bytes());
        block[24..26].copy_from_slice(&self.place.to_le_bytes());
        block[26..28].copy_from_slice(&self.count.to_le_bytes());
        block[28..32].copy_from_slice(&self.part_bytes.to_le_bytes());
        let crc = crc32fast::hash(&block[4..]);
        block[..4].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads a block: its header and its part; `None` for anything but an intact block.
    #[must_use]
    pub fn open(block: &[u8]) -> Option<(Self, &[u8])> {
        let header: &[u8; HEADER_BYTES] = block.first_chunk()?;
        let part_bytes = u32::from_le_bytes([header[28], header[29], header[30], header[31]]);
        let end = HEADER_BYTES.checked_add(usize::try_from(part_bytes).ok()?)?;
        let sealed = block.get(4..end)?;
        let crc = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        if header[4..6] != MAGIC || header[7] != 0 || crc32fast::hash(sealed) != crc {
            return None;
        }
        let long = |at: usize| header[at..at + 8].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let read = Self {
            id: RecordId { boot: long(8), sequence: long(16) },
            priority: Priority::from_number(header[6])?,
            place: u16::from_le_bytes([header[24], header[25]]),
            count: u16::from_le_bytes([header[26], header[27]]),
            part_bytes,
        };
        (read.place < read.count).then_some((read, block.get(HEADER_BYTES..end)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_block_counts() {
        let header = BlockHeader {
            id: RecordId { boot: 0x0102_0304_0506_0708, sequence: 9 },
            priority: Priority::Event,
            place: 1,
            count: 3,
            part_bytes: 5,
        };
        let mut block = [7; 64];
        let sealed = header.seal(&mut block).to_vec();
        assert_eq!(sealed.len(), 37);
        assert_eq!(sealed[4..32], *b"JB\x02\0\x08\x07\x06\x05\x04\x03\x02\x01\x09\0\0\0\0\0\0\0\x01\0\x03\0\x05\0\0\0");
        assert_eq!(BlockHeader::open(&block), Some((header, &[7; 5][..])));
        for bit in 0..8 * sealed.len() {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BlockHeader::open(&flipped), None, "bit {bit}");
        }
        assert_eq!(BlockHeader::open(&sealed[..36]), None);
        assert_eq!(BlockHeader::open(&[0; 64]), None);
    }
}
