// The keys, on "?".

import { h } from "./dom.js";

const KEYS = [
  ["N", "normal: a false positive"],
  ["A", "anomalous: a true positive"],
  ["U", "unsure: cannot be told from the skeletons"],
  ["S", "skip: somebody else, or later"],
  ["Z", "undo: take the last one back"],
  ["← →", "previous, next item without a verdict"],
  ["Space", "play, pause"],
  [", .", "one frame back, on"],
  ["↑ ↓", "faster, slower"],
  ["T", "trails on, off"],
  ["C", "everybody on the stage, or close to the flagged person"],
  ["G", "judge similar ones together"],
  ["F", "to the filters"],
  ["?", "this help; Esc closes it"],
];

/** Opens the help; once. */
export function openHelp() {
  if (document.querySelector("dialog[open]")) return;
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-labelledby": "help-title" },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "help-title" }, "Keys"),
      h(
        "dl",
        { class: "keys" },
        KEYS.map(([key, meaning]) => [h("dt", {}, key.split(" ").map((one) => h("kbd", {}, one))), h("dd", {}, meaning)]),
      ),
      h("p", { class: "hint" }, "On a touch screen: swipe the stage left for normal, right for anomalous, up for unsure, down to skip."),
      h("div", { class: "actions" }, h("button", { class: "primary" }, "Close")),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
