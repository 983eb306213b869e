// Forms that lose nothing: sent in the background, drawn again in place with what is wrong. Reads form[data-behavior=form] with an id,
// button[name=step], data-comparison, data-problems, data-redraws-for (the name of the field that a button draws the form for).
// Only the server draws forms. An expired session, a restarted or unreachable server leave everything that was typed on the page.
import { canLeave, markEdited } from "./edits.js";

const QUIET = 500;
const queues = new WeakMap();
const timers = new WeakMap();
const sending = new WeakSet(); // forms whose answer is due
const leaving = new WeakSet(); // forms that are done: their page is on its way
const MANAGED = "form[data-behavior=form]";
const HEADERS = { "X-Requested-With": "fetch", Accept: "text/html, application/json" };

// A page that Back has brought out of memory is alive again.
addEventListener("pageshow", () => document.querySelectorAll(MANAGED).forEach((form) => leaving.delete(form)));

// Shadowed properties: a field may be named "action" or "id".
const attribute = (form, name) => form.getAttribute(name);
const target = (form) => attribute(form, "action") || location.href;
const fields = (form) => [...form.elements].filter((one) => one.name && one.type !== "hidden" && one.type !== "submit");

async function request(form, entries) {
  const answer = await post(form, entries);
  if (answer.status !== 400 || !(await renewToken(form))) return answer;
  entries.set("csrf_token", form.querySelector("input[name=csrf_token]").value);
  return post(form, entries);
}

const post = (form, entries) => fetch(target(form), { method: "POST", headers: HEADERS, body: body(form, entries) });

function body(form, entries) {
  return attribute(form, "enctype") === "multipart/form-data" ? entries : new URLSearchParams([...entries].filter(([, value]) => typeof value === "string"));
}

// Somebody who has signed in again in another tab has a new token. True when it differs from the one of this page.
async function renewToken(form) {
  const answer = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const token = page.body.dataset.csrf;
  const input = form.querySelector("input[name=csrf_token]");
  if (answer.redirected || !token || !input || token === input.value) return false;
  for (const one of document.querySelectorAll("input[name=csrf_token]")) one.value = token;
  document.body.dataset.csrf = token;
  return true;
}

// One request of a form at a time, in the order of the clicks: each is made of what the one before has drawn.
function enqueue(form, work) {
  const next = (queues.get(form) ?? Promise.resolve()).then(work);
  queues.set(form, next.catch(() => undefined));
  return next;
}

async function send(form, button, step) {
  const entries = new FormData(form);
  if (step) entries.set("step", step);
  else if (button?.name && button.name !== "step") entries.set(button.name, button.value);
  const before = new Map(fields(form).map((one) => [one, state(one)]));
  button?.setAttribute("aria-busy", "true");
  try {
    const answer = await request(form, entries);
    await take(form, answer, step, before);
  } catch {
    if (step !== "compare") note(form, offline());
  } finally {
    button?.removeAttribute("aria-busy");
    if (!step) sending.delete(form);
  }
}

async function take(form, answer, step, before) {
  if (step === "compare" && !answer.ok) return; // nobody has asked for it
  const isPage = (answer.headers.get("Content-Type") ?? "").startsWith("text/html");
  if (answer.status === 401) { note(form, signIn()); return; }
  if (!isPage) {
    const told = await answer.json();
    if (answer.ok && told.location) { leaving.add(form); canLeave(form); location.href = told.location; return; }
    note(form, document.createTextNode(answer.ok ? told.message : `${told.title}. ${told.detail}`));
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const drawn = page.getElementById(attribute(form, "id"));
  if (answer.ok && !step) { canLeave(form); show(page); return; }
  if (!drawn) { note(form, offline()); return; }
  if (step === "compare") { compare(form, drawn); return; }
  redraw(form, drawn, before, Boolean(step));
}

// A page that shows something once, such as a new token, has no address of its own.
function show(page) {
  document.querySelector("main").replaceChildren(...page.querySelector("main").childNodes);
  document.querySelector("main .once, main h1")?.scrollIntoView({ block: "nearest" });
}

function compare(form, drawn) {
  const [old, fresh] = [form, drawn].map((one) => one.querySelector("[data-comparison]"));
  if (old && fresh) old.replaceChildren(...fresh.childNodes);
}

function redraw(form, drawn, before, isStep) {
  const focus = document.activeElement && form.contains(document.activeElement) ? mark(document.activeElement) : null;
  const opened = new Set([...form.querySelectorAll("details[open]")].map((one) => one.querySelector("summary")?.textContent));
  const old = new Map(fields(form).map((one) => [key(one), one]));
  form.replaceChildren(...drawn.childNodes);
  form.setAttribute("enctype", drawn.getAttribute("enctype") ?? "application/x-www-form-urlencoded");
  for (const one of fields(form)) keep(one, old.get(key(one)), before, isStep);
  for (const one of form.querySelectorAll("details")) one.open ||= opened.has(one.querySelector("summary")?.textContent);
  form.dispatchEvent(new CustomEvent("redrawn"));
  markEdited(form);
  place(form, focus, isStep);
}

// What was typed while the answer was under way stays; files and passwords, which no answer holds, stay too.
function keep(one, was, before, isStep) {
  if (!was) return;
  if (one.type === "file") { one.replaceWith(was); return; }
  const isChanged = before.has(was) && before.get(was) !== state(was);
  if (isChanged) restore(one, was);
  if (!isStep && one.type === "password" && !one.value && was.value) {
    one.value = was.value;
    const hint = one.closest(".field")?.querySelector("[data-retype]");
    if (hint) { hint.remove(); one.removeAttribute("aria-invalid"); one.removeAttribute("aria-describedby"); }
  }
}

const key = (one) => (one.type === "radio" ? `${one.name}=${one.value}` : one.name);
const state = (one) => (one.type === "checkbox" || one.type === "radio" ? String(one.checked) : one.value);

function restore(one, was) {
  if (one.type === "checkbox" || one.type === "radio") one.checked = was.checked;
  else one.value = was.value;
}

const mark = (one) => ({ id: one.id, step: one.name === "step" ? one.value : "" });

function place(form, focus, isStep) {
  const problems = form.querySelector("[data-problems]");
  if (!isStep && problems) { problems.focus(); return; }
  const added = focus?.step.startsWith("add:") ? lastOf(form, focus.step.slice(4)) : null;
  const same = focus?.step ? form.querySelector(`button[name=step][value="${CSS.escape(focus.step)}"]`) : null;
  const group = focus?.step ? document.getElementById(focus.step.slice(focus.step.indexOf(":") + 1).replace(/\.[^.]*$/, "")) : null;
  (added ?? same ?? document.getElementById(focus?.id || "-") ?? group)?.focus();
}

// The first field of the item that was added.
function lastOf(form, list) {
  const items = document.getElementById(list)?.querySelectorAll(":scope > .items > li, :scope > .formgrid");
  return items?.length ? items[items.length - 1].querySelector("input:not([type=hidden]), select, textarea, button") : null;
}

function note(form, content) {
  form.querySelector("[data-problems]")?.remove();
  const made = document.createElement("p");
  made.className = "note";
  made.dataset.state = "failed";
  made.dataset.problems = "";
  made.setAttribute("role", "alert");
  made.tabIndex = -1;
  const words = document.createElement("span");
  words.append(content);
  made.append(words);
  (form.querySelector(".stack") ?? form).prepend(made);
  made.focus();
}

const offline = () => document.createTextNode("The server did not answer. Your input is still here. Check whether it was saved before you submit it again.");

function signIn() {
  const words = document.createDocumentFragment();
  const link = Object.assign(document.createElement("a"), { href: "/sign-in", target: "_blank", textContent: "Sign in in a new tab" });
  words.append("Your session has expired. Your input is still here. ", link, ", then submit the form again.");
  return words;
}

document.addEventListener("submit", (event) => {
  const form = event.target.closest(MANAGED);
  if (!form) return;
  event.preventDefault();
  const button = event.submitter;
  if (button?.getAttribute("aria-busy") === "true") return;
  if (button?.dataset.confirm && !confirm(button.dataset.confirm)) return;
  const step = button?.name === "step" ? button.value : "";
  if (leaving.has(form) || (!step && sending.has(form))) return;
  if (!step) sending.add(form);
  clearTimeout(timers.get(form));
  enqueue(form, () => send(form, button, step));
});

document.addEventListener("input", (event) => {
  const form = event.target.closest(MANAGED);
  if (!form) return;
  markEdited(form);
  clearTimeout(timers.get(form));
  if (form.querySelector("[data-comparison]")) timers.set(form, setTimeout(() => enqueue(form, () => send(form, null, "compare")), QUIET));
});

document.addEventListener("change", (event) => {
  const form = event.target.closest(MANAGED);
  const button = form?.querySelector(`[data-redraws-for="${CSS.escape(event.target.name)}"]`);
  if (button) enqueue(form, () => send(form, button, button.value));
});
