//! From nothing to the first score: whole processes, from `exec` to the line with the first score.

use super::report::Quantiles;
use crate::error::Error;
use alfred_core::limits::KEYPOINTS;
use alfred_core::pose::PoseFrame;
use alfred_core::units::{FrameIndex, MonotonicNs};
use alfred_synth::crowd::Crowd;
use serde::Serialize;
use serde_json::Value;
use std::fmt::{self, Write as _};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Frames that a process gets at once: the longest window and the longest delay, and a few more.
const FRAMES: u64 = 150;

/// How long processes took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ColdStarts {
    /// Processes started, one after the other.
    pub starts: usize,
    /// From `exec` to the first score on stdout; the program and the model are in the page cache.
    pub to_first_score: Quantiles,
}

/// Starts this program's `run` so many times with a model and one person's poses on stdin.
///
/// # Errors
/// A process that gave no score, or could not be started.
pub(crate) fn measure(starts: usize, model: &Path, folder: &Path) -> Result<ColdStarts, Error> {
    let program = std::env::current_exe().map_err(|error| Error::system("bench", error))?;
    let model = model.canonicalize().map_err(|error| Error::file(model, error))?;
    let config = folder.join("cold.toml");
    // The threshold does not matter: scores are waited for, not events.
    let text = format!(
        "[model]\nfile = {:?}\n[input]\nsource = \"stdin\"\n[output]\nframes = true\n[decision]\nthreshold = 1e9\n",
        model.display()
    );
    std::fs::write(&config, text).map_err(|error| Error::file(&config, error))?;
    let lines = lines();
    let mut times_ns = Vec::with_capacity(starts);
    for _ in 0..starts {
        times_ns.push(first_score_ns(&program, &config, &lines)?);
    }
    Ok(ColdStarts { starts, to_first_score: Quantiles::of(&mut times_ns) })
}

fn first_score_ns(program: &Path, config: &Path, lines: &str) -> Result<u64, Error> {
    let fault = |error: std::io::Error| Error::system("bench: cold start", error);
    let start = Instant::now();
    let mut process =
        Command::new(program).args(["run", "--config"]).arg(config).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(fault)?;
    let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
    let mut stdout = stdout.map(BufReader::new);
    let taken = std::thread::scope(|scope| {
        // Kept open until the score has come: that the input ends shall not be what brings it.
        let writer = scope.spawn(move || {
            let mut stdin = stdin?;
            stdin.write_all(lines.as_bytes()).ok()?;
            Some(stdin)
        });
        let lines = stdout.as_mut().map(|stdout| stdout.lines().map_while(Result::ok));
        let found = lines.and_then(|mut lines| lines.find(|line| has_score(line))).map(|_| start.elapsed());
        // What it would still do is of no interest, and it shall not complain that nobody reads.
        if found.is_some() {
            let _ = process.kill();
        }
        drop(writer.join());
        found
    });
    let status = process.wait().map_err(fault)?;
    match taken {
        Some(taken) => Ok(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX)),
        None => Err(Error::system("bench: cold start", format!("the process gave no score ({status})"))),
    }
}

fn has_score(line: &str) -> bool {
    let parsed: Option<Value> = line.starts_with("{\"frame\"").then(|| serde_json::from_str(line).ok()).flatten();
    parsed.is_some_and(|line| line.pointer("/frame/score").is_some_and(Value::is_number))
}

/// One person who is there all the time, as JSON lines.
fn lines() -> String {
    let (crowd, mut text) = (Crowd::record(), String::new());
    let mut frame = Box::new(PoseFrame::new(FrameIndex(0), MonotonicNs(0)));
    for number in 0..FRAMES {
        crowd.write(1, number, &mut frame);
        let _ = write!(text, "{{\"frame\":{number},\"time_ns\":{},\"persons\":[", frame.captured.0);
        for person in &frame.persons {
            let _ = write!(text, "{{\"id\":{},\"score\":{},\"keypoints\":[", person.id.0, person.score);
            for (place, keypoint) in person.keypoints.iter().take(KEYPOINTS).enumerate() {
                let comma = if place == 0 { "" } else { "," };
                let _ = write!(text, "{comma}{},{},{}", keypoint.x, keypoint.y, keypoint.confidence);
            }
            text.push_str("]}");
        }
        text.push_str("]}\n");
    }
    text
}

impl fmt::Display for ColdStarts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = &self.to_first_score;
        write!(
            f,
            "cold start to first score, whole process, {} starts: median {:.1} ms, p90 {:.1} ms, max {:.1} ms",
            self.starts,
            times.p50_us / 1e3,
            times.p90_us / 1e3,
            times.max_us / 1e3
        )
    }
}
