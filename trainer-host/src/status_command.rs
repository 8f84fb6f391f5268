//! `alfred-host status`: cameras and devices at a glance, as a table or as JSON. Reads the database; the daemon may run or not.

use crate::daemon_command::{now_ms, open};
use crate::error::HostError;
use alfred_store::policy::{DAY_MS, QueuePolicy};
use alfred_store::{Store, StoreError};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;
use std::path::PathBuf;

/// Arguments of `alfred-host status`.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArguments {
    /// The daemon's database.
    #[arg(long)]
    pub database: PathBuf,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// One camera.
#[derive(Debug, Serialize)]
struct CameraLine {
    camera: String,
    devices: u64,
    live_revision: Option<u64>,
    threshold: Option<f64>,
    desired_revision: Option<u64>,
    is_held: bool,
    policy: QueuePolicy,
    waiting: u64,
    verdicts_today: u32,
    left_today: Option<u32>,
    eer: Option<f64>,
    ebi: Option<f64>,
    last_outcome: Option<String>,
    saved_share: Option<f64>,
}

/// One device.
#[derive(Debug, Serialize)]
struct DeviceLine {
    device: String,
    camera: String,
    is_revoked: bool,
    seconds_since_seen: Option<f64>,
    bundle_revision: Option<u64>,
    stage: Option<String>,
    queue_records: Option<u64>,
    frames_shed: Option<u64>,
    p99_us: Option<u64>,
}

/// Everything that is shown.
#[derive(Debug, Serialize)]
struct Status {
    now_ms: i64,
    schema_version: i64,
    cameras: Vec<CameraLine>,
    devices: Vec<DeviceLine>,
    requests_waiting: usize,
    conflicts: usize,
    live_snooze_rules: usize,
}

fn camera_line(store: &Store, camera: alfred_store::device::Camera, now_ms: i64) -> Result<CameraLine, StoreError> {
    let name = camera.name;
    let live = store.live_bundle(&name)?;
    let budget = store.budget(&name, now_ms)?;
    let latest = store.evaluations(Some(&name), 1)?.pop();
    let threshold = match &live {
        Some(live) => Some(live.threshold),
        None => store.latest_threshold(&name)?,
    };
    Ok(CameraLine {
        devices: camera.devices,
        live_revision: live.map(|live| live.revision),
        threshold,
        desired_revision: camera.desired_revision,
        is_held: store.cycle_state(&name)?.is_held,
        policy: store.queue_policy(&name)?,
        waiting: camera.items_unjudged,
        verdicts_today: budget.used_today,
        left_today: budget.left_today,
        eer: latest.as_ref().and_then(|latest| latest.eer),
        ebi: latest.as_ref().and_then(|latest| latest.ebi),
        last_outcome: latest.map(|latest| format!("{}: {}", latest.outcome.as_str(), latest.reason)),
        saved_share: store.full_al(&name, now_ms - DAY_MS, now_ms)?.saved_share,
        camera: name,
    })
}

fn device_line(store: &Store, device: alfred_store::device::Device, now_ms: i64) -> Result<DeviceLine, StoreError> {
    let figure = |name: &str| device.health.as_ref().and_then(|health| health.get(name)).and_then(Value::as_u64);
    let newest = store.deployments(Some(&device.camera))?.into_iter().find(|deployment| deployment.device == device.name);
    Ok(DeviceLine {
        seconds_since_seen: device.seen_ms.map(|seen_ms| (now_ms - seen_ms) as f64 / 1e3),
        bundle_revision: device.bundle_revision,
        stage: newest.map(|newest| format!("{} {}", newest.revision, newest.stage)),
        queue_records: figure("journal_records"),
        frames_shed: figure("frames_shed"),
        p99_us: figure("frame_to_decision_p99_us"),
        is_revoked: device.is_revoked,
        device: device.name,
        camera: device.camera,
    })
}

fn status(store: &Store, now_ms: i64) -> Result<Status, StoreError> {
    let cameras = store.cameras()?.into_iter().map(|camera| camera_line(store, camera, now_ms));
    let devices = store.devices()?.into_iter().map(|device| device_line(store, device, now_ms));
    Ok(Status {
        now_ms,
        schema_version: store.schema_version()?,
        cameras: cameras.collect::<Result<_, _>>()?,
        devices: devices.collect::<Result<_, _>>()?,
        requests_waiting: store.waiting_requests()?.len(),
        conflicts: store.conflicts(None, u32::MAX)?.len(),
        live_snooze_rules: store.snoozes(now_ms)?.iter().filter(|rule| rule.is_live).count(),
    })
}

/// What is not known is a dash.
fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn percent(value: Option<f64>) -> String {
    shown(value.map(|value| format!("{:.1} %", 100.0 * value)))
}

/// Columns as wide as their widest cell.
fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

fn headed(names: &[&str]) -> Vec<Vec<String>> {
    vec![names.iter().map(|name| (*name).to_owned()).collect()]
}

fn text(status: &Status) -> String {
    let mut cameras = headed(&[
        "CAMERA",
        "DEVICES",
        "LIVE",
        "WANTED",
        "THRESHOLD",
        "STRATEGY",
        "WAITING",
        "TODAY",
        "LEFT",
        "EER",
        "EBI",
        "SAVED",
        "LAST CANDIDATE",
    ]);
    for camera in &status.cameras {
        cameras.push(vec![
            camera.camera.clone(),
            camera.devices.to_string(),
            shown(camera.live_revision),
            format!("{}{}", shown(camera.desired_revision), if camera.is_held { " held" } else { "" }),
            shown(camera.threshold.map(|threshold| format!("{threshold:.4}"))),
            camera.policy.strategy.as_str().to_owned(),
            camera.waiting.to_string(),
            camera.verdicts_today.to_string(),
            shown(camera.left_today),
            percent(camera.eer),
            percent(camera.ebi),
            percent(camera.saved_share),
            shown(camera.last_outcome.as_ref()),
        ]);
    }
    let mut devices = headed(&["DEVICE", "CAMERA", "SEEN", "LIVE", "BUNDLE", "QUEUE", "SHED", "P99"]);
    for device in &status.devices {
        let seen = device.seconds_since_seen.map(|seconds| format!("{seconds:.0} s ago"));
        devices.push(vec![
            format!("{}{}", device.device, if device.is_revoked { " (revoked)" } else { "" }),
            device.camera.clone(),
            shown(seen),
            shown(device.bundle_revision),
            shown(device.stage.as_ref()),
            shown(device.queue_records),
            shown(device.frames_shed),
            shown(device.p99_us.map(|p99| format!("{p99} us"))),
        ]);
    }
    let rest = format!(
        "{} requests wait for the cycle, {} conflicts for a second look, {} snooze rules are live\n",
        status.requests_waiting, status.conflicts, status.live_snooze_rules
    );
    format!("{}\n{}\n{rest}", table(&cameras), table(&devices))
}

/// Prints cameras and devices.
///
/// # Errors
/// [`HostError`] for a database that is not there or cannot be read.
pub fn run(arguments: &StatusArguments) -> Result<(), HostError> {
    let place = &arguments.database;
    // Opening would make one.
    std::fs::metadata(place).map_err(HostError::file(place))?;
    let status = status(&open(place)?, now_ms()).map_err(|error| HostError::argument("status", error))?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&status).map_err(|error| HostError::argument("status", error))?;
        println!("{text}");
    } else {
        print!("{}", text(&status));
    }
    Ok(())
}
