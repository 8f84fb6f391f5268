//! Figures for Prometheus, in its text form (version 0.0.4).

use crate::mqtt::Mqtt;
use alfred_link::host::ServerCounters;
use alfred_store::{Store, StoreError};
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the daemon counts itself; everything else stands in the database.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) requests: AtomicU64,
    pub(crate) requests_refused: AtomicU64,
    pub(crate) request_faults: AtomicU64,
    pub(crate) login_failures: AtomicU64,
    pub(crate) http_connections_refused: AtomicU64,
    pub(crate) labels_imported: AtomicU64,
}

impl Figures {
    pub(crate) fn add(counter: &AtomicU64) {
        Self::add_many(counter, 1);
    }

    pub(crate) fn add_many(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Relaxed);
    }

    /// The figures as text.
    pub(crate) fn text(&self, store: &Store, link: &ServerCounters, mqtt: Option<&Mqtt>) -> Result<String, StoreError> {
        let mut text = String::new();
        let own = [
            ("alfred_http_requests_total", "HTTP requests.", &self.requests),
            ("alfred_http_requests_refused_total", "HTTP requests answered with a status of 400 to 499.", &self.requests_refused),
            ("alfred_http_request_faults_total", "HTTP requests that failed inside the host.", &self.request_faults),
            ("alfred_login_failures_total", "Logins with a wrong name or token, or too many of them.", &self.login_failures),
            ("alfred_labels_imported_total", "Verdicts that came in an import.", &self.labels_imported),
            ("alfred_http_connections_refused_total", "Connections beyond the limit.", &self.http_connections_refused),
        ];
        for (name, help, counter) in own {
            head(&mut text, name, "counter", help);
            line(&mut text, name, &[], counter.load(Relaxed));
        }
        head(&mut text, "alfred_device_connections", "gauge", "Devices that are connected.");
        line(&mut text, "alfred_device_connections", &[], link.connections.load(Relaxed));
        head(&mut text, "alfred_link_faults_total", "counter", "Connections of devices that ended with a fault, by its kind.");
        for (kind, count) in link.faults.seen() {
            line(&mut text, "alfred_link_faults_total", &[("kind", kind.name())], count);
        }
        if let Some(mqtt) = mqtt {
            head(&mut text, "alfred_mqtt_connected", "gauge", "Whether the broker is there.");
            line(&mut text, "alfred_mqtt_connected", &[], u8::from(mqtt.is_connected()));
            head(&mut text, "alfred_mqtt_waiting", "gauge", "Messages that wait for the broker.");
            line(&mut text, "alfred_mqtt_waiting", &[], mqtt.waiting());
            head(&mut text, "alfred_mqtt_published_total", "counter", "Messages that the broker has acknowledged.");
            line(&mut text, "alfred_mqtt_published_total", &[], mqtt.published.load(Relaxed));
            head(&mut text, "alfred_mqtt_dropped_total", "counter", "Messages lost because too many waited for the broker.");
            line(&mut text, "alfred_mqtt_dropped_total", &[], mqtt.dropped.load(Relaxed));
        }
        counts(&mut text, store)?;
        devices(&mut text, store)?;
        Ok(text)
    }
}

fn counts(text: &mut String, store: &Store) -> Result<(), StoreError> {
    let (mut before, counts) = ("", store.counts()?);
    for count in &counts {
        let name = format!("alfred_host_{}", count.what);
        if count.what != before {
            head(text, &name, "gauge", "Rows of this kind in the database.");
            before = count.what;
        }
        line(text, &name, &[("kind", &count.kind)], count.count);
    }
    let cameras = store.cameras()?;
    head(text, "alfred_queue_items", "gauge", "Items that nobody has judged yet.");
    for camera in &cameras {
        line(text, "alfred_queue_items", &[("camera", &camera.name)], camera.items_unjudged);
    }
    let live = cameras.iter().map(|camera| Ok((camera.name.as_str(), store.live_bundle(&camera.name)?)));
    let live = live.collect::<Result<Vec<_>, StoreError>>()?;
    head(text, "alfred_live_bundle_revision", "gauge", "Revision of the bundle that decides at a camera; 0: the devices' model file.");
    for (camera, live) in &live {
        line(text, "alfred_live_bundle_revision", &[("camera", camera)], live.as_ref().map_or(0, |live| live.revision));
    }
    head(text, "alfred_live_threshold", "gauge", "Threshold that decides at a camera.");
    for (camera, live) in &live {
        let threshold = live.as_ref().map_or_else(|| store.latest_threshold(camera), |live| Ok(Some(live.threshold)))?;
        if let Some(threshold) = threshold {
            line(text, "alfred_live_threshold", &[("camera", camera)], threshold);
        }
    }
    head(text, "alfred_cycle_requests_waiting", "gauge", "Requests of people that the cycle has not served yet.");
    line(text, "alfred_cycle_requests_waiting", &[], store.waiting_requests()?.len());
    Ok(())
}

/// Health of the devices: each figure of the heartbeat that is a number becomes one of `alfred_device_`.
fn devices(text: &mut String, store: &Store) -> Result<(), StoreError> {
    let devices = store.devices()?;
    head(text, "alfred_device_seen_timestamp_seconds", "gauge", "When the device was last heard.");
    for device in &devices {
        if let Some(seen_ms) = device.seen_ms {
            line(text, "alfred_device_seen_timestamp_seconds", &[("device", &device.name)], seen_ms as f64 / 1e3);
        }
    }
    let mut names: Vec<&String> =
        devices.iter().filter_map(|device| device.health.as_ref()?.as_object()).flat_map(|health| health.keys()).collect();
    names.sort();
    names.dedup();
    for field in names {
        let name = format!("alfred_device_{field}");
        let mut has_head = false;
        for device in &devices {
            let value = device.health.as_ref().and_then(|health| health.get(field));
            if let Some(value) = value.filter(|value| value.is_number()) {
                if !has_head {
                    head(text, &name, "gauge", "A figure of the device's latest heartbeat.");
                    has_head = true;
                }
                line(text, &name, &[("device", &device.name), ("camera", &device.camera)], value);
            }
        }
    }
    Ok(())
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    text.push_str(name);
    for (at, (label, content)) in labels.iter().enumerate() {
        let escaped = content.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{}{label}=\"{escaped}\"", if at == 0 { '{' } else { ',' });
    }
    let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers_stay_inside_their_quotes() {
        let mut text = String::new();
        line(&mut text, "alfred_x", &[("device", "a\"} 1\nb\\"), ("camera", "c")], 5);
        assert_eq!(text, "alfred_x{device=\"a\\\"} 1\\nb\\\\\",camera=\"c\"} 5\n");
    }
}
