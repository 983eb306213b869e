// Lines of a log in their list: found by id or time, put in their place.
export const linesOf = (list) => [...list.querySelectorAll("li[data-id]")];

export const lastLine = (list) => list.querySelector("li[data-id]:last-child");

// The line of a time, or one so many lines from it; null where it does not stand here.
export function lineAt(list, time, offset) {
  const line = list.querySelector(`time[datetime="${CSS.escape(time)}"]`)?.closest("li");
  if (!line) return lastLine(list);
  const all = linesOf(list);
  return all[all.indexOf(line) + offset] ?? null;
}

// Put the lines of a page after a line, in place of those that stood there; returns how many are new.
export function putAfter(list, line, page) {
  const newest = Number(lastLine(list)?.dataset.id ?? 0);
  const kept = new Map(linesOf(list).map((one) => [one.dataset.id, one]));
  while (list.lastElementChild && list.lastElementChild !== line) list.lastElementChild.remove();
  for (const one of [...page.children]) {
    const before = kept.get(one.dataset.id);
    list.append(before?.isEqualNode(one) ? before : one);
  }
  return linesOf(list).filter((one) => Number(one.dataset.id) > newest).length;
}

// Change the list above what is on the screen, which stays where it is.
export function heightKept(list, change) {
  const below = list.scrollHeight - list.scrollTop;
  change();
  list.scrollTop = list.scrollHeight - below;
}
