//! What a checkpoint's pickle may consist of: plain values, a few names, storages and views of them.

/// Number of a value in its [`super::pickle::Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub(super) usize);

/// The Python names that may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `argparse.Namespace`
    Namespace,
    /// `torch._utils._rebuild_tensor_v2`
    RebuildTensor,
    /// `torch.FloatStorage` and its like.
    Storage(Element),
}

/// Element types of storages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// `float32`
    Float,
    /// `float64`
    Double,
    /// `float16`
    Half,
    /// `bfloat16`
    BrainHalf,
    /// `int64`
    Long,
    /// `int32`
    Int,
    /// `int16`
    Short,
    /// `int8`
    Char,
    /// `uint8`
    Byte,
    /// `bool`
    Bool,
}

impl Element {
    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Double | Self::Long => 8,
            Self::Float | Self::Int => 4,
            Self::Half | Self::BrainHalf | Self::Short => 2,
            Self::Char | Self::Byte | Self::Bool => 1,
        }
    }

    /// PyTorch's name of the type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float => "float32",
            Self::Double => "float64",
            Self::Half => "float16",
            Self::BrainHalf => "bfloat16",
            Self::Long => "int64",
            Self::Int => "int32",
            Self::Short => "int16",
            Self::Char => "int8",
            Self::Byte => "uint8",
            Self::Bool => "bool",
        }
    }
}

impl Name {
    pub(super) fn of(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("argparse", "Namespace") => Self::Namespace,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch", "FloatStorage") => Self::Storage(Element::Float),
            ("torch", "DoubleStorage") => Self::Storage(Element::Double),
            ("torch", "HalfStorage") => Self::Storage(Element::Half),
            ("torch", "BFloat16Storage") => Self::Storage(Element::BrainHalf),
            ("torch", "LongStorage") => Self::Storage(Element::Long),
            ("torch", "IntStorage") => Self::Storage(Element::Int),
            ("torch", "ShortStorage") => Self::Storage(Element::Short),
            ("torch", "CharStorage") => Self::Storage(Element::Char),
            ("torch", "ByteStorage") => Self::Storage(Element::Byte),
            ("torch", "BoolStorage") => Self::Storage(Element::Bool),
            _ => return None,
        })
    }
}

/// A value. Dictionaries keep every pair in order; of equal keys the last one counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`
    Null,
    /// `True` or `False`
    Bool(bool),
    /// An integer of at most 64 bits.
    Integer(i64),
    /// A longer integer, such as a random seed: not kept.
    LongInteger,
    /// A float.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes: not kept.
    Bytes,
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list.
    List(Vec<Id>),
    /// A dictionary, ordered or not.
    Dict(Vec<(Id, Id)>),
    /// An `argparse.Namespace`: the dictionary of its attributes, once there is one.
    Namespace(Option<Id>),
    /// A name that was not called.
    Name(Name),
    /// A storage: its element type, key and number of elements, as declared.
    Storage(Element, String, i64),
    /// A call of `_rebuild_tensor_v2`: the tuple of its arguments, unchecked.
    Tensor(Id),
}
