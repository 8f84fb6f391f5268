// The fleet: every device, whether it is well, what waits in it and what it lost.

import { get, getOptional } from "./api.js";
import { h, put } from "./dom.js";
import { ago, bytes, count, plural, span } from "./format.js";
import { card, table } from "./table.js";

const NEWS_MS = 5_000;
/** Without a word for this long a device is late, where the host does not judge that itself. */
const LATE_MS = 60_000;
/** What counts as lost, by the link's names, and in words. */
const LOSSES = [
  ["frames_shed", "frames gave way"],
  ["output_lost", "output lines"],
  ["segments_lost", "segment parts"],
  ["messages_refused", "messages refused"],
  ["score_faults", "score faults"],
  ["deadline_misses", "late frames"],
];

/** Opens the screen; returns what closes it. */
export function fleetScreen(main) {
  let isClosed = false;
  const body = h("div", {}, h("p", { class: "empty" }, "Loading …"));
  put(main, h("div", { class: "page-head" }, h("h1", {}, "Fleet")), body);
  const load = async () => {
    if (document.hidden) return;
    try {
      const fleet = await read();
      if (!isClosed) show(body, fleet);
    } catch (error) {
      if (!isClosed) put(body, h("p", { class: "warning" }, error.message));
    }
  };
  load();
  const timer = setInterval(load, NEWS_MS);
  return () => {
    isClosed = true;
    clearInterval(timer);
  };
}

async function read() {
  const found = await getOptional("/api/fleet");
  if (found) return found;
  return { now_ms: Date.now(), devices: await get("/api/devices"), host: null };
}

function show(body, { now_ms: now, devices, host }) {
  const late = devices.filter((device) => stateOf(device, now).kind === "bad").length;
  const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, h("span", { class: "figure" }, value)));
  const columns = [
    { title: "Device", cell: (device) => h("strong", { class: "wrap" }, device.name) },
    { title: "Camera", cell: (device) => h("a", { class: "wrap", href: `#/cameras/${encodeURIComponent(device.camera)}` }, device.camera) },
    { title: "State", cell: (device) => chip(stateOf(device, now)) },
    { title: "Last seen", cell: (device) => ago(device.seen_ms, now) },
    { title: "Bundle", isNumber: true, cell: (device) => count(device.bundle_revision) },
    { title: "Waits in it", cell: queueOf },
    { title: "Lost", cell: lossesOf },
    { title: "p99", isNumber: true, cell: ({ health }) => (health ? `${(health.frame_to_decision_p99_us / 1000).toFixed(2)} ms` : "–") },
    { title: "Temperature", isNumber: true, cell: ({ health }) => (Number.isFinite(health?.temperature_millicelsius) ? `${(health.temperature_millicelsius / 1000).toFixed(0)} °C` : "–") },
    { title: "Memory", isNumber: true, cell: ({ health }) => bytes(health?.resident_bytes ?? NaN) },
    { title: "Up for", cell: ({ health }) => (health ? span(health.uptime_s * 1000) : "–") },
  ];
  put(
    body,
    h(
      "div",
      { class: "cards" },
      card(
        "Now",
        { class: "wide" },
        h(
          "dl",
          { class: "facts" },
          fact("Devices", count(devices.length)),
          fact("Not well", count(late)),
          host && [fact("Connected", count(host.device_connections)), fact("Items to judge", count(host.queue_items)), fact("Requests that wait", count(host.requests_waiting))],
          host?.mqtt && fact("MQTT", host.mqtt.is_connected ? `${count(host.mqtt.published)} sent` : "not connected"),
        ),
      ),
      card("Devices", { class: "wide", id: "devices" }, table(columns, devices, "No device yet: enrol one with alfred-host enroll.", "Devices")),
    ),
  );
}

function stateOf(device, now) {
  if (device.is_revoked) return { kind: "bad", text: "revoked" };
  if (device.seen_ms === null) return { kind: "warn", text: "never seen" };
  if (device.is_late ?? now - device.seen_ms > LATE_MS) return { kind: "bad", text: "silent" };
  if (device.health?.is_paused) return { kind: "warn", text: "paused" };
  if (!device.has_certificate) return { kind: "warn", text: "no certificate" };
  return { kind: "good", text: "well" };
}

const chip = ({ kind, text }) => h("span", { class: `chip ${kind}` }, text);

function queueOf({ health, queue }) {
  const records = queue?.records ?? health?.journal_records;
  if (records === undefined || records === null) return "–";
  return `${plural(records, "record")}, ${bytes(queue?.bytes ?? health.journal_bytes)}`;
}

function lossesOf({ health, lost }) {
  if (!health) return "–";
  const parts = LOSSES.filter(([name]) => health[name] > 0).map(([name, text]) => `${count(health[name])} ${text}`);
  const journal = (health.journal_lost ?? []).reduce((sum, value) => sum + value, 0);
  if (journal > 0) parts.push(`${count(journal)} records given up`);
  if (parts.length === 0) return h("span", { class: "chip good" }, "nothing");
  const total = lost ?? null;
  return h("span", { class: "wrap" }, total !== null && total > 0 ? h("strong", {}, `${count(total)}: `) : null, parts.join(", "));
}
