// What the labels are worth: who judges how much, who agrees with whom, where people contradict each other, what budgets are left.

import { get, getOptional, query, session } from "./api.js";
import { h, put } from "./dom.js";
import { count, percent, plural, score } from "./format.js";
import { card, table } from "./table.js";

const WEEK_MS = 7 * 86_400_000;

/** Opens the screen; returns what closes it. */
export function labelScreen(main) {
  let isClosed = false;
  const body = h("div", {}, h("p", { class: "empty" }, "Loading …"));
  const exports = session.role === "operator" && [
    h("a", { class: "button", href: "/api/labels?format=csv", download: "labels.csv" }, "All labels as CSV"),
    h("a", { class: "button", href: "/api/labels?format=json", download: "labels.jsonl" }, "as JSON lines"),
  ];
  put(main, h("div", { class: "page-head" }, h("h1", {}, "Labels"), h("div", { class: "end" }, exports)), body);
  load(body, () => isClosed).catch((error) => isClosed || put(body, h("p", { class: "warning" }, error.message)));
  return () => {
    isClosed = true;
  };
}

async function load(body, isClosed) {
  const since = Date.now() - WEEK_MS;
  const [meter, agreements, conflicts] = await Promise.all([getOptional(`/api/meter${query({ since_ms: since })}`), get("/api/agreement"), getOptional("/api/conflicts")]);
  if (isClosed()) return;
  const reviewers = meter?.reviewers ?? (await get(`/api/workload${query({ since_ms: since })}`));
  put(
    body,
    h("div", { class: "cards" }, meter && meterCard(meter), workCard(reviewers), agreementCard(agreements), meter && budgetCard(meter.budgets), conflicts && conflictCard(conflicts)),
  );
}

const fact = (name, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, h("span", { class: "figure" }, value), more && h("small", {}, more)));

function meterCard({ verdicts, seconds_per_verdict: each, verdicts_per_hour: perHour, full_al: full }) {
  return card(
    "The last seven days",
    { class: "wide", id: "week" },
    h(
      "dl",
      { class: "facts" },
      fact("Verdicts", count(verdicts)),
      fact("Seconds each", each === null ? "–" : score(each)),
      fact("Per hour of work", perHour === null ? "–" : count(Math.round(perHour))),
      fact("Full AL would ask", count(full.flagged), "every flagged event"),
      fact("Asked", count(full.asked), full.saved_share === null ? null : `${percent(full.saved_share, 0)} saved`),
      fact("Left out by the band", count(full.by_threshold_band)),
      fact("By grouping", count(full.by_group)),
      fact("By snooze rules", count(full.by_snooze)),
    ),
  );
}

function workCard(reviewers) {
  const columns = [
    { title: "Reviewer", cell: (one) => h("span", { class: "wrap" }, one.reviewer) },
    { title: "Verdicts", isNumber: true, cell: (one) => count(one.verdicts) },
    { title: "Seconds each", isNumber: true, cell: (one) => (one.verdicts > 0 ? score(one.seconds / one.verdicts) : "–") },
    { title: "Taken back", isNumber: true, cell: (one) => count(one.undone) },
  ];
  return card("Reviewers", { id: "reviewers" }, table(columns, reviewers, "Nobody has judged anything.", "Reviewers"));
}

function agreementCard(agreements) {
  const columns = [
    { title: "Between", cell: (one) => h("span", { class: "wrap" }, one.first === one.second ? `${one.first} with oneself` : `${one.first} and ${one.second}`) },
    { title: "Items", isNumber: true, cell: (one) => count(one.items) },
    { title: "Alike", isNumber: true, cell: (one) => percent(one.items > 0 ? one.alike / one.items : NaN, 0) },
    { title: "Cohen's kappa", isNumber: true, cell: (one) => (one.kappa === null ? "undefined" : score(one.kappa)) },
  ];
  return card("Agreement", { id: "agreement" }, table(columns, agreements, "No item has two verdicts yet: judge with second opinions, or repeats.", "Agreement"));
}

function budgetCard(budgets) {
  const columns = [
    { title: "Camera", cell: (one) => h("a", { class: "wrap", href: `#/cameras/${encodeURIComponent(one.camera)}` }, one.camera) },
    { title: "Labels a day", isNumber: true, cell: (one) => (one.labels_per_day === null ? "no budget" : count(one.labels_per_day)) },
    { title: "Used today", isNumber: true, cell: (one) => count(one.used_today) },
    { title: "Left", isNumber: true, cell: (one) => (one.left_today === null ? "–" : count(one.left_today)) },
  ];
  return card("Budgets", { id: "budgets" }, table(columns, budgets, "No camera yet.", "Budgets"));
}

function conflictCard(conflicts) {
  const columns = [
    { title: "Item", isNumber: true, cell: (one) => count(one.item.id) },
    { title: "Camera", cell: (one) => h("span", { class: "wrap" }, one.item.camera) },
    { title: "Score", isNumber: true, cell: (one) => score(one.item.score) },
    { title: "Anomalous", isNumber: true, cell: (one) => count(one.anomalous) },
    { title: "Normal", isNumber: true, cell: (one) => count(one.normal) },
    { title: "Unsure", isNumber: true, cell: (one) => count(one.unsure) },
  ];
  return card(
    "Conflicts",
    { id: "conflicts" },
    table(columns, conflicts, "Nobody contradicts anybody.", "Conflicts"),
    conflicts.length > 0 && h("div", { class: "actions" }, h("a", { class: "button", href: "#/review?strategy=second_look" }, `Take a second look at ${plural(conflicts.length, "item")}`)),
  );
}
