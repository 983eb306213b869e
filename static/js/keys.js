// Keys. Reads data-key on buttons and links, .row for j k x Enter, .filter input for /.
import { isOpen } from "./dialogs.js";
import { nextLook } from "./theme.js";

const PAGES = { o: "/", j: "/jobs", q: "/queues", w: "/workers", t: "/tasks", s: "/settings", a: "/alerts", k: "/stuck", h: "/health", c: "/schedules", r: "/triggers" };
let going = 0;

const rows = () => [...document.querySelectorAll("tr.row")];

function step(by) {
  const all = rows();
  const at = all.findIndex((row) => "focus" in row.dataset);
  const next = all[Math.min(all.length - 1, Math.max(0, at + by))];
  if (!next) return;
  if (at >= 0) delete all[at].dataset.focus;
  next.dataset.focus = "";
  next.scrollIntoView({ block: "nearest" });
}

function onRow(key) {
  const row = document.querySelector("tr.row[data-focus]");
  if (key === "x") row?.querySelector("input[type=checkbox]")?.click();
  if (key === "Enter") row?.querySelector("a")?.click();
}

const PLAIN = {
  "?": () => document.getElementById("keys")?.showModal(),
  t: nextLook,
  p: () => document.querySelector("[data-behavior=live]")?.click(),
  n: () => document.querySelector("[data-behavior=fresh]:not([hidden])")?.click(),
  j: () => step(1),
  k: () => step(-1),
  g: () => { going = Date.now(); },
};

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "k") {
    event.preventDefault();
    document.querySelector("[data-opens=palette]")?.click();
    return;
  }
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
  if (typing || isOpen() || event.ctrlKey || event.metaKey || event.altKey) return;
  if (Date.now() - going < 1500 && PAGES[event.key]) { location.href = PAGES[event.key]; return; }
  if (event.key === "/") { event.preventDefault(); document.querySelector(".filter input[type=text]")?.focus(); return; }
  if (PLAIN[event.key]) { PLAIN[event.key](); return; }
  if (event.key === "x" || (event.key === "Enter" && event.target === document.body)) { onRow(event.key); return; }
  document.querySelector(`[data-key="${CSS.escape(event.key)}"]`)?.click();
});
