// The items that wait for this reviewer: which one is on the screen, which ones come next, and their clips, fetched ahead.

import { call, get, query } from "./api.js";
import { clipOf } from "./clip.js";

/** Items of one answer; the host gives no more. */
const PAGE_ITEMS = 200;
/** With fewer left, the next ones are fetched. */
const REFILL_ITEMS = 30;
/** Clips that are fetched ahead of the item on the screen. */
const AHEAD = 5;
/** Clips that are kept; the oldest go. */
const CLIPS_MAX = 12;
/** Verdicts that can be taken back one after the other, and items that are kept out of later answers. */
const HISTORY_MAX = 200;

/** What asks for a camera: its own policy, and AL Light, whose band is the camera's. */
export const NEEDS_CAMERA = ["policy", "al_light"];

export class ReviewQueue {
  items = [];
  index = 0;
  /** How many wait in all; null when the host does not say. */
  waiting = null;
  /** Verdicts that the camera's budget leaves for today; null without one. */
  budget = null;
  #filter = {};
  #clips = new Map();
  #history = [];
  /** Judged or skipped here: an answer that was on its way then must not bring them back. */
  #done = new Set();
  #isPending;
  #isFetching = false;
  #generation = 0;

  /** `isPending(item)`: whether a verdict about it is still on its way. */
  constructor(isPending) {
    this.#isPending = isPending;
  }

  get current() {
    return this.items[this.index] ?? null;
  }

  get strategy() {
    return this.current?.strategy ?? (this.#filter.strategy === "policy" ? "newest" : this.#filter.strategy);
  }

  get canUndo() {
    return this.#history.length > 0;
  }

  /** Starts anew with another filter. */
  async open(filter) {
    this.#generation += 1;
    this.#filter = filter;
    this.items = [];
    this.index = 0;
    this.waiting = null;
    this.#isFetching = false;
    await this.#fetch();
  }

  /** Fetches more when few are left; true when something changed. */
  async refill(always = false) {
    if (!always && this.items.length - this.index > REFILL_ITEMS) return false;
    return this.#fetch();
  }

  async #fetch() {
    if (this.#isFetching) return false;
    this.#isFetching = true;
    const generation = this.#generation;
    try {
      const [found, headers] = await call("GET", `/api/queue${query(asked(this.#filter))}`, undefined, { wantsHeaders: true });
      if (generation !== this.#generation) return false;
      this.waiting = numberOf(headers.get("x-alfred-waiting"));
      this.budget = numberOf(headers.get("x-alfred-budget"));
      return this.#merge(found);
    } finally {
      if (generation === this.#generation) this.#isFetching = false;
    }
  }

  /** Takes the host's list, but leaves the item on the screen and those whose clips are there where they are. */
  #merge(found) {
    const fresh = found.filter((item) => !this.#done.has(item.id) && !this.#isPending(item.id));
    const near = this.items.slice(0, this.index + 1 + AHEAD);
    const known = new Set(near.map((item) => item.id));
    const before = this.items.length;
    const late = fresh.filter((item) => !known.has(item.id));
    // What nobody must judge any more goes, unless it is on the screen.
    const standing = new Set(fresh.map((item) => item.id));
    const kept = near.filter((item, at) => at === this.index || standing.has(item.id) || found.length >= PAGE_ITEMS);
    const shown = this.current;
    this.items = [...kept, ...late];
    this.index = Math.max(shown ? this.items.indexOf(shown) : 0, 0);
    return before !== this.items.length || late.length > 0;
  }

  /** How many wait, as far as is known, without those whose verdicts are on their way. */
  get remaining() {
    return this.waiting === null ? this.items.length : Math.max(this.waiting, this.items.length);
  }

  /** Takes the current item out after a verdict or a skip. */
  take(done) {
    const item = this.current;
    if (!item) return;
    this.items.splice(this.index, 1);
    if (this.index >= this.items.length) this.index = Math.max(this.items.length - 1, 0);
    this.#history.push({ item, ...done });
    this.#done.add(item.id);
    while (this.#history.length > HISTORY_MAX) this.#done.delete(this.#history.shift().item.id);
    if (this.waiting !== null && this.waiting > 0) this.waiting -= 1;
    if (this.budget !== null && this.budget > 0 && done.request) this.budget -= 1;
  }

  /** What was done last; it is in front again then. */
  takeBack() {
    const last = this.#history.pop();
    if (!last) return null;
    this.#restore(last.item);
    return last;
  }

  /** Puts an item in front, where a verdict of an earlier visit was taken back. */
  bring(item) {
    this.#restore(item);
  }

  #restore(item) {
    this.#done.delete(item.id);
    this.items = this.items.filter((other) => other.id !== item.id);
    this.items.splice(this.index, 0, item);
    if (this.waiting !== null) this.waiting += 1;
  }

  /** The host has the verdict: an undo can name its label. */
  confirm(request, label) {
    const found = this.#history.find((done) => done.request === request);
    if (found) found.label = label;
  }

  /** The host refused the verdict: the item waits again. */
  refuse(request) {
    const at = this.#history.findIndex((done) => done.request === request);
    if (at >= 0) this.#done.delete(this.#history.splice(at, 1)[0].item.id);
  }

  /** Goes to another item; true when there is one. */
  move(by) {
    const target = this.index + by;
    if (target < 0 || target >= this.items.length) return false;
    this.index = target;
    return true;
  }

  goTo(id) {
    const at = this.items.findIndex((item) => item.id === id);
    if (at >= 0) this.index = at;
    return at >= 0;
  }

  /** The clip of an item, from here or from the host. */
  clip(id) {
    let found = this.#clips.get(id);
    if (!found) {
      found = get(`/api/items/${id}/playback`).then(clipOf);
      // A failed attempt is not kept; whoever waits for it is told.
      found.catch(() => this.#clips.delete(id));
    }
    // The newest last, so that the oldest go first.
    this.#clips.delete(id);
    this.#clips.set(id, found);
    return found;
  }

  /** Fetches the clips of the next items and lets go of the oldest. */
  prefetch() {
    for (const item of this.items.slice(this.index, this.index + 1 + AHEAD).reverse()) this.clip(item.id).catch(() => {});
    const before = this.items[this.index - 1];
    if (before) this.clip(before.id).catch(() => {});
    while (this.#clips.size > CLIPS_MAX) this.#clips.delete(this.#clips.keys().next().value);
  }

  close() {
    this.#generation += 1;
    this.#clips.clear();
    this.items = [];
  }
}

/** The filter as the host takes it. */
function asked(filter) {
  const { age_h: ageHours, strategy, ...rest } = filter;
  const values = { ...rest, items_max: PAGE_ITEMS };
  if (strategy === "policy") values.by_policy = true;
  else values.strategy = strategy;
  if (ageHours) values.since_ms = Date.now() - ageHours * 3_600_000;
  return values;
}

function numberOf(text) {
  const value = text === null || text === "" ? NaN : Number(text);
  return Number.isFinite(value) ? value : null;
}
