//! Why numbers or bytes are no head.

use core::fmt;

/// Why a head is refused. The name is that of the part in [`super::HeadParts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// The bytes are not of a head's length.
    Length {
        /// Bytes given.
        found: usize,
    },
    /// The bytes are of another version, or of other features or directions.
    Version {
        /// Version given.
        found: u8,
    },
    /// A part is NaN or infinite.
    NotFinite(&'static str),
    /// A part must be above zero and is not (spreads), or must not be negative and is (shares, the rest's gain).
    NotPositive(&'static str),
    /// Every share is zero: the head would call all windows equal.
    NoOpinion,
}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found } => write!(f, "{found} bytes; a verdict head has {}", super::HEAD_BYTES),
            Self::Version { found } => write!(f, "verdict head version {found}; this build reads its own only: train the head anew"),
            Self::NotFinite(part) => write!(f, "{part} is NaN or infinite"),
            Self::NotPositive(part) => write!(f, "{part} must be above zero (a share: not below zero)"),
            Self::NoOpinion => f.write_str("every share is zero"),
        }
    }
}

impl core::error::Error for HeadFault {}
