// The log of a job: older lines as one scrolls up, newer ones as they come, search, level, wrapping.
// Reads data-behavior=log, data-log, data-part=lines|follow|wrap|first|last|search|older|newer|empty, data-older, data-newer, data-gone, data-live, data-empty.
import { heightKept, lastLine, lineAt, linesOf, putAfter } from "./loglines.js";

const GAP = 400; // milliseconds between two readings of a log that grows
const AGAIN = 3000; // milliseconds until a reading that the server could not answer is repeated
const MOST = 2000; // lines that are kept while the end is followed, and that come below one who reads above
const NEAR = 600; // pixels from an edge at which further lines are read
const root = document.querySelector("[data-behavior=log]");
const part = (name) => root.querySelector(`[data-part=${name}]`);
const list = root && part("lines");
const form = root?.querySelector("form");

let follows = false;
let unseen = 0;
let turn = 0; // answers to what was asked before the filter changed are not used
let replaced = null; // the first line that was rewritten since the last reading
let isGapNew = false; // lines that stand here were left out of the stored log
let busy = false;
let next = null; // what is asked while a reading is under way
let timer = 0;
let readAt = 0;

const filters = () => Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
const isAtEnd = () => list.scrollHeight - list.scrollTop - list.clientHeight < 8;

async function fetchPage(cursor) {
  const mine = turn;
  const answer = await fetch(`/jobs/${root.dataset.log}/log?${new URLSearchParams({ ...filters(), ...cursor })}`, { headers: { "X-Requested-With": "fetch", Accept: "text/html" } });
  if (answer.status === 401) location.reload();
  if (answer.status >= 500 || answer.status === 429) setTimeout(catchUp, AGAIN);
  if (!answer.ok || mine !== turn) return null;
  const made = document.createElement("template");
  made.innerHTML = await answer.text();
  return mine === turn ? made.content.querySelector("ol") : null;
}

// One reading at a time; what is asked meanwhile is done next.
async function alone(act) {
  if (busy) { if (next !== readLast) next = act; return; }
  busy = true;
  try { await act(); } catch { /* the pill says that we are offline; the next connection reads again */ }
  busy = false;
  readAt = Date.now();
  show();
  const following = next;
  next = null;
  if (following === readNew) catchUp();
  else if (following) alone(following);
}

async function readLast() {
  const page = await fetchPage({});
  if (!page) return;
  replaced = null;
  isGapNew = false;
  list.replaceChildren(...page.children);
  keepEdges(page, true, true);
  unseen = 0;
  toEnd();
  await fill();
}

async function readNew() {
  if (list.dataset.newer) { unseen = Math.max(unseen, replaced ? 0 : 1); replaced = null; return; }
  if (isGapNew) { await leave(); return; }
  const after = replaced ? lineAt(list, replaced, -1) : lastLine(list);
  replaced = null;
  if (!after && list.dataset.older) { await leave(); return; }
  const page = await fetchPage({ after: after?.dataset.id ?? 0 });
  if (!page) return;
  if ("gone" in page.dataset || (page.dataset.newer && follows)) { await leave(); return; }
  const added = putAfter(list, after, page);
  keepEdges(page, false, true);
  if (follows) { trim(); toEnd(); return; }
  unseen += added;
  if (unseen > MOST) list.dataset.newer = lastLine(list).dataset.id;
}

// What stands here is not what is stored any more: who follows gets the end, who reads keeps what is there.
async function leave() {
  if (follows) { await readLast(); return; }
  list.dataset.newer = lastLine(list)?.dataset.id ?? "0";
  unseen = Math.max(unseen, 1);
}

async function readOlder() {
  if (!list.dataset.older) return;
  const page = await fetchPage({ before: list.dataset.older });
  if (!page) return;
  heightKept(list, () => list.prepend(...page.children));
  keepEdges(page, true, false);
}

async function readNewer() {
  if (!list.dataset.newer) return;
  const page = await fetchPage({ after: list.dataset.newer });
  if (!page) return;
  if ("gone" in page.dataset) { follows = true; await readLast(); return; }
  putAfter(list, lastLine(list), page);
  keepEdges(page, false, true);
}

// A page of a search may hold few lines or none though there are more.
async function fill() {
  for (let n = 0; list.dataset.older && list.scrollHeight < list.clientHeight + NEAR && n < 20; n += 1) {
    const before = list.dataset.older;
    await readOlder();
    if (list.dataset.older === before) return;
    if (follows) toEnd();
  }
}

function keepEdges(page, older, newer) {
  if (older) list.dataset.older = page.dataset.older;
  if (newer) list.dataset.newer = page.dataset.newer;
  list.toggleAttribute("data-live", "live" in page.dataset);
  list.dataset.empty = page.dataset.empty;
}

function trim() {
  const surplus = linesOf(list).slice(0, -MOST);
  if (!surplus.length) return;
  const first = linesOf(list)[surplus.length];
  while (list.firstElementChild !== first) list.firstElementChild.remove();
  list.dataset.older = first.dataset.id;
}

function toEnd() { list.scrollTop = list.scrollHeight; }

function label() {
  if (!follows && unseen && list.dataset.newer) return unseen === 1 ? "New lines" : `${unseen.toLocaleString("en")}+ new lines`;
  if (!follows && unseen) return `${unseen.toLocaleString("en")} new ${unseen === 1 ? "line" : "lines"}`;
  if ("live" in list.dataset) return follows ? "Following" : "Follow";
  return "Last lines";
}

function show() {
  const button = part("follow");
  button.querySelector("span").textContent = label();
  button.setAttribute("aria-pressed", String(follows && "live" in list.dataset));
  button.toggleAttribute("data-new", !follows && unseen > 0);
  const empty = part("empty");
  empty.hidden = linesOf(list).length > 0 || Boolean(list.dataset.older);
  if (empty.hidden) return;
  const [words, clear] = empty.children;
  if (words.textContent !== list.dataset.empty) words.textContent = list.dataset.empty;
  clear.hidden = Object.keys(filters()).length < 2; // the first is the tab
}

function onScroll() {
  if (list.scrollTop < NEAR && list.dataset.older) alone(readOlder);
  if (list.dataset.newer && list.scrollHeight - list.scrollTop - list.clientHeight < NEAR) alone(readNewer);
  follows = isAtEnd() && !list.dataset.newer;
  if (follows) unseen = 0;
  show();
}

function search() {
  turn += 1;
  const shown = new URLSearchParams(filters());
  history.replaceState(history.state, "", `?${shown}`);
  for (const [name, extra] of [["first", "&after=0"], ["last", ""]]) part(name).href = `?${shown}${extra}`;
  follows = true;
  alone(readLast);
}

let typing = 0;
function listen() {
  list.addEventListener("scroll", onScroll, { passive: true });
  // Before the list has moved: lines that come in the same moment must not pull it back.
  list.addEventListener("wheel", (event) => { if (event.deltaY < 0 && list.scrollTop > 0) { follows = false; show(); } }, { passive: true });
  new ResizeObserver(() => { if (follows) toEnd(); }).observe(list);
  form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(typing); search(); });
  form.addEventListener("change", (event) => { if (event.target.matches("select")) search(); });
  form.addEventListener("input", (event) => {
    if (!event.target.matches("[type=search]")) return;
    clearTimeout(typing);
    typing = setTimeout(search, 300);
  });
  part("wrap").addEventListener("click", () => wrap(part("wrap").getAttribute("aria-pressed") !== "true"));
  part("follow").addEventListener("click", () => {
    if (follows && "live" in list.dataset) { follows = false; show(); return; }
    follows = true;
    if (list.dataset.newer || isGapNew) alone(readLast); else { unseen = 0; toEnd(); show(); }
  });
  part("last").addEventListener("click", (event) => { event.preventDefault(); follows = true; search(); });
}

function wrap(isWrapped) {
  part("wrap").setAttribute("aria-pressed", String(isWrapped));
  list.toggleAttribute("data-nowrap", !isWrapped);
  localStorage.setItem("log-wrap", isWrapped ? "on" : "off");
  if (follows) toEnd();
}

// The log may have grown: it is read on from its last line, at once when it has been quiet.
export function catchUp() {
  if (!root || timer) return;
  timer = setTimeout(() => { timer = 0; alone(readNew); }, Math.max(0, readAt + GAP - Date.now()));
}

// A message is a hint; the lines themselves are read from the server, as they are stored.
export function append(message) {
  if (!root || root.dataset.log !== message.job_id) return;
  for (const line of message.lines) {
    if (!line.replaces) continue;
    if (line.level === "gap") isGapNew = true;
    else replaced = earlier(replaced, line.at);
  }
  catchUp();
}

const earlier = (one, other) => (one && one < other ? one : other);

if (root) {
  for (const name of ["follow", "wrap"]) part(name).hidden = false;
  for (const name of ["search", "older", "newer", "last"]) part(name).hidden = true;
  wrap(localStorage.getItem("log-wrap") !== "off");
  const isPlaced = /[?&](before|after)=/.test(location.search);
  follows = !isPlaced && !list.dataset.newer;
  listen();
  if (follows) toEnd();
  alone(isPlaced && list.dataset.newer ? readNewer : fill);
}
