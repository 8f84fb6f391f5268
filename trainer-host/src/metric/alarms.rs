//! What a threshold costs an operator: alarms per camera and day at the camera's own base rate.
//!
//! FPR and FNR do not depend on how common anomalies are, so rates measured on a 50:50 validation set carry over to a camera where less than one
//! frame in a hundred is anomalous; precision and the number of alarms do not, and are computed anew here.

/// Seconds in a day.
const DAY_S: f64 = 86_400.0;

/// What a camera sees in a day, and how its decisions become alarms.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct AlarmLoad {
    /// Decisions (frames with a person, or windows) per second, above 0.
    pub frames_per_second: f64,
    /// Share of them that is anomalous, 0 to 1.
    pub base_rate: f64,
    /// Flagged frames that make one alarm, at least 1: the mean length of an event. 1 = each flagged frame is an alarm.
    pub frames_per_alarm: f64,
}

impl AlarmLoad {
    /// Whether each number is in its range.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.frames_per_second.is_finite()
            && self.frames_per_second > 0.0
            && (0.0..=1.0).contains(&self.base_rate)
            && self.frames_per_alarm.is_finite()
            && self.frames_per_alarm >= 1.0
    }

    /// Expected share of frames that are flagged: base rate x (1 - FNR) + (1 - base rate) x FPR.
    #[must_use]
    pub fn flagged_share(&self, false_positive_rate: f64, false_negative_rate: f64) -> f64 {
        self.base_rate * (1.0 - false_negative_rate) + (1.0 - self.base_rate) * false_positive_rate
    }

    /// Expected alarms per camera and day, true and false ones.
    #[must_use]
    pub fn alarms_per_day(&self, false_positive_rate: f64, false_negative_rate: f64) -> f64 {
        self.flagged_share(false_positive_rate, false_negative_rate) * self.frames_per_second * DAY_S / self.frames_per_alarm
    }

    /// Expected share of the alarms that are true; `None` when nothing is flagged.
    #[must_use]
    pub fn precision(&self, false_positive_rate: f64, false_negative_rate: f64) -> Option<f64> {
        let flagged = self.flagged_share(false_positive_rate, false_negative_rate);
        (flagged > 0.0).then(|| self.base_rate * (1.0 - false_negative_rate) / flagged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paper's pooled AL Light rates of STG-NF at its base rate of 0.63 %: a third of all is flagged, about one percent of it rightly.
    #[test]
    fn the_equal_error_rate_drowns_an_operator() {
        let load = AlarmLoad { frames_per_second: 10.0, base_rate: 0.0063, frames_per_alarm: 1.0 };
        let (fpr, fnr) = (0.375, 0.3767);
        assert!((load.flagged_share(fpr, fnr) - 0.3766).abs() < 1e-4);
        assert!((load.precision(fpr, fnr).expect("flags") - 0.0104).abs() < 1e-4);
        assert!((load.alarms_per_day(fpr, fnr) - 325_345.0).abs() < 100.0, "{}", load.alarms_per_day(fpr, fnr));
        let events = AlarmLoad { frames_per_alarm: 100.0, ..load };
        assert!((events.alarms_per_day(fpr, fnr) * 100.0 - load.alarms_per_day(fpr, fnr)).abs() < 1e-6);
    }

    #[test]
    fn limits_of_the_load() {
        let load = AlarmLoad { frames_per_second: 1.0, base_rate: 0.0, frames_per_alarm: 1.0 };
        assert_eq!((load.alarms_per_day(0.0, 1.0), load.precision(0.0, 1.0), load.precision(0.5, 0.0)), (0.0, None, Some(0.0)));
        assert!(load.is_valid());
        for bad in [
            AlarmLoad { frames_per_second: 0.0, ..load },
            AlarmLoad { base_rate: 1.5, ..load },
            AlarmLoad { base_rate: f64::NAN, ..load },
            AlarmLoad { frames_per_alarm: 0.5, ..load },
        ] {
            assert!(!bad.is_valid(), "{bad:?}");
        }
    }
}
