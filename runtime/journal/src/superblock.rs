//! What the journal knows beside its records: whose it is, which numbers are given out, and what was lost. Two copies, written in turn.
//!
//! A copy is one block with a generation and a CRC; the newer intact one counts, so a torn write leaves the older one. Whatever changes
//! here is durable before the blocks that it is about are touched.

use alfred_wire::link::RecordId;
use alfred_wire::name::{NAME_BYTES_MAX, Name};

/// Bytes of a copy.
pub const SUPERBLOCK_BYTES: usize = 208;

const MAGIC: [u8; 4] = *b"ALFJ";
const VERSION: u16 = 1;

/// Records that the host will never get. Indices are priorities: samples, band, events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Gave way to a dearer or newer record.
    pub evicted: [u64; 3],
    /// Found no room among dearer ones, or larger than the region.
    pub refused: [u64; 3],
    /// Damaged in storage.
    pub damaged: u64,
}

impl Losses {
    /// Records lost by priority: evicted and refused.
    #[must_use]
    pub fn by_priority(&self) -> [u64; 3] {
        core::array::from_fn(|place| self.evicted[place] + self.refused[place])
    }
}

/// The journal's own facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Rises with every write.
    pub generation: u64,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// The device whose journal it is.
    pub device: Name,
    /// All numbers below are given out.
    pub next_sequence: u64,
    /// The record whose loss was counted last: should it still be there, it is freed and not counted again.
    pub going: Option<RecordId>,
    /// What was lost.
    pub losses: Losses,
}

/// Writes numbers one after another.
struct Cursor<'b>(&'b mut [u8], usize);

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.0.get_mut(self.1..self.1 + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.1 += bytes.len();
    }
}

impl Superblock {
    /// The bytes of a copy.
    #[must_use]
    pub fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        let mut cursor = Cursor(&mut bytes, 4);
        cursor.put(&MAGIC);
        cursor.put(&VERSION.to_le_bytes());
        cursor.put(&[self.device.as_str().len() as u8, u8::from(self.going.is_some())]);
        cursor.put(&self.block_bytes.to_le_bytes());
        let going = self.going.unwrap_or(RecordId { boot: 0, sequence: 0 });
        let losses = &self.losses;
        let numbers = [self.generation, self.next_sequence, going.boot, going.sequence, losses.damaged];
        for number in numbers.iter().chain(&losses.evicted).chain(&losses.refused) {
            cursor.put(&number.to_le_bytes());
        }
        cursor.put(self.device.as_str().as_bytes());
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a copy; `None` for anything but an intact one of this version.
    #[must_use]
    pub fn decode(bytes: &[u8; SUPERBLOCK_BYTES]) -> Option<Self> {
        let crc = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if bytes[4..8] != MAGIC || bytes[8..10] != VERSION.to_le_bytes() || crc32fast::hash(&bytes[4..]) != crc {
            return None;
        }
        let number = |place: usize| {
            let at = NUMBERS_AT + 8 * place;
            bytes[at..at + 8].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let name = bytes.get(NAME_AT..NAME_AT + usize::from(bytes[10]))?;
        Some(Self {
            generation: number(0),
            block_bytes: u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]),
            device: Name::from_bytes(name).ok()?,
            next_sequence: number(1),
            going: (bytes[11] == 1).then(|| RecordId { boot: number(2), sequence: number(3) }),
            losses: Losses {
                damaged: number(4),
                evicted: core::array::from_fn(|place| number(5 + place)),
                refused: core::array::from_fn(|place| number(8 + place)),
            },
        })
    }
}

const NUMBERS_AT: usize = 16;
const NAME_AT: usize = NUMBERS_AT + 8 * 11;

const _: () = assert!(NAME_AT + NAME_BYTES_MAX <= SUPERBLOCK_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_copy_counts() {
        let superblock = Superblock {
            generation: 1,
            block_bytes: 4096,
            device: Name::new(&"x".repeat(64)).expect("a name"),
            next_sequence: 2,
            going: Some(RecordId { boot: 3, sequence: 4 }),
            losses: Losses { evicted: [5, 6, 7], refused: [8, 9, 10], damaged: 11 },
        };
        let bytes = superblock.encode();
        assert_eq!(Superblock::decode(&bytes), Some(superblock));
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Superblock::decode(&flipped), None, "bit {bit}");
        }
        assert_eq!(superblock.losses.by_priority(), [13, 15, 17]);
    }
}
