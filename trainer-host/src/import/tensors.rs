//! Named f32 tensors of a file of others: from PyTorch checkpoints (zip) and safetensors, with every claim of the file checked.
//!
//! Only float32 becomes a model's tensor. Other types are read past where no model needs them (`num_batches_tracked`, optimiser state)
//! and refused by name where one does: a conversion belongs to whoever trained the model.

use crate::error::HostError;
use alfred_pickle::dialect::{CHECKPOINT_BYTES_MAX, Dialect};
use alfred_pickle::pickle::{Pickle, Storage, clip};
use alfred_pickle::value::{Element, Id, Value};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;

/// Largest file that is read, bytes. Published ones, optimiser included, have up to 4.1 MB.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// Entries of a zip file at most.
const ENTRIES_MAX: usize = 20_000;
/// Tensors of a model at most.
const TENSORS_MAX: usize = 10_000;
/// Values of all tensors together at most: 256 MB. A view with stride 0 claims more values than its storage holds.
const VALUES_MAX: usize = 64 << 20;
/// Dimensions of a tensor at most.
const RANK_MAX: usize = 8;
/// Longest tensor name, bytes.
const NAME_BYTES_MAX: usize = 256;
/// Counters that batch normalisations keep; no model needs them.
const IGNORED_SUFFIX: &str = "num_batches_tracked";
/// What data-parallel training puts before every name.
const PARALLEL_PREFIX: &str = "module.";

/// A tensor, dense, slowest dimension first.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many values as the shape says.
    pub values: Vec<f32>,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorFile {
    /// Tensors by name, without the prefix `module.`.
    pub tensors: BTreeMap<String, Tensor>,
    /// A safetensors file's metadata, or the plain values of a checkpoint's `args`.
    pub metadata: BTreeMap<String, String>,
    /// Whether it was a PyTorch checkpoint.
    pub is_checkpoint: bool,
}

/// What is wrong and what to do about it, without the file's name.
struct Fault(String, String);

impl Fault {
    fn new(place: impl Into<String>, mend: impl Into<String>) -> Self {
        Self(place.into(), mend.into())
    }
}

const MEND_DAMAGED: &str = "the file is damaged: copy or save it again";

/// Reads a file's bytes, up to [`FILE_BYTES_MAX`].
///
/// # Errors
/// [`HostError`] when it cannot be read or is larger.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, HostError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(HostError::file(path))?;
    // One byte more than allowed is enough to know.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(HostError::file(path))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(HostError::data(path, format!("more than {FILE_BYTES_MAX} bytes"), "give one model's checkpoint"));
    }
    Ok(bytes)
}

/// Reads tensors from the bytes of a PyTorch checkpoint or a safetensors file; `path` is for messages.
///
/// # Errors
/// [`HostError::Data`] naming entry or tensor.
pub fn read_tensors(path: &Path, bytes: &[u8]) -> Result<TensorFile, HostError> {
    let file = if bytes.starts_with(b"PK") {
        read_checkpoint(bytes)
    } else if bytes.get(8) == Some(&b'{') {
        read_safetensors(bytes)
    } else {
        Err(Fault::new(
            "neither a zip file nor safetensors",
            "save a checkpoint of PyTorch before 1.6 again with torch.save of 1.6 or later",
        ))
    };
    file.map_err(|Fault(place, mend)| HostError::data(path, place, mend))
}

impl TensorFile {
    fn insert(&mut self, name: &str, tensor: Tensor) -> Result<(), Fault> {
        let name = name.strip_prefix(PARALLEL_PREFIX).unwrap_or(name).to_owned();
        if self.tensors.len() >= TENSORS_MAX {
            return Err(Fault::new(format!("more than {TENSORS_MAX} tensors"), "give one model's checkpoint"));
        }
        match self.tensors.insert(name.clone(), tensor) {
            None => Ok(()),
            Some(_) => Err(Fault::new(format!("tensor {name} occurs twice"), "save it again with one tensor per name")),
        }
    }
}

/// Whether a tensor's name is one that a model can need.
fn is_needed(name: &str) -> Result<bool, Fault> {
    if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Fault::new(format!("tensor name {}", clip(name)), "name tensors as PyTorch does"));
    }
    Ok(name.rsplit('.').next() != Some(IGNORED_SUFFIX))
}

fn wrong_type(name: &str, found: &str) -> Fault {
    Fault::new(format!("tensor {name} has type {found}"), "convert the model with .float() and save it again")
}

fn read_safetensors(bytes: &[u8]) -> Result<TensorFile, Fault> {
    use safetensors::{Dtype, SafeTensors};
    let broken = |error: safetensors::SafeTensorError| Fault::new(format!("no safetensors file: {error}"), "copy or convert it again");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let mut file = TensorFile { metadata: header.metadata().clone().unwrap_or_default().into_iter().collect(), ..TensorFile::default() };
    for (name, view) in SafeTensors::deserialize(bytes).map_err(broken)?.iter() {
        if !is_needed(name)? {
            continue;
        }
        if view.dtype() != Dtype::F32 {
            return Err(wrong_type(name, &format!("{:?}", view.dtype())));
        }
        let values = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        file.insert(name, Tensor { shape: view.shape().to_vec(), values })?;
    }
    Ok(file)
}

/// A zip file whose entries all lie in one folder, stored without compression, as PyTorch writes them.
struct Archive<'b> {
    zip: zip::ZipArchive<Cursor<&'b [u8]>>,
    folder: String,
}

impl<'b> Archive<'b> {
    fn open(bytes: &'b [u8]) -> Result<Self, Fault> {
        let zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| Fault::new(format!("the zip file: {error}"), MEND_DAMAGED))?;
        if zip.len() > ENTRIES_MAX {
            return Err(Fault::new(format!("{} zip entries, at most {ENTRIES_MAX} are read", zip.len()), "give one model's checkpoint"));
        }
        let mut folders = zip.file_names().filter_map(|name| name.strip_suffix("/data.pkl")).map(String::from);
        let folder = folders.next().ok_or_else(|| Fault::new("no data.pkl in the zip file", "give a file that torch.save wrote"))?;
        let is_ambiguous = folders.next().is_some();
        drop(folders);
        if is_ambiguous {
            return Err(Fault::new("more than one data.pkl in the zip file", "give a file that torch.save wrote"));
        }
        Ok(Self { zip, folder })
    }

    /// An entry's bytes; its size must be `expected` where that is given, and at most `largest`.
    fn read(&mut self, name: &str, expected: Option<usize>, largest: usize) -> Result<Option<Vec<u8>>, Fault> {
        let name = format!("{}/{name}", self.folder);
        let Some(index) = self.zip.index_for_name(&name) else { return Ok(None) };
        let place = |what: String| Fault::new(format!("zip entry {}: {what}", clip(&name)), MEND_DAMAGED);
        let entry = self.zip.by_index(index).map_err(|error| place(error.to_string()))?;
        let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        if expected.is_some_and(|expected| expected != size) || size > largest {
            return Err(place(format!("{size} bytes instead of {}", expected.unwrap_or(largest))));
        }
        // Grows as bytes arrive: the declared size is only a claim until then.
        let mut bytes = Vec::new();
        entry.take(size as u64 + 1).read_to_end(&mut bytes).map_err(|error| place(error.to_string()))?;
        if bytes.len() == size { Ok(Some(bytes)) } else { Err(place("it ends early or late".into())) }
    }
}

fn read_checkpoint(bytes: &[u8]) -> Result<TensorFile, Fault> {
    let mut archive = Archive::open(bytes)?;
    if archive.read("byteorder", None, 64)?.is_some_and(|order| order != b"little") {
        return Err(Fault::new("zip entry byteorder", "save it on a little-endian machine"));
    }
    let pickle = archive.read("data.pkl", None, CHECKPOINT_BYTES_MAX)?.unwrap_or_default();
    let pickle = Pickle::read(&pickle, Dialect::Checkpoint)
        .map_err(|fault| Fault::new(format!("data.pkl, byte {}: {}", fault.at, fault.what), fault.mend))?;
    let root = pickle.root();
    let state = pickle.entry(root, "state_dict").unwrap_or(root);
    let mut file = TensorFile { is_checkpoint: true, ..TensorFile::default() };
    if let Some(arguments) = pickle.entry(root, "args") {
        file.metadata = plain_values(&pickle, arguments);
    }
    let mut values_left = VALUES_MAX;
    for (name, value) in pickle.entries(state) {
        if !is_needed(name)? {
            continue;
        }
        let Value::Tensor(arguments) = value else {
            return Err(Fault::new(format!("state_dict entry {name} is no tensor"), "save model.state_dict() under the key state_dict"));
        };
        let tensor = read_tensor(&pickle, arguments, name, &mut archive, &mut values_left)?;
        file.insert(name, tensor)?;
    }
    if file.tensors.is_empty() {
        return Err(Fault::new("no tensor under state_dict", "save model.state_dict() under the key state_dict"));
    }
    Ok(file)
}

/// A training script's arguments that are numbers, texts or truth values, as Python would print them.
fn plain_values(pickle: &Pickle<'_>, arguments: Value) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::Integer(value) => Some(value.to_string()),
        Value::Float(value) => Some(format!("{value:?}")),
        Value::Bool(value) => Some(if value { "True" } else { "False" }.into()),
        _ => pickle.text(value).map(String::from),
    };
    pickle.entries(arguments).filter_map(|(key, value)| Some((key.to_owned(), text(value)?))).collect()
}

/// Where a tensor's values lie in its storage.
struct Layout {
    shape: Vec<usize>,
    strides: Vec<usize>,
    offset: usize,
    values: usize,
}

impl Layout {
    /// Checks a view against a storage of `elements`; `None` when it reaches beyond it, or holds more than `values_max`.
    fn new(offset: i64, shape: &[i64], strides: &[i64], elements: usize, values_max: usize) -> Option<Self> {
        let whole = |numbers: &[i64]| numbers.iter().map(|&number| usize::try_from(number).ok()).collect::<Option<Vec<usize>>>();
        let (shape, strides, offset) = (whole(shape)?, whole(strides)?, usize::try_from(offset).ok()?);
        if shape.len() != strides.len() || shape.len() > RANK_MAX {
            return None;
        }
        let values = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
        let last = shape
            .iter()
            .zip(&strides)
            .try_fold(offset, |sum, (&size, &stride)| sum.checked_add(size.saturating_sub(1).checked_mul(stride)?))?;
        let fits = values <= values_max && (values == 0 || last < elements);
        fits.then_some(Self { shape, strides, offset, values })
    }

    /// The dense values. `element` gives a storage's value by number.
    fn gather(&self, element: impl Fn(usize) -> Option<f32>) -> Option<Vec<f32>> {
        let mut position = vec![0; self.shape.len()];
        let mut out = Vec::with_capacity(self.values);
        for _ in 0..self.values {
            let place = position.iter().zip(&self.strides).fold(self.offset, |sum, (index, stride)| sum + index * stride);
            out.push(element(place)?);
            // The last dimension runs fastest.
            for (index, &size) in position.iter_mut().zip(&self.shape).rev() {
                *index += 1;
                if *index < size {
                    break;
                }
                *index = 0;
            }
        }
        Some(out)
    }
}

/// `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks, ...)`.
fn read_tensor(
    pickle: &Pickle<'_>,
    arguments: Id,
    name: &str,
    archive: &mut Archive<'_>,
    values_left: &mut usize,
) -> Result<Tensor, Fault> {
    let damaged = |what: &str| Fault::new(format!("tensor {name}: {what}"), MEND_DAMAGED);
    let fields = pickle.items(pickle.get(arguments)).ok_or_else(|| damaged("no arguments"))?;
    let &[storage, offset, shape, strides, ..] = fields else { return Err(damaged("too few arguments")) };
    let (Some(Storage { element, key, elements }), Value::Integer(offset)) = (pickle.storage(pickle.get(storage)), pickle.get(offset))
    else {
        return Err(damaged("it has no storage"));
    };
    if element != Element::Float {
        return Err(wrong_type(name, element.name()));
    }
    let numbers = |id| {
        let ids = pickle.items(pickle.get(id))?;
        let number = |&id: &Id| if let Value::Integer(number) = pickle.get(id) { Some(number) } else { None };
        // A hostile tuple may be long and referred to often.
        if ids.len() > RANK_MAX { None } else { ids.iter().map(number).collect::<Option<Vec<i64>>>() }
    };
    let (Some(shape), Some(strides)) = (numbers(shape), numbers(strides)) else { return Err(damaged("its shape is none")) };
    let bytes = usize::try_from(elements).ok().and_then(|elements| elements.checked_mul(element.bytes()));
    let beyond = || damaged(&format!("shape {shape:?}, strides {strides:?} and offset {offset} reach beyond {elements} stored elements"));
    let bytes = bytes.filter(|&bytes| bytes as u64 <= FILE_BYTES_MAX).ok_or_else(beyond)?;
    let layout = Layout::new(offset, &shape, &strides, bytes / element.bytes(), *values_left).ok_or_else(beyond)?;
    // A storage that many tensors share is read as often.
    let cost = layout.values.max(bytes / element.bytes());
    *values_left = values_left
        .checked_sub(cost)
        .ok_or_else(|| Fault::new(format!("tensor {name} exceeds {VALUES_MAX} values"), "give one model's checkpoint"))?;
    let stored = archive.read(&format!("data/{key}"), Some(bytes), bytes)?;
    let stored = stored.ok_or_else(|| damaged(&format!("its storage data/{} is missing", clip(key))))?;
    let values = layout.gather(|index| stored.as_chunks().0.get(index).map(|&bytes| f32::from_le_bytes(bytes))).ok_or_else(beyond)?;
    Ok(Tensor { shape: layout.shape, values })
}
