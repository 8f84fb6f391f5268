// The score over the time of a clip: threshold, band, pre- and post-roll, and where the playback is. Also the place to scrub.

import { partOf, timeOf } from "./clip.js";
import { score } from "./format.js";

const PAD = { left: 44, right: 14, top: 14, bottom: 20 };

export class Curve {
  #canvas;
  #head;
  #clip = null;
  #colours = {};
  #onSeek;
  #resize;
  #range = [0, 1];

  /** `head` is the line that shows the time; `onSeek(timeMs)` when somebody drags. */
  constructor(canvas, head, onSeek) {
    this.#canvas = canvas;
    this.#head = head;
    this.#onSeek = onSeek;
    this.#resize = new ResizeObserver(() => this.#draw());
    this.#resize.observe(canvas);
    this.readColours();
    const seek = (event) => {
      if (this.#clip && (event.type === "pointerdown" || event.buttons > 0)) this.#onSeek(this.#timeOf(event.offsetX));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      seek(event);
    });
    canvas.addEventListener("pointermove", seek);
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["surface", "shade", "ink-soft", "line", "flagged", "curve", "band", "curve-fill"]) {
      this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    this.#draw();
  }

  show(clip) {
    this.#clip = clip;
    this.#head.hidden = clip === null;
    this.#draw();
    this.setTime(0);
  }

  /** Moves the line only; the curve is not drawn again. */
  setTime(timeMs) {
    if (this.#clip) this.#head.style.transform = `translateX(${this.#x(timeMs).toFixed(1)}px)`;
  }

  close() {
    this.#resize.disconnect();
    this.#clip = null;
  }

  #x(timeMs) {
    const width = Math.max(this.#canvas.clientWidth - PAD.left - PAD.right, 1);
    return PAD.left + (width * timeMs) / Math.max(this.#clip.durationMs, 1);
  }

  #timeOf(x) {
    const width = Math.max(this.#canvas.clientWidth - PAD.left - PAD.right, 1);
    return ((x - PAD.left) / width) * this.#clip.durationMs;
  }

  #y(value) {
    const [low, high] = this.#range;
    const height = this.#canvas.clientHeight - PAD.top - PAD.bottom;
    return PAD.top + height * (1 - (value - low) / (high - low));
  }

  #draw() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (width === 0 || height === 0) return;
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    const context = this.#canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.clearRect(0, 0, width, height);
    if (!this.#clip || this.#clip.length === 0) return;
    this.#range = rangeOf(this.#clip);
    context.font = "11px system-ui, sans-serif";
    this.#drawRolls(context, width, height);
    this.#drawBand(context, width);
    this.#drawScores(context, height);
    this.#drawThreshold(context, width);
    this.#drawAxis(context, width, height);
  }

  /** Pre- and post-roll: shaded, they are context and not what was flagged. */
  #drawRolls(context, width, height) {
    const clip = this.#clip;
    if (clip.item.kind === "sample") return;
    const [start, end] = [timeOf(clip, clip.item.first_frame), timeOf(clip, clip.item.last_frame)];
    context.fillStyle = this.#colours.shade;
    const [x0, x1, x2, x3] = [PAD.left, this.#x(start), this.#x(end), width - PAD.right];
    const tall = height - PAD.top - PAD.bottom;
    context.fillRect(x0, PAD.top, Math.max(x1 - x0, 0), tall);
    context.fillRect(x2, PAD.top, Math.max(x3 - x2, 0), tall);
    context.fillStyle = this.#colours["ink-soft"];
    context.textBaseline = "top";
    if (x1 - x0 > 54) context.fillText("pre-roll", x0 + 6, PAD.top + 4);
    if (x3 - x2 > 58) context.fillText("post-roll", x2 + 6, PAD.top + 4);
  }

  #drawBand(context, width) {
    const band = this.#clip.curve.band;
    if (!band) return;
    context.fillStyle = this.#colours.band;
    const [top, bottom] = [this.#y(band[1]), this.#y(band[0])];
    context.fillRect(PAD.left, top, width - PAD.left - PAD.right, Math.max(bottom - top, 2));
  }

  #drawScores(context, height) {
    const { curve } = this.#clip;
    if (curve.scores.length === 0) {
      this.#drawEvent(context);
      return;
    }
    context.beginPath();
    for (let at = 0; at < curve.scores.length; at += 1) {
      const [x, y] = [this.#x(timeOf(this.#clip, curve.frames[at])), this.#y(curve.scores[at])];
      if (at === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
    }
    context.strokeStyle = this.#colours.curve;
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.stroke();
    const last = curve.frames.length - 1;
    context.lineTo(this.#x(timeOf(this.#clip, curve.frames[last])), height - PAD.bottom);
    context.lineTo(this.#x(timeOf(this.#clip, curve.frames[0])), height - PAD.bottom);
    context.fillStyle = this.#colours["curve-fill"];
    context.fill();
  }

  /** Without scores of each frame: what the device said about the event, its mean and its peak. */
  #drawEvent(context) {
    const { item, event } = this.#clip;
    if (item.kind === "sample") return;
    const [from, to] = [this.#x(timeOf(this.#clip, item.first_frame)), this.#x(timeOf(this.#clip, item.last_frame))];
    context.strokeStyle = this.#colours.curve;
    context.lineWidth = 2;
    if (event) {
      context.beginPath();
      context.moveTo(from, this.#y(event.mean_score));
      context.lineTo(to, this.#y(event.mean_score));
      context.stroke();
    }
    const peak = event ? this.#x(timeOf(this.#clip, event.peak_frame)) : (from + to) / 2;
    context.fillStyle = this.#colours.curve;
    context.beginPath();
    context.arc(peak, this.#y(item.score), 4, 0, 2 * Math.PI);
    context.fill();
    context.textBaseline = "middle";
    context.fillText(`peak ${score(item.score)}`, peak + 8, this.#y(item.score));
  }

  #drawThreshold(context, width) {
    const { threshold } = this.#clip.curve;
    if (threshold === null) return;
    const y = this.#y(threshold);
    context.strokeStyle = this.#colours.flagged;
    context.lineWidth = 1.5;
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(PAD.left, y);
    context.lineTo(width - PAD.right, y);
    context.stroke();
    context.setLineDash([]);
  }

  #drawAxis(context, width, height) {
    const { threshold } = this.#clip.curve;
    const [low, high] = this.#range;
    context.fillStyle = this.#colours["ink-soft"];
    context.textAlign = "right";
    context.textBaseline = "middle";
    const taken = [];
    for (const value of [threshold, high, low]) {
      if (value === null) continue;
      const y = this.#y(value);
      if (taken.some((other) => Math.abs(other - y) < 13)) continue;
      taken.push(y);
      context.fillText(score(value), PAD.left - 6, y);
    }
    context.textBaseline = "bottom";
    const seconds = this.#clip.durationMs / 1000;
    const steps = [0.5, 1, 2, 5, 10, 20, 60];
    const step = steps.find((step) => seconds / step <= 8) ?? 120;
    for (let at = 0; at <= seconds; at += step) {
      const x = this.#x(at * 1000);
      context.textAlign = at === 0 ? "left" : x > width - 34 ? "right" : "center";
      context.fillText(`${at} s`, Math.min(x, width - 4), height - 3);
    }
    context.textAlign = "left";
    context.strokeStyle = this.#colours.line;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(PAD.left, height - PAD.bottom + 0.5);
    context.lineTo(width - PAD.right, height - PAD.bottom + 0.5);
    context.stroke();
  }
}

/** Lowest and highest value with some air; never empty. */
function rangeOf({ item, curve, event }) {
  const values = [item.score, ...curve.scores, ...(curve.band ?? [])];
  if (curve.threshold !== null) values.push(curve.threshold);
  if (event) values.push(event.mean_score);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const air = Math.max((high - low) * 0.12, 0.05);
  return [low - air, high + air];
}

/** What a screen reader is told about the place in the clip. */
export function spoken(clip, timeMs, frame) {
  const part = frame >= 0 ? partOf(clip, clip.frames[frame]) : "nobody in the picture";
  return `${(timeMs / 1000).toFixed(1)} of ${(clip.durationMs / 1000).toFixed(1)} seconds, ${part}`;
}
