//! `cargo demo`: three made-up cameras, three real `alfred-edge` processes, one table.
//!
//! Per camera: a warm-up phase of labelled frames gives the first EER threshold of that camera (against the one that came with the weights), then the
//! live phase feeds an `alfred-edge` process through its socket and compares what it decided with the truth. Fine-tuning, bundles and the link to
//! the host are not part of it yet.

mod camera_run;

use alfred_trainer_host::metric::confusion::Confusion;
use camera_run::{CameraReport, CameraRun};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// One of them is context-specific: before `dojo` fighting is normal.
const CAMERAS: [&str; 3] = ["hall", "alley", "dojo"];

struct Arguments {
    seconds: f64,
    seed: u64,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("demo: {what}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments { seconds: 20.0, seed: 1 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value: cargo demo [--seconds S] [--seed N]"))?;
        match word.as_str() {
            "--seconds" => parsed.seconds = value.parse().map_err(|_| format!("--seconds {value}: a number is needed"))?,
            "--seed" => parsed.seed = value.parse().map_err(|_| format!("--seed {value}: a whole number is needed"))?,
            _ => return Err(format!("{word} is unknown: cargo demo [--seconds S] [--seed N]")),
        }
    }
    if !(1.0..=600.0).contains(&parsed.seconds) {
        return Err("--seconds must lie between 1 and 600".into());
    }
    Ok(parsed)
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let started = Instant::now();
    let edge = build_edge()?;
    let folder = std::env::temp_dir().join(format!("alfred-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    eprintln!("seed {} (repeat with: cargo demo --seed {0} --seconds {1})", arguments.seed, arguments.seconds);
    let (bars, weights) = (MultiProgress::new(), weights());
    let style = ProgressStyle::with_template("{prefix:6} {msg:22} {bar:40} {pos}/{len} frames").map_err(|error| error.to_string())?;
    let outcome: Result<Vec<CameraReport>, String> = std::thread::scope(|scope| {
        let runs: Vec<_> = CAMERAS
            .iter()
            .map(|name| {
                let bar = bars.add(ProgressBar::new(0)).with_style(style.clone()).with_prefix(*name);
                let run = CameraRun {
                    name,
                    edge: &edge,
                    folder: &folder,
                    weights: &weights,
                    seed: arguments.seed,
                    seconds: arguments.seconds,
                    bar,
                };
                scope.spawn(move || run.run())
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap_or_else(|_| Err("a camera's thread panicked".into()))).collect()
    });
    let _ = std::fs::remove_dir_all(&folder);
    let reports = outcome?;
    print_table(&reports);
    let by_camera = |value: fn(&CameraReport) -> f64| -> serde_json::Map<String, serde_json::Value> {
        reports.iter().map(|report| (report.name.clone(), json!((value(report) * 100.0).round() / 100.0))).collect()
    };
    let total = |value: fn(&CameraReport) -> u64| reports.iter().map(value).sum::<u64>();
    println!(
        "{}",
        json!({
            "cameras": reports.len(),
            "seed": arguments.seed,
            "frames": total(|report| report.frames),
            "frames_dropped": total(|report| report.frames_dropped),
            "events": total(|report| report.events),
            "segments": total(|report| report.segments),
            "segments_lost": total(|report| report.segments_lost),
            "allocations": total(|report| report.allocations),
            "ebi_source": by_camera(|report| percent(report.source.ebi())),
            "ebi_camera_threshold": by_camera(|report| percent(report.camera.ebi())),
            "seconds": started.elapsed().as_secs(),
        })
    );
    Ok(())
}

/// Builds the device's binary in the profile that this one was built in; nothing to do when it is there already.
fn build_edge() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = own.parent().ok_or("this program has no folder")?;
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--bin", "alfred-edge"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    let status = build.status().map_err(|error| format!("cargo build: {error}"))?;
    let edge = folder.join("alfred-edge");
    if !status.success() || !edge.exists() {
        return Err("alfred-edge could not be built: run cargo build --bin alfred-edge and read its errors".into());
    }
    Ok(edge)
}

/// Weights that we trained ourselves, on made-up people.
fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/stg_nf_synthetic/weights.safetensors")
}

/// In percent; NaN (null in JSON) when the demo was too short to hold both classes.
fn percent(share: Option<f64>) -> f64 {
    share.map_or(f64::NAN, |share| 100.0 * share)
}

fn print_table(reports: &[CameraReport]) {
    println!(
        "\n{:8}{:>8}{:>9}{:>8}{:>9}{:>10} |{:>29} |{:>29} |{:>10}{:>10}{:>8}{:>11}",
        "camera",
        "frames",
        "windows",
        "events",
        "segments",
        "dropped",
        "source threshold: FNR FPR EBI",
        "camera's own: FNR FPR EBI",
        "p50 us",
        "p99 us",
        "allocs",
        "RSS MiB"
    );
    for report in reports {
        let rates = |counts: &Confusion| {
            let [fnr, fpr, ebi] = [counts.false_negative_rate(), counts.false_positive_rate(), counts.ebi()].map(percent);
            format!("{fnr:>10.1} {fpr:>8.1} {ebi:>8.1}")
        };
        println!(
            "{:8}{:>8}{:>9}{:>8}{:>9}{:>10} |{:>29} |{:>29} |{:>10.0}{:>10.0}{:>8}{:>11.1}",
            report.name,
            report.frames,
            report.windows,
            report.events,
            report.segments,
            report.frames_dropped,
            rates(&report.source),
            rates(&report.camera),
            report.latency_p50_us,
            report.latency_p99_us,
            report.allocations,
            report.resident_bytes as f64 / f64::from(1 << 20),
        );
    }
    println!(
        "Rates are per frame, in percent, after the warm-up phase; EBI is the harmonic mean of 1-FPR and 1-FNR. Latency is from a frame's arrival \
         to its decisions, on this machine, with three cameras on it at ten times real time.\n"
    );
}
