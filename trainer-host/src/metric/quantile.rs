//! Quantiles by linear interpolation between order statistics: numpy's default rule.

/// The `p` quantile (`p` from 0 to 1, clamped) of numbers in rising order; `None` for no number or a NaN `p`.
///
/// Its place is `p * (n - 1)`; between two neighbours it is interpolated linearly (Hyndman and Fan's type 7).
#[must_use]
pub fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    if p.is_nan() {
        return None;
    }
    let place = p.clamp(0.0, 1.0) * last as f64;
    let below = (place.floor() as usize).min(last);
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    let share = place - below as f64;
    // From the nearer end, so that neither end is missed by a rounding error.
    Some(if share < 0.5 { low + (high - low) * share } else { high - (high - low) * (1.0 - share) })
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn ends_middle_and_odd_input() {
        let numbers = [1.0, 2.0, 4.0, 8.0];
        assert_eq!([0.0, 0.25, 0.5, 0.75, 1.0].map(|p| quantile(&numbers, p)), [1.0, 1.75, 3.0, 5.0, 8.0].map(Some));
        assert_eq!((quantile(&numbers, -1.0), quantile(&numbers, 2.0)), (Some(1.0), Some(8.0)));
        assert_eq!((quantile(&[], 0.5), quantile(&numbers, f64::NAN), quantile(&[7.0], 0.9)), (None, None, Some(7.0)));
    }
}
