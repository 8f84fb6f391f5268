// The frame around the screens: login, navigation, theme, messages, and what goes wrong.

import { call, get, session, setSession, whenLoggedOut } from "./api.js";
import { auditScreen } from "./audit.js";
import { cameraScreen } from "./camera.js";
import { h, put } from "./dom.js";
import { fleetScreen } from "./fleet.js";
import { openHelp } from "./help.js";
import { labelScreen } from "./labels.js";
import { loginScreen } from "./login.js";
import { Outbox } from "./outbox.js";
import { reviewScreen } from "./review.js";
import { say } from "./toast.js";

const SCREENS = {
  review: { title: "Review", open: reviewScreen },
  cameras: { title: "Cameras", open: cameraScreen },
  labels: { title: "Labels", open: labelScreen },
  fleet: { title: "Fleet", open: fleetScreen },
  audit: { title: "Audit", open: auditScreen, isForOperators: true },
};

const root = document.getElementById("app");
/** The screen that is open: its name and what closes it. */
let current = { name: null, close: () => {} };
let outbox = null;

/** `#/cameras/gate?x=1` as its name, the rest of its path and its parameters. */
function place() {
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  const screen = Object.hasOwn(SCREENS, name) ? name : "review";
  return { screen, rest: rest.map(decode), parameters: new URLSearchParams(search ?? "") };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function toggleTheme() {
  const { dataset } = document.documentElement;
  dataset.themeChosen = dataset.theme === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("alfred.theme", dataset.themeChosen);
  } catch {
    // The choice lasts until the page closes.
  }
  document.dispatchEvent(new Event("alfred-theme-chosen"));
}

async function logOut() {
  try {
    await call("POST", "/api/logout", {});
  } catch (error) {
    if (error.status !== 401) {
      say(error.message, "bad");
      return;
    }
  }
  showLogin();
}

function showLogin(message = "") {
  current.close();
  current = { name: null, close: () => {} };
  setSession(null);
  outbox?.close();
  outbox = null;
  document.title = "ALFred review";
  put(root, loginScreen(enter, message));
}

function enter(found) {
  setSession(found);
  outbox?.close();
  outbox = new Outbox(found.reviewer);
  outbox.listen((kind, _entry, detail) => {
    if (kind === "refused") say(`A verdict was not taken: ${detail}`, "bad");
    showSaving();
  });
  show();
}

/** Whether everything is with the host. */
function showSaving() {
  const place = document.getElementById("save-state");
  if (!place || !outbox) return;
  const waiting = outbox.length;
  place.dataset.waiting = waiting;
  place.className = `save-state ${waiting === 0 ? "" : outbox.isWaiting ? "bad" : "busy"}`;
  place.textContent = waiting === 0 ? "Saved" : outbox.isWaiting ? `Host is away, ${waiting} kept` : `Saving ${waiting}`;
}

function header() {
  const { screen } = place();
  const links = Object.entries(SCREENS)
    .filter(([, { isForOperators }]) => !isForOperators || session.role === "operator")
    .map(([name, { title }]) => h("a", { href: `#/${name}`, "aria-current": name === screen ? "page" : null }, title));
  return h(
    "header",
    { class: "top" },
    h("a", { class: "brand", href: "#/review", "aria-label": "ALFred, review" }, h("img", { src: "/icon.svg", alt: "", width: 26, height: 26 }), h("span", {}, "ALFred")),
    h("nav", { "aria-label": "Screens" }, links),
    h(
      "div",
      { class: "top-end" },
      h("span", { id: "save-state", class: "save-state", role: "status" }),
      h("button", { class: "quiet icon", type: "button", title: "Dark or light", "aria-label": "Change between dark and light", onclick: toggleTheme }, "◐"),
      h("button", { class: "quiet icon", type: "button", title: "Keys (?)", "aria-label": "Show the keys", onclick: openHelp }, "?"),
      h("span", { class: "who", title: session.role }, session.reviewer),
      h("button", { class: "quiet", type: "button", onclick: logOut }, "Log out"),
    ),
  );
}

function show() {
  if (!session) return;
  const at = place();
  current.close();
  document.title = `${SCREENS[at.screen].title} · ALFred`;
  const main = h("main", { id: "main", tabindex: "-1", class: `screen-${at.screen}` });
  put(root, header(), main);
  showSaving();
  const close = SCREENS[at.screen].open(main, { ...at, outbox });
  current = { name: at.screen, close: close ?? (() => {}) };
}

window.addEventListener("hashchange", show);
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input:not([type=range]):not([type=checkbox]), select, textarea, dialog");
  if (event.key === "?" && !isTyping) openHelp();
});
whenLoggedOut(() => showLogin("The session has ended. Log in again; verdicts that were on their way are kept and sent then."));

async function start() {
  try {
    enter(await get("/api/session"));
  } catch (error) {
    if (error.status === 401) showLogin();
    else showLogin(error.message);
  }
}

start();
