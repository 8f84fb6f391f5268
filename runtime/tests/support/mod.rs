//! Models and poses that the tests of the command line make themselves.
#![allow(dead_code, missing_docs, clippy::missing_panics_doc, reason = "each test file uses its own part")]

use alfred_models::ga_vae::weights_file::GaVaeMetadata;
use alfred_models::sparta::parameters::Form;
use alfred_models::sparta::weights_file::SpartaMetadata;
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape, TensorRole};
use alfred_models::stg_nf::weights_file::{self, StgNfMetadata};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder of its own for one test, removed at its end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("alfred-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("a temporary file");
        path
    }

    /// Weights of ordinary magnitudes that learnt nothing.
    pub fn weights(&self, threshold: Option<f32>) -> PathBuf {
        let mut parameters = StgNfParameters::zero(StgNfShape::new(24).expect("published"));
        let mut state = 7_u32;
        parameters.visit_mut(|tensor| {
            for value in tensor.values.iter_mut() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let number = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
                *value = if tensor.role == TensorRole::RunningVariance { 0.6 + 0.5 * number } else { 0.4 * number };
            }
        });
        let metadata = StgNfMetadata { threshold, ..StgNfMetadata::default() };
        self.write("weights.safetensors", weights_file::write(&parameters, &metadata).expect("valid"))
    }
}

/// Weight files of the other native architectures, of ordinary magnitudes: SPARTA in both forms, GA-VAE of width 2.
pub fn other_weights(folder: &Folder) -> [(PathBuf, &'static str, usize); 3] {
    let mut state = 11_u32;
    let mut next = |extent: f32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        extent * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
    };
    let mut sparta = alfred_models::sparta::weights_file::HeapParameters::zero();
    sparta.values_mut().iter_mut().for_each(|value| *value += next(0.1));
    let [published, tokens] = Form::ALL.map(|form| {
        let metadata = SpartaMetadata { form, threshold: Some(1.0), ..SpartaMetadata::default() };
        let bytes = alfred_models::sparta::weights_file::write(&sparta, &metadata).expect("valid");
        folder.write(&format!("sparta-{}.safetensors", form.name()), bytes)
    });
    let shape = alfred_models::ga_vae::shape::GaVaeShape::new(2).expect("a width");
    let mut ga_vae = alfred_models::ga_vae::parameters::HeapParameters::zero(shape);
    ga_vae.visit_mut(|tensor| tensor.values.iter_mut().for_each(|value| *value += next(0.1)));
    let metadata = GaVaeMetadata { threshold: Some(2.0), ..GaVaeMetadata::default() };
    let bytes = alfred_models::ga_vae::weights_file::write(&ga_vae, &metadata).expect("valid");
    let ga_vae = folder.write("ga-vae.safetensors", bytes);
    [(published, "sparta-published/", 36), (tokens, "sparta-tokens/", 18), (ga_vae, "ga-vae/", 12)]
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// 51 numbers of a person who walks; `frame` moves it.
pub fn keypoints(person: u32, frame: u64) -> String {
    let mut text = String::new();
    for place in 0..17 {
        let swing = (frame as f32 * 0.3 + place as f32).sin();
        let (x, y) = (200.0 + 150.0 * person as f32 + frame as f32 + 4.0 * swing, 100.0 + 9.0 * place as f32 + 2.0 * swing);
        let _ = write!(text, "{}{x:.2},{y:.2},0.9", if place == 0 { "" } else { "," });
    }
    text
}

/// AlphaPose tracked-person JSON of some persons over some frames.
pub fn tracked_json(persons: u32, frames: u64) -> String {
    let person = |id: u32| {
        let frames: Vec<String> =
            (0..frames).map(|frame| format!(r#""{frame:04}": {{"keypoints": [{}], "scores": 1.0}}"#, keypoints(id, frame))).collect();
        format!(r#""{id}": {{{}}}"#, frames.join(","))
    };
    format!("{{{}}}", (0..persons).map(person).collect::<Vec<_>>().join(","))
}

/// One JSON line of a live frame.
pub fn line(frame: u64, persons: u32) -> String {
    let persons: Vec<String> = (0..persons).map(|id| format!(r#"{{"id": {id}, "keypoints": [{}]}}"#, keypoints(id, frame))).collect();
    format!(r#"{{"frame": {frame}, "time_ns": {}, "persons": [{}]}}"#, (frame + 1) * 33_333_333, persons.join(","))
}

pub fn edge() -> Command {
    Command::new(env!("CARGO_BIN_EXE_alfred-edge"))
}

/// Runs `alfred-edge` to its end.
pub fn run(arguments: &[&str]) -> Output {
    edge().args(arguments).stdin(Stdio::null()).output().expect("alfred-edge runs")
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("ASCII")
}

/// Asserts that a run was refused as bad input: exit code 2, one line on stderr that holds each part, nothing on stdout.
pub fn assert_refused(output: &Output, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "one line: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{stderr:?} should name {part:?}");
    }
    assert!(output.stdout.is_empty(), "nothing on stdout");
}
