// Clocks that tick, and the viewer's zone for the server. Reads time[data-behavior=relative] ("3 min ago") and time[data-behavior=elapsed] ("2 min 10 s").
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"]];

// As the server writes it: the two largest units, without one that is zero.
export function span(seconds) {
  const place = UNITS.findIndex(([size]) => seconds >= size);
  if (place < 0) return `${Math.max(0, Math.floor(seconds))} s`;
  const [size, unit] = UNITS[place];
  const [smaller, name] = UNITS[place + 1] ?? [1, "s"];
  const rest = Math.floor(seconds % size / smaller);
  return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${name}` : ""}`;
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
  for (const clock of document.querySelectorAll("time[data-behavior=relative], time[data-behavior=elapsed]")) {
    const seconds = (Date.now() - Date.parse(clock.dateTime)) / 1000;
    const words = clock.dataset.behavior === "elapsed" ? span(seconds) : relative(seconds);
    if (clock.textContent !== words) clock.textContent = words;
  }
}

setInterval(tick, 1000);

// The server draws times of day on the viewer's clocks.
document.cookie = `zone=${Intl.DateTimeFormat().resolvedOptions().timeZone}; path=/; max-age=31536000; samesite=lax`;
