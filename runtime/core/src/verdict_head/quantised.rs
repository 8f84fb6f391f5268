//! Numbers as small integers with one scale: what makes a head fit into a bundle.

/// The whole-number form of `values`: each is close to its integer times the scale that comes back. `largest` is the largest integer.
/// All zero when no value is above zero in size.
pub(super) fn quantise(values: impl Iterator<Item = f32> + Clone, largest: f32, mut put: impl FnMut(usize, f32)) -> f32 {
    let size = values.clone().fold(0.0_f32, |size, value| size.max(value.abs()));
    let scale = size / largest;
    for (place, value) in values.enumerate() {
        // Beside a scale of zero every value is zero too.
        put(place, if scale > 0.0 { libm::roundf(value / scale).clamp(-largest, largest) } else { 0.0 });
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::quantise;

    #[test]
    fn errors_stay_below_half_a_step() {
        let values = [0.5_f32, -1.0, 0.013, 0.0];
        let mut whole = [0_i8; 4];
        let scale = quantise(values.iter().copied(), 127.0, |place, value| whole[place] = value as i8);
        for (value, whole) in values.iter().zip(whole) {
            assert!((value - scale * f32::from(whole)).abs() <= 0.5001 * scale, "{value} became {}", scale * f32::from(whole));
        }
        assert_eq!(whole[1], -127);
        let scale = quantise([0.0_f32; 4].into_iter(), 127.0, |place, value| whole[place] = value as i8);
        assert_eq!((scale, whole), (0.0, [0; 4]));
    }
}
