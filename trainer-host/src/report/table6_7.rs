//! Tables 6 and 7 of ALFred: cumulative FNR and FPR by camera, model and methodology, and the EBI that follows from them.
//!
//! As csv: `camera,model,methodology,fnr_percent,fpr_percent`. The rates are cumulative over the train slices; AUC figures (Tables 4 and 5) are on
//! the validation set and never belong in the same column.

use super::box_plot::BoxPlot;
use crate::error::HostError;
use crate::metric::confusion::ebi_of;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::Path;

/// One line of the tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateRow {
    /// Camera, such as `C0` or `CSC`; `all` for pooled rates (Table 3).
    pub camera: String,
    /// Model, such as `STG-NF`.
    pub model: String,
    /// Methodology: `continual`, `pseudo_continual`, `active_learning`, `al_light`.
    pub methodology: String,
    /// FNR, 0 to 100.
    pub fnr_percent: f64,
    /// FPR, 0 to 100.
    pub fpr_percent: f64,
}

impl RateRow {
    /// EBI in percent, from the row's rates.
    #[must_use]
    pub fn ebi_percent(&self) -> f64 {
        100.0 * ebi_of(self.fnr_percent / 100.0, self.fpr_percent / 100.0)
    }
}

/// Reads rows as csv. `place` is for messages.
///
/// # Errors
/// [`HostError::Data`] for a line that is no row, or a rate that is not within 0 and 100.
pub fn read(csv: impl Read, place: &Path) -> Result<Vec<RateRow>, HostError> {
    let mut rows = Vec::new();
    for (index, row) in csv::Reader::from_reader(csv).deserialize().enumerate() {
        // Line 1 is the header.
        let line = format!("line {}", index + 2);
        let row: RateRow = row.map_err(|fault| HostError::data(place, &line, fault))?;
        let is_rate = |percent: f64| (0.0..=100.0).contains(&percent);
        if !is_rate(row.fnr_percent) || !is_rate(row.fpr_percent) {
            return Err(HostError::data(place, line, "give rates in percent, 0 to 100"));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Writes rows as csv, header first.
///
/// # Errors
/// [`HostError::Data`] when the writer fails.
pub fn write(rows: &[RateRow], csv: impl Write, place: &Path) -> Result<(), HostError> {
    let fault = |fault: csv::Error| HostError::data(place, fault, "check that the file may be written");
    let mut writer = csv::Writer::from_writer(csv);
    rows.iter().try_for_each(|row| writer.serialize(row)).map_err(fault)?;
    writer.flush().map_err(|error| fault(error.into()))
}

/// The spread of a methodology's EBI over all cameras and models, in percent: one box of the paper's Figure 3. `None` without a row of it.
#[must_use]
pub fn ebi_box(rows: &[RateRow], methodology: &str) -> Option<BoxPlot> {
    BoxPlot::of(rows.iter().filter(|row| row.methodology == methodology).map(RateRow::ebi_percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_odd_ones_are_named() {
        let place = Path::new("rates.csv");
        let row =
            RateRow { camera: "C0".into(), model: "STG-NF".into(), methodology: "al_light".into(), fnr_percent: 12.5, fpr_percent: 40.0 };
        let mut csv = Vec::new();
        write(std::slice::from_ref(&row), &mut csv, place).expect("writes");
        assert_eq!(read(csv.as_slice(), place).expect("reads"), [row]);
        let header = "camera,model,methodology,fnr_percent,fpr_percent\n";
        for (line, part) in [("C0,A,b,1,101", "0 to 100"), ("C0,A,b,NaN,1", "0 to 100"), ("C0,A,b,x,1", "line 2"), ("C0,A", "line 2")] {
            let fault = read(format!("{header}{line}\n").as_bytes(), place).expect_err("refused").to_string();
            assert!(fault.contains(part) && fault.contains("rates.csv") && fault.lines().count() == 1, "{fault}");
        }
    }
}
