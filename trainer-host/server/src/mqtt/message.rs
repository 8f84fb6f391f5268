//! Topics and payloads, after Frigate's: `PREFIX/available`, `PREFIX/events`, `PREFIX/CAMERA/threshold/state`, `PREFIX/CAMERA/alarm/state`, and
//! what Home Assistant needs to find them.

use alfred_wire::output::{EventMessage, Kind};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::fmt::Write;

/// Events that are remembered for the `before` of their next message; older ones have none.
const OPEN_EVENTS_MAX: usize = 512;

/// Something to publish; all of it at least once (QoS 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: String,
    /// Whether whoever subscribes later gets it too.
    pub(crate) is_retained: bool,
}

impl Message {
    pub(crate) fn new(topic: String, payload: impl Into<String>, is_retained: bool) -> Self {
        Self { topic, payload: payload.into(), is_retained }
    }
}

/// A name as a level of a topic: letters, digits, `-` and `_` stay. Other names get their hash behind them, so that no two meet.
pub(crate) fn level(name: &str) -> String {
    let mut level: String = name.chars().map(|one| if one.is_ascii_alphanumeric() || "-_".contains(one) { one } else { '_' }).collect();
    if level != name {
        let _ =
            write!(level, "_{:08x}", name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)));
    }
    level
}

const fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::New => "new",
        Kind::Update => "update",
        _ => "end",
    }
}

/// Whose event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EventKey {
    pub(crate) device: String,
    pub(crate) boot: u64,
    pub(crate) number: u64,
}

/// Events that have begun and not ended.
#[derive(Debug, Default)]
pub(crate) struct OpenEvents {
    last: HashMap<EventKey, (String, Value)>,
    order: VecDeque<EventKey>,
}

impl OpenEvents {
    /// The messages about an event: itself, and its camera's alarm when that begins or ends.
    pub(crate) fn messages(&mut self, prefix: &str, camera: &str, key: EventKey, event: &EventMessage) -> Vec<Message> {
        let after = json!({
            "id": format!("{}-{:016x}-{}", key.device, key.boot, key.number), "camera": camera, "device": key.device, "label": "anomaly",
            "person": event.person, "first_frame": event.first_frame, "last_frame": event.last_frame,
            "top_score": event.peak_score, "score": event.mean_score, "threshold": event.threshold,
            "anomalous_frames": event.anomalous_frames, "reason": event.kind,
        });
        let kind = type_of(event.kind);
        let was_alarmed = self.is_alarmed(camera);
        let before = self.last.remove(&key).map_or(Value::Null, |(_, before)| before);
        self.order.retain(|known| *known != key);
        if kind != "end" {
            if self.order.len() >= OPEN_EVENTS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.last.remove(&oldest);
            }
            self.order.push_back(key.clone());
            self.last.insert(key, (camera.to_owned(), after.clone()));
        }
        let payload = json!({ "type": kind, "before": before, "after": after }).to_string();
        let mut messages = vec![Message::new(format!("{prefix}/events"), payload, false)];
        let is_alarmed = self.is_alarmed(camera);
        if is_alarmed != was_alarmed {
            messages.push(alarm(prefix, camera, is_alarmed));
        }
        messages
    }

    /// Whether an event goes on at a camera.
    pub(crate) fn is_alarmed(&self, camera: &str) -> bool {
        self.last.values().any(|(of, _)| of == camera)
    }
}

/// State of a camera's alarm.
pub(crate) fn alarm(prefix: &str, camera: &str, is_alarmed: bool) -> Message {
    Message::new(format!("{prefix}/{}/alarm/state", level(camera)), if is_alarmed { "ON" } else { "OFF" }, true)
}

/// The threshold that decides at a camera.
pub(crate) fn threshold(prefix: &str, camera: &str, threshold: f64) -> Message {
    Message::new(format!("{prefix}/{}/threshold/state", level(camera)), threshold.to_string(), true)
}

/// Whether the host is there.
pub(crate) fn available(prefix: &str, is_there: bool) -> Message {
    Message::new(format!("{prefix}/available"), if is_there { "online" } else { "offline" }, true)
}

/// What Home Assistant needs to show a camera's alarm and threshold.
pub(crate) fn discovery(home: &str, prefix: &str, camera: &str) -> [Message; 2] {
    let level = level(camera);
    let device = json!({ "identifiers": [format!("{prefix}_{level}")], "name": format!("ALFred {camera}"), "manufacturer": "ALFred" });
    let of = |component: &str, object: &str, more: Value| {
        let mut payload = json!({
            "unique_id": format!("{prefix}_{level}_{object}"), "object_id": format!("{prefix}_{level}_{object}"),
            "state_topic": format!("{prefix}/{level}/{object}/state"), "availability_topic": format!("{prefix}/available"), "device": device,
        });
        if let (Some(payload), Value::Object(more)) = (payload.as_object_mut(), more) {
            payload.extend(more);
        }
        Message::new(format!("{home}/{component}/{prefix}_{level}/{object}/config"), payload.to_string(), true)
    };
    [
        of("binary_sensor", "alarm", json!({ "name": "Anomaly", "device_class": "safety" })),
        of("sensor", "threshold", json!({ "name": "Threshold", "entity_category": "diagnostic", "state_class": "measurement" })),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u64, kind: Kind) -> (EventKey, EventMessage) {
        let message = EventMessage {
            id,
            kind,
            person: 3,
            first_frame: 100,
            last_frame: 120,
            anomalous_frames: 20,
            peak_score: 2.0,
            peak_frame: 110,
            mean_score: 1.5,
            threshold: 1.0,
        };
        (EventKey { device: "gate 1".into(), boot: 7, number: id }, message)
    }

    #[test]
    fn topics_have_no_wildcards_and_no_levels_of_strangers() {
        assert_eq!(level("gate-1_a"), "gate-1_a");
        for hostile in ["a/b", "+", "#", "a b", "ü", "$SYS", ""] {
            let level = level(hostile);
            assert!(level.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{hostile}: {level}");
        }
        assert_ne!(level("a/b"), level("a+b"));
    }

    #[test]
    fn an_events_life_is_new_update_end_and_its_camera_alarms_meanwhile() {
        let mut open = OpenEvents::default();
        let mut say = |id, kind| {
            let (key, event) = event(id, kind);
            open.messages("alfred", "gate", key, &event)
        };
        let new = say(1, Kind::New);
        assert_eq!((new.len(), new[0].topic.as_str(), new[1].payload.as_str()), (2, "alfred/events", "ON"));
        let payload: Value = serde_json::from_str(&new[0].payload).expect("JSON");
        assert_eq!((&payload["type"], &payload["before"], &payload["after"]["camera"]), (&json!("new"), &Value::Null, &json!("gate")));
        let second = say(2, Kind::New);
        assert_eq!(second.len(), 1, "it alarms already");
        let update: Value = serde_json::from_str(&say(1, Kind::Update)[0].payload).expect("JSON");
        assert_eq!((&update["type"], &update["before"]["person"]), (&json!("update"), &json!(3)));
        assert_eq!(say(1, Kind::EndScoreFell).len(), 1, "the other one goes on");
        let end = say(2, Kind::EndPersonLeft);
        assert_eq!((end.len(), end[1].topic.as_str(), end[1].payload.as_str()), (2, "alfred/gate/alarm/state", "OFF"));
    }

    #[test]
    fn events_without_an_end_do_not_pile_up() {
        let mut open = OpenEvents::default();
        for id in 0..3 * OPEN_EVENTS_MAX as u64 {
            let (key, event) = event(id, Kind::New);
            open.messages("alfred", "gate", key, &event);
        }
        assert_eq!((open.last.len(), open.order.len()), (OPEN_EVENTS_MAX, OPEN_EVENTS_MAX));
    }

    #[test]
    fn home_assistant_finds_alarm_and_threshold() {
        let [alarm, threshold] = discovery("homeassistant", "alfred", "gate");
        assert_eq!(alarm.topic, "homeassistant/binary_sensor/alfred_gate/alarm/config");
        let payload: Value = serde_json::from_str(&alarm.payload).expect("JSON");
        assert_eq!(
            (&payload["state_topic"], &payload["availability_topic"]),
            (&json!("alfred/gate/alarm/state"), &json!("alfred/available"))
        );
        assert!(alarm.is_retained && threshold.payload.contains("alfred/gate/threshold/state"));
    }
}
