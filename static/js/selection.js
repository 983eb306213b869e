// Ticked rows and the bar that says how many. Reads data-behavior=selection, data-behavior=all, data-selection, data-selected.
const FORM = "form[data-behavior=selection]";
const forms = () => document.querySelectorAll(FORM);
const boxes = (form) => [...form.querySelectorAll("input[name=id]")];

// Whether rows of this part of the page are ticked.
export const isSelecting = (part = document) => [...part.querySelectorAll("input[name=id]:checked")].some((box) => box.form?.matches(FORM));

function show(form) {
  const bar = form.querySelector("[data-selection]");
  if (!bar) return;
  const all = boxes(form);
  const n = all.filter((box) => box.checked).length;
  const isLeft = n === 0 && bar.contains(document.activeElement);
  bar.hidden = n === 0;
  if (isLeft) form.querySelector("[data-region]")?.focus({ preventScroll: true }); // the keyboard goes on at the rows
  bar.querySelector("[data-selected]").textContent = `${n} selected`;
  const head = form.querySelector("[data-behavior=all]");
  if (!head) return;
  head.checked = n > 0 && n === all.length;
  head.indeterminate = n > 0 && n < all.length;
}

function clearSelection(form) {
  for (const box of boxes(form)) box.checked = false;
  show(form);
}

// Unticks the rows that were sent; what was ticked while the answer was awaited stays ticked.
export function unselect(form, ids) {
  for (const box of boxes(form)) if (ids.includes(box.value)) box.checked = false;
  show(form);
}

// Returns whether anything was ticked.
export function clearSelections() {
  const was = isSelecting();
  forms().forEach(clearSelection);
  return was;
}

document.addEventListener("change", (event) => {
  const form = event.target.closest(FORM);
  if (!form) return;
  if (event.target.dataset.behavior === "all") for (const box of boxes(form)) box.checked = event.target.checked;
  show(form);
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-behavior=unselect]")) clearSelections();
});

// A page that Back brings back as it was left: what was selected there is over. Other pages restore no ticks (autocomplete=off).
window.addEventListener("pageshow", (event) => { if (event.persisted) forms().forEach(clearSelection); });
forms().forEach(show);
