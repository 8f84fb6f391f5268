// A daemon with a database of its own, a browser, reviewers in it; everything ends with the test.

import { execFile, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, extname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const run = promisify(execFile);
const root = resolve(fileURLToPath(import.meta.url), "../../..");
const HOST = process.env.ALFRED_HOST ?? join(root, "target/debug/alfred-host");
const GROUND = process.env.BROWSER_GROUND ?? join(root, "target/debug/examples/browser_ground");
const WEIGHTS = join(root, "models/pretrained/stg_nf_synthetic/weights.safetensors");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** Pictures of each page, for a person to look at. */
const PICTURES = process.env.BROWSER_PICTURES ?? join(root, "target/browser");
/** While writing the page: its files from this folder in place of those that are built into the daemon. */
const PAGE_FOLDER = process.env.BROWSER_PAGE;
/** How long something may take on a machine that does other work too, milliseconds. */
export const PATIENCE_MS = 30_000;

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
  // The heap as it is, not in steps.
  "--enable-precise-memory-info",
  "--js-flags=--expose-gc",
];

/** Says something in the log of the test. */
export const log = (text) => console.log(text);

/** A folder with a filled database, made once per file of tests. */
export class Ground {
  static async make() {
    const ground = new Ground();
    ground.folder = await mkdtemp(join(tmpdir(), "alfred-browser-"));
    const [key, bundle] = ["key", "bundle"].map((name) => join(ground.folder, name));
    const patience = { timeout: 120_000 };
    await run(HOST, ["bundle", "keygen", "--out", key], patience);
    const what = ["--weights", WEIGHTS, "--key", key, "--camera", "gate", "--revision", "2", "--threshold", "1.4", "--out", bundle];
    await run(HOST, ["bundle", "build", ...what], patience);
    const { stdout } = await run(GROUND, ["fill", join(ground.folder, "seed"), WEIGHTS, bundle], patience);
    Object.assign(ground, JSON.parse(stdout));
    ground.copies = 0;
    return ground;
  }

  /** A daemon on a fresh copy of the database; it ends with the test. */
  async daemon(test) {
    this.copies += 1;
    const folder = join(this.folder, String(this.copies));
    await mkdir(folder);
    await cp(this.database, join(folder, "host.sqlite"));
    const daemon = await Daemon.start(folder, "127.0.0.1:0");
    test.after(() => daemon.stop("SIGKILL"));
    return daemon;
  }

  remove() {
    return rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

export class Daemon {
  /** `http` with port 0 takes any free port; a daemon that starts again takes the one that it had. */
  static async start(folder, http) {
    const daemon = new Daemon();
    daemon.folder = folder;
    const config = join(folder, "host.toml");
    await writeFile(config, `database = ${JSON.stringify(join(folder, "host.sqlite"))}\nhttp = ${JSON.stringify(http)}\n`);
    daemon.process = spawn(HOST, ["serve", "--config", config], { stdio: ["ignore", "pipe", "inherit"] });
    daemon.ended = new Promise((done) => daemon.process.once("exit", done));
    const lines = createInterface({ input: daemon.process.stdout });
    const address = new Promise((found, failed) => {
      lines.on("line", (line) => line.includes("http://") && found(line.split("http://")[1].replace(/\/.*$/, "")));
      daemon.process.once("exit", (code) => failed(new Error(`the daemon ended with ${code}`)));
      daemon.process.once("error", failed);
    });
    daemon.address = await address;
    daemon.url = `http://${daemon.address}/`;
    return daemon;
  }

  /** Ends it; by default as its operator would, with "SIGKILL" as a power cut would. */
  async stop(signal = "SIGTERM") {
    this.process.kill(signal);
    await this.ended;
  }

  /** Starts it again on the same port and database. */
  async again() {
    const fresh = await Daemon.start(this.folder, this.address);
    Object.assign(this, { process: fresh.process, ended: fresh.ended });
  }

  /** The log of verdicts as it stands in the database, without those of before. */
  async labels() {
    const { stdout } = await run(GROUND, ["labels", join(this.folder, "host.sqlite")], { timeout: 60_000, maxBuffer: 64 << 20 });
    return JSON.parse(stdout).filter(({ reviewer }) => reviewer !== "cleo");
  }
}

/** One browser for a file of tests, and the ground under them. */
export function stage() {
  const held = { closers: [] };
  before(async () => {
    await mkdir(PICTURES, { recursive: true });
    held.ground = await Ground.make();
    held.browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS, timeout: 60_000 });
  }, { timeout: 180_000 });
  after(async () => {
    await held.browser?.close();
    await held.ground?.remove();
  });
  return held;
}

/** A reviewer's own browser profile with one page; what the page complains about is kept. */
export async function visitor(held, daemon, options = {}) {
  const context = await held.browser.newContext({ viewport: { width: 1366, height: 820 }, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  if (PAGE_FOLDER) await serveFrom(context, daemon);
  const page = await context.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("dialog", (dialog) => {
    page.complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("console", (message) => message.type() === "error" && !message.text().includes("404") && page.complaints.push(message.text()));
  page.on("request", (request) => request.url().startsWith(daemon.url) || page.complaints.push(`asks elsewhere: ${request.url()}`));
  return page;
}

async function serveFrom(context, daemon) {
  await context.route(`${daemon.url}**`, async (route) => {
    const { pathname } = new URL(route.request().url());
    if (pathname.startsWith("/api/") || pathname === "/metrics") return route.continue();
    const answer = await route.fetch().catch(() => null);
    // The daemon is away on purpose.
    if (answer === null) return route.abort("connectionrefused");
    const path = join(PAGE_FOLDER, pathname === "/" ? "index.html" : basename(pathname));
    const types = { ".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml" };
    return route.fulfill({ path, status: 200, headers: { ...answer.headers(), "content-type": types[extname(path)] } });
  });
}

/** Logs in through the page. */
export async function logIn(page, daemon, name, token, place = "") {
  await page.goto(daemon.url + place);
  await page.fill("#reviewer", name);
  await page.fill("#token", token);
  await page.click("button[type=submit]");
  await page.waitForSelector("header.top");
}

/** A reviewer who is logged in. */
export async function reviewer(held, daemon, name, { place = "", ...options } = {}) {
  const page = await visitor(held, daemon, options);
  await logIn(page, daemon, name, held.ground.tokens[name], place);
  return page;
}

/** The item on the stage, once one is painted that is not `before`. */
export async function shown(page, before = "") {
  const handle = await page.waitForFunction(
    (before) => {
      const item = document.querySelector("canvas.stage")?.dataset.item;
      return item && item !== before && item;
    },
    before,
    { polling: 20 },
  );
  return handle.jsonValue();
}

/** Waits until the host has every verdict. */
export const saved = (page) => page.waitForFunction(() => document.getElementById("save-state")?.dataset.waiting === "0", null, { polling: 20 });

/** Keeps a picture. */
export async function picture(page, name) {
  await page.screenshot({ path: join(PICTURES, `${name}.png`) });
}

/** Fails when the page complained; what a test provokes on purpose is named in `but`. */
export function nothingWrong(page, but = []) {
  const found = page.complaints.filter((complaint) => !but.some((known) => complaint.includes(known)));
  if (found.length > 0) throw new Error(`the page complains:\n${found.join("\n")}`);
}

/** Waits until something is true, and says what was waited for when it does not become so. */
export async function until(what, isTrue) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await isTrue())) {
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}
