// A word of what was done, where the server would put it, and toasts of what happened by itself. Reads data-messages, data-toasts.
const MOST = 4;

function note(words, isError) {
  const made = document.createElement("p");
  made.className = "note";
  made.dataset.state = isError ? "failed" : "completed";
  made.textContent = words;
  setTimeout(() => made.remove(), isError ? 15000 : 6000);
  return made;
}

export function say(words, isError = false) {
  document.querySelector("[data-messages]")?.replaceChildren(note(words, isError));
}

// Over the page, so that nothing moves under the pointer.
export function toast(words) {
  const place = document.querySelector("[data-toasts]");
  if (!place) return;
  place.append(note(words, true));
  while (place.childElementCount > MOST) place.firstElementChild.remove();
}
