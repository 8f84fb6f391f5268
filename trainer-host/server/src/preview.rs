//! What a threshold would cost at a camera: misses and false alarms as the validation set shows them, alarms and minutes as the camera's own
//! stream has them.
//!
//! FNR and FPR come from the validation set's events, one each, with exact binomial (Clopper-Pearson) 95 % intervals; they do not
//! depend on how common anomalies are. Alarms per day do: from the threshold in force upwards they are counted on the camera's own events (with an exact
//! Poisson interval), below it the count at the threshold in force is scaled by the share of flagged events that the rates predict at the
//! camera's base rate. The base rate follows from the share of anomalous verdicts among the judged alarms, precision = b (1 - FNR) / (b (1 - FNR) +
//! (1 - b) FPR); a queue that asks only near the threshold biases it, a random share does not.

use alfred_store::{Store, StoreError};
use serde::Serialize;
use statrs::distribution::{Beta, ContinuousCDF, Gamma};

/// How far back the stream is looked at.
const WINDOW_MS: i64 = 7 * DAY_MS;
/// A shorter stream says nothing about a day.
const SPAN_MS_MIN: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// Judged events before a base rate is believed.
const VERDICTS_MIN: u64 = 10;
/// Each end of an interval leaves out so much.
const TAIL: f64 = 0.025;
/// Points of the longest curve.
pub(crate) const POINTS_MAX: usize = 200;

/// A figure with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sure {
    value: f64,
    low: f64,
    high: f64,
}

impl Sure {
    /// Share of `part` in `whole`, exact binomial (C. Clopper, E. Pearson, Biometrika 26, 1934); `None` of nothing.
    fn share(part: u64, whole: u64) -> Option<Self> {
        let (hits, misses) = (part as f64, whole.checked_sub(part)? as f64);
        let low = if part == 0 { 0.0 } else { Beta::new(hits, misses + 1.0).ok()?.inverse_cdf(TAIL) };
        let high = if part == whole { 1.0 } else { Beta::new(hits + 1.0, misses).ok()?.inverse_cdf(1.0 - TAIL) };
        (whole > 0).then(|| Self { value: hits / whole as f64, low, high })
    }

    /// A count, exact Poisson (F. Garwood, Biometrika 28, 1936).
    fn count(count: u64) -> Option<Self> {
        let events = count as f64;
        let low = if count == 0 { 0.0 } else { Gamma::new(events, 1.0).ok()?.inverse_cdf(TAIL) };
        let high = Gamma::new(events + 1.0, 1.0).ok()?.inverse_cdf(1.0 - TAIL);
        Some(Self { value: events, low, high })
    }

    fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Self { value: change(self.value), low: change(self.low), high: change(self.high) }
    }
}

/// What one threshold would cost. Rates are 0 to 1, intervals 95 %; what is not known is `null`, and `reason` says why.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Preview {
    threshold: f64,
    reason: Option<String>,
    fnr: Option<f64>,
    fnr_low: Option<f64>,
    fnr_high: Option<f64>,
    fpr: Option<f64>,
    fpr_low: Option<f64>,
    fpr_high: Option<f64>,
    base_rate: Option<f64>,
    base_rate_low: Option<f64>,
    base_rate_high: Option<f64>,
    verdicts: u64,
    alarms_per_day: Option<f64>,
    alarms_per_day_low: Option<f64>,
    alarms_per_day_high: Option<f64>,
    alarms_from: Option<&'static str>,
    days_measured: f64,
    precision: Option<f64>,
    seconds_per_verdict: Option<f64>,
    label_minutes_per_day: Option<f64>,
    normals: u64,
    anomalies: u64,
}

/// Everything that previews of one camera rest on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Evidence {
    pub(crate) revision: u64,
    pub(crate) live_threshold: Option<f64>,
    /// Validation scores, rising.
    normals: Vec<f64>,
    anomalies: Vec<f64>,
    /// Peak scores of the camera's events, rising.
    peaks: Vec<f64>,
    days: f64,
    verdicts: [u64; 2],
    seconds_per_verdict: Option<f64>,
    asked_share: f64,
    labels_per_day: Option<u32>,
}

impl Evidence {
    /// Reads what there is.
    pub(crate) fn of(store: &Store, camera: &str, now_ms: i64) -> Result<Self, StoreError> {
        let live = store.live_bundle(camera)?;
        let revision = live.as_ref().map_or(0, |live| live.revision);
        let mut evidence = Self { revision, ..Self::default() };
        for one in store.validation_scores(camera, revision)? {
            if one.is_anomalous { &mut evidence.anomalies } else { &mut evidence.normals }.push(one.score);
        }
        evidence.anomalies.sort_by(f64::total_cmp);
        evidence.normals.sort_by(f64::total_cmp);
        evidence.live_threshold = match live {
            Some(live) => Some(live.threshold),
            None => store.latest_threshold(camera)?,
        };
        let since_ms = now_ms - WINDOW_MS;
        let stream = store.score_stream(camera, since_ms, now_ms)?;
        evidence.peaks = stream.peaks;
        evidence.days = stream.span_ms as f64 / DAY_MS as f64;
        evidence.verdicts = [stream.anomalous, stream.normal];
        let meter = store.meter(Some(camera), since_ms, now_ms)?;
        evidence.seconds_per_verdict = match meter.seconds_per_verdict {
            None => store.meter(None, since_ms, now_ms)?.seconds_per_verdict,
            known => known,
        };
        evidence.asked_share = 1.0 - meter.full_al.saved_share.unwrap_or(0.0);
        evidence.labels_per_day = meter.budgets.first().and_then(|budget| budget.labels_per_day);
        Ok(evidence)
    }

    /// FNR and FPR at a threshold.
    fn rates(&self, threshold: f64) -> [Option<Sure>; 2] {
        let below = |scores: &[f64]| scores.partition_point(|score| *score < threshold) as u64;
        let (normals, anomalies) = (self.normals.len() as u64, self.anomalies.len() as u64);
        [Sure::share(below(&self.anomalies), anomalies), Sure::share(normals - below(&self.normals), normals)]
    }

    /// Share of the camera's events that are anomalous.
    fn base_rate(&self) -> Result<Sure, &'static str> {
        let [anomalous, normal] = self.verdicts;
        if anomalous + normal < VERDICTS_MIN {
            return Err("fewer than ten alarms of the last seven days are judged, so the base rate is not known");
        }
        let live = self.live_threshold.ok_or("no threshold is in force here")?;
        let [Some(fnr), Some(fpr)] = self.rates(live) else { return Err("the validation set has no scores of the bundle in force") };
        if fpr.value <= 0.0 || fnr.value >= 1.0 {
            return Err("the validation set has no false alarm, or no hit, at the threshold in force, so the base rate cannot be computed");
        }
        let precision = Sure::share(anomalous, anomalous + normal).ok_or("no alarm is judged")?;
        Ok(precision.map(|precision| {
            let (true_share, false_share) = (precision * fpr.value, (1.0 - precision) * (1.0 - fnr.value));
            true_share / (true_share + false_share)
        }))
    }

    /// Alarms per day, and where they come from.
    fn alarms(&self, threshold: f64, base_rate: Option<f64>) -> Result<(Sure, &'static str), &'static str> {
        let live = self.live_threshold.ok_or("no threshold is in force here")?;
        if self.days * (DAY_MS as f64) < SPAN_MS_MIN as f64 {
            return Err("the camera's events span less than an hour, so alarms per day are not known");
        }
        let at = threshold.max(live);
        let count = (self.peaks.len() - self.peaks.partition_point(|peak| *peak < at)) as u64;
        let measured = Sure::count(count).ok_or("no interval")?.map(|count| count / self.days);
        if threshold >= live {
            return Ok((measured, "measured"));
        }
        let flagged = |threshold| {
            let [fnr, fpr] = self.rates(threshold);
            // Without a base rate all events count as normal: where anomalies are rare that is nearly so.
            let base_rate = base_rate.unwrap_or(0.0);
            let hits = if base_rate > 0.0 { base_rate * (1.0 - fnr?.value) } else { 0.0 };
            Some(hits + (1.0 - base_rate) * fpr?.value)
        };
        let shares = flagged(live).zip(flagged(threshold)).filter(|(live, _)| *live > 0.0);
        let (live, wanted) = shares.ok_or("below the threshold in force only validation scores tell, and there are none of use")?;
        Ok((measured.map(|alarms| alarms * wanted / live), "reweighted"))
    }

    /// What a threshold would cost.
    pub(crate) fn at(&self, threshold: f64) -> Preview {
        let [fnr, fpr] = self.rates(threshold);
        let base_rate = self.base_rate();
        let base = base_rate.ok();
        let alarms = self.alarms(threshold, base.map(|base| base.value));
        let no_scores = (fnr.is_none() || fpr.is_none()).then_some("the validation set has no scores of the bundle in force");
        let reason = no_scores.or(alarms.err()).or(base_rate.err()).map(str::to_owned);
        let alarms_per_day = alarms.ok().map(|(alarms, _)| alarms);
        let precision = base.zip(fnr).zip(fpr).and_then(|((base, fnr), fpr)| {
            let hits = base.value * (1.0 - fnr.value);
            let flagged = hits + (1.0 - base.value) * fpr.value;
            (flagged > 0.0).then(|| hits / flagged)
        });
        let label_minutes_per_day = alarms_per_day.zip(self.seconds_per_verdict).map(|(alarms, seconds)| {
            let asked = alarms.value * self.asked_share;
            self.labels_per_day.map_or(asked, |budget| asked.min(f64::from(budget))) * seconds / 60.0
        });
        Preview {
            threshold,
            reason,
            fnr: fnr.map(|rate| rate.value),
            fnr_low: fnr.map(|rate| rate.low),
            fnr_high: fnr.map(|rate| rate.high),
            fpr: fpr.map(|rate| rate.value),
            fpr_low: fpr.map(|rate| rate.low),
            fpr_high: fpr.map(|rate| rate.high),
            base_rate: base.map(|rate| rate.value),
            base_rate_low: base.map(|rate| rate.low),
            base_rate_high: base.map(|rate| rate.high),
            verdicts: self.verdicts[0] + self.verdicts[1],
            alarms_per_day: alarms_per_day.map(|alarms| alarms.value),
            alarms_per_day_low: alarms_per_day.map(|alarms| alarms.low),
            alarms_per_day_high: alarms_per_day.map(|alarms| alarms.high),
            alarms_from: alarms.ok().map(|(_, from)| from),
            days_measured: self.days,
            precision,
            seconds_per_verdict: self.seconds_per_verdict,
            label_minutes_per_day,
            normals: self.normals.len() as u64,
            anomalies: self.anomalies.len() as u64,
        }
    }

    /// Previews over the range of all scores that were seen, evenly spaced, with the threshold in force among them.
    pub(crate) fn curve(&self, points: usize) -> Vec<Preview> {
        let ends = [&self.normals, &self.anomalies, &self.peaks].into_iter().flat_map(|scores| [scores.first(), scores.last()]);
        let ends = ends.flatten().copied().chain(self.live_threshold);
        let (low, high) = ends.fold((f64::MAX, f64::MIN), |(low, high), score| (low.min(score), high.max(score)));
        if low > high {
            return Vec::new();
        }
        let steps = points.clamp(2, POINTS_MAX) - 1;
        let mut thresholds: Vec<f64> = (0..=steps).map(|step| low + (high - low) * step as f64 / steps as f64).collect();
        thresholds.extend(self.live_threshold);
        thresholds.sort_by(f64::total_cmp);
        thresholds.dedup();
        thresholds.into_iter().map(|threshold| self.at(threshold)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: Option<f64>, other: f64) -> bool {
        one.is_some_and(|one| (one - other).abs() < 1e-3)
    }

    #[test]
    fn intervals_are_the_exact_ones() {
        // scipy.stats.binomtest(3, 20).proportion_ci() and the tables of Garwood.
        let share = Sure::share(3, 20).expect("defined");
        assert!(near(Some(share.low), 0.032_07) && near(Some(share.high), 0.378_93), "{share:?}");
        assert_eq!(Sure::share(0, 0), None);
        let none = Sure::share(0, 10).expect("defined");
        assert!(none.low == 0.0 && near(Some(none.high), 0.308_50), "{none:?}");
        let ten = Sure::count(10).expect("defined");
        assert!(near(Some(ten.low), 4.7954) && near(Some(ten.high), 18.3904), "{ten:?}");
        assert!(near(Sure::count(0).map(|none| none.high), 3.6889));
    }

    /// 20 normals at 0.05, 0.15, ..., 20 anomalies one higher, threshold 1.25 in force, 100 alarms in ten days, a tenth of them true.
    fn evidence() -> Evidence {
        let normals: Vec<f64> = (0..20).map(|at| f64::from(at) / 10.0 + 0.05).collect();
        Evidence {
            live_threshold: Some(1.25),
            anomalies: normals.iter().map(|score| score + 1.0).collect(),
            normals,
            peaks: (0..100).map(|at| 1.25 + f64::from(at) / 100.0).collect(),
            days: 10.0,
            verdicts: [5, 45],
            seconds_per_verdict: Some(6.0),
            asked_share: 0.5,
            labels_per_day: None,
            ..Evidence::default()
        }
    }

    #[test]
    fn the_threshold_in_force_costs_what_was_measured() {
        let preview = evidence().at(1.25);
        // 8 of 20 normals above, 2 or 3 of 20 anomalies below: 1.05, 1.15 and not 1.25, the threshold itself flags.
        assert_eq!((preview.fpr, preview.normals, preview.reason.as_deref()), (Some(0.4), 20, None));
        assert!(near(preview.fnr, 0.1), "{preview:?}");
        assert!(near(preview.alarms_per_day, 10.0) && preview.alarms_from == Some("measured"));
        assert!(near(preview.label_minutes_per_day, 0.5));
        // Precision 0.1 = b 0.9 / (b 0.9 + (1 - b) 0.4).
        assert!(near(preview.precision, 0.1) && near(preview.base_rate, 0.04 / (0.04 + 0.81)), "{preview:?}");
        assert!(preview.base_rate_low < preview.base_rate && preview.base_rate < preview.base_rate_high);
    }

    #[test]
    fn higher_thresholds_are_counted_and_lower_ones_weighted() {
        let higher = evidence().at(1.75);
        assert!(near(higher.alarms_per_day, 5.0) && higher.alarms_from == Some("measured"), "{higher:?}");
        let lower = evidence().at(0.75);
        // FPR 0.65 instead of 0.4, FNR 0 instead of 0.1, at a base rate of 4.7 %.
        let base = 0.04 / 0.85;
        let factor = (base + (1.0 - base) * 0.65) / (base * 0.9 + (1.0 - base) * 0.4);
        assert!(near(lower.alarms_per_day, 10.0 * factor) && lower.alarms_from == Some("reweighted"), "{lower:?}");
        let capped = Evidence { labels_per_day: Some(2), ..evidence() }.at(1.25);
        assert!(near(capped.label_minutes_per_day, 0.2));
    }

    #[test]
    fn what_is_not_known_says_why() {
        let nothing = Evidence::default();
        let preview = nothing.at(1.0);
        assert!(preview.fnr.is_none() && preview.alarms_per_day.is_none() && preview.reason.is_some());
        assert!(nothing.curve(60).is_empty());
        let few = Evidence { verdicts: [1, 2], ..evidence() }.at(1.25);
        assert!(few.base_rate.is_none() && few.alarms_per_day.is_some() && few.reason.expect("said").contains("ten alarms"));
        let short = Evidence { days: 0.01, ..evidence() }.at(1.25);
        assert!(short.alarms_per_day.is_none() && short.fnr.is_some() && short.reason.expect("said").contains("hour"));
    }

    #[test]
    fn the_curve_falls_and_holds_the_threshold_in_force() {
        let curve = evidence().curve(30);
        assert!(curve.iter().any(|point| point.threshold == 1.25) && (30..=31).contains(&curve.len()));
        let falls = |of: fn(&Preview) -> Option<f64>| curve.windows(2).all(|pair| of(&pair[0]) >= of(&pair[1]));
        assert!(falls(|point| point.fpr) && falls(|point| point.alarms_per_day) && !falls(|point| point.fnr));
    }
}
