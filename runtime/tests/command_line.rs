//! `alfred-edge` as its users meet it: real processes, real files, exit codes and messages.

mod support;

use ndarray_npy::WriteNpyExt;
use std::fs;
use support::{Folder, assert_refused, other_weights, run, text, tracked_json};

#[test]
fn score_prints_one_line_per_frame_and_the_same_bytes_each_time() {
    let folder = Folder::new("score");
    let (model, poses) = (folder.weights(None), folder.write("01_0001_alphapose_tracked_person.json", tracked_json(2, 60)));
    let arguments = ["score", "--model", text(&model), "--poses", text(&poses), "--threshold", "1.0", "--lane", "exact"];
    let output = run(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, run(&arguments).stdout, "the same input gives the same output");
    let table = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "clip,frame,persons,score,smoothed,anomalous");
    assert_eq!(lines.len(), 61);
    assert_eq!(lines[1], "01_0001,0,2,,,0", "nobody is scored before half a window");
    let middle: Vec<&str> = lines[31].split(',').collect();
    assert_eq!(middle[..3], ["01_0001", "30", "2"]);
    assert!(middle[3].parse::<f32>().expect("a score").is_finite() && ["0", "1"].contains(&middle[5]));
    let windows = run(&["score", "--model", text(&model), "--poses", text(&poses), "--smoothing", "paper", "--windows", "csv"]);
    let table = String::from_utf8(windows.stdout).expect("text");
    assert_eq!(table.lines().next(), Some("clip,person,first_frame,score"));
    assert_eq!(table.lines().count(), 1 + 2 * (60 - 24), "each track's last window is left out, as published");
    let lines = run(&["score", "--model", text(&model), "--poses", text(&poses), "--out", "jsonl"]);
    let first = String::from_utf8(lines.stdout).expect("text").lines().next().map(str::to_owned);
    assert_eq!(first.as_deref(), Some(r#"{"clip":"01_0001","frame":0,"persons":2,"score":null,"smoothed":null,"anomalous":null}"#));
}

#[test]
fn every_native_architecture_scores_and_its_scores_stand_at_its_own_frame() {
    let folder = Folder::new("architectures");
    let poses = folder.write("01_0001_alphapose_tracked_person.json", tracked_json(2, 70));
    for (model, name, score_frame) in other_weights(&folder) {
        let output = run(&["score", "--model", text(&model), "--poses", text(&poses), "--lane", "exact"]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let table = String::from_utf8(output.stdout).expect("text");
        let scored: Vec<&str> =
            table.lines().skip(1).filter(|line| line.split(',').nth(3).is_some_and(|score| !score.is_empty())).collect();
        assert!(scored[0].starts_with(&format!("01_0001,{score_frame},2,")), "{name}: {}", scored[0]);
        let told = String::from_utf8(run(&["self-test", "--model", text(&model)]).stdout).expect("text");
        assert!(told.contains(name), "{told}");
        let map = run(&["memory-map", "--model", text(&model)]);
        assert!(String::from_utf8_lossy(&map.stdout).contains("scorer"), "{name}");
    }
}

#[test]
fn masks_give_clips_their_length_and_print_the_auc() {
    let folder = Folder::new("masks");
    let (model, poses) = (folder.weights(None), folder.write("a.json", tracked_json(1, 50)));
    let masks = folder.0.join("masks");
    fs::create_dir(&masks).expect("folder");
    for (name, length) in [("a", 70), ("without_poses", 30)] {
        let mask: ndarray::Array1<u8> = (0..length).map(|frame| u8::from(frame % 50 > 25)).collect();
        mask.write_npy(fs::File::create(masks.join(format!("{name}.npy"))).expect("file")).expect("npy");
    }
    let output = run(&["score", "--model", text(&model), "--poses", text(&poses), "--smoothing", "paper", "--masks", text(&masks)]);
    let (table, told) = (String::from_utf8(output.stdout).expect("text"), String::from_utf8(output.stderr).expect("text"));
    assert_eq!(table.lines().count(), 1 + 70 + 30);
    assert!(table.lines().any(|line| line.starts_with("without_poses,29,0,,")), "a clip without poses has its rows");
    assert!(told.starts_with("AUC-ROC 0.") && told.contains("2 clips, 100 frames"), "{told}");
}

#[test]
fn bad_input_is_one_line_that_names_file_place_and_mend() {
    let folder = Folder::new("bad");
    let (model, poses) = (folder.weights(None), folder.write("good.json", tracked_json(1, 30)));
    let score = |model: &std::path::Path, poses: &std::path::Path| run(&["score", "--model", text(model), "--poses", text(poses)]);
    let malformed = folder.write("malformed.json", "{\"1\": {\"0001\": {\"keypoints\": [1, 2,");
    assert_refused(&score(&model, &malformed), &["malformed.json", "line 1 column", "AlphaPose"]);
    let few = folder.write("few.json", r#"{"1": {"0001": {"keypoints": [1, 2, 3]}}}"#);
    assert_refused(&score(&model, &few), &["few.json", "person 1, frame 0001", "51 are needed"]);
    let nan = folder.write("nan.json", tracked_json(1, 30).replacen("0.9", "NaN", 1));
    assert_refused(&score(&model, &nan), &["nan.json", "column", "NaN"]);
    assert_refused(&score(&model, &folder.0.join("missing.json")), &["missing.json", "is the path right?"]);
    assert_refused(&score(&folder.0.join("missing.safetensors"), &poses), &["missing.safetensors"]);
    assert_refused(&score(&folder.write("model.pt", "x"), &poses), &["model.pt", ".safetensors", ".onnx"]);
    assert_refused(&score(&folder.write("noise.onnx", "no protobuf at all"), &poses), &["noise.onnx"]);
    assert_refused(&score(&folder.write("noise.safetensors", [0xFF; 64]), &poses), &["noise.safetensors", "no safetensors file"]);
    let mut poisoned = fs::read(&model).expect("weights");
    let end = poisoned.len();
    poisoned[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_refused(&score(&folder.write("poisoned.safetensors", &poisoned), &poses), &["poisoned.safetensors", "flow.layers."]);
    let empty = folder.0.join("empty");
    fs::create_dir(&empty).expect("folder");
    let output = run(&["score", "--model", text(&model), "--poses", text(&poses), "--masks", text(&empty)]);
    assert_refused(&output, &["empty", "no .npy file"]);
    let output = run(&["score", "--model", text(&model), "--poses", text(&poses), text(&poses)]);
    assert_refused(&output, &["good.json", "second file"]);
    let output = run(&["score", "--model", text(&model), "--poses", text(&poses), "--threshold", "nan"]);
    assert_refused(&output, &["--threshold", "NaN"]);
}

#[test]
fn configurations_are_checked_and_the_ceiling_holds() {
    let folder = Folder::new("config");
    folder.weights(Some(1.5));
    let check = |name: &str, content: &str| run(&["run", "--check-config", "--config", text(&folder.write(name, content))]);
    let good = check("good.toml", "[model]\nfile = \"weights.safetensors\"\n");
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(String::from_utf8_lossy(&good.stdout).contains("valid; model stg-nf/"), "the path starts at the configuration");
    assert!(String::from_utf8_lossy(&good.stderr).contains("total"), "the memory map is shown");
    assert_refused(
        &check("typo.toml", "[model]\nfile = \"weights.safetensors\"\nlane_name = \"fast\"\n"),
        &["typo.toml", "line 3", "lane_name"],
    );
    let tight = folder.write("tight.toml", "[model]\nfile = \"weights.safetensors\"\n[memory]\nceiling_bytes = 1000000\n");
    assert_refused(&run(&["run", "--config", text(&tight)]), &["tight.toml", "memory.ceiling_bytes", "raise it"]);
    folder.weights(None);
    let bare = folder.write("bare.toml", "[model]\nfile = \"weights.safetensors\"\n");
    assert_refused(&run(&["run", "--config", text(&bare)]), &["bare.toml", "no threshold", "decision.threshold"]);
}

#[test]
fn memory_map_and_self_test_answer() {
    let folder = Folder::new("map");
    let output = run(&["memory-map", "--json", "--model", text(&folder.weights(None))]);
    let map: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let total = map["total_bytes"].as_u64().expect("a total");
    let sum: u64 = map["blocks"].as_array().expect("blocks").iter().map(|block| block["bytes"].as_u64().expect("bytes")).sum();
    assert_eq!(total, sum);
    assert!(total < 2 << 20, "64 tracks on the native path: {total} bytes");
    let output = run(&["self-test"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("ok      exact lane's bits") && told.contains("0 allocations"), "{told}");
}

#[test]
fn bench_drives_the_whole_live_path_and_accounts_for_every_frame() {
    let folder = Folder::new("bench");
    let svg = folder.0.join("histogram.svg");
    let arguments =
        ["--persons", "3", "--minutes", "0.05", "--warm-up-seconds", "3", "--cold-starts", "1", "--stress", "--real-time", "--json"];
    let output = run(&[&["bench", "--svg", text(&svg)][..], &arguments[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key} is missing: {report}"));
    assert_eq!((number("frames"), number("persons")), (90.0, 3.0));
    // Times say nothing on a busy machine; that none is missing, and that nothing was allocated, hold on any.
    assert_eq!(number("allocations"), 0.0, "{report}");
    let judged = ["of_the_machine", "of_added_waits", "of_ours"].map(|whose| number(&format!("deadline_misses_{whose}")));
    assert_eq!(number("deadline_misses"), judged.into_iter().sum::<f64>());
    assert!(number("stress_threads") >= 1.0 && number("resident_bytes_at_end") > 1e6);
    // What was refused is counted; what was granted shows in the locked pages.
    let pages = |when: &str, kind: &str| report[when][kind].as_u64().unwrap_or_else(|| panic!("{when}, {kind}: {report}"));
    assert!(number("capabilities_missing") > 0.0 || pages("pages_at_end", "locked") > 1 << 20, "{report}");
    assert!(pages("pages_at_start", "own") > 100_000 && report["memory_is_flat"].is_boolean(), "{report}");
    if number("lost") == 0.0 {
        assert_eq!(number("windows_scored"), number("windows_expected"), "everybody is scored in every frame");
    }
    assert!(report["due_to_written"]["p50_us"].as_f64().is_some_and(|time| time > 0.0), "{report}");
    assert!(report["cold_starts"]["to_first_score"]["max_us"].as_f64().is_some_and(|time| time > 0.0), "{report}");
    assert!(fs::read_to_string(svg).expect("the histogram").starts_with("<svg"));
    for (arguments, part) in
        [(["--persons", "65"], "64 persons"), (["--minutes", "0"], "--minutes"), (["--cold-starts", "9999"], "--cold-starts")]
    {
        assert_refused(&run(&[&["bench"][..], &arguments[..]].concat()), &[part]);
    }
}
