//! ONNX graphs of f32 tensors with fixed shapes: constants and nodes one after the other, then the file.
//!
//! Field numbers are those of `onnx.proto3` (ONNX 1.12 and later).

use super::protobuf::Message;

/// Operator set that graphs use: the last one in which `ReduceMean` takes its axes as an attribute.
pub const OPSET: i64 = 17;
/// Version of the file format that came with that operator set.
const IR_VERSION: i64 = 8;
/// `TensorProto.DataType.FLOAT`.
const FLOAT: i64 = 1;
/// `TensorProto.DataType.INT64`.
const INT64: i64 = 7;
/// `AttributeProto.AttributeType`.
const TYPE_INTEGER: i64 = 2;
const TYPE_INTEGERS: i64 = 7;

/// An attribute of a node.
#[derive(Clone, Copy, Debug)]
pub enum Attribute<'a> {
    /// One integer.
    Integer(&'a str, i64),
    /// A list of integers.
    Integers(&'a str, &'a [i64]),
}

/// A graph under construction. Values are referred to by name; every node gets names of its own for its outputs.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Vec<Message>,
    constants: Vec<Message>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
}

impl Graph {
    /// Declares an input.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> String {
        self.inputs.push(value_info(name, shape));
        name.to_owned()
    }

    /// Declares that the value `name` is an output.
    pub fn output(&mut self, name: &str, shape: &[usize]) {
        self.outputs.push(value_info(name, shape));
    }

    /// Adds a constant. Values are rounded to f32.
    pub fn constant(&mut self, name: &str, shape: &[usize], values: &[f64]) -> String {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        let bytes: Vec<u8> = values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect();
        let tensor = Message::default().each(shape, |tensor, &size| tensor.integer(1, size as i64));
        self.constants.push(tensor.integer(2, FLOAT).text(8, name).bytes(9, &bytes));
        name.to_owned()
    }

    /// Adds a constant of whole numbers, as `Reshape` needs it.
    pub fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor = Message::default().integer(1, values.len() as i64);
        self.constants.push(tensor.integer(2, INT64).text(8, name).bytes(9, &bytes));
        name.to_owned()
    }

    /// Adds a node with one output of the given name.
    pub fn node(&mut self, operator: &str, output: &str, inputs: &[&str], attributes: &[Attribute<'_>]) -> String {
        self.node_with(operator, &[output], inputs, attributes);
        output.to_owned()
    }

    /// Adds a node with several outputs.
    pub fn node_with(&mut self, operator: &str, outputs: &[&str], inputs: &[&str], attributes: &[Attribute<'_>]) {
        let node = Message::default()
            .each(inputs, |node, name| node.text(1, name))
            .each(outputs, |node, name| node.text(2, name))
            .text(3, &format!("{operator}:{}", outputs.first().unwrap_or(&"")))
            .text(4, operator)
            .each(attributes, |node, attribute| {
                let attribute = match attribute {
                    Attribute::Integer(name, value) => Message::default().text(1, name).integer(3, *value).integer(20, TYPE_INTEGER),
                    Attribute::Integers(name, values) => {
                        let list = Message::default().text(1, name).each(*values, |list, &value| list.integer(8, value));
                        list.integer(20, TYPE_INTEGERS)
                    }
                };
                node.message(5, &attribute)
            });
        self.nodes.push(node);
    }

    /// Number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The ONNX file's bytes, with `metadata` as its `metadata_props`.
    #[must_use]
    pub fn to_file<'m>(&self, name: &str, metadata: impl IntoIterator<Item = (&'m str, &'m str)>) -> Vec<u8> {
        let graph = Message::default()
            .each(&self.nodes, |graph, node| graph.message(1, node))
            .text(2, name)
            .each(&self.constants, |graph, constant| graph.message(5, constant))
            .each(&self.inputs, |graph, input| graph.message(11, input))
            .each(&self.outputs, |graph, output| graph.message(12, output));
        Message::default()
            .integer(1, IR_VERSION)
            .text(2, "alfred-host")
            .text(3, env!("CARGO_PKG_VERSION"))
            .message(7, &graph)
            .message(8, &Message::default().text(1, "").integer(2, OPSET))
            .each(metadata, |model, (key, value)| model.message(14, &Message::default().text(1, key).text(2, value)))
            .0
    }
}

fn value_info(name: &str, shape: &[usize]) -> Message {
    let shape = Message::default().each(shape, |shape, &size| shape.message(1, &Message::default().integer(1, size as i64)));
    let tensor = Message::default().integer(1, FLOAT).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}
