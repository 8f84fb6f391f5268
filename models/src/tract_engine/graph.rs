//! The fence around tract: the only file of the project that names it. ONNX bytes in, checked and optimised graph out, f32 slices at runs.
//!
//! tract is written for files that a trusted exporter made: it indexes maps with names from the file and panics on some malformed
//! graphs. So [`check`] first walks the decoded file and refuses what is not a plain, fixed-shape feed-forward graph; what still panics is
//! caught in builds that unwind. Firmware aborts on panic: there a file that passes `check` and panics in tract ends the process, and
//! the supervisor's restart finds the slot unconfirmed. Decoding needs up to some 100 bytes of memory per byte of file, hence the file's cap.

use crate::onnx_manifest::{GraphFacts, InputFacts};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use tract_onnx::pb::{tensor_proto, tensor_shape_proto, type_proto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::plan::SimpleState;

/// Nodes of a graph at most.
const NODES_MAX: usize = 20_000;

/// Values of one input at most: a batch of windows needs far fewer.
const INPUT_VALUES_MAX: usize = 1 << 20;

/// Bytes of one constant at most, once decoded.
const CONSTANT_BYTES_MAX: usize = 64 << 20;

/// Operators whose result differs from run to run: a score must be a function of its window.
const RANDOM_OPERATORS: [&str; 6] = ["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"];

/// What went wrong in or before tract, in one line.
pub(super) type GraphError = String;

/// A decoded and checked ONNX file.
pub(super) struct Decoded {
    model: ModelProto,
    /// Inputs and outputs.
    pub(super) facts: GraphFacts,
}

impl Decoded {
    /// Decodes and checks the bytes of an ONNX file.
    pub(super) fn from_bytes(mut bytes: &[u8]) -> Result<Self, GraphError> {
        let loader = onnx();
        let model = guard(|| loader.proto_model_for_read(&mut bytes)).map_err(|reason| format!("it is no ONNX file ({reason})"))?;
        let graph = model.graph.as_ref().ok_or("it is no ONNX file (it has no graph)")?;
        if !model.functions.is_empty() {
            return Err("it defines functions: export with them inlined".into());
        }
        let facts = check(graph, |operator| loader.op_register.0.contains_key(operator))?;
        Ok(Self { model, facts })
    }

    /// Keys and values of the file's `metadata_props`.
    pub(super) fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.model.metadata_props.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()))
    }

    /// Optimises the graph for one of its outputs.
    pub(super) fn into_graph(self, output_index: usize) -> Result<Graph, GraphError> {
        let input_shapes: Vec<_> = self.facts.inputs.iter().map(|input| input.shape.clone()).collect();
        let plan = guard(|| {
            let mut model = onnx().model_for_proto_model(&self.model)?;
            let outputs = model.output_outlets()?.get(output_index).copied().into_iter().collect::<Vec<_>>();
            model.select_output_outlets(&outputs)?;
            for (index, shape) in input_shapes.iter().enumerate() {
                model.set_input_fact(index, f32::fact(shape).into())?;
            }
            model.into_optimized()?.into_runnable()
        })?;
        let model = plan.model();
        let fact = model.output_fact(0).map_err(|error| one_line(&error))?;
        let output_shape = fact.shape.as_concrete().ok_or("the output's shape depends on the data: export with fixed shapes")?.to_vec();
        if fact.datum_type != f32::datum_type() {
            return Err(format!("the output is {:?}: export with f32", fact.datum_type));
        }
        if model.input_outlets().map_or(0, <[_]>::len) != input_shapes.len() {
            return Err("tract dropped an input".into());
        }
        Ok(Graph { plan, state: None, input_shapes, output_shape })
    }
}

/// An optimised graph with one f32 output, and its running state.
pub(super) struct Graph {
    plan: Arc<TypedRunnableModel>,
    /// Made on the thread that runs it: tract keeps scratch memory per state and thread.
    state: Option<SimpleState<TypedFact, Box<dyn TypedOp>>>,
    input_shapes: Vec<Vec<usize>>,
    output_shape: Vec<usize>,
}

impl Graph {
    /// Number of operators that a run evaluates.
    pub(super) fn operators(&self) -> usize {
        self.plan.order_without_consts().len()
    }

    /// Shape of the output, batch first if it has one.
    pub(super) fn output_shape(&self) -> &[usize] {
        &self.output_shape
    }

    /// Makes the running state unless there is one. Done outside the arena: it belongs to the model, not to a run.
    pub(super) fn ensure_state(&mut self) -> Result<(), GraphError> {
        if self.state.is_none() {
            self.state = Some(guard(|| self.plan.spawn())?);
        }
        Ok(())
    }

    /// Drops the running state and tract's scratch memory for it on this thread.
    pub(super) fn drop_state(&mut self) {
        // A panic in a destructor must not leave the engine half dropped.
        let state = self.state.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(state)));
    }

    /// Runs once. `inputs[i]` holds the values of input `i`; `read` sees the output's. Everything that this allocates is freed before it
    /// returns, except for scratch memory that the state keeps. After an error the state must be dropped.
    pub(super) fn run(&mut self, inputs: &[Vec<f32>], read: impl FnOnce(&[f32])) -> Result<(), GraphError> {
        let Some(state) = self.state.as_mut() else { return Err("no state".into()) };
        let shapes = &self.input_shapes;
        guard(|| {
            let mut tensors: TVec<TValue> = tvec!();
            for (shape, values) in shapes.iter().zip(inputs) {
                tensors.push(Tensor::from_shape(shape, values)?.into());
            }
            let outputs = state.run(tensors)?;
            if let Some(output) = outputs.first() {
                read(output.try_as_plain_ram()?.as_slice::<f32>()?);
            }
            Ok(())
        })
    }
}

/// Runs a call into tract; errors become one line, and so do panics where the build unwinds.
fn guard<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T, GraphError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| one_line(&error)),
        Err(_) => Err("tract panicked: the graph is malformed or uses an operator in a way tract does not know".into()),
    }
}

/// An error chain in one line of at most 240 characters.
fn one_line(error: &TractError) -> String {
    let text = format!("{error:#}");
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(240).collect();
    if line.is_empty() {
        line.push_str("no reason given");
    }
    line
}

/// Refuses what is not a plain feed-forward graph with fixed f32 inputs; returns its inputs and outputs.
fn check(graph: &GraphProto, knows: impl Fn(&str) -> bool) -> Result<GraphFacts, GraphError> {
    if graph.node.len() > NODES_MAX {
        return Err(format!("{} nodes, at most {NODES_MAX}", graph.node.len()));
    }
    if !graph.sparse_initializer.is_empty() {
        return Err("it has sparse constants: export with dense ones".into());
    }
    let mut values: HashSet<&str> = HashSet::new();
    for tensor in &graph.initializer {
        check_constant(tensor).map_err(|reason| format!("constant {}: {reason}", name(&tensor.name)))?;
        values.insert(&tensor.name);
    }
    let mut facts = GraphFacts::default();
    for input in graph.input.iter().filter(|input| !values.contains(input.name.as_str())) {
        let shape = input_shape(input.r#type.as_ref().and_then(|kind| kind.value.as_ref()));
        let shape = shape.map_err(|reason| format!("input {}: {reason}", name(&input.name)))?;
        facts.inputs.push(InputFacts { name: input.name.clone(), shape });
    }
    for input in &facts.inputs {
        if !values.insert(&input.name) {
            return Err(format!("two inputs are called {}", name(&input.name)));
        }
    }
    for node in &graph.node {
        check_node(node, &values, &knows).map_err(|reason| format!("node {} ({}): {reason}", name(&node.name), name(&node.op_type)))?;
        values.extend(node.output.iter().map(String::as_str));
    }
    for output in &graph.output {
        if !values.contains(output.name.as_str()) {
            return Err(format!("nothing computes the output {}", name(&output.name)));
        }
        facts.outputs.push(output.name.clone());
    }
    Ok(facts)
}

fn check_node(node: &NodeProto, values: &HashSet<&str>, knows: &impl Fn(&str) -> bool) -> Result<(), GraphError> {
    if !matches!(node.domain.as_str(), "" | "ai.onnx") || !knows(&node.op_type) {
        return Err("tract does not know this operator: export with standard operators of opset 9 to 18".into());
    }
    if RANDOM_OPERATORS.contains(&node.op_type.as_str()) {
        return Err("a random operator: export the deterministic model".into());
    }
    if let Some(input) = node.input.iter().find(|input| !input.is_empty() && !values.contains(input.as_str())) {
        return Err(format!("nothing before it computes its input {}", name(input)));
    }
    node.attribute.iter().try_for_each(check_attribute)
}

fn check_attribute(attribute: &AttributeProto) -> Result<(), GraphError> {
    if attribute.g.is_some() || !attribute.graphs.is_empty() {
        return Err("control flow makes time and memory depend on the data: export without it".into());
    }
    if attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
        return Err("it has sparse constants: export with dense ones".into());
    }
    attribute.t.iter().chain(&attribute.tensors).try_for_each(check_constant)
}

/// A constant's data must be in the file, of a type tract can load, and as long as its shape says.
fn check_constant(tensor: &TensorProto) -> Result<(), GraphError> {
    use tensor_proto::DataType as Kind;
    if tensor.data_location == Some(tensor_proto::DataLocation::External as i32) || !tensor.external_data.is_empty() {
        return Err("its data is in another file: export with the data inside".into());
    }
    let kind = Kind::try_from(tensor.data_type).map_err(|_| "its type is unknown")?;
    let (element_bytes, listed) = match kind {
        Kind::Float => (4, tensor.float_data.len()),
        Kind::Double => (8, tensor.double_data.len()),
        Kind::Int64 => (8, tensor.int64_data.len()),
        Kind::Int32 => (4, tensor.int32_data.len()),
        Kind::Float16 | Kind::Int16 | Kind::Uint16 => (2, tensor.int32_data.len()),
        Kind::Bool | Kind::Int8 | Kind::Uint8 => (1, tensor.int32_data.len()),
        _ => return Err(format!("the type {kind:?} is not supported: use f32, f64, f16, integers or bool")),
    };
    let count = tensor.dims.iter().try_fold(1_usize, |count, &dim| count.checked_mul(usize::try_from(dim).ok()?));
    let count = count.filter(|count| count.saturating_mul(element_bytes) <= CONSTANT_BYTES_MAX).ok_or("its shape is out of range")?;
    let length_fits = if tensor.raw_data.is_empty() { listed == count } else { tensor.raw_data.len() == count * element_bytes };
    if length_fits { Ok(()) } else { Err(format!("its data is not as long as its shape {:?} says", tensor.dims)) }
}

/// Shape of an input: f32, every dimension a number above zero.
fn input_shape(kind: Option<&type_proto::Value>) -> Result<Vec<usize>, GraphError> {
    let Some(type_proto::Value::TensorType(tensor)) = kind else { return Err("it is no tensor".into()) };
    if tensor.elem_type != tensor_proto::DataType::Float as i32 {
        return Err("it is not f32: export with f32 inputs".into());
    }
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    let fixed = dims.map(|dim| match dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(value)) => usize::try_from(value).ok().filter(|&value| value > 0),
        _ => None,
    });
    let shape: Vec<usize> = fixed.collect::<Option<_>>().ok_or("its shape is not fixed: export with numbers, without dynamic axes")?;
    let values = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
    if values.is_some_and(|values| values <= INPUT_VALUES_MAX) { Ok(shape) } else { Err(format!("the shape {shape:?} is too large")) }
}

/// A name from the file, cut to what fits a message.
fn name(text: &str) -> String {
    format!("`{}`", text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect::<String>())
}
