// Which forms hold what somebody has typed and not sent: while there is one, nothing reloads the page by itself.
const edited = new WeakSet();

export const markEdited = (form) => edited.add(form);
export const canLeave = (form) => edited.delete(form);
export const isEditing = () => [...document.querySelectorAll("form[data-behavior=form]")].some((form) => edited.has(form));
