//! PyTorch checkpoints written by hand, sound and broken ones, so that tests need neither PyTorch nor anybody's weights.

use std::io::{Cursor, Write};
use zip::write::{SimpleFileOptions, ZipWriter};

/// A pickle under construction, protocol 2.
pub struct PickleWriter(pub Vec<u8>);

impl PickleWriter {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    /// As a LONG1 of eight bytes.
    pub fn integer(self, value: i64) -> Self {
        self.raw(&[0x8a, 8]).raw(&value.to_le_bytes())
    }

    pub fn integers(self, values: &[i64]) -> Self {
        values.iter().fold(self.raw(b"("), |pickle, &value| pickle.integer(value)).raw(b"t")
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    /// `torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, False, OrderedDict())`.
    pub fn tensor(self, view: &View<'_>) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"((")
            .text("storage")
            .global("torch", view.storage)
            .text(view.key)
            .text("cpu")
            .integer(view.elements)
            .raw(b"tQ")
            .integer(view.offset)
            .integers(view.shape)
            .integers(view.strides)
            .raw(b"\x89")
            .global("collections", "OrderedDict")
            .raw(b")RtR")
    }
}

/// A tensor's place in its storage.
#[derive(Clone, Copy)]
pub struct View<'v> {
    pub storage: &'v str,
    pub key: &'v str,
    pub elements: i64,
    pub offset: i64,
    pub shape: &'v [i64],
    pub strides: &'v [i64],
}

/// A zip file as torch.save writes it: `archive/data.pkl` and `archive/data/KEY`, stored.
pub fn zip_file(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut entry = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("archive/{name}"), options).expect("an entry");
        zip.write_all(bytes).expect("its bytes");
    };
    entry("data.pkl", pickle);
    entry("byteorder", b"little");
    for (key, bytes) in storages {
        entry(&format!("data/{key}"), bytes);
    }
    zip.finish().expect("a zip file").into_inner()
}

/// A tensor with its name, shape and values.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// A whole checkpoint: `{"epoch": 8, "state_dict": OrderedDict(...), "args": Namespace(...)}`.
pub fn checkpoint(tensors: &[Named], arguments: &[(&str, i64)]) -> Vec<u8> {
    let mut pickle = PickleWriter::new().raw(b"}(").text("epoch").integer(8).text("state_dict");
    pickle = pickle.global("collections", "OrderedDict").raw(b")R(");
    let mut storages = Vec::new();
    for (number, (name, shape, values)) in tensors.iter().enumerate() {
        let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        let strides: Vec<i64> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        let key = number.to_string();
        let view = View { storage: "FloatStorage", key: &key, elements: values.len() as i64, offset: 0, shape: &shape, strides: &strides };
        pickle = pickle.text(name).tensor(&view);
        storages.push((key, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()));
    }
    // A counter of another type, as batch normalisations keep it, and attributes of the OrderedDict.
    let counter = View { storage: "LongStorage", key: "counter", elements: 1, offset: 0, shape: &[], strides: &[] };
    pickle = pickle.text("flow.layers.0.block.0.tcn.0.num_batches_tracked").tensor(&counter).raw(b"u}").text("_metadata").raw(b"}sb");
    storages.push(("counter".into(), vec![0; 8]));
    pickle = pickle.text("args").global("argparse", "Namespace").raw(b")\x81}(");
    for (key, value) in arguments {
        pickle = pickle.text(key).integer(*value);
    }
    let pickle = pickle.raw(b"ubu.");
    let storages: Vec<(&str, &[u8])> = storages.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice())).collect();
    zip_file(&pickle.0, &storages)
}

/// `{"state_dict": {"weight": TENSOR}}` with one storage "0" of `stored` floats: 0, 1, 2, ...
pub fn one_tensor(view: &View<'_>, stored: usize) -> Vec<u8> {
    let pickle = PickleWriter::new().raw(b"}").text("state_dict").raw(b"}").text("weight").tensor(view).raw(b"ss.");
    let bytes: Vec<u8> = (0..stored).flat_map(|value| (value as f32).to_le_bytes()).collect();
    zip_file(&pickle.0, &[("0", &bytes)])
}
