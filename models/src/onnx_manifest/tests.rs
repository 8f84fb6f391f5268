//! Declared, inferred and refused manifests.

use super::*;

fn graph(inputs: &[(&str, &[usize])], outputs: &[&str]) -> GraphFacts {
    GraphFacts {
        inputs: inputs.iter().map(|(name, shape)| InputFacts { name: (*name).into(), shape: shape.to_vec() }).collect(),
        outputs: outputs.iter().map(|name| (*name).into()).collect(),
    }
}

fn declare(pairs: &[(&str, &str)]) -> Declaration {
    Declaration::from_pairs(pairs.iter().copied()).expect("valid")
}

#[test]
fn the_two_known_families_need_no_declaration() {
    let stg_nf = Manifest::resolve(Declaration::default(), &graph(&[("x", &[8, 2, 16, 18])], &["z", "nll"])).expect("known");
    assert_eq!((stg_nf.architecture.as_str(), stg_nf.window_frames, stg_nf.batch_windows, stg_nf.output_index), ("stg_nf", 16, 8, 1));
    assert_eq!(stg_nf.score_rule.to_string(), "higher_is_anomalous(nll)");
    let shape: &[usize] = &[1, 24, 72];
    let sparta = Manifest::resolve(Declaration::default(), &graph(&[("src", shape), ("tgt", shape)], &["score", "pred"])).expect("known");
    assert_eq!((sparta.architecture.as_str(), sparta.window_frames, sparta.input_layout), ("sparta", 48, InputLayout::SpartaTokens));
}

#[test]
fn what_cannot_be_inferred_is_asked_for_by_key() {
    let missing = |graph: &GraphFacts| match Manifest::resolve(Declaration::default(), graph) {
        Err(ManifestError::Missing { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(&graph(&[("x", &[1, 2, 24, 18])], &["likelihood"])), KEY_SCORE_RULE);
    assert_eq!(missing(&graph(&[("x", &[1, 2, 18, 18])], &["nll"])), KEY_INPUT_LAYOUT, "18 frames: time or joint major");
    assert_eq!(missing(&graph(&[("x", &[1, 24, 18, 2])], &["nll"])), KEY_INPUT_LAYOUT);
    assert_eq!(missing(&graph(&[("a", &[1, 24, 72]), ("b", &[1, 24, 72])], &["score"])), KEY_INPUT_LAYOUT);
}

#[test]
fn a_declaration_is_checked_against_the_graph() {
    let graph = graph(&[("x", &[1, 24, 18, 2])], &["y"]);
    let with = |pairs: &[(&str, &str)]| Manifest::resolve(declare(pairs), &graph);
    let layout = (KEY_INPUT_LAYOUT, "frame_major");
    let good = with(&[layout, (KEY_SCORE_RULE, "mean_squared_error(y, x)"), (KEY_WINDOW_FRAMES, "24")]).expect("fits");
    assert_eq!((good.output_index, good.target_index, good.window_frames), (0, Some(0), 24));
    for pairs in [
        &[layout, (KEY_SCORE_RULE, "higher_is_normal(nll)")][..],
        &[layout, (KEY_SCORE_RULE, "mean_squared_error(y, tgt)")],
        &[layout, (KEY_SCORE_RULE, "higher_is_normal(y)"), (KEY_WINDOW_FRAMES, "16")],
        &[(KEY_INPUT_LAYOUT, "time_major"), (KEY_SCORE_RULE, "higher_is_normal(y)")],
    ] {
        assert!(matches!(with(pairs), Err(ManifestError::Mismatch { .. })), "{pairs:?}");
    }
}

#[test]
fn a_batch_over_the_limit_is_refused() {
    let graph = graph(&[("x", &[BATCH_WINDOWS_MAX + 1, 2, 24, 18])], &["nll"]);
    assert!(matches!(Manifest::resolve(Declaration::default(), &graph), Err(ManifestError::Mismatch { .. })));
}

#[test]
fn the_callers_word_wins_and_file_and_sidecar_agree() {
    let [explicit, sidecar, file] = ["a", "b", "c"].map(|name| declare(&[(KEY_ARCHITECTURE, name)]));
    let conflict = Declaration::combine(explicit.clone(), sidecar.clone(), file);
    assert_eq!(conflict, Err(ManifestError::Conflict { key: KEY_ARCHITECTURE }));
    let combined = Declaration::combine(explicit, sidecar, declare(&[(KEY_PREPROCESSING, "stg_nf")])).expect("no conflict");
    assert_eq!((combined.architecture.as_deref(), combined.preprocessing.as_deref()), (Some("a"), Some("stg_nf")));
}

#[test]
fn sidecars_are_strict() {
    let good = Declaration::from_sidecar(br#"{"alfred.score_rule": "higher_is_normal(p)", "alfred.window_frames": 24}"#).expect("valid");
    assert_eq!((good.score_rule.map(|rule| rule.to_string()), good.window_frames), (Some("higher_is_normal(p)".into()), Some(24)));
    for json in
        [&b"[]"[..], b"{", b"\xff", br#"{"alfred.scorerule": "x"}"#, br#"{"alfred.architecture": {}}"#, br#"{"alfred.window_frames": -1}"#]
    {
        assert!(Declaration::from_sidecar(json).is_err(), "{}", String::from_utf8_lossy(json));
    }
}
