//! Tables of a replay: csv and JSON lines.

use crate::replay::{ClipResult, FrameRow};
use serde::Serialize;
use std::io::{self, Write};

/// The form of a frame table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Comma-separated, with a header.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

/// The form of a window table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WindowForm {
    /// Comma-separated, with a header.
    Csv,
}

#[derive(Serialize)]
struct FrameLine<'r> {
    clip: &'r str,
    frame: usize,
    persons: u16,
    score: Option<f32>,
    smoothed: Option<f32>,
    anomalous: Option<bool>,
}

impl<'r> FrameLine<'r> {
    fn new(clip: &'r ClipResult, frame: usize, row: &FrameRow) -> Self {
        let smoothed = row.smoothed.map(|score| score as f32);
        Self { clip: &clip.name, frame, persons: row.persons, score: row.score, smoothed, anomalous: row.anomalous }
    }
}

/// Writes one line per frame: `clip,frame,persons,score,smoothed,anomalous`. Scores rise with anomaly; empty (JSON: `null`) where nobody is
/// scored; `anomalous` is 0 or 1 in csv, empty without a threshold.
///
/// # Errors
/// Those of the writer.
pub fn write_frames(clips: &[ClipResult], form: Form, writer: impl Write) -> io::Result<()> {
    match form {
        Form::Csv => write_frames_csv(clips, writer),
        Form::Jsonl => write_frames_jsonl(clips, writer),
    }
}

fn write_frames_csv(clips: &[ClipResult], writer: impl Write) -> io::Result<()> {
    let mut table = csv::Writer::from_writer(writer);
    table.write_record(["clip", "frame", "persons", "score", "smoothed", "anomalous"])?;
    for clip in clips {
        for (frame, row) in clip.rows.iter().enumerate() {
            let line = FrameLine::new(clip, frame, row);
            table.serialize((line.clip, line.frame, line.persons, line.score, line.smoothed, line.anomalous.map(u8::from)))?;
        }
    }
    table.flush()
}

fn write_frames_jsonl(clips: &[ClipResult], writer: impl Write) -> io::Result<()> {
    let mut writer = io::BufWriter::new(writer);
    for clip in clips {
        for (frame, row) in clip.rows.iter().enumerate() {
            serde_json::to_writer(&mut writer, &FrameLine::new(clip, frame, row))?;
            writer.write_all(b"\n")?;
        }
    }
    writer.flush()
}

/// Writes one line per scored window: `clip,person,first_frame,score`.
///
/// # Errors
/// Those of the writer.
pub fn write_windows(clips: &[ClipResult], writer: impl Write) -> io::Result<()> {
    let mut table = csv::Writer::from_writer(writer);
    table.write_record(["clip", "person", "first_frame", "score"])?;
    for clip in clips {
        for window in &clip.windows {
            table.serialize((&clip.name, window.person.0, window.first.0, window.score.value()))?;
        }
    }
    table.flush()
}
