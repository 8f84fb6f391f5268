//! Counts, names and validation of parameters.

use super::adjacency::Adjacency;
use super::parameters::{FLOW_TENSORS, ParameterFault, StgNfParameters, StgNfShape, TensorName, TensorRole};
use super::scorer::{Lane, StgNfScorer};
use super::test_kit::seeded_parameters;

fn shape(frames: usize) -> StgNfShape {
    StgNfShape::new(frames).expect("tests use lengths that exist")
}

#[test]
fn the_published_shapes_have_the_published_number_of_parameters() {
    assert_eq!((shape(24).trainable_parameters(), shape(24).taps(), shape(24).padding()), (616, 13, 6));
    assert_eq!((shape(16).trainable_parameters(), shape(16).taps(), shape(16).padding()), (488, 9, 4));
    assert_eq!(StgNfShape::from_taps(13), Ok(shape(24)));
    assert_eq!(StgNfShape::from_taps(9), Ok(shape(16)));
}

#[test]
fn lengths_without_a_symmetric_kernel_are_refused() {
    for frames in [0, 3, 6, 18, 23, 49, 52, usize::MAX] {
        assert_eq!(StgNfShape::new(frames).map_err(|fault| fault.frames), Err(frames));
    }
    for taps in [0, 1, 2, 12, 27, usize::MAX] {
        assert!(StgNfShape::from_taps(taps).is_err(), "{taps} taps");
    }
}

#[test]
fn the_table_names_every_tensor_once() {
    let parameters = seeded_parameters(24, 1);
    let names: Vec<String> = parameters.tensors().map(|tensor| tensor.name.to_string()).collect();
    assert_eq!(names.len(), 14 + 7 * 20);
    assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
    assert_eq!(names[0], "flow.layers.0.actnorm.bias");
    assert_eq!(names[names.len() - 1], "flow.layers.7.block.0.residual.1.running_var");
    let trainable: usize =
        parameters.tensors().filter(|tensor| tensor.role == TensorRole::Trainable).map(|tensor| tensor.values.len()).sum();
    assert_eq!(trainable, 616);
}

#[test]
fn writing_through_the_table_is_read_back() {
    let mut parameters = StgNfParameters::zero(shape(16));
    let mut number = 0.0;
    parameters.visit_mut(|tensor| {
        for value in tensor.values {
            number += 1.0;
            *value = number;
        }
    });
    let values: Vec<f32> = parameters.tensors().flat_map(|tensor| tensor.values.iter().copied()).collect();
    assert!(values.iter().enumerate().all(|(position, &value)| value == (position + 1) as f32));
}

#[test]
fn faults_name_their_tensor() {
    let row = FLOW_TENSORS.iter().find(|row| row.suffix == "block.0.tcn.2.weight").expect("the kernel is in the table");
    let mut parameters = seeded_parameters(24, 1);
    parameters.flows[3].tcn_weight[51] = f32::NAN;
    let name = TensorName { flow: 3, suffix: row.suffix };
    assert_eq!(parameters.validate(), Err(ParameterFault::NotFinite(name)));
    assert!(ParameterFault::NotFinite(name).to_string().contains("flow.layers.3.block.0.tcn.2.weight"));
    // Beyond the kernel's 52 values nothing counts.
    parameters.flows[3].tcn_weight[51] = 0.0;
    parameters.flows[3].tcn_weight[52] = f32::NAN;
    assert_eq!(parameters.validate(), Ok(()));
    parameters.flows[5].residual_norm.running_var[1] = -1e-9;
    assert!(matches!(parameters.validate(), Err(ParameterFault::NegativeVariance(name)) if name.flow == 5));
}

#[test]
fn parameters_that_overflow_when_folded_are_refused() {
    let mut parameters = seeded_parameters(24, 1);
    parameters.flows[2].actnorm_logs[0] = 100.0;
    let fault = StgNfScorer::new(&parameters, &Adjacency::published(), Lane::Fast).err();
    assert_eq!(fault, Some(ParameterFault::NotFoldable { flow: 2 }));
}
