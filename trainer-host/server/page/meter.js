// The workload meter: what the day's verdicts cost, what the queue policy saved, what the budget leaves.

import { get, getOptional, query, session } from "./api.js";
import { h, put } from "./dom.js";
import { count, percent, score } from "./format.js";

/** The host is asked at most this often. */
const PERIOD_MS = 15_000;

function midnight() {
  const now = new Date();
  return new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
}

export function meterPanel() {
  const body = h("dl", {});
  const element = h("section", { class: "meter", "aria-label": "Workload" }, h("h2", {}, "Your workload today"), body);
  let askedMs = 0;
  let figures = null;
  let isClosed = false;
  // Verdicts since the host was asked.
  let [verdicts, seconds] = [0, 0];

  const show = () => {
    if (!figures) return;
    const [all, took] = [figures.verdicts + verdicts, figures.seconds + seconds];
    const { budget, full } = figures;
    const row = (name, value, title) => value !== null && [h("dt", {}, name), h("dd", { title }, value)];
    put(
      body,
      row("Verdicts", h("span", { class: "figure", id: "meter-verdicts" }, count(all))),
      row("Seconds each", all > 0 ? score(took / all) : "–"),
      row("Per hour of work", figures.perHour === null ? (took > 0 ? count(Math.round((3600 * all) / took)) : "–") : count(Math.round(figures.perHour))),
      row("Saved against full AL", full ? percent(full.saved_share ?? NaN, 0) : null, full && `full AL would have asked ${count(full.flagged)} times, the queue asked ${count(full.asked)} times`),
      row("Left in the budget", budget ? budgetLine(budget, verdicts) : null),
    );
  };

  return {
    element,
    /** A verdict was given here. */
    count(took) {
      verdicts += 1;
      seconds += took;
      show();
    },
    /** Asks the host again, when that is due. */
    async refresh(camera) {
      if (Date.now() - askedMs < PERIOD_MS) return;
      askedMs = Date.now();
      try {
        const found = await read(camera);
        if (isClosed) return;
        [figures, verdicts, seconds] = [found, 0, 0];
        show();
      } catch {
        // The old figures stay; the next item asks again.
      }
    },
    close() {
      isClosed = true;
    },
  };
}

function budgetLine({ labels_per_day: perDay, left_today: left }, given) {
  return perDay === null ? "no budget" : `${count(Math.max((left ?? perDay) - given, 0))} of ${count(perDay)}`;
}

async function read(camera) {
  const since = midnight();
  const meter = await getOptional(`/api/meter${query({ since_ms: since, camera })}`);
  const reviewers = meter?.reviewers ?? (await get(`/api/workload${query({ since_ms: since })}`));
  const own = reviewers.find(({ reviewer }) => reviewer === session?.reviewer) ?? { verdicts: 0, seconds: 0 };
  return {
    verdicts: own.verdicts,
    seconds: own.seconds,
    perHour: reviewers.length === 1 ? (meter?.verdicts_per_hour ?? null) : null,
    full: meter?.full_al ?? null,
    budget: meter?.budgets?.find((one) => one.camera === camera) ?? null,
  };
}
