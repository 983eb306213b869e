// Go to or do. Reads #palette; asks GET /palette?q=.
const dialog = document.getElementById("palette");
const input = dialog?.querySelector("input");
const list = document.getElementById("palette-list");
let asked = 0;

function option(item, index) {
  const row = document.createElement("div");
  row.setAttribute("role", "option");
  row.id = `palette-${index}`;
  row.dataset.url = item.url;
  const note = document.createElement("span");
  note.className = "dim";
  note.textContent = ` ${item.note}`;
  const words = document.createElement("span");
  words.className = "clip";
  words.append(item.label, note);
  row.append(words);
  return row;
}

async function look() {
  const mine = ++asked;
  const answer = await fetch(`/palette?q=${encodeURIComponent(input.value)}`, { headers: { Accept: "application/json" } });
  if (!answer.ok || mine !== asked) return;
  const { groups } = await answer.json();
  let index = 0;
  list.replaceChildren(...groups.map((group) => {
    const part = document.createElement("div");
    part.setAttribute("role", "group");
    part.setAttribute("aria-label", group.title);
    const head = document.createElement("span");
    head.className = "palette__h";
    head.setAttribute("role", "presentation");
    head.textContent = group.title;
    part.append(head, ...group.items.map((item) => option(item, index++)));
    return part;
  }));
  choose(0);
}

const options = () => [...list.querySelectorAll("[role=option]")];

function choose(at) {
  const all = options();
  const wanted = Math.max(0, Math.min(all.length - 1, at));
  all.forEach((one, index) => one.setAttribute("aria-selected", String(index === wanted)));
  all[wanted]?.scrollIntoView({ block: "nearest" });
  input.setAttribute("aria-activedescendant", all[wanted]?.id ?? "");
}

const chosen = () => options().findIndex((one) => one.getAttribute("aria-selected") === "true");

input?.addEventListener("input", look);
dialog?.addEventListener("toggle", () => { if (dialog.open) { input.select(); look(); } });
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-opens=palette]")) { input.value = ""; look(); }
  const row = event.target.closest("#palette-list [role=option]");
  if (row) location.href = row.dataset.url;
});
dialog?.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") { event.preventDefault(); choose(chosen() + 1); }
  if (event.key === "ArrowUp") { event.preventDefault(); choose(chosen() - 1); }
  if (event.key === "Enter") { event.preventDefault(); const row = options()[chosen()]; if (row) location.href = row.dataset.url; }
});
