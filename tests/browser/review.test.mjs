// The review screen: login, queue, playback, verdicts, undo, filters, touch.

import assert from "node:assert/strict";
import { test } from "node:test";
import { logIn, nothingWrong, picture, reviewer, saved, shown, stage, until, visitor } from "./harness.mjs";

const held = stage();

/** A number that changes when the picture on a canvas does. */
const pixels = (page, selector = "canvas.stage") =>
  page.$eval(selector, (canvas) => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let hash = 0;
    for (let at = 0; at < data.length; at += 4) hash = (hash * 31 + data[at] * 3 + data[at + 1] * 5 + data[at + 2] * 7) | 0;
    return hash;
  });

test("a wrong token is refused and a right one accepted", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await visitor(held, daemon);
  await page.goto(daemon.url);
  await page.waitForSelector("#reviewer");
  await picture(page, "login");
  await page.fill("#reviewer", "anna");
  await page.fill("#token", "0".repeat(64));
  await page.click("button[type=submit]");
  await page.waitForFunction(() => document.querySelector(".complaint")?.textContent !== "");
  await picture(page, "login-refused");
  assert.equal(await page.locator("header.top").count(), 0);
  await logIn(page, daemon, "anna", held.ground.tokens.anna);
  assert.equal(await page.textContent(".who"), "anna");
  assert.equal(await page.locator("nav a").count(), 4, "a reviewer has no audit log");
  await page.click("text=Log out");
  await page.waitForSelector("#reviewer");
  await page.reload();
  await page.waitForSelector("#reviewer");
  nothingWrong(page, ["401"]);
  await page.context().close();
});

test("the queue loads and its first item plays", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "anna");
  await shown(page);
  assert.ok((await page.locator(".items li").count()) > 20);
  const first = await pixels(page);
  await until("the picture changes while it plays", async () => (await pixels(page)) !== first);
  await page.keyboard.press("Space");
  await page.waitForSelector("button[aria-label=Play]");
  const [still] = [await pixels(page), await page.waitForTimeout(300)];
  assert.equal(await pixels(page), still, "it stands still when paused");
  await page.keyboard.press(".");
  await until("one frame on is another picture", async () => (await pixels(page)) !== still);
  const box = await page.locator("canvas.curve").boundingBox();
  await page.mouse.click(box.x + box.width * 0.5, box.y + box.height / 2);
  await page.waitForFunction(() => Math.abs(document.querySelector(".scrub").value - 500) < 60);
  await page.waitForSelector(".badge[data-part=flagged]");
  const withTrails = await pixels(page);
  await page.keyboard.press("t");
  await until("trails are a part of the picture", async () => (await pixels(page)) !== withTrails);
  await page.keyboard.press("t");
  await page.keyboard.press("ArrowUp");
  await page.waitForSelector(".segments button[aria-pressed=true]:text-is('2×')");
  await page.keyboard.press("ArrowDown");
  const curve = await pixels(page, "canvas.curve");
  assert.notEqual(curve, 0);
  await picture(page, "review");
  nothingWrong(page, ["401"]);
  await page.context().close();
});

test("one key is one verdict in the database, and undo takes it back", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "anna");
  const judged = [];
  let item = "";
  for (const key of ["n", "a", "u"]) {
    item = await shown(page, item);
    judged.push(Number(item));
    await page.keyboard.press(key);
  }
  item = await shown(page, item);
  await page.keyboard.press("s");
  const after = await shown(page, item);
  await saved(page);
  let labels = await daemon.labels();
  assert.deepEqual(labels.map(({ item, verdict }) => [item, verdict]), [[judged[0], "normal"], [judged[1], "anomalous"], [judged[2], "unsure"]]);
  assert.ok(labels.every(({ reviewer, seconds, strategy }) => reviewer === "anna" && seconds > 0 && seconds < 60 && strategy === "newest"));
  // The skip first, then the verdict before it.
  await page.keyboard.press("z");
  assert.equal(await shown(page, after), item);
  await page.keyboard.press("z");
  assert.equal(Number(await shown(page, item)), judged[2]);
  await saved(page);
  labels = await daemon.labels();
  assert.equal(labels.length, 4);
  assert.deepEqual([labels[3].item, labels[3].verdict, labels[3].undoes], [judged[2], null, labels[2].id]);
  await page.reload();
  await shown(page);
  await page.keyboard.press("z");
  assert.equal(Number(await shown(page, String(judged[2]))), judged[1], "after a reload the host knows what was said last");
  labels = await daemon.labels();
  assert.deepEqual([labels.length, labels[4].undoes], [5, labels[1].id]);
  nothingWrong(page, ["401"]);
  await page.context().close();
});

test("filters narrow the queue, stand in the address and survive a reload", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "anna");
  await shown(page);
  await page.selectOption("#camera", "hall");
  await page.waitForFunction(() => Array.from(document.querySelectorAll(".item-camera")).every((one) => one.textContent === "hall"));
  await page.click("summary");
  const lowest = await page.$$eval(".item-score", (scores) => scores.map((one) => Number(one.textContent)).sort((one, other) => one - other).at(-4));
  await page.fill("#score_min", String(lowest));
  await page.keyboard.press("Tab");
  await page.waitForFunction((lowest) => {
    const scores = Array.from(document.querySelectorAll(".item-score"), (one) => Number(one.textContent));
    return scores.length > 0 && scores.every((score) => score >= lowest - 0.01);
  }, lowest);
  assert.match(page.url(), /camera=hall/);
  await page.reload();
  await shown(page);
  assert.equal(await page.inputValue("#score_min"), String(lowest));
  assert.ok((await page.locator(".item-camera").allTextContents()).every((one) => one === "hall"));
  await page.selectOption("#strategy", "highest_score");
  await page.waitForFunction(() => {
    const scores = Array.from(document.querySelectorAll(".item-score"), (one) => Number(one.textContent));
    return scores.length > 3 && scores.every((score, at) => at === 0 || score <= scores[at - 1]);
  });
  await page.fill("#score_min", "1000");
  await page.keyboard.press("Tab");
  await page.waitForFunction(() => document.querySelector(".notice:not([hidden])")?.textContent.includes("Nothing waits"));
  await picture(page, "review-empty");
  nothingWrong(page, ["401"]);
  await page.context().close();
});

test("help, focus and names for those who do not see", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "anna");
  await shown(page);
  await page.keyboard.press("?");
  await page.waitForSelector("dialog[open] kbd");
  await picture(page, "help");
  const item = await shown(page);
  await page.keyboard.press("n");
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog", { state: "detached" });
  assert.equal(await shown(page), item, "keys do not judge behind the help");
  const nameless = await page.$$eval("button, input, select, canvas", (elements) =>
    elements.filter((one) => !one.hidden && !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length)).map((one) => one.outerHTML),
  );
  assert.deepEqual(nameless, []);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip-link");
  await page.focus("button[data-verdict=normal]");
  await page.keyboard.press("Enter");
  assert.notEqual(await shown(page, item), item, "a button works by key");
  nothingWrong(page, ["401"]);
  await page.context().close();
});

test("touch: buttons and swipes judge", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "ben", { viewport: { width: 390, height: 800 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
  const first = await shown(page);
  await picture(page, "review-narrow");
  await page.tap("button[data-verdict=anomalous]");
  const second = await shown(page, first);
  await swipe(page, -160, 0);
  const third = await shown(page, second);
  await swipe(page, 20, 0);
  assert.equal(await shown(page), third, "a touch is no swipe");
  await swipe(page, 0, -140);
  await shown(page, third);
  await saved(page);
  const labels = await daemon.labels();
  assert.deepEqual(labels.map(({ item, verdict }) => [String(item), verdict]), [[first, "anomalous"], [second, "normal"], [third, "unsure"]]);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing stands out to the side");
  nothingWrong(page, ["401"]);
  await page.context().close();
});

/** A finger on the stage that goes so far and is lifted. */
async function swipe(page, dx, dy) {
  const box = await page.locator(".stage-box").boundingBox();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const session = await page.context().newCDPSession(page);
  const touch = (type, points) => session.send("Input.dispatchTouchEvent", { type, touchPoints: points });
  await touch("touchStart", [{ x, y }]);
  for (let step = 1; step <= 5; step += 1) await touch("touchMove", [{ x: x + (dx * step) / 5, y: y + (dy * step) / 5 }]);
  await touch("touchEnd", []);
  await session.detach();
}
