//! Seeded changes of seed inputs: bits, bytes, numbers, cuts, copies, splices, and words that the formats know.

/// Text that readers treat in a special way.
const WORDS: [&[u8]; 28] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b",",
    b":",
    b"null",
    b"true",
    b"NaN",
    b"-1",
    b"0",
    b"1e999",
    b"-1e-999",
    b"18446744073709551616",
    b"9007199254740993",
    b"4294967296",
    b"\xFF\xFE",
    b"\\u0000",
    b"\\ud800",
    b"[[[[[[[[[",
    b"frame",
    b"keypoints",
    b"\n",
    b" = ",
    b"#",
    b"'",
];

/// Makes inputs; the same seed makes the same ones.
pub struct Mutator(u64);

impl Mutator {
    /// A mutator with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 for an empty range.
    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end.max(1)
    }

    /// One of the seeds with one to eight changes.
    pub fn change(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            self.change_once(&mut input, seeds);
        }
        input
    }

    fn change_once(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let (kind, place) = (self.below(10), self.below(input.len()));
        // Mostly short, sometimes anything.
        let reach = if self.below(4) == 0 { input.len() } else { 16 };
        let end = input.len().min(place + self.below(reach) + 1);
        match kind {
            0 | 1 => self.replace(input, place, |byte, random| byte ^ (1 << (random % 8))),
            2 => self.replace(input, place, |_, random| random as u8),
            3 => {
                // The ends of the ranges of bytes, lengths and counts.
                let number = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, u64::MAX >> 1, u64::MAX][self.below(11)];
                let width = 1 << self.below(4);
                input.iter_mut().skip(place).zip(number.to_le_bytes()).take(width).for_each(|(byte, new)| *byte = new);
            }
            4 => drop(input.drain(place..end)),
            5 => input.truncate(place),
            6 | 7 => {
                let word = WORDS[self.below(WORDS.len())];
                let replaced = if kind == 6 { place..place } else { place..end };
                input.splice(replaced, word.iter().copied());
            }
            8 => {
                let copy = input[place..end].to_vec();
                let times = 1 + self.below(20);
                input.splice(place..place, copy.repeat(times));
            }
            _ => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len());
                input.truncate(place);
                input.extend_from_slice(&other[from..]);
            }
        }
    }

    fn replace(&mut self, input: &mut [u8], place: usize, new: impl Fn(u8, u64) -> u8) {
        let random = self.next();
        if let Some(byte) = input.get_mut(place) {
            *byte = new(*byte, random);
        }
    }
}
