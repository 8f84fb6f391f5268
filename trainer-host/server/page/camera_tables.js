// Tables of the camera page that the daemon changes by itself: they are shown anew every few seconds.

import { h, put } from "./dom.js";
import { ago, count, moment, percent, words } from "./format.js";
import { card, table } from "./table.js";

const STAGES = { confirmed: "good", trial: "warn", shadow: "warn", refused: "bad", reverted: "bad", delayed: "warn" };

const when = (atMs) => h("span", { title: moment(atMs) }, ago(atMs));

function live(title, id, draw, attributes = { class: "wide" }) {
  const body = h("div");
  let shown = null;
  return {
    element: card(title, { id, ...attributes }, body),
    /** Draws only what has changed, so that a selection or a focus in it stays. */
    show(rows, data) {
      const now = JSON.stringify(rows);
      if (now === shown) return;
      shown = now;
      put(body, draw(rows, data));
    },
  };
}

/** What became of each bundle on each device. */
export function deploymentCard() {
  const columns = [
    { title: "Device", cell: (one) => h("span", { class: "wrap" }, one.device) },
    { title: "Bundle", isNumber: true, cell: (one) => count(one.revision) },
    { title: "State", cell: (one) => h("span", { class: `chip ${STAGES[one.stage] ?? ""}` }, one.stage) },
    { title: "Windows", isNumber: true, cell: (one) => count(one.windows) },
    { title: "Flagged (live)", isNumber: true, cell: (one) => `${count(one.flagged)} (${count(one.live_flagged)})` },
    { title: "Disagree", isNumber: true, cell: (one) => percent(one.windows > 0 ? one.disagreements / one.windows : NaN) },
    { title: "Faults", isNumber: true, cell: (one) => count(one.faults) },
    { title: "Since", cell: (one) => when(one.changed_ms) },
    { title: "Reason", cell: (one) => one.reason_name && h("span", { class: "wrap" }, `${words(one.reason_name)}. ${one.mend ?? ""}`) },
  ];
  return live("Deployments", "deployments", (rows) => table(columns, rows, "No bundle was offered to this camera's devices.", "Deployments"));
}

/** Why candidates or bundles did not come into force. */
export function refusalCard() {
  const columns = [
    { title: "When", cell: (one) => when(one.at_ms) },
    { title: "By", cell: (one) => (one.what === "device" ? (one.device ?? "a device") : "the daemon") },
    { title: "Bundle", isNumber: true, cell: (one) => (one.revision === null ? "none" : count(one.revision)) },
    { title: "Reason", cell: (one) => h("span", { class: "wrap" }, one.reason) },
    { title: "Mend", cell: (one) => h("span", { class: "wrap" }, one.mend ?? "") },
  ];
  return live("Latest refusals", "refusals", (rows) => table(columns, rows, "Nothing was refused.", "Latest refusals"));
}

/** What people asked of the daemon. */
export function requestCard() {
  const columns = [
    { title: "When", cell: (one) => when(one.at_ms) },
    { title: "What", cell: (one) => h("span", { class: "wrap" }, words(one.kind), one.argument?.threshold !== undefined && ` ${one.argument.threshold}`) },
    { title: "By", cell: (one) => one.reviewer },
    { title: "Done", cell: (one) => (one.done_ms === null ? h("span", { class: "chip warn" }, "waits") : when(one.done_ms)) },
    { title: "Outcome", cell: (one) => h("span", { class: "wrap" }, one.outcome ?? "") },
  ];
  return live("Requests to the daemon", "requests", (rows) => table(columns, rows, "Nobody has asked for anything.", "Requests to the daemon"), {});
}

/** Rollouts that name the camera. */
export function rolloutCard() {
  const columns = [
    { title: "Rollout", isNumber: true, cell: (one) => count(one.id) },
    { title: "Bundle", isNumber: true, cell: (one) => one.targets.map(({ revision }) => revision).join(", ") },
    { title: "State", cell: (one) => h("span", { class: `chip ${{ running: "good", rolled_back: "bad", paused: "warn" }[one.state] ?? ""}` }, words(one.state)) },
    { title: "By", cell: (one) => one.started_by },
    { title: "When", cell: (one) => when(one.started_ms) },
  ];
  const draw = (rows, { camera }) => {
    const own = rows.map((row) => ({ ...row, targets: row.targets.filter((target) => target.camera === camera.name) }));
    return table(columns, own, "Nothing was rolled out to this camera.", "Rollouts");
  };
  return live("Rollouts", "rollouts", draw);
}
