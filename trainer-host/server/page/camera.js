// The cameras, and one camera: what its model is worth, what a threshold would cost, what runs on its devices.

import { call, get, getOptional, query, session } from "./api.js";
import { driftCard, historyCard, liveCard, policyCard, snoozeCard, validationCard } from "./camera_cards.js";
import { deploymentCard, refusalCard, requestCard, rolloutCard } from "./camera_tables.js";
import { h, put } from "./dom.js";
import { count, plural } from "./format.js";
import { thresholdCard } from "./threshold.js";
import { confirmed, say } from "./toast.js";

/** How often what the daemon changes is asked for again. */
const NEWS_MS = 10_000;

/** Opens the screen; returns what closes it. */
export function cameraScreen(main, { rest: [name] }) {
  if (name === undefined) return overview(main);
  return new CameraPage(main, name).close;
}

function overview(main) {
  let isClosed = false;
  put(main, h("div", { class: "page-head" }, h("h1", {}, "Cameras")), h("p", { class: "empty" }, "Loading …"));
  get("/api/cameras")
    .then((cameras) => {
      if (isClosed) return;
      const tiles = cameras.map((camera) =>
        h(
          "a",
          { class: "card tile", href: `#/cameras/${encodeURIComponent(camera.name)}` },
          h("h2", {}, camera.name),
          h("span", {}, h("span", { class: "figure" }, count(camera.items_unjudged)), h("span", { class: "soft" }, " to judge")),
          h("span", { class: "soft" }, `${plural(camera.devices, "device")}, ${plural(camera.items, "item")} so far`),
          h(
            "span",
            {},
            h("span", { class: "chip" }, camera.desired_revision === null ? "runs what its devices have" : `bundle ${camera.desired_revision}`),
            camera.is_paused && h("span", { class: "chip warn" }, "paused"),
          ),
        ),
      );
      main.lastElementChild.replaceWith(tiles.length ? h("div", { class: "camera-tiles" }, tiles) : h("p", { class: "empty" }, "No camera yet: enrol a device with alfred-host enroll."));
    })
    .catch((error) => {
      if (!isClosed) main.lastElementChild.replaceWith(h("p", { class: "warning" }, error.message));
    });
  return () => {
    isClosed = true;
  };
}

class CameraPage {
  constructor(main, name) {
    this.main = main;
    this.name = name;
    this.path = `/api/cameras/${encodeURIComponent(name)}`;
    this.isOperator = session.role === "operator";
    this.isClosed = false;
    this.head = h("div", { class: "page-head" }, h("h1", {}, name));
    this.body = h("div", {}, h("p", { class: "empty" }, "Loading …"));
    put(main, this.head, this.body);
    this.close = () => {
      this.isClosed = true;
      clearInterval(this.timer);
    };
    this.load();
  }

  async load() {
    try {
      const [data, snoozes] = await Promise.all([this.read(), getOptional("/api/snoozes")]);
      if (this.isClosed) return;
      this.showHead(data);
      this.showBody(data, snoozes);
      this.timer = setInterval(() => this.news(), NEWS_MS);
    } catch (error) {
      if (!this.isClosed) put(this.body, h("p", { class: "warning" }, error.message), h("button", { type: "button", onclick: () => this.load() }, "Try again"));
    }
  }

  /** Everything about the camera; from a host without this part of the API, what can be put together. */
  async read() {
    const found = await getOptional(this.path);
    if (found?.camera) return found;
    const [cameras, bundles, deployments, rollouts] = await Promise.all([
      get("/api/cameras"),
      get(`/api/bundles${query({ camera: this.name })}`),
      get(`/api/deployments${query({ camera: this.name })}`),
      get("/api/rollouts"),
    ]);
    const camera = cameras.find(({ name }) => name === this.name);
    if (!camera) throw new Error(`There is no camera "${this.name}".`);
    const own = rollouts.filter(({ targets }) => targets.some((target) => target.camera === this.name));
    return { camera, bundles, deployments, rollouts: own, policy: null, validation: null, evaluations: [], refusals: [], drift: null, requests: [] };
  }

  showHead({ camera, is_held: isHeld }) {
    const act = (text, style, action) => h("button", { type: "button", class: style, onclick: action }, text);
    put(
      this.head,
      h("h1", {}, this.name),
      h("span", { class: "chip" }, camera.desired_revision === null ? "runs what its devices have" : `bundle ${camera.desired_revision}`),
      camera.is_paused && h("span", { class: "chip warn" }, "paused"),
      isHeld && h("span", { class: "chip warn" }, "held"),
      h("span", { class: "soft" }, `${plural(camera.items_unjudged, "item")} to judge`),
      h(
        "div",
        { class: "end" },
        h("a", { class: "button", href: `#/review${query({ camera: this.name })}` }, "Review its queue"),
        this.isOperator && [
          act("Fine-tune now", "", () => this.ask("fine_tune", "Fine-tune now?", "The daemon trains a candidate from the labels so far and judges it on the validation set. It is promoted only if it may be.", "Fine-tune")),
          act("Promote", "", () => this.ask("promote", "Promote the candidate that is held?", "Its bundle is offered to the camera's devices. They run it in shadow and on trial before they confirm it.", "Promote")),
          act("Hold", "", () => this.ask("hold", "Hold this camera?", "Candidates are still trained and judged, but none is rolled out until somebody promotes it.", "Hold")),
          act("Roll back", "danger", () => this.rollBack()),
        ],
      ),
    );
  }

  showBody(data, snoozes) {
    const reload = () => this.news();
    this.dynamic = {
      deployments: deploymentCard(),
      refusals: refusalCard(),
      requests: requestCard(),
      rollouts: rolloutCard(),
    };
    this.showDynamic(data);
    put(
      this.body,
      h(
        "div",
        { class: "cards" },
        validationCard(data),
        liveCard(data),
        thresholdCard({ path: this.path, camera: this.name, isOperator: this.isOperator, asked: reload }),
        historyCard(data),
        driftCard(data),
        policyCard({ policy: data.policy, path: this.path, isOperator: this.isOperator }),
        this.dynamic.requests.element,
        snoozes !== null && snoozeCard(snoozes.filter(({ camera }) => camera === this.name)),
        this.dynamic.deployments.element,
        this.dynamic.refusals.element,
        this.dynamic.rollouts.element,
      ),
    );
  }

  showDynamic(data) {
    for (const [name, { show }] of Object.entries(this.dynamic)) show(data[name] ?? [], data);
  }

  async news() {
    if (document.hidden) return;
    try {
      const data = await this.read();
      if (this.isClosed) return;
      this.showHead(data);
      this.showDynamic(data);
    } catch {
      // What is on the screen stays; the next round asks again.
    }
  }

  async ask(kind, title, text, action) {
    if (!(await confirmed({ title, text: [text], action }))) return;
    await this.send(`${this.path}/cycle`, { kind }, "Asked. What becomes of it stands under requests.");
  }

  async rollBack() {
    const text = "What is in shadow or on trial on this camera's devices ends, and the pair before runs on. A bundle that a device has confirmed cannot be withdrawn: make a newer one.";
    if (!(await confirmed({ title: "Roll back?", text: [text], action: "Roll back" }))) return;
    await this.send(`${this.path}/rollback`, {}, "Withdrawn.");
  }

  async send(path, body, done) {
    try {
      await call("POST", path, body);
      say(done, "good");
      this.news();
    } catch (error) {
      say(error.message, "bad");
    }
  }
}
