// Keys. Reads data-key on buttons and links, .filter input for /.
import { send } from "./actions.js";
import { isOpen } from "./dialogs.js";
import { focusedRow, keyed, open, select, step } from "./rows.js";
import { clearSelections } from "./selection.js";
import { nextLook } from "./theme.js";

const PAGES = { o: "/", j: "/jobs", q: "/queues", w: "/workers", t: "/tasks", s: "/settings", a: "/alerts", k: "/stuck", h: "/health", c: "/schedules", r: "/triggers" };
const GO_WITHIN_MS = 1500;
let going = 0;

const PLAIN = {
  "?": () => document.getElementById("keys")?.showModal(),
  "/": () => document.querySelector(".filter input[type=text]")?.focus(),
  t: nextLook,
  p: () => document.querySelector("[data-behavior=live]")?.click(),
  n: () => document.querySelector("[data-behavior=fresh]:not([hidden])")?.click(),
  j: () => step(1),
  k: () => step(-1),
  x: select,
  g: () => { going = Date.now(); },
};

// A key is pressed by mistake more easily than a button: what it would do is asked first.
function pressButton(button) {
  if (button.matches("form[data-behavior] button:not([data-at-once])")) send(button.form, button, { confirm: "ask" });
  else button.click();
}

// On a list of jobs r and c mean the ticked jobs, or the one in the focused row.
function pressForRow(key) {
  const row = focusedRow();
  const box = row?.querySelector("input[name=id]");
  const button = box?.form?.querySelector(`button[data-row-key="${CSS.escape(key)}"]`);
  if (!button || box.form.querySelector("input[name=id]:checked")) return false;
  send(box.form, button, { confirm: "ask", id: box.value });
  return true;
}

function pressSelection(key) {
  const button = document.querySelector(`[data-selection]:not([hidden]) button[data-row-key="${CSS.escape(key)}"]`);
  if (button) pressButton(button);
  return Boolean(button);
}

function goTo(key) {
  const isGoing = Date.now() - going < GO_WITHIN_MS;
  going = 0;
  if (isGoing && PAGES[key]) location.href = PAGES[key];
  return isGoing && key in PAGES;
}

function openPalette(event) {
  if (!(event.ctrlKey || event.metaKey) || event.key !== "k") return false;
  event.preventDefault();
  document.querySelector("[data-opens=palette]")?.click();
  return true;
}

function escape(target) {
  if (target.matches?.(".filter input")) target.blur();
  clearSelections();
}

function act(event) {
  const { key, target } = event;
  if (goTo(key)) return true;
  if (PLAIN[key]) { PLAIN[key](); return true; }
  if (key === "Enter") return open(target);
  if (event.repeat) return false;
  if (pressForRow(key) || pressSelection(key)) return true;
  const button = key.length === 1 ? keyed(key) : null;
  if (button) pressButton(button);
  return Boolean(button);
}

document.addEventListener("keydown", (event) => {
  if (openPalette(event) || isOpen()) return;
  if (event.key === "Escape") { escape(event.target); return; }
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (act(event)) event.preventDefault();
});
