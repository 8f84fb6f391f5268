//! Parameters and weight files: storage order, round trip, and every fault by its name.

use super::parameters::{Form, PARAMETERS, ParameterFault, SpartaParameters};
use super::test_kit::seeded_parameters;
use super::weights_file::{HeapParameters, SpartaMetadata, WEIGHTS_FILE_BYTES_MAX, WeightsFault, read, read_path, write};
use crate::weights_file::FileFault;
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;

/// A file's tensors and metadata, to be spoilt.
struct Draft {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
    metadata: HashMap<String, String>,
}

impl Draft {
    fn new() -> Self {
        let tensors = seeded_parameters(1)
            .tensors()
            .map(|tensor| {
                let bytes = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
                (tensor.name.to_string(), Dtype::F32, tensor.shape.dimensions().to_vec(), bytes)
            })
            .collect();
        Self { tensors, metadata: HashMap::new() }
    }

    fn tensor(&mut self, name: &str) -> &mut (String, Dtype, Vec<usize>, Vec<u8>) {
        self.tensors.iter_mut().find(|tensor| tensor.0 == name).expect("the draft has the tensor")
    }

    fn read(&self) -> Result<HeapParameters, WeightsFault> {
        let views = self
            .tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).expect("the draft is consistent")));
        let bytes = safetensors::serialize(views, Some(self.metadata.clone())).expect("the draft is consistent");
        read(&bytes).map(|weights| weights.parameters)
    }

    /// The one-line message of the fault.
    fn message(&self) -> String {
        let message = self.read().err().map(|fault| fault.to_string()).expect("the draft is spoilt");
        assert!(!message.contains('\n'), "{message}");
        message
    }
}

fn metadata() -> SpartaMetadata {
    SpartaMetadata {
        form: Form::Tokens,
        preprocessing: Some("sparta".to_string()),
        threshold: Some(0.125),
        score_rule: None,
        other: [("license".to_string(), "Apache-2.0".to_string())].into(),
    }
}

#[test]
fn tables_and_layers_tell_the_same_places() {
    let values: Vec<f32> = (0..PARAMETERS).map(|position| position as f32).collect();
    let parameters = SpartaParameters::new(values).expect("the right length");
    let find = |name: &str| parameters.tensors().find(|tensor| tensor.name.to_string() == name).expect("the tensor is in the table").values;
    assert_eq!(parameters.tensors().map(|tensor| tensor.values.len()).sum::<usize>(), PARAMETERS);
    let encoder = parameters.encoder(2);
    assert_eq!(encoder.self_attention.in_weight, find("encoder.layers.2.self_attn.in_proj_weight"));
    assert_eq!(encoder.self_attention.in_bias, find("encoder.layers.2.self_attn.in_proj_bias"));
    assert_eq!(encoder.feed_forward.second_bias, find("encoder.layers.2.linear2.bias"));
    assert_eq!(encoder.norms[1].bias, find("encoder.layers.2.norm2.bias"));
    let decoder = parameters.decoder(3);
    assert_eq!(decoder.self_attention.out_bias, find("decoder.layers.3.self_attn.out_proj.bias"));
    assert_eq!(decoder.cross_attention.in_weight, find("decoder.layers.3.multihead_attn.in_proj_weight"));
    assert_eq!(decoder.cross_attention.out_weight, find("decoder.layers.3.multihead_attn.out_proj.weight"));
    assert_eq!(decoder.feed_forward.first_weight, find("decoder.layers.3.linear1.weight"));
    assert_eq!(decoder.norms[0].weight, find("decoder.layers.3.norm1.weight"));
    assert_eq!(decoder.norms[2].bias, find("decoder.layers.3.norm3.bias"));
    assert_eq!(decoder.norms[2].bias.last(), Some(&((PARAMETERS - 1) as f32)));
}

#[test]
fn another_number_of_values_is_refused() {
    let short = vec![0.0; PARAMETERS - 1];
    assert_eq!(SpartaParameters::new(short.as_slice()).err(), Some(ParameterFault::Length { found: PARAMETERS - 1 }));
}

#[test]
fn what_is_written_is_read_back() {
    let parameters = seeded_parameters(3);
    let bytes = write(&parameters, &metadata()).expect("valid parameters are written");
    let weights = read(&bytes).expect("what was written is valid");
    assert_eq!((weights.parameters, weights.metadata), (parameters.clone(), metadata()));
    // Files are compared by their hash.
    assert_eq!(bytes, write(&parameters, &metadata()).expect("again"));
    assert_eq!(read(&write(&parameters, &SpartaMetadata::default()).expect("written")).expect("read").metadata, SpartaMetadata::default());
}

#[test]
fn weights_of_the_first_tokens_form_are_refused() {
    let mut draft = Draft::new();
    draft.metadata.insert("form".to_string(), "tokens".to_string());
    let message = draft.message();
    assert!(message.starts_with("metadata form = \"tokens\" is not valid: ") && message.contains("train anew"), "{message}");
    draft.metadata.insert("form".to_string(), "tokens-2".to_string());
    assert!(draft.read().is_ok());
}

#[test]
fn invalid_parameters_are_not_written() {
    let mut parameters = seeded_parameters(3);
    parameters.values_mut()[PARAMETERS - 1] = f32::INFINITY;
    let fault = write(&parameters, &metadata()).expect_err("refused");
    assert!(fault.to_string().starts_with("tensor decoder.layers.3.norm3.bias holds NaN or an infinity"), "{fault}");
}

#[test]
fn faults_name_tensor_and_mend() {
    const KERNEL: &str = "decoder.layers.1.multihead_attn.out_proj.weight";
    let mut draft = Draft::new();
    draft.tensors.retain(|tensor| tensor.0 != KERNEL);
    assert!(draft.message().starts_with(&format!("tensor {KERNEL} is missing: ")));

    let mut draft = Draft::new();
    draft.tensors.push(("encoder.layers.4.norm1.bias".to_string(), Dtype::F32, vec![1], vec![0; 4]));
    assert!(draft.message().starts_with("tensor encoder.layers.4.norm1.bias is no part of SPARTA"));

    let mut draft = Draft::new();
    let tensor = draft.tensor(KERNEL);
    (tensor.2, tensor.3) = (vec![72, 70], vec![0; 72 * 70 * 4]);
    assert!(draft.message().starts_with(&format!("tensor {KERNEL} has shape [72, 70] instead of [72, 72]")));

    let mut draft = Draft::new();
    let tensor = draft.tensor("encoder.layers.0.linear1.bias");
    (tensor.1, tensor.3) = (Dtype::F64, vec![0; 64 * 8]);
    assert!(draft.message().starts_with("tensor encoder.layers.0.linear1.bias has type F64 instead of F32"));

    let mut draft = Draft::new();
    draft.tensor(KERNEL).3[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(draft.message().starts_with(&format!("tensor {KERNEL} holds NaN")));
}

#[test]
fn metadata_that_contradicts_is_refused() {
    for (key, value) in [
        ("seg_len", "30"),
        ("d_model", "64"),
        ("layers", "x"),
        ("heads", "8"),
        ("ff", "72"),
        ("form", "both"),
        ("threshold", "inf"),
        ("architecture", "x"),
    ] {
        let mut draft = Draft::new();
        draft.metadata.insert(key.to_string(), value.to_string());
        assert!(draft.message().starts_with(&format!("metadata {key} = {value:?} is not valid: ")), "{key}");
    }
}

#[test]
fn size_is_checked_before_parsing() {
    let bytes = vec![0xff; WEIGHTS_FILE_BYTES_MAX as usize + 1];
    assert!(matches!(read(&bytes), Err(WeightsFault::File(FileFault::TooLarge { .. }))));
    assert!(matches!(read(&bytes[1..]), Err(WeightsFault::File(FileFault::Container(_)))));
    assert!(matches!(read(&[]), Err(WeightsFault::File(FileFault::Container(_)))));
    assert!(matches!(read_path(std::path::Path::new("no/such/file")), Err(WeightsFault::File(FileFault::Unreadable(_)))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A file with some bytes changed is read or refused; never a panic. The header is hit as often as the tensors.
    #[test]
    fn damaged_files_never_panic(changes in prop::collection::vec((0_usize..40_000, any::<u8>()), 1..8), cut in 0_usize..20_000) {
        let mut bytes = write(&seeded_parameters(1), &metadata()).expect("valid parameters are written");
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut / 100);
        if let Ok(weights) = read(&bytes) {
            prop_assert_eq!(weights.parameters.validate(), Ok(()));
        }
    }
}
