// Long texts of which a page holds the beginning: all of it on demand. Reads data-behavior=part|whole, data-part=text, sets data-whole.
import { say } from "./messages.js";

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-behavior=whole]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const part = link.closest("[data-behavior=part]");
  link.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(link.href, { headers: { "X-Requested-With": "fetch" } });
    if (!answer.ok) throw new Error(answer.statusText);
    const text = await answer.text();
    part.querySelector("[data-part=text]").textContent = text;
    part.dataset.whole = "";
    part.querySelector("[data-part=length]").textContent = `${text.length.toLocaleString("en")} characters`;
    link.remove();
  } catch {
    link.removeAttribute("aria-busy");
    say("The text could not be loaded. Check the connection, then try again.", true);
  }
});
