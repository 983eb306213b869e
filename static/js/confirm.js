// Asks before what cannot be undone. Reads #confirm with data-confirm-title, -detail, -yes; the words are the server's.
const dialog = document.getElementById("confirm");
const part = (name) => dialog.querySelector(`[data-confirm=${name}]`);

// Resolves to whether the answer was yes; closing the dialog in any other way is a no. The focus goes back to where it was.
export function confirmed(question) {
  part("title").textContent = question.title;
  part("detail").textContent = question.detail;
  const yes = part("yes");
  yes.textContent = question.verb;
  yes.dataset.kind = question.is_danger ? "danger" : "primary";
  dialog.returnValue = "no";
  dialog.showModal();
  part("no").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
