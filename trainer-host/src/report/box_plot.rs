//! The five numbers of a box plot.

use crate::metric::quantile::quantile;

/// Quartiles and ends of some numbers, in their unit.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct BoxPlot {
    /// Smallest.
    pub low: f64,
    /// First quartile: a quarter of the numbers is below it.
    pub first_quartile: f64,
    /// Median.
    pub median: f64,
    /// Third quartile, Q3: three quarters are below it.
    pub third_quartile: f64,
    /// Largest.
    pub high: f64,
    /// How many numbers there are.
    pub count: usize,
}

impl BoxPlot {
    /// Of numbers in any order, by linear interpolation; `None` when there is none, or one is NaN.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        if sorted.iter().any(|number| number.is_nan()) {
            return None;
        }
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |p| quantile(&sorted, p);
        Some(Self {
            low: at(0.0)?,
            first_quartile: at(0.25)?,
            median: at(0.5)?,
            third_quartile: at(0.75)?,
            high: at(1.0)?,
            count: sorted.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::BoxPlot;

    #[test]
    fn five_numbers_and_nothing_of_nothing() {
        let plot = BoxPlot::of([4.0, 1.0, 3.0, 2.0]).expect("numbers");
        assert_eq!((plot.low, plot.first_quartile, plot.median, plot.third_quartile, plot.high), (1.0, 1.75, 2.5, 3.25, 4.0));
        assert_eq!((BoxPlot::of([]), BoxPlot::of([1.0, f64::NAN])), (None, None));
    }
}
