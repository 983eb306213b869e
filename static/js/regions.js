// Regions: parts of a page that are read again from the server and patched in place. All that are due at one address are read
// in one request. Reads data-region, data-region-url, data-region-on ("counts changed changed:<kind>"), data-region-gap (seconds),
// data-region-lazy (the page comes without it).
import { Idiomorph } from "../vendor/idiomorph/idiomorph.esm.js";
import { isOpen } from "./dialogs.js";
import { isEditing } from "./edits.js";
import { catchUp } from "./logs.js";
import { keepPlaces } from "./places.js";
import { isBusy } from "./pressed.js";
import { isSelecting } from "./selection.js";

const GAP = 1000;
const gapOf = (region) => (Number(region.dataset.regionGap) * 1000) || GAP;
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

async function read(source) {
  if (isOpen()) return;
  const wanted = [...source.wanted].filter((region) => region.isConnected);
  const headers = { "X-Region": wanted.map((region) => region.dataset.region).join(","), Accept: "text/html" };
  // What somebody has just done must be seen; what others see may be up to a second old.
  if (source.isFresh) headers["X-Fresh"] = "1";
  source.wanted.clear();
  source.isFresh = false;
  if (!wanted.length) return;
  const answer = await fetch(source.url, { headers });
  if (answer.status === 401) { if (!isEditing()) location.reload(); return; }
  if (!answer.ok) return;
  const html = await answer.text();
  if (wanted.length === 1) { await patchRegion(wanted[0], html); return; }
  const parts = new DOMParser().parseFromString(html, "text/html").querySelectorAll("template[data-part-of]");
  for (const part of parts) {
    const region = wanted.find((one) => one.dataset.region === part.dataset.partOf);
    if (region) await patchRegion(region, part.innerHTML);
  }
}

// Forms in a region come without the token of this session, because regions are shared between viewers.
function withTokens(html) {
  const content = document.createElement("template");
  content.innerHTML = html;
  for (const field of content.content.querySelectorAll("input[name=csrf_token]")) field.setAttribute("value", document.body.dataset.csrf);
  return content.content;
}

// What somebody edits stays, and nothing else: a focused button is patched like any other element.
async function patchRegion(region, html) {
  if (!region.isConnected || isOpen()) return;
  const content = withTokens(html);
  const isReleased = await keepPlaces(region, content);
  if (!region.isConnected || isOpen()) return;
  const focused = region.contains(document.activeElement) ? document.activeElement : null;
  const place = focused?.closest("[id]")?.id;
  const holdsRows = isSelecting(region) && !isReleased;
  const keepsRow = (node) => !(holdsRows && node.matches?.("tr.row"));
  const keepsSelected = (node) => keepsRow(node) && !(node.matches?.("tr.row") && isSelecting(node));
  const callbacks = {
    beforeNodeMorphed: keeps,
    beforeAttributeUpdated: mayUpdate,
    beforeNodeAdded: keepsRow,
    beforeNodeRemoved: keepsSelected,
  };
  Idiomorph.morph(region, [...content.childNodes], { morphStyle: "innerHTML", callbacks });
  if (focused && focused !== document.activeElement) focusAgain(region, focused, place);
}

const canFocus = (one) => one.checkVisibility() && !one.disabled;

// A control that was moved loses the focus, too. Where it is gone, the keyboard goes on at its row or region and not at the top
// of the page.
function focusAgain(region, focused, id) {
  if (focused.isConnected && canFocus(focused)) { focused.focus({ preventScroll: true }); return; }
  const place = id ? region.querySelector(`#${CSS.escape(id)}`) : null;
  const next = [...(place?.querySelectorAll("a[href], button") ?? [])].find(canFocus) ?? region;
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

// Messages overtake what is read: a bar does not go back to where it was.
function keepProgress(before, after) {
  if (before.dataset.state !== after.dataset.state || Number(before.dataset.version ?? 0) <= Number(after.dataset.version ?? 0)) return;
  after.dataset.version = before.dataset.version;
  for (const part of after.querySelectorAll("[data-part]")) {
    const newer = before.querySelector(`[data-part="${part.dataset.part}"]`);
    if (newer) part.replaceWith(newer.cloneNode(true));
  }
}

// What a person has opened, typed, or what runs ahead of the row stays as it is. A log reads its own lines.
function keeps(before, after) {
  if (before.dataset?.behavior === "log" && after.dataset?.behavior === "log") {
    catchUp();
    return false;
  }
  if (before.dataset?.whole !== undefined && before.id === after.id) return false; // all of a long text has been loaded
  if (before.dataset?.job && before.dataset.job === after.dataset?.job) keepProgress(before, after);
  if (before.nodeName === "DETAILS" && after.nodeName === "DETAILS") after.open = before.open;
  return !(before.nodeName === "SELECT" && before === document.activeElement);
}

// At once when it has been quiet, then at most once a second, or once in its own gap; the last wish is always granted.
export function refresh(region) {
  const source = sourceOf(region.dataset.regionUrl);
  source.wanted.add(region);
  if (source.timer) return;
  const wait = Math.max(0, source.at + gapOf(region) - Date.now());
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

document.querySelectorAll("[data-region-lazy]").forEach(refresh);

// Nothing moves behind an open dialog; what has changed meanwhile is read when it closes.
document.addEventListener("close", () => refreshAll(), true);
