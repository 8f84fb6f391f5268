// Verdicts on their way to the host. A verdict is kept in the browser's storage before it is sent and until the host has it, so that a
// reload, a lost connection or a host that starts again costs none; its request key makes that sending it twice counts once.

import { call, requestKey } from "./api.js";

const PREFIX = "alfred.outbox.";
const RETRY_MS_MIN = 250;
const RETRY_MS_MAX = 8_000;

export class Outbox {
  #reviewer;
  #entries;
  #isSending = false;
  #timer = null;
  #retryMs = RETRY_MS_MIN;
  #listeners = new Set();
  #isClosed = false;

  constructor(reviewer) {
    this.#reviewer = reviewer;
    this.#entries = load(reviewer);
    this.#flush();
  }

  /** `listener(kind, entry, detail)`: kind is "change", "saved" (detail: the outcome) or "refused" (detail: the reason). Returns what ends it. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell(...what) {
    for (const listener of this.#listeners) listener(...what);
  }

  /** How many wait. */
  get length() {
    return this.#entries.length;
  }

  /** Whether an attempt failed and the next one is being waited for. */
  get isWaiting() {
    return this.#timer !== null;
  }

  /** Whether a verdict about this item waits. */
  holds(item) {
    return this.#entries.some((entry) => entry.item === item);
  }

  /** Keeps and sends a verdict ({verdict, seconds, strategy, with_similar}); returns its request key. */
  addVerdict(item, said) {
    return this.#add({ item, said });
  }

  /** Takes a verdict back: by its label where that is known, else by the request that made it. */
  addUndo(item, { label = null, request = null }) {
    return this.#add({ item, undoes: { label, request } });
  }

  /** Sends no more; what waits stays in storage. */
  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #add(what) {
    const entry = { ...what, request: requestKey(), at: Date.now(), order: nextOrder(this.#entries) };
    this.#entries.push(entry);
    store(this.#reviewer, entry);
    this.#tell("change", entry);
    this.#flush();
    return entry.request;
  }

  async #flush() {
    if (this.#isSending || this.#isClosed) return;
    this.#isSending = true;
    clearTimeout(this.#timer);
    this.#timer = null;
    while (this.#entries.length > 0 && !this.#isClosed) {
      const entry = this.#entries[0];
      try {
        const outcome = await send(entry);
        this.#retryMs = RETRY_MS_MIN;
        this.#resolve(entry.request, outcome.label);
        this.#remove(entry);
        this.#tell("saved", entry, outcome);
      } catch (error) {
        if (error.status === 401) break;
        if (error.isPassing ?? true) {
          this.#timer = setTimeout(() => {
            this.#timer = null;
            this.#flush();
          }, this.#retryMs);
          this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS_MAX);
          break;
        }
        this.#remove(entry);
        this.#drop(entry.request);
        this.#tell("refused", entry, error.message);
      }
    }
    this.#isSending = false;
    this.#tell("change", null);
  }

  /** An undo that knew only the request of its verdict learns the label. */
  #resolve(request, label) {
    for (const entry of this.#entries) {
      if (entry.undoes?.request === request) {
        entry.undoes = { label, request: null };
        store(this.#reviewer, entry);
      }
    }
  }

  /** What was refused needs no undo. */
  #drop(request) {
    for (const entry of this.#entries.filter((entry) => entry.undoes?.request === request)) this.#remove(entry);
  }

  #remove(entry) {
    this.#entries = this.#entries.filter((other) => other !== entry);
    try {
      localStorage.removeItem(key(this.#reviewer, entry));
    } catch {
      // It was never stored then.
    }
  }
}

function send(entry) {
  if (entry.undoes) return call("POST", "/api/undo", { label: entry.undoes.label, request: entry.request });
  return call("PUT", `/api/items/${entry.item}/verdict`, { ...entry.said, request: entry.request });
}

const key = (reviewer, entry) => `${PREFIX}${encodeURIComponent(reviewer)}.${entry.request}`;

function store(reviewer, entry) {
  try {
    localStorage.setItem(key(reviewer, entry), JSON.stringify(entry));
  } catch {
    // Storage is full or blocked: the verdict is still sent, only a reload in this moment would lose it.
  }
}

function nextOrder(entries) {
  return entries.reduce((highest, entry) => Math.max(highest, entry.order), Date.now()) + 1;
}

function load(reviewer) {
  const own = `${PREFIX}${encodeURIComponent(reviewer)}.`;
  const found = [];
  try {
    for (let at = 0; at < localStorage.length; at += 1) {
      const name = localStorage.key(at);
      if (!name.startsWith(own)) continue;
      const entry = JSON.parse(localStorage.getItem(name));
      if (Number.isSafeInteger(entry?.item) && typeof entry.request === "string") found.push(entry);
    }
  } catch {
    // Nothing readable waits.
  }
  return found.sort((one, other) => one.order - other.order);
}
