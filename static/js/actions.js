// Forms that do one thing: sent in the background, answered at once, never twice. Reads data-behavior=action|selection, data-confirm.
import { say } from "./messages.js";
import { refreshAll } from "./regions.js";

async function send(form, button) {
  const data = new FormData(form, button ?? undefined);
  button?.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.action, {
      method: "POST", body: data, headers: { "X-Requested-With": "fetch", Accept: "application/json" },
    });
    const told = await answer.json();
    if (answer.ok && told.location) { location.href = told.location; return; }
    say(answer.ok ? told.message : `${told.title}: ${told.detail}`, !answer.ok);
    await refreshAll();
  } catch {
    // The answer was lost, not the request: the server may have done it.
    say("No answer arrived, so the action may or may not have been done. Check the current state before you try again.", true);
    refreshAll().catch(() => undefined);
  } finally {
    button?.removeAttribute("aria-busy");
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-behavior=action], form[data-behavior=selection]");
  if (!form) return;
  event.preventDefault();
  const button = event.submitter;
  if (button?.getAttribute("aria-busy") === "true") return;
  if (button?.dataset.confirm && !confirm(button.dataset.confirm)) return;
  send(form, button);
});
