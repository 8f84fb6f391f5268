//! The generic engine with the arena installed: models of our own always, the published ones where the shared data is.

use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::units::AnomalyScore;
use alfred_models::arena::{ARENAS_MAX, ArenaAllocator, arenas_abandoned};
use alfred_models::onnx_manifest::{Declaration, KEY_SCORE_RULE};
use alfred_models::test_models::{Model, Node, mean_of_squares};
use alfred_models::tract_engine::{Budget, LoadError, ModelSource, ONNX_FILE_BYTES_MAX, TractEngine};
use std::io::Write;
use std::path::{Path, PathBuf};

#[global_allocator]
static ALLOCATOR: ArenaAllocator = ArenaAllocator::new();

const ROOMY: Budget = Budget::Bounded { bytes: 64 << 10 };

fn load(bytes: &[u8], declared: &[(&str, &str)], budget: Budget) -> Result<TractEngine, LoadError> {
    let declared = Declaration::from_pairs(declared.iter().copied()).expect("valid");
    TractEngine::load(ModelSource::Bytes { name: "test.onnx", bytes }, declared, budget)
}

/// The engine's refusal as text, checked to be one line that names the file.
fn refusal(bytes: &[u8], declared: &[(&str, &str)], budget: Budget) -> String {
    let text = load(bytes, declared, budget).expect_err("must be refused").to_string();
    assert!(text.starts_with("test.onnx: ") && !text.contains('\n'), "{text}");
    text
}

fn window(frames: usize, seed: usize) -> Window {
    let mut window = Window::EMPTY;
    window.set_frames(frames);
    for (position, value) in window.values_mut().iter_mut().enumerate() {
        *value = ((position * (seed + 1)) as f32).sin();
    }
    window
}

fn scores(engine: &mut TractEngine, windows: &[Window]) -> Vec<ScoreResult> {
    let mut scores = vec![Err(ScoreFault::Engine); windows.len()];
    engine.score_batch(windows, &mut scores);
    scores
}

fn mean_square(window: &Window) -> f32 {
    window.values().iter().map(|value| value * value).sum::<f32>() / window.values().len() as f32
}

fn assert_mean_squares(engine: &mut TractEngine, windows: &[Window]) {
    for (score, window) in scores(engine, windows).into_iter().zip(windows) {
        let error = score.expect("scored").value() - mean_square(window);
        assert!(error.abs() < 1e-5, "off by {error}");
    }
}

#[test]
fn loads_scores_and_stays_in_its_arena_for_10_000_runs() {
    let mut engine = load(&mean_of_squares(1, 24, true), &[], ROOMY).expect("loads");
    assert_eq!((engine.window_frames(), engine.manifest().architecture.as_str()), (24, "mean_of_squares"));
    let windows: Vec<_> = (0..20).map(|seed| window(24, seed)).collect();
    assert_mean_squares(&mut engine, &windows);
    let after_few = engine.arena_counters().expect("bounded");
    let expected = scores(&mut engine, &windows);
    for _ in 0..500 {
        assert_eq!(scores(&mut engine, &windows), expected, "the same bits every time");
    }
    let after_many = engine.arena_counters().expect("bounded");
    let report = *engine.report();
    assert_eq!(after_many.in_use_bytes, after_few.in_use_bytes, "no growth");
    assert_eq!(after_many.peak_bytes, after_few.peak_bytes);
    assert_eq!(after_many.allocations - after_few.allocations, 501 * 20 * report.allocations_per_run, "the same trace every time");
    assert_eq!((after_many.overflows, engine.counters().arena_overflows, engine.counters().run_failures), (0, 0, 0));
    assert!(report.extent_bytes <= report.arena_bytes && report.peak_bytes <= report.extent_bytes, "{report:?}");
}

#[test]
fn batches_are_filled_up_and_windows_stay_independent() {
    let mut engine = load(&mean_of_squares(8, 16, true), &[], ROOMY).expect("loads");
    let windows: Vec<_> = (0..11).map(|seed| window(16, seed)).collect();
    assert_mean_squares(&mut engine, &windows);
    assert_eq!(engine.counters().runs, 2);
    assert_mean_squares(&mut engine, &windows[..1]);
    assert!(scores(&mut engine, &[]).is_empty());
}

#[test]
fn windows_of_another_length_are_answered_without_a_run() {
    let mut engine = load(&mean_of_squares(4, 24, true), &[], ROOMY).expect("loads");
    let windows = vec![window(24, 0), window(16, 1), window(24, 2)];
    let scores = scores(&mut engine, &windows);
    assert_eq!(scores[1], Err(ScoreFault::WrongWindow));
    for index in [0, 2] {
        assert!((scores[index].expect("scored").value() - mean_square(&windows[index])).abs() < 1e-5);
    }
    assert_eq!(engine.counters().runs, 1);
}

#[test]
fn an_output_that_is_no_number_is_a_fault_of_that_window_only() {
    let mut engine = load(&mean_of_squares(2, 24, true), &[], ROOMY).expect("loads");
    let mut windows = vec![window(24, 0), window(24, 1), window(24, 2)];
    windows[1].values_mut()[3] = f32::NAN;
    let scores = scores(&mut engine, &windows);
    assert_eq!(scores[1], Err(ScoreFault::NotFinite));
    assert!(scores[0].is_ok() && scores[2].is_ok());
    assert_eq!(engine.counters().not_finite, 1);
}

#[test]
fn normality_is_negated_and_errors_against_an_input_are_computed() {
    let windows = [window(24, 3)];
    let negated = [("alfred.input_layout", "time_major"), (KEY_SCORE_RULE, "higher_is_normal(score)")];
    let mut engine = load(&mean_of_squares(1, 24, false), &negated, ROOMY).expect("loads");
    assert!((scores(&mut engine, &windows)[0].expect("scored").value() + mean_square(&windows[0])).abs() < 1e-5);

    let shape = [Some(2), Some(24), Some(18), Some(2)];
    let halves = Model {
        inputs: &[("x", &shape)],
        outputs: &["half"],
        nodes: &[Node { operator: "Mul", inputs: &["x", "k"], output: "half", lists: &[], integers: &[] }],
        constants: &[("k", &[1], &[0.5])],
        metadata: &[("alfred.input_layout", "frame_major"), (KEY_SCORE_RULE, "mean_squared_error(half, x)")],
    };
    let mut engine = load(&halves.to_onnx(), &[], ROOMY).expect("loads");
    let windows = vec![window(24, 3), window(24, 4), window(24, 5)];
    for (score, window) in scores(&mut engine, &windows).into_iter().zip(&windows) {
        assert!((score.expect("scored").value() - 0.25 * mean_square(window)).abs() < 1e-5);
    }
}

#[test]
fn an_arena_that_is_too_small_is_refused_with_the_size_that_fits() {
    let bytes = mean_of_squares(16, 48, true);
    let error = load(&bytes, &[], Budget::Bounded { bytes: 4 << 10 }).expect_err("too small");
    let LoadError::DoesNotFit { needed_bytes, given_bytes, .. } = error else { panic!("{error}") };
    assert_eq!(given_bytes, 4 << 10);
    assert!(error.to_string().contains(&format!("needs {needed_bytes} bytes of arena, 4096 given: raise model.arena_bytes")), "{error}");
    let mut engine = load(&bytes, &[], Budget::Bounded { bytes: needed_bytes }).expect("what was said to fit fits");
    assert_mean_squares(&mut engine, &[window(48, 1)]);
    assert_eq!(engine.arena_bytes_needed().expect("installed"), needed_bytes);
}

#[test]
fn leaving_the_arena_is_a_counted_fault_and_the_engine_goes_on() {
    let mut engine = load(&mean_of_squares(1, 24, true), &[], Budget::Bounded { bytes: 32 << 10 }).expect("loads");
    let windows = [window(24, 0), window(24, 1)];
    assert_mean_squares(&mut engine, &windows);
    // Something sits in the arena: large blocks first, then ever smaller ones until nothing is left.
    let hog: Vec<Vec<u8>> = engine.enter_arena(|| {
        let mut hog = Vec::with_capacity(64);
        for size_log2 in (5..15).rev() {
            for _ in 0..3 {
                hog.push(Vec::with_capacity(1 << size_log2));
            }
        }
        hog
    });
    let before = engine.arena_counters().expect("bounded").overflows;
    assert_eq!(scores(&mut engine, &windows), [Err(ScoreFault::Engine); 2]);
    assert_eq!(engine.counters().arena_overflows, 2);
    assert!(engine.arena_counters().expect("bounded").overflows > before);
    drop(hog);
    assert_mean_squares(&mut engine, &windows);
    assert_eq!(engine.counters().arena_overflows, 2);
}

#[test]
fn engines_move_between_threads_and_leave_nothing_when_quiesced() {
    let mut engine = load(&mean_of_squares(1, 24, true), &[], ROOMY).expect("loads");
    let engine = std::thread::spawn(move || {
        assert_mean_squares(&mut engine, &[window(24, 0)]);
        engine.quiesce();
        assert_eq!(engine.arena_counters().expect("bounded").live_blocks, 0);
        engine
    });
    let mut engine = engine.join().expect("scores");
    assert_mean_squares(&mut engine, &[window(24, 1)]);
}

#[test]
fn without_a_budget_it_runs_on_the_heap() {
    let mut engine = load(&mean_of_squares(1, 24, true), &[], Budget::Unbounded).expect("loads");
    assert_mean_squares(&mut engine, &[window(24, 0)]);
    assert_eq!((engine.report().arena_bytes, engine.arena_counters()), (0, None));
}

#[test]
fn models_that_do_not_say_what_they_are_are_refused() {
    let text = refusal(&mean_of_squares(1, 24, false), &[], ROOMY);
    assert!(text.contains("alfred.score_rule") && text.contains("outputs: score"), "{text}");
    let text = refusal(&mean_of_squares(1, 24, true), &[(KEY_SCORE_RULE, "higher_is_anomalous(nll)")], ROOMY);
    assert!(text.contains("names no output"), "{text}");
    let text = refusal(&mean_of_squares(1, 24, true), &[(KEY_SCORE_RULE, "mean_squared_error(score, x)")], ROOMY);
    assert!(text.contains("864 values are expected"), "{text}");
    let text = refusal(&mean_of_squares(1, 60, true), &[], ROOMY);
    assert!(text.contains("not time_major"), "{text}");
    let text = refusal(&mean_of_squares(17, 24, true), &[], ROOMY);
    assert!(text.contains("the batch is 17"), "{text}");
}

/// A model with one node and one input (1, 2, 24, 18) unless another shape is given.
fn single(operator: &str, inputs: &[&str], shape: &[Option<i64>]) -> Vec<u8> {
    let node = Node { operator, inputs, output: "score", lists: &[], integers: &[] };
    Model { inputs: &[("x", shape)], outputs: &["score"], nodes: &[node], ..Model::default() }.to_onnx()
}

#[test]
fn graphs_that_cannot_be_bounded_are_refused() {
    let shape = [Some(1), Some(2), Some(24), Some(18)];
    let rule = [(KEY_SCORE_RULE, "higher_is_anomalous(score)")];
    let cases: [(Vec<u8>, &str); 6] = [
        (single("Abs", &["x"], &[None, Some(2), Some(24), Some(18)]), "without dynamic axes"),
        (single("Abs", &["x"], &[Some(0), Some(2), Some(24), Some(18)]), "not fixed"),
        (single("Abs", &["x"], &[Some(1), Some(2), Some(24), Some(i64::MAX)]), "too large"),
        (single("Abs", &["y"], &shape), "nothing before it computes its input `y`"),
        (single("NoSuchOperator", &["x"], &shape), "tract does not know this operator"),
        (single("RandomNormalLike", &["x"], &shape), "a random operator"),
    ];
    for (bytes, expected) in cases {
        let text = refusal(&bytes, &rule, ROOMY);
        assert!(text.contains(expected), "{text}");
    }
    let unnamed = Model { inputs: &[("x", &shape)], outputs: &["score"], ..Model::default() };
    assert!(refusal(&unnamed.to_onnx(), &rule, ROOMY).contains("nothing computes the output `score`"));
    let short = Model { constants: &[("k", &[7, 7], &[1.0])], ..unnamed };
    assert!(refusal(&short.to_onnx(), &rule, ROOMY).contains("its data is not as long as its shape"));
}

#[test]
fn a_batch_whose_windows_depend_on_each_other_is_refused() {
    let shape = [Some(4), Some(2), Some(24), Some(18)];
    let mean = |input, output, axes| Node { operator: "ReduceMean", inputs: input, output, lists: axes, integers: &[("keepdims", 0)] };
    let coupled = Model {
        inputs: &[("x", &shape)],
        outputs: &["score"],
        nodes: &[
            Node { operator: "Mul", inputs: &["x", "x"], output: "squares", lists: &[], integers: &[] },
            mean(&["squares"], "own", &[("axes", &[1, 2, 3])]),
            mean(&["squares"], "all", &[("axes", &[0, 1, 2, 3])]),
            Node { operator: "Add", inputs: &["own", "all"], output: "score", lists: &[], integers: &[] },
        ],
        metadata: &[(KEY_SCORE_RULE, "higher_is_anomalous(score)")],
        ..Model::default()
    };
    assert!(refusal(&coupled.to_onnx(), &[], ROOMY).contains("depends on its neighbours"));
}

#[test]
fn garbage_truncated_and_huge_files_are_refused() {
    let good = mean_of_squares(1, 24, true);
    for length in 0..good.len() {
        // Every prefix: some still decode, as protobuf's fields are optional; none may panic.
        if let Ok(engine) = load(&good[..length], &[], ROOMY) {
            assert_eq!(engine.window_frames(), 24);
        }
    }
    for position in 0..good.len() {
        let mut bytes = good.clone();
        bytes[position] ^= 0x5A;
        let _ = load(&bytes, &[], ROOMY);
    }
    assert!(refusal(b"not an ONNX file at all", &[], ROOMY).contains("no ONNX file"));
    assert!(refusal(&[], &[], ROOMY).contains("no graph"));
    assert!(refusal(&vec![0; ONNX_FILE_BYTES_MAX + 1], &[], ROOMY).contains("export a smaller model"));
}

#[test]
fn files_and_their_sidecars_are_read() {
    let folder = std::env::temp_dir().join(format!("alfred_tract_engine_{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("creates");
    let (model, sidecar) = (folder.join("model.onnx"), folder.join("model.onnx.json"));
    let load = |path: &Path| TractEngine::load(ModelSource::File(path), Declaration::default(), ROOMY);
    std::fs::write(&model, mean_of_squares(1, 24, false)).expect("writes");
    assert!(matches!(load(&model), Err(LoadError::Manifest { .. })));
    std::fs::write(&sidecar, r#"{"alfred.score_rule": "higher_is_anomalous(score)"}"#).expect("writes");
    assert_mean_squares(&mut load(&model).expect("declared by the sidecar"), &[window(24, 0)]);
    std::fs::write(&sidecar, r#"{"alfred.score_rule": "higher_is_normal(score)"}"#).expect("writes");
    std::fs::write(&model, mean_of_squares(1, 24, true)).expect("writes");
    assert!(load(&model).expect_err("they contradict").to_string().contains("differs between"));
    assert!(matches!(load(&folder.join("none.onnx")), Err(LoadError::Read { .. })));
    std::fs::remove_dir_all(&folder).expect("removes");
}

/// Prints past the harness's capture.
fn announce(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The shared golden ONNX file, or a loud skip.
fn golden(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden/onnx").join(name);
    if !path.exists() {
        announce(&format!("SKIPPED: {} is not here", path.display()));
        return None;
    }
    Some(path)
}

/// Loads each published model, prints what it costs, and runs it in exactly the arena it says it needs.
#[test]
fn published_models_run_in_the_arena_they_ask_for() {
    let names = [
        "stgnf_shanghaitech_b1",
        "stgnf_shanghaitech_b8",
        "stgnf_shanghaitech_collapsed_b1",
        "stgnf_ubnormal_unsup_b1",
        "sparta_ftd_sht_perwindow_b1",
        "sparta_ftd_sht_collapsed_b1",
    ];
    for name in names {
        let Some(path) = golden(&format!("{name}.onnx")) else { return };
        let load = |budget| TractEngine::load(ModelSource::File(&path), Declaration::default(), budget).expect(name);
        let needed = load(Budget::Unbounded).arena_bytes_needed().expect(name);
        let mut engine = load(Budget::Bounded { bytes: needed });
        let windows: Vec<_> = (0..engine.report().batch_windows).map(|seed| window(engine.window_frames(), seed)).collect();
        let expected: Vec<Option<AnomalyScore>> = scores(&mut engine, &windows).into_iter().map(Result::ok).collect();
        let runs = 200;
        let start = std::time::Instant::now();
        for _ in 0..runs {
            let again: Vec<_> = scores(&mut engine, &windows).into_iter().map(Result::ok).collect();
            assert_eq!(again, expected);
        }
        let us = start.elapsed().as_secs_f64() * 1e6 / f64::from(runs) / windows.len() as f64;
        let report = engine.report();
        announce(&format!(
            "{name}: {} operators, {} allocations per run, peak {} B, needs {needed} B of arena, {us:.1} us per window, {:?}",
            report.operators,
            report.allocations_per_run,
            report.peak_bytes,
            report.lock.expect("bounded")
        ));
        assert_eq!(engine.counters().arena_overflows, 0);
        assert_eq!(engine.arena_counters().expect("bounded").overflows, 0);
    }
}

/// A device swaps models for years: one scoring thread, engines made and dropped elsewhere. Regions must not pile up.
#[test]
fn quiesced_engines_leave_no_regions_behind_on_a_long_lived_thread() {
    let Some(path) = golden("stgnf_shanghaitech_collapsed_b1.onnx") else { return };
    for _ in 0..2 * ARENAS_MAX {
        let path = path.clone();
        let load = move || TractEngine::load(ModelSource::File(&path), Declaration::default(), ROOMY);
        let mut engine = std::thread::spawn(load).join().expect("runs").expect("a slot is free");
        let windows = [window(engine.window_frames(), 1)];
        assert!(scores(&mut engine, &windows)[0].is_ok());
        engine.quiesce();
        std::thread::spawn(move || drop(engine)).join().expect("drops");
        // Some for other tests, which run at the same time.
        assert!(arenas_abandoned() < ARENAS_MAX / 2, "{} regions are left behind", arenas_abandoned());
    }
}
