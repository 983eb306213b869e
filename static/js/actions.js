// Forms that do one thing: sent in the background, answered at once, never twice. Reads data-behavior=action|selection.
import { confirmed } from "./confirm.js";
import { keepForNextPage, offer, say } from "./messages.js";
import { isBusy, press, release, take } from "./pressed.js";
import { refreshAll } from "./regions.js";
import { unselect } from "./selection.js";

const FORMS = "form[data-behavior=action], form[data-behavior=selection]";

// The attribute: a button named "action" takes the place of the property form.action.
export const addressOf = (form, button) => button?.getAttribute("formaction") ?? form.getAttribute("action") ?? location.href;

function dataOf(form, button, more) {
  const data = new FormData(form, button ?? undefined);
  for (const [name, value] of Object.entries(more)) data.set(name, value);
  return data;
}

async function post(address, data) {
  const answer = await fetch(address, {
    method: "POST", body: data, headers: { "X-Requested-With": "fetch", Accept: "application/json" },
  });
  return { answer, body: await answer.json() };
}

// The server asks before anything that cannot be undone; the same request with the consent does it.
async function postWithConsent(address, data) {
  const first = await post(address, data);
  if (first.answer.status !== 428) return first;
  if (!await confirmed(first.body)) return null;
  data.set("confirmed", "yes");
  return post(address, data);
}

function show({ answer, body }) {
  if (!answer.ok) say(`${body.title}: ${body.detail}`, true);
  else if (body.undo) offer(body.message, body.undo);
  else say(body.message);
}

function go(address) {
  const next = new URL(address, location.href);
  const isHere = next.pathname === location.pathname && next.search === location.search;
  location.href = next.href;
  if (isHere && next.hash) location.reload();
}

// A control outside of all regions would go on to offer what has been done.
const isRead = (form) => form.closest("[data-region]") !== null || form.querySelector("[data-region]") !== null || !form.isConnected;

async function finish(form, done, selected) {
  if (done.answer.ok && done.body.location) { go(done.body.location); return; }
  if (done.answer.ok && !isRead(form)) { keepForNextPage(done.body); location.reload(); return; }
  show(done);
  if (done.answer.ok) unselect(form, selected);
  await refreshAll();
}

export async function send(form, button, more = {}) {
  if (isBusy(form, button)) return;
  const address = addressOf(form, button);
  const data = dataOf(form, button, more);
  const selected = more.id ? [] : data.getAll("id"); // the key of a row's own action sends no selection
  const mine = take(form, button);
  try {
    const done = await postWithConsent(address, data);
    if (done) await finish(form, done, selected);
  } catch {
    // The answer was lost, not the request: the server may have done it.
    say("The server did not answer. The action may or may not have been done. Check the current status before you try again.", true);
    refreshAll().catch(() => undefined);
  } finally {
    release(form, mine);
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target.closest(FORMS);
  if (!form) return;
  event.preventDefault();
  const button = event.submitter;
  const kind = press(button);
  if (kind === "same") send(form, button);
  if (kind === "changed") say("The button changed while you pressed it, so nothing was sent. Check it and press it again.", true);
});
