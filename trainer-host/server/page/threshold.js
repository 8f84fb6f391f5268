// The threshold slider: what another threshold would cost in alarms and minutes, and what it would miss.

import { call, getOptional, query } from "./api.js";
import { h, put } from "./dom.js";
import { count, percent, score } from "./format.js";
import { linePlot } from "./plot.js";
import { card } from "./table.js";
import { confirmed, say } from "./toast.js";

/** Steps of the slider. */
const STEPS = 400;
/** Points of the curve. */
const POINTS = 120;
/** How far the slider's scale may be bent: few scores lie far above, and they must not take all of its length. */
const BEND_MAX = 8;
/** After the slider has rested so long, the host gives the exact figures. */
const REST_MS = 160;
const FIGURES = ["fnr", "fnr_low", "fnr_high", "fpr", "fpr_low", "fpr_high", "alarms_per_day", "alarms_per_day_low", "alarms_per_day_high", "precision", "label_minutes_per_day"];

/** The card; it fills itself. */
export function thresholdCard(context) {
  const body = h("div", {}, h("p", { class: "empty" }, "Loading …"));
  const element = card("Threshold", { class: "wide", id: "threshold" }, body);
  load(body, context).catch((error) => put(body, h("p", { class: "warning" }, error.message)));
  return element;
}

async function load(body, context) {
  const curve = await getOptional(`${context.path}/threshold-curve${query({ points: POINTS })}`);
  const points = (curve?.points ?? []).filter(({ threshold }) => Number.isFinite(threshold)).sort((one, other) => one.threshold - other.threshold);
  if (points.length < 2) {
    put(body, h("p", { class: "empty" }, curve?.reason ?? points[0]?.reason ?? "No figures yet: they need reviewed items, or events from the devices."));
    return;
  }
  new Slider(body, context, points, curve.live_threshold ?? null);
}

class Slider {
  constructor(body, { path, camera, isOperator, asked }, points, live) {
    Object.assign(this, { path, camera, asked, points, live });
    [this.low, this.high] = [points[0].threshold, points.at(-1).threshold];
    if (live !== null) [this.low, this.high] = [Math.min(this.low, live), Math.max(this.high, live)];
    this.bend = bendOf(points, this.low, this.high);
    this.ticket = 0;
    this.range = h("input", { type: "range", id: "threshold-range", min: 0, max: STEPS, step: 1, "aria-label": "Threshold" });
    this.number = h("input", { type: "number", id: "threshold-number", step: "any", "aria-label": "Threshold as a number" });
    this.range.addEventListener("input", () => this.set(Math.round(1000 * this.thresholdAt(this.range.value / STEPS)) / 1000, true));
    this.number.addEventListener("change", () => this.number.value !== "" && this.set(Number(this.number.value)));
    this.figures = h("dl", { class: "facts", "aria-live": "polite" });
    this.note = h("p", { class: "hint" });
    this.apply = h("button", { type: "button", class: "primary", onclick: () => this.confirm() }, "Apply …");
    this.plot = this.ratesPlot();
    put(
      body,
      h("p", { class: "hint" }, live === null ? "No threshold is in force." : `In force: ${score(live)}. Move the slider to see what another one would cost.`),
      h(
        "div",
        { class: "threshold-row" },
        this.range,
        this.number,
        live !== null && h("button", { type: "button", onclick: () => this.set(live) }, "Back to the one in force"),
        isOperator && this.apply,
      ),
      h(
        "div",
        { class: "threshold-body" },
        h("div", {}, this.figures, this.note),
        this.plot && h("div", {}, h("p", { class: "legend" }, h("span", {}, "FNR: anomalies missed"), h("span", { class: "other" }, "FPR: normals flagged")), this.plot.plot),
      ),
    );
    this.set(live ?? points[Math.floor(points.length / 2)].threshold);
  }

  /** The threshold of a place on the slider, 0 to 1. */
  thresholdAt(place) {
    return this.low + (this.high - this.low) * place ** this.bend;
  }

  placeOf(threshold) {
    return Math.max((threshold - this.low) / (this.high - this.low || 1), 0) ** (1 / this.bend);
  }

  ratesPlot() {
    const line = (name) => this.points.filter((one) => Number.isFinite(one[name]) && one[name] !== null).map((one) => ({ x: this.placeOf(one.threshold), value: one[name], low: one[`${name}_low`], high: one[`${name}_high`] }));
    const [fnr, fpr] = [line("fnr"), line("fpr")];
    if (fnr.length < 2 || fpr.length < 2) return null;
    return linePlot({
      label: "FNR and FPR over the threshold, with 95 % intervals",
      series: [
        { style: "one", points: fnr },
        { style: "other", points: fpr },
      ],
      range: [0, 1],
      show: (share) => percent(share, 0),
      showX: (place) => score(this.thresholdAt(place)),
      height: 210,
    });
  }

  /** `isSlid`: the slider says so, and stays where it is: where the scale is fine, several of its steps round to one threshold. */
  set(threshold, isSlid = false) {
    if (!Number.isFinite(threshold)) return;
    this.threshold = threshold;
    if (!isSlid) this.range.value = Math.round(STEPS * this.placeOf(threshold));
    this.range.setAttribute("aria-valuetext", score(threshold));
    this.number.value = threshold.toFixed(3);
    this.plot?.setMark(this.placeOf(threshold));
    this.apply.disabled = this.live !== null && Math.abs(threshold - this.live) < 1e-9;
    this.show(between(this.points, threshold));
    this.askExact(threshold);
  }

  /** The curve's figures are exact at its points only. */
  askExact(threshold) {
    clearTimeout(this.timer);
    this.ticket += 1;
    const ticket = this.ticket;
    this.timer = setTimeout(async () => {
      try {
        const found = await getOptional(`${this.path}/threshold-preview${query({ threshold })}`);
        if (found && ticket === this.ticket) this.show(found);
      } catch {
        // The figures of the curve stay.
      }
    }, REST_MS);
  }

  show(found) {
    this.preview = found;
    const fact = (name, id, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, h("span", { class: "figure", id }, value), more && h("small", {}, more)));
    const range = (name, show) => (isNumber(found[`${name}_low`]) ? `95 %: ${show(found[`${name}_low`])} – ${show(found[`${name}_high`])}` : null);
    put(
      this.figures,
      fact("Alarms a day", "alarms", isNumber(found.alarms_per_day) ? amount(found.alarms_per_day) : "–", range("alarms_per_day", amount) ?? found.alarms_from),
      fact("Label minutes a day", "minutes", isNumber(found.label_minutes_per_day) ? amount(found.label_minutes_per_day) : "–", isNumber(found.seconds_per_verdict) ? `at ${score(found.seconds_per_verdict)} s each` : null),
      fact("FNR, missed", "fnr", isNumber(found.fnr) ? percent(found.fnr) : "–", range("fnr", percent)),
      fact("FPR, false alarms", "fpr", isNumber(found.fpr) ? percent(found.fpr) : "–", range("fpr", percent)),
      fact("Precision", "precision", isNumber(found.precision) ? percent(found.precision) : "–", "of the alarms at the base rate"),
      fact("Base rate", "base-rate", isNumber(found.base_rate) ? percent(found.base_rate, 2) : "–", isNumber(found.base_rate_low) ? `${percent(found.base_rate_low, 2)} – ${percent(found.base_rate_high, 2)}, ${count(found.verdicts)} verdicts` : null),
    );
    const basis = isNumber(found.normals) ? `FNR and FPR from ${count(found.normals)} normal and ${count(found.anomalies)} anomalous items of the validation set. ` : "";
    const days = isNumber(found.days_measured) ? `Alarms ${found.alarms_from ?? "not known"}${found.alarms_from ? ` over ${score(found.days_measured)} days` : ""}. ` : "";
    this.note.textContent = `${found.reason ? `${found.reason} ` : ""}${basis}${days}`;
  }

  async confirm() {
    const { threshold, preview } = this;
    const costs = isNumber(preview.alarms_per_day) ? `About ${amount(preview.alarms_per_day)} alarms a day${isNumber(preview.label_minutes_per_day) ? `, ${amount(preview.label_minutes_per_day)} minutes of labelling` : ""}.` : "How many alarms that makes is not known.";
    const isMeant = await confirmed({
      title: `Set ${this.camera} to a threshold of ${score(threshold)}?`,
      text: [costs, "The daemon signs a new bundle revision of the same weights with it and rolls it out; who asked stands in the audit log."],
      action: "Apply",
    });
    if (!isMeant) return;
    try {
      await call("POST", `${this.path}/threshold`, { threshold });
      say("Asked. What becomes of it stands under requests.", "good");
      this.asked();
    } catch (error) {
      say(error.message, "bad");
    }
  }
}

/** Such that half of the alarms are gone in the middle of the slider. */
function bendOf(points, low, high) {
  const half = points.find((point) => point.alarms_per_day !== null && point.alarms_per_day <= points[0].alarms_per_day / 2);
  const share = half ? Math.max((half.threshold - low) / (high - low || 1), 1e-3) : 0.5;
  return Math.min(Math.max(Math.log(share) / Math.log(0.5), 1), BEND_MAX);
}

const isNumber = (value) => Number.isFinite(value);

const amount = (value) => (value >= 100 ? count(Math.round(value)) : value.toFixed(value >= 10 ? 0 : 1));

/** Figures between two points of the curve, linear. */
export function between(points, threshold) {
  const at = points.findIndex((point) => point.threshold >= threshold);
  if (at <= 0) return at === 0 ? points[0] : points.at(-1);
  const [one, other] = [points[at - 1], points[at]];
  const share = (threshold - one.threshold) / (other.threshold - one.threshold || 1);
  const found = { ...other };
  for (const name of FIGURES) {
    if (isNumber(one[name]) && isNumber(other[name])) found[name] = one[name] + share * (other[name] - one[name]);
  }
  return found;
}
