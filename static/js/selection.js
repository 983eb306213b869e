// Ticked rows and the bar that says how many. Reads data-behavior=selection, data-behavior=all, data-selection, data-selected.
const boxes = (form) => [...form.querySelectorAll("input[name=id]")];

export const isSelecting = () => document.querySelector("form[data-behavior=selection] input[name=id]:checked") !== null;

function show(form) {
  const bar = form.querySelector("[data-selection]");
  if (!bar) return;
  const n = boxes(form).filter((box) => box.checked).length;
  bar.hidden = n === 0;
  bar.querySelector("[data-selected]").textContent = `${n} selected`;
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-behavior=selection]");
  if (!form) return;
  if (event.target.dataset.behavior === "all") for (const box of boxes(form)) box.checked = event.target.checked;
  show(form);
});

for (const form of document.querySelectorAll("form[data-behavior=selection]")) show(form);
