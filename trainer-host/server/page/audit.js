// Who did what, the newest first; for operators.

import { get, query } from "./api.js";
import { h, put } from "./dom.js";
import { moment } from "./format.js";
import { card, table } from "./table.js";

const COLUMNS = [
  { title: "When", cell: (line) => moment(line.at_ms) },
  { title: "Who", cell: (line) => h("span", { class: "wrap" }, line.who) },
  { title: "What", cell: (line) => h("span", { class: "wrap" }, line.what) },
  { title: "About", cell: (line) => h("span", { class: "wrap" }, line.about) },
];
/** Lines on the page; older ones are a button away. */
const LINES = 100;

/** Opens the screen; returns what closes it. */
export function auditScreen(main) {
  let isClosed = false;
  const body = h("div");
  put(main, h("div", { class: "page-head" }, h("h1", {}, "Audit log")), body);
  const load = async (before) => {
    try {
      const lines = await get(`/api/audit${query({ before })}`);
      if (isClosed) return;
      const shown = lines.slice(0, LINES);
      const older = shown.length === LINES && shown.length > 0;
      put(
        body,
        card("Who did what", { class: "wide" }, table(COLUMNS, shown, "Nothing yet.", "Audit log")),
        h(
          "div",
          { class: "actions" },
          before && h("button", { type: "button", onclick: () => load() }, "Newest"),
          older && h("button", { type: "button", onclick: () => load(shown.at(-1).id) }, "Older"),
        ),
      );
    } catch (error) {
      if (!isClosed) put(body, h("p", { class: "warning" }, error.status === 403 ? "The audit log is for operators." : error.message));
    }
  };
  load();
  return () => {
    isClosed = true;
  };
}
