// Lines of a running job's log, appended as they come. Reads data-log, data-behavior=follow, data-log-empty.
const MOST = 2000;
const SEVERITY = { warning: "warning", error: "critical" };

const follows = () => document.querySelector("[data-behavior=follow]")?.getAttribute("aria-pressed") !== "false";

function lineOf(told) {
  const line = document.createElement("li");
  line.dataset.level = told.level;
  if (SEVERITY[told.level]) { line.className = "spine"; line.dataset.severity = SEVERITY[told.level]; }
  const clock = document.createElement("time");
  clock.dateTime = told.at;
  clock.textContent = told.at.slice(11, 19);
  const level = document.createElement("span");
  level.textContent = told.level;
  const words = document.createElement("span");
  words.textContent = told.line;
  line.append(clock, level, words);
  return line;
}

// A line that was rewritten, as progress bars do, takes the place of its earlier state.
function put(log, told) {
  const line = lineOf(told);
  if (told.replaces) log.querySelector(`time[datetime="${CSS.escape(told.at)}"]`)?.closest("li").replaceWith(line);
  else log.append(line);
}

export function append(told) {
  const log = document.querySelector(`[data-log="${CSS.escape(told.job_id)}"]`);
  if (!log) return;
  document.querySelector("[data-log-empty]")?.remove();
  for (const line of told.lines) put(log, line);
  while (log.childElementCount > MOST) log.firstElementChild.remove();
  if (follows()) log.scrollTop = log.scrollHeight;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-behavior=follow]");
  if (button) button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") === "false"));
});
