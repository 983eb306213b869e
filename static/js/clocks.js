// Clocks that tick, and the viewer's zone for the server. Reads time[data-behavior=relative] ("3 m ago") and time[data-behavior=elapsed] ("2 m 10 s").
const UNITS = [[86400, "d"], [3600, "h"], [60, "m"]];

export function span(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  const pad = (value) => String(Math.floor(value)).padStart(2, "0");
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${pad(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${pad((seconds % 3600) / 60)} m`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

function relative(seconds) {
  const away = Math.abs(seconds);
  if (away < 1) return "just now";
  const [size, unit] = UNITS.find(([one]) => away >= one) ?? [1, "s"];
  const words = `${Math.floor(away / size)} ${unit}`;
  return seconds > 0 ? `${words} ago` : `in ${words}`;
}

function tick() {
  if (document.hidden) return;
  for (const clock of document.querySelectorAll("time[data-behavior]")) {
    const seconds = (Date.now() - Date.parse(clock.dateTime)) / 1000;
    const words = clock.dataset.behavior === "elapsed" ? span(seconds) : relative(seconds);
    if (clock.textContent !== words) clock.textContent = words;
  }
}

setInterval(tick, 1000);

// The server draws times of day on the viewer's clocks.
document.cookie = `zone=${Intl.DateTimeFormat().resolvedOptions().timeZone}; path=/; max-age=31536000; samesite=lax`;
