// Sets the chosen theme before the first paint. A plain script, not a module: modules run too late and the page would flash.
"use strict";
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("alfred.theme");
  } catch {
    // Storage is blocked: the system's theme stays.
  }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
})();
