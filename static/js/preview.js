// Forms with kinds: shows what its kind needs, tells the next fires while somebody types. Reads data-preview-url, data-preview, data-shown-for, data-zone-name.
const WAIT = 200;
const NAMES = ["kind", "cron", "every", "every_unit", "once_at", "timezone", "starts_at", "ends_at"];
const form = document.querySelector("form:has([data-shown-for])");
let timer = 0;
let asked = 0;

function show() {
  const kind = new FormData(form).get("kind");
  for (const part of form.querySelectorAll("[data-shown-for]")) part.hidden = !part.dataset.shownFor.split(" ").includes(kind);
  // Times are typed on the clocks of the zone that the form names.
  for (const name of form.querySelectorAll("[data-zone-name]")) name.textContent = form.querySelector("[name=timezone]").value;
}

async function preview() {
  const mine = ++asked;
  const data = new FormData(form);
  const query = new URLSearchParams(NAMES.map((name) => [name, data.get(name) ?? ""]));
  try {
    const answer = await fetch(`${form.dataset.previewUrl}?${query}`, { headers: { Accept: "text/html" } });
    if (answer.ok && mine === asked) form.querySelector("[data-preview]").innerHTML = await answer.text();
  } catch { /* offline: the last preview stays, and saving checks again */ }
}

if (form) {
  show();
  form.addEventListener("redrawn", show);
  form.addEventListener("input", () => {
    show();
    clearTimeout(timer);
    if (form.dataset.previewUrl) timer = setTimeout(preview, WAIT);
  });
}
