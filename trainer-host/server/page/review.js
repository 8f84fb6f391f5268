// The review screen: one item plays, one key judges it, the next one is there.

import { call, get, requestKey } from "./api.js";
import { frameAt, partOf } from "./clip.js";
import { Curve } from "./curve.js";
import { h, put } from "./dom.js";
import { detailsOf, stageTitle } from "./details.js";
import { filterPanel } from "./filters.js";
import { itemList } from "./item_list.js";
import { meterPanel } from "./meter.js";
import { Player } from "./player.js";
import { ReviewQueue } from "./queue.js";
import { openSnooze } from "./snooze.js";
import { swipes } from "./swipe.js";
import { say } from "./toast.js";
import { Transport } from "./transport.js";
import { VERDICTS, VerdictBar } from "./verdict_bar.js";

/** How often the queue is asked for news, and the meter for figures. */
const NEWS_MS = 20_000;
/** A try at a clip that failed for a passing reason is repeated after this. */
const RETRY_MS = 1_500;

class Review {
  constructor(main, { parameters, outbox }) {
    this.outbox = outbox;
    this.queue = new ReviewQueue((item) => outbox.holds(item));
    this.shownMs = null;
    this.hiddenMs = 0;
    this.hiddenSinceMs = null;
    this.clipShown = null;
    this.ticket = 0;
    this.build(main, parameters);
    this.player = new Player(this.canvas, (timeMs, clip, isFirst) => this.onTime(timeMs, clip, isFirst));
    this.transport.attach(this.player);
    this.curve = new Curve(this.curveCanvas, this.head, (timeMs) => this.player.seek(timeMs));
    this.stops = [this.listen(), outbox.listen((...what) => this.onOutbox(...what))];
    this.timer = setInterval(() => this.news(), NEWS_MS);
    this.open(this.filters.value);
  }

  build(main, parameters) {
    this.filters = filterPanel(parameters, (filter) => this.open(filter));
    this.list = itemList((id) => this.queue.goTo(id) && this.showCurrent());
    this.meter = meterPanel();
    this.transport = new Transport();
    this.bar = new VerdictBar({ judge: (verdict) => this.judge(verdict), skip: () => this.skip(), undo: () => this.undo(), snooze: () => this.snooze() });
    this.canvas = h("canvas", { class: "stage", role: "img", "aria-label": "Skeletons of the item" });
    this.curveCanvas = h("canvas", { class: "curve", role: "img", "aria-label": "Anomaly score over time" });
    this.head = h("div", { class: "curve-head", hidden: true });
    this.badge = h("span", { class: "badge" });
    this.notice = h("div", { class: "notice", hidden: true });
    this.hint = h("div", { class: "swipe-hint", "aria-hidden": "true" });
    this.title = h("div", { class: "stage-title" });
    this.details = h("div", { class: "details" });
    this.curveNote = h("p", { class: "curve-note" });
    this.stage = h("div", { class: "stage-box" }, this.canvas, this.badge, this.hint, this.notice);
    this.announcer = h("p", { class: "visually-hidden", "aria-live": "polite" });
    put(
      main,
      h("h1", { class: "visually-hidden" }, "Review"),
      h("aside", { class: "side queue-side", "aria-label": "Queue" }, this.filters.element, this.list.element),
      h(
        "section",
        { class: "work", "aria-label": "Item" },
        this.title,
        this.stage,
        h("div", { class: "curve-box" }, this.curveCanvas, this.head),
        this.curveNote,
        this.transport.element,
        this.bar.element,
        this.announcer,
      ),
      h("aside", { class: "side detail-side", "aria-label": "Details" }, this.details, this.meter.element),
    );
  }

  /** Keys, touch, theme, and the time that the page is out of sight. Returns what undoes it. */
  listen() {
    const onKey = (event) => this.onKey(event);
    const onTheme = () => {
      this.player.readColours();
      this.curve.readColours();
    };
    const onVisibility = () => {
      if (document.hidden) this.hiddenSinceMs = performance.now();
      else if (this.hiddenSinceMs !== null) {
        this.hiddenMs += performance.now() - this.hiddenSinceMs;
        this.hiddenSinceMs = null;
      }
    };
    document.addEventListener("keydown", onKey);
    document.addEventListener("alfred-theme", onTheme);
    document.addEventListener("visibilitychange", onVisibility);
    swipes(this.stage, this.hint, { left: "normal", right: "anomalous", up: "unsure", down: "skip" }, (what) =>
      what === "skip" ? this.skip() : this.judge(what),
    );
    return () => {
      document.removeEventListener("keydown", onKey);
      document.removeEventListener("alfred-theme", onTheme);
      document.removeEventListener("visibilitychange", onVisibility);
    };
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
    const target = event.target;
    const isRange = target.matches?.("input[type=range]");
    if (target.matches?.("input:not([type=range]):not([type=checkbox]), select, textarea")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    // A button that has the focus keeps its own keys, a slider its arrows.
    if ((event.key === " " || event.key === "Enter") && target.closest?.("button, a, summary, label, input[type=checkbox]")) return;
    if (isRange && event.key.startsWith("Arrow")) return;
    const action = this.actionOf(event.key, event.repeat);
    if (!action) return;
    event.preventDefault();
    action();
  }

  actionOf(key, isRepeat) {
    const verdict = VERDICTS.find((one) => one.key === key.toLowerCase());
    // A key that is held down must not judge the whole queue.
    if (verdict) return () => isRepeat || this.judge(verdict.verdict);
    return {
      s: () => isRepeat || this.skip(),
      z: () => isRepeat || this.undo(),
      ArrowLeft: () => this.move(-1),
      ArrowRight: () => this.move(1),
      ArrowUp: () => this.transport.changeSpeed(1),
      ArrowDown: () => this.transport.changeSpeed(-1),
      " ": () => this.transport.togglePlay(),
      ",": () => this.player.step(-1),
      ".": () => this.player.step(1),
      t: () => this.transport.toggleTrails(),
      c: () => this.transport.toggleAll(),
      g: () => this.bar.toggleSimilar(),
      f: () => this.filters.focus(),
    }[key.length === 1 ? key.toLowerCase() : key];
  }

  async open(filter) {
    this.tell("Loading the queue …");
    try {
      await this.queue.open(filter);
      this.showCurrent();
    } catch (error) {
      this.player.show(null);
      this.tell(error.message, () => this.open(filter));
    }
  }

  /** Shows the item whose turn it is; at once when its clip is here. */
  async showCurrent() {
    this.ticket += 1;
    const ticket = this.ticket;
    const item = this.queue.current;
    this.list.show(this.queue);
    this.bar.show(item);
    this.clipShown = null;
    if (!item) {
      this.showNothing();
      return;
    }
    this.showItem(item);
    try {
      const clip = await this.queue.clip(item.id);
      if (ticket !== this.ticket) return;
      this.showClip(clip);
      this.queue.prefetch();
    } catch (error) {
      if (ticket !== this.ticket) return;
      this.player.show(null);
      this.tell(error.message, () => this.showCurrent());
      if (error.isPassing) setTimeout(() => ticket === this.ticket && this.showCurrent(), RETRY_MS);
    }
  }

  showNothing() {
    put(this.title);
    put(this.details);
    this.player.show(null);
    this.curve.show(null);
    this.badge.textContent = "";
    this.curveNote.textContent = "";
    this.canvas.dataset.item = "";
    this.tell("Nothing waits under these filters. New events appear by themselves.");
    this.meter.refresh(null);
  }

  showItem(item) {
    put(this.title, stageTitle(item));
    put(this.details, detailsOf(item));
  }

  showClip(clip) {
    this.notice.hidden = true;
    this.clipShown = clip;
    this.curve.show(clip);
    this.player.show(clip);
    this.canvas.dataset.item = clip.item.id;
    this.canvas.dataset.painted = (Number(this.canvas.dataset.painted ?? 0) + 1).toString();
    put(this.details, detailsOf(this.queue.current ?? clip.item, clip));
    const missing = clip.curve.scores.length === 0 && clip.item.kind === "event";
    this.curveNote.textContent = missing ? (clip.curve.reason ?? "The device sent the event's peak and mean, not the score of each frame.") : "";
    [this.shownMs, this.hiddenMs, this.hiddenSinceMs] = [performance.now(), 0, document.hidden ? performance.now() : null];
    if (clip.length === 0) this.tell("This item has no readable skeletons. Skip it, or judge it as unsure.");
    this.meter.refresh(clip.item.camera);
  }

  /** A text over the stage, with a button when something can be tried again. */
  tell(text, again) {
    put(this.notice, h("p", {}, text), again && h("button", { type: "button", onclick: again }, "Try again"));
    this.notice.hidden = false;
  }

  seconds() {
    if (this.shownMs === null) return 0;
    const hiddenMs = this.hiddenMs + (this.hiddenSinceMs === null ? 0 : performance.now() - this.hiddenSinceMs);
    return Math.max((performance.now() - this.shownMs - hiddenMs) / 1000, 0);
  }

  judge(verdict) {
    const item = this.queue.current;
    // Nobody judges what has not been shown.
    if (!item || this.clipShown?.item.id !== item.id) return;
    const said = { verdict, seconds: Math.round(this.seconds() * 1000) / 1000, strategy: this.queue.strategy };
    if (this.bar.isForSimilar) said.with_similar = true;
    const request = this.outbox.addVerdict(item.id, said);
    this.queue.take({ request });
    this.flash(verdict);
    this.announcer.textContent = `${verdict}. ${this.queue.remaining} left.`;
    this.meter.count(said.seconds);
    this.advance();
  }

  skip() {
    const item = this.queue.current;
    if (!item) return;
    this.queue.take({ isSkip: true });
    // Others may judge it meanwhile; that this browser has passed it does not depend on the host.
    call("PUT", `/api/items/${item.id}/skip`, { is_skipped: true }).catch(() => {});
    this.announcer.textContent = `Skipped. ${this.queue.remaining} left.`;
    this.advance();
  }

  advance() {
    this.showCurrent();
    this.queue
      .refill()
      .then((changed) => changed && this.afterNews())
      .catch(() => {});
  }

  /** New items came: the list shows them, and the stage when it was empty. */
  afterNews() {
    if (!this.clipShown && this.queue.current) this.showCurrent();
    else this.list.show(this.queue);
  }

  async news() {
    if (document.hidden) return;
    try {
      await this.queue.refill(true);
      this.afterNews();
    } catch {
      // The next round asks again; what is on the screen stays.
    }
  }

  async undo() {
    const last = this.queue.takeBack();
    if (last?.isSkip) {
      call("PUT", `/api/items/${last.item.id}/skip`, { is_skipped: false }).catch(() => {});
      this.showCurrent();
      return;
    }
    if (last) {
      const { label = null, request } = last;
      this.outbox.addUndo(last.item.id, label === null ? { request } : { label });
      this.announcer.textContent = "Taken back.";
      this.showCurrent();
      return;
    }
    await this.undoEarlier();
  }

  /** Nothing was judged since the page came: the host knows what this reviewer said last. */
  async undoEarlier() {
    if (this.outbox.length > 0) {
      say("A verdict is still on its way; try again in a moment.");
      return;
    }
    try {
      const outcome = await call("POST", "/api/undo", { label: null, request: requestKey() });
      this.queue.bring(await get(`/api/items/${outcome.item}`));
      this.showCurrent();
      say("The latest verdict was taken back.", "good");
    } catch (error) {
      say(error.message, error.status === 409 ? "plain" : "bad");
    }
  }

  onOutbox(kind, entry, detail) {
    if (kind === "saved" && entry.said) {
      this.queue.confirm(entry.request, detail.label);
      if (detail.labelled > 1) say(`${detail.labelled} alike were judged together.`, "good");
    }
    if (kind === "refused" && entry.said) {
      this.queue.refuse(entry.request);
      this.news();
    }
  }

  snooze() {
    const item = this.queue.current;
    if (item) openSnooze(item, () => this.queue.open(this.filters.value).then(() => this.showCurrent()));
  }

  move(by) {
    if (this.queue.move(by)) this.showCurrent();
  }

  onTime(timeMs, clip, isFirst) {
    const frame = clip ? frameAt(clip, timeMs) : -1;
    this.transport.time(timeMs, clip, frame, isFirst);
    this.curve?.setTime(timeMs);
    if (!clip) return;
    const part = frame >= 0 ? partOf(clip, clip.frames[frame]) : "nobody here";
    if (this.badge.textContent === part) return;
    this.badge.textContent = part;
    this.badge.dataset.part = part;
  }

  /** The stage's edge shows for a moment what was said. */
  flash(verdict) {
    this.stage.dataset.flash = verdict;
    clearTimeout(this.flashTimer);
    this.flashTimer = setTimeout(() => delete this.stage.dataset.flash, 220);
  }

  close() {
    this.ticket += 1;
    clearInterval(this.timer);
    clearTimeout(this.flashTimer);
    for (const stop of this.stops) stop();
    this.player.close();
    this.curve.close();
    this.queue.close();
    this.meter.close();
  }
}

/** Opens the screen; returns what closes it. */
export function reviewScreen(main, place) {
  const review = new Review(main, place);
  return () => review.close();
}
