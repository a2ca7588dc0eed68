"use strict";
// The language and the colours of a page: what the browser says, until somebody says otherwise.
(function () {
  const root = document.documentElement;
  if (root.dataset.lang === "auto") {
    root.lang = (navigator.languages || [navigator.language])[0].startsWith("ja") ? "ja" : "en";
  }
  document.getElementById("language").addEventListener("click", () => {
    root.lang = root.lang === "ja" ? "en" : "ja";
  });
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
})();
