// Snooze: events like this one stay out of the queue for some hours. The rule is visible on the camera's page, and it ends by itself.

import { call } from "./api.js";
import { h } from "./dom.js";
import { say } from "./toast.js";

const HOURS = [
  ["2", "2 hours"],
  ["8", "8 hours"],
  ["24", "1 day"],
  ["72", "3 days"],
  ["168", "1 week"],
];

/** Opens the dialog; `done()` when the rule stands. */
export function openSnooze(item, done) {
  const hours = h("select", { id: "snooze-hours", value: "24" }, HOURS.map(([value, text]) => h("option", { value }, text)));
  const reason = h("input", { id: "snooze-reason", maxlength: 200, required: true, placeholder: "for example: the flag before the gate" });
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-labelledby": "snooze-title" },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "snooze-title" }, `Snooze at ${item.camera}`),
      h("p", {}, "Events at this place with a score like this one's stay out of the queue until the rule ends. Nothing is deleted; the rule is listed on the camera's page and can be ended there."),
      h("label", { for: "snooze-hours" }, "For"),
      hours,
      h("label", { for: "snooze-reason" }, "Because"),
      reason,
      h("div", { class: "actions" }, h("button", { value: "no", formnovalidate: true }, "Cancel"), h("button", { class: "primary", value: "yes" }, "Snooze")),
    ),
  );
  dialog.addEventListener("close", async () => {
    const isMeant = dialog.returnValue === "yes";
    const rule = { item: item.id, hours: Number(hours.value), reason: reason.value.trim() };
    dialog.remove();
    if (!isMeant) return;
    try {
      const made = await call("POST", "/api/snoozes", rule);
      say(`Snoozed${made.hides ? `: ${made.hides} out of the queue now` : ""}.`, "good");
      done();
    } catch (error) {
      say(error.message, "bad");
    }
  });
  document.body.append(dialog);
  dialog.showModal();
}
