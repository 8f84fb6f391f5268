// Plays a clip on a canvas: every person as a skeleton, the flagged one marked, with trails.

import { CONFIDENCE_MIN, KEYPOINTS, frameAt, partOf, placeOf } from "./clip.js";

/** Bones between COCO's key-points, far limbs first so that the trunk lies on top. */
const BONES = [
  [13, 15], [11, 13], [14, 16], [12, 14], [7, 9], [5, 7], [8, 10], [6, 8], [11, 12], [5, 11], [6, 12], [5, 6],
];
/** Key-points whose way is drawn: wrists and ankles of the flagged person. */
const TRAIL_POINTS = [9, 10, 15, 16];
/** How long a trail is. */
const TRAIL_MS = 1_200;
/** Between two rounds the last picture stays for a moment. */
const HOLD_MS = 450;
/** Share of the canvas that stays free around the people. */
const MARGIN = 0.09;
/** The flagged person is drawn at least so tall, in canvas heights; who is far away may leave the stage then. */
const TALL_MIN = 0.34;
/** Room for the mark's label above everybody, CSS pixels. */
const LABEL_PX = 26;
/** People are not drawn larger than this many canvas pixels per camera pixel: two key-points would fill the screen. */
const SCALE_MAX = 4;

export const SPEEDS = [0.25, 0.5, 1, 2, 4];

export class Player {
  #canvas;
  #context;
  #clip = null;
  #view = { scale: 1, x: 0, y: 0 };
  #colours = {};
  #timeMs = 0;
  #holdMs = 0;
  #lastMs = null;
  #ticket = 0;
  #isPlaying = false;
  #onTime;
  #resize;
  #isDirty = true;
  speed = 1;
  hasTrails = true;
  loops = true;
  /** Whether everybody must be on the stage, however small that makes them. */
  showsAll = false;

  /** `onTime(timeMs, clip, isFirst)` after each picture. */
  constructor(canvas, onTime) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    this.#onTime = onTime;
    this.#resize = new ResizeObserver(() => this.#fit());
    this.#resize.observe(canvas);
    this.readColours();
  }

  get isPlaying() {
    return this.#isPlaying;
  }

  get timeMs() {
    return this.#timeMs;
  }

  /** Colours follow the page's theme. */
  readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["stage", "stage-grid", "person", "person-far", "flagged", "flagged-soft", "stage-ink"]) {
      this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    this.redraw();
  }

  /** Shows a clip from its beginning; null empties the stage. */
  show(clip, plays = true) {
    this.#clip = clip;
    this.#timeMs = 0;
    this.#holdMs = 0;
    this.#lastMs = null;
    this.#isPlaying = plays && clip !== null && clip.length > 1;
    this.#place();
    this.#draw(true);
    this.#schedule();
  }

  play() {
    if (!this.#clip) return;
    if (this.#timeMs >= this.#clip.durationMs) this.#timeMs = 0;
    this.#isPlaying = true;
    this.#lastMs = null;
    this.#schedule();
  }

  pause() {
    this.#isPlaying = false;
    this.#onTime(this.#timeMs, this.#clip, false);
  }

  seek(timeMs) {
    if (!this.#clip) return;
    this.#timeMs = Math.min(Math.max(timeMs, 0), this.#clip.durationMs);
    this.#holdMs = 0;
    this.redraw();
  }

  /** One frame on or back; stops. */
  step(by) {
    const clip = this.#clip;
    if (!clip || clip.length === 0) return;
    this.pause();
    let at = frameAt(clip, this.#timeMs);
    if (at < 0) at = clip.times.findLastIndex((time) => time <= this.#timeMs);
    this.seek(clip.times[Math.min(Math.max(at + by, 0), clip.length - 1)]);
  }

  redraw() {
    this.#isDirty = true;
    this.#schedule();
  }

  close() {
    cancelAnimationFrame(this.#ticket);
    this.#resize.disconnect();
    this.#clip = null;
  }

  #schedule() {
    if (this.#ticket === 0) this.#ticket = requestAnimationFrame((nowMs) => this.#tick(nowMs));
  }

  #tick(nowMs) {
    this.#ticket = 0;
    const clip = this.#clip;
    if (this.#isPlaying && clip) {
      // A tab in the background gets no pictures; it must not jump afterwards.
      const elapsedMs = this.#lastMs === null ? 0 : Math.min(nowMs - this.#lastMs, 100);
      this.#lastMs = nowMs;
      this.#advance(elapsedMs * this.speed, elapsedMs);
      this.#isDirty = true;
    }
    if (this.#isDirty) this.#draw(false);
    if (this.#isPlaying) this.#schedule();
  }

  #advance(byMs, realMs) {
    const { durationMs } = this.#clip;
    this.#timeMs += byMs;
    if (this.#timeMs < durationMs) return;
    this.#timeMs = durationMs;
    this.#holdMs += realMs;
    if (this.#holdMs < HOLD_MS) return;
    this.#holdMs = 0;
    if (this.loops) this.#timeMs = 0;
    else this.#isPlaying = false;
  }

  #fit() {
    const { clientWidth, clientHeight } = this.#canvas;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (width === 0 || height === 0) return;
    // Setting a size empties the canvas, even the same size.
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      this.#canvas.width = width;
      this.#canvas.height = height;
    }
    this.#place();
    this.#draw(false);
  }

  /** Fits the clip anew, after `showsAll` has changed. */
  place() {
    this.#place();
    this.redraw();
  }

  /**
   * Scale and shift from camera pixels to the canvas; the camera's y is down as the canvas's is. Everybody fits, unless that would make the
   * flagged person too small to be judged: then the stage is around that person's way.
   */
  #place() {
    const bounds = this.#clip?.bounds;
    if (!bounds) return;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.#canvas.width, Math.max(this.#canvas.height - LABEL_PX * ratio, 1)];
    const free = 1 - 2 * MARGIN;
    const fit = (box) => Math.min((width * free) / Math.max(box.right - box.left, 1), (height * free) / Math.max(box.bottom - box.top, 1));
    let [scale, box] = [fit(bounds), bounds];
    const { flagged } = this.#clip;
    if (!this.showsAll && flagged && flagged.height * scale < TALL_MIN * height) {
      [scale, box] = [Math.min((TALL_MIN * height) / flagged.height, fit(flagged)), flagged];
    }
    scale = Math.min(scale, SCALE_MAX * ratio);
    this.#view.scale = scale;
    this.#view.x = middle(box.left, box.right, bounds.left, bounds.right, width / scale) * -scale + width / 2;
    this.#view.y = middle(box.top, box.bottom, bounds.top, bounds.bottom, height / scale) * -scale + height / 2 + LABEL_PX * ratio;
  }

  #draw(isFirst) {
    this.#isDirty = false;
    const [context, clip] = [this.#context, this.#clip];
    const { width, height } = this.#canvas;
    context.fillStyle = this.#colours.stage;
    context.fillRect(0, 0, width, height);
    this.#drawGrid();
    if (clip) {
      const frame = frameAt(clip, this.#timeMs);
      if (frame >= 0) this.#drawFrame(frame);
    }
    this.#onTime(this.#timeMs, clip, isFirst);
  }

  /** A faint grid: movement is seen against something that stands still. */
  #drawGrid() {
    const context = this.#context;
    const { width, height } = this.#canvas;
    const step = 48 * (window.devicePixelRatio || 1);
    context.fillStyle = this.#colours["stage-grid"];
    for (let y = (height / 2) % step; y < height; y += step) {
      for (let x = (width / 2) % step; x < width; x += step) context.fillRect(x - 1, y - 1, 2, 2);
    }
  }

  #drawFrame(frame) {
    const clip = this.#clip;
    const flagged = clip.item.person;
    const isFlaggedNow = partOf(clip, clip.frames[frame]) === "flagged" || clip.item.kind === "sample";
    if (this.hasTrails) this.#drawTrails(frame, flagged);
    for (let at = clip.starts[frame]; at < clip.starts[frame + 1]; at += 1) {
      if (clip.persons[at] !== flagged) this.#drawPerson(at, this.#colours.person, 1);
    }
    const place = placeOf(clip, frame, flagged);
    if (place < 0) return;
    this.#drawPerson(place, isFlaggedNow ? this.#colours.flagged : this.#colours["flagged-soft"], 1.35);
    this.#drawMark(place, isFlaggedNow);
  }

  #point(place, point) {
    const base = (place * KEYPOINTS + point) * 3;
    const { points } = this.#clip;
    const { scale, x, y } = this.#view;
    return [points[base] * scale + x, points[base + 1] * scale + y, points[base + 2]];
  }

  #drawPerson(place, colour, weight) {
    const context = this.#context;
    const ratio = window.devicePixelRatio || 1;
    const box = this.#box(place);
    if (!box) return;
    const thickness = Math.min(Math.max(box.height / 34, 1.6 * ratio), 7 * ratio) * weight;
    context.strokeStyle = colour;
    context.fillStyle = colour;
    context.lineCap = "round";
    context.lineJoin = "round";
    context.lineWidth = thickness;
    for (const [from, to] of BONES) {
      const [[x1, y1, c1], [x2, y2, c2]] = [this.#point(place, from), this.#point(place, to)];
      if (c1 < CONFIDENCE_MIN || c2 < CONFIDENCE_MIN) continue;
      context.globalAlpha = 0.35 + 0.65 * Math.min(c1, c2, 1);
      context.beginPath();
      context.moveTo(x1, y1);
      context.lineTo(x2, y2);
      context.stroke();
    }
    this.#drawHead(place, thickness, box.height);
    context.globalAlpha = 1;
  }

  /** The head: a ring around nose, eyes and ears, and a neck down to the shoulders' middle. */
  #drawHead(place, thickness, height) {
    const context = this.#context;
    let [x, y, seen] = [0, 0, 0];
    for (let point = 0; point < 5; point += 1) {
      const [px, py, confidence] = this.#point(place, point);
      if (confidence < CONFIDENCE_MIN) continue;
      x += px;
      y += py;
      seen += 1;
    }
    if (seen === 0) return;
    [x, y] = [x / seen, y / seen];
    const radius = Math.max(height / 15, thickness * 1.1);
    context.globalAlpha = 1;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
    const [[lx, ly, lc], [rx, ry, rc]] = [this.#point(place, 5), this.#point(place, 6)];
    if (lc < CONFIDENCE_MIN || rc < CONFIDENCE_MIN) return;
    const [nx, ny] = [(lx + rx) / 2, (ly + ry) / 2];
    const length = Math.hypot(nx - x, ny - y);
    if (length <= radius) return;
    context.beginPath();
    context.moveTo(nx, ny);
    context.lineTo(x + ((nx - x) / length) * radius, y + ((ny - y) / length) * radius);
    context.stroke();
  }

  #box(place) {
    let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let point = 0; point < KEYPOINTS; point += 1) {
      const [x, y, confidence] = this.#point(place, point);
      if (confidence < CONFIDENCE_MIN) continue;
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
    }
    return left > right ? null : { left, right, top, bottom, width: right - left, height: Math.max(bottom - top, right - left) };
  }

  /** Corners around the flagged person: to be found at a glance, also without colours. */
  #drawMark(place, isFlaggedNow) {
    const box = this.#box(place);
    if (!box) return;
    const context = this.#context;
    const ratio = window.devicePixelRatio || 1;
    const pad = 12 * ratio + box.height * 0.06;
    const [left, right, top, bottom] = [box.left - pad, box.right + pad, box.top - pad, box.bottom + pad];
    const corner = Math.min(16 * ratio, (right - left) / 3, (bottom - top) / 3);
    context.strokeStyle = isFlaggedNow ? this.#colours.flagged : this.#colours["flagged-soft"];
    context.lineWidth = 2 * ratio;
    context.setLineDash(isFlaggedNow ? [] : [3 * ratio, 4 * ratio]);
    context.beginPath();
    for (const [x, y, dx, dy] of [[left, top, 1, 1], [right, top, -1, 1], [left, bottom, 1, -1], [right, bottom, -1, -1]]) {
      context.moveTo(x + dx * corner, y);
      context.lineTo(x, y);
      context.lineTo(x, y + dy * corner);
    }
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = context.strokeStyle;
    context.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    context.textBaseline = "bottom";
    const label = `person ${this.#clip.item.person}`;
    const rightmost = this.#canvas.width - context.measureText(label).width - 6 * ratio;
    context.fillText(label, Math.max(Math.min(left, rightmost), 6 * ratio), Math.max(top - 5 * ratio, 16 * ratio));
  }

  #drawTrails(frame, flagged) {
    const [clip, context] = [this.#clip, this.#context];
    const ratio = window.devicePixelRatio || 1;
    const untilMs = clip.times[frame];
    context.lineCap = "round";
    context.strokeStyle = this.#colours.flagged;
    for (const point of TRAIL_POINTS) {
      let previous = null;
      for (let at = frame; at >= 0 && untilMs - clip.times[at] <= TRAIL_MS; at -= 1) {
        const place = placeOf(clip, at, flagged);
        if (place < 0) break;
        const [x, y, confidence] = this.#point(place, point);
        if (confidence < CONFIDENCE_MIN) {
          previous = null;
          continue;
        }
        if (previous) {
          const freshness = 1 - (untilMs - clip.times[at]) / TRAIL_MS;
          context.globalAlpha = 0.5 * freshness * freshness;
          context.lineWidth = (0.8 + 2.4 * freshness) * ratio;
          context.beginPath();
          context.moveTo(previous[0], previous[1]);
          context.lineTo(x, y);
          context.stroke();
        }
        previous = [x, y];
      }
    }
    context.globalAlpha = 1;
  }
}

/** The middle of a view of `span` that shows `from` to `to` and no more emptiness beyond `least` to `most` than it must. */
function middle(from, to, least, most, span) {
  const wanted = (from + to) / 2;
  const air = span * MARGIN;
  const [low, high] = [least - air + span / 2, most + air - span / 2];
  return low > high ? (least + most) / 2 : Math.min(Math.max(wanted, low), high);
}
