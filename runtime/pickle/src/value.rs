//! What a pickle may consist of: plain values, a few names, storages and views of them, numpy arrays.

use crate::array::NumberType;

/// Number of a value in its [`crate::pickle::Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub(crate) u32);

/// Where a text or bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub(crate) start: u32,
    pub(crate) length: u32,
}

/// Which collection: its items are in the [`crate::pickle::Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items(pub(crate) u32);

/// Which array: its shape and data are in the [`crate::pickle::Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayIndex(pub(crate) u32);

/// The Python names that may occur, in one dialect or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `collections.defaultdict`: a dictionary here.
    DefaultDict,
    /// `builtins.dict` and its like, which a defaultdict names as what it would call.
    Factory,
    /// `argparse.Namespace`
    Namespace,
    /// `torch._utils._rebuild_tensor_v2`
    RebuildTensor,
    /// `torch.FloatStorage` and its like.
    Storage(Element),
    /// `numpy.ndarray`
    ArrayClass,
    /// `numpy.dtype`
    DataType,
    /// `numpy.core.multiarray._reconstruct`: an array whose contents follow.
    Reconstruct,
    /// `numpy.core.numeric._frombuffer`: an array of given bytes.
    FromBuffer,
    /// `numpy.core.multiarray.scalar`
    Scalar,
    /// `_codecs.encode`: how protocol 2 writes bytes, as a text in Latin-1.
    Encode,
    /// `builtins.bytes`: how protocol 2 writes no bytes.
    Bytes,
}

/// Element types of PyTorch's storages.
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

/// A value: small, since a pose file has millions. What is longer lies in the [`crate::pickle::Pickle`].
#[derive(Clone, Copy, Debug, PartialEq)]
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
    Text(Span),
    /// Bytes of the file.
    Bytes(Span),
    /// Bytes that the file writes as a text in Latin-1, decoded.
    DecodedBytes(Span),
    /// A tuple.
    Tuple(Items),
    /// A list.
    List(Items),
    /// A dictionary, ordered or not: every pair in order; of equal keys the last one counts.
    Dict(Items),
    /// An `argparse.Namespace`: the dictionary of its attributes, once there is one.
    Namespace(Option<Id>),
    /// A name that was not called.
    Name(Name),
    /// A storage: the tuple `("storage", class, key, device, elements)`.
    Storage(Id),
    /// A call of `_rebuild_tensor_v2`: the tuple of its arguments, unchecked.
    Tensor(Id),
    /// A `numpy.dtype`, little-endian.
    DataType(NumberType),
    /// A `numpy.ndarray`.
    Array(ArrayIndex),
}

const _: () = assert!(size_of::<Value>() == 16);
