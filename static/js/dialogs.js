// Dialogs. Reads data-opens (an id) and data-closes (its value is what the dialog returns).
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-opens], [data-closes]");
  if (button?.dataset.opens) document.getElementById(button.dataset.opens)?.showModal();
  if (button && "closes" in button.dataset) button.closest("dialog").close(button.dataset.closes);
});

export const isOpen = () => document.querySelector("dialog[open]") !== null;
