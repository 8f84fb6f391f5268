//! A read pickle: its values, and what they refer to.

use crate::array::{Array, ArrayView};
use crate::dialect::{Dialect, Limits};
use crate::machine::{Fault, Machine};
use crate::value::{Element, Id, Items, Name, Span, Value};
use std::fmt;

/// Longest key of a storage, bytes; PyTorch writes short numbers.
const STORAGE_KEY_BYTES_MAX: usize = 64;

/// Why a pickle is refused; at which byte.
#[derive(Debug, PartialEq, Eq)]
pub struct PickleFault {
    /// Byte of the instruction.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
    /// What to do about it.
    pub mend: &'static str,
}

impl fmt::Display for PickleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}: {}", self.at, self.what, self.mend)
    }
}

impl std::error::Error for PickleFault {}

const MEND_DAMAGED: &str = "the file is damaged: copy or save it again";

/// A storage of a checkpoint, as declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage<'b> {
    /// Type of its elements.
    pub element: Element,
    /// Name of its entry in the zip file, below `data/`.
    pub key: &'b str,
    /// Number of its elements.
    pub elements: i64,
}

/// A read pickle.
#[derive(Debug)]
pub struct Pickle<'b> {
    pub(crate) bytes: &'b [u8],
    /// Bytes that the file writes as texts.
    pub(crate) decoded: Vec<u8>,
    pub(crate) values: Vec<Value>,
    /// Items of lists and tuples; keys and values of dictionaries, in turns.
    pub(crate) collections: Vec<Vec<Id>>,
    pub(crate) arrays: Vec<Array>,
    root: Value,
}

impl<'b> Pickle<'b> {
    /// Reads a pickle; what follows its end is ignored.
    ///
    /// # Errors
    /// [`PickleFault`] when it is damaged, asks for more than the dialect's limits, or names anything that the dialect does not know.
    pub fn read(bytes: &'b [u8], dialect: Dialect) -> Result<Self, PickleFault> {
        Self::read_within(bytes, dialect, dialect.limits())
    }

    pub(crate) fn read_within(bytes: &'b [u8], dialect: Dialect, limits: Limits) -> Result<Self, PickleFault> {
        let fault = |at, what: String, mend| Err(PickleFault { at, what, mend });
        if bytes.len() > limits.bytes_max {
            return fault(0, format!("{} bytes are more than the {} allowed", bytes.len(), limits.bytes_max), dialect.mend_limit());
        }
        let mut machine = Machine::new(bytes, dialect, limits.memory_bytes_max);
        for _ in 0..limits.instructions_max {
            let at = machine.at();
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => return Ok(machine.finish(root)),
                Err(Fault::Damaged(what)) => return fault(at, what.into(), MEND_DAMAGED),
                Err(Fault::Foreign(what)) => return fault(at, what, dialect.mend_foreign()),
                Err(Fault::Protocol(what)) => return fault(at, what, dialect.mend_protocol()),
                Err(Fault::Limit(what)) => return fault(at, what, dialect.mend_limit()),
            }
        }
        fault(machine.at(), format!("more than {} instructions", limits.instructions_max), dialect.mend_limit())
    }

    pub(crate) const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, decoded: Vec::new(), values: Vec::new(), collections: Vec::new(), arrays: Vec::new(), root: Value::Null }
    }

    pub(crate) fn with_root(mut self, root: Id) -> Self {
        self.root = self.get(root);
        self
    }

    /// The outermost value.
    #[must_use]
    pub const fn root(&self) -> Value {
        self.root
    }

    /// A value by number.
    #[must_use]
    pub fn get(&self, id: Id) -> Value {
        // Ids only come from this pickle; another one's is our bug, and answers None rather than panic.
        self.values.get(id.0 as usize).copied().unwrap_or(Value::Null)
    }

    /// A text's letters; `None` for other values.
    #[must_use]
    pub fn text(&self, value: Value) -> Option<&'b str> {
        let Value::Text(span) = value else { return None };
        std::str::from_utf8(cut(self.bytes, span)?).ok()
    }

    /// The contents of bytes; `None` for other values.
    #[must_use]
    pub fn bytes(&self, value: Value) -> Option<&[u8]> {
        match value {
            Value::Bytes(span) => cut(self.bytes, span),
            Value::DecodedBytes(span) => cut(&self.decoded, span),
            _ => None,
        }
    }

    pub(crate) fn collection(&self, items: Items) -> &[Id] {
        self.collections.get(items.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// The items of a list or tuple; `None` for other values.
    #[must_use]
    pub fn items(&self, value: Value) -> Option<&[Id]> {
        match value {
            Value::List(items) | Value::Tuple(items) => Some(self.collection(items)),
            _ => None,
        }
    }

    /// The pairs of a dictionary, or of a Namespace's attributes, in order; `None` for other values.
    #[must_use]
    pub fn pairs(&self, value: Value) -> Option<impl ExactSizeIterator<Item = (Value, Value)>> {
        let value = if let Value::Namespace(Some(attributes)) = value { self.get(attributes) } else { value };
        let Value::Dict(items) = value else { return None };
        // Dictionaries are only ever extended by whole pairs.
        let (pairs, _) = self.collection(items).as_chunks::<2>();
        Some(pairs.iter().map(|&[key, value]| (self.get(key), self.get(value))))
    }

    /// The pairs of a dictionary or Namespace whose keys are texts, in order; none for other values.
    pub fn entries(&self, value: Value) -> impl Iterator<Item = (&'b str, Value)> {
        self.pairs(value).into_iter().flatten().filter_map(|(key, value)| Some((self.text(key)?, value)))
    }

    /// A dictionary's value; the last one, as in Python, where a key occurs again.
    #[must_use]
    pub fn entry(&self, value: Value, key: &str) -> Option<Value> {
        self.entries(value).filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }

    /// A number, integer or not; `None` for other values.
    #[must_use]
    pub const fn number(&self, value: Value) -> Option<f64> {
        match value {
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            _ => None,
        }
    }

    /// A storage; `None` for other values.
    #[must_use]
    pub fn storage(&self, value: Value) -> Option<Storage<'b>> {
        if let Value::Storage(fields) = value { self.storage_fields(fields) } else { None }
    }

    /// `("storage", torch.FloatStorage, key, device, elements)`.
    pub(crate) fn storage_fields(&self, fields: Id) -> Option<Storage<'b>> {
        let Value::Tuple(fields) = self.get(fields) else { return None };
        let &[tag, element, key, _device, elements] = self.collection(fields) else { return None };
        let (Value::Name(Name::Storage(element)), Value::Integer(elements)) = (self.get(element), self.get(elements)) else { return None };
        let key = self.text(self.get(key)).filter(|key| key.len() <= STORAGE_KEY_BYTES_MAX)?;
        (self.text(self.get(tag)) == Some("storage")).then_some(Storage { element, key, elements })
    }

    /// A numpy array; `None` for other values.
    #[must_use]
    pub fn array(&self, value: Value) -> Option<ArrayView<'_>> {
        let Value::Array(index) = value else { return None };
        let array = self.arrays.get(index.0 as usize)?;
        Some(ArrayView { array, data: self.bytes(array.data).unwrap_or_default() })
    }
}

fn cut(bytes: &[u8], span: Span) -> Option<&[u8]> {
    bytes.get(span.start as usize..)?.get(..span.length as usize)
}

/// A text from outside, cut to what fits a message.
#[must_use]
pub fn clip(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(80).collect()
}
