//! When a bundle may go on: what it did in shadow and on trial, against declared bounds.

use alfred_wire::error_code::ErrorCode;

/// Bounds of shadow and trial. Rates are shares of windows, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialRules {
    /// Windows scored beside the live model; 0: no shadow.
    pub shadow_windows: u64,
    /// Share of windows that the two may decide differently.
    pub disagreement_max: f64,
    /// Share of windows that the new one may flag, in shadow and on trial.
    pub flag_rate_max: f64,
    /// Windows on probation, at least 1.
    pub trial_windows: u64,
    /// Windows without a score, in shadow and on trial, each.
    pub faults_max: u64,
}

impl TrialRules {
    /// Whether the rates are shares and there is a trial at all.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let is_share = |rate: f64| (0.0..=1.0).contains(&rate);
        is_share(self.disagreement_max) && is_share(self.flag_rate_max) && self.trial_windows > 0
    }
}

/// What was counted since the shadow or the trial began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Windows given to the new model.
    pub windows: u64,
    /// Of these, flagged by it.
    pub flagged: u64,
    /// Flagged by the live one (shadow only).
    pub live_flagged: u64,
    /// Decided differently by the two (shadow only).
    pub disagreements: u64,
    /// Without a score of the new one.
    pub faults: u64,
}

/// What follows from a tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Too early to say.
    GoOn,
    /// Everything was within the bounds to the end.
    Pass,
    /// A bound is broken, or can no longer be kept.
    Fail(ErrorCode),
}

impl TrialRules {
    /// Judges a shadow.
    #[must_use]
    pub fn judge_shadow(&self, tally: &Tally) -> Verdict {
        let bounds = [
            (tally.faults, self.faults_max, ErrorCode::ShadowFaults),
            (tally.flagged, share(self.flag_rate_max, self.shadow_windows.max(tally.windows)), ErrorCode::ShadowFlagRate),
            (tally.disagreements, share(self.disagreement_max, self.shadow_windows.max(tally.windows)), ErrorCode::ShadowDisagreement),
        ];
        judge(&bounds, tally.windows >= self.shadow_windows)
    }

    /// Judges a trial.
    #[must_use]
    pub fn judge_trial(&self, tally: &Tally) -> Verdict {
        let bounds = [
            (tally.faults, self.faults_max, ErrorCode::TrialFaults),
            (tally.flagged, share(self.flag_rate_max, self.trial_windows.max(tally.windows)), ErrorCode::TrialFlagRate),
        ];
        judge(&bounds, tally.windows >= self.trial_windows)
    }
}

/// The number that a share of `windows` allows.
fn share(rate: f64, windows: u64) -> u64 {
    (rate * windows as f64) as u64
}

/// A count above its bound fails at once: later windows cannot make it smaller.
fn judge(bounds: &[(u64, u64, ErrorCode)], is_complete: bool) -> Verdict {
    match bounds.iter().find(|(count, bound, _)| count > bound) {
        Some((_, _, code)) => Verdict::Fail(*code),
        None if is_complete => Verdict::Pass,
        None => Verdict::GoOn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: TrialRules =
        TrialRules { shadow_windows: 100, disagreement_max: 0.1, flag_rate_max: 0.2, trial_windows: 1000, faults_max: 2 };

    #[test]
    fn bounds_are_exact_and_broken_ones_fail_at_once() {
        let tally = |windows, flagged, disagreements, faults| Tally { windows, flagged, live_flagged: 0, disagreements, faults };
        assert_eq!(RULES.judge_shadow(&tally(99, 20, 10, 2)), Verdict::GoOn);
        assert_eq!(RULES.judge_shadow(&tally(100, 20, 10, 2)), Verdict::Pass);
        assert_eq!(RULES.judge_shadow(&tally(21, 21, 0, 0)), Verdict::Fail(ErrorCode::ShadowFlagRate), "79 more cannot mend it");
        assert_eq!(RULES.judge_shadow(&tally(50, 0, 11, 0)), Verdict::Fail(ErrorCode::ShadowDisagreement));
        assert_eq!(RULES.judge_shadow(&tally(3, 0, 0, 3)), Verdict::Fail(ErrorCode::ShadowFaults));
        // Looked at late: the bound grows with the windows.
        assert_eq!(RULES.judge_shadow(&tally(200, 40, 20, 0)), Verdict::Pass);
        assert_eq!(RULES.judge_trial(&tally(999, 200, 999, 0)), Verdict::GoOn);
        assert_eq!(RULES.judge_trial(&tally(1000, 200, 0, 0)), Verdict::Pass);
        assert_eq!(RULES.judge_trial(&tally(500, 201, 0, 0)), Verdict::Fail(ErrorCode::TrialFlagRate));
        assert_eq!(RULES.judge_trial(&tally(500, 0, 0, 3)), Verdict::Fail(ErrorCode::TrialFaults));
    }

    #[test]
    fn rules_outside_their_range_are_told() {
        assert!(RULES.is_valid());
        assert!(!TrialRules { flag_rate_max: 1.1, ..RULES }.is_valid());
        assert!(!TrialRules { disagreement_max: f64::NAN, ..RULES }.is_valid());
        assert!(!TrialRules { trial_windows: 0, ..RULES }.is_valid());
    }
}
