//! Evaluation of models that no file holds: it asks a model for nothing but the contract, and its figures are those of the scores.

use super::events::{event_figures, found_events, frames_per_alarm};
use super::model::{FileModel, Lane, Model};
use super::output::{to_json, to_text};
use super::plots::write_plots;
use super::scores::{GroupBy, Groups};
use super::{Evaluation, Settings, evaluate_model};
use crate::dataset::layout::{Split, clips_of};
use crate::dataset::windows::ClipTruth;
use crate::error::HostError;
use crate::metric::bootstrap::BootstrapPlan;
use crate::synth_command::{self, SynthArguments};
use alfred_core::normalise::PixelScale;
use alfred_core::scorer::{ScoreFault, ScoreResult, Scorer, Window};
use alfred_core::units::AnomalyScore;
use alfred_models::ga_vae::weights_file::{GaVaeMetadata, GaVaeWeights};
use alfred_models::sparta::parameters::Form;
use alfred_models::sparta::weights_file::{SpartaMetadata, SpartaWeights};
use alfred_models::stg_nf::weights_file::{StgNfMetadata, StgNfWeights};
use alfred_models::weights::Weights;
use alfred_models::{ga_vae, sparta, stg_nf};
use clap::Parser;
use std::fs;
use std::path::{Path, PathBuf};

const FRAMES: usize = 16;

/// How fast the joints move: mean squared step of all coordinates, with the given sign.
struct Motion {
    sign: f32,
    shift_frames: usize,
}

struct MotionScorer(f32);

impl Scorer for MotionScorer {
    fn window_frames(&self) -> usize {
        FRAMES
    }

    fn score_batch(&mut self, windows: &[Window], scores: &mut [ScoreResult]) {
        for (window, score) in windows.iter().zip(scores) {
            let steps = window.values().chunks(FRAMES).flat_map(|joint| joint.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)));
            *score = AnomalyScore::new(self.0 * steps.sum::<f32>()).map_err(|_| ScoreFault::NotFinite);
        }
    }
}

impl Model for Motion {
    fn architecture(&self) -> &str {
        "motion"
    }

    fn window_frames(&self) -> usize {
        FRAMES
    }

    fn pixel_scale(&self) -> PixelScale {
        PixelScale::SQUARE
    }

    fn score_frame_in_window(&self) -> usize {
        FRAMES / 2 + self.shift_frames
    }

    fn scorer(&self, _lane: Lane) -> Result<Box<dyn Scorer + '_>, HostError> {
        Ok(Box::new(MotionScorer(self.sign)))
    }
}

#[derive(Parser)]
struct Synth {
    #[command(flatten)]
    arguments: SynthArguments,
}

/// A synthetic data set that is removed at the end.
struct Data(PathBuf);

impl Data {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("alfred-evaluate-{name}-{}", std::process::id()));
        let text = folder.to_str().expect("text");
        let words = ["", "--out", text, "--seed", "5", "--clips", "1", "--test-clips", "4", "--frames", "400"];
        synth_command::run(&Synth::parse_from(words).arguments).expect("writes a data set");
        Self(folder)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn settings() -> Settings {
    Settings { plan: BootstrapPlan { resamples: 50, seed: 1 }, ..Settings::default() }
}

fn evaluate(model: &Motion, data: &Data) -> Evaluation {
    evaluate_model(model, &data.0, &settings()).expect("evaluates")
}

#[test]
fn any_model_is_evaluated_and_a_negated_one_mirrors_it() {
    let data = Data::new("any");
    let model = |sign, shift_frames| Motion { sign, shift_frames };
    let plain = evaluate(&model(1.0, 0), &data);
    assert_eq!(plain, evaluate(&model(1.0, 0), &data), "the same again");
    let negated = evaluate(&model(-1.0, 0), &data);
    assert!((plain.window.auc_roc.value + negated.window.auc_roc.value - 1.0).abs() < 1e-12);
    assert_eq!((plain.clips, plain.groups, plain.frames, plain.architecture.as_str()), (4, 4, 1600, "motion"));
    // Scores at another frame are compared with another frame's truth, offline and on the device.
    let shifted = evaluate(&model(1.0, 4), &data);
    assert_ne!(plain.window.auc_roc.value, shifted.window.auc_roc.value);
    assert_ne!(plain.device, shifted.device);
    let by_event = evaluate_model(&model(1.0, 0), &data.0, &Settings { group_by: GroupBy::Event, ..settings() }).expect("evaluates");
    assert!(by_event.groups > plain.groups);
    assert_eq!(by_event.window.auc_roc.value, plain.window.auc_roc.value);
}

#[test]
fn output_names_every_figure_and_plots_are_pictures() {
    let data = Data::new("output");
    let evaluation = evaluate(&Motion { sign: 1.0, shift_frames: 0 }, &data);
    let json = to_json(&evaluation);
    for set in [&json["window"], &json["paper"]["figures"], &json["device"]["figures"]] {
        for figure in ["auc_roc", "auc_pr", "eer", "eer_threshold", "ten_er", "miss_rate_at_ten_percent", "ebi", "f1", "h_prs"] {
            assert!(set[figure]["value"].is_number() && set[figure]["interval"].is_object(), "{figure}: {}", set[figure]);
        }
    }
    assert_eq!(json["device"]["events"].as_array().map(Vec::len), Some(3));
    assert!(json["device"]["alarms"]["alarms_per_day"].is_number() && json.to_string().lines().count() == 1);
    let text = to_text(&evaluation);
    assert!(["AUC-ROC", "AUC-PR", "10ER", "EBI", "event F1", "expected alarms"].iter().all(|word| text.contains(word)), "{text}");
    let written = write_plots(&evaluation, &data.0.join("plots")).expect("plots");
    assert_eq!(written.len(), 5);
    for path in written {
        let svg = fs::read_to_string(&path).expect("a file");
        assert!(svg.starts_with("<svg") && svg.contains("polyline") && svg.trim_end().ends_with("</svg>"), "{}", path.display());
    }
    let folder_in_the_way = data.0.join("meta.json");
    assert!(write_plots(&evaluation, &folder_in_the_way).is_err());
}

#[test]
fn domains_are_found_by_name_and_others_named() {
    let data = Data::new("domains");
    let json = data.0.join("json");
    fs::create_dir_all(json.join("C0")).expect("a folder");
    fs::create_dir_all(json.join("source")).expect("a folder");
    fs::rename(json.join("test"), json.join("C0/test")).expect("moves");
    fs::rename(json.join("train"), json.join("source/train")).expect("moves");
    let camera = clips_of(&data.0, Some("C0"), Split::Test).expect("clips");
    assert_eq!((camera.len(), camera[0].key.starts_with("C0/test/")), (4, true));
    assert_eq!(clips_of(&data.0, None, Split::Train).expect("the source").len(), 1);
    for (domain, part) in [("C9", "C0, source"), ("..", "name one"), ("C0/test", "name one"), ("", "name one")] {
        let fault = clips_of(&data.0, Some(domain), Split::Test).expect_err("refused").to_string();
        assert!(fault.contains(part) && fault.lines().count() == 1, "{domain}: {fault}");
    }
    assert!(clips_of(Path::new("no/such/folder"), None, Split::Test).is_err());
}

/// All-zero weights of each architecture: no use as models, but whole files.
#[test]
fn weights_of_every_architecture_become_models() {
    let shape = stg_nf::parameters::StgNfShape::new(24).expect("a valid length");
    let width = ga_vae::shape::GaVaeShape::new(2).expect("a valid width");
    let stg_nf = StgNfWeights {
        parameters: stg_nf::parameters::StgNfParameters::zero(shape),
        metadata: StgNfMetadata { preprocessing: Some("of another build".into()), ..Default::default() },
    };
    let fault = FileModel::of(Weights::StgNf(Box::new(stg_nf)), Path::new("weights")).expect_err("an unknown preprocessing").to_string();
    assert!(fault.contains("of another build"), "{fault}");
    let sparta = |form| {
        let metadata = SpartaMetadata { form, ..Default::default() };
        Weights::Sparta(SpartaWeights { parameters: sparta::weights_file::HeapParameters::zero(), metadata })
    };
    let ga_vae = GaVaeWeights { parameters: ga_vae::parameters::HeapParameters::zero(width), metadata: GaVaeMetadata::default() };
    let cases = [
        (sparta(Form::Published), 48, 36, PixelScale::PUBLISHED_SPARTA),
        (sparta(Form::Tokens), 24, 18, PixelScale::PUBLISHED_SPARTA),
        (Weights::GaVae(ga_vae), 24, 12, PixelScale::SQUARE),
    ];
    for (weights, frames, score_frame, scale) in cases {
        let model = FileModel::of(weights, Path::new("weights")).expect("a model");
        assert_eq!((model.window_frames(), model.score_frame_in_window(), model.pixel_scale()), (frames, score_frame, scale));
        for lane in [Lane::Exact, Lane::Fast] {
            let scorer = model.scorer(lane).expect("a scorer");
            assert_eq!((scorer.window_frames(), scorer.score_frame_in_window()), (frames, score_frame), "{}", model.architecture());
        }
    }
}

#[test]
fn frames_become_events_as_on_a_device() {
    let truth = |text: &str| ClipTruth { name: "00_0000".into(), mask: text.chars().map(|letter| letter == '#').collect(), has_mask: true };
    let truths = [truth("..........##########...................."), truth("........................................")];
    let scores = |text: &str| -> Vec<f64> { text.chars().map(|letter| if letter == '#' { 1.0 } else { 0.0 }).collect() };
    // A gap of eight frames is bridged, a lonely run of three is no event.
    let frames = vec![scores("..........###........###................"), scores("......................###...............")];
    assert_eq!(found_events(&frames[0], 0.5), vec![10..24]);
    assert!(found_events(&frames[1], 0.5).is_empty());
    assert_eq!((frames_per_alarm(&frames, 0.5), frames_per_alarm(&frames, 2.0)), (9.0, 1.0));
    let figures = event_figures(&frames, &truths, 0.5, &BootstrapPlan::default());
    let found: Vec<(f64, u64, u64, u64)> = figures.iter().map(|at| (at.iou_min, at.matched, at.missed, at.invented)).collect();
    assert_eq!(found, [(0.1, 1, 0, 0), (0.2, 1, 0, 0), (0.5, 1, 0, 0)]);
    let groups = Groups::of(&truths, GroupBy::Event);
    assert_eq!([(0, 0), (0, 10), (0, 39), (0, 99), (1, 0)].map(|(clip, frame)| groups.at(clip, frame)), [0, 1, 2, 2, 3]);
    assert_eq!(Groups::of(&truths, GroupBy::Clip).at(1, 5), 1);
}
