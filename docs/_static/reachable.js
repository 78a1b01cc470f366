// What the theme leaves out: regions that scroll are reached by keyboard, headings have a level.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("pre, .table-wrapper").forEach((region) => { region.tabIndex = 0; });
  document.querySelectorAll(".caption[role=heading]").forEach((caption) => {
    caption.setAttribute("aria-level", "2");
  });
  document.querySelectorAll("aside.sidebar-drawer").forEach((aside) => {
    aside.setAttribute("aria-label", "pages");
  });
  document.querySelectorAll("aside.toc-drawer").forEach((aside) => {
    aside.setAttribute("aria-label", "on this page");
  });
});
