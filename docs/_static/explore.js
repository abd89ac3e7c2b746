// Interactive pages of neurons: as high as they are, and in the colors of this page.

"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const frames = [...document.querySelectorAll("iframe.geir-explore")];
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function sendTheme() {
    const chosen = document.body.dataset.theme;
    const geirTheme = ["light", "dark"].includes(chosen) ? chosen : dark.matches ? "dark" : "light";
    for (const frame of frames) frame.contentWindow.postMessage({ geirTheme }, "*");
  }

  window.addEventListener("message", ({ source, data }) => {
    const frame = frames.find(({ contentWindow }) => contentWindow === source);
    if (frame && Number.isFinite(data?.geirHeight)) {
      frame.style.height = `${data.geirHeight + 4}px`;
      sendTheme();
    }
  });
  dark.addEventListener("change", sendTheme);
  new MutationObserver(sendTheme).observe(document.body, { attributeFilter: ["data-theme"] });
});
