//! The commands from end to end on a tiny data set: synth, train, evaluate; twice, bit by bit.

use crate::dataset::layout::{Split, clips, read_events, read_mask};
use crate::evaluate::{FileModel, Lane, Model, Settings, evaluate_model, read_weights};
use crate::{synth_command, train_command};
use alfred_core::normalise::PixelScale;
use alfred_models::weights::Weights;
use clap::Parser;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Parser)]
struct Synth {
    #[command(flatten)]
    arguments: synth_command::SynthArguments,
}

#[derive(Parser)]
struct Train {
    #[command(flatten)]
    arguments: train_command::TrainArguments,
}

/// A folder that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("alfred-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn synth(folder: &Path) {
    let folder = folder.to_str().expect("text");
    let words = ["", "--out", folder, "--seed", "3", "--clips", "3", "--test-clips", "3", "--frames", "300"];
    synth_command::run(&Synth::parse_from(words).arguments).expect("writes a data set");
}

fn train(data: &Path, out: &Path) {
    let (data, out) = (data.to_str().expect("text"), out.to_str().expect("text"));
    let words = ["", "--arch", "stg-nf", "--data", data, "--out", out, "--epochs", "2", "--stride", "12"];
    train_command::run(&Train::parse_from(words).arguments).expect("trains");
}

#[test]
fn synth_train_and_evaluate_repeat_bit_by_bit() {
    let scratch = Scratch::new("commands");
    let (first, second) = (scratch.path("first"), scratch.path("second"));
    synth(&first);
    synth(&second);
    for name in ["json/test/10_5001_alphapose_tracked_person.json", "masks/test/11_5002.npy", "meta.json", "events.json"] {
        assert_eq!(fs::read(first.join(name)).expect(name), fs::read(second.join(name)).expect(name), "{name}");
    }
    let normal = clips(&first, Split::Train).expect("training clips");
    assert_eq!(normal.len(), 3);
    let mask = read_mask(normal[0].mask.as_deref().expect("a mask")).expect("a mask");
    assert!(mask.len() == 300 && !mask.contains(&true));
    assert!(read_events(&first).expect("events").is_some_and(|events| events.contains_key("test/10_5001")));
    let (one, two) = (scratch.path("one.safetensors"), scratch.path("two.safetensors"));
    train(&first, &one);
    train(&second, &two);
    assert_eq!(fs::read(&one).expect("weights"), fs::read(&two).expect("weights"));
    let weights = read_weights(&one).expect("weights of the devices' reader");
    assert!(weights.metadata.threshold.is_some());
    let evaluation = evaluate_model(
        &FileModel::of(Weights::StgNf(Box::new(weights)), Path::new("weights")).expect("a model"),
        &first,
        &Settings::default(),
    )
    .expect("evaluates");
    assert_eq!((evaluation.frames, evaluation.clips), (900, 3));
    assert!((0.0..=1.0).contains(&evaluation.paper.as_ref().expect("both smoothings").figures.auc_roc.value));
}

#[test]
fn bad_input_is_named_in_one_line() {
    let scratch = Scratch::new("bad-input");
    let pose = scratch.path("json/train/10_0001_alphapose_tracked_person.json");
    fs::create_dir_all(pose.parent().expect("a folder")).expect("a folder");
    for (text, part) in [
        ("{", "line 1"),
        ("{\"1\": {\"0000\": {\"keypoints\": [1, 2]}}}", "person 1, frame 0000"),
        ("{\"x\": {}}", "person \"x\""),
        ("{\"1\": {}}", "no whole window"),
    ] {
        fs::write(&pose, text).expect("a file");
        let (data, out) = (scratch.0.to_str().expect("text"), scratch.path("w.safetensors"));
        let words = ["", "--arch", "stg-nf", "--data", data, "--out", out.to_str().expect("text")];
        let error = train_command::run(&Train::parse_from(words).arguments).expect_err("must be refused").to_string();
        assert!(error.contains(part) && error.contains("10_0001") && error.lines().count() == 1, "{error}");
    }
}

/// Shipped weights are readable, carry what devices need, and rank unseen synthetic clips, `clips` of `frames` frames.
fn ranks_unseen_clips(names: &[&str], clips: &str, frames: &str, lane: Lane) {
    let scratch = Scratch::new(names[0]);
    let folder = scratch.0.to_str().expect("text");
    let words = ["", "--out", folder, "--seed", "77", "--clips", "1", "--test-clips", clips, "--frames", frames];
    synth_command::run(&Synth::parse_from(words).arguments).expect("writes a data set");
    for name in names {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pretrained").join(name).join("weights.safetensors");
        let model = FileModel::read(&path).expect("the shipped weights");
        assert!(model.weights().threshold().is_some(), "{name}");
        assert_eq!(model.pixel_scale(), PixelScale::SQUARE, "{name}");
        let evaluation = evaluate_model(&model, &scratch.0, &Settings { lane, ..Settings::default() }).expect("evaluates");
        let auc = evaluation.paper.as_ref().expect("both smoothings").figures.auc_roc.value;
        assert!(auc > 0.65, "{name}: frame AUC-ROC {auc}");
    }
}

#[test]
fn shipped_weights_rank_anomalies_above_normal_behaviour() {
    ranks_unseen_clips(&["stg_nf_synthetic", "sparta_synthetic"], "9", "600", Settings::default().lane);
}

/// GA-VAE costs a thousand times as much as STG-NF: fewer frames, on the fast lane.
#[test]
fn shipped_ga_vae_weights_rank_anomalies_above_normal_behaviour() {
    ranks_unseen_clips(&["ga_vae_synthetic"], "3", "400", Lane::Fast);
}
