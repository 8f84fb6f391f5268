//! Names of devices and cameras: short, printable, the same on both ends and in bundles.

use core::fmt;
use postcard::experimental::max_size::MaxSize;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of the longest name.
pub const NAME_BYTES_MAX: usize = 64;

/// A name of 1 to [`NAME_BYTES_MAX`] bytes of UTF-8 without control characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    bytes: [u8; NAME_BYTES_MAX],
    length: u8,
}

/// Why a text is no [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Empty, or longer than [`NAME_BYTES_MAX`] bytes.
    Length(usize),
    /// It holds a control character (a line feed, say).
    Control,
    /// The bytes are no UTF-8.
    Encoding,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "a name of {length} bytes: 1 to {NAME_BYTES_MAX} are needed"),
            Self::Control => f.write_str("a name with a control character: use printable ones"),
            Self::Encoding => f.write_str("a name that is no UTF-8: write it as UTF-8"),
        }
    }
}

impl core::error::Error for NameError {}

impl Name {
    /// Takes a text.
    ///
    /// # Errors
    /// [`NameError`] says what a name may not be.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let length = text.len();
        if length == 0 || length > NAME_BYTES_MAX {
            return Err(NameError::Length(length));
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes[..length].copy_from_slice(text.as_bytes());
        Ok(Self { bytes, length: length as u8 })
    }

    /// Takes bytes that should be a name's.
    ///
    /// # Errors
    /// [`NameError`] says what a name may not be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NameError> {
        Self::new(core::str::from_utf8(bytes).map_err(|_| NameError::Encoding)?)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only whole texts get in.
        core::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a name of 1 to {NAME_BYTES_MAX} bytes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name, E> {
                Name::new(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl MaxSize for Name {
    // One byte of length.
    const POSTCARD_MAX_SIZE: usize = 1 + NAME_BYTES_MAX;
}

const _: () = assert!(NAME_BYTES_MAX < 128, "the length must take one byte");

/// Bytes of at most `MAX`, borrowed from the message; longer ones are refused when a message is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes<'a, const MAX: usize>(&'a [u8]);

impl<'a, const MAX: usize> Bytes<'a, MAX> {
    /// No bytes at all.
    pub const EMPTY: Self = Self(&[]);

    /// Takes at most `MAX` bytes; `None` for more.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() <= MAX { Some(Self(bytes)) } else { None }
    }

    /// The bytes.
    #[must_use]
    pub const fn get(&self) -> &'a [u8] {
        self.0
    }
}

impl<const MAX: usize> fmt::Debug for Bytes<'_, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<const MAX: usize> Serialize for Bytes<'_, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for Bytes<'a, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&'a [u8]>::deserialize(deserializer)?;
        Self::new(bytes).ok_or_else(|| D::Error::invalid_length(bytes.len(), &"fewer bytes"))
    }
}

impl<const MAX: usize> MaxSize for Bytes<'_, MAX> {
    const POSTCARD_MAX_SIZE: usize = {
        assert!(MAX < 1 << 28, "the length must take at most four bytes");
        MAX + if MAX < 1 << 7 {
            1
        } else if MAX < 1 << 14 {
            2
        } else if MAX < 1 << 21 {
            3
        } else {
            4
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;

    #[test]
    fn names_are_short_printable_texts() {
        assert_eq!(Name::new("gate 3").expect("a name").to_string(), "gate 3");
        assert_eq!(Name::new(""), Err(NameError::Length(0)));
        assert_eq!(Name::new(&"x".repeat(65)), Err(NameError::Length(65)));
        assert_eq!(Name::new("a\nb"), Err(NameError::Control));
        assert_eq!(Name::from_bytes(b"\xFF"), Err(NameError::Encoding));
        let longest = Name::new(&"x".repeat(64)).expect("fits");
        let mut buffer = [0; Name::POSTCARD_MAX_SIZE];
        let written = postcard::to_slice(&longest, &mut buffer).expect("fits");
        assert_eq!(written.len(), Name::POSTCARD_MAX_SIZE);
        assert_eq!(postcard::from_bytes::<Name>(written).expect("read"), longest);
        assert!(postcard::from_bytes::<Name>(b"\0").is_err(), "an empty name");
        assert!(postcard::from_bytes::<Name>(b"\x01\n").is_err(), "a control character");
    }

    #[test]
    fn bytes_keep_to_their_maximum() {
        assert!(Bytes::<2>::new(&[1, 2, 3]).is_none());
        assert_eq!(postcard::from_bytes::<Bytes<'_, 2>>(&[2, 7, 8]).expect("two").get(), [7, 8]);
        assert!(postcard::from_bytes::<Bytes<'_, 2>>(&[3, 7, 8, 9]).is_err());
        assert_eq!((Bytes::<127>::POSTCARD_MAX_SIZE, Bytes::<128>::POSTCARD_MAX_SIZE), (128, 130));
    }
}
