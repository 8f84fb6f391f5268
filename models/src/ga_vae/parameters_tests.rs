//! Sizes and tables of a GA-VAE.

use super::parameters::{GaVaeParameters, HeapParameters, ParameterFault, Place, TensorRole};
use super::shape::{BlockShape, ENCODER_BLOCKS, GaVaeShape, PUBLISHED_WIDTH, Residual, ShapeFault};

fn shape(width: usize) -> GaVaeShape {
    GaVaeShape::new(width).expect("a valid width")
}

#[test]
fn channels_frames_and_residuals_are_the_published_tables() {
    let blocks: Vec<BlockShape> = (0..ENCODER_BLOCKS).map(|block| shape(PUBLISHED_WIDTH).encoder_block(block)).collect();
    assert_eq!(blocks.iter().map(|block| block.outputs).collect::<Vec<_>>(), [80, 80, 80, 120, 120, 120, 160, 160, 80]);
    assert_eq!(blocks.iter().map(BlockShape::output_frames).collect::<Vec<_>>(), [24, 24, 12, 12, 12, 4, 4, 4, 4]);
    assert_eq!(blocks.iter().filter(|block| block.residual == Residual::Projected).count(), 5);
    assert_eq!(blocks[0].residual, Residual::None);
    let decoder: Vec<usize> = (0..5).map(|block| shape(PUBLISHED_WIDTH).decoder_block(block).frames).collect();
    assert_eq!(decoder, [12, 12, 12, 24, 24]);
    assert_eq!(GaVaeShape::new(7), Err(ShapeFault { width: 7 }));
    assert_eq!(GaVaeShape::new(18), Err(ShapeFault { width: 18 }));
}

#[test]
fn numbers_of_parameters_are_known() {
    let count = |width: usize, wanted: fn(Place) -> bool| -> usize {
        let plan = shape(width).plan().filter(|plan| plan.role == TensorRole::Trainable && wanted(plan.name.place));
        plan.map(|plan| plan.shape.values()).sum()
    };
    // The published code's counts with 17 joints are 2,713,611 and 536,513, of which 2,000 and 680 belong to normalisations that it
    // builds and never calls; the 18th joint adds 105 values to each block's learnt adjacency and 4 to the first normalisation.
    assert_eq!(count(10, |place| matches!(place, Place::Data | Place::Encoder(_))), 2_713_611 - 2_000 + 9 * 105 + 4);
    assert_eq!(count(10, |place| matches!(place, Place::Decoder(_) | Place::Output)), 536_513 - 680 + 5 * 105);
    assert_eq!(shape(4).trainable_parameters(), 536_828);
}

#[test]
fn tensors_have_their_own_names_and_fill_the_storage() {
    let parameters = HeapParameters::zero(shape(4));
    assert_eq!(parameters.tensors().map(|tensor| tensor.values.len()).sum::<usize>(), parameters.values().len());
    let mut names: Vec<String> = parameters.tensors().map(|tensor| tensor.name.to_string()).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(names.iter().any(|name| name == "encoder.3.gcn.residual_norm.running_var"));
    assert!(names.iter().any(|name| name == "score.reference_mean"));
    assert!(!names.iter().any(|name| name.starts_with("encoder.0.residual")));
    assert_eq!(parameters.validate(), Ok(()));
}

#[test]
fn values_that_no_model_can_have_are_refused() {
    let mut parameters = HeapParameters::zero(shape(2));
    let length = parameters.values().len();
    assert_eq!(
        GaVaeParameters::new(shape(4), parameters.values()).err(),
        Some(ParameterFault::Length { width: 4, expected: shape(4).values(), found: length })
    );
    parameters.values_mut()[length - 1] = f32::NAN;
    assert!(parameters.validate().is_err_and(|fault| fault.to_string().starts_with("tensor score.reference_mean holds NaN")));
    let mut parameters = HeapParameters::zero(shape(2));
    parameters.visit_mut(|tensor| {
        if tensor.name.to_string() == "encoder.5.tcn_norm.running_var" {
            tensor.values[3] = -1.0;
        }
    });
    assert!(parameters.validate().is_err_and(|fault| fault.to_string().contains("encoder.5.tcn_norm.running_var holds a negative")));
}
