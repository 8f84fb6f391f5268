// Numbers, times and names for people.

const NUMBER = new Intl.NumberFormat("en");

export const count = (value) => (value === null || value === undefined ? "–" : NUMBER.format(value));

export const score = (value) => (Number.isFinite(value) ? value.toFixed(Math.abs(value) >= 100 ? 0 : 2) : "–");

/** A share as percent. */
export const percent = (value, digits = 1) => (Number.isFinite(value) ? `${(100 * value).toFixed(digits)} %` : "–");

/** A value with its interval. */
export const interval = (value, low, high, show = percent) =>
  Number.isFinite(low) && Number.isFinite(high) ? `${show(value)} (${show(low)} – ${show(high)})` : show(value);

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1_000],
];

/** A span of time, in its two largest units at most. */
export function span(ms) {
  if (!Number.isFinite(ms)) return "–";
  const found = UNITS.find(([, unit]) => ms >= unit) ?? UNITS[3];
  const value = ms / found[1];
  return `${value < 10 && found[0] !== "s" ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)} ${found[0]}`;
}

/** How long ago a moment was. */
export function ago(atMs, nowMs = Date.now()) {
  if (!Number.isFinite(atMs) || atMs === null) return "never";
  return nowMs - atMs < 2_000 ? "now" : `${span(nowMs - atMs)} ago`;
}

const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const moment = (atMs) => (Number.isFinite(atMs) && atMs !== null ? MOMENT.format(atMs) : "–");

/** Bytes in binary units. */
export function bytes(value) {
  if (!Number.isFinite(value) || value === null) return "–";
  if (value < 1024) return `${value} B`;
  const at = value < 1024 ** 2 ? 1 : value < 1024 ** 3 ? 2 : 3;
  return `${(value / 1024 ** at).toFixed(1)} ${["", "KiB", "MiB", "GiB"][at]}`;
}

export const plural = (amount, one, many = `${one}s`) => `${count(amount)} ${amount === 1 ? one : many}`;

/** `snake_case` as words. */
export const words = (text) => String(text ?? "–").replaceAll("_", " ");
