// The way in: a name and the token that `alfred-host user add` printed.

import { call } from "./api.js";
import { h } from "./dom.js";

/** `enter(session)` after a good login. */
export function loginScreen(enter, message) {
  const complaint = h("p", { class: "complaint", role: "alert" }, message);
  const name = h("input", { id: "reviewer", name: "username", autocomplete: "username", required: true, maxlength: 64, spellcheck: "false", autocapitalize: "none" });
  const token = h("input", { id: "token", name: "password", type: "password", autocomplete: "current-password", required: true, maxlength: 256 });
  const button = h("button", { class: "primary", type: "submit" }, "Log in");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    complaint.textContent = "";
    try {
      enter(await call("POST", "/api/login", { reviewer: name.value.trim(), token: token.value.trim() }));
    } catch (error) {
      complaint.textContent = error.message;
      button.disabled = false;
      token.value = "";
      token.focus();
    }
  };
  setTimeout(() => name.focus(), 0);
  return h(
    "main",
    { id: "main", class: "login", tabindex: "-1" },
    h(
      "form",
      { class: "card login-card", onsubmit: submit },
      h("img", { src: "/icon.svg", alt: "", width: 52, height: 52 }),
      h("h1", {}, "ALFred review"),
      h("p", { class: "lead" }, "Skeletons only, no pictures. Your verdicts teach the cameras."),
      h("label", { for: "reviewer" }, "Name"),
      name,
      h("label", { for: "token" }, "Token"),
      token,
      button,
      complaint,
    ),
  );
}
