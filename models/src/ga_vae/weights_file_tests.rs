//! Weight files: round trip, and every fault by its name.

use super::parameters::TensorRole;
use super::test_kit::seeded_parameters;
use super::weights_file::{GaVaeMetadata, WEIGHTS_FILE_BYTES_MAX, WeightsFault, read, read_path, write};
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
        let parameters = seeded_parameters(2, 1);
        let tensors = parameters.tensors().map(|tensor| {
            let bytes = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (tensor.name.to_string(), Dtype::F32, tensor.shape.dimensions().to_vec(), bytes)
        });
        Self { tensors: tensors.collect(), metadata: HashMap::new() }
    }

    fn tensor(&mut self, name: &str) -> &mut (String, Dtype, Vec<usize>, Vec<u8>) {
        self.tensors.iter_mut().find(|tensor| tensor.0 == name).expect("the draft has the tensor")
    }

    /// The one-line message of the fault.
    fn message(&self) -> String {
        let views = self
            .tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).expect("the draft is consistent")));
        let bytes = safetensors::serialize(views, Some(self.metadata.clone())).expect("the draft is consistent");
        let message = read(&bytes).err().map(|fault| fault.to_string()).expect("the draft is spoilt");
        assert!(!message.contains('\n'), "{message}");
        message
    }
}

fn metadata() -> GaVaeMetadata {
    GaVaeMetadata {
        preprocessing: Some("openpose18-square".to_string()),
        threshold: Some(12.5),
        other: [("license".to_string(), "MIT".to_string())].into(),
    }
}

#[test]
fn what_is_written_is_read_back() {
    for width in [2, 4] {
        let parameters = seeded_parameters(width, 3);
        let bytes = write(&parameters, &metadata()).expect("valid parameters are written");
        let weights = read(&bytes).expect("what was written is valid");
        assert_eq!((weights.parameters, weights.metadata), (parameters.clone(), metadata()));
        // Files are compared by their hash.
        assert_eq!(bytes, write(&parameters, &metadata()).expect("again"));
    }
}

#[test]
fn invalid_parameters_are_not_written() {
    let mut parameters = seeded_parameters(2, 3);
    parameters.visit_mut(|tensor| {
        if tensor.role == TensorRole::ReferenceMean {
            tensor.values[0] = f32::INFINITY;
        }
    });
    assert!(matches!(write(&parameters, &metadata()), Err(WeightsFault::Parameters(_))));
}

#[test]
fn faults_name_tensor_and_mend() {
    const KERNEL: &str = "encoder.4.tcn.weight";
    let mut draft = Draft::new();
    draft.tensors.retain(|tensor| tensor.0 != KERNEL);
    assert!(draft.message().starts_with(&format!("tensor {KERNEL} is missing: ")));

    let mut draft = Draft::new();
    draft.tensors.push(("encoder.9.tcn.bias".to_string(), Dtype::F32, vec![1], vec![0; 4]));
    assert!(draft.message().starts_with("tensor encoder.9.tcn.bias is no part of a GA-VAE"));

    let mut draft = Draft::new();
    let tensor = draft.tensor(KERNEL);
    (tensor.2, tensor.3) = (vec![24, 24, 7], vec![0; 24 * 24 * 7 * 4]);
    assert!(draft.message().starts_with(&format!("tensor {KERNEL} has shape [24, 24, 7] instead of [24, 24, 9]")));

    let mut draft = Draft::new();
    let tensor = draft.tensor("encoder.0.norm.weight");
    (tensor.2, tensor.3) = (vec![24], vec![0; 96]);
    assert!(draft.message().starts_with("no GA-VAE has width 3"));

    let mut draft = Draft::new();
    draft.tensor(KERNEL).3[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(draft.message().starts_with(&format!("tensor {KERNEL} holds NaN")));

    let mut draft = Draft::new();
    draft.tensor("data_norm.running_var").3[..4].copy_from_slice(&(-1.0_f32).to_le_bytes());
    assert!(draft.message().starts_with("tensor data_norm.running_var holds a negative variance"));
}

#[test]
fn metadata_that_contradicts_is_refused() {
    for (key, value) in [("seg_len", "48"), ("width", "4"), ("threshold", "inf"), ("architecture", "x"), ("score_rule", "elbo")] {
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
    assert!(matches!(read_path(std::path::Path::new("no/such/file")), Err(WeightsFault::File(FileFault::Unreadable(_)))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A file with some bytes changed is read or refused; never a panic. The header is hit as often as the tensors.
    #[test]
    fn damaged_files_never_panic(changes in prop::collection::vec((0_usize..80_000, any::<u8>()), 1..8), cut in 0_usize..20_000) {
        let mut bytes = write(&seeded_parameters(2, 1), &metadata()).expect("valid parameters are written");
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut / 100);
        if let Ok(weights) = read(&bytes) {
            prop_assert_eq!(weights.parameters.validate(), Ok(()));
        }
    }
}
