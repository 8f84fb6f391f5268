//! From samples to a head, without asking whether it is any good.

use super::logistic::{self, Example};
use super::normals::shape;
use super::sample::{HeadRecipe, HeadSample, NoHead};
use alfred_core::verdict_head::{HEAD_DIRECTIONS, HEAD_FEATURES, HeadParts, VerdictHead};

/// Smallest spread that a feature is given: a joint that is never detected does not move at all.
const FEATURE_DEVIATION_MIN: f64 = 1e-3;
/// Smallest spread of a score: a model that says the same of every window must not be divided by zero.
const SCORE_DEVIATION_MIN: f64 = 1e-6;

/// Fits a head to samples of both classes. Everything is measured on the numbers that the head stores, so what is lost by making them small
/// is part of the fit.
pub(super) fn fit(samples: &[&HeadSample], recipe: &HeadRecipe) -> Result<VerdictHead, NoHead> {
    let normals: Vec<&HeadSample> = samples.iter().copied().filter(|sample| !sample.is_anomalous).collect();
    let mut parts = standardisation(&normals, recipe);
    let ruler = VerdictHead::from_parts(&parts)?;
    let examples: Vec<Example> = samples
        .iter()
        .map(|sample| Example { features: ruler.standardised(&sample.features), is_anomalous: sample.is_anomalous })
        .collect();
    let (weights, bias) = logistic::fit(&examples, recipe.evidence).ok_or(NoHead::Singular)?;
    parts.verdict_weights.iter_mut().zip(&weights).for_each(|(out, weight)| *out = *weight as f32);
    parts.verdict_bias = bias as f32;
    let standardised: Vec<&[f64; HEAD_FEATURES]> =
        examples.iter().filter(|example| !example.is_anomalous).map(|example| &example.features).collect();
    let shape = shape(&standardised);
    (parts.directions, parts.direction_gains, parts.rest_gain) = (shape.directions, shape.direction_gains, shape.rest_gain);
    let unscaled = VerdictHead::from_parts(&parts)?;
    let distances = normals.iter().map(|sample| unscaled.opinions(&sample.features, sample.density).distance);
    let (mean, deviation) = moments(distances);
    (parts.distance_mean, parts.distance_deviation) = (mean as f32, deviation.max(SCORE_DEVIATION_MIN) as f32);
    Ok(VerdictHead::from_parts(&parts)?)
}

/// Means and deviations over the normal windows; no weights, no directions, distances unscaled.
fn standardisation(normals: &[&HeadSample], recipe: &HeadRecipe) -> HeadParts {
    let mut parts = HeadParts {
        feature_means: [0.0; HEAD_FEATURES],
        feature_deviations: [1.0; HEAD_FEATURES],
        verdict_weights: [0.0; HEAD_FEATURES],
        verdict_bias: 0.0,
        verdict_floor: recipe.verdict_floor,
        directions: [[0.0; HEAD_FEATURES]; HEAD_DIRECTIONS],
        direction_gains: [0.0; HEAD_DIRECTIONS],
        rest_gain: 1.0,
        distance_mean: 0.0,
        distance_deviation: 1.0,
        density_mean: 0.0,
        density_deviation: 1.0,
        verdict_share: recipe.verdict_share,
        distance_share: recipe.distance_share,
        density_share: recipe.density_share,
    };
    for place in 0..HEAD_FEATURES {
        let (mean, deviation) = moments(normals.iter().map(|sample| f64::from(sample.features[place])));
        parts.feature_means[place] = mean as f32;
        parts.feature_deviations[place] = deviation.max(FEATURE_DEVIATION_MIN) as f32;
    }
    let (mean, deviation) = moments(normals.iter().map(|sample| f64::from(sample.density.value())));
    (parts.density_mean, parts.density_deviation) = (mean as f32, deviation.max(SCORE_DEVIATION_MIN) as f32);
    parts
}

/// Mean and population standard deviation.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    let variance = values.map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    (mean, variance.sqrt())
}
