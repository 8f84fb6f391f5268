//! What the demo shows at its end: a table, a page with plots, one line of JSON.

use crate::camera_run::CameraRecord;
use crate::judge::{count, replay_bundle, replay_source};
use alfred_bundle::format::{Bundle, SIGNATURE_BYTES, read};
use alfred_store::Store;
use alfred_store::evaluation::Outcome;
use alfred_trainer_host::metric::confusion::Confusion;
use serde_json::Value;
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

/// One camera after one slice: the frames from then on until the next slice, which none of the pairs has learned from.
pub(crate) struct Row {
    pub(crate) camera: String,
    /// `warm-up`, or the slice of active learning.
    pub(crate) slice: String,
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    pub(crate) revision: Option<u64>,
    pub(crate) threshold: Option<f64>,
    pub(crate) labels: u64,
    pub(crate) frames: u64,
    pub(crate) source: Confusion,
    pub(crate) before: Confusion,
    pub(crate) after: Confusion,
}

/// The held-out stretch of one camera.
pub(crate) struct HeldOut {
    pub(crate) camera: String,
    pub(crate) frames: u64,
    pub(crate) source: Confusion,
    pub(crate) adapted: Confusion,
}

/// The bytes of every bundle of a camera, by revision.
fn bundles(store: &Store, camera: &str) -> Result<Vec<(u64, Vec<u8>)>, String> {
    let listed = store.bundles(Some(camera)).map_err(|error| error.to_string())?;
    let whole = |revision| store.bundle_whole(camera, revision).map(|(bytes, _)| (revision, bytes)).map_err(|error| error.to_string());
    listed.iter().map(|bundle| whole(bundle.revision)).collect()
}

fn opened(bytes: &[u8]) -> Result<Bundle<'_>, String> {
    read(&bytes[..bytes.len().saturating_sub(SIGNATURE_BYTES)]).map_err(|code| code.to_string())
}

/// Judges a camera slice by slice, and its held-out stretch.
pub(crate) fn judge(record: &CameraRecord, store: &Store, weights: &Path) -> Result<(Vec<Row>, HeldOut), String> {
    let bundles = bundles(store, &record.name)?;
    let end = record.frames.len() as u64;
    let decides = |revision: u64, stretch: &Range<u64>| match bundles.iter().find(|(known, _)| *known == revision) {
        Some((_, bytes)) => replay_bundle(&opened(bytes)?, weights, &record.frames, stretch),
        None => replay_source(weights, &record.frames, stretch),
    };
    // From where on each slice's outcome decides.
    let mut starts: Vec<u64> = Vec::new();
    for (place, evaluation) in record.evaluations.iter().enumerate() {
        let swap = record.swaps.iter().find(|(revision, _)| Some(*revision) == evaluation.revision).map(|(_, from)| *from);
        starts.push(swap.or(record.closed_at.get(place).copied()).unwrap_or(end));
    }
    let mut rows = Vec::new();
    let mut decided_before = 0;
    for (place, evaluation) in record.evaluations.iter().enumerate() {
        let stretch = starts[place]..starts.get(place + 1).copied().unwrap_or(end).max(starts[place]);
        rows.push(Row {
            camera: record.name.clone(),
            slice: match (place as u64 + 1).checked_sub(record.warm_up_rounds) {
                None | Some(0) => "warm-up".into(),
                Some(slice) => slice.to_string(),
            },
            outcome: evaluation.outcome,
            reason: evaluation.reason.clone(),
            revision: evaluation.revision,
            threshold: evaluation.threshold,
            labels: evaluation.labels_used,
            frames: stretch.end - stretch.start,
            source: replay_source(weights, &record.frames, &stretch)?,
            before: decides(decided_before, &stretch)?,
            after: count(&record.frames, &stretch, &record.flagged),
        });
        if let Some(revision) = evaluation.revision.filter(|revision| record.swaps.iter().any(|(swapped, _)| swapped == revision)) {
            decided_before = revision;
        }
    }
    let stretch = record.held_out_from..end;
    let held_out = HeldOut {
        camera: record.name.clone(),
        frames: end - record.held_out_from,
        source: replay_source(weights, &record.frames, &stretch)?,
        adapted: count(&record.frames, &stretch, &record.flagged),
    };
    Ok((rows, held_out))
}

/// What a board did to its camera's frames, in the device's own counts; what is 0 is left out.
pub(crate) fn board_figures(record: &CameraRecord) -> Vec<(&'static str, u64)> {
    let counts = [
        ("frames twice", "/counters/frames_duplicate"),
        ("frames missing", "/counters/frames_missing"),
        ("frames too late", "/counters/frames_out_of_order"),
        ("clock steps", "/counters/clock_steps"),
        ("sensor faults", "/board/sensor_faults"),
        ("changes of the thermal ladder", "/board/degrade_changes"),
        ("kicks of the watchdog", "/board/watchdog_kicks"),
        ("kicks withheld", "/board/watchdog_withheld"),
        ("decisions later than a frame step of the board", "/deadline_misses"),
    ];
    let counts = counts.map(|(what, path)| (what, record.stats.pointer(path).and_then(Value::as_u64).unwrap_or(0)));
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// A share in percent; `-` where it has no value.
fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |share| format!("{:.1}", 100.0 * share))
}

fn outcome(row: &Row) -> &'static str {
    match row.outcome {
        Outcome::Promoted => "promoted",
        Outcome::Refused => "refused",
        Outcome::Held => "held",
    }
}

pub(crate) fn print_table(rows: &[Row], held_out: &[HeldOut], records: &[CameraRecord]) {
    println!(
        "\n{:7}{:>9}{:>10}{:>9}{:>11}{:>8}{:>8} |{:>22} |{:>22} |{:>22}",
        "camera",
        "slice",
        "outcome",
        "revision",
        "threshold",
        "labels",
        "frames",
        "source FNR FPR EBI",
        "before FNR FPR EBI",
        "after FNR FPR EBI"
    );
    let rates = |counts: &Confusion| {
        let [fnr, fpr, ebi] = [counts.false_negative_rate(), counts.false_positive_rate(), counts.ebi()].map(percent);
        format!("{fnr:>8}{fpr:>7}{ebi:>7}")
    };
    for row in rows {
        println!(
            "{:7}{:>9}{:>10}{:>9}{:>11}{:>8}{:>8} |{} |{} |{}",
            row.camera,
            row.slice,
            outcome(row),
            row.revision.map_or_else(|| "-".into(), |revision| revision.to_string()),
            row.threshold.map_or_else(|| "-".into(), |threshold| format!("{threshold:.3}")),
            row.labels,
            row.frames,
            rates(&row.source),
            rates(&row.before),
            rates(&row.after),
        );
    }
    println!("\nheld out after the last swap:");
    for (held_out, record) in held_out.iter().zip(records) {
        println!(
            "{:7}{:>8} frames | source{} | adapted{} | longest gap between two frames at a swap {:.1} ms, frame to decision {:.2} ms at most",
            held_out.camera,
            held_out.frames,
            rates(&held_out.source),
            rates(&held_out.adapted),
            record.gap_at_swap.as_secs_f64() * 1e3,
            record.stats["frame_to_decision"]["max_us"].as_f64().unwrap_or(f64::NAN) / 1e3,
        );
    }
    println!("\nboards:");
    for record in records {
        let told: Vec<String> = board_figures(record).iter().map(|(what, count)| format!("{count} {what}")).collect();
        let text = |key: &str| record.board[key].as_str().unwrap_or("unknown");
        println!("{:7}{} {}: {}", record.name, text("name"), text("serial"), told.join(", "));
    }
    println!(
        "\nRates are per person and frame, in percent, on frames after each slice that nothing has learned from; EBI is the harmonic mean of 1-FPR and \
         1-FNR. `before`: the pair that the slice's outcome replaced, on the same frames.\n"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A plot of EBI over slices, for one camera.
fn plot(camera: &str, rows: &[&Row]) -> String {
    let (width, height, left, bottom) = (420.0, 220.0, 40.0, 30.0);
    let x = |slice: usize| left + (width - left - 20.0) * slice as f64 / rows.len().saturating_sub(1).max(1) as f64;
    let y = |ebi: f64| 10.0 + (height - bottom - 10.0) * (1.0 - ebi);
    let mut svg = format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"EBI of {camera} over slices\">");
    for percent in [0, 25, 50, 75, 100] {
        let at = y(f64::from(percent) / 100.0);
        let _ = write!(
            svg,
            "<line x1=\"{left}\" y1=\"{at}\" x2=\"{}\" y2=\"{at}\" class=\"grid\"/><text x=\"4\" y=\"{}\">{percent}</text>",
            width - 20.0,
            at + 4.0
        );
    }
    for (class, counts) in [
        ("source", &(|row: &Row| row.source) as &dyn Fn(&Row) -> Confusion),
        ("before", &|row: &Row| row.before),
        ("after", &|row: &Row| row.after),
    ] {
        let points: Vec<String> =
            rows.iter().enumerate().filter_map(|(place, row)| Some(format!("{:.1},{:.1}", x(place), y(counts(row).ebi()?)))).collect();
        let _ = write!(svg, "<polyline points=\"{}\" class=\"{class}\"/>", points.join(" "));
    }
    for (place, row) in rows.iter().enumerate() {
        let _ = write!(svg, "<text x=\"{:.1}\" y=\"{}\">{}</text>", x(place) - 4.0, height - 8.0, row.slice);
    }
    svg + "</svg>"
}

/// Writes the page.
pub(crate) fn write_page(path: &Path, seed: u64, rows: &[Row], held_out: &[HeldOut], json: &str) -> Result<(), String> {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>ALFred on the edge: the closed loop</title><style>\
         :root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}\
         table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #8885}\
         td:first-child,th:first-child,td.text{text-align:left}svg{width:420px;max-width:100%}text{font-size:11px;fill:currentColor}\
         polyline{fill:none;stroke-width:2}.grid{stroke:#8884}.source{stroke:#c33}.before{stroke:#a80;stroke-dasharray:4 3}.after{stroke:#07c}\
         figure{display:inline-block;margin:0 1rem 1rem 0}.wrap{overflow-x:auto}</style>\n",
    );
    let _ = write!(
        page,
        "<h1>The closed loop</h1><p>Seed {seed}. Three made-up cameras, real alfred-edge processes, a real alfred-host, mutual TLS. \
         EBI in percent on frames after each slice: <span style=\"color:#c33\">source pair</span>, \
         <span style=\"color:#a80\">the pair before the slice</span>, <span style=\"color:#07c\">the device's own decisions after it</span>.</p>"
    );
    let mut cameras: Vec<&str> = rows.iter().map(|row| row.camera.as_str()).collect();
    cameras.dedup();
    for camera in cameras {
        let of: Vec<&Row> = rows.iter().filter(|row| row.camera == camera).collect();
        let _ = write!(page, "<figure><figcaption>{camera}</figcaption>{}</figure>", plot(camera, &of));
    }
    page += "<div class=\"wrap\"><table><tr><th>camera<th>slice<th>outcome<th>revision<th>threshold<th>labels<th>EBI source<th>EBI before<th>EBI after<th>why</tr>\n";
    for row in rows {
        let _ = writeln!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td class=\"text\">{}</tr>",
            row.camera,
            row.slice,
            outcome(row),
            row.revision.map_or_else(|| "-".into(), |revision| revision.to_string()),
            row.threshold.map_or_else(|| "-".into(), |threshold| format!("{threshold:.3}")),
            row.labels,
            percent(row.source.ebi()),
            percent(row.before.ebi()),
            percent(row.after.ebi()),
            escaped(&row.reason),
        );
    }
    page += "</table></div><h2>Held out</h2><table><tr><th>camera<th>frames<th>EBI source<th>EBI adapted</tr>\n";
    for one in held_out {
        let (source, adapted) = (percent(one.source.ebi()), percent(one.adapted.ebi()));
        let _ = writeln!(page, "<tr><td>{}<td>{}<td>{source}<td>{adapted}</tr>", one.camera, one.frames);
    }
    let _ = write!(page, "</table><h2>Totals</h2><pre>{}</pre></html>", escaped(json));
    std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))
}
