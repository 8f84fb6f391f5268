// The buttons that judge, skip and take back; for touch, and to show the keys.

import { h, setting } from "./dom.js";

/** What can be said. The words below depend on whether the item was flagged. */
export const VERDICTS = [
  { verdict: "normal", key: "n", title: "Normal", event: "false positive", sample: "rightly not flagged" },
  { verdict: "anomalous", key: "a", title: "Anomalous", event: "true positive", sample: "missed by the model" },
  { verdict: "unsure", key: "u", title: "Unsure", event: "cannot be told", sample: "cannot be told" },
];

export class VerdictBar {
  #buttons;
  #skip;
  #similarBox = h("input", { type: "checkbox", id: "with-similar" });
  #similarText = h("span");
  #similar = h("label", { class: "similar", hidden: true }, this.#similarBox, this.#similarText, h("kbd", {}, "G"));
  #snooze;

  /** `on`: {judge(verdict), skip(), undo(), snooze()}. */
  constructor(on) {
    this.#buttons = VERDICTS.map((one) => {
      const meaning = h("small", {}, one.event);
      const line = h("span", { class: "verdict-line" }, h("span", {}, one.title), h("kbd", {}, one.key.toUpperCase()));
      const attributes = { type: "button", class: `verdict ${one.verdict}`, "data-verdict": one.verdict, onclick: () => on.judge(one.verdict) };
      return { ...one, meaning, button: h("button", attributes, line, meaning) };
    });
    const other = (id, text, key, onclick) =>
      h("button", { type: "button", class: "verdict other", id, onclick }, h("span", { class: "verdict-line" }, h("span", {}, text), h("kbd", {}, key)));
    this.#skip = other("skip", "Skip", "S", on.skip);
    this.#snooze = h("button", { type: "button", class: "quiet", id: "snooze", onclick: on.snooze }, "Snooze a recurring false alarm …");
    this.element = h(
      "div",
      { class: "verdict-area" },
      h("div", { class: "verdicts", role: "group", "aria-label": "Verdict" }, this.#buttons.map(({ button }) => button), this.#skip, other("undo", "Undo", "Z", on.undo)),
      h("div", { class: "verdict-extras" }, this.#similar, this.#snooze),
    );
  }

  /** Whether the verdict is meant for the similar items too. */
  get isForSimilar() {
    return !this.#similar.hidden && this.#similarBox.checked;
  }

  toggleSimilar() {
    if (this.#similar.hidden) return;
    this.#similarBox.checked = !this.#similarBox.checked;
    setting.set("similar", this.#similarBox.checked);
  }

  /** Fits the buttons to an item; null: there is none. */
  show(item) {
    for (const one of this.#buttons) {
      one.button.disabled = item === null;
      if (item) one.meaning.textContent = one[item.kind];
    }
    this.#skip.disabled = item === null;
    const similar = item?.similar ?? 0;
    this.#similar.hidden = similar === 0;
    this.#similarBox.checked = similar > 0 && setting.get("similar", true);
    this.#similarText.textContent = similar === 1 ? "and the one like it" : `and the ${similar} like it`;
    this.#snooze.hidden = item?.kind !== "event";
  }
}
