// Bars and numbers patched in place. Reads data-job, data-version, data-part=bar|percent|done|rate|eta|message, data-counts,
// data-hides-zero.
import { span } from "./clocks.js";

const number = (value) => Math.round(value).toLocaleString("en");

export function compact(value) {
  if (value < 10000) return number(value);
  if (value >= 500000) return "500K+";
  return `${(value / 1000).toFixed(1).replace(".0", "")}K`;
}

function set(root, part, words) {
  const place = root.querySelector(`[data-part=${part}]`);
  if (place && place.textContent !== words) place.textContent = words;
}

function moveBar(bar, told) {
  if (!bar || told.total == null) return;
  const value = Math.round(told.progress * 100) / 100;
  // A bar that did not know its end has two covers; the first begins at nought, so the bar grows from there.
  const [cover, second] = bar.querySelectorAll(".rest");
  second?.remove();
  cover?.setAttribute("width", "100%");
  cover?.setAttribute("x", `${value}%`);
  bar.setAttribute("aria-valuenow", String(Math.round(value * 10) / 10));
}

export function patch(told) {
  for (const root of document.querySelectorAll(`[data-job="${CSS.escape(told.job_id)}"]`)) {
    if (Number(root.dataset.version ?? 0) > told.version) continue;
    root.dataset.version = told.version;
    moveBar(root.querySelector("[data-part=bar]"), told);
    if (told.progress != null && told.total != null) set(root, "percent", told.progress.toFixed(1));
    if (told.done != null) set(root, "done", told.total == null ? `${number(told.done)} so far` : `${number(told.done)} of ${number(told.total)}`);
    if (told.rate != null) set(root, "rate", `${compact(told.rate)}/s`);
    set(root, "eta", told.eta_seconds == null ? "" : root.matches(".progress") ? span(told.eta_seconds) : `${span(told.eta_seconds)} left`);
    if (told.message != null) set(root, "message", told.message);
  }
}

// The counts beside the states and the badges on every page, and the number of firing alerts in the title.
export function patchCounts(counts) {
  const values = { ...counts.statuses, stuck: counts.stuck, alerts: counts.alerts };
  for (const place of document.querySelectorAll("[data-counts]")) {
    const value = values[place.dataset.counts];
    if (value == null) continue;
    if (place.textContent !== compact(value)) place.textContent = compact(value);
    if ("hidesZero" in place.dataset) place.hidden = value === 0;
  }
  const title = document.title.replace(/^\(\d+\) /, "");
  document.title = counts.alerts ? `(${counts.alerts}) ${title}` : title;
}
