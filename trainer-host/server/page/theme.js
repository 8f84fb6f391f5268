// Sets the theme before the first paint: what was chosen, else what the system says. A plain script, not a module: modules run too late
// and the page would flash.
"use strict";
(() => {
  const root = document.documentElement;
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("alfred.theme");
  } catch {
    // Storage is blocked: the system's theme stays.
  }
  if (chosen === "dark" || chosen === "light") root.dataset.themeChosen = chosen;
  const set = () => {
    root.dataset.theme = root.dataset.themeChosen ?? (systemIsDark.matches ? "dark" : "light");
    document.dispatchEvent(new Event("alfred-theme"));
  };
  set();
  systemIsDark.addEventListener("change", set);
  document.addEventListener("alfred-theme-chosen", set);
})();
