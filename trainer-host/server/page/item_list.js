// The queue as a list; it shows the items around the one on the stage and never more than a few dozen elements.

import { h, put } from "./dom.js";
import { ago, count, score } from "./format.js";

/** Items that are listed: some before the current one, the rest after it. */
const BEFORE = 3;
const LISTED = 40;

/** `choose(id)` when somebody clicks an item. */
export function itemList(choose) {
  const heading = h("h2", {}, "Queue");
  const total = h("span", { class: "queue-count" });
  const list = h("ol", { class: "items" });
  const rest = h("p", { class: "soft rest" });
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-item]");
    if (button) choose(Number(button.dataset.item));
  });
  const element = h("div", { class: "queue" }, h("div", { class: "queue-head" }, heading, total), list, rest);
  return {
    element,
    show(queue) {
      const from = Math.max(queue.index - BEFORE, 0);
      const shown = queue.items.slice(from, from + LISTED);
      total.textContent = count(queue.remaining);
      put(list, shown.map((item) => entry(item, item === queue.current)));
      const more = queue.remaining - from - shown.length;
      const budget = queue.budget === null ? "" : `${count(queue.budget)} verdicts left in today's budget.`;
      rest.textContent = [more > 0 ? `and ${count(more)} more.` : "", budget].filter(Boolean).join(" ");
    },
  };
}

function entry(item, isCurrent) {
  const over = item.threshold === null ? null : item.score - item.threshold;
  const place = over === null ? 30 : Math.min(50 + 25 * Math.log2(1 + Math.max(over, 0)), 100);
  const bar = h("span", { class: "bar" }, h("span", { class: "bar-fill" }));
  bar.firstElementChild.style.width = `${place}%`;
  return h(
    "li",
    {},
    h(
      "button",
      { type: "button", "data-item": item.id, "aria-current": isCurrent ? "true" : null },
      h("span", { class: "item-line" }, h("span", { class: "item-camera" }, item.camera), h("span", { class: "soft" }, ago(item.wall_unix_ms ?? item.received_ms))),
      h("span", { class: "item-line" }, bar, h("span", { class: "item-score" }, score(item.score)), item.similar > 0 && h("span", { class: "chip small" }, `+${item.similar}`), item.kind === "sample" && h("span", { class: "chip small" }, "sample")),
    ),
  );
}
