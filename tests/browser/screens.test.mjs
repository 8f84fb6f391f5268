// The other screens: cameras, threshold slider, fleet, audit; dark and narrow; names that hold HTML.

import assert from "node:assert/strict";
import { test } from "node:test";
import { nothingWrong, picture, reviewer, saved, shown, stage, until } from "./harness.mjs";

const held = stage();
const HOSTILE = "<img src=x onerror=alert(1)>";

const contrastOf = () => {
  // Relative luminance and contrast as WCAG 2 defines them.
  const channel = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
  const parse = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
  const groundOf = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const hasText = Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!hasText || !element.checkVisibility?.() || element.closest("svg, :disabled, .visually-hidden, .skip-link, noscript")) continue;
    const [one, other] = [luminance(parse(getComputedStyle(element).color)), luminance(groundOf(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)}: ${element.className} "${element.textContent.slice(0, 30)}"`);
  }
  return found;
};

const standsOut = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

test("the camera page shows what runs, what was refused and what a threshold costs", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "ole", { place: "#/cameras" });
  await page.waitForSelector(".camera-tiles");
  await picture(page, "cameras");
  await page.click(".tile:has-text('gate')");
  await page.waitForSelector("#deployments td");
  const deployments = await page.textContent("#deployments");
  for (const text of ["confirmed", "shadow", "refused"]) assert.ok(deployments.includes(text), text);
  assert.ok((await page.textContent("#live")).includes("1.40"));
  assert.match(await page.textContent("#refusals"), /self[ -]?test/i);
  assert.match(await page.textContent("#validation"), /Anomalous share/);
  assert.equal(await page.locator("#history circle").count(), 12, "EER and EBI of six candidates");
  await page.waitForSelector("#threshold-range");
  await picture(page, "camera");
  nothingWrong(page, ["401"]);
  await page.context().close();
});

test("the threshold slider predicts, and applying it asks the daemon", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "ole", { place: "#/cameras/gate" });
  await page.waitForSelector("#threshold-range");
  const figure = (id) => page.textContent(`#${id}`);
  await until("the figures are there", async () => /\d/.test(await figure("alarms")) && /%/.test(await figure("fpr")) && /\d/.test(await figure("minutes")));
  const alarmsNow = Number((await figure("alarms")).replace(",", ""));
  assert.ok(await page.isDisabled("text=Apply …"), "the one in force needs no applying");
  await page.focus("#threshold-range");
  for (let step = 0; step < 5; step += 1) await page.keyboard.press("PageUp");
  await until("a higher threshold makes fewer alarms", async () => Number((await figure("alarms")).replace(",", "")) < alarmsNow);
  const wanted = Number(await page.inputValue("#threshold-number"));
  assert.ok(wanted > 1.4);
  assert.match(await page.textContent("#threshold"), /95 %/);
  await picture(page, "camera-slider");
  await page.click("text=Apply …");
  await page.waitForSelector("dialog[open]");
  await picture(page, "camera-confirm");
  await page.click("dialog button[value=no]");
  await page.click("text=Apply …");
  await page.click("dialog button[value=yes]");
  await page.waitForSelector("#requests .chip:text-is('waits')");
  assert.match(await page.textContent("#requests"), new RegExp(`threshold ${wanted}`));
  await page.goto(`${daemon.url}#/audit`);
  await page.waitForSelector("td :text-is('ask threshold')");
  nothingWrong(page, ["401"]);
  await page.context().close();
});

test("an operator fine-tunes, promotes, holds and rolls back; a reviewer cannot", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "ole", { place: "#/cameras/gate" });
  await page.waitForSelector("#requests td");
  for (const [button, answer, kind] of [["Fine-tune now", "Fine-tune", "fine tune"], ["Promote", "Promote", "promote"], ["Hold", "Hold", "hold"]]) {
    const waits = await page.locator("#requests .chip:text-is('waits')").count();
    await page.click(`.end button:text-is('${button}')`);
    await page.click("dialog button[value=no]");
    await page.click(`.end button:text-is('${button}')`);
    await page.waitForSelector(`dialog button[value=yes]:text-is('${answer}')`);
    await page.click("dialog button[value=yes]");
    await until(`${kind} waits, once`, async () => (await page.locator("#requests .chip:text-is('waits')").count()) === waits + 1);
    assert.match(await page.textContent("#requests"), new RegExp(kind, "i"));
  }
  const rollBack = async () => {
    await page.click(".end button:text-is('Roll back')");
    await page.click("dialog button[value=yes]");
  };
  await rollBack();
  await page.waitForSelector(".toast.bad:has-text('confirmed')");
  // Revision 3 is in shadow on the device: once it is what the camera shall run, it can be withdrawn.
  const targets = [{ camera: "gate", revision: 3 }];
  await page.evaluate(async (targets) => (await import("/api.js")).call("POST", "/api/rollouts", { targets }), targets);
  await rollBack();
  await page.waitForSelector(".toast.good:has-text('Withdrawn.')");
  await picture(page, "camera-roll-back");
  await page.goto(`${daemon.url}#/audit`);
  for (const action of ["ask fine", "ask promote", "ask hold"]) await page.waitForSelector(`td:has-text('${action}')`);
  nothingWrong(page, ["401", "409"]);
  await page.context().close();
  const other = await reviewer(held, daemon, "anna", { place: "#/cameras/gate" });
  await other.waitForSelector("#requests td");
  assert.equal(await other.locator(".end button").count(), 0, "a reviewer has no such buttons");
  await other.context().close();
});

test("drift is drawn against the bundle's quantiles, once enough samples came", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "ole", { place: "#/cameras/gate" });
  await page.waitForSelector("#drift svg");
  assert.match(await page.textContent("#drift"), /120 recent samples/);
  assert.match(await page.textContent("#drift"), /Largest shift of a quantile: \d/);
  assert.equal(await page.locator("#drift svg path, #drift svg polyline").count() >= 2, true, "two lines");
  await page.locator("#drift").scrollIntoViewIfNeeded();
  await picture(page, "camera-drift");
  await page.goto(`${daemon.url}#/cameras/hall`);
  await page.waitForSelector("#drift:has-text('fewer than 100 samples')");
  nothingWrong(page, ["401"]);
  await page.context().close();
});

test("policy and snooze rules are set and seen", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "ole", { place: "#/review?camera=hall&kind=event" });
  const item = await shown(page);
  await page.click("#snooze");
  await page.fill("#snooze-reason", "<i>the flag</i> before the hall");
  await picture(page, "snooze");
  await page.click("dialog button[value=yes]");
  await page.waitForFunction((item) => document.querySelector("canvas.stage").dataset.item !== item, item);
  await page.goto(`${daemon.url}#/cameras/hall`);
  await page.waitForSelector("#snoozes td");
  assert.match(await page.textContent("#snoozes"), /<i>the flag<\/i> before the hall/);
  await page.selectOption("#policy-strategy", "near_threshold");
  await page.fill("#policy-budget", "40");
  await page.click("text=Save the policy");
  await page.waitForSelector(".toast.good");
  await page.click("text=End it");
  await page.waitForSelector("#snoozes td:has-text('ended by ole')");
  await page.goto(`${daemon.url}#/review?camera=hall&strategy=policy`);
  await shown(page);
  await page.waitForSelector(".rest:has-text('40 verdicts left')");
  nothingWrong(page, ["401"]);
  await page.context().close();
});

test("the fleet page shows health, queues and losses", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "anna", { place: "#/fleet" });
  await page.waitForSelector("#devices td");
  const rows = await page.locator("#devices tbody tr").allTextContents();
  assert.equal(rows.length, 4);
  assert.ok(rows.some((row) => row.includes("edge-3") && row.includes("24 frames gave way")), rows.join("\n"));
  assert.ok(rows.some((row) => row.includes("edge-2") && row.includes("40 records")), rows.join("\n"));
  await picture(page, "fleet");
  nothingWrong(page, ["401"]);
  await page.context().close();
});

test("the labels page shows who judges how much and where people contradict each other", async (t) => {
  const daemon = await held.ground.daemon(t);
  const item = await judgeBy(daemon, "anna", "n");
  assert.equal(await judgeBy(daemon, "ben", "a"), item);
  const page = await reviewer(held, daemon, "ole", { place: "#/labels" });
  await page.waitForSelector("#conflicts td");
  assert.match(await page.textContent("#agreement"), /anna and ben/);
  assert.match(await page.textContent("#reviewers"), /cleo/);
  await picture(page, "labels");
  await page.click("#conflicts a");
  assert.equal(await shown(page), item, "conflicts go to a second look");
  nothingWrong(page, ["401"]);
  await page.context().close();
});

/** One verdict of one reviewer about the oldest event of one camera. */
async function judgeBy(daemon, name, key) {
  const page = await reviewer(held, daemon, name, { place: "#/review?camera=hall&strategy=oldest&kind=event&second_opinions=true" });
  const item = await shown(page);
  await page.keyboard.press(key);
  await shown(page, item);
  await saved(page);
  await page.context().close();
  return item;
}

test("the audit log is the operators'", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "ole", { place: "#/audit" });
  await page.waitForSelector("td :text-is('log in')");
  await picture(page, "audit");
  nothingWrong(page, ["401"]);
  await page.context().close();
});

test("dark and light, by the system and by hand, with enough contrast on every screen", async (t) => {
  const daemon = await held.ground.daemon(t);
  for (const scheme of ["light", "dark"]) {
    const page = await reviewer(held, daemon, "ole", { colorScheme: scheme });
    await shown(page);
    assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), scheme);
    for (const place of ["review", "cameras", "cameras/gate", "labels", "fleet", "audit"]) {
      await page.goto(`${daemon.url}#/${place}`);
      await page.waitForSelector(place === "review" ? "canvas.stage[data-item]:not([data-item=''])" : ".card");
      assert.deepEqual(await page.evaluate(contrastOf), [], `${scheme}, ${place}`);
      if (scheme === "dark") await picture(page, `${place.replace("/", "-")}-dark`);
    }
    await page.click("button[aria-label='Change between dark and light']");
    const other = scheme === "dark" ? "light" : "dark";
    assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), other);
    await page.reload();
    await page.waitForSelector("header.top");
    assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), other, "the choice stays");
    nothingWrong(page, ["401"]);
    await page.context().close();
  }
});

test("nothing stands out to the side at 125 % zoom or on a narrow screen", async (t) => {
  const daemon = await held.ground.daemon(t);
  // 1280 CSS pixels at 125 % are 1024.
  for (const [name, viewport] of [["zoomed", { width: 1024, height: 620 }], ["narrow", { width: 390, height: 800 }]]) {
    const page = await reviewer(held, daemon, "ole", { viewport, deviceScaleFactor: 1.25 });
    for (const place of ["review", "cameras", "cameras/gate", "labels", "fleet", "audit"]) {
      await page.goto(`${daemon.url}#/${place}`);
      await page.waitForSelector(place === "review" ? "canvas.stage[data-item]:not([data-item=''])" : ".card");
      assert.equal(await standsOut(page), 0, `${name}, ${place}`);
      await picture(page, `${place.replace("/", "-")}-${name}`);
    }
    nothingWrong(page, ["401"]);
    await page.context().close();
  }
});

test("names that hold HTML show as text", async (t) => {
  const daemon = await held.ground.daemon(t);
  const page = await reviewer(held, daemon, "<script>alert(2)</script>", { place: `#/review?camera=${encodeURIComponent(HOSTILE)}` });
  await shown(page);
  assert.equal(await page.textContent(".stage-title strong"), HOSTILE);
  assert.equal(await page.textContent(".who"), "<script>alert(2)</script>");
  await page.goto(`${daemon.url}#/cameras/${encodeURIComponent(HOSTILE)}`);
  await page.waitForSelector("#deployments td");
  assert.equal(await page.textContent("h1"), HOSTILE);
  await page.goto(`${daemon.url}#/fleet`);
  await page.waitForSelector("#devices td");
  assert.ok((await page.textContent("#devices")).includes("<b>edge-4</b>"));
  await page.goto(`${daemon.url}#/audit`);
  await page.waitForSelector("td :text-is('<script>alert(2)</script>')");
  await page.goto(`${daemon.url}#/review?camera=%3Cimg%20src=x%20onerror=alert(3)%3E&score_min=%22%3E%3Cscript%3E`);
  await page.waitForSelector(".notice:not([hidden]), canvas.stage[data-item]");
  assert.equal(await page.locator("img[src=x], b, main script").count(), 0);
  const { headers } = await page.evaluate(async () => ({ headers: Object.fromEntries((await fetch("/")).headers) }));
  assert.match(headers["content-security-policy"], /script-src 'self'/);
  assert.doesNotMatch(headers["content-security-policy"], /unsafe/);
  nothingWrong(page, ["401"]);
  await page.context().close();
});
