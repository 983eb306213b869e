// Rows keep their place: a live update changes what stands in a row, and neither its position nor which rows there are.
// Reads [data-rows] around rows with ids: "hold" (new rows wait behind the button), "slots" (a new row takes the place of one
// that has ended), else new rows come last; data-rows-url on the region gives rows that left the list; [data-behavior=fresh].
const asked = new WeakSet();

// The next reading of a region may show the rows in the server's order.
export const releasePlaces = (region) => asked.add(region);

const rowsOf = (list) => [...list.children].filter((row) => row.id);

// Arranges what is to be drawn after what is on the screen. Returns whether somebody has asked for the server's order instead.
export async function keepPlaces(region, content) {
  if (asked.delete(region)) { show(region, 0, 0); return true; }
  let fresh = 0;
  let gone = 0;
  for (const [index, list] of [...region.querySelectorAll("[data-rows]")].entries()) {
    const shown = rowsOf(list);
    if (!shown.length) continue;
    const next = nextList(content, list, index) ?? emptied(region, content, list);
    if (!next) continue;
    const left = await rowsThatLeft(region, shown.filter((row) => !rowById(next, row.id)));
    const changes = arrange(list, next, shown, left);
    fresh += changes.fresh;
    gone += changes.gone;
  }
  show(region, fresh, gone);
  return false;
}

function nextList(content, list, index) {
  const lists = [...content.querySelectorAll("[data-rows]")];
  return list.id ? lists.find((one) => one.id === list.id) : lists[index];
}

// A list that has become empty stays on the screen until somebody asks, with its rows as they are now.
function emptied(region, content, list) {
  if (list.dataset.rows !== "hold") return null;
  content.replaceChildren(...[...region.childNodes].map((node) => node.cloneNode(true)));
  const next = content.querySelector("[data-rows]");
  next.replaceChildren();
  return next;
}

const rowById = (list, id) => rowsOf(list).find((row) => row.id === id);

function arrange(list, next, shown, left) {
  const added = rowsOf(next).filter((row) => !shown.some((one) => one.id === row.id));
  const mode = list.dataset.rows;
  const waiting = [...added];
  const order = shown.map((row) => {
    const same = rowById(next, row.id) ?? left.get(row.id);
    if (same) return same;
    const canGo = mode === "slots" && !row.matches(":hover, :focus-within");
    return (canGo && waiting.shift()) || goneRow(row);
  });
  const gone = order.filter((row) => "gone" in row.dataset).length;
  for (const row of rowsOf(next)) row.remove();
  next.append(...order);
  if (mode === "hold") return { fresh: added.length, gone };
  if (mode !== "slots" || order.length < list.childElementCount) next.append(...waiting);
  return { fresh: 0, gone };
}

function goneRow(row) {
  const copy = row.cloneNode(true);
  copy.dataset.gone = "";
  copy.querySelectorAll("button, input").forEach((control) => { control.disabled = true; });
  return copy;
}

// What a row that the list no longer holds has become; those that the server does not know any more are gone.
async function rowsThatLeft(region, rows) {
  const found = new Map();
  const url = region.dataset.rowsUrl;
  if (!url || !rows.length) return found;
  const query = new URLSearchParams(rows.slice(0, 200).map((row) => ["id", row.dataset.job]));
  const answer = await fetch(`${url}?${query}`, { headers: { Accept: "text/html" } });
  if (!answer.ok) return found;
  const part = document.createElement("template");
  part.innerHTML = await answer.text();
  for (const row of part.content.querySelectorAll("tr[id]")) found.set(row.id, row);
  return found;
}

function show(region, fresh, gone) {
  const button = region.closest("section, main")?.querySelector("[data-behavior=fresh]");
  if (!button) return;
  const words = [fresh ? `${fresh} new` : "", gone ? `${gone} deleted` : ""].filter(Boolean).join(", ");
  button.hidden = !words;
  if (words) button.querySelector("span").textContent = words;
}
