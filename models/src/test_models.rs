//! Small ONNX files made on the spot, for tests that must not need any file: of this crate and of those above it.
//!
//! The writer knows just the fields of ONNX's protobuf messages that these models use, so it can also write broken files.

/// What a test model's input looks like: name and dimensions; `None` is a symbolic one.
pub type Input<'a> = (&'a str, &'a [Option<i64>]);

/// One node: operator, inputs, outputs, integer-list attributes, integer attributes.
pub struct Node<'a> {
    /// ONNX operator.
    pub operator: &'a str,
    /// Names of its inputs.
    pub inputs: &'a [&'a str],
    /// Name of its output.
    pub output: &'a str,
    /// Attributes that are lists of integers.
    pub lists: &'a [(&'a str, &'a [i64])],
    /// Attributes that are one integer.
    pub integers: &'a [(&'a str, i64)],
}

/// A whole test model.
#[derive(Default)]
pub struct Model<'a> {
    /// Inputs, f32.
    pub inputs: &'a [Input<'a>],
    /// Names of the outputs, f32 without a declared shape.
    pub outputs: &'a [&'a str],
    /// Nodes in order.
    pub nodes: &'a [Node<'a>],
    /// f32 constants: name, shape, values.
    pub constants: &'a [(&'a str, &'a [i64], &'a [f32])],
    /// `metadata_props`.
    pub metadata: &'a [(&'a str, &'a str)],
}

/// A protobuf message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: Self) -> Self {
        self.bytes(field, &message.0)
    }

    fn each<T>(self, items: impl IntoIterator<Item = T>, mut add: impl FnMut(Self, T) -> Self) -> Self {
        let mut message = self;
        for item in items {
            message = add(message, item);
        }
        message
    }
}

impl Model<'_> {
    /// The ONNX file's bytes; opset 17.
    #[must_use]
    pub fn to_onnx(&self) -> Vec<u8> {
        let graph = Message::default()
            .each(self.nodes, |graph, node| graph.message(1, node.to_message()))
            .text(2, "test")
            .each(self.constants, |graph, (name, shape, values)| graph.message(5, constant(name, shape, values)))
            .each(self.inputs, |graph, (name, shape)| graph.message(11, value_info(name, Some(shape))))
            .each(self.outputs, |graph, name| graph.message(12, value_info(name, None)));
        let opset = Message::default().text(1, "").integer(2, 17);
        Message::default()
            .integer(1, 8)
            .message(7, graph)
            .message(8, opset)
            .each(self.metadata, |model, (key, value)| model.message(14, Message::default().text(1, key).text(2, value)))
            .0
    }
}

impl Node<'_> {
    fn to_message(&self) -> Message {
        const INTEGER: i64 = 2;
        const INTEGERS: i64 = 7;
        Message::default()
            .each(self.inputs, |node, name| node.text(1, name))
            .text(2, self.output)
            .text(3, &format!("node_{}", self.output))
            .text(4, self.operator)
            .each(self.lists, |node, (name, values)| {
                let list = Message::default().text(1, name).each(*values, |list, &value| list.integer(8, value));
                node.message(5, list.integer(20, INTEGERS))
            })
            .each(self.integers, |node, (name, value)| {
                node.message(5, Message::default().text(1, name).integer(3, *value).integer(20, INTEGER))
            })
    }
}

fn constant(name: &str, shape: &[i64], values: &[f32]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Message::default().each(shape, |tensor, &dim| tensor.integer(1, dim)).integer(2, 1).text(8, name).bytes(9, &bytes)
}

fn value_info(name: &str, shape: Option<&[Option<i64>]>) -> Message {
    let tensor = Message::default().integer(1, 1).each(shape, |tensor, dims| {
        let shape = Message::default().each(dims, |shape, dim| {
            let dimension = match dim {
                Some(value) => Message::default().integer(1, *value),
                None => Message::default().text(2, "N"),
            };
            shape.message(1, dimension)
        });
        tensor.message(2, shape)
    });
    Message::default().text(1, name).message(2, Message::default().message(1, tensor))
}

/// `score` = mean over a window of x², for `batch` windows (B, 2, T, 18) of `frames` detections; no weights, higher is more anomalous.
/// With `declared`, its metadata says so.
#[must_use]
pub fn mean_of_squares(batch: usize, frames: usize, declared: bool) -> Vec<u8> {
    let shape = [batch, 2, frames, 18].map(|dim| i64::try_from(dim).ok());
    let metadata: &[(&str, &str)] = &[
        ("alfred.architecture", "mean_of_squares"),
        ("alfred.input_layout", "time_major"),
        ("alfred.score_rule", "higher_is_anomalous(score)"),
    ];
    Model {
        inputs: &[("x", &shape)],
        outputs: &["score"],
        nodes: &[
            Node { operator: "Mul", inputs: &["x", "x"], output: "squares", lists: &[], integers: &[] },
            Node {
                operator: "ReduceMean",
                inputs: &["squares"],
                output: "score",
                lists: &[("axes", &[1, 2, 3])],
                integers: &[("keepdims", 0)],
            },
        ],
        metadata: if declared { metadata } else { &[] },
        ..Model::default()
    }
    .to_onnx()
}
