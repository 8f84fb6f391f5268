// Cards of the camera page: validation set, figures over revisions, drift, queue policy, snooze rules.

import { call } from "./api.js";
import { h, put } from "./dom.js";
import { ago, count, interval, moment, percent, plural, score, span, words } from "./format.js";
import { intervalPlot, linePlot } from "./plot.js";
import { card, table } from "./table.js";
import { say } from "./toast.js";

const fact = (name, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, h("span", { class: "figure" }, value), more && h("small", {}, more)));

/** On what every figure of this camera rests. */
export function validationCard({ validation, evaluations }) {
  if (!validation) {
    const why = evaluations[0]?.reason;
    return card("Validation set", { id: "validation" }, h("p", { class: "empty" }, "There is none yet: it grows from reviewed items of the warm-up phase."), why && h("p", { class: "hint" }, `Latest word of the daemon: ${why}`));
  }
  const { items, normals, anomalies, sha256, revision, at_ms: at } = validation;
  const isThin = anomalies < 20 || normals < 20;
  return card(
    "Validation set",
    { id: "validation" },
    h("dl", { class: "facts" }, fact("Items", count(items)), fact("Normal", count(normals)), fact("Anomalous", count(anomalies)), fact("Anomalous share", percent(items > 0 ? anomalies / items : NaN))),
    balance(normals, anomalies),
    isThin && h("p", { class: "warning" }, "Fewer than 20 of one class: the intervals are wide, and candidates are hardly ever promoted."),
    h("p", { class: "hint wrap" }, `Latest judged ${ago(at)}${revision ? ` with bundle ${revision}` : ""}`, sha256 && `, set ${sha256.slice(0, 12)}`),
  );
}

function balance(normals, anomalies) {
  const bar = h("span", { class: "bar-fill" });
  bar.style.width = `${(100 * anomalies) / Math.max(normals + anomalies, 1)}%`;
  return h("div", { class: "balance", role: "img", "aria-label": `${anomalies} anomalous of ${normals + anomalies}` }, h("span", { class: "bar" }, bar));
}

/** What decides now. */
export function liveCard({ bundles, evaluations, camera }) {
  const revision = camera.desired_revision;
  const live = bundles.find((bundle) => bundle.revision === revision) ?? bundles[0];
  if (!live) return card("Pair in force", { id: "live" }, h("p", { class: "empty" }, "No bundle was made for this camera: its devices run the model file they were set up with."));
  const judged = evaluations.find((one) => one.revision === live.revision);
  return card(
    "Pair in force",
    { id: "live" },
    h(
      "dl",
      { class: "facts" },
      fact("Bundle", count(live.revision), `after ${live.parent_revision}, made ${ago(live.added_ms)}`),
      fact("Threshold", score(live.threshold), `policy ${words(live.policy)}`),
      fact("EER", judged ? percent(judged.eer) : "–", judged && `95 %: ${percent(judged.eer_low)} – ${percent(judged.eer_high)}`),
      fact("EBI", judged ? percent(judged.ebi) : "–", judged && `95 %: ${percent(judged.ebi_low)} – ${percent(judged.ebi_high)}`),
    ),
    h("p", { class: "hint" }, `Added by ${live.added_by}. ${judged ? `${plural(judged.labels_used, "label")} used.` : "Not judged by the daemon."}`),
  );
}

/** EER and EBI over revisions. */
export function historyCard({ evaluations }) {
  const title = "EER and EBI over revisions";
  const shown = evaluations.filter((one) => one.eer !== null || one.ebi !== null).slice(0, 40).toReversed();
  if (shown.length === 0) return card(title, { id: "history" }, h("p", { class: "empty" }, "No candidate was judged yet."));
  const value = (one, name) => (one[name] === null ? null : { value: one[name], low: one[`${name}_low`], high: one[`${name}_high`] });
  const plot = intervalPlot({
    label: `EER and EBI of ${shown.length} candidates; the latest EER ${percent(shown.at(-1).eer)}, EBI ${percent(shown.at(-1).ebi)}`,
    labels: shown.map((one) => (one.revision === null ? one.outcome : `${one.revision}${one.outcome === "promoted" ? "" : ` ${one.outcome}`}`)),
    series: [
      { name: "EER", style: "other", values: shown.map((one) => value(one, "eer")) },
      { name: "EBI", style: "one", values: shown.map((one) => value(one, "ebi")) },
    ],
    range: [0, 1],
    show: (share) => percent(share, 0),
  });
  const columns = [
    { title: "When", cell: (one) => h("span", { title: moment(one.at_ms) }, ago(one.at_ms)) },
    { title: "Revision", isNumber: true, cell: (one) => (one.revision === null ? "none" : count(one.revision)) },
    { title: "Outcome", cell: (one) => h("span", { class: `chip ${{ promoted: "good", refused: "bad", held: "warn" }[one.outcome] ?? ""}` }, one.outcome) },
    { title: "EER (95 %)", cell: (one) => interval(one.eer, one.eer_low, one.eer_high) },
    { title: "EBI (95 %)", cell: (one) => interval(one.ebi, one.ebi_low, one.ebi_high) },
    { title: "AUC (95 %)", cell: (one) => interval(one.auc, one.auc_low, one.auc_high) },
    { title: "EBI of the source pair", isNumber: true, cell: (one) => percent(one.source_ebi) },
    { title: "Reason", cell: (one) => h("span", { class: "wrap" }, one.reason) },
  ];
  return card(
    title,
    { id: "history" },
    h("p", { class: "legend" }, h("span", {}, "EBI, higher is better"), h("span", { class: "other" }, "EER, lower is better"), "bars: 95 % intervals"),
    plot,
    h("details", {}, h("summary", {}, `The ${plural(shown.length, "candidate")} as a table`), table(columns, shown.toReversed(), "", title)),
  );
}

/** Whether the camera still shows what the bundle was made for. */
export function driftCard({ drift }) {
  const title = "Drift of the scores";
  if (!drift || !drift.bundle || !drift.recent) {
    return card(title, { id: "drift" }, h("p", { class: "empty" }, drift?.reason ?? "Nothing to compare yet: it takes a bundle with its score sketch and recent samples."));
  }
  const points = (values) => drift.levels.map((x, at) => ({ x, value: values[at] })).filter(({ value }) => Number.isFinite(value));
  const all = [...drift.bundle, ...drift.recent].filter(Number.isFinite);
  const { plot } = linePlot({
    label: `Quantiles of the scores: the bundle's and those of ${drift.samples} recent samples`,
    series: [
      { style: "one", points: points(drift.bundle) },
      { style: "other", points: points(drift.recent) },
    ],
    range: [Math.min(...all), Math.max(...all)],
    show: score,
    showX: (share) => percent(share, 0),
  });
  return card(
    title,
    { id: "drift" },
    h("p", { class: "legend" }, h("span", {}, "when the bundle was made"), h("span", { class: "other" }, `${plural(drift.samples, "recent sample")}`)),
    plot,
    h("p", { class: "hint" }, drift.largest_shift === null || drift.largest_shift === undefined ? (drift.reason ?? "") : `Largest shift of a quantile: ${score(drift.largest_shift)} widths of the bundle's inner quantiles. Across: quantiles; up: anomaly score.`),
  );
}

const POLICIES = ["newest", "oldest", "highest_score", "near_threshold", "al", "al_light", "diversity", "margin_diversity", "random"];

/** Which items of the camera are asked for, and how many a day. */
export function policyCard({ policy, path, isOperator }) {
  const title = "Queue policy and label budget";
  if (!policy) return card(title, { id: "policy" }, h("p", { class: "empty" }, "This host has no policies."));
  const share = (value) => Math.round(1000 * value) / 10;
  const known = POLICIES.includes(policy.strategy) ? POLICIES : [policy.strategy, ...POLICIES];
  const fields = {
    strategy: h("select", { id: "policy-strategy", value: policy.strategy }, known.map((one) => h("option", { value: one }, words(one)))),
    labels_per_day: h("input", { id: "policy-budget", type: "number", min: 0, max: 100000, placeholder: "no budget", value: policy.labels_per_day ?? "" }),
    audit_share: h("input", { id: "policy-audit", type: "number", min: 0, max: 50, step: 0.1, value: share(policy.audit_share) }),
    repeat_share: h("input", { id: "policy-repeat", type: "number", min: 0, max: 50, step: 0.1, value: share(policy.repeat_share) }),
  };
  const groups = h("input", { type: "checkbox", id: "policy-groups" });
  groups.checked = policy.groups_similar;
  const save = h("button", { class: "primary", type: "submit", disabled: !isOperator }, "Save the policy");
  const field = (text, input) => h("div", { class: "field" }, h("label", { for: input.id }, text), input);
  const submit = async (event) => {
    event.preventDefault();
    const body = {
      strategy: fields.strategy.value,
      labels_per_day: fields.labels_per_day.value === "" ? null : Number(fields.labels_per_day.value),
      audit_share: Number(fields.audit_share.value) / 100,
      repeat_share: Number(fields.repeat_share.value) / 100,
      groups_similar: groups.checked,
    };
    save.disabled = true;
    try {
      await call("PUT", `${path}/policy`, body);
      say("The policy is saved.", "good");
    } catch (error) {
      say(error.message, "bad");
    }
    save.disabled = false;
  };
  return card(
    title,
    { id: "policy" },
    h(
      "form",
      { onsubmit: submit },
      h(
        "div",
        { class: "forms" },
        field("Order", fields.strategy),
        field("Labels a day", fields.labels_per_day),
        field("Audit of what was not flagged, %", fields.audit_share),
        field("Repeats for agreement, %", fields.repeat_share),
      ),
      h("label", { class: "check" }, groups, "ask once for a group of similar events"),
      h("div", { class: "actions" }, isOperator ? save : h("p", { class: "hint" }, "Operators can change it.")),
    ),
  );
}

/** What does not come into the queue, for how long, and who wanted that. */
export function snoozeCard(snoozes) {
  const body = h("div");
  const end = async (snooze) => {
    try {
      const ended = await call("POST", `/api/snoozes/${snooze.id}/end`, {});
      snoozes = snoozes.map((one) => (one.id === ended.id ? ended : one));
      say("The rule has ended.", "good");
      show();
    } catch (error) {
      say(error.message, "bad");
    }
  };
  const columns = [
    { title: "Because", cell: (one) => h("span", { class: "wrap" }, one.reason || "–") },
    { title: "Where", cell: (one) => `around ${Math.round(one.x)}, ${Math.round(one.y)} px, radius ${Math.round(one.radius_px)} px` },
    { title: "Up to a score of", isNumber: true, cell: (one) => score(one.score_max) },
    { title: "Hides", isNumber: true, cell: (one) => count(one.hides) },
    { title: "By", cell: (one) => one.made_by },
    { title: "Ends", cell: (one) => (one.is_live ? `in ${span(one.expires_ms - Date.now())}` : one.ended_by ? `ended by ${one.ended_by}` : `ended ${ago(one.expires_ms)}`) },
    { title: "", cell: (one) => one.is_live && h("button", { type: "button", onclick: () => end(one) }, "End it") },
  ];
  const show = () => put(body, table(columns, snoozes, "No rule hides anything at this camera.", "Snooze rules"));
  show();
  return card("Snooze rules", { class: "wide", id: "snoozes" }, body);
}
