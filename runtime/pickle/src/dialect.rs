//! Which names a pickle may use, how large it may be, and what to say to whoever wrote it.

use crate::value::{Element, Name};

/// What a pickle is for. A name of one dialect is refused in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `data.pkl` of a PyTorch checkpoint.
    Checkpoint,
    /// Poses: numbers, texts, lists, tuples, dictionaries and numpy arrays of numbers.
    Poses,
}

/// Largest pickle of a checkpoint, bytes. A published one has 55 kB.
pub const CHECKPOINT_BYTES_MAX: usize = 16 << 20;

/// Largest pickle of poses, bytes: about 2 million poses as numpy arrays. As lists the memory ends it at 1.1 million, 650 MB.
pub const POSES_BYTES_MAX: usize = 1 << 30;

/// How much a pickle may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the pickle.
    pub bytes_max: usize,
    /// Instructions. A published checkpoint has 15 000; a pose as numpy arrays about 60, as lists about 70.
    pub instructions_max: u64,
    /// Memory that its values take beside the file's bytes, with what vectors may reserve ahead: about six times the bytes of a file
    /// of lists, of which four are really used, and twice those of a file of numpy arrays.
    pub memory_bytes_max: u64,
}

impl Dialect {
    /// How much a pickle of this dialect may ask for.
    #[must_use]
    pub const fn limits(self) -> Limits {
        match self {
            Self::Checkpoint => Limits { bytes_max: CHECKPOINT_BYTES_MAX, instructions_max: 2_000_000, memory_bytes_max: 256 << 20 },
            Self::Poses => Limits { bytes_max: POSES_BYTES_MAX, instructions_max: 256 << 20, memory_bytes_max: 4 << 30 },
        }
    }

    /// What to do about a name or instruction that does not belong here.
    pub(crate) const fn mend_foreign(self) -> &'static str {
        match self {
            Self::Checkpoint => "save only plain values and the state_dict, with torch.save({\"state_dict\": model.state_dict()}, FILE)",
            Self::Poses => "save only numbers, texts, lists, dicts and numpy arrays of numbers, with pickle.dump(poses, file, protocol=4)",
        }
    }

    pub(crate) const fn mend_protocol(self) -> &'static str {
        match self {
            Self::Checkpoint => "save it with torch.save and its default protocol",
            Self::Poses => "save it with pickle.dump(poses, file, protocol=4)",
        }
    }

    pub(crate) const fn mend_limit(self) -> &'static str {
        match self {
            Self::Checkpoint => self.mend_foreign(),
            Self::Poses => "split the video into shorter files",
        }
    }

    pub(crate) fn name(self, module: &str, name: &str) -> Option<Name> {
        match self {
            Self::Checkpoint => checkpoint_name(module, name),
            Self::Poses => poses_name(module, name),
        }
    }
}

fn checkpoint_name(module: &str, name: &str) -> Option<Name> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Name::OrderedDict,
        ("argparse", "Namespace") => Name::Namespace,
        ("torch._utils", "_rebuild_tensor_v2") => Name::RebuildTensor,
        ("torch", "FloatStorage") => Name::Storage(Element::Float),
        ("torch", "DoubleStorage") => Name::Storage(Element::Double),
        ("torch", "HalfStorage") => Name::Storage(Element::Half),
        ("torch", "BFloat16Storage") => Name::Storage(Element::BrainHalf),
        ("torch", "LongStorage") => Name::Storage(Element::Long),
        ("torch", "IntStorage") => Name::Storage(Element::Int),
        ("torch", "ShortStorage") => Name::Storage(Element::Short),
        ("torch", "CharStorage") => Name::Storage(Element::Char),
        ("torch", "ByteStorage") => Name::Storage(Element::Byte),
        ("torch", "BoolStorage") => Name::Storage(Element::Bool),
        _ => return None,
    })
}

/// numpy 2 renamed `core` to `_core`; protocol 2 keeps Python 2's name of `builtins`.
fn poses_name(module: &str, name: &str) -> Option<Name> {
    Some(match (module, name) {
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Name::Reconstruct,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Name::Scalar,
        ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Name::FromBuffer,
        ("numpy", "ndarray") => Name::ArrayClass,
        ("numpy", "dtype") => Name::DataType,
        ("_codecs", "encode") => Name::Encode,
        ("builtins" | "__builtin__", "bytes") => Name::Bytes,
        ("collections", "OrderedDict") => Name::OrderedDict,
        ("collections", "defaultdict") => Name::DefaultDict,
        ("builtins" | "__builtin__", "dict" | "list") => Name::Factory,
        _ => return None,
    })
}
