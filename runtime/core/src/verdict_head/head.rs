//! The head itself: three opinions about a window, added up.
//!
//! With z the standardised features, clamped to ±8:
//!
//! - verdicts: max(w·z + b, floor), the log-odds of "anomalous" in a logistic regression on the verdicts;
//! - distance: sqrt(r |z|² + Σ g_i (u_i·z)²), Mahalanobis' distance from the camera's normal windows with the covariance as a few directions
//!   u_i and one variance for the rest (probabilistic PCA: Tipping and Bishop 1999), standardised on those windows;
//! - density: the model's own score, standardised on those windows.
//!
//! score = share_v verdicts + share_m distance + share_d density. Its scale is the head's own: a threshold belongs to a head as it does to weights.

use super::fault::HeadFault;
use super::features::{FEATURE_KINDS, Features, HEAD_FEATURES, features};
use super::quantised::quantise;
use crate::scorer::Window;
use crate::units::AnomalyScore;

/// Directions u_i in which the camera's normal windows are described one by one.
pub const HEAD_DIRECTIONS: usize = 8;

/// Largest whole number of a direction: they are stored in 4 bits each.
pub(super) const DIRECTION_WHOLE_MAX: f32 = 7.0;

/// Features of one kind.
const KIND_FEATURES: usize = HEAD_FEATURES / FEATURE_KINDS;

/// Standardised features are clamped to so many standard deviations: one wild coordinate must not outvote everything else.
pub const STANDARDISED_MAX: f64 = 8.0;

/// What a head is made of, before it is made small. All finite.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadParts {
    /// Means of the features over the camera's normal windows.
    pub feature_means: Features,
    /// Their standard deviations, above zero.
    pub feature_deviations: Features,
    /// w: log-odds per standard deviation of each feature.
    pub verdict_weights: Features,
    /// b: log-odds of a window with mean features.
    pub verdict_bias: f32,
    /// Lowest log-odds that count: how far verdicts may excuse a window that the other opinions find odd.
    pub verdict_floor: f32,
    /// u_i, of length one; unused ones zero.
    pub directions: [Features; HEAD_DIRECTIONS],
    /// g_i: inverse variance along u_i less the rest's.
    pub direction_gains: [f32; HEAD_DIRECTIONS],
    /// r: inverse variance of the rest, at least zero.
    pub rest_gain: f32,
    /// Mean of the distance over the normal windows.
    pub distance_mean: f32,
    /// Its standard deviation, above zero.
    pub distance_deviation: f32,
    /// Mean of the model's score over the normal windows.
    pub density_mean: f32,
    /// Its standard deviation, above zero.
    pub density_deviation: f32,
    /// Weight of the verdicts, at least zero.
    pub verdict_share: f32,
    /// Weight of the distance, at least zero.
    pub distance_share: f32,
    /// Weight of the model's score, at least zero.
    pub density_share: f32,
}

/// The numbers of a head that are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scalars {
    /// One per kind of feature.
    pub mean_scales: [f32; FEATURE_KINDS],
    pub inverse_scales: [f32; FEATURE_KINDS],
    pub weight_scale: f32,
    /// Gains times the squared scale of their direction.
    pub direction_gains: [f32; HEAD_DIRECTIONS],
    pub verdict_bias: f32,
    pub verdict_floor: f32,
    pub rest_gain: f32,
    pub distance_mean: f32,
    pub distance_deviation: f32,
    pub density_mean: f32,
    pub density_deviation: f32,
    pub verdict_share: f32,
    pub distance_share: f32,
    pub density_share: f32,
}

/// A camera's verdict head, in the small form in which it is stored and sent. Always valid: every window has a finite score.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictHead {
    pub(super) scalars: Scalars,
    pub(super) means: [i16; HEAD_FEATURES],
    /// Above zero.
    pub(super) inverse_deviations: [i16; HEAD_FEATURES],
    pub(super) weights: [i8; HEAD_FEATURES],
    /// [feature][direction], so that one feature's products are neighbours; -7 to 7.
    pub(super) directions: [[i8; HEAD_DIRECTIONS]; HEAD_FEATURES],
}

/// What each part of a head finds about a window, before they are weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opinions {
    /// Log-odds by the verdicts, at least the floor.
    pub verdicts: f64,
    /// Standardised distance from the normal windows.
    pub distance: f64,
    /// Standardised score of the model.
    pub density: f64,
}

impl VerdictHead {
    /// Makes the parts small: 16 bits per mean and deviation (speeds are a hundredth of heights), 8 per weight, 4 in directions, with one
    /// scale per group. What the head computes is what its small form
    /// computes; a trainer that wants the standardisation to be exact measures it on that (see [`VerdictHead::opinions`]).
    ///
    /// # Errors
    /// [`HeadFault`] names the part that is no number, or not above zero where it must be.
    pub fn from_parts(parts: &HeadParts) -> Result<Self, HeadFault> {
        check_vectors(parts)?;
        let mut head = Self {
            scalars: Scalars::of(parts),
            means: [0; HEAD_FEATURES],
            inverse_deviations: [0; HEAD_FEATURES],
            weights: [0; HEAD_FEATURES],
            directions: [[0; HEAD_DIRECTIONS]; HEAD_FEATURES],
        };
        let whole_max = f32::from(i16::MAX);
        let scalars = &mut head.scalars;
        for (kind, start) in (0..HEAD_FEATURES).step_by(KIND_FEATURES).enumerate() {
            let means = &mut head.means[start..start + KIND_FEATURES];
            let values = parts.feature_means[start..start + KIND_FEATURES].iter().copied();
            scalars.mean_scales[kind] = quantise(values, whole_max, |place, whole| means[place] = whole as i16);
            let inverse = &mut head.inverse_deviations[start..start + KIND_FEATURES];
            let values = parts.feature_deviations[start..start + KIND_FEATURES].iter().map(|deviation| 1.0 / deviation);
            // A spread far above the kind's smallest one is stored as the largest there is.
            scalars.inverse_scales[kind] = quantise(values, whole_max, |place, whole| inverse[place] = (whole as i16).max(1));
        }
        let weights = &mut head.weights;
        scalars.weight_scale =
            quantise(parts.verdict_weights.iter().copied(), f32::from(i8::MAX), |place, whole| weights[place] = whole as i8);
        for (index, direction) in parts.directions.iter().enumerate() {
            let stored = &mut head.directions;
            let values = direction.iter().copied();
            let scale = quantise(values, DIRECTION_WHOLE_MAX, |place, whole| stored[place][index] = whole as i8);
            scalars.direction_gains[index] *= scale * scale;
        }
        head.check().map(|()| head)
    }

    /// Refuses what would make a score that is no number.
    pub(super) fn check(&self) -> Result<(), HeadFault> {
        let scalars = &self.scalars;
        let single = [
            ("verdict_weights", scalars.weight_scale),
            ("verdict_bias", scalars.verdict_bias),
            ("verdict_floor", scalars.verdict_floor),
            ("rest_gain", scalars.rest_gain),
            ("distance_mean", scalars.distance_mean),
            ("distance_deviation", scalars.distance_deviation),
            ("density_mean", scalars.density_mean),
            ("density_deviation", scalars.density_deviation),
            ("verdict_share", scalars.verdict_share),
            ("distance_share", scalars.distance_share),
            ("density_share", scalars.density_share),
        ];
        let means = scalars.mean_scales.map(|scale| ("feature_means", scale));
        let inverses = scalars.inverse_scales.map(|scale| ("feature_deviations", scale));
        let gains = scalars.direction_gains.map(|gain| ("direction_gains", gain));
        for (name, value) in single.into_iter().chain(means).chain(inverses).chain(gains) {
            if !value.is_finite() {
                return Err(HeadFault::NotFinite(name));
            }
        }
        let spreads = [("distance_deviation", scalars.distance_deviation), ("density_deviation", scalars.density_deviation)];
        if let Some((name, _)) = spreads.into_iter().chain(inverses).find(|(_, spread)| *spread <= 0.0) {
            return Err(HeadFault::NotPositive(name));
        }
        let shares = [
            ("verdict_share", scalars.verdict_share),
            ("distance_share", scalars.distance_share),
            ("density_share", scalars.density_share),
        ];
        if let Some((name, _)) = shares.into_iter().chain([("rest_gain", scalars.rest_gain)]).find(|(_, share)| *share < 0.0) {
            return Err(HeadFault::NotPositive(name));
        }
        match () {
            () if self.inverse_deviations.iter().any(|inverse| *inverse <= 0) => Err(HeadFault::NotPositive("feature_deviations")),
            () if shares.iter().all(|(_, share)| *share == 0.0) => Err(HeadFault::NoOpinion),
            () => Ok(()),
        }
    }

    /// The window's score by this head; `density` is the model's. Finite for every window: a feature that is no number says nothing.
    /// Computed in f64 in one order of operations: the same bits on every machine.
    #[must_use]
    pub fn combine(&self, window: &Window, density: AnomalyScore) -> AnomalyScore {
        self.combine_features(&features(window), density)
    }

    /// [`VerdictHead::combine`] for features that are known already.
    #[must_use]
    pub fn combine_features(&self, features: &Features, density: AnomalyScore) -> AnomalyScore {
        let opinions = self.opinions(features, density);
        let scalars = &self.scalars;
        let sum = f64::from(scalars.verdict_share) * opinions.verdicts
            + f64::from(scalars.distance_share) * opinions.distance
            + f64::from(scalars.density_share) * opinions.density;
        let largest = f64::from(f32::MAX);
        // Finite: every factor is an f32, and so few of them stay far within f64.
        AnomalyScore::new(sum.clamp(-largest, largest) as f32).unwrap_or(density)
    }

    /// The features in the camera's standard deviations, as the head stores them, clamped to ±8: what weights and directions are fitted to.
    /// A feature that is no number is 0.
    #[must_use]
    pub fn standardised(&self, features: &Features) -> [f64; HEAD_FEATURES] {
        let (scalars, mut standardised) = (&self.scalars, [0.0; HEAD_FEATURES]);
        for (place, feature) in features.iter().enumerate() {
            let kind = place / KIND_FEATURES;
            let centred = f64::from(*feature) - f64::from(scalars.mean_scales[kind]) * f64::from(self.means[place]);
            let z = centred * (f64::from(scalars.inverse_scales[kind]) * f64::from(self.inverse_deviations[place]));
            standardised[place] = if z.is_nan() { 0.0 } else { z.clamp(-STANDARDISED_MAX, STANDARDISED_MAX) };
        }
        standardised
    }

    /// What each part finds; for reports.
    #[must_use]
    pub fn opinions(&self, features: &Features, density: AnomalyScore) -> Opinions {
        let scalars = &self.scalars;
        let (mut weighted, mut squares, mut along) = (0.0, 0.0, [0.0; HEAD_DIRECTIONS]);
        for (place, z) in self.standardised(features).into_iter().enumerate() {
            weighted += z * f64::from(self.weights[place]);
            squares += z * z;
            for (along, direction) in along.iter_mut().zip(&self.directions[place]) {
                *along += z * f64::from(*direction);
            }
        }
        let log_odds = f64::from(scalars.weight_scale) * weighted + f64::from(scalars.verdict_bias);
        let mut squared_distance = f64::from(scalars.rest_gain) * squares;
        for (along, gain) in along.iter().zip(&scalars.direction_gains) {
            squared_distance += f64::from(*gain) * along * along;
        }
        // Directions in 4 bits are not quite of length one: a hair below zero is zero.
        let distance = libm::sqrt(squared_distance.max(0.0));
        Opinions {
            verdicts: log_odds.max(f64::from(scalars.verdict_floor)),
            distance: (distance - f64::from(scalars.distance_mean)) / f64::from(scalars.distance_deviation),
            density: (f64::from(density.value()) - f64::from(scalars.density_mean)) / f64::from(scalars.density_deviation),
        }
    }
}

impl Scalars {
    /// The parts' numbers; scales are filled in once the vectors are small.
    fn of(parts: &HeadParts) -> Self {
        Self {
            mean_scales: [0.0; FEATURE_KINDS],
            inverse_scales: [0.0; FEATURE_KINDS],
            weight_scale: 0.0,
            direction_gains: parts.direction_gains,
            verdict_bias: parts.verdict_bias,
            verdict_floor: parts.verdict_floor,
            rest_gain: parts.rest_gain,
            distance_mean: parts.distance_mean,
            distance_deviation: parts.distance_deviation,
            density_mean: parts.density_mean,
            density_deviation: parts.density_deviation,
            verdict_share: parts.verdict_share,
            distance_share: parts.distance_share,
            density_share: parts.density_share,
        }
    }
}

/// Refuses vectors with which the small form would be meaningless.
fn check_vectors(parts: &HeadParts) -> Result<(), HeadFault> {
    let vectors = [
        ("feature_means", &parts.feature_means),
        ("feature_deviations", &parts.feature_deviations),
        ("verdict_weights", &parts.verdict_weights),
    ];
    let directions = parts.directions.iter().map(|direction| ("directions", direction));
    for (name, values) in vectors.into_iter().chain(directions) {
        if !values.iter().all(|value| value.is_finite()) {
            return Err(HeadFault::NotFinite(name));
        }
    }
    if parts.feature_deviations.iter().all(|value| *value > 0.0) { Ok(()) } else { Err(HeadFault::NotPositive("feature_deviations")) }
}
