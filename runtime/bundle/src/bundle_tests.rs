//! What is built is read back; whatever is wrong is refused with its own code; no bit may change.

use crate::collapse::collapse;
use crate::fingerprint::{fingerprint, of_defaults};
use crate::format::{BUNDLE_BYTES_MAX, Bundle, ErrorRate, HEADER_BYTES, QUANTILES, SIGNATURE_BYTES, read};
use crate::signature::{PublicKey, SecretKey, check, key_from_hex, sign};
use crate::test_kit::{admission, built, bundle, key, parameters};
use crate::verify::{Admission, build, verify};
use alfred_core::decision::DecisionRule;
use alfred_core::event::EventRule;
use alfred_core::normalise::PixelScale;
use alfred_core::pipeline::PipelineConfig;
use alfred_core::scorer::Window;
use alfred_core::segment::SegmentRule;
use alfred_core::smoothing::CausalKernel;
use alfred_core::track_window::WindowPolicy;
use alfred_core::units::Threshold;
use alfred_core::verdict_head::HEAD_BYTES;
use alfred_models::stg_nf::adjacency::Adjacency;
use alfred_models::stg_nf::scorer::{Lane, StgNfScorer};
use alfred_synth::random::Random;
use alfred_wire::error_code::ErrorCode;
use alfred_wire::name::Name;
use proptest::prelude::*;

fn judge(bytes: &[u8]) -> Result<Bundle<'_>, ErrorCode> {
    verify(bytes, &[key().public()], &admission())
}

/// A valid bundle with some bytes changed, and signed again: what a careless builder with the right key could send.
fn resigned(change: impl FnOnce(&mut [u8])) -> Result<(), ErrorCode> {
    let valid = built(&bundle(3));
    let mut bytes = [0; BUNDLE_BYTES_MAX];
    bytes[..valid.len()].copy_from_slice(&valid);
    change(&mut bytes[..valid.len()]);
    sign(&mut bytes, valid.len(), &key()).expect("fits");
    judge(&bytes[..valid.len()]).map(|_| ())
}

#[test]
fn what_is_built_is_read_back_and_small() {
    let plain = Bundle { head: b"", error_rate: None, quantiles: None, ..bundle(3) };
    for original in [bundle(3), plain] {
        let bytes = built(&original);
        let mut read = judge(&bytes).expect("valid");
        assert_ne!(read.self_test.expected, 0);
        read.self_test.expected = 0;
        assert_eq!(read, Bundle { parameters: collapse(&original.parameters), ..original });
    }
    assert_eq!((built(&plain).len(), built(&bundle(3)).len()), (2744, 3442), "the documented size for T = 24");
    assert_eq!(&built(&plain)[..12], b"ALFB\xB8\x0A\0\0\x01\0\x01\x01", "the documented layout");
}

#[test]
fn the_longest_window_that_fits_is_the_documented_one() {
    let mut bytes = [0; BUNDLE_BYTES_MAX];
    let of = |frames| Bundle { parameters: parameters(frames, 1), head: b"", ..bundle(1) };
    assert!(build(&of(44), &key(), &mut bytes).is_ok());
    assert_eq!(build(&of(48), &key(), &mut bytes), Err(ErrorCode::BundleTooLarge));
    let head = [1; 2000];
    assert_eq!(build(&Bundle { head: &head, ..bundle(1) }, &key(), &mut bytes), Err(ErrorCode::BundleTooLarge));
}

#[test]
fn every_bit_flip_is_refused() {
    let mut bytes = built(&bundle(3));
    for bit in 0..8 * bytes.len() {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(judge(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(judge(&bytes).is_ok());
}

#[test]
fn each_reason_has_its_code() {
    let valid = built(&bundle(3));
    let mut longer = valid.clone();
    longer.push(0);
    assert_eq!(judge(&longer), Err(ErrorCode::BundleNotABundle));
    assert_eq!(judge(&[0; 5000]), Err(ErrorCode::BundleTooLarge));
    assert_eq!(judge(b"ALFB\xFF\xFF\0\0"), Err(ErrorCode::BundleTooLarge));
    assert_eq!(judge(b"PK"), Err(ErrorCode::BundleNotABundle));
    for length in 0..valid.len() {
        assert_eq!(judge(&valid[..length]), Err(ErrorCode::BundleTruncated), "{length} bytes");
    }
    let other_key = SecretKey::from_bytes(&[8; 32]).public();
    assert_eq!(verify(&valid, &[other_key], &admission()), Err(ErrorCode::BundleSignature));
    assert_eq!(verify(&valid, &[], &admission()), Err(ErrorCode::BundleNoKey));
    assert!(verify(&valid, &[other_key, key().public()], &admission()).is_ok(), "keys can be changed over");
    let with = |change: fn(&mut Admission)| {
        let mut admission = admission();
        change(&mut admission);
        verify(&valid, &[key().public()], &admission).map(|_| ())
    };
    assert_eq!(with(|admission| admission.camera = Name::new("yard").expect("a name")), Err(ErrorCode::BundleWrongCamera));
    assert_eq!(with(|admission| admission.confirmed = 3), Err(ErrorCode::BundleDowngrade));
    assert_eq!(with(|admission| admission.highest_tried = 3), Err(ErrorCode::BundleDowngrade));
    assert_eq!(with(|admission| admission.highest_tried = 2), Ok(()));
    assert_eq!(with(|admission| admission.fingerprint ^= 1), Err(ErrorCode::BundleFingerprint));
    let child = built(&Bundle { parent: 2, ..bundle(3) });
    assert_eq!(judge(&child), Err(ErrorCode::BundleParent));
    assert!(verify(&child, &[key().public()], &Admission { confirmed: 2, ..admission() }).is_ok());
}

#[test]
fn a_right_signature_does_not_excuse_wrong_contents() {
    assert_eq!(resigned(|_| {}), Ok(()));
    assert_eq!(resigned(|bytes| bytes[8] = 2), Err(ErrorCode::BundleVersion));
    assert_eq!(resigned(|bytes| bytes[10] = 9), Err(ErrorCode::BundleArchitecture));
    assert_eq!(resigned(|bytes| bytes[11] = 6), Err(ErrorCode::BundleMalformed), "a policy that nobody has");
    assert_eq!(resigned(|bytes| bytes[12..20].fill(0)), Err(ErrorCode::BundleMalformed), "revision 0");
    assert_eq!(resigned(|bytes| bytes[20] = 3), Err(ErrorCode::BundleMalformed), "its own parent");
    let nan = |at: usize| move |bytes: &mut [u8]| bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    for at in [36, 40, 44, 88, HEADER_BYTES, HEADER_BYTES + 400] {
        assert_eq!(resigned(nan(at)), Err(ErrorCode::BundleNotFinite), "NaN at {at}");
    }
    assert_eq!(resigned(|bytes| bytes[40..44].copy_from_slice(&(-1.0_f32).to_le_bytes())), Err(ErrorCode::BundleMalformed));
    assert_eq!(
        resigned(|bytes| bytes[44..48].copy_from_slice(&0.9_f32.to_le_bytes())),
        Err(ErrorCode::BundleMalformed),
        "outside its interval"
    );
    assert_eq!(resigned(|bytes| bytes[88..92].copy_from_slice(&9.0_f32.to_le_bytes())), Err(ErrorCode::BundleMalformed), "quantiles fall");
    assert_eq!(resigned(|bytes| bytes[124] ^= 1), Err(ErrorCode::BundleSelfTest), "another seed");
    assert_eq!(resigned(|bytes| bytes[132] ^= 1), Err(ErrorCode::BundleSelfTest), "another result");
    assert_eq!(resigned(|bytes| bytes[HEADER_BYTES + 2] ^= 0x10), Err(ErrorCode::BundleSelfTest), "another prior mean");
    assert_eq!(resigned(|bytes| bytes[140] = 7), Err(ErrorCode::BundleMalformed), "an unknown flag");
    assert_eq!(resigned(|bytes| bytes[142] = 25), Err(ErrorCode::BundleMalformed), "no window length");
    assert_eq!(resigned(|bytes| bytes[142] = 28), Err(ErrorCode::BundleMalformed), "the weights are not for it");
    assert_eq!(resigned(|bytes| bytes[143] = 5), Err(ErrorCode::BundleMalformed), "a name with a zero");
    assert_eq!(resigned(|bytes| bytes[200] = 1), Err(ErrorCode::BundleMalformed), "something behind the name");
    assert_eq!(resigned(|bytes| bytes[144] = 3), Err(ErrorCode::BundleMalformed), "a shorter head");
    let head_at = 3442 - SIGNATURE_BYTES - HEAD_BYTES;
    assert_eq!(resigned(|bytes| bytes[head_at] = 9), Err(ErrorCode::BundleMalformed), "an unknown head");
    assert_eq!(resigned(|bytes| bytes[head_at + 14] ^= 0x10), Err(ErrorCode::BundleSelfTest), "another head");
}

#[test]
fn a_builder_refuses_what_devices_would() {
    let mut bytes = [0; BUNDLE_BYTES_MAX];
    let mut broken = bundle(1);
    broken.parameters.flows[3].tcn_bias[0] = f32::INFINITY;
    assert_eq!(build(&broken, &key(), &mut bytes), Err(ErrorCode::BundleNotFinite));
    let rate = Some(ErrorRate { rate: 0.5, low: 0.6, high: 0.7 });
    assert_eq!(build(&Bundle { error_rate: rate, ..bundle(1) }, &key(), &mut bytes), Err(ErrorCode::BundleMalformed));
    assert_eq!(build(&Bundle { revision: 0, ..bundle(1) }, &key(), &mut bytes), Err(ErrorCode::BundleMalformed));
}

#[test]
fn collapsing_moves_scores_by_rounding_only() {
    for seed in 0..20 {
        let original = parameters(24, seed);
        let collapsed = collapse(&original);
        assert_ne!(collapsed, original);
        assert_eq!(collapse(&collapsed), collapsed, "once is enough");
        let scorer = |parameters| StgNfScorer::new(parameters, &Adjacency::published(), Lane::Exact).expect("valid");
        let (before, after) = (scorer(&original), scorer(&collapsed));
        let mut random = Random::new(seed);
        for _ in 0..20 {
            let values: Vec<f32> = (0..2 * 24 * 18).map(|_| random.normal() as f32).collect();
            let window = Window::from_time_major(&values).expect("24 frames");
            let (before, after) = (before.score(&window).expect("finite").value(), after.score(&window).expect("finite").value());
            assert!((before - after).abs() <= 2e-6 * (1.0 + before.abs()), "{before} {after}");
        }
    }
}

#[test]
fn keys_are_64_digits() {
    let public = key().public();
    let text = public.to_string();
    assert_eq!(key_from_hex(&text).and_then(|bytes| PublicKey::from_bytes(&bytes)), Some(public));
    assert!(!format!("{:?}", key()).contains("0707"), "a secret is never printed");
    for wrong in ["", "ab", &text[1..], &format!("{}g", &text[1..]), &format!("é{}", &text[2..])] {
        assert_eq!(key_from_hex(wrong), None, "{wrong}");
    }
    // The neutral element signs everything.
    let mut weak = [0; 32];
    weak[0] = 1;
    assert_eq!(PublicKey::from_bytes(&weak), None);
}

#[test]
fn the_fingerprint_depends_on_what_scores_depend_on_and_on_nothing_else() {
    let config = PipelineConfig {
        window: WindowPolicy::live(24),
        scale: PixelScale::SQUARE,
        smoothing: CausalKernel::gaussian(9.5, 28, 10).expect("within limits"),
        decision: None,
        event: EventRule { gap_merge_frames: 15, length_frames_min: 6, update_frames: 30 },
        segment: SegmentRule { pre_roll_frames: 45, post_roll_frames: 45 },
        idle_frames_max: Some(120),
    };
    let original = fingerprint(&config);
    assert_eq!(
        original, 7_285_415_632_387_904_259,
        "the fingerprint of the default settings has changed: every bundle out there would be refused"
    );
    assert_eq!(of_defaults(24, &PixelScale::SQUARE), Some(original));
    let changed = |change: fn(&mut PipelineConfig)| {
        let mut config = config.clone();
        change(&mut config);
        fingerprint(&config)
    };
    let others = [
        changed(|config| config.window.window_frames = 16),
        changed(|config| config.window.stride = 2),
        changed(|config| config.window.gap_frames_max = Some(3)),
        changed(|config| config.window.gap_frames_max = None),
        changed(|config| config.window.jump_heights_max = Some(1.5)),
        changed(|config| config.window.confidence_min = 0.1),
        changed(|config| config.window.skip_last_window = true),
        changed(|config| config.scale.x = 2.0),
        changed(|config| config.scale.y = -1.0),
        changed(|config| config.smoothing = CausalKernel::gaussian(9.6, 28, 10).expect("within limits")),
        changed(|config| config.smoothing = CausalKernel::gaussian(9.5, 28, 11).expect("within limits")),
    ];
    let distinct: std::collections::BTreeSet<u64> = others.into_iter().chain([original]).collect();
    assert_eq!(distinct.len(), others.len() + 1);
    let rule = DecisionRule::new(Threshold::new(1.0).expect("finite"), 0.0).expect("not negative");
    assert_eq!(fingerprint(&PipelineConfig { decision: Some(rule), idle_frames_max: None, ..config }), original);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn any_bytes_are_refused_without_a_signature(bytes in proptest::collection::vec(any::<u8>(), 0..4200)) {
        prop_assert!(judge(&bytes).is_err());
        // Past the signature, as if it were right.
        let _ = read(&bytes);
    }

    #[test]
    fn several_changes_are_refused_too(changes in proptest::collection::vec((0_usize..3442, 1_u8..), 1..6)) {
        let mut bytes = built(&bundle(3));
        for (at, change) in changes {
            bytes[at] = bytes[at].wrapping_add(change);
        }
        prop_assume!(bytes != built(&bundle(3)));
        prop_assert!(judge(&bytes).is_err());
    }

    #[test]
    fn bundles_of_all_shapes_come_back(
        frames in 1_usize..=9, seed in any::<u64>(), parent in 0_u64..9, revision in 9_u64.., has_head in any::<bool>(),
        threshold in -1e30_f32..1e30, margin in 0_f32..1e30, mut quantiles in proptest::array::uniform9(-1e30_f32..1e30), knows in any::<bool>(),
    ) {
        quantiles.sort_by(f32::total_cmp);
        let decision = DecisionRule::new(Threshold::new(threshold).expect("finite"), margin).expect("not negative");
        let original = Bundle {
            revision, parent, decision, parameters: parameters(4 * frames.min(if has_head { 6 } else { 9 }), seed), head: if has_head { bundle(1).head } else { b"" },
            quantiles: knows.then_some(quantiles), error_rate: None, ..bundle(1)
        };
        let bytes = built(&original);
        let read = read(check(&bytes, &[key().public()]).expect("signed")).expect("valid");
        prop_assert_eq!(bytes.len(), SIGNATURE_BYTES + HEADER_BYTES + original.head.len() + 4 * (1 + read.parameters.shape.trainable_parameters()));
        prop_assert_eq!((read.parameters, read.head, read.quantiles, read.decision), (collapse(&original.parameters), original.head, original.quantiles, original.decision));
        prop_assert_eq!((read.revision, read.parent, QUANTILES.len()), (revision, parent, 9));
    }
}
