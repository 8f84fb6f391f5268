//! Settings: defaults, refusals, what comes first.

use super::*;
use proptest::prelude::*;

#[test]
fn the_shortest_file_is_complete_and_unknown_keys_are_refused_with_their_line() {
    let config = Config::parse("[model]\nfile = \"w.safetensors\"\n").expect("complete");
    assert_eq!((config.window.stride, config.smoothing.ahead_frames, config.input.deadline_us()), (1, 10, 33_333));
    let error = Config::parse("[model]\nfile = \"w\"\nweight = 3\n").expect_err("unknown key");
    assert!(error.contains("line 3") && error.contains("weight"), "{error}");
    assert!(Config::parse("").expect_err("no model").contains("model"));
}

#[test]
fn values_outside_their_range_are_named() {
    let cases = [
        ("[smoothing]\nback_frames = 64", "smoothing: back_frames"),
        ("[smoothing]\nsigma_frames = nan", "smoothing: sigma"),
        ("[window]\nstride = 0", "window: stride"),
        ("[input]\nframes_per_second = 0", "frames_per_second"),
        ("[decision]\nthreshold = inf", "decision.threshold"),
        ("[decision]\nthreshold = 1.0\nexit_margin = -1.0", "exit_margin"),
        ("[input]\nsource = \"tape\"", "line 4"),
    ];
    for (text, part) in cases {
        let error = Config::parse(&format!("[model]\nfile = \"w\"\n{text}\n")).expect_err("refused");
        assert!(error.contains(part), "{error:?} should name {part:?}");
    }
}

#[test]
fn the_configured_scale_and_threshold_come_before_the_models() {
    let text = "[model]\nfile = \"w\"\nscale = {x = 3.0, y = 4.0}\n[decision]\nthreshold = 2.5\n";
    let from_model = Threshold::new(9.0).ok();
    let pipeline = Config::parse(text).expect("valid").pipeline(24, PixelScale::SQUARE, from_model).expect("valid");
    assert_eq!(pipeline.scale, PixelScale { x: 3.0, y: 4.0 });
    assert_eq!(pipeline.decision.map(|rule| rule.threshold().value()), Some(2.5));
    let plain = Config::parse("[model]\nfile = \"w\"\nscale = \"published-stg-nf\"\n").expect("valid");
    let pipeline = plain.pipeline(24, PixelScale::SQUARE, from_model).expect("valid");
    assert_eq!(pipeline.scale, PixelScale::PUBLISHED_STG_NF);
    assert_eq!(pipeline.decision.map(|rule| rule.threshold().value()), Some(9.0));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = Config::parse(&text);
    }
}
