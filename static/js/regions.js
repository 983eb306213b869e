// Regions: parts of a page that are read again from the server and patched in place.
// Reads data-region, data-region-url, data-region-on ("counts changed changed:<kind>"), data-fresh.
import { Idiomorph } from "../vendor/idiomorph/idiomorph.esm.js";
import { isOpen } from "./dialogs.js";
import { isEditing } from "./edits.js";
import { isSelecting } from "./selection.js";

const GAP = 1000;
const state = new WeakMap();

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
  if (isOpen() || (region.contains(document.querySelector("input[name=id]:checked")) && isSelecting())) return;
  const answer = await fetch(region.dataset.regionUrl, { headers: { "X-Region": region.dataset.region, Accept: "text/html" } });
  if (answer.status === 401) { if (!isEditing()) location.reload(); return; }
  if (!answer.ok) return;
  const html = await answer.text();
  Idiomorph.morph(region, html, { morphStyle: "innerHTML", ignoreActiveValue: true, callbacks: { beforeNodeMorphed: keeps } });
}

const newestLine = (log) => log.querySelector("li:last-child time")?.dateTime ?? "";

// What a person has opened, typed, or what runs ahead of the row stays as it is. Of a flood not every line comes live:
// a log whose end is behind the stored one is read again.
function keeps(before, after) {
  if (before.dataset?.behavior === "log" && after.dataset?.behavior === "log") {
    return newestLine(before) < newestLine(after) || before.childElementCount <= after.childElementCount;
  }
  if (before.nodeName === "DETAILS" && after.nodeName === "DETAILS") after.open = before.open;
  return true;
}

// At once when it has been quiet, then at most once a second; the last wish is always granted.
export function refresh(region) {
  const mine = state.get(region) ?? { at: 0, timer: 0 };
  state.set(region, mine);
  if (mine.timer) return;
  const wait = Math.max(0, mine.at + GAP - Date.now());
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
