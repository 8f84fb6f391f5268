//! numpy arrays: their element types, and how their numbers are found in bytes.

use crate::value::Value;

/// Axes of an array at most.
pub const RANK_MAX: usize = 4;

/// Element type of an array; little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberType {
    /// `float32`
    F32,
    /// `float64`
    F64,
    /// `int8`
    I8,
    /// `int16`
    I16,
    /// `int32`
    I32,
    /// `int64`
    I64,
    /// `uint8`
    U8,
    /// `uint16`
    U16,
    /// `uint32`
    U32,
}

impl NumberType {
    /// By numpy's short name, such as `f4`.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name.strip_prefix(['<', '|']).unwrap_or(name) {
            "f4" => Self::F32,
            "f8" => Self::F64,
            "i1" => Self::I8,
            "i2" => Self::I16,
            "i4" => Self::I32,
            "i8" => Self::I64,
            "u1" => Self::U8,
            "u2" => Self::U16,
            "u4" => Self::U32,
            _ => return None,
        })
    }

    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// The number in exactly as many bytes: an [`Value::Integer`] or [`Value::Float`].
    pub(crate) fn value(self, bytes: &[u8]) -> Option<Value> {
        Some(match self {
            Self::F32 => Value::Float(f64::from(f32::from_le_bytes(bytes.try_into().ok()?))),
            Self::F64 => Value::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
            Self::I8 => Value::Integer(i64::from(i8::from_le_bytes(bytes.try_into().ok()?))),
            Self::I16 => Value::Integer(i64::from(i16::from_le_bytes(bytes.try_into().ok()?))),
            Self::I32 => Value::Integer(i64::from(i32::from_le_bytes(bytes.try_into().ok()?))),
            Self::I64 => Value::Integer(i64::from_le_bytes(bytes.try_into().ok()?)),
            Self::U8 => Value::Integer(i64::from(u8::from_le_bytes(bytes.try_into().ok()?))),
            Self::U16 => Value::Integer(i64::from(u16::from_le_bytes(bytes.try_into().ok()?))),
            Self::U32 => Value::Integer(i64::from(u32::from_le_bytes(bytes.try_into().ok()?))),
        })
    }
}

/// An array's form and where its bytes are, checked against each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) number_type: NumberType,
    pub(crate) rank: u8,
    pub(crate) shape: [u32; RANK_MAX],
    /// Whether the first axis runs fastest.
    pub(crate) is_fortran: bool,
    /// [`Value::Bytes`] or [`Value::DecodedBytes`].
    pub(crate) data: Value,
}

impl Array {
    /// What stands between `_reconstruct` and the contents that follow it.
    pub(crate) const EMPTY: Self =
        Self { number_type: NumberType::F32, rank: 1, shape: [0; RANK_MAX], is_fortran: false, data: Value::Null };
}

/// An array of a pickle.
#[derive(Clone, Copy, Debug)]
pub struct ArrayView<'p> {
    pub(crate) array: &'p Array,
    pub(crate) data: &'p [u8],
}

impl ArrayView<'_> {
    /// Its shape: up to [`RANK_MAX`] axes.
    #[must_use]
    pub fn shape(&self) -> &[u32] {
        self.array.shape.get(..usize::from(self.array.rank)).unwrap_or_default()
    }

    /// Number of its elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len() / self.array.number_type.bytes()
    }

    /// Whether it has no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// A number by its place, last axis fastest, whatever the order in memory; `None` beyond the end.
    #[must_use]
    pub fn number(&self, place: usize) -> Option<f64> {
        if place >= self.len() {
            return None;
        }
        let size = self.array.number_type.bytes();
        let start = if self.array.is_fortran { self.fortran_place(place) } else { place } * size;
        match self.array.number_type.value(self.data.get(start..start + size)?)? {
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            _ => None,
        }
    }

    fn fortran_place(&self, mut place: usize) -> usize {
        let mut stride = self.len();
        let mut out = 0;
        // From the last axis, which runs slowest in memory.
        for &size in self.shape().iter().rev() {
            let size = (size as usize).max(1);
            stride /= size;
            out += place % size * stride;
            place /= size;
        }
        out
    }
}
