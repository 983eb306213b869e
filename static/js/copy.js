// Copying. Reads data-copy (the text), data-copy-url (where a long text is read when it is copied).
import { say } from "./messages.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-url]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy ?? await textOf(button.dataset.copyUrl));
    say("Copied.");
  } catch {
    say("The browser does not allow copying here.", true);
  }
});

async function textOf(url) {
  const answer = await fetch(url, { headers: { "X-Requested-With": "fetch" } });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.text();
}
