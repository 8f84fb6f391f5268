//! A whole small experiment on synthetic cameras: it repeats to the byte, whatever the number of jobs, and goes on after an interruption.

use super::answers::gain;
use super::command::{ExperimentArguments, run};
use super::head_tables::{UnseenCell, unseen_summary};
use super::held_out::{HALVINGS, Judged, beside, by_clip, gate_half};
use super::record::sum;
use crate::metric::confusion::Confusion;
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

#[test]
fn a_gated_pair_is_judged_on_clips_that_its_gate_has_not_seen() {
    let scores = [0.0, 2.0, 1.0, 3.0, 0.5, 2.5, 0.2, 2.2];
    let truth = [false, true, false, true, false, true, false, true];
    let clip = [0, 0, 1, 1, 2, 2, 3, 3];
    let judged = Judged { scores: &scores, is_anomalous: &truth, clip: &clip, clips: 4 };
    let seen = gate_half(4);
    assert_eq!((seen.iter().filter(|seen| **seen).count(), gate_half(7).iter().filter(|seen| **seen).count()), (2, 4));
    assert_eq!(seen, gate_half(4), "the same half for every cell");
    for (clip, (decisions, seen)) in beside(&judged, &seen).iter().zip(&seen).enumerate() {
        assert_eq!(decisions.total(), if *seen { 0 } else { 2 }, "clip {clip}");
    }
    // One class only where the gate looks: nothing sets a threshold, and nothing is decided.
    let normal_there: Vec<bool> = truth.iter().zip(&clip).map(|(truth, clip)| *truth && !seen[*clip as usize]).collect();
    let judged = Judged { is_anomalous: &normal_there, ..judged };
    assert_eq!(sum(&beside(&judged, &seen)).total(), 0);
}

#[test]
fn classes_that_nobody_judged_are_summed_up_by_class_and_by_cell() {
    let cell = |camera: &str, class: &str, density, unseen| UnseenCell {
        camera: camera.into(),
        class: class.into(),
        density,
        unseen,
        judged: 0.9,
    };
    let cells = [cell("A", "fall", 0.9, 0.95), cell("B", "fall", 0.9, 0.85), cell("A", "kick", 0.5, 0.8)];
    let summary = unseen_summary(&cells).expect("cells");
    let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
    assert!(close(summary.gain[0], 0.1) && summary.gain[1] <= summary.gain[0] && summary.gain[0] <= summary.gain[2], "{:?}", summary.gain);
    assert_eq!(summary.by_class.iter().map(|(class, _)| class.as_str()).collect::<Vec<_>>(), ["fall", "kick"], "worst first");
    assert!(close(summary.by_class[0].1, 0.0) && close(summary.by_class[1].1, 0.3));
    assert_eq!((summary.cells, summary.worse.len(), summary.worse[0].0.as_str()), (3, 1, "B fall"));
    assert_eq!(unseen_summary(&[]), None);
}

#[test]
fn gains_are_taken_on_clips_that_both_judged() {
    let clip = |true_positives, false_negatives| {
        let mut clip = Confusion::default();
        (0..true_positives).for_each(|_| clip.add(true, true));
        (0..false_negatives).for_each(|_| clip.add(true, false));
        (0..10).for_each(|_| clip.add(false, false));
        clip
    };
    let (old, new) = (vec![clip(5, 5), clip(5, 5), clip(0, 10)], vec![clip(10, 0), clip(10, 0), Confusion::default()]);
    let found = gain(&[old], &[new]).expect("two clips in common");
    assert!((found.value - (1.0 - 2.0 * 0.5 / 1.5)).abs() < 1e-12, "{found:?}");
    assert_eq!(gain(&[vec![clip(1, 1)]], &[vec![Confusion::default()]]), None);
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
        strict: true,
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
    assert!(page.contains("Labels saved") && page.contains("NOT met") || page.contains("met."), "the aims are judged");
    // Another data set or slicing in the same folder is refused, not mixed in.
    let refused = run(&arguments(&data, second, 1, 3)).expect_err("another experiment").to_string();
    assert!(refused.contains("slices was 2, now 3"), "{refused}");
}
