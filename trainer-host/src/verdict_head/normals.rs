//! The shape of a camera's normal windows: a shrunk covariance as a few directions and one variance for the rest.

use super::linear::eigen;
use alfred_core::verdict_head::{Features, HEAD_DIRECTIONS, HEAD_FEATURES};

/// Directions, their gains, and the rest's gain, as in `HeadParts`.
pub(super) struct Shape {
    pub directions: [Features; HEAD_DIRECTIONS],
    pub direction_gains: [f32; HEAD_DIRECTIONS],
    pub rest_gain: f32,
}

/// The shape of standardised normal windows. The covariance is shrunk towards equal variances by Ledoit and Wolf's rule (2004, "A
/// well-conditioned estimator for large-dimensional covariance matrices"), so that it has an inverse however few windows there are.
pub(super) fn shape(normals: &[&[f64; HEAD_FEATURES]]) -> Shape {
    let count = normals.len().max(1) as f64;
    let mut means = [0.0; HEAD_FEATURES];
    for normal in normals {
        means.iter_mut().zip(*normal).for_each(|(mean, value)| *mean += value / count);
    }
    let mut covariance = vec![0.0; HEAD_FEATURES * HEAD_FEATURES];
    let mut fourth_powers = 0.0;
    for normal in normals {
        let mut centred = **normal;
        centred.iter_mut().zip(&means).for_each(|(value, mean)| *value -= mean);
        let square: f64 = centred.iter().map(|value| value * value).sum();
        fourth_powers += square * square;
        for (place, value) in centred.iter().enumerate() {
            let factor = value / count;
            covariance[place * HEAD_FEATURES..][..=place].iter_mut().zip(&centred).for_each(|(out, other)| *out += factor * other);
        }
    }
    for row in 0..HEAD_FEATURES {
        for column in 0..row {
            covariance[column * HEAD_FEATURES + row] = covariance[row * HEAD_FEATURES + column];
        }
    }
    let size = HEAD_FEATURES as f64;
    let variance = (0..HEAD_FEATURES).map(|place| covariance[place * HEAD_FEATURES + place]).sum::<f64>() / size;
    let squares: f64 = covariance.iter().map(|value| value * value).sum();
    // |S - mI|² and the scatter of single windows about S, both per feature.
    let distance = squares / size - variance * variance;
    let scatter = ((fourth_powers / count - squares) / count / size).clamp(0.0, distance.max(0.0));
    let shrinkage = if distance > 0.0 { scatter / distance } else { 1.0 };
    let spectrum = eigen(&mut covariance, HEAD_FEATURES);
    let inverse = |value: f64| 1.0 / ((1.0 - shrinkage) * value + shrinkage * variance).max(f64::from(f32::EPSILON));
    let rest = &spectrum[HEAD_DIRECTIONS..];
    let rest_gain = rest.iter().map(|(value, _)| inverse(*value)).sum::<f64>() / rest.len() as f64;
    let mut shape =
        Shape { directions: [[0.0; HEAD_FEATURES]; HEAD_DIRECTIONS], direction_gains: [0.0; HEAD_DIRECTIONS], rest_gain: rest_gain as f32 };
    for (index, (value, vector)) in spectrum[..HEAD_DIRECTIONS].iter().enumerate() {
        shape.directions[index].iter_mut().zip(vector).for_each(|(out, value)| *out = *value as f32);
        shape.direction_gains[index] = (inverse(*value) - rest_gain) as f32;
    }
    shape
}
