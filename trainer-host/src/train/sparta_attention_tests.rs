//! Attention and its derivative on every lane that this processor has, against plain sums in f64.

use crate::train::sparta_attention::{Attend, AttendBack, InRows, PARTS, Shares};
use alfred_models::lane::{Kernel, Portable};
use alfred_models::sparta::parameters::{EMBEDDING, HEAD_VALUES, HEADS, TOKENS};
use alfred_synth::random::Random;

/// Windows of a test.
const WINDOWS: usize = 2;

/// Runs a kernel on the lane of a number; `false` where this processor has no such lane.
fn run_on<K: Kernel<Output = ()>>(lane: usize, kernel: K) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use alfred_models::lane::{Avx2, Avx512};
        match lane {
            0 => Portable.run(kernel),
            1 => return Avx2::detect().map(|lane| lane.run(kernel)).is_some(),
            _ => return Avx512::detect().map(|lane| lane.run(kernel)).is_some(),
        }
    }
    #[cfg(target_arch = "aarch64")]
    match lane {
        0 => Portable.run(kernel),
        1 => alfred_models::lane::Neon.run(kernel),
        _ => return false,
    }
    true
}

/// Queries, keys and values of a head's token.
fn number(parts: &[f32], window: usize, token: usize, part: usize, head: usize, number: usize) -> f64 {
    f64::from(parts[(window * TOKENS + token) * PARTS + part * EMBEDDING + head * HEAD_VALUES + number])
}

/// What one head of one window finds, by plain sums: weights `[query][key]`.
fn weights(parts: &[f32], window: usize, head: usize) -> Vec<Vec<f64>> {
    let score = |query: usize, key: usize| {
        let product = |at| number(parts, window, query, 0, head, at) * number(parts, window, key, 1, head, at);
        (0..HEAD_VALUES).map(product).sum::<f64>() / (HEAD_VALUES as f64).sqrt()
    };
    let row = |query: usize| {
        let powers: Vec<f64> = (0..TOKENS).map(|key| score(query, key).exp()).collect();
        let total: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / total).collect()
    };
    (0..TOKENS).map(row).collect()
}

#[test]
fn attention_and_its_derivative_are_right_on_every_lane() {
    let random = &mut Random::new(51);
    let parts: Vec<f32> = (0..WINDOWS * TOKENS * PARTS).map(|_| (2.0 * random.normal()) as f32).collect();
    let outer: Vec<f32> = (0..WINDOWS * TOKENS * EMBEDDING).map(|_| random.normal() as f32).collect();
    for lane in 0..3 {
        let mut shares: Vec<Shares> = vec![[[0.0; TOKENS]; TOKENS]; WINDOWS * HEADS];
        let (mut joined, mut gradient) = (vec![0.0_f32; outer.len()], vec![f32::NAN; parts.len()]);
        if !run_on(lane, InRows(Attend { parts: &parts, shares: &mut shares, joined: &mut joined })) {
            continue;
        }
        run_on(lane, InRows(AttendBack { parts: &parts, shares: &shares, joined_gradient: &outer, gradient: &mut gradient }));
        for (window, head) in (0..WINDOWS).flat_map(|window| (0..HEADS).map(move |head| (window, head))) {
            let weights = weights(&parts, window, head);
            let place = |token: usize, at: usize| (window * TOKENS + token) * EMBEDDING + head * HEAD_VALUES + at;
            // d loss / d weight, and through the softmax.
            let sent = |query: usize, key: usize| -> f64 {
                (0..HEAD_VALUES).map(|at| f64::from(outer[place(query, at)]) * number(&parts, window, key, 2, head, at)).sum()
            };
            let slope = |query: usize, key: usize| {
                let mean: f64 = (0..TOKENS).map(|other| weights[query][other] * sent(query, other)).sum();
                weights[query][key] * (sent(query, key) - mean) / (HEAD_VALUES as f64).sqrt()
            };
            for token in 0..TOKENS {
                for at in 0..HEAD_VALUES {
                    let sum = |term: &dyn Fn(usize) -> f64| (0..TOKENS).map(term).sum::<f64>();
                    let expected = [
                        sum(&|key| weights[token][key] * number(&parts, window, key, 2, head, at)),
                        sum(&|key| slope(token, key) * number(&parts, window, key, 1, head, at)),
                        sum(&|query| slope(query, token) * number(&parts, window, query, 0, head, at)),
                        sum(&|query| weights[query][token] * f64::from(outer[place(query, at)])),
                    ];
                    let of = |part: usize| number(&gradient, window, token, part, head, at);
                    let found = [f64::from(joined[place(token, at)]), of(0), of(1), of(2)];
                    for (what, (found, expected)) in found.into_iter().zip(expected).enumerate() {
                        let is_near = (found - expected).abs() < 2e-5 * (1.0 + expected.abs());
                        assert!(is_near, "lane {lane}, head {head}, token {token}, number {at}, value {what}: {found}, not {expected}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    let mut parts = vec![0.5_f32; TOKENS * PARTS];
    parts[7 * PARTS] = f32::NAN;
    for lane in 0..3 {
        let mut shares: Vec<Shares> = vec![[[0.0; TOKENS]; TOKENS]; HEADS];
        let mut joined = vec![0.0_f32; TOKENS * EMBEDDING];
        if run_on(lane, InRows(Attend { parts: &parts, shares: &mut shares, joined: &mut joined })) {
            let is_nan = |token: usize| joined[token * EMBEDDING..][..HEAD_VALUES].iter().all(|value| value.is_nan());
            assert!(is_nan(7) && !is_nan(6) && !is_nan(8), "lane {lane}");
        }
    }
}
