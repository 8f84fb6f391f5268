// Tables of plain rows.

import { h } from "./dom.js";

/** `columns`: [{title, cell(row), isNumber}]. Without rows: the text `empty`. */
export function table(columns, rows, empty, caption) {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const kind = ({ isNumber }) => (isNumber ? "number" : null);
  return h(
    "div",
    { class: "table-box", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "visually-hidden" }, caption),
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { class: kind(column), scope: "col" }, column.title)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, columns.map((column) => h("td", { class: kind(column) }, column.cell(row)))))),
    ),
  );
}

/** A card with a heading. */
export function card(title, attributes, ...children) {
  const { class: more = "", ...rest } = attributes;
  return h("section", { class: `card ${more}`, "aria-label": title, ...rest }, h("h2", {}, title), children);
}
