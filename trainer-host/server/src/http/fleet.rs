//! What the fleet page needs: every device with its health in short, and the host itself.

use super::answer::{Answer, Json};
use super::caller::Caller;
use super::read::read;
use super::{App, now};
use alfred_store::device::Device;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::atomic::Ordering::Relaxed;

/// Heartbeats that may be missed before a device is late.
const HEARTBEATS_MISSED_MAX: i64 = 3;
/// Figures of a heartbeat that count something lost.
const LOSSES: [&str; 5] = ["frames_shed", "messages_refused", "output_lost", "segments_lost", "score_faults"];

#[derive(Serialize)]
struct FleetDevice {
    #[serde(flatten)]
    device: Device,
    seconds_since_seen: Option<f64>,
    is_late: bool,
    lost: Option<u64>,
    queue: Option<Value>,
}

fn in_short(device: Device, heartbeat_ms: i64, now_ms: i64) -> FleetDevice {
    let silent_ms = device.seen_ms.map(|seen_ms| now_ms - seen_ms);
    let health = device.health.as_ref();
    let lost = health.map(|health| {
        let single = LOSSES.iter().filter_map(|loss| health.get(*loss)?.as_u64());
        let journal = health.get("journal_lost").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64);
        single.chain(journal).fold(0, u64::saturating_add)
    });
    let queue = health.map(|health| json!({ "records": health.get("journal_records"), "bytes": health.get("journal_bytes") }));
    FleetDevice {
        seconds_since_seen: silent_ms.map(|silent_ms| silent_ms as f64 / 1e3),
        is_late: !device.is_revoked && silent_ms.is_none_or(|silent_ms| silent_ms > HEARTBEATS_MISSED_MAX * heartbeat_ms),
        lost,
        queue,
        device,
    }
}

/// Every device, and the host.
pub(crate) async fn fleet(State(app): State<App>, _: Caller) -> Result<Json<Value>, Answer> {
    let (devices, cameras, requests) =
        read(&app, |store| Ok((store.devices()?, store.cameras()?, store.waiting_requests()?.len()))).await?;
    let now_ms = now();
    let devices: Vec<FleetDevice> = devices.into_iter().map(|device| in_short(device, app.heartbeat_ms, now_ms)).collect();
    Ok(Json(json!({
        "now_ms": now_ms,
        "devices": devices,
        "host": {
            "device_connections": app.link.connections.load(Relaxed),
            "queue_items": cameras.iter().map(|camera| camera.items_unjudged).sum::<u64>(),
            "requests_waiting": requests,
            "mqtt": app.mqtt.as_ref().map(|mqtt| mqtt.state()),
        },
    })))
}
