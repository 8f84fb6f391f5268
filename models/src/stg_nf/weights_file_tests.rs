//! Weight files: round trip, and every fault by its name.

use super::parameters::StgNfParameters;
use super::test_kit::seeded_parameters;
use super::weights_file::{StgNfMetadata, WEIGHTS_FILE_BYTES_MAX, WeightsFault, read, read_path, write};
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
    fn new(parameters: &StgNfParameters) -> Self {
        let tensors = parameters
            .tensors()
            .map(|tensor| {
                let bytes = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
                (tensor.name.to_string(), Dtype::F32, tensor.shape.dimensions().to_vec(), bytes)
            })
            .collect();
        Self { tensors, metadata: HashMap::from([("R".to_string(), "3.0".to_string())]) }
    }

    fn tensor(&mut self, name: &str) -> &mut (String, Dtype, Vec<usize>, Vec<u8>) {
        self.tensors.iter_mut().find(|tensor| tensor.0 == name).expect("the draft has the tensor")
    }

    fn add_prior(&mut self, name: &str, shape: Vec<usize>, mean: f32) {
        let half = shape.iter().product::<usize>() / 2;
        let bytes = (0..2 * half).flat_map(|at| if at < half { mean } else { 0.0 }.to_le_bytes()).collect();
        self.tensors.push((name.to_string(), Dtype::F32, shape, bytes));
    }

    fn read(&self) -> Result<StgNfParameters, WeightsFault> {
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

fn metadata() -> StgNfMetadata {
    StgNfMetadata {
        max_hop: 5,
        preprocessing: Some("stg-nf".to_string()),
        threshold: Some(1.25),
        score_rule: None,
        other: [("license".to_string(), "CC BY-NC 4.0".to_string())].into(),
    }
}

#[test]
fn what_is_written_is_read_back() {
    for frames in [4, 16, 24, 48] {
        let mut parameters = seeded_parameters(frames, 3);
        parameters.prior_mean = 0.1;
        let bytes = write(&parameters, &metadata()).expect("valid parameters are written");
        let weights = read(&bytes).expect("what was written is valid");
        assert_eq!(weights.parameters, parameters);
        assert_eq!(weights.metadata, metadata());
        // Files are compared by their hash.
        assert_eq!(bytes.len(), write(&parameters, &metadata()).expect("again").len());
    }
}

#[test]
fn invalid_parameters_are_not_written() {
    let mut parameters = seeded_parameters(24, 3);
    parameters.flows[0].gcn_bias[0] = f32::INFINITY;
    assert!(matches!(write(&parameters, &metadata()), Err(WeightsFault::Parameters(_))));
}

#[test]
fn prior_buffers_stand_in_for_missing_metadata() {
    let mut draft = Draft::new(&seeded_parameters(24, 1));
    draft.metadata.clear();
    assert!(matches!(draft.read(), Err(WeightsFault::PriorMeanUnknown)));
    draft.add_prior("prior_h_normal", vec![4, 24, 18], 10.0);
    draft.add_prior("prior_h_abnormal", vec![4, 24, 18], -10.0);
    draft.add_prior("prior_h", vec![1, 4, 24, 18], 0.0);
    assert_eq!(draft.read().expect("R is in the buffer").prior_mean, 10.0);
    draft.metadata.insert("R".to_string(), "3.0".to_string());
    assert!(draft.message().contains("prior_h_normal says 10"));
}

#[test]
fn faults_name_tensor_and_mend() {
    const KERNEL: &str = "flow.layers.4.block.0.tcn.2.weight";
    let fresh = || Draft::new(&seeded_parameters(24, 1));

    let mut draft = fresh();
    draft.tensors.retain(|tensor| tensor.0 != KERNEL);
    assert_eq!(draft.message(), format!("tensor {KERNEL} is missing: convert the whole checkpoint, running statistics included"));

    let mut draft = fresh();
    draft.tensors.push(("flow.layers.8.actnorm.bias".to_string(), Dtype::F32, vec![1], vec![0; 4]));
    assert!(draft.message().starts_with("tensor flow.layers.8.actnorm.bias is no part of STG-NF"));

    let mut draft = fresh();
    let tensor = draft.tensor(KERNEL);
    (tensor.2, tensor.3) = (vec![2, 2, 9, 1], vec![0; 144]);
    assert!(draft.message().starts_with(&format!("tensor {KERNEL} has shape [2, 2, 9, 1] instead of [2, 2, 13, 1]")));

    let mut draft = fresh();
    let tensor = draft.tensor("flow.layers.0.actnorm.bias");
    (tensor.1, tensor.3) = (Dtype::F64, vec![0; 16]);
    assert!(draft.message().starts_with("tensor flow.layers.0.actnorm.bias has type F64 instead of F32"));

    let mut draft = fresh();
    draft.tensor(KERNEL).3[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(draft.message().starts_with(&format!("tensor {KERNEL} holds NaN")));

    let mut draft = fresh();
    draft.add_prior("prior_h", vec![1, 4, 24, 18], 1.0);
    assert!(draft.message().starts_with("buffer prior_h does not hold"));
}

#[test]
fn metadata_that_contradicts_is_refused() {
    for (key, value) in [
        ("seg_len", "16"),
        ("K", "9"),
        ("R", "NaN"),
        ("max_hop", "18"),
        ("threshold", "inf"),
        ("adjacency", "spatial"),
        ("architecture", "x"),
    ] {
        let mut draft = Draft::new(&seeded_parameters(24, 1));
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
    /// A file with some bytes changed is read or refused; never a panic.
    #[test]
    fn damaged_files_never_panic(changes in prop::collection::vec((0_usize..20_000, any::<u8>()), 1..8), cut in 0_usize..20_000) {
        let mut bytes = write(&seeded_parameters(8, 1), &metadata()).expect("valid parameters are written");
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut.min(bytes.len()) / 100);
        if let Ok(weights) = read(&bytes) {
            prop_assert_eq!(weights.parameters.validate(), Ok(()));
        }
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let parameters = seeded_parameters(24, 3);
    let mut metadata = StgNfMetadata { threshold: Some(1.5), ..StgNfMetadata::default() };
    for key in ["source", "licence", "a", "b", "c", "d", "e"] {
        metadata.other.insert(key.to_string(), key.repeat(3));
    }
    let bytes = write(&parameters, &metadata).expect("valid");
    // A hash map's order differs from one map to the next within a process.
    for _ in 0..8 {
        assert_eq!(write(&parameters, &metadata).expect("valid"), bytes);
    }
    let header = String::from_utf8_lossy(&bytes[8..400]);
    assert!(header.starts_with(r#"{"__metadata__":{"K":"8","R":"3.0","a":"aaa","adjacency":"#), "{header}");
}
