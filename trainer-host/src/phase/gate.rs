//! Gated adaptation: a candidate replaces the pair in force only if the validation set does not speak against it.

use crate::metric::bootstrap::BootstrapPlan;
use crate::metric::confusion::Confusion;
use crate::metric::quantile::quantile;
use alfred_synth::random::Random;

/// EBI, as a share, that a candidate may cost at the lower end of the interval.
pub const LOSS_MAX: f64 = 0.02;

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateVerdict {
    /// Whether the candidate may go out.
    pub open: bool,
    /// EBI of the candidate less that of the pair in force.
    pub gain: f64,
    /// Lower end of its 90 % interval.
    pub gain_low: f64,
}

/// Compares two pairs of weights and threshold by what each decides on the same groups (events or clips) of the validation set.
///
/// The groups are resampled, the same draw for both pairs, since most of the spread is common to them. The gate opens when the gain is
/// not negative, or its interval's lower end is above `-loss_max`. Without a comparison (a rate undefined) it stays shut.
#[must_use]
pub fn compare(current: &[Confusion], candidate: &[Confusion], loss_max: f64, plan: &BootstrapPlan) -> GateVerdict {
    let groups = current.len().min(candidate.len());
    let gain_of = |draw: &mut dyn FnMut() -> usize| {
        let (mut old, mut new) = (Confusion::default(), Confusion::default());
        for _ in 0..groups {
            let group = draw();
            old.merge(&current[group]);
            new.merge(&candidate[group]);
        }
        Some(new.ebi()? - old.ebi()?)
    };
    let mut next = 0;
    let all = gain_of(&mut || {
        next += 1;
        next - 1
    });
    let Some(gain) = all.filter(|_| groups > 0) else { return GateVerdict { open: false, gain: f64::NAN, gain_low: f64::NAN } };
    let mut random = Random::new(plan.seed);
    let mut gains: Vec<f64> = (0..plan.resamples).filter_map(|_| gain_of(&mut || random.below(groups))).collect();
    gains.sort_unstable_by(f64::total_cmp);
    let gain_low = quantile(&gains, 0.05).unwrap_or(gain);
    GateVerdict { open: gain >= 0.0 || gain_low > -loss_max, gain, gain_low }
}
