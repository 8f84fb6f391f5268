//! Whole numbers in groups of four bits: three of the number, one that says whether it goes on. Small numbers take half a byte.

/// Most groups of one number: 64 bits in threes.
const GROUPS_MAX: u32 = 22;

/// Writes numbers into bytes; stops for good when they are full.
#[derive(Debug)]
pub(crate) struct NibbleWriter<'b> {
    bytes: &'b mut [u8],
    /// Groups written.
    length: usize,
}

impl<'b> NibbleWriter<'b> {
    pub(crate) const fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, length: 0 }
    }

    /// Where it stands, to come back to.
    pub(crate) const fn mark(&self) -> usize {
        self.length
    }

    /// Back to a mark.
    pub(crate) fn rewind(&mut self, mark: usize) {
        self.length = mark;
        if let (1, Some(byte)) = (mark % 2, self.bytes.get_mut(mark / 2)) {
            *byte &= 0x0F;
        }
    }

    /// Bytes that hold something; half of the last one may be empty.
    pub(crate) const fn bytes_used(&self) -> usize {
        self.length.div_ceil(2)
    }

    fn group(&mut self, group: u8) -> Option<()> {
        let byte = self.bytes.get_mut(self.length / 2)?;
        *byte = if self.length.is_multiple_of(2) { group } else { *byte | group << 4 };
        self.length += 1;
        Some(())
    }

    /// Four bits as they are.
    pub(crate) fn plain(&mut self, bits: u8) -> Option<()> {
        self.group(bits & 0x0F)
    }

    /// A number from 0 on; `None`: there is no room, and what was written of it must be taken back.
    pub(crate) fn unsigned(&mut self, mut number: u64) -> Option<()> {
        loop {
            let more = number > 7;
            self.group((number & 7) as u8 | u8::from(more) << 3)?;
            number >>= 3;
            if !more {
                return Some(());
            }
        }
    }

    /// A number of either sign: small distances from 0 take few bits.
    pub(crate) fn signed(&mut self, number: i64) -> Option<()> {
        self.unsigned((number << 1 ^ number >> 63) as u64)
    }
}

/// Reads what [`NibbleWriter`] wrote.
#[derive(Debug)]
pub(crate) struct NibbleReader<'b> {
    bytes: &'b [u8],
    taken: usize,
}

impl<'b> NibbleReader<'b> {
    pub(crate) const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, taken: 0 }
    }

    /// Four bits as they are.
    pub(crate) fn plain(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.taken / 2)?;
        let group = if self.taken.is_multiple_of(2) { byte & 0x0F } else { byte >> 4 };
        self.taken += 1;
        Some(group)
    }

    /// A number from 0 on; `None` at the end of the bytes and for a number beyond 64 bits.
    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for place in 0..GROUPS_MAX {
            let group = self.plain()?;
            let bits = u64::from(group & 7);
            // The last group has one bit's room.
            if place + 1 == GROUPS_MAX && bits > 1 {
                return None;
            }
            number |= bits << (3 * place);
            if group & 8 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A number of either sign.
    pub(crate) fn signed(&mut self) -> Option<i64> {
        let number = self.unsigned()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Whether nothing but an empty half byte is left.
    pub(crate) fn is_at_end(&mut self) -> bool {
        match self.bytes.len().checked_sub(self.taken.div_ceil(2)) {
            Some(0) => self.taken.is_multiple_of(2) || self.plain() == Some(0),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in proptest::collection::vec((any::<i64>(), 0_u32..64), 0..40), spoilt in any::<u8>()) {
            let numbers: Vec<i64> = numbers.into_iter().map(|(number, shift)| number >> shift).collect();
            // Whatever lay there before does not matter.
            let mut bytes = [spoilt; 1000];
            let mut writer = NibbleWriter::new(&mut bytes);
            for &number in &numbers {
                writer.signed(number).expect("room");
                writer.unsigned(number as u64).expect("room");
                let mark = writer.mark();
                writer.signed(-77).expect("room");
                writer.rewind(mark);
            }
            let used = writer.bytes_used();
            let mut reader = NibbleReader::new(&bytes[..used]);
            for &number in &numbers {
                prop_assert_eq!((reader.signed(), reader.unsigned()), (Some(number), Some(number as u64)));
            }
            prop_assert!(reader.is_at_end());
        }
    }

    #[test]
    fn small_numbers_are_short_and_full_or_overlong_bytes_are_noticed() {
        let mut bytes = [0; 1];
        let mut writer = NibbleWriter::new(&mut bytes);
        assert_eq!((writer.signed(-4), writer.signed(3), writer.signed(0)), (Some(()), Some(()), None));
        assert_eq!(bytes, [0x67]);
        assert_eq!(NibbleReader::new(&[0xFF; 20]).unsigned(), None);
        assert_eq!(NibbleReader::new(&[0x8F]).unsigned(), None);
        let mut reader = NibbleReader::new(&[0x11]);
        assert!(!reader.is_at_end());
        let _ = reader.unsigned();
        assert!(!reader.is_at_end(), "a half byte that is not empty");
    }
}
