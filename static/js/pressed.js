// What somebody has pressed: the forms whose answer is awaited, and what a button offered when the mouse went down on it.
// A page that changes under the pointer must not turn a press of one button into another action.
const busy = new Map();
let aim = null; // { offer, clicks }, or null for a press of a key

const addressOf = (button) => button.getAttribute("formaction") ?? button.form.getAttribute("action");

// What a button does: where its form goes and the value that it sends.
const offerOf = (button) => (button?.form ? `${addressOf(button)} ${button.value}` : "");

// Whether the answer to what this button offers is awaited; what a new page offers in its place can be pressed already.
export const isBusy = (form, button) => busy.has(form) && busy.get(form).offer === offerOf(button);

// Returns what `release` needs: a later press of the same form is not released by an earlier one.
export function take(form, button) {
  const mine = { button, offer: offerOf(button) };
  busy.set(form, mine);
  button?.setAttribute("aria-busy", "true");
  return mine;
}

export function release(form, mine) {
  if (busy.get(form) !== mine) return;
  mine.button?.removeAttribute("aria-busy");
  busy.delete(form);
}

// All clicks of a double click are aimed at what stood there for the first one.
document.addEventListener("mousedown", (event) => {
  if (event.detail > 1 && aim) aim.clicks = event.detail;
  else aim = { offer: offerOf(event.target.closest("button")), clicks: 1 };
}, true);

document.addEventListener("click", (event) => { if (event.detail === 0) aim = null; }, true);

// "same" when the button offers what it did as it was pressed, "changed" when it does not, "again" for a later click of a double click.
export function press(button) {
  if (!aim || aim.offer === offerOf(button)) return "same";
  return aim.clicks > 1 ? "again" : "changed";
}
