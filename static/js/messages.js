// A word of what was done, where the server would put it. Reads data-messages.
export function say(words, isError = false) {
  const place = document.querySelector("[data-messages]");
  if (!place) return;
  const note = document.createElement("p");
  note.className = "note";
  note.dataset.state = isError ? "failed" : "completed";
  note.textContent = words;
  place.replaceChildren(note);
  setTimeout(() => note.remove(), isError ? 15000 : 6000);
}
