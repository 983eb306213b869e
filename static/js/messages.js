// Messages lie over the page, so that nothing moves under the pointer. Reads data-toasts.
const MOST = 4;
const UNDO_MS = 10_000;
const KEPT = "taskyard.message";

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

function undoForm(undo) {
  const form = document.createElement("form");
  form.method = "post";
  form.setAttribute("action", undo.url);
  form.className = "inline";
  form.dataset.behavior = "action";
  const token = document.createElement("input");
  Object.assign(token, { type: "hidden", name: "csrf_token", value: document.body.dataset.csrf });
  const button = document.createElement("button");
  Object.assign(button, { type: "submit", className: "btn", textContent: "Undo", title: "Undo (z)" });
  button.dataset.key = "z";
  button.dataset.atOnce = "";
  form.append(token, button);
  return form;
}

// The keyboard goes back to where it came from when the button that it was on goes away.
function watchFocus(made) {
  let origin = null;
  made.addEventListener("focusin", ({ relatedTarget }) => { if (relatedTarget && !made.contains(relatedTarget)) origin = relatedTarget; });
  return () => {
    const isFocused = made.contains(document.activeElement);
    made.remove();
    if (isFocused) (origin?.isConnected ? origin : document.getElementById("page"))?.focus({ preventScroll: true });
  };
}

// Stays while the pointer or the focus is on it: a button must not go away as it is reached for.
function removeLater(made) {
  setTimeout(() => {
    if (made.matches(":hover, :focus-within")) removeLater(made);
    else made.remove();
  }, UNDO_MS);
}

// A message with Undo, over the page, for ten seconds.
export function offer(words, undo) {
  const place = document.querySelector("[data-toasts]");
  if (!place) return;
  place.querySelectorAll("[data-undo]").forEach((earlier) => earlier.remove());
  const made = document.createElement("div");
  made.className = "note";
  made.dataset.state = "completed";
  made.dataset.undo = "";
  const text = document.createElement("span");
  text.textContent = words;
  made.append(text, undoForm(undo));
  const dismiss = watchFocus(made);
  made.addEventListener("submit", () => queueMicrotask(dismiss));
  place.append(made);
  removeLater(made);
}

// For a page that is about to be read again as a whole.
export function keepForNextPage({ message, undo }) {
  sessionStorage.setItem(KEPT, JSON.stringify({ message, undo }));
}

function showKept() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  sessionStorage.removeItem(KEPT);
  if (!kept) return;
  if (kept.undo) offer(kept.message, kept.undo);
  else say(kept.message);
}

showKept();
