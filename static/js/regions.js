// Regions: parts of a page that are read again from the server and patched in place. All that are due at one address are read
// in one request. Reads data-region, data-region-url, data-region-on ("counts changed changed:<kind>"), data-fresh.
import { Idiomorph } from "../vendor/idiomorph/idiomorph.esm.js";
import { isOpen } from "./dialogs.js";
import { isSelecting } from "./selection.js";

const GAP = 1000;
const sources = new Map(); // address: what is due there, and when it was read

function sourceOf(url) {
  if (!sources.has(url)) sources.set(url, { url, wanted: new Set(), at: 0, timer: 0, isFresh: false, loading: null });
  return sources.get(url);
}

// One reading of an address at a time: an answer that overtakes an earlier one would otherwise be overwritten by it.
async function load(source) {
  clearTimeout(source.timer);
  source.timer = 0;
  if (source.loading) {
    await source.loading.catch(() => undefined);
    return source.wanted.size ? load(source) : undefined;
  }
  source.at = Date.now();
  source.loading = read(source).finally(() => { source.loading = null; });
  return source.loading;
}

const isHeld = (region) => isOpen() || (region.contains(document.querySelector("input[name=id]:checked")) && isSelecting());

async function read(source) {
  const wanted = [...source.wanted].filter((region) => region.isConnected && !isHeld(region));
  const headers = { "X-Region": wanted.map((region) => region.dataset.region).join(","), Accept: "text/html" };
  // What somebody has just done must be seen; what others see may be up to a second old.
  if (source.isFresh) headers["X-Fresh"] = "1";
  source.wanted.clear();
  source.isFresh = false;
  if (!wanted.length) return;
  const answer = await fetch(source.url, { headers });
  if (answer.status === 401) { location.reload(); return; }
  if (!answer.ok) return;
  const html = await answer.text();
  if (wanted.length === 1) { patchRegion(wanted[0], html); return; }
  const parts = new DOMParser().parseFromString(html, "text/html").querySelectorAll("template[data-part-of]");
  for (const part of parts) {
    const region = wanted.find((one) => one.dataset.region === part.dataset.partOf);
    if (region) patchRegion(region, part.innerHTML);
  }
}

// Forms in a region come without the token of this session, because regions are shared between viewers.
function withTokens(html) {
  const content = document.createElement("template");
  content.innerHTML = html;
  for (const field of content.content.querySelectorAll("input[name=csrf_token]")) field.setAttribute("value", document.body.dataset.csrf);
  return content.content;
}

function patchRegion(region, html) {
  if (!region.isConnected || isHeld(region)) return;
  const content = withTokens(html);
  Idiomorph.morph(region, [...content.childNodes], { morphStyle: "innerHTML", ignoreActiveValue: true, callbacks: { beforeNodeMorphed: keeps } });
}

const newestLine = (log) => log.querySelector("li:last-child time")?.dateTime ?? "";

// Messages overtake what is read: a bar does not go back to where it was.
function keepProgress(before, after) {
  if (before.dataset.state !== after.dataset.state || Number(before.dataset.version ?? 0) <= Number(after.dataset.version ?? 0)) return;
  after.dataset.version = before.dataset.version;
  for (const part of after.querySelectorAll("[data-part]")) {
    const newer = before.querySelector(`[data-part="${part.dataset.part}"]`);
    if (newer) part.replaceWith(newer.cloneNode(true));
  }
}

// What a person has opened, typed, or what runs ahead of the row stays as it is. Of a flood not every line comes live:
// a log whose end is behind the stored one is read again.
function keeps(before, after) {
  if (before.dataset?.behavior === "log" && after.dataset?.behavior === "log") {
    return newestLine(before) < newestLine(after) || before.childElementCount <= after.childElementCount;
  }
  if (before.dataset?.job && before.dataset.job === after.dataset?.job) keepProgress(before, after);
  if (before.nodeName === "DETAILS" && after.nodeName === "DETAILS") after.open = before.open;
  return true;
}

// At once when it has been quiet, then at most once a second; the last wish is always granted.
export function refresh(region) {
  const source = sourceOf(region.dataset.regionUrl);
  source.wanted.add(region);
  if (source.timer) return;
  const wait = Math.max(0, source.at + GAP - Date.now());
  source.timer = setTimeout(() => load(source).catch(() => undefined), wait); // the pill says that we are offline
}

function readAll(isFresh) {
  for (const region of document.querySelectorAll("[data-region]")) {
    const source = sourceOf(region.dataset.regionUrl);
    source.wanted.add(region);
    source.isFresh ||= isFresh;
  }
  return Promise.all([...sources.values()].filter((source) => source.wanted.size).map((source) => load(source).catch(() => undefined)));
}

/** Read every region again after what this viewer has done. */
export const refreshAll = () => readAll(true);

/** Read every region again because something may have been missed. */
export const rereadAll = () => readAll(false);

export function refreshOn(event, kind) {
  for (const region of document.querySelectorAll("[data-region-on]")) {
    const wishes = region.dataset.regionOn.split(" ");
    if (wishes.includes(event) || (kind && wishes.includes(`${event}:${kind}`))) refresh(region);
  }
}
