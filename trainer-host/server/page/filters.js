// Which items are asked for. The filter stands in the address, so that it survives a reload and can be sent to somebody.

import { get, query } from "./api.js";
import { h, put } from "./dom.js";
import { NEEDS_CAMERA } from "./queue.js";
import { say } from "./toast.js";

const STRATEGIES = [
  ["policy", "the camera's own policy"],
  ["newest", "newest first"],
  ["oldest", "longest waiting first"],
  ["highest_score", "highest score first"],
  ["near_threshold", "nearest to the threshold"],
  ["al", "AL: every flagged event"],
  ["al_light", "AL Light: threshold to median"],
  ["diversity", "most different first"],
  ["margin_diversity", "near the threshold, different"],
  ["random", "random"],
  ["audit", "audit of what was not flagged"],
  ["second_look", "second look: conflicts"],
  ["repeat", "repeat: agree with oneself"],
];

const AGES = [
  ["", "any age"],
  ["1", "last hour"],
  ["24", "last 24 hours"],
  ["168", "last 7 days"],
];

const KINDS = [
  ["", "events and samples"],
  ["event", "events only"],
  ["sample", "samples only"],
];

const option = ([value, text]) => h("option", { value }, text);

/** The panel; `changed(filter)` after each change. */
export function filterPanel(parameters, changed) {
  const start = (name, fallback = "") => parameters.get(name) ?? fallback;
  const fields = {
    strategy: h("select", { id: "strategy" }, STRATEGIES.map(option)),
    camera: h("select", { id: "camera" }, option(["", "all cameras"])),
    age_h: h("select", { id: "age_h" }, AGES.map(option)),
    score_min: h("input", { id: "score_min", type: "number", step: "any", inputmode: "decimal", placeholder: "from" }),
    score_max: h("input", { id: "score_max", type: "number", step: "any", inputmode: "decimal", placeholder: "to" }),
    bundle_revision: h("select", { id: "bundle_revision" }, option(["", "any model"])),
    kind: h("select", { id: "kind" }, KINDS.map(option)),
    grouped: h("input", { id: "grouped", type: "checkbox" }),
    snoozed: h("input", { id: "snoozed", type: "checkbox" }),
    second_opinions: h("input", { id: "second_opinions", type: "checkbox" }),
  };
  const isBox = (field) => field.type === "checkbox";
  for (const [name, field] of Object.entries(fields)) {
    if (isBox(field)) field.checked = start(name) === "true";
    else setValue(field, start(name, name === "strategy" ? "newest" : ""));
  }
  const read = () => {
    const values = Object.entries(fields).map(([name, field]) => [name, isBox(field) ? field.checked : field.value]);
    return Object.fromEntries(values.filter(([, value]) => value !== "" && value !== false));
  };
  const apply = () => {
    if (NEEDS_CAMERA.includes(fields.strategy.value) && !fields.camera.value) {
      const first = fields.camera.options[1]?.value;
      if (!first) {
        say("This order needs a camera, and there is none yet.", "bad");
        fields.strategy.value = "newest";
      } else fields.camera.value = first;
    }
    const filter = read();
    const shown = filter.strategy === "newest" ? { ...filter, strategy: null } : filter;
    history.replaceState(null, "", `#/review${query(shown)}`);
    // The keys of the verdicts would choose something in a list that keeps the focus.
    document.activeElement?.blur();
    changed(filter);
  };
  for (const field of Object.values(fields)) field.addEventListener("change", apply);
  fillChoices(fields);
  const panel = layout(fields, () => {
    for (const field of Object.values(fields)) {
      if (isBox(field)) field.checked = false;
      else field.value = field === fields.strategy ? "newest" : "";
    }
    apply();
  });
  return { element: panel, get value() { return read(); }, focus: () => fields.strategy.focus() };
}

/** A choice that the list does not have yet must survive until it has. */
function setValue(field, value) {
  if (field.localName === "select" && value !== "" && !Array.from(field.options).some((one) => one.value === value)) {
    field.append(option([value, value]));
  }
  field.value = value;
}

async function fillChoices(fields) {
  try {
    const [cameras, bundles] = await Promise.all([get("/api/cameras"), get("/api/bundles")]);
    refill(fields.camera, ["", "all cameras"], cameras.map(({ name, items_unjudged: waiting }) => [name, waiting > 0 ? `${name} (${waiting})` : name]));
    const revisions = [...new Set(bundles.map(({ revision }) => revision))].sort((one, other) => other - one);
    refill(fields.bundle_revision, ["", "any model"], [...revisions.map((revision) => [String(revision), `bundle ${revision}`]), ["0", "the device's own file"]]);
  } catch (error) {
    if (error.status !== 401) say(`The filters' choices could not be loaded: ${error.message}`, "bad");
  }
}

function refill(select, first, choices) {
  const chosen = select.value;
  put(select, option(first), choices.map(option));
  setValue(select, chosen);
}

function layout(fields, reset) {
  const labelled = (text, ...inputs) => h("div", { class: "field" }, h("label", { for: inputs[0].id }, text), h("div", { class: "field-row" }, inputs));
  const box = (text, input) => h("label", { class: "check" }, input, text);
  fields.score_max.setAttribute("aria-label", "Highest score");
  const isNarrowed = ["age_h", "score_min", "score_max", "bundle_revision", "kind"].some((name) => fields[name].value !== "");
  return h(
    "form",
    { class: "filters", onsubmit: (event) => event.preventDefault() },
    labelled("Order", fields.strategy),
    labelled("Camera", fields.camera),
    h(
      "details",
      { open: isNarrowed },
      h("summary", {}, "More filters"),
      labelled("Score", fields.score_min, fields.score_max),
      labelled("Age", fields.age_h),
      labelled("Model", fields.bundle_revision),
      labelled("Kind", fields.kind),
      box("one of each group of similar events", fields.grouped),
      box("only what snooze rules hide", fields.snoozed),
      box("also what others have judged", fields.second_opinions),
      h("button", { type: "button", class: "quiet", onclick: reset }, "Reset the filters"),
    ),
  );
}
