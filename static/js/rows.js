// Rows by key: j and k move the focus, x selects, Enter opens, a letter presses the row's own button.
// Reads .row, .alarm, .trigger and .job, data-key inside of them.
const ROWS = "#page :is(tr.row, li.alarm, li.trigger, li.job, article.verdict)";
const rows = () => [...document.querySelectorAll(ROWS)].filter((row) => row.checkVisibility());

export const focusedRow = () => document.activeElement?.closest(ROWS) ?? null;

function focusOn(row) {
  const link = row.querySelector("a[href]");
  if (!link) row.tabIndex = -1;
  (link ?? row).focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

export function step(by) {
  const all = rows();
  const at = all.indexOf(focusedRow());
  const next = all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + by))];
  if (next) focusOn(next);
}

export const select = () => focusedRow()?.querySelector("input[type=checkbox]")?.click();

// A link that has the focus opens itself; this is for the rest of its row.
export function open(target) {
  if (target.closest("a, button, summary, input:not([type=checkbox])")) return false;
  const link = focusedRow()?.querySelector("a[href]");
  link?.click();
  return Boolean(link);
}

const find = (part, key) => [...part.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)].filter((one) => one.checkVisibility());

// What a key presses: a button of the focused row, else of the selection or the page, never of a row that is not focused.
export function keyed(key) {
  const row = focusedRow();
  const [own] = row ? find(row, key) : [];
  return own ?? find(document, key).find((one) => !one.closest(ROWS)) ?? null;
}
