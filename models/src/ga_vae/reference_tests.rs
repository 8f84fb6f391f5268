//! The oracle against what can be worked out by hand.

use super::parameters::HeapParameters;
use super::reference::{Activation, block, decode, encode, reconstruct, score};
use super::shape::{GaVaeShape, LATENT_FRAMES, WINDOW_FRAMES};
use super::test_kit::{seeded_parameters, seeded_window};
use alfred_core::limits::JOINTS;

#[test]
fn a_model_that_learnt_nothing_scores_zero_and_a_moved_mean_is_a_distance() {
    let mut parameters = HeapParameters::zero(GaVaeShape::new(2).expect("a valid width"));
    let window = seeded_window(1, 2.0);
    assert_eq!(score(&parameters, window.values()), 0.0);
    parameters.visit_mut(|tensor| {
        if tensor.name.to_string() == "score.reference_mean" {
            (tensor.values[0], tensor.values[1]) = (3.0, 4.0);
        }
    });
    assert_eq!(score(&parameters, window.values()), 5.0);
}

#[test]
fn shapes_of_code_and_reconstruction_are_the_declared_ones() {
    let parameters = seeded_parameters(2, 1);
    let window = seeded_window(1, 2.0);
    let latent = encode(&parameters, window.values());
    assert_eq!((latent.channels, latent.frames), (16, LATENT_FRAMES));
    assert_eq!(latent.values.len(), parameters.shape().latent_values());
    let reconstruction = reconstruct(&parameters, window.values());
    assert_eq!((reconstruction.channels, reconstruction.frames), (2, WINDOW_FRAMES));
    assert!(reconstruction.values.iter().all(|value| value.is_finite()));
    // Nothing is sampled, and only the means are decoded.
    let mut means = Activation::zero(8, LATENT_FRAMES);
    means.values.copy_from_slice(&latent.values[..8 * LATENT_FRAMES * JOINTS]);
    assert_eq!(decode(&parameters, &means), reconstruction);
}

#[test]
fn a_block_with_one_tap_and_one_bone_is_worked_out_by_hand() {
    // Block 1 of width 2: 16 channels to 16, identity residuals. Only family 0, matrix 1 (from the limb's side) lets channel 0 through.
    let mut parameters = HeapParameters::zero(GaVaeShape::new(2).expect("a valid width"));
    parameters.visit_mut(|tensor| match tensor.name.to_string().as_str() {
        "encoder.1.gcn.expand.weight" => tensor.values[16 * 16] = 2.0,
        "encoder.1.gcn.reduce.weight" => tensor.values[0] = 1.0,
        // Output channel 0 sees input channel 0 one frame later.
        "encoder.1.tcn.weight" => tensor.values[5] = 1.0,
        _ => {}
    });
    let mut input = Activation::zero(16, WINDOW_FRAMES);
    // Joint 4, the right wrist, at frame 7; its elbow is joint 3, which has two neighbours and itself.
    input.values[7 * JOINTS + 4] = 3.0;
    let output = block(&parameters.encoder_block(1), &input);
    let epsilon = 1e-4;
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < epsilon, "{found} instead of {expected}");
    close(output.at(0, 6, 3), 2.0);
    close(output.at(0, 6, 4), 3.0);
    close(output.at(0, 7, 4), 3.0);
    close(output.values.iter().sum(), 8.0);
}
