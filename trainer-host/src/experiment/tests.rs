//! A whole small experiment on synthetic cameras: it repeats to the byte, whatever the number of jobs, and goes on after an interruption.

use super::command::{ExperimentArguments, run};
use super::held_out::{HALVINGS, Judged, by_clip};
use super::record::sum;
use crate::synth_command::SynthArguments;
use crate::train::architecture::Architecture;
use std::fs;
use std::path::{Path, PathBuf};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("alfred-experiment-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn held_out_decisions_count_every_window_once_per_halving() {
    let scores = [0.0, 1.0, 2.0, 3.0, 0.5, 2.5, 0.2, 2.2];
    let truth = [false, false, true, true, false, true, false, true];
    let clip = [0, 0, 1, 1, 2, 2, 3, 3];
    let judged = Judged { scores: &scores, is_anomalous: &truth, clip: &clip, clips: 4 };
    let fixed = sum(&by_clip(&judged, Some(1.5)));
    assert_eq!((fixed.total(), fixed.ebi()), ((HALVINGS * 8) as u64, Some(1.0)));
    // Clips 0 and 1 hold one class each: when they are paired off together, that half still sets a threshold.
    let own = sum(&by_clip(&judged, None));
    assert!(own.total() > 0 && own.ebi().expect("both classes") > 0.5);
    assert_eq!(by_clip(&judged, None), by_clip(&judged, None));
}

/// Two cameras and a source, a few short clips each, in the layout of the benchmark.
fn data(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    let arguments = SynthArguments {
        out: Some(data.clone()),
        strips: None,
        seed: 5,
        cameras: vec!["source".into(), "gate".into(), "dojo".into()],
        domains: true,
        slices: 2,
        clips: 4,
        test_clips: 4,
        frames: 240,
        hours: "9-18".into(),
    };
    crate::synth_command::run(&arguments).expect("data");
    data
}

fn arguments(data: &Path, out: PathBuf, jobs: usize, slices: usize) -> ExperimentArguments {
    ExperimentArguments {
        data: data.into(),
        cameras: Vec::new(),
        models: vec![Architecture::StgNf],
        methods: vec!["all".into()],
        slices,
        stride: 6,
        seeds: 1,
        out,
        source_weights: None,
        jobs: Some(jobs),
        annotator_errors: 0.0,
        json: true,
    }
}

#[test]
fn an_experiment_repeats_to_the_byte_and_goes_on_after_a_stop() {
    let folder = Folder::new("whole");
    let data = data(&folder.0);
    let (first, second) = (folder.0.join("first"), folder.0.join("second"));
    run(&arguments(&data, first.clone(), 2, 2)).expect("runs");
    let cells = fs::read_to_string(first.join("cells.csv")).expect("cells");
    // As a kill leaves it: some chains whole, one without its latest iteration, the rest not begun.
    fs::create_dir_all(second.join("work")).expect("a folder");
    fs::copy(first.join("manifest.json"), second.join("manifest.json")).expect("copied");
    let kept = "stg-nf-gate-active_learning-seed0.json";
    fs::copy(first.join("work").join(kept), second.join("work").join(kept)).expect("copied");
    run(&arguments(&data, second.clone(), 1, 2)).expect("goes on");
    assert_eq!(cells, fs::read_to_string(second.join("cells.csv")).expect("cells"));
    for name in ["tables.md", "table3.csv", "table6.csv", "figure3.svg", "figure2_stg-nf.svg", "report.html"] {
        assert_eq!(fs::read(first.join(name)).expect(name), fs::read(second.join(name)).expect(name), "{name}");
    }
    let page = fs::read_to_string(first.join("report.html")).expect("a page");
    assert!(page.contains("<svg") && page.contains("Table 3") && !page.contains("http://") || page.contains("www.w3.org"));
    // Another data set or slicing in the same folder is refused, not mixed in.
    let refused = run(&arguments(&data, second, 1, 3)).expect_err("another experiment").to_string();
    assert!(refused.contains("slices was 2, now 3"), "{refused}");
}
