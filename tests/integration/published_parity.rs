//! Four clips through loader, windows, normalisation, scorer, frame scores, smoothing and AUC, against the published code's own run.
//! Golden scores are normality scores; ours are their negatives.

use alfred_clips::frame_mask;
use alfred_clips::pose_file::{self, Clip};
use alfred_models::tract_engine::Budget;
use alfred_runtime::config::{Config, LaneName};
use alfred_runtime::model_file;
use alfred_runtime::replay::{self, ClipResult, Replay, Smoothing};
use alfred_testkit::golden::{GoldenFile, golden_path};
use alfred_testkit::tolerance::{STG_NF_TOLERANCE_SHT, Tolerance};
use std::collections::BTreeMap;

const CLIPS: [&str; 4] = ["01_0014", "01_0015", "02_0128", "03_0031"];
/// AUC of the published run; the same in either orientation.
const AUC: f64 = 0.823_350_140_056_022_5;
const AUC_TOLERANCE: Tolerance = Tolerance { name: "1e-4", absolute: 1e-4, relative: 0.0 };

struct Run {
    results: Vec<ClipResult>,
    auc: f64,
}

fn replay(model: &str, lane: LaneName) -> Option<Run> {
    let model = golden_path(model)?;
    let folder = golden_path("e2e/data/ShanghaiTech")?;
    let masks = frame_mask::read_folder(&folder.join("gt/test_frame_mask")).expect("golden masks");
    let mut loaded = model_file::load(&model, lane, Budget::Unbounded).expect("golden model");
    let config = Config::parse("[model]\nfile = \"unused\"\n").expect("defaults");
    let pipeline = config.pipeline(loaded.window_frames(), loaded.scale, None).expect("defaults");
    let mut replay = Replay::new(loaded.scorer(), pipeline, Smoothing::Paper).expect("defaults");
    let mut results = Vec::new();
    for name in CLIPS {
        let path = folder.join(format!("pose/test/{name}_alphapose_tracked_person.json"));
        // The last clip has a mask and no poses.
        let clip =
            if path.exists() { pose_file::read(&path).expect("golden poses") } else { Clip { name: name.into(), ..Clip::default() } };
        results.push(replay.clip(&clip, masks.get(name)).expect("checked"));
    }
    replay.finish(&mut results, None);
    let auc = replay::auc(results.iter().map(|clip| (clip, &masks[&clip.name]))).expect("both classes");
    Some(Run { results, auc })
}

fn check_against_published(run: &Run) {
    let golden = GoldenFile::find("e2e/e2e_stgnf_shanghaitech.safetensors").expect("beside the clips");
    let (meta, scores) = (golden.tensor("window_meta"), golden.tensor("window_nll"));
    let mut expected: BTreeMap<(String, u32, u64), f64> = BTreeMap::new();
    for (row, score) in meta.rows().zip(&scores.values) {
        let clip = format!("{:02}_{:04}", row[0] as u32, row[1] as u32);
        expected.insert((clip, row[2] as u32, row[3] as u64), *score);
    }
    let mut computed: BTreeMap<(String, u32, u64), f64> = BTreeMap::new();
    for clip in &run.results {
        for window in &clip.windows {
            computed.insert((clip.name.clone(), window.person.0, window.first.0), f64::from(window.score.value()));
        }
    }
    assert_eq!(expected.len(), 602);
    assert!(computed.keys().eq(expected.keys()), "the same windows");
    for (key, score) in &computed {
        assert!(STG_NF_TOLERANCE_SHT.allows(*score, expected[key]), "window {key:?}: {score} instead of {}", expected[key]);
    }
    for clip in &run.results {
        let raw = golden.tensor(&format!("frame_raw.{}", clip.name)).values;
        let smoothed = golden.tensor(&format!("frame_smoothed.{}", clip.name)).values;
        assert_eq!(clip.rows.len(), raw.len(), "{}: frames", clip.name);
        for (frame, row) in clip.rows.iter().enumerate() {
            assert_eq!(row.score.is_some(), raw[frame].is_finite(), "{} frame {frame}: scored or not", clip.name);
            if let Some(score) = row.score {
                assert!(STG_NF_TOLERANCE_SHT.allows(f64::from(score), -raw[frame]), "{} frame {frame}: raw", clip.name);
            }
            let ours = row.smoothed.expect("every frame is filled");
            assert!(STG_NF_TOLERANCE_SHT.allows(ours, -smoothed[frame]), "{} frame {frame}: {ours} smoothed", clip.name);
        }
    }
    assert!(AUC_TOLERANCE.allows(run.auc, AUC), "AUC {} instead of {AUC}", run.auc);
}

#[test]
fn the_native_lanes_reproduce_the_published_run() {
    for lane in [LaneName::Exact, LaneName::Fast] {
        let Some(run) = replay("weights/stgnf_shanghaitech.safetensors", lane) else { return };
        check_against_published(&run);
    }
}

#[test]
fn tract_reproduces_the_published_run() {
    for model in ["onnx/stgnf_shanghaitech_b1.onnx", "onnx/stgnf_shanghaitech_collapsed_b1.onnx"] {
        let Some(run) = replay(model, LaneName::Fast) else { return };
        check_against_published(&run);
    }
}
