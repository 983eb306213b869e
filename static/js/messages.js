// Messages lie over the page, so that nothing moves under the pointer. Reads data-toasts.
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
  const place = document.querySelector("[data-toasts]");
  if (!place) return;
  place.append(note(words, isError));
  while (place.childElementCount > MOST) place.firstElementChild.remove();
}

export const toast = (words) => say(words, true);
