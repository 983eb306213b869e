// Lines of a running job's log, appended as they come. Reads data-log, data-behavior=follow, data-log-empty.
const MOST = 2000;
const SEVERITY = { warning: "warning", error: "critical" };

const follows = () => document.querySelector("[data-behavior=follow]")?.getAttribute("aria-pressed") !== "false";

function lineOf(entry) {
  const line = document.createElement("li");
  line.dataset.level = entry.level;
  if (SEVERITY[entry.level]) { line.className = "spine"; line.dataset.severity = SEVERITY[entry.level]; }
  const clock = document.createElement("time");
  clock.dateTime = entry.at;
  clock.textContent = entry.at.slice(11, 19);
  const level = document.createElement("span");
  level.textContent = entry.level;
  const words = document.createElement("span");
  words.textContent = entry.line;
  line.append(clock, level, words);
  return line;
}

// A line that was rewritten, as progress bars do, takes the place of its earlier state.
function putLine(log, entry) {
  const line = lineOf(entry);
  if (entry.replaces) log.querySelector(`time[datetime="${CSS.escape(entry.at)}"]`)?.closest("li").replaceWith(line);
  else log.append(line);
}

export function append(message) {
  const log = document.querySelector(`[data-log="${CSS.escape(message.job_id)}"]`);
  if (!log) return;
  document.querySelector("[data-log-empty]")?.remove();
  for (const line of message.lines) putLine(log, line);
  while (log.childElementCount > MOST) log.firstElementChild.remove();
  if (follows()) log.scrollTop = log.scrollHeight;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-behavior=follow]");
  if (button) button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") === "false"));
});
