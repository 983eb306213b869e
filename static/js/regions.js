// Regions: parts of a page that are read again from the server and patched in place.
// Reads data-region, data-region-url, data-region-on ("counts changed changed:<kind>"), data-region-gap (seconds), data-fresh.
import { Idiomorph } from "../vendor/idiomorph/idiomorph.esm.js";
import { isOpen } from "./dialogs.js";
import { isBusy } from "./pressed.js";
import { isSelecting } from "./selection.js";

const GAP = 1000;
const state = new WeakMap();
const gapOf = (region) => (Number(region.dataset.regionGap) * 1000) || GAP;

// One reading of a region at a time: an answer that overtakes an earlier one would otherwise be overwritten by it.
async function load(region) {
  const mine = state.get(region) ?? { at: 0, timer: 0 };
  state.set(region, mine);
  if (mine.loading) { mine.again = true; return mine.loading; }
  mine.loading = read(region).finally(() => {
    mine.loading = null;
    if (mine.again) { mine.again = false; return load(region); }
    return undefined;
  });
  return mine.loading;
}

async function read(region) {
  if (isOpen()) return;
  const answer = await fetch(region.dataset.regionUrl, { headers: { "X-Region": region.dataset.region, Accept: "text/html" } });
  if (answer.status === 401) { location.reload(); return; }
  if (!answer.ok) return;
  const html = await answer.text();
  patch(region, html);
}

// What somebody edits stays, and nothing else: a focused button is patched like any other element.
function patch(region, html) {
  const focused = region.contains(document.activeElement) ? document.activeElement : null;
  const place = focused?.closest("[id]")?.id;
  const holdsRows = isSelecting(region);
  const keepsRow = (node) => !(holdsRows && node.matches?.("tr.row"));
  const callbacks = {
    beforeNodeMorphed: keeps,
    beforeAttributeUpdated: mayUpdate,
    beforeNodeAdded: keepsRow,
    beforeNodeRemoved: keepsRow,
  };
  Idiomorph.morph(region, html, { morphStyle: "innerHTML", callbacks });
  if (focused && !focused.isConnected) focusNear(region, place);
}

// Where a control that had the focus is gone, the keyboard goes on at its row or region and not at the top of the page.
function focusNear(region, id) {
  const next = document.getElementById(id)?.querySelector("a[href], button:enabled") ?? region;
  if (next === region) region.tabIndex = -1;
  next.focus({ preventScroll: true });
}

const FIELDS = "input, select, textarea";
const edited = new WeakSet();
document.addEventListener("input", (event) => edited.add(event.target), true);
document.addEventListener("submit", (event) => event.target.querySelectorAll(FIELDS).forEach((field) => edited.delete(field)), true);

function isEdited(node) {
  const field = node.closest(FIELDS);
  return field !== null && (edited.has(field) || (field === document.activeElement && !field.matches("[type=checkbox], [type=radio]")));
}

function mayUpdate(name, node) {
  if (["value", "checked", "selected"].includes(name) && isEdited(node)) return false;
  if (name === "checked" && node.matches("input[name=id], [data-behavior=all]")) return false;
  if (name === "aria-busy" && isBusy(node.form, node)) return false;
  return !(name === "tabindex" && node === document.activeElement);
}

const newestLine = (log) => log.querySelector("li:last-child time")?.dateTime ?? "";

// What a person has opened, typed, or what runs ahead of the row stays as it is. Of a flood not every line comes live:
// a log whose end is behind the stored one is read again.
function keeps(before, after) {
  if (before.dataset?.behavior === "log" && after.dataset?.behavior === "log") {
    return newestLine(before) < newestLine(after) || before.childElementCount <= after.childElementCount;
  }
  if (before.nodeName === "DETAILS" && after.nodeName === "DETAILS") after.open = before.open;
  return !(before.nodeName === "SELECT" && before === document.activeElement);
}

// At once when it has been quiet, then at most once a second, or once in its own gap; the last wish is always granted.
export function refresh(region) {
  const mine = state.get(region) ?? { at: 0, timer: 0 };
  state.set(region, mine);
  if (mine.timer) return;
  const wait = Math.max(0, mine.at + gapOf(region) - Date.now());
  mine.timer = setTimeout(async () => {
    mine.at = Date.now();
    mine.timer = 0;
    try { await load(region); } catch { /* the pill says that we are offline */ }
  }, wait);
}

export const refreshAll = () => Promise.all([...document.querySelectorAll("[data-region]")].map((region) => load(region).catch(() => undefined)));

export function refreshOn(event, kind) {
  for (const region of document.querySelectorAll("[data-region-on]")) {
    const wishes = region.dataset.regionOn.split(" ");
    if (wishes.includes(event) || (kind && wishes.includes(`${event}:${kind}`))) refresh(region);
  }
}

// Nothing moves behind an open dialog; what has changed meanwhile is read when it closes.
document.addEventListener("close", () => refreshAll(), true);
