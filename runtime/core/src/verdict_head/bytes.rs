//! A head as bytes of one fixed length, little-endian: version, features, directions, 0; the scalars (f32); means,
//! inverse deviations (i16), weights (i8); directions (4 bits each, two to a byte). A signed bundle carries them, so there is no checksum of their own.

use super::fault::HeadFault;
use super::features::{FEATURE_KINDS, HEAD_FEATURES};
use super::head::{HEAD_DIRECTIONS, Scalars, VerdictHead};

const VERSION: u8 = 2;
/// Version, features and directions: a build with another shape does not read these bytes.
const PREFIX: [u8; 4] = [VERSION, HEAD_FEATURES as u8, HEAD_DIRECTIONS as u8, 0];
const SCALARS: usize = 11 + 2 * FEATURE_KINDS + HEAD_DIRECTIONS;

/// Length of a head in bytes.
pub const HEAD_BYTES: usize = PREFIX.len() + 4 * SCALARS + HEAD_FEATURES * (2 + 2 + 1 + HEAD_DIRECTIONS / 2);

const _: () = {
    assert!(HEAD_FEATURES <= u8::MAX as usize);
    assert!(HEAD_DIRECTIONS <= u8::MAX as usize);
    // Beside STG-NF's weights a bundle of 4,096 bytes has room for so much.
    assert!(HEAD_BYTES <= 1352);
    // Directions go in pairs.
    assert!(HEAD_DIRECTIONS.is_multiple_of(2));
};

/// Writes one number after the other into a fixed array.
struct Writer {
    bytes: [u8; HEAD_BYTES],
    at: usize,
}

impl Writer {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        // The length is a constant that counts every number: nothing is ever left over.
        if let Some(room) = self.bytes.get_mut(self.at..self.at + N) {
            room.copy_from_slice(&bytes);
        }
        self.at += N;
    }
}

/// Reads one number after the other.
struct Reader<'b> {
    bytes: &'b [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        // The length was checked before the first number.
        let Some((taken, rest)) = self.bytes.split_first_chunk::<N>() else { return [0; N] };
        self.bytes = rest;
        *taken
    }

    fn number(&mut self) -> f32 {
        f32::from_le_bytes(self.take())
    }
}

impl VerdictHead {
    /// The head as bytes. The same head gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEAD_BYTES] {
        let mut writer = Writer { bytes: [0; HEAD_BYTES], at: 0 };
        writer.put(PREFIX);
        for number in self.scalars.in_order() {
            writer.put(number.to_le_bytes());
        }
        for whole in self.means.iter().chain(&self.inverse_deviations) {
            writer.put(whole.to_le_bytes());
        }
        for whole in &self.weights {
            writer.put(whole.to_le_bytes());
        }
        for pair in self.directions.as_flattened().as_chunks::<2>().0 {
            writer.put([pack(*pair)]);
        }
        debug_assert_eq!(writer.at, HEAD_BYTES);
        writer.bytes
    }

    /// Reads [`VerdictHead::to_bytes`] back.
    ///
    /// # Errors
    /// [`HeadFault`] for another length or version, and for numbers with which some window would have no score.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HeadFault> {
        if bytes.len() != HEAD_BYTES {
            return Err(HeadFault::Length { found: bytes.len() });
        }
        let mut reader = Reader { bytes };
        let prefix: [u8; PREFIX.len()] = reader.take();
        if prefix != PREFIX {
            return Err(HeadFault::Version { found: prefix[0] });
        }
        let mut numbers = [0.0; SCALARS];
        numbers.iter_mut().for_each(|number| *number = reader.number());
        let mut head = Self {
            scalars: Scalars::from_order(&numbers),
            means: [0; HEAD_FEATURES],
            inverse_deviations: [0; HEAD_FEATURES],
            weights: [0; HEAD_FEATURES],
            directions: [[0; HEAD_DIRECTIONS]; HEAD_FEATURES],
        };
        for whole in head.means.iter_mut().chain(&mut head.inverse_deviations) {
            *whole = i16::from_le_bytes(reader.take());
        }
        for whole in &mut head.weights {
            *whole = i8::from_le_bytes(reader.take());
        }
        for pair in head.directions.as_flattened_mut().as_chunks_mut::<2>().0 {
            *pair = unpack(u8::from_le_bytes(reader.take()));
        }
        head.check().map(|()| head)
    }
}

impl Scalars {
    fn in_order(&self) -> [f32; SCALARS] {
        let single = [
            self.weight_scale,
            self.verdict_bias,
            self.verdict_floor,
            self.rest_gain,
            self.distance_mean,
            self.distance_deviation,
            self.density_mean,
            self.density_deviation,
            self.verdict_share,
            self.distance_share,
            self.density_share,
        ];
        let mut numbers = [0.0; SCALARS];
        let all = single.iter().chain(&self.mean_scales).chain(&self.inverse_scales).chain(&self.direction_gains);
        numbers.iter_mut().zip(all).for_each(|(out, number)| *out = *number);
        numbers
    }

    fn from_order(numbers: &[f32; SCALARS]) -> Self {
        let [
            weight_scale,
            verdict_bias,
            verdict_floor,
            rest_gain,
            distance_mean,
            distance_deviation,
            density_mean,
            density_deviation,
            verdict_share,
            distance_share,
            density_share,
            groups @ ..,
        ] = *numbers;
        let (mut mean_scales, mut inverse_scales) = ([0.0; FEATURE_KINDS], [0.0; FEATURE_KINDS]);
        let mut direction_gains = [0.0; HEAD_DIRECTIONS];
        let all = mean_scales.iter_mut().chain(&mut inverse_scales).chain(&mut direction_gains);
        all.zip(groups).for_each(|(out, number)| *out = number);
        Self {
            mean_scales,
            inverse_scales,
            weight_scale,
            direction_gains,
            verdict_bias,
            verdict_floor,
            rest_gain,
            distance_mean,
            distance_deviation,
            density_mean,
            density_deviation,
            verdict_share,
            distance_share,
            density_share,
        }
    }
}

/// Two numbers from -8 to 7 in one byte, the first one in the low half.
fn pack(pair: [i8; 2]) -> u8 {
    (pair[0] as u8 & 0x0f) | (pair[1] as u8) << 4
}

/// [`pack`] undone.
fn unpack(byte: u8) -> [i8; 2] {
    [((byte << 4) as i8) >> 4, (byte as i8) >> 4]
}
