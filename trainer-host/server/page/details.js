// What is known about an item, in words.

import { h } from "./dom.js";
import { ago, count, moment, plural, score, words } from "./format.js";

/** The line above the stage. */
export function stageTitle(item) {
  const at = item.wall_unix_ms ?? item.received_ms;
  return [
    h("strong", {}, item.camera),
    h("span", { class: "chip" }, item.kind === "event" ? "flagged event" : "sample from below the threshold"),
    h("span", { class: "soft", title: moment(at) }, ago(at)),
    item.threshold !== null && h("span", { class: "soft" }, `score ${score(item.score)}, threshold ${score(item.threshold)}`),
  ];
}

/** The table beside it. */
export function detailsOf(item, clip = null) {
  const row = (name, value) => value !== null && [h("dt", {}, name), h("dd", {}, value)];
  return [
    h("h2", {}, `Item ${item.id}`),
    h(
      "dl",
      {},
      row("Score", h("span", { class: "figure" }, score(item.score))),
      row("Threshold", item.threshold === null ? null : score(item.threshold)),
      row("Mean score", clip?.event ? score(clip.event.mean_score) : null),
      row("Model", item.bundle_revision === 0 ? "the device's own file" : `bundle ${item.bundle_revision}`),
      row("Person", clip ? `${item.person}, of ${plural(clip.people, "person", "persons")}` : String(item.person)),
      row("Frames", `${count(item.first_frame)} – ${count(item.last_frame)}`),
      row("Device", item.device),
      row("Happened", item.wall_unix_ms === null ? "the device had no clock" : moment(item.wall_unix_ms)),
      row("Received", ago(item.received_ms)),
      row("Asked by", item.strategy ? words(item.strategy) : null),
      row("Alike", item.similar ? `${plural(item.similar, "further item")}` : null),
      row("Said so far", item.verdicts?.length ? item.verdicts.map((one) => `${one.reviewer}: ${one.verdict}`).join(", ") : null),
    ),
    clip?.isIncomplete && h("p", { class: "warning" }, "Not whole: the device had to leave poses out, or a part has not come."),
  ];
}
