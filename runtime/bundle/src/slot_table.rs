//! What is durable about the slots beside the bundles themselves: the state of each, what was tried, and the last outcome. Two copies.
//!
//! A copy has a generation and a CRC; the newer intact one counts. One write of a copy is one step of the state machine: a power cut in it
//! leaves the step before.

use alfred_wire::link::BundleStage;

/// Bytes of a copy.
pub const TABLE_BYTES: usize = 96;

const MAGIC: [u8; 4] = *b"ALFS";
const VERSION: u8 = 1;

/// Where a bundle in a slot is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum SlotState {
    /// No bundle; the slot's bytes mean nothing.
    Empty = 0,
    /// All bytes are stored.
    Written = 1,
    /// The stored bytes were read back and verified.
    Verified = 2,
    /// It scores beside the live one.
    Shadow = 3,
    /// It decides, on probation.
    Trial = 4,
    /// It decides for good.
    Confirmed = 5,
}

impl SlotState {
    const ALL: [Self; 6] = [Self::Empty, Self::Written, Self::Verified, Self::Shadow, Self::Trial, Self::Confirmed];
}

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Where its bundle is on its way.
    pub state: SlotState,
    /// Bytes of the bundle.
    pub bytes: u32,
    /// CRC-32 of the bundle.
    pub crc: u32,
    /// The bundle's revision.
    pub revision: u64,
}

impl Slot {
    /// A slot without a bundle.
    pub const EMPTY: Self = Self { state: SlotState::Empty, bytes: 0, crc: 0, revision: 0 };
}

/// How the way of a bundle ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its revision.
    pub revision: u64,
    /// `Confirmed`, `Refused` or `Reverted`.
    pub stage: BundleStage,
    /// Number of the reason's code; 0: none.
    pub code: u16,
}

/// Both slots and what else must not be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotTable {
    /// Rises with every write.
    pub generation: u64,
    /// The slots A and B.
    pub slots: [Slot; 2],
    /// The highest revision that was ever in shadow or on trial.
    pub highest_tried: u64,
    /// Starts of the process since the present shadow or trial began.
    pub starts: u8,
    /// An outcome that nobody has been told of yet.
    pub untold: Option<Outcome>,
}

impl SlotTable {
    /// Two empty slots.
    pub const EMPTY: Self = Self { generation: 0, slots: [Slot::EMPTY; 2], highest_tried: 0, starts: 0, untold: None };

    /// The bytes of a copy.
    #[must_use]
    pub fn encode(&self) -> [u8; TABLE_BYTES] {
        let mut bytes = [0; TABLE_BYTES];
        bytes[4..8].copy_from_slice(&MAGIC);
        bytes[8] = VERSION;
        bytes[9] = self.starts;
        bytes[16..24].copy_from_slice(&self.generation.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.highest_tried.to_le_bytes());
        for (slot, place) in self.slots.iter().zip(bytes[32..].as_chunks_mut::<20>().0) {
            place[0] = slot.state as u8;
            place[4..8].copy_from_slice(&slot.bytes.to_le_bytes());
            place[8..12].copy_from_slice(&slot.crc.to_le_bytes());
            place[12..20].copy_from_slice(&slot.revision.to_le_bytes());
        }
        if let Some(outcome) = &self.untold {
            bytes[10] = match outcome.stage {
                BundleStage::Confirmed => 1,
                BundleStage::Reverted => 2,
                _ => 3,
            };
            bytes[12..14].copy_from_slice(&outcome.code.to_le_bytes());
            bytes[72..80].copy_from_slice(&outcome.revision.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a copy; `None` for anything but an intact one of this version.
    #[must_use]
    pub fn decode(bytes: &[u8; TABLE_BYTES]) -> Option<Self> {
        let crc = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if bytes[4..8] != MAGIC || bytes[8] != VERSION || crc32fast::hash(&bytes[4..]) != crc {
            return None;
        }
        let long = |at: usize| bytes[at..at + 8].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let short = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut slots = [Slot::EMPTY; 2];
        for (place, slot) in slots.iter_mut().enumerate() {
            let at = 32 + 20 * place;
            let state = *SlotState::ALL.get(usize::from(bytes[at]))?;
            *slot = Slot { state, bytes: short(at + 4), crc: short(at + 8), revision: long(at + 12) };
        }
        let stage = [None, Some(BundleStage::Confirmed), Some(BundleStage::Reverted), Some(BundleStage::Refused)];
        let stage = *stage.get(usize::from(bytes[10]))?;
        let code = u16::from_le_bytes([bytes[12], bytes[13]]);
        let untold = stage.map(|stage| Outcome { revision: long(72), stage, code });
        Some(Self { generation: long(16), slots, highest_tried: long(24), starts: bytes[9], untold })
    }

    /// The confirmed slot.
    #[must_use]
    pub fn confirmed(&self) -> Option<usize> {
        self.slots.iter().position(|slot| slot.state == SlotState::Confirmed)
    }

    /// The slot whose bundle is on its way.
    #[must_use]
    pub fn candidate(&self) -> Option<usize> {
        self.slots.iter().position(|slot| !matches!(slot.state, SlotState::Empty | SlotState::Confirmed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_copy_counts() {
        let slot = |state, revision| Slot { state, bytes: 3000, crc: 0xC0FFEE, revision };
        for (state, untold) in [
            (SlotState::Trial, None),
            (SlotState::Empty, Some(Outcome { revision: 9, stage: BundleStage::Reverted, code: 205 })),
            (SlotState::Shadow, Some(Outcome { revision: 8, stage: BundleStage::Refused, code: 103 })),
            (SlotState::Written, Some(Outcome { revision: 8, stage: BundleStage::Confirmed, code: 0 })),
        ] {
            let slots = [slot(SlotState::Confirmed, 7), slot(state, 8)];
            let table = SlotTable { generation: 5, slots, highest_tried: 8, starts: 2, untold };
            let bytes = table.encode();
            assert_eq!(SlotTable::decode(&bytes), Some(table));
            assert_eq!(table.confirmed(), Some(0));
            assert_eq!(table.candidate(), (state != SlotState::Empty).then_some(1));
            for bit in 0..8 * bytes.len() {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(SlotTable::decode(&flipped), None, "bit {bit}");
            }
        }
    }
}
