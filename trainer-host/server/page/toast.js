// Short messages at the edge of the page; also read out.

import { h } from "./dom.js";

const SHOWN_MS = 6_000;
const SHOWN_MAX = 3;

let shelf = null;

/** Shows a message; `kind` is "good", "bad" or "plain". */
export function say(message, kind = "plain") {
  if (!shelf) {
    shelf = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(shelf);
  }
  const toast = h("p", { class: `toast ${kind}` }, message);
  shelf.append(toast);
  while (shelf.childElementCount > SHOWN_MAX) shelf.firstElementChild.remove();
  setTimeout(() => toast.remove(), SHOWN_MS);
}

/** Asks before something that cannot be taken back lightly; resolves to whether it was confirmed. */
export function confirmed({ title, text, action }) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { class: "dialog", "aria-labelledby": "dialog-title" },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "dialog-title" }, title),
        text.map((line) => h("p", {}, line)),
        h("div", { class: "actions" }, h("button", { value: "no" }, "Cancel"), h("button", { class: "primary", value: "yes" }, action)),
      ),
    );
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
