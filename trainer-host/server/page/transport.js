// The controls of the playback: play, scrub, speed, trails, loop.

import { spoken } from "./curve.js";
import { h, setting } from "./dom.js";
import { SPEEDS } from "./player.js";

/** Steps of the scrub slider. */
const STEPS = 1000;

export class Transport {
  #player = null;
  #playButton = h("button", { class: "icon", type: "button", onclick: () => this.togglePlay() });
  #scrub = h("input", { type: "range", class: "scrub", min: 0, max: STEPS, step: 1, value: 0, "aria-label": "Place in the clip" });
  #clock = h("output", { class: "clock" }, "0.0 s");
  #speeds = SPEEDS.map((speed) => h("button", { type: "button", onclick: () => this.setSpeed(speed) }, `${speed}×`));
  #trails = h("button", { type: "button", class: "toggle", onclick: () => this.toggleTrails() }, "Trails");
  #all = h("button", { type: "button", class: "toggle", title: "Everybody on the stage, or near the flagged person (C)", onclick: () => this.toggleAll() }, "Everybody");
  #loop = h("button", { type: "button", class: "toggle", onclick: () => this.toggleLoop() }, "Loop");
  #clip = null;

  constructor() {
    this.#scrub.addEventListener("input", () => this.#clip && this.#player.seek((this.#scrub.value / STEPS) * this.#clip.durationMs));
    this.element = h(
      "div",
      { class: "transport", role: "group", "aria-label": "Playback" },
      this.#playButton,
      this.#scrub,
      this.#clock,
      h("div", { class: "segments", role: "group", "aria-label": "Speed" }, this.#speeds),
      this.#trails,
      this.#all,
      this.#loop,
    );
  }

  /** Takes a player, and gives it what this browser chose last. */
  attach(player) {
    this.#player = player;
    player.speed = setting.get("speed", 1);
    player.hasTrails = setting.get("trails", true);
    player.showsAll = setting.get("everybody", false);
    this.show();
  }

  togglePlay() {
    if (this.#player.isPlaying) this.#player.pause();
    else this.#player.play();
    this.show();
  }

  setSpeed(speed) {
    this.#player.speed = speed;
    setting.set("speed", speed);
    this.show();
  }

  changeSpeed(by) {
    const at = SPEEDS.indexOf(this.#player.speed);
    this.setSpeed(SPEEDS[Math.min(Math.max(at + by, 0), SPEEDS.length - 1)]);
  }

  toggleTrails() {
    this.#player.hasTrails = !this.#player.hasTrails;
    setting.set("trails", this.#player.hasTrails);
    this.#player.redraw();
    this.show();
  }

  toggleAll() {
    this.#player.showsAll = !this.#player.showsAll;
    setting.set("everybody", this.#player.showsAll);
    this.#player.place();
    this.show();
  }

  toggleLoop() {
    this.#player.loops = !this.#player.loops;
    this.show();
  }

  show() {
    const { isPlaying, speed, hasTrails, loops, showsAll } = this.#player;
    this.#playButton.textContent = isPlaying ? "❚❚" : "▶";
    this.#playButton.setAttribute("aria-label", isPlaying ? "Pause" : "Play");
    this.#playButton.dataset.playing = isPlaying;
    this.#trails.setAttribute("aria-pressed", hasTrails);
    this.#all.setAttribute("aria-pressed", showsAll);
    this.#loop.setAttribute("aria-pressed", loops);
    this.#speeds.forEach((button, at) => button.setAttribute("aria-pressed", SPEEDS[at] === speed));
  }

  /** After each picture. */
  time(timeMs, clip, frame, isFirst) {
    if (!this.#player) return;
    this.#clip = clip;
    if (this.#playButton.dataset.playing !== String(this.#player.isPlaying)) this.show();
    if (!clip) return;
    this.#scrub.value = clip.durationMs > 0 ? Math.round((STEPS * timeMs) / clip.durationMs) : 0;
    const clock = `${(timeMs / 1000).toFixed(1)} / ${(clip.durationMs / 1000).toFixed(1)} s`;
    if (this.#clock.textContent !== clock) this.#clock.textContent = clock;
    // Only for somebody who works the slider: a screen reader would read every picture otherwise.
    if (document.activeElement === this.#scrub || isFirst) this.#scrub.setAttribute("aria-valuetext", spoken(clip, timeMs, frame));
  }
}
